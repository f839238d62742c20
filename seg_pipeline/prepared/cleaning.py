"""Cleaning raw orders: the policies of the settings bound to the SQL beside this file, on the lines that need it.

A night cleans the lines of files that are new, and those that they can change: lines of the same order, which may be
equal to them. The tables are what cleaning everything anew would give.
"""

import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import duckdb

from seg_pipeline.errors import DataError, UsageError
from seg_pipeline.prepared.dates import OFFSET, Reading, count_read, date_reading
from seg_pipeline.prepared.tables import CLEAN_ORDERS, CLEANED_FILES, REJECTED_ORDERS
from seg_pipeline.raw.columns import CUSTOMER_ID, CUSTOMER_TEXT
from seg_pipeline.settings import Settings
from seg_pipeline.warehouse import create, delete, insert, over_lines, replace_table, transaction

SQL = Path(__file__).parent
TABLES = {CLEAN_ORDERS: SQL / "clean_orders.sql", REJECTED_ORDERS: SQL / "rejected_orders.sql"}
# A number with a decimal comma, and dots between its thousands.
COMMA_NUMBER = r"[-+]?([0-9]+|[0-9]{1,3}(\.[0-9]{3})+)(,[0-9]*)?"


def clean(connection: duckdb.DuckDBPyConnection, settings: Settings) -> Reading:
    """Brings clean_orders and rejected_orders up to date with raw_orders, in one transaction.

    So their rows always add up to raw_orders. Returns how the dates were read.

    Raises:
        UsageError: the dates could be day-first or month-first, and no setting says which.
        DataError: no date format fits any line; several currencies or shops, and no setting says which counts.
    """
    for table in (*TABLES, CLEANED_FILES):
        create(connection, table, or_replace=False)
    policies = _policies(settings)
    work = hashlib.sha256(
        json.dumps([policies, settings.source.date_format], sort_keys=True, default=str).encode()
        + b"".join(path.read_bytes() for path in sorted(SQL.glob("*.sql")))
    ).hexdigest()
    loaded = dict(
        connection.execute(
            "SELECT source_file, content_hash FROM raw.deliveries WHERE status IN ('loaded', 'kept')"
        ).fetchall()
    )
    cleaned, reading = _cleaned(connection, work)
    new = sorted(name for name, content in loaded.items() if cleaned.get(name) != content)
    old = sorted(name for name, content in cleaned.items() if loaded.get(name) != content)
    if reading is not None and not new and not old:
        return reading
    dates = _same_reading(connection, settings, reading, new) if reading else None
    if dates is None:
        _look_at(connection, "true")
        dates = date_reading(connection, settings.source.date_format)
    everything = dates.name != (reading.name if reading else None)
    if not everything:
        _find_touched(connection, new, old, with_customers=settings.returns == "match")
        _look_at(connection, "rowid IN (SELECT line FROM touched_lines)")
    _refuse_mixtures(connection, settings)
    # Outside the transaction: what it has not committed yet is read by one thread only.
    over_lines(
        connection,
        f"CREATE OR REPLACE TEMP TABLE parsed_lines AS {(SQL / 'parsed_lines.sql').read_text(encoding='utf-8')}",
        {**policies, "is_iso": dates.is_iso, "date_formats": dates.formats},
    )
    if settings.source.decimal == ".":
        _refuse_commas(connection)
    if settings.returns == "match":
        matched = (SQL / "matched_returns.sql").read_text(encoding="utf-8")
        over_lines(
            connection,
            f"UPDATE parsed_lines SET reason = matched.reason FROM ({matched}) AS matched"
            " WHERE parsed_lines.line = matched.line",
        )
    with transaction(connection):
        for table, query in TABLES.items():
            if everything:
                replace_table(connection, table, query)
            else:
                _forget_touched(connection, table.name, old)
                insert(connection, table, query)
        replace_table(
            connection,
            CLEANED_FILES,
            "SELECT source_file, content_hash, $work AS work, $dates AS dates FROM raw.deliveries"
            " WHERE status IN ('loaded', 'kept')",
            {"work": work, "dates": json.dumps(asdict(dates))},
        )
    over_lines(connection, "DROP TABLE parsed_lines")
    over_lines(connection, "DROP VIEW lines_to_clean")
    return dates


def _policies(settings: Settings) -> dict[str, Any]:
    """What the SQL binds, but for the dates."""
    return {
        **CUSTOMER_ID,
        "offset": OFFSET,
        "comma_number": COMMA_NUMBER if settings.source.decimal == "," else None,
        "cancellations": one_regex(settings.cancellations),
        "excluded_products": one_regex(settings.excluded_products),
        "earliest": settings.plausible_dates.earliest,
        "latest": settings.plausible_dates.latest,
        "returns": settings.returns,
        "duplicates": settings.duplicates,
        "zero_prices": settings.zero_prices,
        "currency": settings.source.currency,
        "shop": settings.source.shop,
    }


def _cleaned(connection: duckdb.DuckDBPyConnection, work: str) -> tuple[dict[str, str], Reading | None]:
    """Files whose lines are cleaned, with the hash of their content, and how dates were read; none of other work."""
    rows = connection.execute(
        f"SELECT source_file, content_hash, dates FROM {CLEANED_FILES.name} WHERE work = $work", {"work": work}
    ).fetchall()
    reading = Reading(**json.loads(rows[0][2])) if rows else None
    return {name: content for name, content, _ in rows}, reading


