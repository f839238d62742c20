"""Drift: how far the buyers of a night are from those of the fit, and from what the last night said of them.

The two answer two questions. Is a refit due? The buyers are compared with those of the champion's reference, and a shop
that only grows older drifts from them. Are the data broken? Each customer is compared with themselves on the last night
with segments, aged to tonight: what they bought since, what they sent back, and new customers do not count.
"""

import datetime
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING

from seg_pipeline.features.tables import IS_BUYER, RFM_FEATURES
from seg_pipeline.models.champions import COUNTING, Champion, settings_digest
from seg_pipeline.models.tables import FEATURE_DRIFT, SMALLEST_RESTATED
from seg_pipeline.nights import ASSIGNMENTS
from seg_pipeline.settings import Settings
from seg_pipeline.warehouse import Connection, Warehouse

if TYPE_CHECKING:
    import pandas as pd

DECILES = [tenth / 10 for tenth in range(1, 10)]
# An empty bin counts as this share. Otherwise the index would be infinite, and a handful of customers would decide it.
SMALLEST_SHARE = 0.0001
# The figures that follow from what was known of a customer, if nothing was bought since. The other features are made of
# these, or look at a window that moves with the night, as recent_share does.
FIGURES = ("recency_days", "tenure_days", "frequency", "monetary")
# Orders up to this old may still be cancelled, refunded or returned, which some exports show as if there had been less.
DAYS_UNTIL_SETTLED = 60
RESTATED_SQL = Path(__file__).with_name("restated_figures.sql")


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


def drift_rows(
    warehouse: Warehouse, settings: Settings, champion: Champion | None, as_of: datetime.date
) -> "pd.DataFrame":
    """Returns the night's rows of feature_drift: a row per feature of the champion and per figure in FIGURES.

    Args:
        warehouse: The warehouse, with the night's features.
        settings: The settings of the run.
        champion: The champion that scores the night, if it was fitted with these settings; otherwise None.
        as_of: The night.
    """
    import pandas as pd

    since, restated = _restated(warehouse, settings, as_of)
    psi = {} if champion is None else _psi_by_feature(warehouse, champion, as_of)
    rows = pd.DataFrame({"feature": list(dict.fromkeys([*psi, *FIGURES]))})
    return (
        rows.assign(
            psi=rows["feature"].map(psi).astype(float),
            model_id=champion.model_id if champion else None,
            fitted_as_of=champion.fitted_as_of if champion else None,
            reference_as_of=champion.reference_as_of if champion else None,
            since=since,
            lines_digest=settings_digest(settings, COUNTING),
        )
        .merge(restated, on="feature", how="left")
        .astype({"known_customers": "Int64", "restated_customers": "Int64", "stops": "boolean"})
    )


def _psi_by_feature(warehouse: Warehouse, champion: Champion, as_of: datetime.date) -> dict[str, float]:
    """Maps each feature of a champion to the population stability index of the night's buyers and its reference."""
    transforms = champion.scorer.transforms
    fills = dict(zip(transforms["feature"], transforms["fill"], strict=True))
    psi = {}
    with warehouse.get_connection() as connection:
        for trained in champion.training.to_dict("records"):
            feature = trained["feature"]
            now = _shares(connection, feature, fills[feature], list(trained["cuts"]), as_of)
            psi[feature] = population_stability_index(connection, now, trained["shares"])
    return psi


def _restated(
    warehouse: Warehouse, settings: Settings, as_of: datetime.date
) -> "tuple[datetime.date | None, pd.DataFrame]":
    """Compares the night's customers with what the last night with segments said of them.

    A night that a check stopped has no segments, so no later night is compared with it. If a night with segments was
    run again and stopped here, its features are the restated ones, so it does not count either.

    Returns:
        That night, None if there is none or its settings counted other lines; and for each figure in FIGURES feature,
        known_customers, restated_customers, restated_share and stops, no rows without that night.
    """
    import pandas as pd

    since: datetime.date | None = None
    with warehouse.get_connection() as connection:
        has_segments = ASSIGNMENTS in connection.tables_with("as_of")
    if has_segments:
        since = warehouse.value(
            f"SELECT max(as_of) FROM {ASSIGNMENTS} WHERE as_of < $as_of"
            " AND as_of NOT IN (SELECT as_of FROM {drift} WHERE stops)",
            {"as_of": as_of, "drift": FEATURE_DRIFT},
        )
    digest = warehouse.value(
        "SELECT max(lines_digest) FROM {drift} WHERE as_of = $since", {"drift": FEATURE_DRIFT, "since": since}
    )
    columns = ["feature", "known_customers", "restated_customers", "restated_share", "stops"]
    if since is None or digest != settings_digest(settings, COUNTING):
        return None, pd.DataFrame(columns=columns)
    with warehouse.get_connection() as connection:
        figures = (
            connection.execute(
                RESTATED_SQL,
                {
                    "as_of": as_of,
                    "since": since,
                    "elapsed_days": (as_of - since).days,
                    "settled_days": DAYS_UNTIL_SETTLED,
                },
            )
            .df()
            .iloc[0]
        )
    rows = [(figure, figures["known_customers"], figures[figure], figures[f"{figure}_share"]) for figure in FIGURES]
    restated = pd.DataFrame(rows, columns=columns[:-1])
    restated["stops"] = (restated["restated_share"] > settings.drift.restated_critical) & (
        restated["restated_customers"] >= SMALLEST_RESTATED
    )
    return since, restated


def _shares(connection: Connection, feature: str, fill: float, cuts: list[float], as_of: datetime.date) -> list[float]:
    """Returns the share (cuts + 1,) of the night's buyers up to each cut and above the last."""
    value = f"coalesce(CAST({feature} AS DOUBLE), $fill)"
    up_to = ", ".join(f"count(*) FILTER ({value} <= {cut!r})" for cut in cuts)
    counts = connection.execute(
        f"SELECT {up_to}, count(*) FROM {RFM_FEATURES.name} WHERE as_of = $as_of AND {IS_BUYER}",
        {"as_of": as_of, "fill": float(fill)},
    ).fetchall()[0]
    return [(count - before) / max(counts[-1], 1) for before, count in pairwise((0, *counts))]
