"""Where files lie: on this machine's disk or in object storage. A new place is one file and one line here."""

import glob
import os
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Protocol, TypeVar

import duckdb

from seg_pipeline.raw.sources.object_storage import ObjectStorage

Result = TypeVar("Result")


class Place(Protocol):
    """A place where files lie, known by how their names begin."""

    @property
    def library(self) -> str | None:
        """The library that must be imported to read there; None if there is none."""

    def matches(self, name: str) -> bool:
        """Returns whether a path, folder or glob of this name lies there. The first match of PLACES counts."""

    def path(self, name: str) -> Path:
        """Returns a file or folder with the methods of Path."""

    def glob(self, pattern: str) -> Iterable[Path]:
        """Yields what a glob stands for."""

    def identity(self, file: Path) -> str:
        """Returns what is the same for a file whatever words name it."""

    def is_below(self, name: str, folder: str) -> bool:
        """Returns whether a file lies in a folder, by their names alone."""

    def start_of(self, name: str) -> str | None:
        """Returns the folder from which a relative name leads to its file; None if the name does so from anywhere."""

    def relative_to(self, name: str, folder: Path) -> str:
        """Returns a name as a settings file in a folder should have it."""

    def prepare(self, connection: duckdb.DuckDBPyConnection) -> None:
        """Lets a connection read files there by their names, with glob.escape around each."""

    def guarded(self, name: str, work: Callable[[], Result]) -> Result:
        """Returns what `work` does, which touches a file there; turns the place's own errors into one line."""


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

    def start_of(self, name: str) -> str | None:
        return None if os.path.isabs(name) else str(Path.cwd())

    def relative_to(self, name: str, folder: Path) -> str:
        # A glob is a path as well; links stay as they are named.
        whole = Path.cwd() / name
        return str(whole.relative_to(folder) if whole.is_relative_to(folder) else whole)

    def prepare(self, connection: duckdb.DuckDBPyConnection) -> None:
        return

    def guarded(self, name: str, work: Callable[[], Result]) -> Result:
        return work()


PLACES: tuple[Place, ...] = (ObjectStorage(), Disk())


def place_of(name: str) -> Place:
    """Returns the place where a path, folder or glob lies."""
    return next(place for place in PLACES if place.matches(name))


def path_of(name: str) -> Path:
    """Returns a file or folder by its name. Never make a Path of the name of an object yourself."""
    return place_of(name).path(name)
