"""Reads the buyers of a night into Python: all of them, or a sample if the warehouse limits their number."""

import datetime
from collections.abc import Sequence
from typing import TYPE_CHECKING

from seg_pipeline.features.tables import GRID_CELLS, IS_BUYER, RFM_FEATURES
from seg_pipeline.warehouse import Parameters, Warehouse

if TYPE_CHECKING:
    import pandas as pd


def read_buyers(
    warehouse: Warehouse, as_of: datetime.date, columns: Sequence[str], parameters: Parameters | None = None
) -> "pd.DataFrame":
    """Reads columns of rfm_features for the night's customers with a purchase.

    Args:
        warehouse: The warehouse. If it has `most_customers`, at most that many are read, a random sample.
        as_of: The night.
        columns: Names of columns, or expressions with a name.
        parameters: Values that the expressions bind.

    Returns:
        One row per customer, ordered by customer_id, with only the named columns.
    """
    buyers = f"SELECT customer_id, {', '.join(columns)} FROM {RFM_FEATURES.name} WHERE as_of = $as_of AND {IS_BUYER}"
    with warehouse.get_connection() as connection:
        return connection.execute(
            f"SELECT * EXCLUDE (customer_id) FROM ({sampled(buyers, warehouse.most_customers)}) AS buyers"
            " ORDER BY customer_id",
            {"as_of": as_of, **(parameters or {})},
        ).df()


def grid_place() -> tuple[str, Parameters]:
    """Returns SQL for the column grid_place (the index of rfm_segment in GRID_CELLS) and its parameters."""
    return "list_position($names, rfm_segment) - 1 AS grid_place", {"names": list(GRID_CELLS)}


def sampled(query: str, most_customers: int | None) -> str:
    """Returns a query of customers limited to at most `most_customers` of them; unchanged if that is None.

    It keeps the customers whose ids have the smallest hashes: a random sample that is the same every time with one
    version of one engine.
    """
    if most_customers is None:
        return query
    return f"{query} ORDER BY hash(customer_id), customer_id LIMIT {most_customers:d}"
