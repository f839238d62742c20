"""How the dates of a delivery are written. Never guessed silently wrong: two readings that both fit are an error."""

import duckdb

from seg_pipeline.errors import DataError, UsageError

TIMES = ("", " %H:%M", " %H:%M:%S", " %I:%M %p", " %I:%M:%S %p")
SEPARATORS = "/.-"


def _with_times(*days: str) -> list[str]:
    return [day + time for day in days for time in TIMES]


# ISO 8601 is the database's own reading of a timestamp, wider than this format, which stands for it.
ISO = ["%Y-%m-%dT%H:%M:%S"]
# A family is read by all of its formats.
FAMILIES: dict[str, list[str]] = {
    "iso": ISO,
    "day-first": _with_times(*(f"%d{s}%m{s}%{year}" for s in SEPARATORS for year in "Yy")),
    "month-first": _with_times(*(f"%m{s}%d{s}%{year}" for s in SEPARATORS for year in "Yy")),
    "compact": _with_times("%Y%m%d"),
    "year-first": _with_times("%Y/%m/%d", "%Y.%m.%d"),
}
# Dates in other forms than ISO are few where it is the right reading.
SURE_SHARE = 0.5


def date_formats(connection: duckdb.DuckDBPyConnection, setting: str) -> list[str]:
    """The strptime formats to read raw_orders.ordered_at with; `ISO` stands for all of ISO 8601.

    Args:
        setting: source.date_format: auto, a family's name, or one strptime format.

    Raises:
        UsageError: day-first and month-first fit equally well.
        DataError: no family reads any of the dates.
    """
    if setting in FAMILIES:
        return FAMILIES[setting]
    if setting != "auto":
        if "%" not in setting:
            raise UsageError(
                f"source.date_format: {setting!r} is neither auto, {', '.join(FAMILIES)} nor a strptime format"
            )
        return [setting]
    read = dict.fromkeys(FAMILIES, 0)
    filled, read["iso"] = _counted(connection, "try_cast(trim(ordered_at) AS TIMESTAMP)")
    if filled and read["iso"] <= SURE_SHARE * filled:
        for family, formats in FAMILIES.items():
            if formats != ISO:
                read[family] = _counted(connection, "try_strptime(trim(ordered_at), $formats)", formats)[1]
    best = max(read, key=lambda family: read[family])
    if filled and not read[best]:
        example = connection.execute(
            "SELECT min(ordered_at) FROM raw.raw_orders WHERE trim(ordered_at) != ''"
        ).fetchall()
        raise DataError(
            f"ordered_at: none of {filled:,} dates can be read, such as {example[0][0]!r}; set source.date_format to a strptime format"
        )
    if read["day-first"] and read["day-first"] == read["month-first"] == read[best]:
        example = connection.execute(
            "SELECT min(ordered_at) FROM raw.raw_orders WHERE try_strptime(trim(ordered_at), $formats) IS NOT NULL",
            {"formats": FAMILIES["day-first"]},
        ).fetchall()
        raise UsageError(
            f"ordered_at: dates such as {example[0][0]!r} can be day-first or month-first"
            "; set source.date_format=day-first or source.date_format=month-first"
        )
    return FAMILIES[best]


def _counted(connection: duckdb.DuckDBPyConnection, reading: str, formats: list[str] | None = None) -> tuple[int, int]:
    """Lines with a date, and those of them that the reading can read."""
    row = connection.execute(
        f"SELECT count(*), count({reading}) FROM raw.raw_orders WHERE trim(ordered_at) != ''",
        {"formats": formats} if formats else {},
    ).fetchone()
    return (int(row[0]), int(row[1])) if row else (0, 0)
