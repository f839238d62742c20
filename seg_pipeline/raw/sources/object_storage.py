"""Reads files in object storage: s3:// paths behave like paths on the disk, and DuckDB can read them.

s3fs transfers the data. It takes credentials, region and endpoint from where every AWS tool takes them (AWS_PROFILE,
AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY, AWS_REGION, AWS_ENDPOINT_URL, the role of the machine), so this pipeline never
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
FILESYSTEM_OPTIONS: dict[str, Any] = {"use_listings_cache": False}

Result = TypeVar("Result")


class ObjectStorage:
    """Object storage with the S3 protocol; places.Place documents the methods."""

    extra = "s3"

    def matches(self, name: str) -> bool:
        return name.startswith(SCHEME)

    def path(self, name: str) -> Path:
        """Returns an s3:// path with the methods of Path: rglob, glob, is_dir, is_file, stat, open, name, suffix.

        `stat` gives the time of change in whole seconds. Path(name) would reduce the two slashes of the name to one.

        Raises:
            UsageError: The extra is not installed.
        """
        _require_extra()
        from upath import UPath

        return UPath(name, protocol="s3", **FILESYSTEM_OPTIONS)  # type: ignore[return-value]  # it has Path's methods

    def files_below(self, folder: str) -> Iterable[Path]:
        files = (file for file in self.path(folder).rglob("*") if file.is_file())
        hidden = re.compile(r"/\.")
        return (file for file in files if not hidden.search(str(file).removeprefix(folder.rstrip("/"))))

    def glob(self, pattern: str) -> Iterable[Path]:
        # The pattern begins after the last slash before the first wildcard.
        folder, *wildcards = re.split(r"/(?=[^/]*[*?[])", pattern, maxsplit=1)
        return self.path(folder).glob(wildcards[0]) if wildcards else ()

    def identity(self, file: Path) -> str:
        return str(file)

    def is_below(self, name: str, folder: str) -> bool:
        return name.startswith(folder.rstrip("/") + "/")

    def base_folder(self, name: str) -> str | None:
        return None

    def name_in_settings(self, name: str, folder: Path) -> str:
        return name

    def register_with(self, connection: duckdb.DuckDBPyConnection) -> None:
        _require_extra()
        if not connection.filesystem_is_registered("s3"):
            connection.register_filesystem(_named_objects())

    def translate_errors_of(self, name: str, read: Callable[[], Result]) -> Result:
        _require_extra()
        from botocore.exceptions import BotoCoreError

        try:
            return read()
        except (BotoCoreError, OSError) as error:
            failure = _failure(name, f"{type(error).__name__} {error}")
        except duckdb.Error as error:
            # DuckDB raises the base class itself for errors of s3fs, and a subclass for errors of its own.
            if type(error) is not duckdb.Error:
                raise
            failure = _failure(name, str(error))
        # The storage's own error quotes addresses, key ids and signed requests. Raised outside the except clause, the
        # new error does not carry it as its context.
        raise failure


def _failure(name: str, message: str) -> SegPipelineError:
    """Returns the error that replaces an error of the storage with this message."""
    if re.search("PermissionError|NoCredentials|Forbidden", message):
        return UsageError(f"{name}: the object storage does not accept the credentials of the environment (AWS_...)")
    if "FileNotFoundError" in message:
        return DataError(f"{name}: no such object in this object storage")
    return MachineError(f"{name}: the object storage cannot be reached, or fails")


def _require_extra() -> None:
    if find_spec("s3fs") is None:
        raise UsageError("source.path: reading s3:// needs: pip install 'seg-pipeline[s3]'")


@cache
def _named_objects() -> "AbstractFileSystem":
    """Returns the file system that DuckDB reads objects with."""
    from s3fs import S3FileSystem

    class NamedObjects(S3FileSystem):  # type: ignore[misc]
        """Reads each name that DuckDB passes as that of one object; a pattern would list the whole storage."""

        protocol = "s3"

        def glob(self, path: str, **_: Any) -> list[str]:
            return [re.sub(r"\[([*?[])\]", r"\1", path)]

    return NamedObjects(**FILESYSTEM_OPTIONS)
