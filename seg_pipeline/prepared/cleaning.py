"""Cleans raw orders: runs the SQL beside this file, with the policies of the settings, on the lines that need it.

A night cleans the lines of new files and the lines that these can change, such as duplicates in the same order. The
result is the same as if all lines were cleaned again.
"""

import hashlib
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

from seg_pipeline.errors import DataError, UsageError
from seg_pipeline.prepared.dates import FAMILIES, OFFSET, WORD_AFTER_TIME, Reading, count_read, date_reading
from seg_pipeline.prepared.tables import CLEAN_ORDERS, CLEANED_FILES, REJECTED_ORDERS
from seg_pipeline.raw.columns import CUSTOMER_ID, CUSTOMER_TEXT
from seg_pipeline.settings import Settings
from seg_pipeline.tables import Table
from seg_pipeline.warehouse import Connection, Relation

SQL_FOLDER = Path(__file__).parent
REPEATED, PARSED = SQL_FOLDER / "repeated_lines.sql", SQL_FOLDER / "parsed_lines.sql"
MATCHED_RETURNS = SQL_FOLDER / "matched_returns.sql"
QUERIES = {CLEAN_ORDERS: SQL_FOLDER / "clean_orders.sql", REJECTED_ORDERS: SQL_FOLDER / "rejected_orders.sql"}
# The files whose lines are in raw_orders.
LOADED_FILES = "(SELECT source_file, content_hash FROM raw.deliveries WHERE status IN ('loaded', 'kept'))"
# A whole number, with dots as thousands separators if it has any.
WHOLE_NUMBER = r"[-+]?([0-9]+|[0-9]{1,3}(\.[0-9]{3})+)"
COMMA_NUMBER = rf"{WHOLE_NUMBER}(,[0-9]*)?"
# The comma in 1,234 may separate thousands; before one or two digits it can only be a decimal comma.
CERTAIN_COMMA_NUMBER = rf"{WHOLE_NUMBER},[0-9]{{1,2}}"
# If more than this share of the lines have a number that cannot be read, decimal commas are looked for.
MAX_UNREADABLE_SHARE = 0.5
# An error line shows this many of the values of a column, and this many characters of each.
SHOWN_VALUES, SHOWN_CHARACTERS = 5, 40


def clean(connection: Connection, settings: Settings) -> Reading:
    """Brings clean_orders and rejected_orders up to date with raw_orders.

    Both change in one transaction, so their rows always add up to raw_orders.

    Args:
        connection: The connection to the warehouse.
        settings: The settings of the run.

    Returns:
        How the dates were read.

    Raises:
        UsageError: The dates could be day-first or month-first, and no setting says which; or most lines have a number
            that cannot be read, and there are decimal commas.
        DataError: No date format fits any line; or there are several currencies or shops, and no setting chooses one.
    """
    for table in (*QUERIES, CLEANED_FILES):
        connection.create(table, or_replace=False)
    work = _digest_of_work(settings)
    cleaned_files, previous_reading = _cleaned_files(connection, work)
    added_files, removed_files = _changed_files(connection, cleaned_files)
    if previous_reading and not added_files and not removed_files:
        return previous_reading
    reading = _choose_reading(connection, settings, previous_reading, added_files)
    clean_all = previous_reading is None or reading.name != previous_reading.name
    _refuse_mixtures(connection, settings)
    if clean_all:
        with _parsed_lines(connection, settings, reading, _raw_lines()) as parsed_lines, connection.transaction():
            for table in QUERIES:
                connection.create(table)
            _write(connection, parsed_lines, work, reading)
        return reading
    with _touched_lines(connection, settings, added_files, removed_files) as touched_lines:
        lines = _raw_lines(f"rowid IN (SELECT line FROM {touched_lines})")
        with _parsed_lines(connection, settings, reading, lines) as parsed_lines, connection.transaction():
            for table in QUERIES:
                _delete(connection, table, touched_lines, removed_files)
            _write(connection, parsed_lines, work, reading)
    return reading


