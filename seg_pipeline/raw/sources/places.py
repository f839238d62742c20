"""Finds where input files are stored: on the local disk or in object storage.

To add a store, write a module with a class that follows `Place`, and add it to PLACES.
"""

import glob
import os
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Protocol, TypeVar

import duckdb

from seg_pipeline.raw.sources.object_storage import ObjectStorage

Result = TypeVar("Result")


class Place(Protocol):
    """A store of input files, recognised by the beginning of their names."""

    @property
    def extra(self) -> str | None:
        """The extra of this package that reading from the store needs, such as `s3`; None if it needs none."""

    def matches(self, name: str) -> bool:
        """Returns whether a path, folder or glob is in this store; the first match in PLACES is used."""

    def path(self, name: str) -> Path:
        """Returns a file or folder as an object with the methods of Path.

        Raises:
            UsageError: The extra is not installed.
        """

    def glob(self, pattern: str) -> Iterable[Path]:
        """Returns the files and folders that match a glob."""

    def identity(self, file: Path) -> str:
        """Returns a string that is the same for all names of one file."""

    def is_below(self, name: str, folder: str) -> bool:
        """Returns whether a file or folder is inside a folder, judging by their names; a folder is not inside itself.

        Args:
            name: The name of the file or folder, which need not exist.
            folder: The name of the folder, with or without a slash at the end.
        """

    def base_folder(self, name: str) -> str | None:
        """Returns the folder that a relative name is relative to; None if the name is absolute."""

    def name_in_settings(self, name: str, folder: Path) -> str:
        """Returns a name as a settings file should write it.

        Args:
            name: A path, folder or glob.
            folder: The absolute path of the folder of the settings file.

        Returns:
            The name relative to the folder if it is inside it, and the absolute name otherwise.
        """

    def register_with(self, connection: duckdb.DuckDBPyConnection) -> None:
        """Lets DuckDB read files from this store. Callers pass names through glob.escape.

        Args:
            connection: The connection that will read; a second call has no effect.

        Raises:
            UsageError: The extra is not installed.
        """

    def translate_errors_of(self, name: str, read: Callable[[], Result]) -> Result:
        """Calls a function that reads a file, and turns the store's own errors into an error of one line.

        Args:
            name: The file or folder, for the error message.
            read: A function that uses paths of `path`, or a connection that this store is registered with.

        Returns:
            The result of the function.

        Raises:
            UsageError: The store does not accept the credentials.
            DataError: The file does not exist.
            MachineError: The store cannot be reached, or fails.
        """


class Disk:
    """The file system of this machine."""

    extra = None

    def matches(self, name: str) -> bool:
        return True

    def path(self, name: str) -> Path:
        return Path(name)

    def glob(self, pattern: str) -> Iterable[Path]:
        return map(Path, glob.glob(pattern, recursive=True))

    def identity(self, file: Path) -> str:
        return str(file.resolve())

    def is_below(self, name: str, folder: str) -> bool:
        return Path(folder) in Path(name).parents

    def base_folder(self, name: str) -> str | None:
        return None if os.path.isabs(name) else str(Path.cwd())

    def name_in_settings(self, name: str, folder: Path) -> str:
        # Not Path.resolve: links stay as they were named, and the name may be a glob.
        path = Path.cwd() / name
        return str(path.relative_to(folder) if path.is_relative_to(folder) else path)

    def register_with(self, connection: duckdb.DuckDBPyConnection) -> None:
        return

    def translate_errors_of(self, name: str, read: Callable[[], Result]) -> Result:
        return read()


PLACES: tuple[Place, ...] = (ObjectStorage(), Disk())


def place_of(name: str) -> Place:
    """Returns the store of a path, folder or glob."""
    return next(place for place in PLACES if place.matches(name))


def path_of(name: str) -> Path:
    """Returns a file or folder by its name; Path(name) would be wrong for a file in object storage."""
    return place_of(name).path(name)
