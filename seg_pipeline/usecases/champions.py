"""The champions: listed, pinned and unpinned by hand."""

import datetime
from dataclasses import dataclass

from seg_pipeline.champions.cadence import last_scored
from seg_pipeline.champions.pinning import pin, unpin
from seg_pipeline.errors import UsageError
from seg_pipeline.models.champions import champions_overview
from seg_pipeline.settings import Settings
from seg_pipeline.warehouse import Warehouse
from seg_pipeline.wiring import warehouse_of


@dataclass(frozen=True, slots=True)
class Reign:
    """A champion from the night it was put in force; `customers` are the buyers it was fitted on."""

    number: int
    in_force_from: datetime.date
    model_id: str
    fitted_as_of: datetime.date
    pinned: bool
    customers: int
    why: str


def champions(settings: Settings) -> list[Reign]:
    """Returns the champions in the order in which they were put in force.

    Raises:
        UsageError: There is no warehouse.
    """
    warehouse = _existing(settings)
    with warehouse.held(read_only=True):
        overview = champions_overview(warehouse)
    for day in ("in_force_from", "fitted_as_of"):
        overview[day] = overview[day].dt.date
    return [Reign(**{str(name): value for name, value in row.items()}) for row in overview.to_dict("records")]


def pin_champion(settings: Settings, model_id: str, start: datetime.date | None) -> None:
    """Puts a champion in force, so that no challenger replaces it.

    Args:
        settings: Those of the warehouse.
        model_id: The champion.
        start: The first night it scores; the last night scored if None.

    Raises:
        UsageError: There is no warehouse, or no such champion.
    """
    warehouse = _existing(settings)
    with warehouse.held():
        pin(warehouse, model_id, start or _last_night(warehouse))


def unpin_champion(settings: Settings, start: datetime.date | None) -> None:
    """Lets challengers replace the champion again; see `pin_champion`."""
    warehouse = _existing(settings)
    with warehouse.held():
        unpin(warehouse, start or _last_night(warehouse))


def _existing(settings: Settings) -> Warehouse:
    if not settings.warehouse.path.is_file():
        raise UsageError(f"warehouse {settings.warehouse.path}: no such file; seg-pipeline run makes one")
    return warehouse_of(settings)


def _last_night(warehouse: Warehouse) -> datetime.date:
    return last_scored(warehouse) or datetime.datetime.now(datetime.UTC).date()