def _sql_parameters(settings: Settings) -> dict[str, Any]:
    """Returns the parameters of the SQL that do not depend on the delivered lines."""
    return {
        **CUSTOMER_ID,
        "offset": OFFSET,
        "comma_number": COMMA_NUMBER if settings.source.decimal == "," else None,
        "cancellations": wildcards_to_regex(settings.cancellations),
        "excluded_products": wildcards_to_regex(settings.excluded_products),
        "earliest": settings.plausible_dates.earliest,
        "latest": settings.plausible_dates.latest,
        "returns": settings.returns,
        "duplicates": settings.duplicates,
        "zero_prices": settings.zero_prices,
        "currency": settings.source.currency,
        "shop": settings.source.shop,
    }


def _digest_of_work(settings: Settings) -> str:
    """Returns a digest of what decides how a line is cleaned: the settings, the date formats and the SQL."""
    queries = [path.read_text(encoding="utf-8") for path in sorted(SQL_FOLDER.glob("*.sql"))]
    # Comments in the SQL do not change how lines are cleaned.
    code = [re.sub(r"(?m)^ *--.*\n", "", query) for query in queries]
    work = [_sql_parameters(settings), settings.source.date_format, FAMILIES, code]
    return hashlib.sha256(json.dumps(work, sort_keys=True, default=str).encode()).hexdigest()


def _cleaned_files(connection: Connection, work: str) -> tuple[dict[str, str], Reading | None]:
    """Returns the files whose lines were cleaned in the same way as now, and how their dates were read.

    Args:
        connection: The connection to the warehouse.
        work: The digest of the settings, date formats and SQL of this run.

    Returns:
        File -> hash of its content; and the reading of the dates, None if there are no such files.
    """
    rows = connection.execute(
        f"SELECT source_file, content_hash, dates FROM {CLEANED_FILES.name} WHERE work = $work", {"work": work}
    ).fetchall()
    content_hashes = {file: content_hash for file, content_hash, _ in rows}
    # All files have the same reading.
    dates = rows[0][2] if rows else None
    return content_hashes, Reading(**json.loads(dates)) if dates else None


def _changed_files(connection: Connection, cleaned_files: Mapping[str, str]) -> tuple[list[str], list[str]]:
    """Compares the loaded files with the cleaned ones.

    Args:
        connection: The connection to the warehouse.
        cleaned_files: The files whose lines are cleaned -> hash of the content.

    Returns:
        The new and changed files, whose lines must be added; and the changed and dropped files, whose old lines must
        be removed. So a changed file is in both lists.
    """
    loaded_files = dict(connection.execute(f"SELECT source_file, content_hash FROM {LOADED_FILES}").fetchall())
    added = sorted(file for file, content in loaded_files.items() if cleaned_files.get(file) != content)
    removed = sorted(file for file, content in cleaned_files.items() if loaded_files.get(file) != content)
    return added, removed


def _raw_lines(condition: str = "true") -> Relation:
    """Returns the raw lines that fulfil a condition, each with its row id as `line`."""
    return Relation(f"(SELECT rowid AS line, * FROM raw.raw_orders WHERE {condition})")


def _choose_reading(
    connection: Connection, settings: Settings, previous_reading: Reading | None, added_files: Sequence[str]
) -> Reading:
    """Returns how to read the dates: as before if possible, so that lines already cleaned need not be cleaned again.

    Args:
        connection: The connection to the warehouse.
        settings: The settings of the run.
        previous_reading: How the dates of the other files were read, if they are cleaned.
        added_files: The new and changed files.

    Raises:
        UsageError: The dates could be day-first or month-first, and no setting says which.
        DataError: No date format fits any line.
    """
    if previous_reading:
        if not added_files:
            return previous_reading
        extended_reading = _extend_reading(connection, settings, previous_reading, added_files)
        if extended_reading:
            return extended_reading
    return date_reading(connection, _raw_lines(), settings.source.date_format)


