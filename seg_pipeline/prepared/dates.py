"""Detects how the dates of a delivery are written. If two readings fit, that is an error, never a silent guess."""

import re
from dataclasses import dataclass

import duckdb

from seg_pipeline.errors import DataError, UsageError, did_you_mean
from seg_pipeline.warehouse import Connection, Relation

TIMES = ("", " %H:%M", " %H:%M:%S", " %I:%M %p", " %I:%M:%S %p")
SEPARATORS = "/.-"


def _with_times(*days: str) -> list[str]:
    return [day + time for day in days for time in TIMES]


# Stands for ISO 8601, which is read by a cast to TIMESTAMP; the cast accepts more than this format.
ISO = ["%Y-%m-%dT%H:%M:%S"]
# A family of formats. Formats with a two-digit year come first: %Y would read 11 as the year 11.
FAMILIES: dict[str, list[str]] = {
    "iso": ISO,
    "day-first": _with_times(*(f"%d{s}%m{s}%{year}" for s in SEPARATORS for year in "yY")),
    "month-first": _with_times(*(f"%m{s}%d{s}%{year}" for s in SEPARATORS for year in "yY")),
    "compact": _with_times("%Y%m%d"),
    "year-first": _with_times("%y/%m/%d", "%y.%m.%d", "%y-%m-%d", "%Y/%m/%d", "%Y.%m.%d"),
}
# Families that can read each other's dates: 01/02/03 fits all three.
AMBIGUOUS = ("day-first", "month-first", "year-first")
# The formats would read 1/2/24 as a date in the year 1, and 2024111 as one in November. So a year must have two or four
# digits; or four, if dates like 1/2/24 show that the first part is not a year. These match shapes, see `_shapes`.
YEAR, LONG_YEAR = re.compile(r"(11){1,2}\D"), re.compile(r"1111\D")
SHORT_FIRST = re.compile(r"1[/.-]11?[/.-]11(?!1)")
COMPACT = re.compile(r"1{8}(?!1)")
# ISO is the right reading if more than this share of the dates can be read as ISO.
MIN_ISO_SHARE = 0.5

# A time with a time zone: Z, UTC, GMT, +02:00, +0200 or +02.
OFFSET = r"(:\d\d(?:\.\d+)?)\s*(?:Z|UTC|GMT|[+-]\d\d(?::?\d\d)?)\z"
# A time with a word behind it, such as CET or PM. From DuckDB 2 on, a cast to TIMESTAMP overlooks any such word.
WORD_AFTER_TIME = r":\d\d(\.\d+)?\s+[A-Za-z]"
# How many characters of a value an error line shows.
SHOWN_CHARACTERS = 60
FILLED = "trim(ordered_at) != ''"
WRITTEN = f"regexp_replace(trim(ordered_at), '{OFFSET}', '\\1')"


@dataclass(frozen=True, slots=True)
class Reading:
    """How dates are read.

    Attributes:
        name: The name of a family, or the format in the settings.
        formats: The strptime formats to try in this order.
    """

    name: str
    formats: list[str]

    @property
    def is_iso(self) -> bool:
        return self.formats == ISO


def date_reading(connection: Connection, lines: Relation, setting: str) -> Reading:
    """Returns how ordered_at is to be read in some lines.

    Args:
        connection: The connection to the warehouse.
        lines: raw_orders, or some of its lines.
        setting: source.date_format: auto, the name of a family, or one strptime format.

    Raises:
        UsageError: Day-first and month-first fit equally well, or each is the only one that fits some line; or the
            setting is not a format.
        DataError: No family can read any of the dates.
    """
    if setting == "iso":
        return Reading(setting, ISO)
    if setting in FAMILIES:
        shapes = _shapes(connection, lines)
        return Reading(setting, _fitting(connection, setting, shapes) or FAMILIES[setting])
    if setting != "auto":
        # The offset is dropped before the date is read.
        return Reading(setting, [_checked(connection, setting.replace("%z", "").rstrip())])
    filled, iso = count_read(connection, lines, Reading("iso", ISO))
    if iso > MIN_ISO_SHARE * filled or not filled:
        return Reading("iso", ISO)
    lines_read = {"iso": iso}
    readings = {"iso": Reading("iso", ISO)}
    shapes = _shapes(connection, lines)
    for family in FAMILIES:
        if family != "iso" and (fitting := _fitting(connection, family, shapes)):
            readings[family] = Reading(family, fitting)
            lines_read[family] = count_read(connection, lines, readings[family])[1]
    best = max(lines_read, key=lambda family: lines_read[family])
    if not lines_read[best]:
        raise DataError(
            f"{_first(connection, lines)}: none of {filled:,} dates can be read; set source.date_format to a strptime"
            " format"
        )
    equal = [family for family in AMBIGUOUS if lines_read.get(family) == lines_read[best]]
    if len(equal) > 1:
        raise UsageError(
            f"{_first(connection, lines, readings[equal[0]].formats)}: the dates can be {' or '.join(equal)}"
            f"; set {' or '.join(f'source.date_format={family}' for family in equal)}"
        )
    if best in AMBIGUOUS and lines_read[best] < filled:
        for other in AMBIGUOUS:
            if other != best and other in readings:
                _refuse_both(connection, lines, readings[best], readings[other])
    return readings[best]


