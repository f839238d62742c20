"""Migration: counts who moved from which segment to which since an earlier night, and lists them for the teams."""

import datetime
from pathlib import Path
from typing import TYPE_CHECKING

from seg_pipeline.segments.tables import SEGMENT_ASSIGNMENTS, SEGMENT_HISTORY, SEGMENT_MIGRATION, SEGMENT_MOVES
from seg_pipeline.warehouse import Warehouse

if TYPE_CHECKING:
    import pandas as pd

SQL = Path(__file__).parent
WEEK = datetime.timedelta(days=7)


def earlier_nights(warehouse: Warehouse, as_of: datetime.date) -> list[datetime.date]:
    """Returns the nights to compare with: the one before, and the last one at least a week before; newest first.

    There are fewer than two if both are the same night or the warehouse has no earlier ones.
    """
    query = f"SELECT max(as_of) FROM {SEGMENT_ASSIGNMENTS.name} WHERE as_of <= $latest"
    nights = {warehouse.value(query, {"latest": as_of - back}) for back in (datetime.timedelta(days=1), WEEK)}
    return sorted(nights - {None}, reverse=True)


def lost_customers(warehouse: Warehouse, as_of: datetime.date | None) -> tuple[int, int]:
    """Counts the customers of the last night with segments who are missing, and all customers of that night.

    A night that a check stopped has no segments, so the next night is not compared with it.

    Returns:
        Missing customers and all customers; (0, 0) if there is no earlier night with segments.
    """
    with warehouse.get_connection() as connection:
        row = connection.execute(
            "SELECT count(*) FILTER (now.customer_id IS NULL), count(*)"
            " FROM (SELECT customer_id FROM {assignments} WHERE as_of ="
            " (SELECT max(as_of) FROM {assignments} WHERE as_of < $as_of)) AS before"
            " LEFT JOIN (SELECT customer_id FROM features.rfm_features WHERE as_of = $as_of) AS now"
            " USING (customer_id)",
            {"as_of": as_of, "assignments": SEGMENT_ASSIGNMENTS},
        ).fetchone()
    return (int(row[0]), int(row[1])) if row else (0, 0)


def migrate_night(warehouse: Warehouse, as_of: datetime.date) -> None:
    """Replaces the night's rows of segment_migration and segment_moves, and the view segment_history.

    All three change in one transaction.
    """
    nights = earlier_nights(warehouse, as_of)
    history = ", ".join(column.name for column in SEGMENT_HISTORY.columns)
    with warehouse.transaction() as connection:
        connection.execute(
            f"CREATE OR REPLACE VIEW {SEGMENT_HISTORY.name} AS SELECT {history} FROM {SEGMENT_ASSIGNMENTS.name}"
        )
        for table, file, compared in (
            (SEGMENT_MIGRATION, "segment_migration.sql", nights),
            (SEGMENT_MOVES, "segment_moves.sql", nights[-1:]),
        ):
            connection.create(table, or_replace=False)
            connection.delete(table, "as_of = $as_of", {"as_of": as_of})
            for night in compared:
                connection.insert(table, SQL / file, {"as_of": as_of, "from_as_of": night})


def since_earliest_night(migration: "pd.DataFrame") -> "pd.DataFrame":
    """Returns the rows of segment_migration that compare with the earliest night."""
    return migration[migration["from_as_of"] == migration["from_as_of"].min()]


def nights_on_record(warehouse: Warehouse) -> "pd.DataFrame":
    """Returns as_of and customers of each night of segment_history."""
    return warehouse.read(f"SELECT as_of, count(*) AS customers FROM {SEGMENT_HISTORY.name} GROUP BY ALL ORDER BY ALL")


def move_lists(warehouse: Warehouse, as_of: datetime.date) -> "pd.DataFrame":
    """Returns customers and monetary for each pair of new segment (newly) and earlier one (before), largest first."""
    return warehouse.read(
        "SELECT segment_name AS newly, from_segment_name AS before, count(*) AS customers,"
        f" CAST(sum(monetary) AS DOUBLE) AS monetary FROM {SEGMENT_MOVES.name} WHERE as_of = $as_of"
        " GROUP BY ALL ORDER BY customers DESC, newly, before",
        {"as_of": as_of},
    )
