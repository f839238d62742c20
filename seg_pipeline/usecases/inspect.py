"""Shows how a run would read a source, without running: its columns, its dates and the first problems."""

import datetime
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from decimal import Decimal

from seg_pipeline.errors import UsageError
from seg_pipeline.prepared.cleaning import clean
from seg_pipeline.prepared.dates import AMBIGUOUS, count_read, date_reading
from seg_pipeline.prepared.tables import REASONS
from seg_pipeline.raw.columns import ORDER_COLUMNS
from seg_pipeline.raw.ingestion import sample
from seg_pipeline.raw.sources import Delivery, Discovery
from seg_pipeline.raw.tables import RAW_ORDERS
from seg_pipeline.settings import Settings
from seg_pipeline.warehouse import Connection, Relation, Warehouse

SAMPLE_LINES = 20_000
LINES = Relation(RAW_ORDERS.name)
# Lines with different values of these columns are never added up.
NEVER_MIXED = ("currency", "shop")


@dataclass(frozen=True, slots=True)
class Inspection:
    """How a run would read a source.

    Attributes:
        deliveries: The files by shape, with the column of the file for each column of raw_orders.
        refused: For each file that cannot be read, why it is set aside.
        examples: For each of the deliveries, the values of its first line by column of raw_orders.
        dates: How dates are read.
        lines: The number of lines read: the first ones of each shape.
        clean: The lines that would count.
        returns: The clean lines that are returns.
        customers: The customers of the clean lines.
        orders: The orders of the clean lines.
        revenue: The sum of the clean lines, net of returns.
        first_day: The first day with a clean line; None if there is none.
        last_day: The last day with a clean line; None if there is none.
        problems: For each reason of rejection, the reason, its meaning, the number of lines and the first of them.
    """

    deliveries: list[Delivery]
    refused: list[str]
    examples: list[dict[str, str | None]]
    dates: str
    lines: int
    clean: int
    returns: int
    customers: int
    orders: int
    revenue: Decimal
    first_day: datetime.date | None
    last_day: datetime.date | None
    problems: list[tuple[str, str, int, str]]


@dataclass(frozen=True, slots=True)
class Mixture:
    """The values of a source among which somebody has to choose before its lines can be added up.

    Attributes:
        values: For currency and shop, each value with its number of lines, the most frequent first.
        readings: If dates can be read in several ways, what each way makes of them; else empty.
        first_date: The first date, as it is written.
    """

    values: dict[str, list[tuple[str, int]]]
    readings: dict[str, str]
    first_date: str


def inspect(settings: Settings) -> Inspection:
    """Reads and cleans the first lines of each shape of file in memory, with the code that a run uses.

    Raises:
        SegPipelineError: A run would stop with the same message.
    """
    with _sampled(settings) as (connection, sampled):
        dates = clean(connection, settings)
        examples = [_first_line(connection, delivery) for delivery in sampled.deliveries]
        lines = connection.execute("SELECT count(*) FROM raw.raw_orders").fetchall()[0][0]
        clean_lines, returns, customers, orders, revenue, first_day, last_day = connection.execute(
            "SELECT count(*), count(*) FILTER (is_return), count(DISTINCT customer_id), count(DISTINCT order_id),"
            " coalesce(sum(amount), 0), CAST(min(ordered_at) AS DATE), CAST(max(ordered_at) AS DATE)"
            " FROM prepared.clean_orders"
        ).fetchall()[0]
        problems = connection.execute(
            "SELECT reason, count(*) AS lines, arg_min(source_file || ' row ' || source_row || ': ' || concat_ws(', ',"
            " order_id, customer_id, ordered_at, product_id, quantity, unit_price, amount), (source_file, source_row))"
            " FROM prepared.rejected_orders GROUP BY reason ORDER BY lines DESC, reason"
        ).fetchall()
    return Inspection(
        deliveries=sampled.deliveries,
        refused=[str(error) for error in sampled.refused.values()],
        examples=examples,
        dates=dates.name,
        lines=lines,
        clean=clean_lines,
        returns=returns,
        customers=customers,
        orders=orders,
        revenue=revenue,
        first_day=first_day,
        last_day=last_day,
        problems=[(reason, REASONS[reason], count, example) for reason, count, example in problems],
    )


def mixture(settings: Settings) -> Mixture:
    """Returns the values among which somebody has to choose, found in the first lines of each shape of file.

    Raises:
        SegPipelineError: No file can be read, or none of the dates.
    """
    with _sampled(settings) as (connection, _):
        values = {
            column: connection.execute(
                f"SELECT upper(trim({column})) AS value, count(*) AS lines FROM raw.raw_orders"
                f" WHERE trim({column}) != '' GROUP BY value ORDER BY lines DESC, value"
            ).fetchall()
            for column in NEVER_MIXED
        }
        readings = {}
        try:
            date_reading(connection, LINES, settings.source.date_format)
        except UsageError:
            if settings.source.date_format != "auto":
                raise
            readings = _readings(connection)
        first_date = connection.execute(
            "SELECT coalesce(arg_min(trim(ordered_at), (source_file, source_row)), '') FROM raw.raw_orders"
            " WHERE trim(ordered_at) != ''"
        ).fetchall()[0][0]
    return Mixture(values, readings, first_date)


@contextmanager
def _sampled(settings: Settings) -> Iterator[tuple[Connection, Discovery]]:
    """Yields a warehouse in memory whose raw_orders hold the first lines of each shape of file, and those files."""
    with Warehouse(database=":memory:").get_connection() as connection:
        yield connection, sample(connection, settings.source, SAMPLE_LINES)


def _readings(connection: Connection) -> dict[str, str]:
    """Maps each way to read the dates to the lines and the days that it finds, the way with most lines first."""
    readings = []
    for family in AMBIGUOUS:
        reading = date_reading(connection, LINES, family)
        lines = count_read(connection, LINES, reading)[1]
        span = connection.execute(
            "SELECT strftime(min(day), '%Y-%m-%d') || ' to ' || strftime(max(day), '%Y-%m-%d') FROM"
            f" (SELECT try_strptime(trim(ordered_at), $formats) AS day FROM {LINES})",
            {"formats": reading.formats},
        ).fetchall()[0][0]
        if lines:
            readings.append((lines, family, f"{lines:,} lines, {span}"))
    return {family: result for _, family, result in sorted(readings, key=lambda reading: -reading[0])}


def _first_line(connection: Connection, delivery: Delivery) -> dict[str, str | None]:
    """Returns the values of the first line of a delivery by column of raw_orders; None if it has no line."""
    first = connection.execute(
        f"SELECT {', '.join(ORDER_COLUMNS)} FROM raw.raw_orders WHERE source_file = $file ORDER BY source_row LIMIT 1",
        {"file": delivery.files[0]},
    ).fetchone()
    return dict(zip(ORDER_COLUMNS, first, strict=True)) if first else dict.fromkeys(ORDER_COLUMNS)
