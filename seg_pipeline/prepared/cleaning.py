"""Cleans raw orders: runs the SQL beside this file, with the policies of the settings, on the lines that need it.

A night cleans the lines of new files and the lines that these can change, such as duplicates in the same order. The
result is the same as if all lines were cleaned again.
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
# A number with a decimal comma and, if any, dots as thousands separators.
COMMA_NUMBER = r"[-+]?([0-9]+|[0-9]{1,3}(\.[0-9]{3})+)(,[0-9]*)?"


def clean(connection: Connection, settings: Settings) -> Reading:
    """Brings clean_orders and rejected_orders up to date with raw_orders.

    Both change in one transaction, so their rows always add up to raw_orders.

    Args:
        connection: The connection to the warehouse.
        settings: The settings of the run.

    Returns:
        How the dates were read.

    Raises:
        UsageError: The dates could be day-first or month-first, and no setting says which; or most numbers have a
            decimal comma.
        DataError: No date format fits any line; or there are several currencies or shops, and no setting chooses one.
    """
    for table in (*TABLES, CLEANED_FILES):
        connection.create(table, or_replace=False)
    policies = _policies(settings)
    rules = hashlib.sha256(
        json.dumps([policies, settings.source.date_format], sort_keys=True, default=str).encode()
        + b"".join(path.read_bytes() for path in sorted(SQL.glob("*.sql")))
    ).hexdigest()
    loaded = dict(
        connection.execute(
            "SELECT source_file, content_hash FROM raw.deliveries WHERE status IN ('loaded', 'kept')"
        ).fetchall()
    )
    cleaned, reading = _cleaned(connection, rules)
    new = sorted(name for name, content in loaded.items() if cleaned.get(name) != content)
    old = sorted(name for name, content in cleaned.items() if loaded.get(name) != content)
    if reading is not None and not new and not old:
        return reading
    dates = _same_reading(connection, settings, reading, new) if reading else None
    if dates is None:
        dates = date_reading(connection, _lines("true"), settings.source.date_format)
    everything = dates.name != (reading.name if reading else None)
    touched_lines: AbstractContextManager[Relation | None] = (
        nullcontext() if everything else _touched_lines(connection, new, old, settings)
    )
    with touched_lines as touched:
        lines = _lines(f"rowid IN (SELECT line FROM {touched})" if touched else "true")
        _refuse_mixtures(connection, settings)
        # Before the transaction begins: DuckDB reads uncommitted rows with one thread only.
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
                        _delete_touched(connection, table, touched, old)
                    connection.insert(table, query, {"parsed_lines": parsed})
                connection.replace_table(
                    CLEANED_FILES,
                    "SELECT source_file, content_hash, $rules AS work, $dates AS dates FROM raw.deliveries"
                    " WHERE status IN ('loaded', 'kept')",
                    {"rules": rules, "dates": json.dumps(asdict(dates))},
                )
    return dates


def _policies(settings: Settings) -> dict[str, Any]:
    """Returns the parameters of the SQL, except those about dates."""
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


def _cleaned(connection: Connection, rules: str) -> tuple[dict[str, str], Reading | None]:
    """Returns the files whose lines were cleaned by the same rules, and how their dates were read.

    Args:
        connection: The connection to the warehouse.
        rules: The digest of the rules.

    Returns:
        File -> hash of its content; and the reading of the dates, None if there are no such files.
    """
    rows = connection.execute(
        f"SELECT source_file, content_hash, dates FROM {CLEANED_FILES.name} WHERE work = $rules", {"rules": rules}
    ).fetchall()
    reading = Reading(**json.loads(rows[0][2])) if rows else None
    return {name: content for name, content, _ in rows}, reading


def _lines(where: str) -> Relation:
    """Returns the raw lines that fulfil a condition, each with its row id as `line`."""
    return Relation(f"(SELECT rowid AS line, * FROM raw.raw_orders WHERE {where})")


def _same_reading(connection: Connection, settings: Settings, reading: Reading, new: Sequence[str]) -> Reading | None:
    """Returns the previous reading of dates, with the further formats that new files need.

    Args:
        connection: The connection to the warehouse.
        settings: The settings of the run.
        reading: How the dates of the other files were read.
        new: The new files.

    Returns:
        The reading; None if the dates of the new files are written in another way.
    """
    with connection.temporary("SELECT unnest($new::VARCHAR[]) AS name", {"new": new}) as new_files:
        lines = _lines(f"source_file IN (SELECT name FROM {new_files})")
        # New dates that could be read in several ways are read like all others.
        same = date_reading(connection, lines, reading.name)
        filled, read = count_read(connection, lines, same)
        if read < filled and settings.source.date_format == "auto":
            try:
                if date_reading(connection, lines, "auto").name != reading.name:
                    return None
            except (UsageError, DataError):
                return None
    return Reading(reading.name, list(dict.fromkeys((*reading.formats, *same.formats))))


def _touched_lines(
    connection: Connection, new: Sequence[str], old: Sequence[str], settings: Settings
) -> AbstractContextManager[Relation]:
    """Yields a temporary table of the lines that new, changed and dropped files can change.

    These are the lines of new files, and of the orders that the files have lines of; with returns=match, also of their
    customers.

    Args:
        connection: The connection to the warehouse.
        new: The new and changed files.
        old: The changed and dropped files, whose lines were cleaned before.
        settings: The settings of the run.
    """
    # With NULL as customer no line matches by customer.
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


def _delete_touched(connection: Connection, table: Table, touched: Relation, old: Sequence[str]) -> None:
    """Deletes the lines that are cleaned again, and the lines of changed and dropped files."""
    connection.delete(
        table,
        "source_file IN (SELECT unnest($old)) OR (source_file, source_row) IN"
        f" (SELECT (source_file, source_row) FROM {touched})",
        {"old": list(old) or [""]},
    )


def _refuse_mixtures(connection: Connection, settings: Settings) -> None:
    """Raises DataError if lines of several currencies or shops would be added up."""
    for column, chosen in (("currency", settings.source.currency), ("shop", settings.source.shop)):
        if chosen is not None:
            continue
        values = connection.execute(
            f"SELECT upper(trim({column})) AS value, count(*) AS lines,"
            " arg_min(source_file || ' row ' || source_row, (source_file, source_row)) FROM raw.raw_orders"
            f" WHERE trim({column}) != '' GROUP BY value ORDER BY lines DESC, value",
        ).fetchall()
        if len(values) > 1:
            # A value may contain anything, but the error must stay one readable line.
            listed = ", ".join(f"{' '.join(value.split())[:40]} ({lines:,} lines)" for value, lines, _ in values[:5])
            more = f" and {len(values) - 5} more" if len(values) > 5 else ""
            raise DataError(
                f"{values[1][2]}: orders of more than one {column} are never added up: {listed}{more}; choose one with"
                f" --set source.{column}=..., and give each a warehouse and an output of its own"
            )


def _refuse_commas(connection: Connection, lines: Relation, parsed: Relation) -> None:
    """Raises UsageError if most lines cannot be read because of decimal commas."""
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
    """Returns one regular expression for patterns with `*` for any text and `?` for any character; None for none."""
    if not patterns:
        return None
    alternatives = [re.escape(pattern).replace(r"\*", ".*").replace(r"\?", ".") for pattern in patterns]
    return "(?s)(" + "|".join(alternatives) + ")"
