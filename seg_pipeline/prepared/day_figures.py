"""Keeps day_figures up to date: the figures of every order day and delivery, and the verdicts on them.

The database sums lines; Python holds a row per day and per delivery. Only the lines of days that have changed are
summed again.
"""

import datetime
from collections.abc import Collection, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any

from seg_pipeline.nights import ASSIGNMENTS
from seg_pipeline.prepared.day_verdicts import (
    ACCEPTED,
    COMPARABLE_DELIVERIES,
    IMPOSSIBLE,
    ODD,
    OK,
    Verdict,
    judge_days,
    judge_deliveries,
    usually_trades,
    worst,
)
from seg_pipeline.prepared.tables import ACCEPTED_FIGURES, DAY_FIGURES
from seg_pipeline.settings import DaySettings
from seg_pipeline.warehouse import Connection, Relation, Warehouse

if TYPE_CHECKING:
    import pandas as pd

# A row of day_figures by the names of its columns.
Row = dict[str, Any]

SQL_FOLDER = Path(__file__).parent
CONTENTS, FIGURES = SQL_FOLDER / "day_contents.sql", SQL_FOLDER / "day_figures.sql"
REPEATS, PRICES = SQL_FOLDER / "day_repeats.sql", SQL_FOLDER / "day_prices.sql"
NEW_CUSTOMERS = SQL_FOLDER / "new_customers.sql"
DELIVERED = "SELECT source_file FROM raw.deliveries WHERE status IN ('loaded', 'kept') ORDER BY source_file"
REJECTED_LINES = "SELECT source_file, count(*) AS lines FROM prepared.rejected_orders GROUP BY source_file"
# For day_figures.sql: the days of the orders that are counted there.
ORDER_DAYS = Relation(
    "(SELECT CAST(ordered_at AS DATE) AS order_day, order_id FROM prepared.clean_orders"
    " WHERE order_id IN (SELECT order_id FROM orders))"
)
# A line repeats another that is at most REPEAT_DAYS older. To compare the lines of all days with each other would take
# longer than to clean them, and limits are learned from the newest days; so older days are left out. The same holds for
# prices, which are another if they differ by more than OTHER_PRICE from those of the month before.
REPEAT_DAYS, COMPARED_DAYS = 7, 120
OTHER_PRICE = 1.5
ONE_DAY = datetime.timedelta(days=1)
# A delivery without a line is odd unless so many of the deliveries before it had none.
USUALLY_EMPTY = 2
# How much pages and the report show.
SHOWN_DAYS, SHOWN_FINDINGS = 180, 20
# The figures that follow from the lines of a day alone, as day_figures.sql returns them.
OF_THE_LINES = (
    "lines",
    "orders",
    "customers",
    "revenue",
    "median_quantity",
    "median_unit_price",
    "share_returned",
    "share_known_orders",
)


@dataclass(frozen=True, slots=True)
class _Load:
    """When a load is, by the nights with segments.

    Attributes:
        number: Its number.
        newest_night: The newest night with segments; None if there is none.
        is_first: Whether it is the first load that judges days. The days in it are the history of the shop.
        replaces: Whether deliveries have disappeared, so that new ones may stand in their place.
    """

    number: int
    newest_night: datetime.date | None
    is_first: bool
    replaces: bool

    def date(self, row: Row, earlier: Row | None) -> None:
        """Adds to a day or delivery since when it is as it is.

        Args:
            row: The day or delivery.
            earlier: Its row after the load before; None if there is none.
        """
        now = None if self.is_first else self.newest_night
        is_same = earlier is not None and (
            earlier["digest"] == row["digest"] or all(earlier.get(name) == row.get(name) for name in OF_THE_LINES)
        )
        row["load"] = earlier["load"] if earlier else self.number
        row["came_after"] = earlier["came_after"] if earlier else None if self.replaces else now
        row["seen_after"] = earlier["seen_after"] if earlier and is_same else now


