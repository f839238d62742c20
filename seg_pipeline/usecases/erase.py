"""Erases customers from every table, night and published file; files loaded later do not bring them back."""

import shutil
from collections.abc import Sequence
from dataclasses import dataclass

from seg_pipeline.guest import check
from seg_pipeline.publishing.sets import LATEST, SETS, published_as_of
from seg_pipeline.raw.columns import CUSTOMER_ID, CUSTOMER_TEXT
from seg_pipeline.raw.tables import DELIVERIES, ERASED_CUSTOMERS, RAW_ORDERS
from seg_pipeline.settings import Settings
from seg_pipeline.usecases.backfill import backfill
from seg_pipeline.usecases.execution import Progress
from seg_pipeline.warehouse import Connection
from seg_pipeline.wiring import warehouse_of

# Tables that hold ids as they were delivered.
TABLES_AS_DELIVERED = (RAW_ORDERS.name, "prepared.rejected_orders")


@dataclass(frozen=True, slots=True)
class Erasure:
    """The rows that were erased from each table, and whether the published night was built again."""

    rows: dict[str, int]
    republished: bool


def erase(settings: Settings, progress: Progress, customers: Sequence[str]) -> Erasure:
    """Erases customers from the warehouse and the published files, and keeps hashes of their ids for later loads.

    Builds the published night again without them, deletes the sets published before it, and writes the warehouse file
    again, so that its free pages hold nothing of them either.

    Args:
        settings: The settings that the published night was run with.
        progress: Receives the progress of the run that builds the published night again.
        customers: Customer ids as in clean_orders.

    Raises:
        SegPipelineError: The customers could not be erased; the message is one line.
    """
    check(settings)
    warehouse = warehouse_of(settings)
    with warehouse.held():
        with warehouse.transaction() as connection:
            rows = _delete(connection, customers)
        republished = _republish(settings, progress)
    warehouse.rewrite()
    return Erasure(rows, republished)


def _delete(connection: Connection, customers: Sequence[str]) -> dict[str, int]:
    """Deletes the customers' rows, and returns how many there were by table."""
    for table in (RAW_ORDERS, DELIVERIES, ERASED_CUSTOMERS):
        connection.create(table, or_replace=False)
    ids = {"ids": list(customers), **CUSTOMER_ID}
    rows: dict[str, int] = {}
    for name in connection.tables_with("customer_id"):
        customer = CUSTOMER_TEXT if name in TABLES_AS_DELIVERED else "customer_id"
        if deleted := connection.delete(name, f"{customer} IN (SELECT unnest($ids::VARCHAR[]))", ids):
            rows[name] = deleted
    connection.execute(
        f"INSERT INTO {ERASED_CUSTOMERS.name} SELECT DISTINCT sha256(id) FROM (SELECT unnest($ids::VARCHAR[]) AS id)"
        f" WHERE sha256(id) NOT IN (SELECT customer_hash FROM {ERASED_CUSTOMERS.name})",
        ids,
    )
    connection.execute(
        f"UPDATE {DELIVERIES.name} SET lines = remaining.lines FROM (SELECT deliveries.source_file, count(source_row)"
        f" AS lines FROM {DELIVERIES.name} LEFT JOIN {RAW_ORDERS.name} USING (source_file) GROUP BY ALL) AS remaining"
        f" WHERE deliveries.source_file = remaining.source_file"
    )
    return rows


def _republish(settings: Settings, progress: Progress) -> bool:
    """Builds the published night again and deletes all other sets; returns whether a night was published."""
    folder = settings.output.path
    as_of = published_as_of(folder)
    if as_of is None:
        return False
    backfill(settings, progress, as_of, as_of)
    current = (folder / LATEST).resolve()
    for path in (folder / SETS).iterdir():
        if path.resolve() != current:
            shutil.rmtree(path)
    return True
