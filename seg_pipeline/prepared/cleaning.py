"""Cleaning raw orders: the policies of the settings bound to the SQL beside this file."""

import re
from collections.abc import Sequence
from pathlib import Path

import duckdb

from seg_pipeline.prepared.dates import OFFSET, Reading, date_reading
from seg_pipeline.prepared.tables import CLEAN_ORDERS, REJECTED_ORDERS
from seg_pipeline.settings import Settings
from seg_pipeline.warehouse import execute, replace_table, transaction

SQL = Path(__file__).parent
# What may stand around a customer id, and is no part of it.
BLANKS = " \t\r\n\v\f\u00a0\u3000\ufeff"


def clean(connection: duckdb.DuckDBPyConnection, settings: Settings) -> Reading:
    """Replaces clean_orders and rejected_orders in one transaction, so that their rows always add up to raw_orders.

    Returns how the dates were read.

    Raises:
        UsageError: the dates could be day-first or month-first, and no setting says which.
        DataError: no date format fits any line.
    """
    dates = date_reading(connection, settings.source.date_format)
    policies = {
        "blanks": BLANKS,
        "offset": OFFSET,
        "decimal_comma": settings.source.decimal == ",",
        "is_iso": dates.is_iso,
        "date_formats": dates.formats,
        "cancellations": one_regex(settings.cancellations),
        "excluded_products": one_regex(settings.excluded_products),
        "earliest": settings.plausible_dates.earliest,
        "latest": settings.plausible_dates.latest,
        "returns": settings.returns,
        "duplicates": settings.duplicates,
        "zero_prices": settings.zero_prices,
    }
    # Outside the transaction: what it has not committed yet is read by one thread only.
    execute(
        connection,
        f"CREATE OR REPLACE TEMP TABLE parsed_lines AS {(SQL / 'parsed_lines.sql').read_text(encoding='utf-8')}",
        policies,
    )
    with transaction(connection):
        replace_table(connection, CLEAN_ORDERS, SQL / "clean_orders.sql")
        replace_table(connection, REJECTED_ORDERS, SQL / "rejected_orders.sql")
    connection.execute("DROP TABLE parsed_lines")
    return dates


def one_regex(patterns: Sequence[str]) -> str | None:
    """One regular expression for patterns in which `*` is any text and `?` any character; None for no pattern."""
    if not patterns:
        return None
    alternatives = [re.escape(pattern).replace(r"\*", ".*").replace(r"\?", ".") for pattern in patterns]
    return "(?s)(" + "|".join(alternatives) + ")"