def _refuse_both(connection: Connection, lines: Relation, best: Reading, other: Reading) -> None:
    """Raises UsageError if only the other reading fits some line: dates that fit both could be either."""
    result = connection.execute(
        f"SELECT source_file, source_row, ordered_at FROM {lines} WHERE try_strptime({WRITTEN}, $best) IS NULL"
        f" AND try_strptime({WRITTEN}, $other) IS NOT NULL ORDER BY source_file, source_row LIMIT 1",
        {"best": best.formats, "other": other.formats},
    )
    line = result.fetchone()
    if line:
        raise UsageError(
            f"{line[0]} row {line[1]}: ordered_at {_shown(line[2])} is {other.name}, but most dates are {best.name};"
            f" fix it, or set source.date_format={best.name} to reject such lines"
        )


def _checked(connection: Connection, setting: str) -> str:
    """Returns the strptime format of the settings; raises UsageError if it is not one."""
    if "%" not in setting:
        raise UsageError(
            f"source.date_format: {setting!r} is neither auto, {', '.join(FAMILIES)} nor a strptime format"
            + did_you_mean(setting, FAMILIES)
        )
    try:
        connection.execute("SELECT try_strptime('', [$format])", {"format": setting})
    except duckdb.InvalidInputException:
        raise UsageError(f"source.date_format: {setting!r} is not a strptime format") from None
    return setting


def _shapes(connection: Connection, lines: Relation) -> list[str]:
    """Returns the distinct shapes of the dates, in which every digit is a 1.

    There are few shapes, and a format that can read any date of a shape can read the shape. Trying a format that fails
    takes far longer than one that fits, so only formats that fit some shape are tried on all lines.
    """
    rows = connection.execute(
        f"SELECT DISTINCT translate({WRITTEN}, '0123456789', '1111111111') AS shape FROM {lines}"
        f" WHERE {FILLED} ORDER BY shape",
    )
    return [shape for (shape,) in rows.fetchall()]


def _fitting(connection: Connection, family: str, shapes: list[str]) -> list[str]:
    """Returns the formats of a family that can read at least one of the shapes."""
    formats = FAMILIES[family]
    if family == "year-first":
        year = LONG_YEAR if any(map(SHORT_FIRST.match, shapes)) else YEAR
        shapes = [shape for shape in shapes if year.match(shape)]
    if family == "compact":
        shapes = [shape for shape in shapes if COMPACT.match(shape)]
    if not shapes:
        return []
    counts = ", ".join(f"count(try_strptime(shape, '{format_}'))" for format_ in formats)
    row = connection.execute(f"SELECT {counts} FROM unnest($shapes) AS shapes(shape)", {"shapes": shapes}).fetchall()[0]
    return [format_ for format_, fits in zip(formats, row, strict=True) if fits]


def count_read(connection: Connection, lines: Relation, reading: Reading) -> tuple[int, int]:
    """Returns how many lines have a date, and how many of these the reading can read."""
    # DuckDB would read 31-12-24 as a day in the year 31.
    iso = (
        f"CASE WHEN lower(written) = upper(written) OR NOT regexp_matches(written, '{WORD_AFTER_TIME}')"
        " THEN nullif(try_cast(written AS TIMESTAMP) >= TIMESTAMP '1000-01-01', false) END"
    )
    count = f"count({iso if reading.is_iso else 'try_strptime(written, $formats)'})"
    row = connection.execute(
        f"SELECT count(*), {count} FROM (SELECT {WRITTEN} AS written FROM {lines} WHERE {FILLED})",
        {} if reading.is_iso else {"formats": reading.formats},
    ).fetchone()
    return (int(row[0]), int(row[1])) if row else (0, 0)


def _first(connection: Connection, lines: Relation, formats: list[str] | None = None) -> str:
    """Describes the first line with a date, or with one that the formats read: `FILE row 7: ordered_at '1/2/2011'`."""
    condition = f" AND try_strptime({WRITTEN}, $formats) IS NOT NULL" if formats else ""
    file, line, text = connection.execute(
        f"SELECT source_file, source_row, ordered_at FROM {lines} WHERE {FILLED}{condition}"
        " ORDER BY source_file, source_row LIMIT 1",
        {"formats": formats} if formats else {},
    ).fetchall()[0]
    return f"{file} row {line}: ordered_at {_shown(text)}"


def _shown(text: str) -> str:
    """Returns a value as an error line shows it."""
    return repr(text if len(text) <= SHOWN_CHARACTERS else f"{text[:SHOWN_CHARACTERS]}...")