def update_day_figures(connection: Connection, settings: DaySettings) -> None:
    """Brings day_figures up to date with clean_orders and rejected_orders.

    Args:
        connection: The connection to the warehouse.
        settings: The limits of the verdicts.
    """
    for table in (DAY_FIGURES, ACCEPTED_FIGURES):
        connection.create(table, or_replace=False)
    columns = [column.name for column in DAY_FIGURES.columns]
    earlier = {
        row["name"]: row for row in _rows(connection, f"SELECT {', '.join(columns)} FROM {DAY_FIGURES.name}", columns)
    }
    accepted = set(connection.execute(f"SELECT name, digest FROM {ACCEPTED_FIGURES.name}").fetchall())
    newest_night = newest_scored(connection)
    contents = _rows(connection, CONTENTS, ("order_day", "source_file", "lines", "revenue", "digest"))
    deliveries = _deliveries(connection, contents)
    days = _days(connection, contents, earlier)
    _add_rejected(days, contents, deliveries)
    gaps = _gaps([row["order_day"] for row in days])
    load = _Load(
        number=max((row["load"] for row in earlier.values()), default=0) + 1,
        newest_night=newest_night,
        is_first=not earlier,
        replaces={row["name"] for row in deliveries}
        < {row["name"] for row in (*deliveries, *earlier.values()) if row.get("source_file")},
    )
    for row in (*days, *gaps, *deliveries):
        load.date(row, earlier.get(row["name"]))
    deliveries.sort(key=lambda row: (row["load"], row["order_day"] or datetime.date.max, row["name"]))
    standing = {row["name"] for row in (*days, *gaps, *deliveries) if (row["name"], row["digest"]) in accepted}
    _judge(days, deliveries, contents, standing, settings)
    for row in gaps:
        row["verdict"] = ACCEPTED if row["name"] in standing else ODD
    with connection.transaction():
        connection.create(DAY_FIGURES)
        connection.insert_rows(DAY_FIGURES, [*days, *gaps, *deliveries])


def newest_scored(connection: Connection) -> datetime.date | None:
    """Returns the newest night with segments; None if there is none."""
    if ASSIGNMENTS not in connection.tables_with("as_of"):
        return None
    [(newest,)] = connection.execute(f"SELECT max(as_of) FROM {ASSIGNMENTS}").fetchall()
    return newest


def _deliveries(connection: Connection, contents: Sequence[Row]) -> list[Row]:
    """Returns a row per delivery: its clean lines, its last order day, and its share of rejected lines."""
    rejected = dict(connection.execute(REJECTED_LINES).fetchall())
    parts: dict[str, list[Row]] = {}
    for part in contents:
        parts.setdefault(part["source_file"], []).append(part)
    rows = []
    for (name,) in connection.execute(DELIVERED).fetchall():
        lines = sum(part["lines"] for part in parts.get(name, ()))
        revenue = sum((part["revenue"] for part in parts.get(name, ())), Decimal(0))
        refused = rejected.get(name, 0)
        rows.append(
            {
                "name": name,
                "order_day": max((part["order_day"] for part in parts.get(name, ())), default=None),
                "source_file": name,
                "lines": lines,
                "delivered_lines": lines + refused,
                "revenue": revenue,
                "share_rejected": refused / (lines + refused) if lines + refused else None,
                "digest": f"{lines}/{revenue}/{refused}",
            }
        )
    return rows


def _days(connection: Connection, contents: Sequence[Row], earlier: "dict[str, Row]") -> list[Row]:
    """Returns a row per order day, in order, with the figures of its lines.

    Args:
        connection: The connection to the warehouse.
        contents: The lines of each order day and delivery.
        earlier: The rows of day_figures so far, by name.
    """
    parts: dict[datetime.date, list[Row]] = {}
    for part in contents:
        parts.setdefault(part["order_day"], []).append(part)
    digests = {
        day: f"{sum(part['lines'] for part in of_day)}/{sum(int(part['digest']) for part in of_day)}"
        for day, of_day in sorted(parts.items())
    }
    unchanged = {day for day, digest in digests.items() if earlier.get(str(day), {}).get("digest") == digest}
    changed = [day for day in digests if day not in unchanged]
    figures = {day: earlier[str(day)] for day in unchanged}
    if changed:
        figures |= _figures(connection, changed, list(digests), figures)
    return [
        {**figures[day], "name": str(day), "order_day": day, "source_file": None, "digest": digest}
        for day, digest in digests.items()
    ]


