"""The Delta Lake log beside the Parquet files of a large table, for programs that read Delta tables.

The DuckDB file decides which files are the table, and the log follows it. Each change of the table is one version in
the log, so a reader sees the old table or the new one. The log names files and counts their rows; it holds no values.
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
    """Raises UsageError if deltalake, which writes the log, is not installed."""
    try:
        import deltalake  # noqa: F401
    except ImportError:
        raise UsageError("spark.format=delta needs deltalake: install seg-pipeline with its extra delta") from None


def update_log(table: Path, columns: "pa.Schema", rows: Mapping[str, int]) -> None:
    """Makes a table's log list the table's files; writes nothing if it does already.

    Args:
        table: The folder of the table.
        columns: The columns of the table.
        rows: The files that the table consists of, by their path within the folder, with their numbers of rows.

    Raises:
        MachineError: The log cannot be read or written.
    """
    from deltalake import DeltaTable, Schema
    from deltalake.exceptions import DeltaError
    from deltalake.transaction import AddAction, RemoveAction, create_table_with_add_actions

    def addition(path: str) -> AddAction:
        status = (table / path).stat()
        return AddAction(path, status.st_size, {}, status.st_mtime_ns // 10**6, True, f'{{"numRecords":{rows[path]}}}')

    schema = Schema.from_arrow(columns)
    try:
        log = DeltaTable(table) if DeltaTable.is_deltatable(str(table)) else None
        if log is None or log.schema() != schema:
            files = [addition(path) for path in sorted(rows)]
            create_table_with_add_actions(str(table), schema, files, "overwrite", name=table.name)
            return
        # The log writes paths as URIs do.
        listed = {unquote(path) for path in log.get_add_actions().column("path").to_pylist()}
        now = time.time_ns() // 10**6
        changes: list[AddAction | RemoveAction] = [addition(path) for path in sorted(rows.keys() - listed)]
        changes += [RemoveAction(path, True, now, None, {}) for path in sorted(listed - rows.keys())]
        if changes:
            log.create_write_transaction(changes, "append", schema)
    except (DeltaError, OSError) as error:
        raise MachineError(f"spark.format=delta: the log of {table} cannot be brought up to date: {error}") from error


def delete_log(table: Path) -> None:
    """Deletes a table's log: a log that is no longer updated would name files that do not exist."""
    shutil.rmtree(table / LOG, ignore_errors=True)
