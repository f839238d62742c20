"""Finds the raw lines of a customer, and whether each of them counts on a night."""

import datetime
from dataclasses import dataclass
from pathlib import Path

from seg_pipeline.prepared.tables import REASONS
from seg_pipeline.raw.columns import CUSTOMER_ID, CUSTOMER_TEXT
from seg_pipeline.warehouse import Connection

LINES_SQL = Path(__file__).with_name("customer_lines.sql")

COUNTS, TOO_LATE = "counts", "on or after the night"
EXAMPLES = 3


@dataclass(frozen=True, slots=True)
class Line:
    """A raw line as delivered; `fate` is `counts`, `on or after the night`, or the reason for its rejection."""

    source_file: str
    source_row: int
    order_id: str | None
    ordered_at: str | None
    product_id: str | None
    quantity: str | None
    unit_price: str | None
    amount: str | None
    fate: str


@dataclass(frozen=True, slots=True)
class Rejection:
    """The number of lines that were rejected for one reason, and the first of them."""

    reason: str
    meaning: str
    lines: int
    examples: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class CustomerLines:
    """The raw lines of a customer.

    Attributes:
        total: How many there are.
        counting: How many of them count.
        too_late: How many clean ones are on or after the night.
        first: The first of them.
        rejections: The rejected ones by reason.
    """

    total: int
    counting: int
    too_late: int
    first: tuple[Line, ...]
    rejections: tuple[Rejection, ...]


def lines_of(connection: Connection, customer_id: str, as_of: datetime.date, shown: int) -> CustomerLines:
    """Returns the raw lines of a customer, as they count on a night.

    Args:
        connection: A connection to the warehouse.
        customer_id: The customer's id as in clean_orders.
        as_of: The night.
        shown: How many of the first lines to return.
    """
    customer = {"customer_id": customer_id, **CUSTOMER_ID}
    rejected_lines = f"SELECT * FROM prepared.rejected_orders WHERE {CUSTOMER_TEXT} = $customer_id"
    with (
        connection.temporary(rejected_lines, customer) as customer_rejections,
        connection.temporary(
            LINES_SQL, {**customer, "as_of": as_of, "customer_rejections": customer_rejections}
        ) as customer_lines,
    ):
        [(total, counting, too_late)] = connection.execute(
            "SELECT count(*), count(*) FILTER (counts), count(*) FILTER (NOT counts AND reason IS NULL)"
            f" FROM {customer_lines}"
        ).fetchall()
        first = connection.execute(
            "SELECT source_file, source_row, order_id, ordered_at, product_id, quantity, unit_price, amount,"
            f" CASE WHEN counts THEN $counts ELSE coalesce(reason, $too_late) END AS fate FROM {customer_lines}"
            " ORDER BY parsed_at NULLS LAST, source_file, source_row LIMIT $shown",
            {"counts": COUNTS, "too_late": TOO_LATE, "shown": shown},
        ).fetchall()
        rejected = connection.execute(
            "SELECT reason, count(*) AS lines, list(source_file || ' row ' || source_row || ': ' || concat_ws(', ',"
            " order_id, customer_id, ordered_at, product_id, quantity, unit_price, amount)"
            f" ORDER BY source_file, source_row)[:{EXAMPLES}] FROM {customer_lines} WHERE reason IS NOT NULL"
            " GROUP BY reason ORDER BY lines DESC, reason"
        ).fetchall()
    return CustomerLines(
        total=total,
        counting=counting,
        too_late=too_late,
        first=tuple(Line(*line) for line in first),
        rejections=tuple(
            Rejection(reason, REASONS[reason], count, tuple(examples)) for reason, count, examples in rejected
        ),
    )