def _extend_reading(
    connection: Connection, settings: Settings, previous_reading: Reading, added_files: Sequence[str]
) -> Reading | None:
    """Returns the previous reading with the formats that added files need; None if their dates are of another family.

    Args:
        connection: The connection to the warehouse.
        settings: The settings of the run.
        previous_reading: How the dates of the other files were read.
        added_files: The new and changed files.
    """
    name = previous_reading.name
    with connection.temporary("SELECT unnest($files::VARCHAR[]) AS name", {"files": added_files}) as files:
        lines = _raw_lines(f"source_file IN (SELECT name FROM {files})")
        # Dates that several families can read are read like those of the other files.
        added_reading = date_reading(connection, lines, name)
        dates_count, read_count = count_read(connection, lines, added_reading)
        if read_count < dates_count and settings.source.date_format == "auto":
            try:
                if date_reading(connection, lines, "auto").name != name:
                    return None
            except (UsageError, DataError):
                return None
    if name not in FAMILIES:
        return previous_reading
    formats = {*previous_reading.formats, *added_reading.formats}
    # In the family's order, since a format with a two-digit year must come first.
    return Reading(name, [format_ for format_ in FAMILIES[name] if format_ in formats])


@contextmanager
def _parsed_lines(connection: Connection, settings: Settings, reading: Reading, lines: Relation) -> Iterator[Relation]:
    """Yields a temporary table of lines with their values parsed, and the reason if a line must be rejected.

    It is made before the transaction begins: DuckDB 1.5 reads uncommitted rows with one thread only.

    Args:
        connection: The connection to the warehouse.
        settings: The settings of the run.
        reading: How to read the dates.
        lines: The raw lines to parse.

    Raises:
        UsageError: Most lines have a number that cannot be read, and there are decimal commas.
    """
    parameters = _sql_parameters(settings) | {
        "is_iso": reading.is_iso,
        "word_after_time": WORD_AFTER_TIME,
        "date_formats": reading.formats,
        "lines_to_clean": lines,
    }
    with (
        connection.temporary(REPEATED, parameters) as repeated,
        connection.temporary(PARSED, {**parameters, "repeated": repeated}) as parsed_lines,
    ):
        if settings.source.decimal == ".":
            _refuse_decimal_commas(connection, lines, parsed_lines)
        if settings.returns == "match":
            connection.execute(MATCHED_RETURNS, {"parsed_lines": parsed_lines})
        yield parsed_lines


def _write(connection: Connection, parsed_lines: Relation, work: str, reading: Reading) -> None:
    """Adds parsed lines to clean_orders and rejected_orders, and records what was cleaned."""
    for table, query in QUERIES.items():
        connection.insert(table, query, {"parsed_lines": parsed_lines})
    connection.replace_table(
        CLEANED_FILES,
        f"SELECT source_file, content_hash, $work AS work, $dates AS dates FROM {LOADED_FILES}",
        {"work": work, "dates": json.dumps(asdict(reading))},
    )


def _touched_lines(
    connection: Connection, settings: Settings, added_files: Sequence[str], removed_files: Sequence[str]
) -> AbstractContextManager[Relation]:
    """Yields a temporary table of the lines that new, changed and dropped files can change.

    A line can change its order's other lines, as duplicates; with returns=match, any line of its customer. Lines of
    different customers never change each other, even in one order.

    Args:
        connection: The connection to the warehouse.
        settings: The settings of the run.
        added_files: The new and changed files.
        removed_files: The changed and dropped files, whose lines were cleaned before.
    """
    clean_key, delivered_key = "order_id", "trim(order_id)"
    if settings.returns == "match":
        clean_key, delivered_key = "customer_id", CUSTOMER_TEXT
    delivered = f"source_file, nullif({delivered_key}, '') AS key"
    return connection.temporary(
        SQL_FOLDER / "touched_lines.sql",
        {
            "added_files": added_files,
            "removed_files": removed_files,
            **CUSTOMER_ID,
            "raw_lines": Relation(f"(SELECT rowid AS line, source_row, {delivered} FROM raw.raw_orders)"),
            "clean_lines": Relation(f"(SELECT source_file, {clean_key} AS key FROM prepared.clean_orders)"),
            "rejected_lines": Relation(f"(SELECT {delivered} FROM prepared.rejected_orders)"),
        },
    )


