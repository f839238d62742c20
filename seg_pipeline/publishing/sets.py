"""Publishes one set of files beside the warehouse, and switches readers to it as a whole.

A new set is written to a folder of its own; then the link `latest` is moved to it in one step. A reader sees either the
old set or the new one, and a killed run leaves the old one. A set is named after its night and its content, so
publishing the same night twice gives the same set. If that set exists already, its pages, its manifest and its damaged
files are replaced one by one in place, so a reader may see some of them before the others.

A damaged set counts as if there were none: one that `latest` is no link to, whose manifest is not the one that the set
is named after, or which lacks a file.
"""

import datetime
import errno
import hashlib
import logging
import os
import re
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from itertools import count
from pathlib import Path

from pydantic import BaseModel, SecretStr, ValidationError

from seg_pipeline.errors import MachineError
from seg_pipeline.publishing.exports import COPY, DATABASE, content_digest, delete_abandoned_copies, export_night
from seg_pipeline.publishing.views import View
from seg_pipeline.tables import Table
from seg_pipeline.warehouse import DamagedError, Warehouse, Warn, sync_to_disk

LATEST = "latest"
REPORT_PAGE = "report.html"
# Timings have a file of their own, so that the report is the same for the same orders.
TIMINGS = "timings.csv"
SETS = "sets"
# The name of a set: its night, then the beginning of the digest of its manifest.
SET_NAME = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}-[0-9a-f]{8}")
# Prefix of the folder of a set that is being written, or was when its run was killed.
UNFINISHED = ".unfinished-"
# Suffix of a file or folder of somebody else's that was in the place of `latest`.
SET_ASIDE = ".set-aside"
MANIFEST = "manifest.json"
LOG = logging.getLogger(__name__)
# The previous set is kept for clients that are still reading it.
SETS_KEPT = 2


class Manifest(BaseModel, frozen=True):
    """The content of manifest.json, which describes a set.

    Attributes:
        as_of: The night of the set.
        model_id: The model that the segments come from.
        files: Maps the name of each data file to its number of rows (`rows`) and its digest.
    """

    as_of: datetime.date
    model_id: str
    files: dict[str, dict[str, int | str]]


@dataclass(frozen=True, slots=True)
class LatestSet:
    """The latest set after a night was to be published.

    Attributes:
        folder: The path of the latest set.
        is_of_night: Whether it is the set of that night; if not, a later night is published.
    """

    folder: Path
    is_of_night: bool


def publish(
    warehouse: Warehouse,
    tables: Sequence[Table],
    pages: Mapping[str, str],
    as_of: datetime.date,
    model_id: str,
    folder: Path,
    hash_key: SecretStr | None = None,
    views: Sequence[View] = (),
    warn: Warn = LOG.warning,
) -> LatestSet:
    """Writes the set of a night and makes it the latest one, unless a later night is published already.

    Args:
        warehouse: The warehouse that holds the tables.
        tables: The tables to publish, each as Parquet and CSV, and all in one DuckDB file.
        pages: The texts of further files by their names; they may differ for the same set.
        as_of: The night.
        model_id: The model that the segments come from.
        folder: The folder of all published sets.
        hash_key: The key to hash customer ids with; None leaves them plain.
        views: The views of the DuckDB file, over these tables.
        warn: Is called if what was published is damaged.

    Raises:
        MachineError: The folder cannot be read or written.
    """
    latest, sets = folder / LATEST, folder / SETS
    with _translate_os_errors(folder, "cannot publish"):
        manifest = _read_manifest(latest)
        if manifest is not None:
            # A set that this run replaces anyway is not read through.
            damaged = (_damaged if manifest.as_of >= as_of else _missing)(latest, manifest.files)
            if damaged:
                warn(f"{latest / damaged[0]} is missing or damaged; the night is published again")
            elif manifest.as_of > as_of:
                return LatestSet(latest, is_of_night=False)
        elif latest.is_symlink():
            warn(f"{latest} leads to no whole set; the night is published again")
        if os.path.lexists(sets) and not sets.is_dir():
            raise MachineError(f"{sets}: cannot publish: it is no folder; move it away")
        sets.mkdir(parents=True, exist_ok=True)
        # Killed runs may have left the disk full.
        _delete_unfinished(sets)
        # On the same file system, renaming the folder is one step.
        unfinished = sets / f"{UNFINISHED}{os.getpid()}"
        unfinished.mkdir()
        try:
            rows = export_night(warehouse, tables, views, as_of, unfinished, hash_key)
            name = _write_set(unfinished, rows, pages, as_of, model_id)
            _switch(folder, name, warn)
        finally:
            shutil.rmtree(unfinished, ignore_errors=True)
        _delete_old_sets(sets, name)
    return LatestSet(latest, is_of_night=True)