def _gaps(days: Sequence[datetime.date]) -> list[Row]:
    """Returns a row per day without orders, between order days, on whose weekday the shop usually has orders."""
    known = set(days)
    between = range((days[-1] - days[0]).days) if days else ()
    missing = (day for back in between if (day := days[0] + datetime.timedelta(days=back)) not in known)
    return [
        {
            "name": str(day),
            "order_day": day,
            "lines": 0,
            "orders": 0,
            "customers": 0,
            "revenue": Decimal(0),
            "digest": "0",
            "reason": f"there are no orders, although the shop usually has orders on a {day:%A}",
        }
        for day in missing
        if usually_trades(day, known)
    ]


def _figures(
    connection: Connection, changed: Sequence[datetime.date], days: Sequence[datetime.date], unchanged: dict[Any, Row]
) -> dict[datetime.date, Row]:
    """Returns the figures of all days: those of changed days from their lines, and those that depend on other days.

    Args:
        connection: The connection to the warehouse.
        changed: The days whose lines have changed.
        days: All order days.
        unchanged: The figures of the other days.
    """
    with _table_of(connection, changed) as table:
        # If all days are summed, none of their orders has lines on another day.
        order_days = Relation("orders") if len(changed) == len(days) else ORDER_DAYS
        rows = _rows(connection, FIGURES, ("order_day", *OF_THE_LINES), {"days": table, "order_days": order_days})
    figures = {row["order_day"]: row for row in rows}
    new = dict(connection.execute(NEW_CUSTOMERS).fetchall())
    newest = [day for day in days if day > max(days) - datetime.timedelta(days=COMPARED_DAYS)]
    after_changed = {day + datetime.timedelta(days=after) for day in changed for after in range(REPEAT_DAYS + 1)}
    repeated = after_changed.intersection(newest)
    week = {day - datetime.timedelta(days=before) for day in repeated for before in range(REPEAT_DAYS + 1)}
    repeats = _shares(connection, REPEATS, repeated, week.intersection(days), {"repeat_days": REPEAT_DAYS})
    priced = set(changed).intersection(newest)
    months = {(day.year, day.month) for day in priced}
    months |= {(before.year, before.month) for day in priced for before in [day.replace(day=1) - ONE_DAY]}
    near = {day for day in days if (day.year, day.month) in months}
    prices = _shares(connection, PRICES, priced, near, {"factor": OTHER_PRICE})
    return {
        day: {
            **row,
            "lines_per_customer": row["lines"] / row["customers"],
            "share_new_customers": new.get(day, 0) / row["customers"],
            **({"share_repeated": repeats.get(day)} if day in repeats or day in figures else {}),
            **({"share_repriced": prices.get(day)} if day in figures else {}),
        }
        for day, row in {**unchanged, **figures}.items()
    }


def _shares(
    connection: Connection,
    query: Path,
    days: Collection[datetime.date],
    near: Collection[datetime.date],
    parameters: Mapping[str, Any],
) -> dict[datetime.date, float]:
    """Returns a share of the lines of some days, which follows from their lines and those of days near them."""
    if not days:
        return {}
    with _table_of(connection, sorted(days)) as table, _table_of(connection, sorted(near)) as near_table:
        return dict(connection.execute(query, {"days": table, "near": near_table, **parameters}).fetchall())


