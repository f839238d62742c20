"""Publishes one set of files beside the warehouse, and switches readers to it as a whole.

A new set is written to a folder of its own; then the link `latest` is moved to it in one step. A reader sees either the
old set or the new one, and a killed run leaves the old one. A set is named after its night and its content, so
publishing the same night twice gives the same set. If that set exists already, its pages, its manifest and its damaged
files are replaced one by one in place, so a reader may see some of them before the others.
"""

import datetime
import hashlib
import os
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from pydantic import BaseModel, SecretStr, ValidationError

from seg_pipeline.errors import MachineError
from seg_pipeline.publishing.exports import DATABASE, content_digest, delete_abandoned_copies, export_night
from seg_pipeline.publishing.views import View
from seg_pipeline.tables import Table
from seg_pipeline.warehouse import DamagedError, Warehouse

LATEST = "latest"
REPORT_PAGE = "report.html"
# Timings have a file of their own, so that the report is the same for the same orders.
TIMINGS = "timings.csv"
SETS = "sets"
# Prefix of the folder of a set that is being written, or was when its run was killed.
UNFINISHED = ".unfinished-"
MANIFEST = "manifest.json"
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
) -> LatestSet:
    """Writes the set of a night and makes it the latest one, unless a later night is published already.

    A latest set whose manifest is damaged counts as not published.

    Args:
        warehouse: The warehouse that holds the tables.
        tables: The tables to publish, each as Parquet and CSV, and all in one DuckDB file.
        pages: The texts of further files by their names; they may differ for the same set.
        as_of: The night.
        model_id: The model that the segments come from.
        folder: The folder of all published sets.
        hash_key: The key to hash customer ids with; None leaves them plain.
        views: The views of the DuckDB file, over these tables.

    Raises:
        MachineError: The folder cannot be read or written.
    """
    with _translate_os_errors(folder, "cannot publish"):
        latest = _read_manifest(folder / LATEST)
        if latest is not None and latest.as_of > as_of:
            return LatestSet(folder / LATEST, is_of_night=False)
        sets = folder / SETS
        # On the same file system, renaming the folder is one step.
        unfinished = sets / f"{UNFINISHED}{os.getpid()}"
        shutil.rmtree(unfinished, ignore_errors=True)
        unfinished.mkdir(parents=True)
        rows = export_night(warehouse, tables, views, as_of, unfinished, hash_key)
        name = _write_set(unfinished, rows, pages, as_of, model_id)
        _switch(folder, name)
        _delete_old_sets(sets, name)
    return LatestSet(folder / LATEST, is_of_night=True)


def published_as_of(folder: Path) -> datetime.date | None:
    """Returns the night of the latest set; None if nothing is published, or its manifest is damaged.

    Raises:
        MachineError: The folder cannot be read.
    """
    with _translate_os_errors(folder, "cannot read what is published"):
        manifest = _read_manifest(folder / LATEST)
    return None if manifest is None else manifest.as_of


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
        raise MachineError(f"{error.filename or folder}: {failure}: {error.strerror or error}") from error


def _read_manifest(folder: Path) -> Manifest | None:
    """Returns the manifest of a set; None if it does not exist or cannot be parsed.

    Raises:
        OSError: The file exists but cannot be read.
    """
    try:
        return Manifest.model_validate_json((folder / MANIFEST).read_bytes())
    except (FileNotFoundError, ValidationError):
        return None


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
    manifest = Manifest(as_of=as_of, model_id=model_id, files=files).model_dump_json(indent=2) + "\n"
    (unfinished / MANIFEST).write_text(manifest, encoding="utf-8")
    name = f"{as_of}-{hashlib.sha256(manifest.encode()).hexdigest()[:8]}"
    _put(unfinished, unfinished.parent / name, files)
    return name


def _damaged(folder: Path, files: Mapping[str, Mapping[str, object]]) -> list[str]:
    return [name for name, entry in files.items() if not _is_whole(folder / name, entry)]


def _is_whole(file: Path, entry: Mapping[str, object]) -> bool:
    """Returns whether a file is what its entry in the manifest says.

    Raises:
        MachineError: The memory does not suffice to read the database.
    """
    try:
        return entry.items() >= _fingerprint(file).items()
    except (FileNotFoundError, DamagedError):
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
    if not target.exists():
        os.replace(unfinished, target)
        return
    whole = data.keys() - _damaged(target, data)
    for file in unfinished.iterdir():
        if file.name not in whole:
            os.replace(file, target / file.name)


def _switch(folder: Path, name: str) -> None:
    """Moves the link `latest` to a set."""
    link = folder / f".{LATEST}-{os.getpid()}"
    link.unlink(missing_ok=True)
    link.symlink_to(Path(SETS) / name)
    os.replace(link, folder / LATEST)


def _delete_old_sets(sets: Path, current: str) -> None:
    """Deletes what killed runs left unfinished, and all sets but the current one and the one before it."""
    delete_abandoned_copies(sets)
    others = [path for path in sets.iterdir() if path.name != current]
    whole = [path for path in others if (path / MANIFEST).exists() and not path.name.startswith(UNFINISHED)]
    # Their names begin with the night; the machine's clock may have been set back between two nights.
    whole.sort(key=lambda path: (path.name[: len("YYYY-MM-DD")], (path / MANIFEST).stat().st_mtime))
    abandoned = [path for path in others if path.name.startswith(UNFINISHED)]
    for path in [*whole[: len(whole) - (SETS_KEPT - 1)], *abandoned]:
        shutil.rmtree(path, ignore_errors=True)


def delete_all(folder: Path) -> None:
    """Removes every published set."""
    for path in [folder / LATEST, *folder.glob(f".{LATEST}-*"), folder / SETS]:
        if path.is_symlink() or path.is_file():
            path.unlink()
        elif path.is_dir():
            shutil.rmtree(path)
