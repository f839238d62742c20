"""What readers use, beside the warehouse: one set of files, switched as a whole.

A set is written to a folder of its own, then the link `latest` is moved to it in one step. A reader sees the old set or
the new one; a run that is killed leaves the old one. The set is named by its night and content, so that the same night
published twice is the same set.
"""

import datetime
import hashlib
import json
import os
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path

from seg_pipeline.errors import MachineError
from seg_pipeline.publishing.exports import DATABASE, content_digest, export_night
from seg_pipeline.publishing.views import View
from seg_pipeline.tables import Table
from seg_pipeline.warehouse import Warehouse

LATEST = "latest"
REPORT_PAGE = "report.html"
# Beside the report, which is the same for the same orders.
TIMINGS = "timings.csv"
SETS = "sets"
# How the folder of a set begins that is not whole yet, or never will be.
UNFINISHED = ".unfinished-"
MANIFEST = "manifest.json"
# The set before is kept, for readers that are still in it.
SETS_KEPT = 2


def publish(
    warehouse: Warehouse,
    tables: Sequence[Table],
    pages: Mapping[str, str],
    as_of: datetime.date,
    model_id: str,
    folder: Path,
    hash_key: str | None = None,
    views: Sequence[View] = (),
) -> tuple[Path, bool]:
    """Writes one night's set and makes it the latest, unless a later night is published already.

    Args:
        warehouse: Where the tables are.
        tables: Published as Parquet and CSV, and all in one DuckDB file; the night's rows in the order of the key.
        pages: Text files, name -> content; they may differ for the same set.
        as_of: The night.
        model_id: The model that the segments come from.
        folder: Of all published sets.
        hash_key: What customer ids are hashed with; None leaves them plain.
        views: Of the DuckDB file, over these tables.

    Returns:
        The folder of the set, through `latest` where it is the latest, and whether it is.

    Raises:
        MachineError: the folder cannot be written.
    """
    try:
        published = published_as_of(folder)
        if published is not None and published > as_of:
            return folder / LATEST, False
        sets = folder / SETS
        # Written within the folder, so that the move to its name is one step on one file system.
        writing = sets / f"{UNFINISHED}{os.getpid()}"
        shutil.rmtree(writing, ignore_errors=True)
        writing.mkdir(parents=True)
        rows = export_night(warehouse, tables, views, as_of, writing, hash_key)
        data = {name: {"rows": count, **_fingerprint(writing / name)} for name, count in rows.items()}
        for name, text in pages.items():
            (writing / name).write_text(text, encoding="utf-8")
        manifest = json.dumps({"as_of": as_of.isoformat(), "model_id": model_id, "files": data}, indent=2) + "\n"
        (writing / MANIFEST).write_text(manifest, encoding="utf-8")
        name = f"{as_of}-{hashlib.sha256(manifest.encode()).hexdigest()[:8]}"
        _put(writing, sets / name, data)
        _switch(folder, name)
        _forget_old_sets(sets, name)
    except OSError as error:
        raise MachineError(f"{error.filename or folder}: cannot publish: {error.strerror}") from error
    return folder / LATEST, True


def published_as_of(folder: Path) -> datetime.date | None:
    """The night of the latest set; None where nothing is published."""
    try:
        manifest = json.loads((folder / LATEST / MANIFEST).read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    return datetime.date.fromisoformat(manifest["as_of"])


def damaged_files(folder: Path) -> list[str]:
    """Files of the latest set that are missing or not what its manifest says.

    Raises:
        MachineError: nothing is published, or the folder cannot be read.
    """
    latest = folder / LATEST
    try:
        return _damaged(latest, json.loads((latest / MANIFEST).read_text(encoding="utf-8"))["files"])
    except OSError as error:
        raise MachineError(f"{error.filename or folder}: cannot check what is published: {error.strerror}") from error


def _damaged(folder: Path, files: Mapping[str, Mapping[str, object]]) -> list[str]:
    return [name for name, said in files.items() if not _is_whole(folder / name, said)]


def _is_whole(file: Path, said: Mapping[str, object]) -> bool:
    try:
        return said.items() >= _fingerprint(file).items()
    except (FileNotFoundError, MachineError):
        return False


def _fingerprint(file: Path) -> dict[str, str]:
    """What tells a file from another, under its name in the manifest.

    Of the database it is the content, so that the same night is the same set whenever it is written.
    """
    if file.name == DATABASE:
        return {"content_sha256": content_digest(file)}
    with file.open("rb") as content:
        return {"sha256": hashlib.file_digest(content, "sha256").hexdigest()}


def _put(written: Path, target: Path, data: Mapping[str, Mapping[str, object]]) -> None:
    """The written set under its name. Where that set is there already only what may differ (the pages), or is damaged,
    is replaced.
    """
    if not target.exists():
        os.replace(written, target)
        return
    whole = data.keys() - _damaged(target, data)
    for file in written.iterdir():
        if file.name not in whole:
            os.replace(file, target / file.name)


def _switch(folder: Path, name: str) -> None:
    link = folder / f".{LATEST}-{os.getpid()}"
    link.unlink(missing_ok=True)
    link.symlink_to(Path(SETS) / name)
    os.replace(link, folder / LATEST)


def _forget_old_sets(sets: Path, current: str) -> None:
    """Removes what killed runs left half-written, and all sets but the current and the one before it."""
    others = [path for path in sets.iterdir() if path.name != current]
    whole = [path for path in others if (path / MANIFEST).exists() and not path.name.startswith(UNFINISHED)]
    whole.sort(key=lambda path: (path / MANIFEST).stat().st_mtime)
    half = [path for path in others if path.name.startswith(UNFINISHED)]
    for path in [*whole[: -(SETS_KEPT - 1)], *half]:
        shutil.rmtree(path, ignore_errors=True)
