"""What customers of tonight's segments did in the window before the night, measured with the rule that is in force.

The customers are those of the value test: all who had bought before the window. Tonight's champion labels them by their
features as of the first day of the window, so a segment's figures say what customers like its own went on to do. The
champion may have been fitted on later orders, which shapes where its borders lie but tells it nothing about who bought.
"""

import datetime
from dataclasses import dataclass
from statistics import NormalDist
from typing import TYPE_CHECKING

import numpy as np

from seg_pipeline.evaluation.outcomes import read_outcomes
from seg_pipeline.evaluation.value import INTERVAL_QUANTILES, bootstrap_groups, bootstrap_weights
from seg_pipeline.features.tables import NO_PURCHASES_ID
from seg_pipeline.models.champions import Champion
from seg_pipeline.models.coreset import FloatArray, IntArray
from seg_pipeline.settings import Settings
from seg_pipeline.warehouse import Warehouse

if TYPE_CHECKING:
    import pandas as pd

# With fewer customers a bootstrap interval of revenue is too narrow to be shown.
SMALLEST_SAMPLE = 30
COLUMNS = (
    "measured_from",
    "measured_customers",
    "repurchase_rate",
    "repurchase_rate_low",
    "repurchase_rate_high",
    "shop_repurchase_rate",
    "measured_revenue",
    "measured_revenue_low",
    "measured_revenue_high",
)
NEVER_BOUGHT = "Customers who have bought nothing cannot buy again."
NOBODY_THERE = "No customer was in this segment at the beginning of the window."


@dataclass(frozen=True, slots=True)
class Measurement:
    """What was measured of the segments.

    Attributes:
        segments: One row per segment that had customers at the beginning of the window: segment_id and COLUMNS. No row
            if nothing was measured.
        unmeasured_because: Why nothing was measured, in a sentence; None if something was.
    """

    segments: "pd.DataFrame"
    unmeasured_because: str | None

    def beside(self, segment_ids: "pd.Series") -> "pd.DataFrame":
        """Returns COLUMNS and unmeasured_because of segments, a row each, with the index of their ids."""
        import pandas as pd

        rows = self.segments.set_index("segment_id").reindex(index=segment_ids, columns=list(COLUMNS))
        reasons = [
            None
            if measured
            else NEVER_BOUGHT
            if segment_id == NO_PURCHASES_ID
            else self.unmeasured_because or NOBODY_THERE
            for segment_id, measured in zip(segment_ids, rows["repurchase_rate"].notna(), strict=True)
        ]
        return rows.assign(unmeasured_because=pd.Series(reasons, index=rows.index, dtype=object)).set_axis(
            segment_ids.index
        )


def measure_segments(warehouse: Warehouse, champion: Champion, as_of: datetime.date, settings: Settings) -> Measurement:
    """Measures what customers of the champion's segments did in [as_of - value.window_days, as_of).

    Args:
        warehouse: The warehouse.
        champion: The model that scores the night.
        as_of: The night.
        settings: The length of the window, and the number of bootstrap samples and their seed.
    """
    import pandas as pd

    columns = settings.features.model_copy(update={"columns": tuple(champion.scorer.columns)})
    outcomes = read_outcomes(warehouse, as_of, settings.model_copy(update={"features": columns}))
    if outcomes.customers is None:
        return Measurement(pd.DataFrame(columns=["segment_id"]), outcomes.untested_because)
    clusters, _ = champion.scorer.label(outcomes.customers)
    segment_of = champion.segments.set_index("cluster")["segment_id"]
    measured = measure(
        outcomes.customers.assign(segment_id=segment_of.reindex(clusters).to_numpy()),
        settings.value.bootstraps,
        settings.models.seed,
    )
    return Measurement(measured.assign(measured_from=outcomes.cutoff), None)


def measure(customers: "pd.DataFrame", bootstraps: int, seed: int) -> "pd.DataFrame":
    """Returns what the customers of each segment did: segment_id and COLUMNS but the day.

    The interval of the share is Wilson's (1927). That of the revenue comes from the bootstrap of the value test, which
    draws random groups of customers.

    Args:
        customers: segment_id, and orders and revenue in the window, of each customer, in a stable order.
        bootstraps: Number of draws; with 0 revenue has no interval.
        seed: Seed of the groups and the draws.
    """
    import pandas as pd

    segment_ids, labels = np.unique(customers["segment_id"].to_numpy(dtype=np.int64), return_inverse=True)
    bought = customers["orders"].to_numpy(dtype=np.float64) > 0
    revenue = customers["revenue"].to_numpy(dtype=np.float64)
    sizes = np.bincount(labels).astype(np.int64)
    buyers = np.bincount(labels, bought).astype(np.int64)
    low, high = wilson_interval(buyers, sizes)
    revenue_low, revenue_high = _interval_of_means(labels, revenue, bootstraps, seed)
    is_sample = sizes >= SMALLEST_SAMPLE
    return pd.DataFrame(
        {
            "segment_id": segment_ids,
            "measured_customers": sizes,
            "repurchase_rate": buyers / sizes,
            "repurchase_rate_low": low,
            "repurchase_rate_high": high,
            "shop_repurchase_rate": bought.mean(),
            # Amounts have four decimals, so the sums are exact once they are rounded.
            "measured_revenue": np.bincount(labels, revenue).round(4) / sizes,
            "measured_revenue_low": np.where(is_sample, revenue_low, np.nan),
            "measured_revenue_high": np.where(is_sample, revenue_high, np.nan),
        }
    )


def wilson_interval(hits: IntArray, trials: IntArray) -> tuple[FloatArray, FloatArray]:
    """Returns the bounds of the 95 % interval of a share (Wilson 1927), which holds for few trials and no hits too.

    Args:
        hits: Hits of each share.
        trials: Trials of each share, at least 1.
    """
    z = NormalDist().inv_cdf(INTERVAL_QUANTILES[1])
    share = hits / trials
    centre = share + z**2 / (2 * trials)
    reach = z * np.sqrt(share * (1 - share) / trials + (z / (2 * trials)) ** 2)
    scale = 1 + z**2 / trials
    # Rounding may put a bound on the wrong side of a share of 0 or 1.
    return np.minimum((centre - reach) / scale, share).clip(0, 1), np.maximum((centre + reach) / scale, share).clip(
        0, 1
    )


def _interval_of_means(
    labels: IntArray, revenue: FloatArray, bootstraps: int, seed: int
) -> tuple[FloatArray, FloatArray]:
    """Returns the bounds of the 95 % interval of each segment's mean revenue; NaN without draws."""
    segments = int(labels.max()) + 1
    if not bootstraps:
        return np.full(segments, np.nan), np.full(segments, np.nan)
    groups = bootstrap_groups(len(labels), seed)
    weights = bootstrap_weights(int(groups.max()) + 1, bootstraps, seed)[1:]
    place = groups * segments + labels
    # The last bits of a matrix product would depend on the number of threads; einsum's do not.
    sizes, sums = (
        np.einsum("dg,gs->ds", weights, np.bincount(place, values, weights.shape[1] * segments).reshape(-1, segments))
        for values in (np.ones_like(revenue), revenue)
    )
    # Only segments of very few customers are missing from a draw, and those get no interval.
    low, high = np.quantile(sums / np.maximum(sizes, 1), INTERVAL_QUANTILES, axis=0)
    return low, high
