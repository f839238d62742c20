"""Deletes the rows of nights past their retention, so that the warehouse does not grow without end."""

import datetime

from seg_pipeline.errors import UsageError
from seg_pipeline.models.champions import Champion
from seg_pipeline.publishing.sets import published_as_of
from seg_pipeline.settings import Settings
from seg_pipeline.warehouse import Warehouse

# The report shows how the champion was chosen, so these schemas keep the night that it was fitted on.
KEEP_CHAMPION_NIGHT = ("models", "evaluation")
NIGHTLY = ("features", "models", "evaluation", "segments")


def oldest_kept(as_of: datetime.date, nights: int) -> datetime.date:
    """Returns the oldest night that is kept when `as_of` is the latest one."""
    return as_of - datetime.timedelta(days=nights)


def refuse_past_retention(
    settings: Settings, first: datetime.date, last: datetime.date, newest: datetime.date | None = None
) -> None:
    """Raises UsageError if the next run would delete the first of some nights, which are to be built again.

    Args:
        settings: Where nights are published, and how long they are kept.
        first: The first of the nights.
        last: The last of the nights.
        newest: The newest night of the warehouse, which counts if nothing is published; None if it is not known.
    """
    latest = max(last, published_as_of(settings.output.path) or last, newest or last)
    oldest = oldest_kept(latest, settings.retention.nights)
    if first < oldest:
        raise UsageError(
            f"the next run would delete the nights before {oldest}: retention.nights={settings.retention.nights},"
            f" counted from {latest}; begin with {oldest}, or raise retention.nights"
        )


def delete_old_nights(warehouse: Warehouse, champion: Champion, as_of: datetime.date, nights: int) -> int:
    """Deletes the rows of nights more than `nights` days before `as_of`, and returns how many rows there were.

    Keeps the candidates and the evaluation of the night that the champion was fitted on.

    Args:
        warehouse: The warehouse.
        champion: The champion in force.
        as_of: The latest night.
        nights: How many nights to keep.
    """
    oldest, deleted = oldest_kept(as_of, nights), 0
    with warehouse.transaction() as connection:
        for table in connection.tables_with("as_of"):
            schema = table.split(".")[0]
            if schema not in NIGHTLY:
                continue
            kept = champion.fitted_as_of if schema in KEEP_CHAMPION_NIGHT else None
            deleted += connection.delete(
                table,
                "as_of < $oldest AND as_of IS DISTINCT FROM $kept",
                {"oldest": oldest, "kept": kept},
            )
    return deleted
