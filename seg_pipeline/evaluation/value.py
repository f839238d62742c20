"""The value test: segments fitted as of a cutoff, held against what their customers did afterwards.

Silhouette and its like say how a segmentation fits the features; this says what it would have been worth. Customers
are segmented by what was known at the cutoff, and nothing later. Segments are targeted in the order of their customers'
mean spend up to the cutoff, which is how segments are numbered: the outcome decides about no order.
"""

from collections.abc import Iterable, Sequence
from functools import partial
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import numpy.typing as npt

from seg_pipeline.evaluation.outcomes import DESCRIBED_BY, Outcomes
from seg_pipeline.features.transforms import apply_transforms, fit_transforms
from seg_pipeline.models.coreset import Coreset, FloatArray, IntArray, summarise
from seg_pipeline.models.model import ClusterModel
from seg_pipeline.models.parallel import parallel_map
from seg_pipeline.models.registry import ALGORITHMS, BASELINE
from seg_pipeline.settings import Settings

if TYPE_CHECKING:
    import pandas as pd

# 16 bits are enough for a label, and are sorted in linear time.
Labels = npt.NDArray[np.int16]

RANDOM = "random"
# The share of the customers that lift is told for.
TARGETED = 0.2
# Groups of customers that a bootstrap draws.
GROUPS = 500
INTERVAL = (0.025, 0.975)


class Segmentation(NamedTuple):
    """Customers in segments; the labels (customers,) are 0 to k - 1 in the order in which segments are targeted."""

    algorithm: str
    k: int
    labels: Labels


class Figures(NamedTuple):
    """What a segmentation was worth; each (draws,), NaN where a draw has no revenue.

    Attributes
    ----------
    explained_share
        Between-segment share of the variance (eta squared) of log(1 + revenue), revenue below zero counting as zero.
    gini
        Gini index of the concentration curve: the revenue reached when customers are targeted segment by segment, 0 as
        good as chance. Within a segment the curve is straight.
    lift
        Revenue reached with the first 20 % of the customers over what as many random ones would bring.
    """

    explained_share: FloatArray
    gini: FloatArray
    lift: FloatArray


def value_rows(outcomes: Outcomes, settings: Settings) -> "tuple[pd.DataFrame, pd.DataFrame, pd.DataFrame]":
    """The rows of value_window, value_test and value_by_segment; the latter two are empty where there is no test."""
    import pandas as pd

    customers = outcomes.customers
    window: dict[str, object] = {
        "cutoff": outcomes.cutoff,
        "window_days": settings.value.window_days,
        "untested_because": outcomes.untested_because,
    }
    if customers is None:
        empty = pd.DataFrame(columns=["algorithm", "k"])
        return pd.DataFrame([window]), empty, empty
    groups = groups_of(len(customers), settings.models.seed)
    found = segmentations(customers, groups, settings)
    revenue = customers["revenue"].to_numpy(dtype=np.float64)
    window |= {
        "customers": len(customers),
        "sampled": outcomes.sampled,
        "repurchase_rate": float((customers["orders"] > 0).mean()),
        "orders": int(customers["orders"].sum()),
        "revenue": round(float(revenue.sum()), 4),
        "best_gini": best_gini(revenue),
    }
    return (
        pd.DataFrame([window]),
        value_test(found, revenue, groups, settings.value.bootstraps, settings.models.seed),
        value_by_segment(found, customers),
    )


def segmentations(customers: "pd.DataFrame", groups: IntArray, settings: Settings) -> list[Segmentation]:
    """Every candidate that can be chosen, fitted on what was known at the cutoff; the R x F grid; and chance.

    Args:
        customers: Of `outcomes.Outcomes`.
        groups: A random group for each of them, see `groups_of`.
        settings: The run's; features, models and seed as of the night's own candidates.
    """
    matrix = apply_transforms(customers, fit_transforms(customers, settings.features))
    coreset, cell_of_customer = summarise(matrix, settings.models.max_cells)
    del matrix
    models, selection = settings.models, settings.selection
    # What can be chosen: what teams can serve, and anything where the choice is forced.
    forced = selection.algorithm is not None or selection.k is not None
    ks = [k for k in range(models.k_min, models.k_max + 1) if forced or selection.k_min <= k <= selection.k_max]
    spend = customers["monetary"].to_numpy(dtype=np.float64)
    fit = partial(_fitted, coreset, ks, models.seed, models.n_init)
    found = [
        Segmentation(model.algorithm, model.k, by_spend(model.cell_labels[cell_of_customer], spend))
        for fitted in parallel_map(fit, models.algorithms)
        for model in fitted
    ]
    grid = np.unique(customers["grid_place"].to_numpy(dtype=np.int64), return_inverse=True)[1]
    k = int(grid.max()) + 1
    # As many random segments as the grid has, in random order: what so many explain, and reach, by chance. By spend,
    # the one that happens to hold the largest customers would come first.
    chance = dealt(int(groups.max()) + 1, k)[groups]
    return [*found, Segmentation(BASELINE, k, by_spend(grid, spend)), Segmentation(RANDOM, k, chance)]


