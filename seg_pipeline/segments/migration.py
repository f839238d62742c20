"""Who moved from where to where since an earlier night, and the lists that teams act on."""

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
    """The nights that this one is compared with: the one before it, and the last that is a week or more ago.

    None, or one, where the warehouse has no others.
    """
    query = f"SELECT max(as_of) FROM {SEGMENT_ASSIGNMENTS.name} WHERE as_of <= $latest"
    found = {warehouse.value(query, {"latest": as_of - back}) for back in (datetime.timedelta(days=1), WEEK)}
    return sorted(found - {None}, reverse=True)


def lost_customers(warehouse: Warehouse, as_of: datetime.date | None) -> tuple[int, int]:
    """How many customers of the last night with segments are gone, and how many there were; (0, 0) without one.

    A night that a check stopped has no segments, so it is no measure for the next.
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
    """Replaces the night's rows of segment_migration and segment_moves in one transaction; makes the view too."""
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


def farthest(migration: "pd.DataFrame") -> "pd.DataFrame":
    """Returns the rows of segment_migration that compare with the earliest of the nights."""
    return migration[migration["from_as_of"] == migration["from_as_of"].min()]


def nights_on_record(warehouse: Warehouse) -> "pd.DataFrame":
    """Returns as_of and customers of each night of segment_history."""
    return warehouse.read(f"SELECT as_of, count(*) AS customers FROM {SEGMENT_HISTORY.name} GROUP BY ALL ORDER BY ALL")


def move_lists(warehouse: Warehouse, as_of: datetime.date) -> "pd.DataFrame":
    """Returns customers and monetary for each pair of segments moved to (newly) and from (before), largest first."""
    return warehouse.read(
        "SELECT segment_name AS newly, from_segment_name AS before, count(*) AS customers,"
        f" CAST(sum(monetary) AS DOUBLE) AS monetary FROM {SEGMENT_MOVES.name} WHERE as_of = $as_of"
        " GROUP BY ALL ORDER BY customers DESC, newly, before",
        {"as_of": as_of},
    )
