"""The places where files lie: this machine's disk, or object storage. A new place is one file and one line here."""

import glob
import os
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Protocol, TypeVar

import duckdb

from seg_pipeline.raw.sources.object_storage import ObjectStorage

Result = TypeVar("Result")


class Place(Protocol):
    """A place where files lie, recognised by the beginning of their names."""

    @property
    def library(self) -> str | None:
        """The library that reading there needs; None if none."""

    def matches(self, name: str) -> bool:
        """Returns whether a path, folder or glob of this name lies there; the first match in PLACES is used."""

    def path(self, name: str) -> Path:
        """Returns a file or folder as an object with the methods of Path."""

    def glob(self, pattern: str) -> Iterable[Path]:
        """Yields the files and folders that match a glob."""

    def identity(self, file: Path) -> str:
        """Returns a text that is the same for all names of one file."""

    def is_below(self, name: str, folder: str) -> bool:
        """Returns whether a file lies in a folder, judged by their names only."""

    def base_folder(self, name: str) -> str | None:
        """Returns the folder that a relative name is relative to; None if the name is absolute."""

    def relative_to(self, name: str, folder: Path) -> str:
        """Returns a name as a settings file in a folder should write it."""

    def prepare(self, connection: duckdb.DuckDBPyConnection) -> None:
        """Enables a connection to read files there by their names, each passed through glob.escape."""

    def attempt(self, name: str, read: Callable[[], Result]) -> Result:
        """Returns the result of a function that reads a file there; turns the place's own errors into one line."""


class Disk:
    """The file system of this machine."""

    library = None

    def matches(self, name: str) -> bool:
        return True

    def path(self, name: str) -> Path:
        return Path(name)

    def glob(self, pattern: str) -> Iterable[Path]:
        return map(Path, glob.glob(pattern, recursive=True))

    def identity(self, file: Path) -> str:
        return str(file.resolve())

    def is_below(self, name: str, folder: str) -> bool:
        return Path(name).is_relative_to(folder)

    def base_folder(self, name: str) -> str | None:
        return None if os.path.isabs(name) else str(Path.cwd())

    def relative_to(self, name: str, folder: Path) -> str:
        # The name may be a glob. Links are not resolved.
        path = Path.cwd() / name
        return str(path.relative_to(folder) if path.is_relative_to(folder) else path)

    def prepare(self, connection: duckdb.DuckDBPyConnection) -> None:
        return

    def attempt(self, name: str, read: Callable[[], Result]) -> Result:
        return read()


PLACES: tuple[Place, ...] = (ObjectStorage(), Disk())


def place_of(name: str) -> Place:
    """Returns the place where a path, folder or glob lies."""
    return next(place for place in PLACES if place.matches(name))


def path_of(name: str) -> Path:
    """Returns a file or folder by its name; Path(name) would be wrong for a file in object storage."""
    return place_of(name).path(name)