def published_as_of(folder: Path) -> datetime.date | None:
    """Returns the night of the latest set; None if nothing is published, or its manifest cannot be read.

    Raises:
        MachineError: The folder cannot be read.
    """
    with _translate_os_errors(folder, "cannot read what is published"):
        manifest = _read_manifest(folder / LATEST)
    return None if manifest is None else manifest.as_of


def delete_all(folder: Path) -> None:
    """Deletes every set, whole, unfinished or damaged, with what leads to it, and nothing else in the folder.

    If `sets` is a link, to another disk for example, the sets there are deleted, and the link stays.

    Raises:
        MachineError: Something cannot be deleted.
    """
    sets = folder / SETS
    with _translate_os_errors(folder, "what is published cannot be deleted"):
        beside = folder.iterdir() if folder.is_dir() else ()
        leading = [path for path in beside if path.name.startswith((f"{LATEST}{SET_ASIDE}", f".{LATEST}-"))]
        # First what readers follow.
        for path in [folder / LATEST, *leading]:
            _delete(path)
        if not (sets.is_symlink() and sets.is_dir()):
            _delete(sets)
            return
        for path in sets.iterdir():
            if SET_NAME.fullmatch(path.name) or path.name.startswith((UNFINISHED, COPY)):
                _delete(path)


def damaged_files(folder: Path) -> list[str]:
    """Returns the files of the latest set that are missing or differ from its manifest.

    If the manifest itself is damaged, returns only its name.

    Raises:
        MachineError: Nothing is published, or the folder cannot be read.
    """
    failure = "cannot check what is published"
    latest = folder / LATEST
    with _translate_os_errors(folder, failure):
        manifest = _read_manifest(latest)
        if manifest is not None:
            return _damaged(latest, manifest.files)
        if (latest / MANIFEST).exists():
            return [MANIFEST]
    raise MachineError(f"{latest / MANIFEST}: {failure}: the file does not exist")


@contextmanager
def _translate_os_errors(folder: Path, failure: str) -> Iterator[None]:
    """Turns an OSError into a MachineError that names the file, or else the folder, and what failed."""
    try:
        yield
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise MachineError(f"disk full: no room in {folder}; free some space and run again") from error
        raise MachineError(f"{error.filename or folder}: {failure}: {error.strerror or error}") from error


def _read_manifest(latest: Path) -> Manifest | None:
    """Returns the manifest of the set that a link leads to; None if there is none, or it is not that set's.

    Raises:
        PermissionError: The file cannot be read.
    """
    try:
        name = Path(os.readlink(latest)).name
        content = (latest / MANIFEST).read_bytes()
        manifest = Manifest.model_validate_json(content)
    except PermissionError:
        raise
    except (OSError, ValidationError):
        # Also a folder in the place of the link or of the manifest, or a loop of links.
        return None
    return manifest if name == _name(manifest.as_of, content) else None


def _name(as_of: datetime.date, manifest: bytes) -> str:
    """Returns the name of the set that has a manifest."""
    return f"{as_of}-{hashlib.sha256(manifest).hexdigest()[:8]}"


def _write_set(
    unfinished: Path, rows: Mapping[str, int], pages: Mapping[str, str], as_of: datetime.date, model_id: str
) -> str:
    """Adds the pages and the manifest to a folder of exported files, and gives the folder its name as a set.

    Args:
        unfinished: The folder, among the sets.
        rows: Maps the name of each exported file to its number of rows.
        pages: The texts of further files by their names.
        as_of: The night.
        model_id: The model that the segments come from.

    Returns:
        The name of the set.
    """
    files = {name: {"rows": count, **_fingerprint(unfinished / name)} for name, count in rows.items()}
    for name, text in pages.items():
        (unfinished / name).write_text(text, encoding="utf-8")
    manifest = f"{Manifest(as_of=as_of, model_id=model_id, files=files).model_dump_json(indent=2)}\n".encode()
    (unfinished / MANIFEST).write_bytes(manifest)
    for file in unfinished.iterdir():
        sync_to_disk(file)
    name = _name(as_of, manifest)
    _put(unfinished, unfinished.parent / name, files)
    return name


