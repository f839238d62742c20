"""What the pipeline would make of a source, before anything is run: columns found, dates, first problems."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from seg_pipeline.prepared.cleaning import clean
from seg_pipeline.prepared.tables import REASONS
from seg_pipeline.raw.columns import ORDER_COLUMNS
from seg_pipeline.raw.ingestion import sample
from seg_pipeline.raw.sources import Delivery
from seg_pipeline.settings import Settings
from seg_pipeline.warehouse import Warehouse

if TYPE_CHECKING:
    import duckdb

SAMPLE_LINES = 20_000


@dataclass(frozen=True, slots=True)
class Inspection:
    """A source as it would be read.

    Attributes:
        deliveries: The files by shape, with the column of the file for each column of raw_orders.
        refused: Why each file that cannot be read is set aside.
        examples: For each of the deliveries, the values of its first line by column of raw_orders.
        dates: How the dates are read.
        lines: Lines looked at: the first ones of each shape.
        clean: Those of them that would count.
        problems: Reason, its meaning, lines, and one such line.
    """

    deliveries: list[Delivery]
    refused: list[str]
    examples: list[dict[str, str | None]]
    dates: str
    lines: int
    clean: int
    problems: list[tuple[str, str, int, str]]


def inspect(settings: Settings) -> Inspection:
    """Reads and cleans the first lines of each shape of file in memory, with the code that a run uses.

    Raises:
        SegPipelineError: what a run would stop at, in the same line.
    """
    with Warehouse(database=":memory:").get_connection() as connection:
        found = sample(connection, settings.source, SAMPLE_LINES)
        dates = clean(connection, settings)
        examples = [_first_line(connection, delivery) for delivery in found.deliveries]
        lines = connection.execute("SELECT count(*) FROM raw.raw_orders").fetchall()[0][0]
        kept = connection.execute("SELECT count(*) FROM prepared.clean_orders").fetchall()[0][0]
        problems = connection.execute(
            "SELECT reason, count(*) AS lines, arg_min(source_file || ' row ' || source_row || ': ' || concat_ws(', ',"
            " order_id, customer_id, ordered_at, product_id, quantity, unit_price, amount), (source_file, source_row))"
            " FROM prepared.rejected_orders GROUP BY reason ORDER BY lines DESC, reason"
        ).fetchall()
    return Inspection(
        deliveries=found.deliveries,
        refused=[str(error) for error in found.refused.values()],
        examples=examples,
        dates=dates.name,
        lines=lines,
        clean=kept,
        problems=[(reason, REASONS[reason], count, example) for reason, count, example in problems],
    )


def _first_line(connection: "duckdb.DuckDBPyConnection", delivery: Delivery) -> dict[str, str | None]:
    first = connection.execute(
        f"SELECT {', '.join(ORDER_COLUMNS)} FROM raw.raw_orders WHERE source_file = $file ORDER BY source_row LIMIT 1",
        {"file": str(delivery.files[0])},
    ).fetchone()
    return dict(zip(ORDER_COLUMNS, first, strict=True)) if first else dict.fromkeys(ORDER_COLUMNS)
