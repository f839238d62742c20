"""Finds the files that source.path names, and decides whether it names a file that no longer exists."""

import fnmatch
from collections.abc import Collection, Iterable, Sequence
from functools import partial
from pathlib import Path

from seg_pipeline.errors import UsageError
from seg_pipeline.raw.sources import registry
from seg_pipeline.raw.sources.places import is_too_long, path_of, place_of


def find_files(paths: Iterable[str]) -> list[str]:
    """Returns the files that paths, folders (with their subfolders) and globs name, sorted by name.

    Raises:
        UsageError: No path is given, nothing exists there, or no file is of a kind that can be read.
        MachineError: A folder may not be read, or the object storage cannot be reached.
    """
    names = list(paths)
    if not names:
        raise UsageError("source.path: no order files given; name a file, a folder or a glob")
    # A file that is named twice, even in different ways, is one delivery.
    by_identity: dict[str, str] = {}
    for name in names:
        for file, identity in place_of(name).translate_errors_of(name, partial(_files_of, name)):
            by_identity[identity] = min(by_identity.get(identity, file), file)
    return sorted(by_identity.values())


def files_there(paths: Sequence[str], known: Collection[str]) -> list[str]:
    """Returns the files that paths name; a folder that had files and is empty now is not an error.

    Args:
        paths: Files, folders and globs.
        known: Files that existed before; an empty folder that never had one is an error.

    Raises:
        UsageError: As in `find_files`.
        MachineError: As in `find_files`.
    """
    folders = [path for path in paths if place_of(path).translate_errors_of(path, path_of(path).is_dir)]
    had_files = [path for path in folders if any(place_of(path).is_below(name, path) for name in known)]
    emptied = {path for path in had_files if not _has_files(path)}
    others = [path for path in paths if path not in emptied]
    return find_files(others) if others or not emptied else []


def is_named(name: str, paths: Iterable[str]) -> bool:
    """Returns whether one of the paths would name a file if the file existed."""
    return any(
        place_of(path).is_below(name, path) if path_of(path).is_dir() else fnmatch.fnmatchcase(name, path)
        for path in paths
    )


def _has_files(folder: str) -> bool:
    try:
        return bool(find_files([folder]))
    except UsageError:
        return False


def _files_of(name: str) -> list[tuple[str, str]]:
    """Returns the files that one path, folder or glob names, each with its identity."""
    place, endings = place_of(name), ", ".join(ending for kind in registry.KINDS for ending in kind.endings)
    path = place.path(name)
    if path.is_dir():
        files = [file for file in place.files_below(name) if _is_order_file(file)]
        if not files:
            raise UsageError(f"{name}: no file in this folder ends in {endings}")
    elif path.is_file():
        if registry.kind_of(str(path)) is None:
            raise UsageError(f"{name}: not a kind of file that can be read; it must end in {endings}")
        files = [path]
    else:
        files = [file for file in place.glob(name) if _is_order_file(file)]
        if not files:
            raise UsageError(f"{name}: no such file or folder, and no file matches it")
    return [(str(file), place.identity(file)) for file in files]


def _is_order_file(file: Path) -> bool:
    """Returns whether something found in a folder is a file of orders, or has a path too long to be looked at."""
    name = str(file)
    return is_too_long(name) or (registry.kind_of(name) is not None and file.is_file())
