"""The cells of a sample counted with all customers, where the database does the work: Python sees sums alone."""

from __future__ import annotations

import datetime
from functools import partial
from typing import TYPE_CHECKING

import numpy as np

from seg_pipeline.features.buyers import GRID_PLACE
from seg_pipeline.features.tables import GRID_CELLS, RFM_FEATURES
from seg_pipeline.features.transforms import apply_transforms
from seg_pipeline.models.coreset import Coreset, FloatArray, IntArray
from seg_pipeline.warehouse import Connection

if TYPE_CHECKING:
    import pandas as pd


def recounted(
    connection: Connection, sample: Coreset, transforms: pd.DataFrame, as_of: datetime.date
) -> tuple[Coreset, IntArray]:
    """Counts every buyer of a night in the nearest cell of a sample's coreset.

    Args:
        connection: To the warehouse, whose engine assigns the customers.
        sample: The coreset of a sample of the buyers.
        transforms: The rows of feature_transforms.
        as_of: The night.

    Returns:
        The cells that have a buyer, with the mean, number and spread of all their buyers, in lexicographic order of
        their points; and the buyers (cells, places) of each cell in each place of the R x F grid.
    """
    features = [f"x{number}" for number in range(sample.points.shape[1])]
    sums = [*features, "squares"]
    types = {"cell": "INTEGER", "grid_place": "INTEGER", "customers": "BIGINT", **dict.fromkeys(sums, "DOUBLE")}
    # Decimals add up to the same in whatever order the parts come.
    exact = ", ".join(f"CAST(sum(CAST({name} AS DECIMAL(38, 12))) AS DOUBLE) AS {name}" for name in sums)
    with connection.apply_in_batches(
        partial(_sums, sample.points, transforms),
        f"SELECT {', '.join(transforms['feature'])}, {GRID_PLACE} FROM {RFM_FEATURES.name}"
        " WHERE as_of = $as_of AND frequency > 0",
        {"as_of": as_of, "names": list(GRID_CELLS)},
        types,
    ) as counted:
        found = connection.execute(
            f"SELECT cell, grid_place, sum(customers) AS customers, {exact} FROM {counted} GROUP BY cell, grid_place"
        ).df()
    return _coreset(found, features)


def _sums(points: FloatArray, transforms: pd.DataFrame, buyers: pd.DataFrame) -> pd.DataFrame:
    """Of some buyers, the sums per nearest point and grid place."""
    import pandas as pd
    from scipy.spatial import cKDTree

    rows = apply_transforms(buyers, transforms)
    nearest = cKDTree(points).query(rows)[1]
    parts = pd.DataFrame({f"x{number}": column for number, column in enumerate(rows.T)})
    parts["squares"] = (rows**2).sum(axis=1)
    parts["customers"] = 1
    keys = [nearest.astype(np.int32), buyers["grid_place"].to_numpy(dtype=np.int32)]
    return parts.groupby(keys).sum().rename_axis(["cell", "grid_place"]).reset_index()


def _coreset(found: pd.DataFrame, features: list[str]) -> tuple[Coreset, IntArray]:
    cells = found.drop(columns="grid_place").groupby("cell").sum()
    weights = cells["customers"].to_numpy(dtype=np.float64)
    points = cells[features].to_numpy() / weights[:, None]
    spread = np.maximum(cells["squares"].to_numpy() / weights - (points**2).sum(axis=1), 0.0)
    in_places = np.zeros((len(cells), len(GRID_CELLS)), dtype=np.int64)
    rows = np.searchsorted(cells.index.to_numpy(), found["cell"].to_numpy())
    place, customers = (found[name].to_numpy(dtype=np.int64) for name in ("grid_place", "customers"))
    np.add.at(in_places, (rows, place), customers)
    order = np.lexsort(points.T[::-1])
    return Coreset(points[order], weights[order], exact=False, spread=spread[order]), in_places[order]
