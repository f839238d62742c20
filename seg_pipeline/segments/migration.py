"""Migration: counts who moved from which segment to which since an earlier night, and lists them for the teams."""

import datetime
from bisect import bisect_left, bisect_right
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from seg_pipeline.models.champions import Champion, find_champion
from seg_pipeline.models.scoring import label_customers
from seg_pipeline.segments.tables import SEGMENT_ASSIGNMENTS, SEGMENT_HISTORY, SEGMENT_MIGRATION, SEGMENT_MOVES
from seg_pipeline.warehouse import Connection, Relation, Warehouse

if TYPE_CHECKING:
    import pandas as pd

SQL = Path(__file__).parent
WEEK = datetime.timedelta(days=7)


def earlier_nights(nights: Sequence[datetime.date], as_of: datetime.date) -> list[datetime.date]:
    """Returns the nights to compare with: the one before, and the last one at least a week before; newest first.

    There are fewer than two if both are the same night or there are no earlier ones.

    Args:
        nights: All nights with segments, in order.
        as_of: The night.
    """
    places = {bisect_left(nights, as_of), bisect_right(nights, as_of - WEEK)}
    return [nights[place - 1] for place in sorted(places, reverse=True) if place]


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


def migrate_night(warehouse: Warehouse, as_of: datetime.date) -> list[datetime.date]:
    """Replaces the night's rows of segment_migration and segment_moves, and the view segment_history.

    The later nights that compare with this one are made again, because it may be new or have changed. The tables of one
    night change in one transaction.

    Returns:
        The later nights that were made again.
    """
    found = warehouse.read("SELECT DISTINCT as_of FROM {nights} ORDER BY as_of", {"nights": SEGMENT_ASSIGNMENTS})
    nights = [night.date() for night in found["as_of"]]
    later = [night for night in nights if night > as_of and as_of in earlier_nights(nights, night)]
    for night in (as_of, *later):
        _migrate(warehouse, night, earlier_nights(nights, night))
    return later


def _migrate(warehouse: Warehouse, as_of: datetime.date, earlier: Sequence[datetime.date]) -> None:
    """Replaces the rows of one night, compared with the earlier ones, of which the last is that of segment_moves."""
    history = ", ".join(column.name for column in SEGMENT_HISTORY.columns)
    model_id, from_model_id = (_model_of(warehouse, night) for night in (as_of, (earlier or [as_of])[-1]))
    champion = None if model_id == from_model_id else find_champion(warehouse, model_id)
    models = {"model_id": model_id, "from_model_id": from_model_id}
    with ExitStack() as stack:
        connection = stack.enter_context(warehouse.get_connection())
        # DuckDB reads uncommitted rows with one thread, so customers are labelled before the transaction begins.
        scored = stack.enter_context(_scored(connection, champion, earlier[-1])) if earlier else None
        stack.enter_context(connection.transaction())
        connection.execute(
            f"CREATE OR REPLACE VIEW {SEGMENT_HISTORY.name} AS SELECT {history} FROM {SEGMENT_ASSIGNMENTS.name}"
        )
        for table, file, compared in (
            (SEGMENT_MIGRATION, "segment_migration.sql", earlier),
            (SEGMENT_MOVES, "segment_moves.sql", earlier[-1:]),
        ):
            connection.create(table, or_replace=False)
            connection.delete(table, "as_of = $as_of", {"as_of": as_of})
            for night in compared:
                connection.insert(table, SQL / file, {"as_of": as_of, "from_as_of": night, "scored": scored, **models})


def _model_of(warehouse: Warehouse, as_of: datetime.date) -> str:
    """Returns the model that scored a night."""
    return str(
        warehouse.value(
            "SELECT max(model_id) FROM {assignments} WHERE as_of = $as_of",
            {"as_of": as_of, "assignments": SEGMENT_ASSIGNMENTS},
        )
    )


@contextmanager
def _scored(connection: Connection, champion: Champion | None, as_of: datetime.date) -> Iterator[Relation]:
    """Yields customer_id and segment_id of a night's customers by a champion; by the night's own if it is None."""
    if champion is None:
        yield Relation(f"(SELECT customer_id, segment_id FROM {SEGMENT_ASSIGNMENTS.name} WHERE as_of = $from_as_of)")
        return
    with (
        label_customers(connection, champion.scorer, as_of) as labelled,
        connection.temporary(champion.segments[["cluster", "segment_id"]]) as numbered,
    ):
        yield Relation(f"(SELECT customer_id, segment_id FROM {labelled} JOIN {numbered} USING (cluster))")


def since_earliest_night(migration: "pd.DataFrame") -> "pd.DataFrame":
    """Returns the rows of segment_migration that compare with the earliest night."""
    return migration[migration["from_as_of"] == migration["from_as_of"].min()]


def nights_on_record(warehouse: Warehouse) -> "pd.DataFrame":
    """Returns as_of and customers of each night of segment_history."""
    return warehouse.read(f"SELECT as_of, count(*) AS customers FROM {SEGMENT_HISTORY.name} GROUP BY ALL ORDER BY ALL")


def move_lists(warehouse: Warehouse, as_of: datetime.date) -> "pd.DataFrame":
    """Returns the moves of a night by new segment (newly), earlier one (before) and moved_by, largest first.

    Returns:
        newly, before, moved_by, customers and monetary of each.
    """
    return warehouse.read(
        "SELECT segment_name AS newly, from_segment_name AS before, moved_by, count(*) AS customers,"
        f" CAST(sum(monetary) AS DOUBLE) AS monetary FROM {SEGMENT_MOVES.name} WHERE as_of = $as_of"
        " GROUP BY ALL ORDER BY customers DESC, newly, before, moved_by",
        {"as_of": as_of},
    )
