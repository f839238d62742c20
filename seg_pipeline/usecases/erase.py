"""Erases customers: removes what is published, deletes their rows, builds the night again, and searches for them."""

import datetime
from collections.abc import Sequence
from dataclasses import dataclass

from seg_pipeline.errors import DataError, MachineError, SegPipelineError
from seg_pipeline.guest import check
from seg_pipeline.publishing.sets import SETS, delete_all, published_as_of
from seg_pipeline.raw.columns import CUSTOMER_ID, CUSTOMER_TEXT
from seg_pipeline.raw.erasure import ErasureKey, prepare, remember
from seg_pipeline.raw.tables import DELIVERIES, RAW_ORDERS
from seg_pipeline.segments.tables import SEGMENT_PROFILES
from seg_pipeline.settings import Settings
from seg_pipeline.usecases.backfill import backfill
from seg_pipeline.usecases.execution import Progress
from seg_pipeline.usecases.existing import existing_warehouse
from seg_pipeline.usecases.records import forget
from seg_pipeline.usecases.traces import traces
from seg_pipeline.warehouse import Connection

# Tables that hold ids as they were delivered.
TABLES_AS_DELIVERED = (RAW_ORDERS.name, "prepared.rejected_orders")
SHOWN = 5


@dataclass(frozen=True, slots=True)
class Erasure:
    """What was erased.

    Attributes:
        customers: The ids of the customers, each once.
        rows: How many of their rows were deleted, by table; tables that had none are missing.
        files: The files that were removed because they could hold the customers: what was left beside the warehouse.
        runs: The runs whose records named the customers and were deleted from Dagster's home.
        published: The night that was built again without them; None if the warehouse has no night.
    """

    customers: list[str]
    rows: dict[str, int]
    files: list[str]
    runs: list[str]
    published: datetime.date | None


def erase(settings: Settings, progress: Progress, customers: Sequence[str]) -> Erasure:
    """Erases customers from the warehouse and the published files, whatever state those are in.

    Nothing is published until the customers are gone. If the process is killed, erasing them again completes it.

    Args:
        settings: The settings that the published night was run with.
        progress: Receives the progress of the run that builds the night again.
        customers: Customer ids as in clean_orders; repeated ids count once.

    Raises:
        DataError: The customers are erased, but the night fails a critical check, so nothing is published; or an id
            was found somewhere else, which the message names.
        UsageError: The warehouse does not exist, or the key of the customers erased before is missing.
        MachineError: A file cannot be read or written; if the customers are erased already, the message says so.
    """
    check(settings)
    distinct = list(dict.fromkeys(customers))
    warehouse, folder = existing_warehouse(settings), settings.output.path
    key = ErasureKey.beside(settings.warehouse.path)
    with warehouse.held():
        with warehouse.get_connection() as connection:
            prepare(connection, key)
        as_of = _published_night(settings)
        if not (folder / SETS).exists():
            progress.on_warning(f"{folder}: nothing was published here; if it was elsewhere, erase again with --output")
        delete_all(folder)
        as_of = as_of or warehouse.newest_night(SEGMENT_PROFILES.name)
        with warehouse.transaction() as connection:
            remember(connection, key, distinct)
            rows = _delete(connection, distinct)
    # The free pages of the file still hold the deleted rows.
    files, runs, failure = [], [], None
    try:
        files = warehouse.rewrite()
        runs = forget(distinct)
        if as_of is not None:
            backfill(settings, progress, as_of, as_of)
    except SegPipelineError as error:
        failure = error
    found = traces(settings, warehouse, distinct)
    gone = "the customers are erased from the tables and from what was published"
    if found:
        more = f" and {len(found) - SHOWN} more" if len(found) > SHOWN else ""
        raise DataError(f"{gone}, but an id still stands in {', '.join(found[:SHOWN])}{more}")
    if failure:
        kind = MachineError if isinstance(failure, MachineError) else DataError
        raise kind(f"{gone}; nothing is published now; erase again to complete it: {failure}")
    return Erasure(distinct, rows, files, runs, as_of)


def _published_night(settings: Settings) -> datetime.date | None:
    """Returns the published night; None if nothing readable is published."""
    try:
        return published_as_of(settings.output.path)
    except MachineError:
        # A set that cannot be read is removed like any other.
        return None


def _delete(connection: Connection, customers: Sequence[str]) -> dict[str, int]:
    """Deletes the customers' rows.

    Returns:
        The number of rows deleted, by table.
    """
    for table in (RAW_ORDERS, DELIVERIES):
        connection.create(table, or_replace=False)
    ids = {"ids": list(customers), **CUSTOMER_ID}
    rows: dict[str, int] = {}
    for name in connection.tables_with("customer_id"):
        customer = CUSTOMER_TEXT if name in TABLES_AS_DELIVERED else "customer_id"
        if deleted := connection.delete(name, f"{customer} IN (SELECT unnest($ids::VARCHAR[]))", ids):
            rows[name] = deleted
    connection.execute(
        f"UPDATE {DELIVERIES.name} SET lines = remaining.lines FROM (SELECT deliveries.source_file, count(source_row)"
        f" AS lines FROM {DELIVERIES.name} LEFT JOIN {RAW_ORDERS.name} USING (source_file) GROUP BY ALL) AS remaining"
        f" WHERE deliveries.source_file = remaining.source_file"
    )
    return rows
