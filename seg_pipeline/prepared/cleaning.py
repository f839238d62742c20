"""Cleaning raw orders: the policies of the settings bound to the SQL beside this file, on the lines that need it.

A night cleans the lines of files that are new, and those that they can change: lines of the same order, which may be
equal to them. The tables are what cleaning everything anew would give.
"""

import hashlib
import json
import re
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import asdict
from pathlib import Path
from typing import Any

from seg_pipeline.errors import DataError, UsageError
from seg_pipeline.prepared.dates import OFFSET, Reading, count_read, date_reading
from seg_pipeline.prepared.tables import CLEAN_ORDERS, CLEANED_FILES, REJECTED_ORDERS
from seg_pipeline.raw.columns import CUSTOMER_ID, CUSTOMER_TEXT
from seg_pipeline.settings import Settings
from seg_pipeline.tables import Table
from seg_pipeline.warehouse import Connection, Relation

SQL = Path(__file__).parent
TABLES = {CLEAN_ORDERS: SQL / "clean_orders.sql", REJECTED_ORDERS: SQL / "rejected_orders.sql"}
# A number with a decimal comma, and dots between its thousands.
COMMA_NUMBER = r"[-+]?([0-9]+|[0-9]{1,3}(\.[0-9]{3})+)(,[0-9]*)?"


def clean(connection: Connection, settings: Settings) -> Reading:
    """Brings clean_orders and rejected_orders up to date with raw_orders, in one transaction.

    So their rows always add up to raw_orders. Returns how the dates were read.

    Raises:
        UsageError: the dates could be day-first or month-first, and no setting says which.
        DataError: no date format fits any line; several currencies or shops, and no setting says which counts.
    """
    for table in (*TABLES, CLEANED_FILES):
        connection.create(table, or_replace=False)
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
        dates = date_reading(connection, _lines("true"), settings.source.date_format)
    everything = dates.name != (reading.name if reading else None)
    some: AbstractContextManager[Relation | None] = (
        nullcontext() if everything else _touched(connection, new, old, settings)
    )
    with some as touched:
        lines = _lines(f"rowid IN (SELECT line FROM {touched})" if touched else "true")
        _refuse_mixtures(connection, settings)
        # Outside the transaction: what it has not committed yet is read by one thread only.
        with connection.temporary(
            SQL / "parsed_lines.sql",
            {**policies, "is_iso": dates.is_iso, "date_formats": dates.formats, "lines_to_clean": lines},
        ) as parsed:
            if settings.source.decimal == ".":
                _refuse_commas(connection, lines, parsed)
            if settings.returns == "match":
                connection.execute(SQL / "matched_returns.sql", {"parsed_lines": parsed})
            with connection.transaction():
                for table, query in TABLES.items():
                    if touched is None:
                        connection.create(table)
                    else:
                        _forget_touched(connection, table, touched, old)
                    connection.insert(table, query, {"parsed_lines": parsed})
                connection.replace_table(
                    CLEANED_FILES,
                    "SELECT source_file, content_hash, $work AS work, $dates AS dates FROM raw.deliveries"
                    " WHERE status IN ('loaded', 'kept')",
                    {"work": work, "dates": json.dumps(asdict(dates))},
                )
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


def _cleaned(connection: Connection, work: str) -> tuple[dict[str, str], Reading | None]:
    """Files whose lines are cleaned, with the hash of their content, and how dates were read; none of other work."""
    rows = connection.execute(
        f"SELECT source_file, content_hash, dates FROM {CLEANED_FILES.name} WHERE work = $work", {"work": work}
    ).fetchall()
    reading = Reading(**json.loads(rows[0][2])) if rows else None
    return {name: content for name, content, _ in rows}, reading


def _lines(where: str) -> Relation:
    """Returns the raw lines that a condition holds for, each with its place in the table as `line`."""
    return Relation(f"(SELECT rowid AS line, * FROM raw.raw_orders WHERE {where})")


def _same_reading(connection: Connection, settings: Settings, reading: Reading, new: Sequence[str]) -> Reading | None:
    """Returns the reading of the dates so far with what new files need besides; None if they look otherwise."""
    with connection.temporary("SELECT unnest($new::VARCHAR[]) AS name", {"new": new}) as new_files:
        lines = _lines(f"source_file IN (SELECT name FROM {new_files})")
        # As all others are read: so new dates that fit both ways are, too.
        same = date_reading(connection, lines, reading.name)
        filled, read = count_read(connection, lines, same)
        if read < filled and settings.source.date_format == "auto":
            try:
                if date_reading(connection, lines, "auto").name != reading.name:
                    return None
            except (UsageError, DataError):
                return None
    return Reading(reading.name, list(dict.fromkeys((*reading.formats, *same.formats))))


def _touched(
    connection: Connection, new: Sequence[str], old: Sequence[str], settings: Settings
) -> AbstractContextManager[Relation]:
    """Yields a temporary table of the lines that new, changed and dropped files can change.

    Lines of new files, and of orders that lines of any of them belong to; with returns=match of customers as well.
    """
    # Without a customer no line is one of theirs; how ids of other lines are written does not matter.
    customer = CUSTOMER_TEXT if settings.returns == "match" else "CAST(NULL AS VARCHAR)"
    ids = f"source_file, trim(order_id) AS order_text, {customer} AS customer_text"
    return connection.temporary(
        SQL / "touched_lines.sql",
        {
            "new": list(new) or [""],
            "old": list(old) or [""],
            **CUSTOMER_ID,
            "raw_lines": Relation(f"(SELECT rowid AS line, source_row, {ids} FROM raw.raw_orders)"),
            "rejected_lines": Relation(f"(SELECT {ids} FROM prepared.rejected_orders)"),
        },
    )


def _forget_touched(connection: Connection, table: Table, touched: Relation, old: Sequence[str]) -> None:
    """Deletes what is cleaned again, and the lines of files as they were before."""
    connection.delete(
        table,
        "source_file IN (SELECT unnest($old)) OR (source_file, source_row) IN"
        f" (SELECT (source_file, source_row) FROM {touched})",
        {"old": list(old) or [""]},
    )


def _refuse_mixtures(connection: Connection, settings: Settings) -> None:
    """Raises DataError where lines of several currencies or shops would be added up."""
    for column, chosen in (("currency", settings.source.currency), ("shop", settings.source.shop)):
        if chosen is not None:
            continue
        found = connection.execute(
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


def _refuse_commas(connection: Connection, lines: Relation, parsed: Relation) -> None:
    """Raises UsageError if most lines cannot be read for decimal commas."""
    unread, total = connection.execute(
        f"SELECT count(*) FILTER (reason IN ('unparseable_quantity', 'unparseable_price')), count(*) FROM {parsed}"
    ).fetchall()[0]
    if 2 * unread <= total:
        return
    first = connection.execute(
        f"SELECT source_file, source_row, coalesce(unit_price, amount, quantity) FROM {lines}"
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
