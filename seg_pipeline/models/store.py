"""Coresets and models as rows of tables and back: plain numbers, never a pickle."""

import datetime
from collections.abc import Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import numpy as np

from seg_pipeline.models.coreset import Coreset, FloatArray, IntArray
from seg_pipeline.models.gap import Gap
from seg_pipeline.models.gates import failed_gate
from seg_pipeline.models.metrics import score
from seg_pipeline.models.model import ClusterModel
from seg_pipeline.models.stability import Stability
from seg_pipeline.models.tables import CANDIDATE_COLUMNS, CANDIDATES, CORESET
from seg_pipeline.settings import SelectionSettings
from seg_pipeline.warehouse import Warehouse

if TYPE_CHECKING:
    import pandas as pd


def coreset_rows(coreset: Coreset) -> "pd.DataFrame":
    """The rows of models.coreset."""
    import pandas as pd

    return pd.DataFrame(
        {
            "cell": np.arange(len(coreset.weights)),
            "customers": coreset.weights.astype(np.int64),
            "point": list(coreset.points),
            "spread": coreset.spread,
            "exact": coreset.exact,
            "rfm_segment": coreset.rfm_segments,
        }
    )


def read_coreset(warehouse: Warehouse, as_of: datetime.date) -> Coreset:
    """The coreset of a night."""
    rows = warehouse.night(CORESET, as_of)
    points = np.vstack(rows["point"].to_list()).astype(np.float64)
    return Coreset(
        points,
        rows["customers"].to_numpy(dtype=np.float64),
        bool(rows["exact"].iloc[0]),
        rows["spread"].to_numpy(dtype=np.float64),
        rows["rfm_segment"].to_numpy(dtype=np.str_),
    )


def candidate_rows(
    coreset: Coreset,
    models: Sequence[ClusterModel],
    stabilities: Sequence[Stability | None],
    gaps: Sequence[Gap | None],
    selection: SelectionSettings,
) -> "pd.DataFrame":
    """The rows of a candidates table; a stability or gap of None was not measured."""
    import pandas as pd

    rows: list[dict[str, Any]] = []
    for model, measured, sure, gap in zip(models, score(coreset, models), stabilities, gaps, strict=True):
        refusal = failed_gate(model.k, measured, sure, selection)
        rows.append(
            {
                "algorithm": model.algorithm,
                "k": model.k,
                **asdict(measured),
                "bic": model.bic,
                "stability": sure.bootstrap if sure else None,
                "seed_stability": sure.seeds if sure else None,
                "jaccard": sure.jaccard.tolist() if sure else None,
                "fit_seconds": model.fit_seconds,
                "gap": gap.gap if gap else None,
                "gap_standard_error": gap.standard_error if gap else None,
                "lost_share": coreset.lost_share,
                "eligible": refusal is None,
                "ineligible_because": refusal,
                "log_likelihood": model.log_likelihood,
                "centers": model.centers.tolist(),
                "weights": model.weights.tolist(),
                "covariances": None if model.covariances is None else model.covariances.tolist(),
                "cell_labels": model.cell_labels.tolist(),
                "noise_cluster": model.noise,
            }
        )
    return pd.DataFrame(rows, columns=[column.name for column in CANDIDATE_COLUMNS if column.name != "as_of"])


def read_model(warehouse: Warehouse, algorithm: str, k: int, as_of: datetime.date) -> ClusterModel:
    """One candidate of a night, able to label customers again."""
    import pandas as pd

    row = warehouse.night(CANDIDATES[algorithm], as_of, where=f"k = {int(k)}").iloc[0]

    def number(cell: Any) -> float | None:
        return None if pd.isna(cell) else float(cell)

    labels: IntArray = np.asarray(row["cell_labels"], dtype=np.int64)
    covariances, noise = row["covariances"], number(row["noise_cluster"])
    return ClusterModel(
        algorithm=algorithm,
        k=int(row["k"]),
        centers=numbers(row["centers"]),
        weights=numbers(row["weights"]),
        covariances=numbers(covariances) if isinstance(covariances, np.ndarray | list) else None,
        cell_labels=labels,
        log_likelihood=number(row["log_likelihood"]),
        bic=number(row["bic"]),
        fit_seconds=float(row["fit_seconds"]),
        noise=None if noise is None else int(noise),
    )


def numbers(cell: Any) -> Any:
    """An array from a nested list as the database gives it."""
    return np.array([numbers(part) for part in cell]) if isinstance(cell, np.ndarray | list) else float(cell)


def read_jaccard(warehouse: Warehouse, algorithm: str, k: int, as_of: datetime.date) -> FloatArray | None:
    """Of each cluster of a candidate, how sure it is; None where it was not measured."""
    found = warehouse.value(
        f"SELECT jaccard FROM {CANDIDATES[algorithm].name} WHERE as_of = $as_of AND k = $k", {"as_of": as_of, "k": k}
    )
    return None if found is None else np.asarray(found, dtype=np.float64)
