"""The coreset of a night, made from the features of its buyers in the warehouse."""

from __future__ import annotations

import datetime
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

import numpy as np

from seg_pipeline.features.buyers import grid_place, read_buyers
from seg_pipeline.features.tables import FEATURE_TRANSFORMS, GRID_CELLS, IS_BUYER, RFM_FEATURES
from seg_pipeline.features.transforms import apply_transforms
from seg_pipeline.models.coreset import Coreset, FloatArray, IntArray, summarise
from seg_pipeline.warehouse import Connection, Warehouse

if TYPE_CHECKING:
    import pandas as pd


def coreset_of_night(warehouse: Warehouse, as_of: datetime.date, max_cells: int) -> Coreset:
    """Summarises the buyers of a night as at most `max_cells` cells, with the R x F grid segment and revenue of each.

    If Python can hold no more than a sample of the buyers, the cells come from the sample and the database counts
    every buyer in them.
    """
    transforms = warehouse.night(FEATURE_TRANSFORMS, as_of)
    place, names = grid_place()
    buyers = read_buyers(warehouse, as_of, tuple(dict.fromkeys((*transforms["feature"], "monetary", place))), names)
    coreset, cell_of_buyer = summarise(apply_transforms(buyers, transforms), max_cells)
    revenue = np.bincount(cell_of_buyer, buyers["monetary"].to_numpy(dtype=np.float64)).astype(np.float64)
    coreset = replace(coreset, revenue=revenue)
    # Buyers (cells, places) in each cell and place of the grid.
    in_places = np.bincount(
        cell_of_buyer * len(GRID_CELLS) + buyers["grid_place"].to_numpy(),
        minlength=len(coreset.weights) * len(GRID_CELLS),
    ).reshape(-1, len(GRID_CELLS))
    if len(buyers) == warehouse.most_customers:
        with warehouse.get_connection() as connection:
            coreset, in_places = recount(connection, coreset, transforms, as_of)
    # If several segments are equally common, argmax takes the first in the grid's order.
    return replace(coreset, rfm_segments=np.array(list(GRID_CELLS))[in_places.argmax(axis=1)])


def recount(
    connection: Connection, sample: Coreset, transforms: pd.DataFrame, as_of: datetime.date
) -> tuple[Coreset, IntArray]:
    """Counts every buyer of a night in the nearest cell of a sample's coreset.

    The database does the counting; Python sees sums only.

    Args:
        connection: A connection to the warehouse, whose engine assigns the customers.
        sample: The coreset of a sample of the buyers.
        transforms: The rows of feature_transforms.
        as_of: The night.

    Returns:
        The cells that have a buyer, with the mean, number, spread and revenue of all their buyers, in lexicographic
        order of their points; and the number of buyers (cells, places) in each cell and place of the R x F grid.
    """
    features = [f"x{number}" for number in range(sample.points.shape[1])]
    sums = [*features, "squares", "revenue"]
    types = {"cell": "INTEGER", "grid_place": "INTEGER", "customers": "BIGINT", **dict.fromkeys(sums, "DOUBLE")}
    # A sum of decimals does not depend on the order in which the parts arrive.
    exact_sums = ", ".join(f"CAST(sum(CAST({name} AS DECIMAL(38, 12))) AS DOUBLE) AS {name}" for name in sums)
    place, names = grid_place()
    with connection.apply_in_batches(
        partial(_sums, sample.points, transforms),
        f"SELECT {', '.join(dict.fromkeys((*transforms['feature'], 'monetary')))}, {place} FROM {RFM_FEATURES.name}"
        f" WHERE as_of = $as_of AND {IS_BUYER}",
        {"as_of": as_of, **names},
        types,
    ) as parts:
        totals = connection.execute(
            f"SELECT cell, grid_place, sum(customers) AS customers, {exact_sums} FROM {parts} GROUP BY cell, grid_place"
        ).df()
    return _coreset_of(totals, features)


def _sums(points: FloatArray, transforms: pd.DataFrame, buyers: pd.DataFrame) -> pd.DataFrame:
    """Returns the sums over some buyers, for each nearest point and place in the grid."""
    import pandas as pd
    from scipy.spatial import cKDTree

    rows = apply_transforms(buyers, transforms)
    nearest = cKDTree(points).query(rows)[1]
    parts = pd.DataFrame({f"x{number}": column for number, column in enumerate(rows.T)})
    parts["squares"] = (rows**2).sum(axis=1)
    parts["revenue"] = buyers["monetary"].to_numpy(dtype=np.float64)
    parts["customers"] = 1
    keys = [nearest.astype(np.int32), buyers["grid_place"].to_numpy(dtype=np.int32)]
    return parts.groupby(keys).sum().rename_axis(["cell", "grid_place"]).reset_index()


def _coreset_of(totals: pd.DataFrame, features: list[str]) -> tuple[Coreset, IntArray]:
    """Makes the coreset from the totals of each cell and place in the grid; returns what `recount` does."""
    cells = totals.drop(columns="grid_place").groupby("cell").sum()
    weights = cells["customers"].to_numpy(dtype=np.float64)
    points = cells[features].to_numpy() / weights[:, None]
    spread = np.maximum(cells["squares"].to_numpy() / weights - (points**2).sum(axis=1), 0.0)
    in_places = np.zeros((len(cells), len(GRID_CELLS)), dtype=np.int64)
    rows = np.searchsorted(cells.index.to_numpy(), totals["cell"].to_numpy())
    places, customers = (totals[name].to_numpy(dtype=np.int64) for name in ("grid_place", "customers"))
    np.add.at(in_places, (rows, places), customers)
    order = np.lexsort(points.T[::-1])
    revenue = cells["revenue"].to_numpy()
    coreset = Coreset(points[order], weights[order], spread[order], exact=False, revenue=revenue[order])
    return coreset, in_places[order]
