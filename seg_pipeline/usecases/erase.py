"""Erases customers: deletes their rows, rebuilds what was published, and rewrites the warehouse file."""

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
    """What was erased.

    Attributes:
        customers: The ids of the customers, each once.
        rows: How many of their rows were deleted, by table; tables that had none are missing.
        republished: Whether a published night was rebuilt without them; if not, no night was published.
    """

    customers: list[str]
    rows: dict[str, int]
    republished: bool


def erase(settings: Settings, progress: Progress, customers: Sequence[str]) -> Erasure:
    """Erases customers from the warehouse and the published files.

    Args:
        settings: The settings that the published night was run with.
        progress: Receives the progress of the run that rebuilds the published night.
        customers: Customer ids as in clean_orders; repeated ids count once.

    Raises:
        SegPipelineError: The customers could not be erased; the message is one line.
    """
    check(settings)
    distinct = list(dict.fromkeys(customers))
    warehouse = warehouse_of(settings)
    with warehouse.held():
        with warehouse.transaction() as connection:
            rows = _delete(connection, distinct)
        republished = _republish(settings, progress)
    # The free pages of the file still hold the deleted rows.
    warehouse.rewrite()
    return Erasure(distinct, rows, republished)


def _delete(connection: Connection, customers: Sequence[str]) -> dict[str, int]:
    """Deletes the customers' rows and keeps hashes of their ids, by which later loads leave their lines out.

    Returns:
        The number of rows deleted, by table.
    """
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
    """Rebuilds the published night and deletes all other published sets; returns whether a night was published."""
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
