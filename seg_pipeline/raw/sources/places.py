"""Finds where input files are stored: on the local disk or in object storage.

To add a store, write a module with a class that follows `Place`, and add it to PLACES.
"""

import errno
import glob
import os
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Protocol, TypeVar

import duckdb

from seg_pipeline.errors import DataError, MachineError
from seg_pipeline.raw.sources.object_storage import ObjectStorage

Result = TypeVar("Result")

# The system opens no path of this many bytes or more.
MOST_BYTES = 4096
# How many characters of each end of a path that is too long an error shows.
NAME_SHOWN = 100


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

    def files_below(self, folder: str) -> Iterable[Path]:
        """Returns the files in a folder and its subfolders, without hidden files and folders.

        A folder whose path is too long to be listed is returned itself; loading it reports why it cannot be read.

        Raises:
            MachineError: A folder may not be read.
        """

    def glob(self, pattern: str) -> Iterable[Path]:
        """Returns the files and folders that match a glob.

        Raises:
            MachineError: A folder that could hold a match may not be read.
        """

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

    def files_below(self, folder: str) -> Iterable[Path]:
        too_long: list[Path] = []

        def refuse(error: OSError) -> None:
            if error.errno == errno.ENAMETOOLONG:
                too_long.append(Path(error.filename))
            elif not isinstance(error, FileNotFoundError):  # a folder may go while the others are listed
                raise error

        for parent, folders, files in os.walk(folder, onerror=refuse):
            folders[:] = [name for name in folders if not name.startswith(".")]
            yield from (Path(parent, name) for name in files if not name.startswith("."))
        yield from too_long

    def glob(self, pattern: str) -> Iterable[Path]:
        # Python's glob passes over folders that may not be read.
        parts = pattern.split("/")
        for number, part in enumerate(parts):
            if glob.has_magic(part):
                listed = "/".join(parts[: number + (part == "**")])
                for folder in glob.glob(f"{listed}/" if listed or number else "./", recursive=True):
                    os.scandir(folder.rstrip("/") or "/").close()
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
        try:
            return read()
        except OSError as error:
            raise MachineError(f"{readable_name(str(error.filename or name))}: {error.strerror}") from None


PLACES: tuple[Place, ...] = (ObjectStorage(), Disk())


def place_of(name: str) -> Place:
    """Returns the store of a path, folder or glob."""
    return next(place for place in PLACES if place.matches(name))


def path_of(name: str) -> Path:
    """Returns a file or folder by its name; Path(name) would be wrong for a file in object storage."""
    return place_of(name).path(name)


def is_too_long(name: str) -> bool:
    """Returns whether the system cannot open a file or folder because of the length of its path."""
    return len(os.fsencode(name)) >= MOST_BYTES


def readable_name(name: str) -> str:
    """Returns the name of a file as text: bytes that are not UTF-8 as \\xNN."""
    return os.fsencode(name).decode("utf-8", "backslashreplace")


def refuse_name(name: str) -> None:
    """Raises DataError for a file that cannot be opened, or whose lines cannot name it, because of its name."""
    shown = readable_name(name)
    if shown != name:
        raise DataError(f"{shown}: its name is not UTF-8; rename it")
    if is_too_long(name):
        shown = f"{name[:NAME_SHOWN]}...{name[-NAME_SHOWN:]}"
        raise DataError(f"{shown}: its path has {len(os.fsencode(name)):,} bytes, the most is {MOST_BYTES - 1:,}")