def _delete(connection: Connection, table: Table, touched_lines: Relation, removed_files: Sequence[str]) -> None:
    """Deletes the lines that are cleaned again, and the lines of changed and dropped files."""
    connection.delete(
        table,
        "source_file IN (SELECT unnest($removed_files)) OR (source_file, source_row) IN"
        f" (SELECT (source_file, source_row) FROM {touched_lines})",
        {"removed_files": removed_files},
    )


def _refuse_mixtures(connection: Connection, settings: Settings) -> None:
    """Raises DataError if lines of several currencies or shops would be added up."""
    for column, chosen in (("currency", settings.source.currency), ("shop", settings.source.shop)):
        if chosen is not None:
            continue
        values = connection.execute(
            f"SELECT upper(trim({column})) AS value, count(*) AS lines,"
            " arg_min(source_file || ' row ' || source_row, (source_file, source_row)) AS first_place"
            f" FROM raw.raw_orders WHERE trim({column}) != '' GROUP BY value ORDER BY lines DESC, value",
        ).fetchall()
        if len(values) > 1:
            # A value may contain anything, but the error must stay one readable line.
            listed = ", ".join(
                f"{' '.join(value.split())[:SHOWN_CHARACTERS]} ({lines:,} lines)"
                for value, lines, _ in values[:SHOWN_VALUES]
            )
            more = f" and {len(values) - SHOWN_VALUES} more" if len(values) > SHOWN_VALUES else ""
            _, _, place_of_second_value = values[1]
            raise DataError(
                f"{place_of_second_value}: the source has more than one {column}: {listed}{more}; choose one with"
                f" --set source.{column}=..., and use a separate warehouse and output folder for each"
            )


def _refuse_decimal_commas(connection: Connection, lines: Relation, parsed_lines: Relation) -> None:
    """Raises UsageError if most lines have a number that cannot be read, and some number has a decimal comma."""
    unreadable, total = connection.execute(
        "SELECT count(*) FILTER (reason IN ('unparseable_quantity', 'unparseable_price')), count(*)"
        f" FROM {parsed_lines}"
    ).fetchall()[0]
    if unreadable <= MAX_UNREADABLE_SHARE * total:
        return
    example = connection.execute(
        "SELECT source_file, source_row, number"
        f" FROM (SELECT source_file, source_row, trim(coalesce(unit_price, amount, quantity)) AS number FROM {lines})"
        " WHERE regexp_full_match(number, $comma_number) ORDER BY source_file, source_row LIMIT 1",
        {"comma_number": CERTAIN_COMMA_NUMBER},
    ).fetchone()
    if example:
        file, row, number = example
        raise UsageError(f"{file} row {row}: {number!r} has a decimal comma; set source.decimal=,")


def wildcards_to_regex(patterns: Sequence[str]) -> str | None:
    """Turns patterns with wildcards into one regular expression.

    Args:
        patterns: Patterns in which `*` stands for any text and `?` for any character.

    Returns:
        A regular expression that matches a whole text if one of the patterns does; None if there are no patterns.
    """
    if not patterns:
        return None
    alternatives = [re.escape(pattern).replace(r"\*", ".*").replace(r"\?", ".") for pattern in patterns]
    return "(?s)(" + "|".join(alternatives) + ")"