def _rows(
    connection: Connection, query: str | Path, names: Sequence[str], parameters: Mapping[str, Any] | None = None
) -> list[Row]:
    """Returns the rows of a query that has these columns, by their names."""
    return [dict(zip(names, row, strict=True)) for row in connection.execute(query, parameters).fetchall()]


def _table_of(connection: Connection, days: Sequence[datetime.date]) -> AbstractContextManager[Relation]:
    """Yields a temporary table of days."""
    texts = [day.isoformat() for day in days]
    return connection.temporary("SELECT CAST(unnest($texts::VARCHAR[]) AS DATE) AS order_day", {"texts": texts})


def _add_rejected(days: Iterable[Row], contents: Iterable[Row], deliveries: Iterable[Row]) -> None:
    """Adds to each day the share of rejected lines of its deliveries."""
    of_delivery = {row["name"]: row for row in deliveries}
    files: dict[datetime.date, set[str]] = {}
    for part in contents:
        files.setdefault(part["order_day"], set()).add(part["source_file"])
    for row in days:
        clean = delivered = 0
        for name in sorted(files[row["order_day"]] & of_delivery.keys()):
            clean += of_delivery[name]["lines"]
            delivered += of_delivery[name]["delivered_lines"]
        row["share_rejected"] = (delivered - clean) / delivered if delivered else None


def _judge(
    days: Sequence[Row],
    deliveries: Sequence[Row],
    contents: Iterable[Row],
    accepted: Collection[str],
    settings: DaySettings,
) -> None:
    """Adds ratios, verdicts and reasons to days, and to deliveries in the order in which they came."""
    import pandas as pd

    accepted_days = {row["order_day"] for row in days if row["name"] in accepted}
    if days:
        for row, verdict in zip(days, judge_days(pd.DataFrame(days), accepted_days, settings), strict=True):
            _add_verdict(row, verdict)
    if not deliveries:
        return
    idle = _idle(deliveries, contents)
    delivered = pd.DataFrame(deliveries)[["source_file", "delivered_lines", "share_rejected"]]
    delivered["share_rejected"] = delivered["share_rejected"].astype(float)
    for row, on_rejected in zip(deliveries, judge_deliveries(delivered, accepted, settings), strict=True):
        _add_verdict(row, _with(on_rejected, *idle.get(row["name"], (OK, None))))


def _with(verdict: Verdict, other: str, reason: str | None) -> Verdict:
    """Returns a verdict together with another one; what is accepted stays accepted."""
    found = ACCEPTED if verdict.verdict == ACCEPTED else worst((verdict.verdict, other))
    return Verdict(found, "; ".join(words for words in (reason, verdict.reason) if words) or None, verdict.usual)


def _idle(deliveries: Sequence[Row], contents: Iterable[Row]) -> dict[str, tuple[str, str]]:
    """Finds deliveries that bring no new order day, and no other delivery of their load does; and those without lines.

    They are impossible if the shop usually has orders on the day that the next night would add, and if it usually gets
    a day in one delivery. If not, they are odd.

    Args:
        deliveries: The deliveries in the order in which they came.
        contents: The lines of each order day and delivery.

    Returns:
        The verdict and the reason, by the name of the delivery.
    """
    files: dict[datetime.date, int] = {}
    for part in contents:
        files[part["order_day"]] = files.get(part["order_day"], 0) + 1
    bringing = {
        row["load"]
        for row in deliveries
        if row["came_after"] is None or (row["order_day"] is not None and row["order_day"] >= row["came_after"])
    }
    found: dict[str, tuple[str, str]] = {}
    for place, row in enumerate(deliveries):
        before = deliveries[max(0, place - COMPARABLE_DELIVERIES) : place]
        counts = f"{row['lines']:,} of its lines count" if row["lines"] else "none of its lines count"
        if row["load"] not in bringing:
            day = row["came_after"]
            last_counts = [files[other] for other in sorted(files) if other < day][-8:]
            must_bring = usually_trades(day, files.keys()) and median(last_counts) == 1
            if must_bring:
                found[row["name"]] = (
                    IMPOSSIBLE,
                    (
                        f"{counts}, and no order is on {day} or later, although the shop usually has orders on a"
                        f" {day:%A}"
                    ),
                )
            elif _is_rare(before):
                found[row["name"]] = ODD, f"{counts}, and no order is on {day} or later"
        elif not row["lines"] and row["came_after"] is not None and _is_rare(before):
            found[row["name"]] = ODD, counts
    return found


