"""Drift: how far the buyers of a night are from those that the champion was fitted on, feature by feature."""

import datetime
from collections.abc import Sequence
from itertools import pairwise
from typing import TYPE_CHECKING

from seg_pipeline.features.tables import IS_BUYER, RFM_FEATURES
from seg_pipeline.models.champions import Champion
from seg_pipeline.warehouse import Connection, Warehouse

if TYPE_CHECKING:
    import pandas as pd

DECILES = [tenth / 10 for tenth in range(1, 10)]
# An empty bin counts as this share. Otherwise the index would be infinite, and a handful of customers would decide it.
SMALLEST_SHARE = 0.0001


def stability_index_term(share: str, other: str) -> str:
    """Returns the SQL of one bin's term of the population stability index; the index is the sum over all bins.

    The term is (share - other) ln(share / other). The index is 0 if nothing has changed; by custom, below 0.1 is no
    change and 0.25 or more a large one. In credit scoring it is known as the population stability index (Siddiqi 2006);
    it is the symmetrised Kullback-Leibler divergence (Jeffreys 1946), so it does not matter which share comes first.

    Args:
        share: SQL of the share of customers in the bin now.
        other: SQL of the share of customers in the bin before.
    """
    share, other = (f"greatest({sql}, {SMALLEST_SHARE})" for sql in (share, other))
    return f"({share} - {other}) * ln({share} / {other})"


def population_stability_index(connection: Connection, now: Sequence[float], before: Sequence[float]) -> float:
    """Returns the population stability index of the shares (bins,) of customers now and before."""
    terms = connection.execute(
        f"SELECT {stability_index_term('now', 'before')} AS term"
        " FROM (SELECT unnest($now) AS now, unnest($before) AS before)",
        {"now": list(now), "before": list(before)},
    ).df()
    return float(terms["term"].sum())


def training_summary(connection: Connection, transforms: "pd.DataFrame", as_of: datetime.date) -> "pd.DataFrame":
    """Summarises the buyers that a model is fitted on, so that later nights can be compared with them.

    Args:
        connection: A connection to the warehouse.
        transforms: The rows of feature_transforms.
        as_of: The night of the fit.

    Returns:
        A row per modelling feature: feature, cuts (the deciles of the buyers, equal ones once) and shares (of the
        buyers up to each cut and above the last).
    """
    import pandas as pd

    rows = []
    for feature, fill in zip(transforms["feature"], transforms["fill"], strict=True):
        [deciles] = connection.execute(
            f"SELECT quantile_disc(coalesce(CAST({feature} AS DOUBLE), $fill), {DECILES}) FROM {RFM_FEATURES.name}"
            f" WHERE as_of = $as_of AND {IS_BUYER}",
            {"as_of": as_of, "fill": float(fill)},
        ).fetchall()[0]
        cuts = sorted(set(deciles))
        rows.append({"feature": feature, "cuts": cuts, "shares": _shares(connection, feature, fill, cuts, as_of)})
    return pd.DataFrame(rows)


def drift_rows(warehouse: Warehouse, champion: Champion | None, as_of: datetime.date) -> "pd.DataFrame":
    """Returns the night's rows of feature_drift: a row per feature of the champion, none without a champion."""
    import pandas as pd

    rows = []
    if champion is not None:
        transforms = champion.scorer.transforms
        fills = dict(zip(transforms["feature"], transforms["fill"], strict=True))
        with warehouse.get_connection() as connection:
            for trained in champion.training.to_dict("records"):
                feature = trained["feature"]
                now = _shares(connection, feature, fills[feature], list(trained["cuts"]), as_of)
                psi = population_stability_index(connection, now, trained["shares"])
                rows.append((feature, psi, champion.model_id, champion.fitted_as_of))
    return pd.DataFrame(rows, columns=["feature", "psi", "model_id", "fitted_as_of"])


def _shares(connection: Connection, feature: str, fill: float, cuts: list[float], as_of: datetime.date) -> list[float]:
    """Returns the share (cuts + 1,) of the night's buyers up to each cut and above the last."""
    value = f"coalesce(CAST({feature} AS DOUBLE), $fill)"
    up_to = ", ".join(f"count(*) FILTER ({value} <= {cut!r})" for cut in cuts)
    counts = connection.execute(
        f"SELECT {up_to}, count(*) FROM {RFM_FEATURES.name} WHERE as_of = $as_of AND {IS_BUYER}",
        {"as_of": as_of, "fill": float(fill)},
    ).fetchall()[0]
    return [(count - before) / max(counts[-1], 1) for before, count in pairwise((0, *counts))]
