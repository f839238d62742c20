"""Files in object storage: s3:// paths that behave as paths of the disk do, and that DuckDB can read.

s3fs does the transport and takes credentials, region and endpoint from where every tool of AWS takes them (AWS_PROFILE,
AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY, AWS_REGION, AWS_ENDPOINT_URL, the role of the machine); this pipeline never
sees them. DuckDB's own reader, the extension httpfs, would have to be downloaded from a server that not every machine
reaches.
"""

import re
from collections.abc import Callable
from functools import cache
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any, TypeVar

import duckdb

from seg_pipeline.errors import DataError, MachineError, SegPipelineError, UsageError

if TYPE_CHECKING:
    from fsspec import AbstractFileSystem
    from upath import UPath

SCHEME = "s3://"
# Listings are asked anew each time: what was delivered a minute ago must be seen.
OPTIONS: dict[str, Any] = {"use_listings_cache": False}

Result = TypeVar("Result")


def is_object(name: str) -> bool:
    """Whether a path is one of object storage. Never make a Path of it: that folds the two slashes into one."""
    return name.startswith(SCHEME)


def object_path(name: str) -> "UPath":
    """An s3:// path with the methods of Path: rglob, glob, is_dir, is_file, stat, open, name, suffix.

    The time of change that `stat` gives is in whole seconds.

    Raises:
        UsageError: the extra is not installed.
    """
    _need_extra()
    from upath import UPath

    return UPath(name, protocol="s3", **OPTIONS)


def register(connection: duckdb.DuckDBPyConnection) -> None:
    """Lets a connection read objects by their names, with glob.escape around each. Doing it again does nothing.

    Raises:
        UsageError: the extra is not installed.
    """
    _need_extra()
    if not connection.filesystem_is_registered("s3"):
        connection.register_filesystem(_named_objects())


def told(name: str, work: Callable[[], Result]) -> Result:
    """Does work that touches an object; what the storage complains of becomes one line without its own words.

    Those quote addresses, key ids and what was signed with them.

    Args:
        name: The object or prefix, for the error line.
        work: Uses paths of `object_path`, or a connection of `register`.

    Raises:
        UsageError: there are no credentials, or they are not accepted.
        DataError: it is not there.
        MachineError: the storage cannot be reached, or fails.
    """
    _need_extra()
    from botocore.exceptions import BotoCoreError

    try:
        return work()
    except (BotoCoreError, OSError) as error:
        failure = _failure(name, f"{type(error).__name__} {error}")
    except duckdb.Error as error:
        # Only what a filesystem in Python raises comes as the base class itself.
        if type(error) is not duckdb.Error:
            raise
        failure = _failure(name, str(error))
    # Raised here and not where it is caught, so that the storage's own error does not hang on to it.
    raise failure


def _failure(name: str, said: str) -> SegPipelineError:
    if re.search("PermissionError|NoCredentials|Forbidden", said):
        return UsageError(f"{name}: the object storage does not accept the credentials of the environment (AWS_...)")
    if "FileNotFoundError" in said:
        return DataError(f"{name}: not there, in this object storage")
    return MachineError(f"{name}: the object storage cannot be reached, or fails")


def _need_extra() -> None:
    if find_spec("s3fs") is None:
        raise UsageError("source.path: reading s3:// needs: pip install 'seg-pipeline[s3]'")


@cache
def _named_objects() -> "AbstractFileSystem":
    from s3fs import S3FileSystem

    class NamedObjects(S3FileSystem):  # type: ignore[misc]
        """DuckDB asks for each name as for a pattern; it is one object's, and the storage need not be searched."""

        protocol = "s3"

        def glob(self, path: str, **_: Any) -> list[str]:
            return [re.sub(r"\[([*?[])\]", r"\1", path)]

    return NamedObjects(**OPTIONS)
