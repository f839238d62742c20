"""Reads the value test's input: the customers' features at a cutoff, and what they bought from then to the night."""

import datetime
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import seg_pipeline.features
from seg_pipeline.features.buyers import grid_place, sampled
from seg_pipeline.features.tables import IS_BUYER
from seg_pipeline.settings import Settings
from seg_pipeline.warehouse import Warehouse

if TYPE_CHECKING:
    import pandas as pd

# The features that describe the segments, whichever features they are fitted on.
PROFILE_FEATURES = ("recency_days", "frequency", "monetary")
FEATURES_SQL = Path(seg_pipeline.features.__file__).with_name("rfm_features.sql")
OUTCOMES_SQL = Path(__file__).with_name("value_outcomes.sql")


@dataclass(frozen=True, slots=True)
class Outcomes:
    """What the customers did in a night's held-back window.

    Attributes:
        cutoff: The first day that is held back; only the orders before it are known.
        customers: One row per customer with a purchase before the cutoff (a sample if there are more than
            warehouse.most_customers): the modelling features and PROFILE_FEATURES as of the cutoff, their place in the
            R x F grid (grid_place), then orders and revenue of the window. None if there is no test.
        untested_because: Why there is no test, in a sentence; None if there is one.
        sampled: Whether the customers are a sample.
        few_repeat: Whether there is no test because nearly all customers bought once.
    """

    cutoff: datetime.date
    customers: "pd.DataFrame | None"
    untested_because: str | None
    sampled: bool = False
    few_repeat: bool = False


def choice_night(as_of: datetime.date, settings: Settings) -> datetime.date:
    """Returns the night on which the window that chooses ends: where the window that is reported begins.

    A window that chose among candidates flatters the one that it chose, so the figures that are reported come from
    another window.
    """
    return as_of - datetime.timedelta(days=settings.value.window_days)


def read_outcomes(warehouse: Warehouse, as_of: datetime.date, settings: Settings) -> Outcomes:
    """Reads the window before a night, [as_of - value.window_days, as_of), or returns why it cannot be tested."""
    value = settings.value
    cutoff = as_of - datetime.timedelta(days=value.window_days)
    first_order_on = warehouse.value("SELECT CAST(min(ordered_at) AS DATE) FROM prepared.clean_orders")
    if (cutoff - first_order_on).days < value.window_days:
        first_tested_night = first_order_on + datetime.timedelta(days=2 * value.window_days)
        return Outcomes(
            cutoff,
            None,
            f"The history is too short: a window of {value.window_days} days needs as many days of orders before it,"
            f" but the first order was on {first_order_on}. The night of {first_tested_night} will have enough.",
        )
    customers = _read(warehouse, cutoff, as_of, tuple(dict.fromkeys((*settings.features.columns, *PROFILE_FEATURES))))
    if len(customers) < value.smallest_customers:
        reason = (
            f"There are too few customers: {len(customers)} had bought before {cutoff}, and value.smallest_customers is"
            f" {value.smallest_customers}."
        )
        return Outcomes(cutoff, None, reason)
    repeaters = float((customers["frequency"] > 1).mean())
    if repeaters < settings.value.smallest_repeat_share:
        reason = (
            f"Nearly all customers bought once: {repeaters:.1%} of those who had bought before {cutoff} had a second"
            f" order, and value.smallest_repeat_share is {settings.value.smallest_repeat_share:g}. What such customers"
            " will bring cannot be predicted from what they bought, so no worth is claimed."
        )
        return Outcomes(cutoff, None, reason, few_repeat=True)
    if not customers["revenue"].sum() > 0:
        reason = (
            f"The customers who had bought before {cutoff} brought no revenue in the {value.window_days} days from that"
            " day on."
        )
        return Outcomes(cutoff, None, reason)
    return Outcomes(cutoff, customers, None, sampled=len(customers) == warehouse.most_customers)


def _read(warehouse: Warehouse, cutoff: datetime.date, as_of: datetime.date, features: Sequence[str]) -> "pd.DataFrame":
    # The features come from the SQL of the night's own features, run as of the cutoff. DuckDB computes only the columns
    # that are selected.
    place, names = grid_place()
    buyers = (
        f"SELECT customer_id, {', '.join(features)}, {place}"
        f" FROM ({FEATURES_SQL.read_text(encoding='utf-8')}) AS features WHERE {IS_BUYER}"
    )
    sample = sampled(buyers, warehouse.most_customers)
    with (
        warehouse.get_connection() as connection,
        connection.temporary(sample, {"as_of": cutoff, **names}) as features_at_cutoff,
    ):
        return connection.execute(
            OUTCOMES_SQL, {"cutoff": cutoff, "as_of": as_of, "features_at_cutoff": features_at_cutoff}
        ).df()
