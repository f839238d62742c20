"""Stores coresets and models as rows of plain numbers, and reads them back. Nothing is pickled."""

import datetime
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from seg_pipeline.models.coreset import Coreset, FloatArray
from seg_pipeline.models.model import ClusterModel
from seg_pipeline.models.tables import CANDIDATES, CORESET
from seg_pipeline.warehouse import Warehouse

if TYPE_CHECKING:
    import pandas as pd


def coreset_rows(coreset: Coreset) -> "pd.DataFrame":
    """Returns the rows of models.coreset."""
    import pandas as pd

    return pd.DataFrame(
        {
            "cell": np.arange(len(coreset.weights)),
            "customers": coreset.weights.astype(np.int64),
            "point": list(coreset.points),
            "spread": coreset.spread,
            "exact": coreset.exact,
            "rfm_segment": coreset.rfm_segments,
            "revenue": coreset.revenue,
        }
    )


def read_coreset(warehouse: Warehouse, as_of: datetime.date) -> Coreset:
    """Reads the coreset of a night."""
    rows = warehouse.night(CORESET, as_of)
    points = np.vstack(rows["point"].to_list()).astype(np.float64)
    revenue = rows["revenue"].to_numpy(dtype=np.float64)
    return Coreset(
        points,
        rows["customers"].to_numpy(dtype=np.float64),
        rows["spread"].to_numpy(dtype=np.float64),
        exact=bool(rows["exact"].iloc[0]),
        rfm_segments=rows["rfm_segment"].to_numpy(dtype=np.str_),
        # Nights of older versions have no revenue.
        revenue=None if np.isnan(revenue).any() else revenue,
    )


def model_columns(model: ClusterModel) -> dict[str, Any]:
    """Returns the columns that hold a model, as candidates and champions have them; `model_of` reads them back."""
    return {
        "algorithm": model.algorithm,
        "k": model.k,
        "centers": model.centers.tolist(),
        "weights": model.weights.tolist(),
        "covariances": None if model.covariances is None else model.covariances.tolist(),
        "cell_labels": model.cell_labels.tolist(),
        "noise_cluster": model.noise,
    }


def model_of(row: "pd.Series") -> ClusterModel:
    """Returns the model in a row of candidates or champions, without the figures of its fit."""
    import pandas as pd

    covariances, noise = row["covariances"], row["noise_cluster"]
    return ClusterModel(
        algorithm=row["algorithm"],
        k=int(row["k"]),
        centers=array_of(row["centers"]),
        weights=array_of(row["weights"]),
        covariances=array_of(covariances) if isinstance(covariances, np.ndarray | list) else None,
        cell_labels=np.asarray(row["cell_labels"], dtype=np.int64),
        log_likelihood=None,
        bic=None,
        fit_seconds=0.0,
        noise=None if pd.isna(noise) else int(noise),
    )


def array_of(cell: Any) -> Any:
    """Returns the array in a cell of a table, which the database returns as nested lists."""
    if isinstance(cell, np.ndarray) and cell.dtype != object:
        return cell.astype(np.float64)
    return np.array([array_of(part) for part in cell]) if isinstance(cell, np.ndarray | list) else float(cell)


def read_model(warehouse: Warehouse, algorithm: str, k: int, as_of: datetime.date) -> ClusterModel:
    """Reads one candidate of a night, which can label customers again."""
    import pandas as pd

    row = warehouse.night(CANDIDATES[algorithm], as_of, where=f"k = {int(k)}").iloc[0]
    log_likelihood, bic = (None if pd.isna(row[name]) else float(row[name]) for name in ("log_likelihood", "bic"))
    return replace(model_of(row), log_likelihood=log_likelihood, bic=bic, fit_seconds=float(row["fit_seconds"]))


def read_jaccard(warehouse: Warehouse, algorithm: str, k: int, as_of: datetime.date) -> FloatArray | None:
    """Reads the stability (k,) of each cluster of a candidate; None if it was not measured."""
    jaccard = warehouse.value(
        f"SELECT jaccard FROM {CANDIDATES[algorithm].name} WHERE as_of = $as_of AND k = $k", {"as_of": as_of, "k": k}
    )
    return None if jaccard is None else np.asarray(jaccard, dtype=np.float64)