def _missing(folder: Path, files: Mapping[str, Mapping[str, object]]) -> list[str]:
    return [name for name in files if not (folder / name).is_file()]


def _damaged(folder: Path, files: Mapping[str, Mapping[str, object]]) -> list[str]:
    return [name for name, entry in files.items() if not _is_whole(folder / name, entry)]


def _is_whole(file: Path, entry: Mapping[str, object]) -> bool:
    """Returns whether a file is what its entry in the manifest says.

    Raises:
        MachineError: The memory does not suffice to read the database.
    """
    try:
        return entry.items() >= _fingerprint(file).items()
    except (FileNotFoundError, IsADirectoryError, DamagedError):
        return False


def _fingerprint(file: Path) -> dict[str, str]:
    """Returns the digest of a file under its name in the manifest.

    For the database it is the digest of its content, so that the same night always gives the same set.
    """
    if file.name == DATABASE:
        return {"content_sha256": content_digest(file)}
    with file.open("rb") as content:
        return {"sha256": hashlib.file_digest(content, "sha256").hexdigest()}


def _put(unfinished: Path, target: Path, data: Mapping[str, Mapping[str, object]]) -> None:
    """Moves a set to its name. If the set exists already, replaces its files but the undamaged data."""
    sync_to_disk(unfinished)
    if not target.is_dir():
        _delete(target)
        os.replace(unfinished, target)
    else:
        damaged = _damaged(target, data)
        if DATABASE in damaged:
            # A client that was killed may have left changes there that DuckDB would apply to the new file.
            _delete(target / f"{DATABASE}.wal")
        whole = data.keys() - damaged
        for file in unfinished.iterdir():
            if file.name not in whole:
                if (target / file.name).is_dir():
                    _delete(target / file.name)
                os.replace(file, target / file.name)
        sync_to_disk(target)
    sync_to_disk(target.parent)


def _switch(folder: Path, name: str, warn: Warn) -> None:
    """Moves the link `latest` to a set. Anything but a link in its place is set aside."""
    latest = folder / LATEST
    if os.path.lexists(latest) and not latest.is_symlink():
        names = (folder / f"{LATEST}{SET_ASIDE}{f'-{n}' if n > 1 else ''}" for n in count(1))
        aside = next(name for name in names if not os.path.lexists(name))
        os.replace(latest, aside)
        warn(f"{latest} was no link to a published set; it is set aside as {aside.name}")
    link = folder / f".{LATEST}-{os.getpid()}"
    _delete(link)
    link.symlink_to(Path(SETS) / name)
    os.replace(link, latest)
    sync_to_disk(folder)


def _delete_old_sets(sets: Path, current: str) -> None:
    """Deletes all sets but the current one and the one before it, and what killed runs left."""
    _delete_unfinished(sets)
    old = [path for path in sets.iterdir() if SET_NAME.fullmatch(path.name) and path.name != current]
    # By the night first; the machine's clock may have been set back between two nights.
    old.sort(key=lambda path: (path.name[: len("YYYY-MM-DD")], path.lstat().st_mtime))
    for path in old[: len(old) - (SETS_KEPT - 1)]:
        _delete_if_possible(path)


def _delete_unfinished(sets: Path) -> None:
    """Deletes what killed runs left among the sets."""
    delete_abandoned_copies(sets)
    for path in sets.glob(f"{UNFINISHED}*"):
        _delete_if_possible(path)


def _delete_if_possible(path: Path) -> None:
    """Deletes a file, a link or a folder. One that cannot be deleted is no reason to publish nothing."""
    with suppress(OSError):
        _delete(path)


def _delete(path: Path) -> None:
    """Deletes a file, a link or a folder with all that is in it, if it exists."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
