"""Erasing a customer: from every table, every night and what is published; and old files do not bring them back."""

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

# Where ids stand as they were delivered.
AS_DELIVERED = (RAW_ORDERS.name, "prepared.rejected_orders")


@dataclass(frozen=True, slots=True)
class Erased:
    """What was erased: rows by table, and whether what is published was made anew."""

    rows: dict[str, int]
    republished: bool


def erase(settings: Settings, progress: Progress, customers: Sequence[str]) -> Erased:
    """Erases customers from the warehouse and the published files, and keeps hashes of their ids for later loads.

    The published night is built anew without them, sets before it are deleted, and the warehouse file is written anew,
    so that nothing of them is left in pages that are free.

    Args:
        settings: Those that the published night was run with.
        progress: Told of the run that builds the published night anew.
        customers: Ids as in clean_orders.

    Raises:
        SegPipelineError: with the one line to show.
    """
    check(settings)
    warehouse = warehouse_of(settings)
    with warehouse.held():
        with warehouse.transaction() as connection:
            rows = _delete(connection, customers)
        republished = _publish_anew(settings, progress)
    warehouse.rewrite()
    return Erased(rows, republished)


def _delete(connection: Connection, customers: Sequence[str]) -> dict[str, int]:
    for table in (RAW_ORDERS, DELIVERIES, ERASED_CUSTOMERS):
        connection.create(table, or_replace=False)
    ids = {"ids": list(customers), **CUSTOMER_ID}
    rows: dict[str, int] = {}
    for name in connection.tables_with("customer_id"):
        customer = CUSTOMER_TEXT if name in AS_DELIVERED else "customer_id"
        if deleted := connection.delete(name, f"{customer} IN (SELECT unnest($ids::VARCHAR[]))", ids):
            rows[name] = deleted
    connection.execute(
        f"INSERT INTO {ERASED_CUSTOMERS.name} SELECT DISTINCT sha256(id) FROM (SELECT unnest($ids::VARCHAR[]) AS id)"
        f" WHERE sha256(id) NOT IN (SELECT customer_hash FROM {ERASED_CUSTOMERS.name})",
        ids,
    )
    connection.execute(
        f"UPDATE {DELIVERIES.name} SET lines = left_over.lines FROM (SELECT deliveries.source_file, count(source_row)"
        f" AS lines FROM {DELIVERIES.name} LEFT JOIN {RAW_ORDERS.name} USING (source_file) GROUP BY ALL) AS left_over"
        f" WHERE deliveries.source_file = left_over.source_file"
    )
    return rows


def _publish_anew(settings: Settings, progress: Progress) -> bool:
    """The published night without them, and no set but that one."""
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