def _is_rare(before: Sequence[Row]) -> bool:
    """Returns whether deliveries without a line are rare, given the deliveries before one."""
    return sum(not row["lines"] for row in before) < USUALLY_EMPTY


def _add_verdict(row: Row, verdict: Verdict) -> None:
    """Adds a verdict to a row, and the ratio of each figure to its usual value."""
    row["verdict"], row["reason"] = verdict.verdict, verdict.reason
    for name, usual in verdict.usual.items():
        value = row.get(name)
        row[f"{name}_ratio"] = float(value) / usual if value is not None and usual > 0 and value >= 0 else None


def newest_days(warehouse: Warehouse, before: datetime.date | None = None) -> "pd.DataFrame":
    """Returns the rows of the newest order days (before a night), at most SHOWN_DAYS, the oldest first."""
    return warehouse.read(
        f"SELECT * FROM (SELECT * FROM {DAY_FIGURES.name} WHERE source_file IS NULL AND order_day < coalesce($before,"
        f" DATE '9999-12-31') ORDER BY order_day DESC LIMIT {SHOWN_DAYS}) ORDER BY order_day",
        {"before": before},
    )


def findings(warehouse: Warehouse, before: datetime.date | None = None) -> "pd.DataFrame":
    """Returns name, verdict and reason of the newest days and deliveries (before a night) that are not ok."""
    return warehouse.read(
        f"SELECT name, verdict, reason FROM {DAY_FIGURES.name} WHERE verdict != '{OK}'"
        " AND coalesce(order_day < $before, true) ORDER BY load DESC, order_day DESC NULLS FIRST, name"
        f" LIMIT {SHOWN_FINDINGS}",
        {"before": before},
    )


def new_findings(warehouse: Warehouse, as_of: datetime.date) -> "pd.DataFrame":
    """Returns name, verdict and reason of what is odd or impossible and new to a night, the impossible first.

    New are the days since the last night with segments before it, and what has changed since then. Before the first
    such night, all days but the last are the history that it is judged by, unless they came after a later night.
    """
    return warehouse.read(
        f"SELECT name, verdict, reason FROM {DAY_FIGURES.name} WHERE verdict IN ('{IMPOSSIBLE}', '{ODD}')"
        " AND coalesce(order_day < $as_of, true) AND CASE WHEN $night_before IS NULL THEN seen_after IS NOT NULL"
        f" OR order_day = (SELECT max(order_day) FROM {DAY_FIGURES.name} WHERE order_day < $as_of)"
        " ELSE coalesce(order_day >= $night_before, false) OR coalesce(seen_after >= $night_before, false) END"
        " ORDER BY verdict, order_day, name",
        {"as_of": as_of, "night_before": warehouse.newest_night(ASSIGNMENTS, before=as_of)},
    )


def no_new_day(warehouse: Warehouse, as_of: datetime.date) -> str:
    """Returns in words that a night is scored again because no order is of a later day, with the deliveries since."""
    deliveries, counted = warehouse.read(
        "SELECT count(*) AS deliveries, coalesce(CAST(sum(lines) AS BIGINT), 0) AS lines"
        f" FROM {DAY_FIGURES.name} WHERE source_file IS NOT NULL AND came_after = $as_of",
        {"as_of": as_of},
    ).iloc[0]
    last_day = as_of - datetime.timedelta(days=1)
    since = f"{deliveries} new deliveries, {counted:,} clean lines" if deliveries else "no new delivery"
    return f"the night {as_of} was scored before: the last order is still of {last_day} ({since} since)"