def _look_at(connection: duckdb.DuckDBPyConnection, where: str, parameters: Mapping[str, object] | None = None) -> None:
    """Makes lines_to_clean: the raw lines that a condition holds for, each with its place in the table as `line`."""
    rows = f"SELECT rowid AS line, * FROM raw.raw_orders WHERE {where}"
    over_lines(connection, f"CREATE OR REPLACE TEMP VIEW lines_to_clean AS {rows}", parameters or {})


def _same_reading(
    connection: duckdb.DuckDBPyConnection, settings: Settings, reading: Reading, new: Sequence[str]
) -> Reading | None:
    """The reading of the dates so far with what new files need besides; None where they look otherwise."""
    new_files = "CREATE OR REPLACE TEMP TABLE new_files AS SELECT unnest($new::VARCHAR[]) AS name"
    over_lines(connection, new_files, {"new": new})
    _look_at(connection, "source_file IN (SELECT name FROM new_files)")
    # As all others are read: so new dates that fit both ways are, too.
    same = date_reading(connection, reading.name)
    filled, read = count_read(connection, same)
    if read < filled and settings.source.date_format == "auto":
        try:
            if date_reading(connection, "auto").name != reading.name:
                return None
        except (UsageError, DataError):
            return None
    return Reading(reading.name, list(dict.fromkeys((*reading.formats, *same.formats))))


def _find_touched(
    connection: duckdb.DuckDBPyConnection, new: Sequence[str], old: Sequence[str], *, with_customers: bool
) -> None:
    """Makes touched_lines: what new, changed and dropped files can change.

    Lines of new files, and of orders that lines of any of them belong to; `with_customers` of customers as well.
    """
    # Ids as they are after cleaning; for the others it does not matter how they are written.
    order, customer = "trim(order_id)", CUSTOMER_TEXT
    touched = f"{order} IN (SELECT order_text FROM touched_ids)"
    if with_customers:
        touched += f" OR {customer} IN (SELECT customer_text FROM touched_ids)"
    over_lines(
        connection,
        f"""
        CREATE OR REPLACE TEMP TABLE touched_lines AS
        WITH
        touched_ids AS (
            SELECT {order} AS order_text, {customer} AS customer_text
            FROM raw.raw_orders WHERE source_file IN (SELECT unnest($new))
            UNION
            SELECT order_id, customer_id FROM prepared.clean_orders WHERE source_file IN (SELECT unnest($old))
            UNION
            SELECT {order}, {customer} FROM prepared.rejected_orders WHERE source_file IN (SELECT unnest($old))
        )
        SELECT rowid AS line, source_file, source_row
        FROM raw.raw_orders
        WHERE source_file IN (SELECT unnest($new)) OR {touched}
        """,
        {"new": list(new) or [""], "old": list(old) or [""], **CUSTOMER_ID},
    )


def _forget_touched(connection: duckdb.DuckDBPyConnection, table: str, old: Sequence[str]) -> None:
    """Deletes what is cleaned anew, and the lines of files as they were before."""
    delete(
        connection,
        table,
        "source_file IN (SELECT unnest($old)) OR (source_file, source_row) IN"
        " (SELECT (source_file, source_row) FROM touched_lines)",
        {"old": list(old) or [""]},
    )


def _refuse_mixtures(connection: duckdb.DuckDBPyConnection, settings: Settings) -> None:
    """Raises DataError where lines of several currencies or shops would be added up."""
    for column, chosen in (("currency", settings.source.currency), ("shop", settings.source.shop)):
        if chosen is not None:
            continue
        found = over_lines(
            connection,
            f"SELECT upper(trim({column})) AS value, count(*) AS lines,"
            " arg_min(source_file || ' row ' || source_row, (source_file, source_row)) FROM raw.raw_orders"
            f" WHERE trim({column}) != '' GROUP BY value ORDER BY lines DESC, value",
        ).fetchall()
        if len(found) > 1:
            # A value may hold anything; the error is one line that can be read.
            listed = ", ".join(f"{' '.join(value.split())[:40]} ({lines:,} lines)" for value, lines, _ in found[:5])
            more = f" and {len(found) - 5} more" if len(found) > 5 else ""
            raise DataError(
                f"{found[1][2]}: orders of more than one {column} are never added up: {listed}{more}; choose one with"
                f" --set source.{column}=..., and give each a warehouse and an output of its own"
            )


def _refuse_commas(connection: duckdb.DuckDBPyConnection) -> None:
    """Raises UsageError where most lines cannot be read for decimal commas."""
    unread, lines = over_lines(
        connection,
        "SELECT count(*) FILTER (reason IN ('unparseable_quantity', 'unparseable_price')), count(*) FROM parsed_lines",
    ).fetchall()[0]
    if 2 * unread <= lines:
        return
    first = over_lines(
        connection,
        "SELECT source_file, source_row, coalesce(unit_price, amount, quantity) FROM lines_to_clean"
        " WHERE regexp_full_match(trim(coalesce(unit_price, amount, quantity)), '[-+]?[0-9.]*,[0-9]{1,2}')"
        " ORDER BY source_file, source_row LIMIT 1",
    ).fetchone()
    if first:
        raise UsageError(f"{first[0]} row {first[1]}: {first[2]!r} has a decimal comma; set source.decimal=,")


def one_regex(patterns: Sequence[str]) -> str | None:
    """One regular expression for patterns in which `*` is any text and `?` any character; None for no pattern."""
    if not patterns:
        return None
    alternatives = [re.escape(pattern).replace(r"\*", ".*").replace(r"\?", ".") for pattern in patterns]
    return "(?s)(" + "|".join(alternatives) + ")"