def _fitted(coreset: Coreset, ks: Sequence[int], seed: int, n_init: int, algorithm: str) -> list[ClusterModel]:
    return ALGORITHMS[algorithm].fit_range(coreset, ks, seed=seed, n_init=n_init)


def by_spend(labels: IntArray, spend: FloatArray) -> Labels:
    """Labels (customers,) numbered anew, 0 the segment whose customers spent most in the mean; both (customers,)."""
    sizes = np.bincount(labels)
    means = np.bincount(labels, spend) / np.maximum(sizes, 1)
    # A component of a mixture may be nobody's; it comes last.
    order = np.lexsort((-means, sizes == 0))
    return np.argsort(order).astype(np.int16)[labels]


def bootstrap_weights(groups: int, draws: int, seed: int) -> FloatArray:
    """How often each group is drawn (1 + draws, groups); in the first row each once: the customers as they are."""
    drawn = np.random.default_rng([seed, 0]).multinomial(groups, np.full(groups, 1 / groups), size=draws)
    return np.vstack([np.ones(groups), drawn])


def groups_of(customers: int, seed: int) -> IntArray:
    """A group (customers,) for each customer, at random, all as large as each other give or take one.

    A bootstrap draws customers with replacement. What it needs of them are sums, and those of equal random groups,
    drawn with replacement, vary as sums of customers do; with 500 groups the width of an interval is known to some 3 %.
    So a draw costs what the groups cost, not what the customers cost. With no more customers than groups each is a
    group: the ordinary bootstrap.
    """
    return np.random.default_rng([seed, 1]).permutation(customers) % GROUPS


def dealt(groups: int, k: int) -> Labels:
    """A segment (groups,) for each random group, in turns: random segments of like size."""
    return (np.arange(groups) % k).astype(np.int16)


def terms_of(revenue: FloatArray) -> list[FloatArray]:
    """What figures are sums of: customers, log revenue, its square, and revenue, each (customers,)."""
    log_revenue = np.log1p(np.maximum(revenue, 0.0))
    log_revenue -= log_revenue.mean()
    return [np.ones_like(revenue), log_revenue, log_revenue**2, revenue]


def figures(labels: Labels, terms: Sequence[FloatArray], groups: IntArray, weights: FloatArray) -> Figures:
    """What a segmentation was worth, for each draw.

    Neither the segments nor their order are drawn anew: both were settled at the cutoff.

    Parameters
    ----------
    labels : (customers,)
        In the order in which segments are targeted.
    terms : (customers,) each
        Of `terms_of`.
    groups : (customers,)
    weights : (draws, groups)
    """
    segments = int(labels.max()) + 1
    place = groups * segments + labels
    # No matrix product, whose last bits would depend on the number of threads.
    return _figures(
        np.einsum("dg,gs->ds", weights, np.bincount(place, values, weights.shape[1] * segments).reshape(-1, segments))
        for values in terms
    )


def figures_of_chance(k: int, terms: Sequence[FloatArray], groups: IntArray, weights: FloatArray, seed: int) -> Figures:
    """What k random segments were worth, for each draw; the groups are dealt out anew each time but the first."""
    first = dealt(weights.shape[1], k)
    shuffled = np.random.default_rng([seed, 2]).permuted(np.tile(first, (len(weights), 1)), axis=1)
    shuffled[0] = first
    members = shuffled[:, :, None] == np.arange(k)
    return _figures(np.einsum("dg,g,dgs->ds", weights, np.bincount(groups, values), members) for values in terms)


def _figures(sums: Iterable[FloatArray]) -> Figures:
    """Figures from the sums (draws, segments) of `terms_of`."""
    sizes, logs, squares, revenues = sums
    customers, total = sizes.sum(axis=1), revenues.sum(axis=1)
    with np.errstate(divide="ignore", invalid="ignore"):
        common = logs.sum(axis=1) ** 2 / customers
        between = np.where(sizes > 0, logs**2 / sizes, 0.0).sum(axis=1) - common
        explained = np.clip(between / (squares.sum(axis=1) - common), 0.0, 1.0)
        reached = revenues / np.where(total > 0, total, np.nan)[:, None]
        steps = sizes / customers[:, None]
        before = np.cumsum(steps, axis=1) - steps
        part = np.where(sizes > 0, np.clip((TARGETED - before) / steps, 0.0, 1.0), 0.0)
    # Twice the area between the curve and the diagonal, by the trapezoid of each segment.
    area = (steps * (np.cumsum(reached, axis=1) - reached / 2)).sum(axis=1)
    return Figures(explained, 2 * area - 1, (reached * part).sum(axis=1) / TARGETED)


