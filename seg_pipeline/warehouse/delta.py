"""A Delta Lake log beside the Parquet files of a large table, for whoever reads tables of Delta.

What a table is, the DuckDB file says; the log follows it. Each change of a table is one version of it, so a reader
finds the old table or the new one. The log names files and counts rows, and holds no value of any.
"""

import shutil
import time
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import unquote

from seg_pipeline.errors import MachineError, UsageError

if TYPE_CHECKING:
    import pyarrow as pa

LOG = "_delta_log"


def check_installed() -> None:
    """Raises UsageError where deltalake is not there to write a log."""
    try:
        import deltalake  # noqa: F401
    except ImportError:
        raise UsageError("spark.format=delta needs deltalake: install seg-pipeline with its extra delta") from None


def follow(table: Path, columns: "pa.Schema", rows: Mapping[str, int]) -> None:
    """Brings a table's log to its files; where it is there already nothing is written.

    Args:
        table: The folder of the table.
        columns: The columns of the table.
        rows: How many rows each file has that the table is now, by its path within the folder.

    Raises:
        MachineError: the log cannot be read or written.
    """
    from deltalake import DeltaTable, Schema
    from deltalake.exceptions import DeltaError
    from deltalake.transaction import AddAction, RemoveAction, create_table_with_add_actions

    def added(path: str) -> AddAction:
        about = (table / path).stat()
        return AddAction(path, about.st_size, {}, about.st_mtime_ns // 10**6, True, f'{{"numRecords":{rows[path]}}}')

    schema = Schema.from_arrow(columns)
    try:
        log = DeltaTable(table) if DeltaTable.is_deltatable(str(table)) else None
        if log is None or log.schema() != schema:
            files = [added(path) for path in sorted(rows)]
            create_table_with_add_actions(str(table), schema, files, "overwrite", name=table.name)
            return
        # Paths of a log are those of URIs.
        listed = {unquote(path) for path in log.get_add_actions().column("path").to_pylist()}
        now = time.time_ns() // 10**6
        changes: list[AddAction | RemoveAction] = [added(path) for path in sorted(rows.keys() - listed)]
        changes += [RemoveAction(path, True, now, None, {}) for path in sorted(listed - rows.keys())]
        if changes:
            log.create_write_transaction(changes, "append", schema)
    except (DeltaError, OSError) as error:
        raise MachineError(f"spark.format=delta: the log of {table} cannot be brought up to date: {error}") from error


def forget(table: Path) -> None:
    """Deletes a table's log: one that no longer follows would name files that are gone."""
    shutil.rmtree(table / LOG, ignore_errors=True)
