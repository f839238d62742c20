"""Drift: how far the customers of a night are from those that the champion was fitted on, feature by feature."""

import datetime
from typing import TYPE_CHECKING

import numpy as np

from seg_pipeline.features.tables import RFM_FEATURES
from seg_pipeline.models.champions import Champion
from seg_pipeline.models.coreset import FloatArray
from seg_pipeline.warehouse import Connection, Warehouse

if TYPE_CHECKING:
    import pandas as pd

TENTHS = [tenth / 10 for tenth in range(1, 10)]
# An empty bin counts as this share: the index would be infinite, and a handful of customers decide it otherwise.
SMALLEST_SHARE = 1e-4


def training_summary(connection: Connection, transforms: "pd.DataFrame", as_of: datetime.date) -> "pd.DataFrame":
    """feature, cuts and shares, a row per row of feature_transforms: the deciles of the night's buyers, and the share
    of them up to each cut and above the last. Equal deciles count once.
    """
    import pandas as pd

    rows = []
    for feature, fill in zip(transforms["feature"], transforms["fill"], strict=True):
        [deciles] = connection.execute(
            f"SELECT quantile_disc(coalesce(CAST({feature} AS DOUBLE), $fill), {TENTHS}) FROM {RFM_FEATURES.name}"
            " WHERE as_of = $as_of AND frequency > 0",
            {"as_of": as_of, "fill": float(fill)},
        ).fetchall()[0]
        cuts = sorted(set(deciles))
        rows.append({"feature": feature, "cuts": cuts, "shares": _shares(connection, feature, fill, cuts, as_of)})
    return pd.DataFrame(rows)


def drift_rows(warehouse: Warehouse, champion: Champion | None, as_of: datetime.date) -> "pd.DataFrame":
    """The night's rows of feature_drift: its buyers against those of the champion; none without a champion."""
    import pandas as pd

    rows = []
    if champion is not None:
        transforms = champion.scorer.transforms
        fills = dict(zip(transforms["feature"], transforms["fill"], strict=True))
        with warehouse.get_connection() as connection:
            for then in champion.training.to_dict("records"):
                now = _shares(connection, then["feature"], fills[then["feature"]], list(then["cuts"]), as_of)
                psi = population_stability_index(np.asarray(then["shares"]), now)
                rows.append((then["feature"], psi, champion.model_id, champion.fitted_as_of))
    return pd.DataFrame(rows, columns=["feature", "psi", "model_id", "fitted_as_of"])


def population_stability_index(expected: FloatArray, actual: FloatArray) -> float:
    """Sum over bins of (actual - expected) ln(actual / expected), of shares (bins,); 0 where both are the same.

    It is the symmetrised Kullback-Leibler divergence (Jeffreys 1946), in credit scoring known as population stability
    index (Siddiqi 2006); by custom below 0.1 is no change and from 0.25 a large one.
    """
    expected, actual = np.maximum(expected, SMALLEST_SHARE), np.maximum(actual, SMALLEST_SHARE)
    return float(np.sum((actual - expected) * np.log(actual / expected)))


def _shares(connection: Connection, feature: str, fill: float, cuts: list[float], as_of: datetime.date) -> FloatArray:
    """Share (cuts + 1,) of the night's buyers up to each cut and above the last."""
    value = f"coalesce(CAST({feature} AS DOUBLE), $fill)"
    up_to = ", ".join(f"count(*) FILTER ({value} <= {cut!r})" for cut in cuts)
    counts = connection.execute(
        f"SELECT {up_to}, count(*) FROM {RFM_FEATURES.name} WHERE as_of = $as_of AND frequency > 0",
        {"as_of": as_of, "fill": float(fill)},
    ).fetchall()[0]
    shares: FloatArray = np.diff(counts, prepend=0) / max(counts[-1], 1)
    return shares
