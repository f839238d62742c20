"""Champions put in force by hand, and released again."""

import datetime
from dataclasses import replace

from seg_pipeline.errors import UsageError, did_you_mean
from seg_pipeline.models.champions import (
    Champion,
    append_champion,
    champions_overview,
    find_champion,
    newest_champion,
)
from seg_pipeline.warehouse import Warehouse


def pin(warehouse: Warehouse, model_id: str, start: datetime.date) -> None:
    """Puts a champion in force from the night `start` on; no challenger replaces it until it is unpinned.

    Raises:
        UsageError: There is no such champion, or the champion of today came into force after `start`.
    """
    champion = find_champion(warehouse, model_id)
    if champion is None:
        known = champions_overview(warehouse)["model_id"].to_list()
        raise UsageError(f"no champion {model_id!r}{did_you_mean(model_id, known)}; see seg-pipeline champions")
    _put_in_force(warehouse, replace(champion, pinned=True, why="Pinned by hand.", in_force_from=start))


def unpin(warehouse: Warehouse, start: datetime.date) -> None:
    """Lets challengers replace the champion again from the night `start` on; it stays in force until one does.

    Raises:
        UsageError: The champion of today is not pinned, or came into force after `start`.
    """
    champion = newest_champion(warehouse)
    if champion is None or not champion.pinned:
        raise UsageError("the champion is not pinned")
    _put_in_force(warehouse, replace(champion, pinned=False, why="Unpinned by hand.", in_force_from=start))


def _put_in_force(warehouse: Warehouse, champion: Champion) -> None:
    newest = newest_champion(warehouse)
    if newest is not None and champion.in_force_from < newest.in_force_from:
        raise UsageError(f"{newest.model_id} is in force from {newest.in_force_from}: choose that night or a later one")
    with warehouse.get_connection() as connection:
        append_champion(connection, champion)
