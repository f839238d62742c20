"""Files in object storage: s3:// paths that behave like paths on the disk, and that DuckDB can read.

s3fs transfers the data, and takes credentials, region and endpoint from where every AWS tool takes them (AWS_PROFILE,
AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY, AWS_REGION, AWS_ENDPOINT_URL, the role of the machine); this pipeline never
sees them. DuckDB's own reader, the extension httpfs, would have to be downloaded from a server that not every machine
can reach.
"""

import re
from collections.abc import Callable, Iterable
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import duckdb

from seg_pipeline.errors import DataError, MachineError, SegPipelineError, UsageError

if TYPE_CHECKING:
    from fsspec import AbstractFileSystem

SCHEME = "s3://"
# Listings are not cached: a file that was delivered a minute ago must be found.
OPTIONS: dict[str, Any] = {"use_listings_cache": False}

Result = TypeVar("Result")


class ObjectStorage:
    """Object storage with the S3 protocol."""

    library = "s3fs"

    def matches(self, name: str) -> bool:
        return name.startswith(SCHEME)

    def path(self, name: str) -> Path:
        """Returns an s3:// path with the methods of Path: rglob, glob, is_dir, is_file, stat, open, name, suffix.

        `stat` gives the time of change in whole seconds. A Path made of the name would fold its two slashes into one.

        Raises:
            UsageError: The extra is not installed.
        """
        _need_extra()
        from upath import UPath

        return UPath(name, protocol="s3", **OPTIONS)  # type: ignore[return-value]  # it has Path's methods

    def glob(self, pattern: str) -> Iterable[Path]:
        folder = re.split(r"/(?=[^/]*[*?[])", pattern, maxsplit=1)
        return self.path(folder[0]).glob(folder[1]) if len(folder) > 1 else ()

    def identity(self, file: Path) -> str:
        return str(file)

    def is_below(self, name: str, folder: str) -> bool:
        return name.startswith(folder.rstrip("/") + "/")

    def base_folder(self, name: str) -> str | None:
        return None

    def relative_to(self, name: str, folder: Path) -> str:
        return name

    def prepare(self, connection: duckdb.DuckDBPyConnection) -> None:
        """Enables a connection to read objects by their names; calling it again has no effect.

        Raises:
            UsageError: The extra is not installed.
        """
        _need_extra()
        if not connection.filesystem_is_registered("s3"):
            connection.register_filesystem(_named_objects())

    def attempt(self, name: str, read: Callable[[], Result]) -> Result:
        """Returns the result of a function; replaces errors of the storage by one line.

        The storage's own messages are not shown: they quote addresses, key ids and signed requests.

        Args:
            name: The object or prefix, for the error line.
            read: A function that uses paths of `path`, or a connection that went through `prepare`.

        Raises:
            UsageError: There are no credentials, or they are not accepted.
            DataError: The object does not exist.
            MachineError: The storage cannot be reached, or fails.
        """
        _need_extra()
        from botocore.exceptions import BotoCoreError

        try:
            return read()
        except (BotoCoreError, OSError) as error:
            failure = _failure(name, f"{type(error).__name__} {error}")
        except duckdb.Error as error:
            # Errors of a filesystem that is written in Python are of the base class itself; all others of a subclass.
            if type(error) is not duckdb.Error:
                raise
            failure = _failure(name, str(error))
        # Raised outside the except clause, so that it does not carry the storage's own error as its context.
        raise failure


def _failure(name: str, message: str) -> SegPipelineError:
    if re.search("PermissionError|NoCredentials|Forbidden", message):
        return UsageError(f"{name}: the object storage does not accept the credentials of the environment (AWS_...)")
    if "FileNotFoundError" in message:
        return DataError(f"{name}: no such object in this object storage")
    return MachineError(f"{name}: the object storage cannot be reached, or fails")


def _need_extra() -> None:
    if find_spec("s3fs") is None:
        raise UsageError("source.path: reading s3:// needs: pip install 'seg-pipeline[s3]'")


@cache
def _named_objects() -> "AbstractFileSystem":
    from s3fs import S3FileSystem

    class NamedObjects(S3FileSystem):  # type: ignore[misc]
        """Takes each name that DuckDB asks for as the name of one object: a pattern would search the whole storage."""

        protocol = "s3"

        def glob(self, path: str, **_: Any) -> list[str]:
            return [re.sub(r"\[([*?[])\]", r"\1", path)]

    return NamedObjects(**OPTIONS)
