"""The buyers of a night as Python sees them: all of them, or where they may be more than memory holds, a sample."""

import datetime
from collections.abc import Sequence
from typing import TYPE_CHECKING

from seg_pipeline.features.tables import RFM_FEATURES
from seg_pipeline.warehouse import Parameters, Warehouse

if TYPE_CHECKING:
    import pandas as pd

# The place of rfm_segment in the list of the grid's names, which binds as `$names`.
GRID_PLACE = "list_position($names, rfm_segment) - 1 AS grid_place"


def read_buyers(
    warehouse: Warehouse, as_of: datetime.date, columns: Sequence[str], parameters: Parameters | None = None
) -> "pd.DataFrame":
    """Columns of rfm_features for the night's customers with a purchase, at most warehouse.most_customers of them.

    Args:
        warehouse: Where they are.
        as_of: The night.
        columns: Names, or expressions with a name.
        parameters: What the expressions bind.
    """
    buyers = f"SELECT customer_id, {', '.join(columns)} FROM {RFM_FEATURES.name} WHERE as_of = $as_of AND frequency > 0"
    with warehouse.get_connection() as connection:
        found = connection.execute(
            f"SELECT * EXCLUDE (customer_id) FROM ({sampled(buyers, warehouse.most_customers)}) AS buyers"
            " ORDER BY customer_id",
            {"as_of": as_of, **(parameters or {})},
        )
        return found.df()


def sampled(query: str, most: int | None) -> str:
    """A query of customers that gives at most so many: those whose ids have the smallest hashes, a random sample."""
    return query if most is None else f"{query} ORDER BY hash(customer_id), customer_id LIMIT {most:d}"
