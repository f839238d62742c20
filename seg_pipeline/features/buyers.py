"""Reads the buyers of a night into Python: all of them, or a sample if the warehouse limits their number."""

import datetime
from collections.abc import Sequence
from typing import TYPE_CHECKING

from seg_pipeline.features.tables import GRID_CELLS, IS_BUYER, RFM_FEATURES
from seg_pipeline.warehouse import Parameters, Warehouse

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt
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


def score_cuts(warehouse: Warehouse, feature: str, as_of: datetime.date) -> "npt.NDArray[np.float64]":
    """Returns the values (4,) above which a night's score of a feature changes, as rfm_features.sql cuts them.

    If most buyers share the highest frequency, the cuts that equal it lie just below it, so that it scores 5.
    """
    import numpy as np

    cuts, middle, most = warehouse.read(
        f"SELECT quantile_disc({feature}, [0.2, 0.4, 0.6, 0.8]) AS cuts, quantile_disc({feature}, 0.5) AS middle,"
        f" max({feature}) AS most FROM {RFM_FEATURES.name} WHERE as_of = $as_of AND {IS_BUYER}",
        {"as_of": as_of},
    ).iloc[0]
    found = np.array(cuts, dtype=np.float64)
    return np.where(found == most, most - 1, found) if feature == "frequency" and middle == most > 1 else found


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
