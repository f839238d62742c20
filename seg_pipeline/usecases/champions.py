"""Lists the champions, and pins and unpins them by hand."""

import datetime
from dataclasses import dataclass

from seg_pipeline.champions.cadence import last_scored
from seg_pipeline.champions.pinning import pin, unpin
from seg_pipeline.models.champions import champions_overview
from seg_pipeline.settings import Settings
from seg_pipeline.usecases.existing import existing_warehouse
from seg_pipeline.warehouse import Warehouse


@dataclass(frozen=True, slots=True)
class Appointment:
    """A champion and the night from which it is in force.

    Attributes:
        number: The number of the appointment.
        in_force_from: The first night that the champion scores.
        model_id: The champion.
        fitted_as_of: The night that it was fitted on.
        pinned: Whether challengers cannot replace it.
        customers: The buyers that it was fitted on.
        why: Why it was put in force.
    """

    number: int
    in_force_from: datetime.date
    model_id: str
    fitted_as_of: datetime.date
    pinned: bool
    customers: int
    why: str


def appointments(settings: Settings) -> list[Appointment]:
    """Returns the champions in the order in which they were put in force.

    Raises:
        UsageError: There is no warehouse.
    """
    warehouse = existing_warehouse(settings)
    with warehouse.held(read_only=True):
        overview = champions_overview(warehouse)
    for day in ("in_force_from", "fitted_as_of"):
        overview[day] = overview[day].dt.date
    return [Appointment(**{str(name): value for name, value in row.items()}) for row in overview.to_dict("records")]


def pin_champion(settings: Settings, model_id: str, start: datetime.date | None) -> None:
    """Puts a champion in force and keeps challengers from replacing it.

    Args:
        settings: The settings that name the warehouse.
        model_id: The champion.
        start: The first night that it scores; if None, the last night scored, or today if none is.

    Raises:
        UsageError: There is no warehouse or no such champion, or `start` is before the night from which the champion of
            today is in force.
    """
    warehouse = existing_warehouse(settings)
    with warehouse.held():
        pin(warehouse, model_id, start or _last_scored_or_today(warehouse))


def unpin_champion(settings: Settings, start: datetime.date | None) -> None:
    """Lets challengers replace the champion again.

    Args:
        settings: The settings that name the warehouse.
        start: The night from which they may; if None, the last night scored, or today if none is.

    Raises:
        UsageError: There is no warehouse, the champion of today is not pinned, or `start` is before the night from
            which it is in force.
    """
    warehouse = existing_warehouse(settings)
    with warehouse.held():
        unpin(warehouse, start or _last_scored_or_today(warehouse))


def _last_scored_or_today(warehouse: Warehouse) -> datetime.date:
    """Returns the last night scored; today's date in UTC if none is."""
    return last_scored(warehouse) or datetime.datetime.now(datetime.UTC).date()
