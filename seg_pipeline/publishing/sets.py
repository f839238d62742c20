"""Publishes one set of files beside the warehouse, and switches readers to it as a whole.

A set is written to a folder of its own; then the link `latest` is moved to it in one step. A reader sees either the old
set or the new one, and a killed run leaves the old one. A set is named after its night and its content, so publishing
the same night twice gives the same set.
"""

import datetime
import hashlib
import json
import os
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path

from pydantic import SecretStr

from seg_pipeline.errors import MachineError
from seg_pipeline.publishing.exports import DATABASE, content_digest, export_night
from seg_pipeline.publishing.views import View
from seg_pipeline.tables import Table
from seg_pipeline.warehouse import Warehouse

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


def publish(
    warehouse: Warehouse,
    tables: Sequence[Table],
    pages: Mapping[str, str],
    as_of: datetime.date,
    model_id: str,
    folder: Path,
    hash_key: SecretStr | None = None,
    views: Sequence[View] = (),
) -> tuple[Path, bool]:
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

    Returns:
        The path of the latest set, and whether it is the one of this night.

    Raises:
        MachineError: The folder cannot be written.
    """
    try:
        published = published_as_of(folder)
        if published is not None and published > as_of:
            return folder / LATEST, False
        sets = folder / SETS
        # On the same file system, renaming the folder is one step.
        unfinished = sets / f"{UNFINISHED}{os.getpid()}"
        shutil.rmtree(unfinished, ignore_errors=True)
        unfinished.mkdir(parents=True)
        rows = export_night(warehouse, tables, views, as_of, unfinished, hash_key)
        data = {name: {"rows": count, **_fingerprint(unfinished / name)} for name, count in rows.items()}
        for name, text in pages.items():
            (unfinished / name).write_text(text, encoding="utf-8")
        manifest = json.dumps({"as_of": as_of.isoformat(), "model_id": model_id, "files": data}, indent=2) + "\n"
        (unfinished / MANIFEST).write_text(manifest, encoding="utf-8")
        name = f"{as_of}-{hashlib.sha256(manifest.encode()).hexdigest()[:8]}"
        _put(unfinished, sets / name, data)
        _switch(folder, name)
        _delete_old_sets(sets, name)
    except OSError as error:
        raise MachineError(f"{error.filename or folder}: cannot publish: {error.strerror}") from error
    return folder / LATEST, True


def published_as_of(folder: Path) -> datetime.date | None:
    """Returns the night of the latest set; None if nothing is published."""
    try:
        manifest = json.loads((folder / LATEST / MANIFEST).read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    return datetime.date.fromisoformat(manifest["as_of"])


def damaged_files(folder: Path) -> list[str]:
    """Returns the files of the latest set that are missing or differ from its manifest.

    Raises:
        MachineError: Nothing is published, or the folder cannot be read.
    """
    latest = folder / LATEST
    try:
        return _damaged(latest, json.loads((latest / MANIFEST).read_text(encoding="utf-8"))["files"])
    except OSError as error:
        raise MachineError(f"{error.filename or folder}: cannot check what is published: {error.strerror}") from error


def _damaged(folder: Path, files: Mapping[str, Mapping[str, object]]) -> list[str]:
    return [name for name, entry in files.items() if not _is_whole(folder / name, entry)]


def _is_whole(file: Path, entry: Mapping[str, object]) -> bool:
    """Returns whether a file is what its entry in the manifest says."""
    try:
        return entry.items() >= _fingerprint(file).items()
    except (FileNotFoundError, MachineError):
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
    """Moves a set to its name. If the set exists already, replaces only its pages and damaged files."""
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
    others = [path for path in sets.iterdir() if path.name != current]
    whole = [path for path in others if (path / MANIFEST).exists() and not path.name.startswith(UNFINISHED)]
    whole.sort(key=lambda path: (path / MANIFEST).stat().st_mtime)
    abandoned = [path for path in others if path.name.startswith(UNFINISHED)]
    for path in [*whole[: -(SETS_KEPT - 1)], *abandoned]:
        shutil.rmtree(path, ignore_errors=True)
