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
from seg_pipeline.tables import Table
from seg_pipeline.warehouse import Warehouse

LATEST = "latest"
SETS = "sets"
WRITING = ".writing-"
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
) -> tuple[Path, bool]:
    """Writes one night's set and makes it the latest, unless a later night is published already.

    Args:
        warehouse: Where the tables are.
        tables: Published as Parquet and CSV, the night's rows in the order of the key.
        pages: Text files, name -> content.
        as_of: The night.
        model_id: The model that the segments come from.
        folder: Of all published sets.

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
        writing = sets / f"{WRITING}{os.getpid()}"
        shutil.rmtree(writing, ignore_errors=True)
        writing.mkdir(parents=True)
        data = _write_tables(warehouse, tables, as_of, writing)
        for name, text in pages.items():
            (writing / name).write_text(text, encoding="utf-8")
        manifest = json.dumps({"as_of": as_of.isoformat(), "model_id": model_id, "files": data}, indent=2) + "\n"
        (writing / MANIFEST).write_text(manifest, encoding="utf-8")
        name = f"{as_of}-{hashlib.sha256(manifest.encode()).hexdigest()[:8]}"
        _put(writing, sets / name)
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
    """Files of the latest set that are missing or not what its manifest says."""
    latest = folder / LATEST
    files = json.loads((latest / MANIFEST).read_text(encoding="utf-8"))["files"]
    return [name for name, said in files.items() if _digest(latest / name) != said["sha256"]]


def _digest(file: Path) -> str | None:
    if not file.exists():
        return None
    with file.open("rb") as content:
        return hashlib.file_digest(content, "sha256").hexdigest()


def _write_tables(
    warehouse: Warehouse, tables: Sequence[Table], as_of: datetime.date, folder: Path
) -> dict[str, object]:
    """Parquet and CSV of each table, and for each file its rows and digest."""
    files: dict[str, object] = {}
    for table in tables:
        rows = warehouse.count(table, as_of)
        for form in ("parquet", "csv"):
            file = folder / f"{table.asset_key[1]}.{form}"
            warehouse.export_night(table, as_of, file)
            files[file.name] = {"rows": rows, "sha256": _digest(file)}
    return files


def _put(written: Path, target: Path) -> None:
    """The written set under its name. Where that set is there already only what may differ (the pages) is replaced."""
    if not target.exists():
        os.replace(written, target)
        return
    for file in written.iterdir():
        os.replace(file, target / file.name)


def _switch(folder: Path, name: str) -> None:
    link = folder / f".{LATEST}-{os.getpid()}"
    link.unlink(missing_ok=True)
    link.symlink_to(Path(SETS) / name)
    os.replace(link, folder / LATEST)


def _forget_old_sets(sets: Path, current: str) -> None:
    """Removes what killed runs left half-written, and all sets but the current and the one before it."""
    others = [path for path in sets.iterdir() if path.name != current]
    whole = [path for path in others if (path / MANIFEST).exists() and not path.name.startswith(WRITING)]
    whole.sort(key=lambda path: (path / MANIFEST).stat().st_mtime)
    half = [path for path in others if path.name.startswith(WRITING)]
    for path in [*whole[: -(SETS_KEPT - 1)], *half]:
        shutil.rmtree(path, ignore_errors=True)
