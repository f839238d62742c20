"""What was known of the customers at a cutoff and what they did from then to the night, read from the warehouse."""

import datetime
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import seg_pipeline.features
from seg_pipeline.features.buyers import GRID_PLACE, sampled
from seg_pipeline.features.tables import GRID_CELLS
from seg_pipeline.settings import Settings
from seg_pipeline.warehouse import Warehouse, over_lines

if TYPE_CHECKING:
    import pandas as pd

# What the segments are described by, whatever features they are fitted on.
DESCRIBED_BY = ("recency_days", "frequency", "monetary")
FEATURES_SQL = Path(seg_pipeline.features.__file__).with_name("rfm_features.sql")
OUTCOMES_SQL = Path(__file__).with_name("value_outcomes.sql")


@dataclass(frozen=True, slots=True)
class Outcomes:
    """A night's held-back window.

    Attributes:
        cutoff: the first day that is held back; what is known are the orders before it.
        customers: one row per customer with a purchase before the cutoff (a sample if they are more than
            warehouse.most_customers): the modelling features and DESCRIBED_BY as of the cutoff, their place in the
            R x F grid (grid_place), then orders and revenue of the window. None if there is no test.
        untested_because: why there is no test, in a sentence; None if there is one.
        sampled: whether the customers are a sample.
    """

    cutoff: datetime.date
    customers: "pd.DataFrame | None"
    untested_because: str | None
    sampled: bool = False


def read_outcomes(warehouse: Warehouse, as_of: datetime.date, settings: Settings) -> Outcomes:
    """The window before a night, [as_of - value.window_days, as_of), or why it cannot be tested."""
    value = settings.value
    cutoff = as_of - datetime.timedelta(days=value.window_days)
    first = warehouse.value("SELECT CAST(min(ordered_at) AS DATE) FROM prepared.clean_orders")
    if (cutoff - first).days < value.window_days:
        enough = first + datetime.timedelta(days=2 * value.window_days)
        return Outcomes(
            cutoff,
            None,
            f"The history is too short: a window of {value.window_days} days needs as many days of orders before it,"
            f" and the first order is of {first}; the night of {enough} will have them.",
        )
    customers = _read(warehouse, cutoff, as_of, tuple(dict.fromkeys((*settings.features.columns, *DESCRIBED_BY))))
    if len(customers) < value.smallest_customers:
        because = (
            f"Too few customers: {len(customers)} had bought before {cutoff}, and value.smallest_customers is"
            f" {value.smallest_customers}."
        )
        return Outcomes(cutoff, None, because)
    if not customers["revenue"].sum() > 0:
        because = f"The customers known on {cutoff} brought no revenue in the {value.window_days} days after."
        return Outcomes(cutoff, None, because)
    return Outcomes(cutoff, customers, None, sampled=len(customers) == warehouse.most_customers)


def _read(warehouse: Warehouse, cutoff: datetime.date, as_of: datetime.date, features: Sequence[str]) -> "pd.DataFrame":
    # The night's own features, of an earlier day; only the columns asked for are worked out.
    buyers = (
        f"SELECT customer_id, {', '.join(features)}, {GRID_PLACE}"
        f" FROM ({FEATURES_SQL.read_text(encoding='utf-8')}) AS features WHERE frequency > 0"
    )
    known = f"CREATE OR REPLACE TEMP TABLE known AS {sampled(buyers, warehouse.most_customers)}"
    parameters: dict[str, Any] = {"cutoff": cutoff, "as_of": as_of}
    with warehouse.get_connection() as connection:
        over_lines(connection, known, {"as_of": cutoff, "names": list(GRID_CELLS)})
        customers = over_lines(connection, OUTCOMES_SQL, parameters).df()
        over_lines(connection, "DROP TABLE known")
    return customers