def best_gini(revenue: FloatArray) -> float:
    """Gini index of the perfect order: customers targeted by the revenue they came to bring, the most first."""
    descending = -np.sort(-revenue)
    reached = np.cumsum(descending) - descending / 2
    return float(2 * reached.sum() / len(revenue) / descending.sum() - 1)


def value_test(
    found: Sequence[Segmentation], revenue: FloatArray, groups: IntArray, bootstraps: int, seed: int
) -> "pd.DataFrame":
    """The rows of value_test: figures with their intervals, and with those of the difference to the R x F grid.

    All segmentations face the same draws, so that what they share cancels out in the difference.
    """
    import pandas as pd

    terms = terms_of(revenue)
    weights = bootstrap_weights(int(groups.max()) + 1, bootstraps, seed)
    measured = [
        figures_of_chance(one.k, terms, groups, weights, seed)
        if one.algorithm == RANDOM
        else figures(one.labels, terms, groups, weights)
        for one in found
    ]
    grid = next(figure for one, figure in zip(found, measured, strict=True) if one.algorithm == BASELINE)
    rows = []
    for one, figure in zip(found, measured, strict=True):
        row: dict[str, object] = {"algorithm": one.algorithm, "k": one.k}
        for name, values, of_grid in zip(Figures._fields, figure, grid, strict=True):
            for column, draws in ((name, values), (f"{name}_over_grid", values - of_grid)):
                low, high = _interval(draws[1:])
                row |= {column: draws[0], f"{column}_low": low, f"{column}_high": high}
        rows.append(row)
    return pd.DataFrame(rows)


def _interval(draws: FloatArray) -> tuple[float, float]:
    known = draws[~np.isnan(draws)]
    if not known.size:
        return float("nan"), float("nan")
    low, high = np.quantile(known, INTERVAL)
    return float(low), float(high)


def value_by_segment(found: Sequence[Segmentation], customers: "pd.DataFrame") -> "pd.DataFrame":
    """The rows of value_by_segment: who was in each segment at the cutoff, and what they did afterwards."""
    import pandas as pd

    orders, revenue = (customers[name].to_numpy(dtype=np.float64) for name in ("orders", "revenue"))
    features = {name: customers[name].to_numpy(dtype=np.float64) for name in DESCRIBED_BY}
    ascending = {name: np.argsort(values, kind="stable") for name, values in features.items()}
    parts = []
    for one in found:
        sizes = np.bincount(one.labels)
        sums = {
            "orders": np.bincount(one.labels, orders).astype(np.int64),
            "revenue": np.bincount(one.labels, revenue).round(4),
        }
        parts.append(
            pd.DataFrame(
                {
                    "algorithm": one.algorithm,
                    "k": one.k,
                    "segment": np.arange(len(sizes)) + 1,
                    "customers": sizes,
                    **{
                        f"median_{name}": _medians(values, ascending[name], one.labels, sizes)
                        for name, values in features.items()
                    },
                    "repurchase_rate": np.bincount(one.labels, orders > 0) / sizes,
                    **sums,
                    "revenue_per_customer": sums["revenue"] / sizes,
                }
            )
        )
    return pd.concat(parts, ignore_index=True)


def _medians(values: FloatArray, ascending: IntArray, labels: Labels, sizes: npt.NDArray[np.int64]) -> FloatArray:
    """Median (segments,) of the values (customers,) of each segment, from their order, which is sorted once for all."""
    in_segments = values[ascending[np.argsort(labels[ascending], kind="stable")]]
    starts = np.cumsum(sizes) - sizes
    return (in_segments[starts + (sizes - 1) // 2] + in_segments[starts + sizes // 2]) / 2


def tested_k(candidates: "pd.DataFrame", tested: "pd.DataFrame") -> "pd.Series":
    """The k under which each candidate of a night was tested: its own.

    Of an algorithm that finds its own number of clusters, as of the grid, whatever number it found at the cutoff.
    """

    def alone(table: "pd.DataFrame") -> "pd.Series":
        return ~table["algorithm"].duplicated(keep=False)

    single = tested[alone(tested)].set_index("algorithm")["k"]
    found = candidates["algorithm"].map(single)
    return found.where(alone(candidates) & found.notna(), candidates["k"]).astype("int64")


def with_value(candidates: "pd.DataFrame", tested: "pd.DataFrame") -> "pd.DataFrame":
    """The candidates with their column `value`: the explained share of next-period revenue; NaN where not tested."""
    explained = tested[["algorithm", "k", "explained_share"]].rename(
        columns={"k": "tested_k", "explained_share": "value"}
    )
    keyed = candidates.assign(tested_k=tested_k(candidates, tested))
    return keyed.merge(explained, how="left", on=["algorithm", "tested_k"]).drop(columns="tested_k")
