"""The value test: compares segments fitted as of a cutoff with what their customers did afterwards.

Silhouette and similar metrics say how well a segmentation fits the features; this test says what it would have been
worth. Customers are segmented only by what was known at the cutoff. Segments are targeted in the order of their
customers' mean spend before the cutoff, which is also how segments are numbered: the outcome does not affect the order.
"""

from collections.abc import Iterable, Sequence
from functools import partial
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import numpy.typing as npt

from seg_pipeline.evaluation.outcomes import PROFILE_FEATURES, Outcomes
from seg_pipeline.features.transforms import apply_transforms, fit_transforms
from seg_pipeline.models.coreset import Coreset, FloatArray, IntArray, summarise
from seg_pipeline.models.model import ClusterModel, single_threaded
from seg_pipeline.models.parallel import parallel_map
from seg_pipeline.models.registry import ALGORITHMS, BASELINE
from seg_pipeline.settings import Settings

if TYPE_CHECKING:
    import pandas as pd

# 16 bits are enough for a label, and NumPy sorts them in linear time.
Labels = npt.NDArray[np.int16]

RANDOM = "random"
# The share of the customers that lift refers to.
TARGETED_SHARE = 0.2
# Number of groups of customers that a bootstrap draws from.
BOOTSTRAP_GROUPS = 500
# The most customers that the yardstick is measured on, and how many parts predict each other.
YARDSTICK_CUSTOMERS = 50_000
YARDSTICK_FOLDS = 5
# The bounds of a 95 % interval, and how many standard errors lie between them.
INTERVAL_QUANTILES = (0.025, 0.975)
ERRORS_IN_INTERVAL = 2 * 1.96


class Segmentation(NamedTuple):
    """The segment of every customer.

    Attributes:
        algorithm: Name of the algorithm, of the baseline, or RANDOM.
        k: Number of segments.
        labels: Segment (customers,) of each customer, 0 to k - 1 in the order in which segments are targeted.
    """

    algorithm: str
    k: int
    labels: Labels


class Figures(NamedTuple):
    """What a segmentation was worth in each draw (draws,); NaN if a draw has no revenue.

    Attributes:
        explained_share: Between-segment share of the variance (eta squared) of log(1 + revenue); revenue below zero
            counts as zero.
        gini: Gini index of the concentration curve: the revenue reached if customers are targeted segment by segment.
            Zero is as good as chance. Within a segment the curve is straight.
        lift: Revenue reached with the first 20 % of the customers, over what as many random customers would bring.
    """

    explained_share: FloatArray
    gini: FloatArray
    lift: FloatArray


def value_rows(outcomes: Outcomes, settings: Settings) -> "tuple[pd.DataFrame, pd.DataFrame, pd.DataFrame]":
    """Returns the rows of value_window, value_test and value_by_segment; the last two are empty if there is no test."""
    import pandas as pd

    customers = outcomes.customers
    window: dict[str, object] = {
        "cutoff": outcomes.cutoff,
        "window_days": settings.value.window_days,
        "few_repeat": outcomes.few_repeat,
        "untested_because": outcomes.untested_because,
    }
    if customers is None:
        empty = pd.DataFrame(columns=["algorithm", "k"])
        return pd.DataFrame([window]), empty, empty
    groups = bootstrap_groups(len(customers), settings.models.seed)
    segmentations = fit_segmentations(customers, groups, settings)
    revenue = customers["revenue"].to_numpy(dtype=np.float64)
    window |= {
        "customers": len(customers),
        "sampled": outcomes.sampled,
        "repurchase_rate": float((customers["orders"] > 0).mean()),
        "orders": int(customers["orders"].sum()),
        "revenue": round(float(revenue.sum()), 4),
        "best_gini": best_gini(revenue),
        "reachable_share": reachable_share(customers, settings.models.seed),
    }
    return (
        pd.DataFrame([window]),
        value_test(segmentations, revenue, groups, settings.value.bootstraps, settings.models.seed),
        value_by_segment(segmentations, customers),
    )


def fit_segmentations(customers: "pd.DataFrame", groups: IntArray, settings: Settings) -> list[Segmentation]:
    """Fits every candidate that can be chosen on what was known at the cutoff; adds the R x F grid and random segments.

    Args:
        customers: The customers of `outcomes.Outcomes`.
        groups: The random group (customers,) of each of them, see `bootstrap_groups`.
        settings: The run's settings; features, models and seed are those of the night's own candidates.
    """
    matrix = apply_transforms(customers, fit_transforms(customers, settings.features))
    coreset, cell_of_customer = summarise(matrix, settings.models.max_cells)
    del matrix
    models, selection = settings.models, settings.selection
    # Only numbers of segments that teams can serve can be chosen, unless the choice is forced.
    forced = selection.algorithm is not None or selection.k is not None
    ks = [k for k in range(models.k_min, models.k_max + 1) if forced or selection.k_min <= k <= selection.k_max]
    spend = customers["monetary"].to_numpy(dtype=np.float64)
    fit = partial(fit_algorithm, coreset, ks, models.seed, models.n_init)
    candidates = [
        Segmentation(model.algorithm, model.k, renumber_by_spend(model.cell_labels[cell_of_customer], spend))
        for fitted in parallel_map(fit, models.algorithms)
        for model in fitted
    ]
    grid = np.unique(customers["grid_place"].to_numpy(dtype=np.int64), return_inverse=True)[1]
    k = int(grid.max()) + 1
    # As many random segments as the grid has show what that many explain and reach by chance. They stay in random
    # order: ordered by spend, the one that happens to hold the largest customers would come first.
    chance = random_segments(int(groups.max()) + 1, k)[groups]
    return [*candidates, Segmentation(BASELINE, k, renumber_by_spend(grid, spend)), Segmentation(RANDOM, k, chance)]


def fit_algorithm(coreset: Coreset, ks: Sequence[int], seed: int, n_init: int, algorithm: str) -> list[ClusterModel]:
    """Fits one algorithm; a module-level function, so that it can be sent to another process."""
    return ALGORITHMS[algorithm].fit_range(coreset, ks, seed=seed, n_init=n_init)


def renumber_by_spend(labels: IntArray, spend: FloatArray) -> Labels:
    """Returns labels (customers,) renumbered by the mean spend of their customers, 0 the highest.

    Args:
        labels: Segment (customers,) of each customer.
        spend: Spend (customers,) before the cutoff.
    """
    sizes = np.bincount(labels)
    means = np.bincount(labels, spend) / np.maximum(sizes, 1)
    # A component of a mixture may hold no customer; it comes last.
    order = np.lexsort((-means, sizes == 0))
    return np.argsort(order).astype(np.int16)[labels]


def bootstrap_weights(groups: int, draws: int, seed: int) -> FloatArray:
    """Returns how often each draw has each group (1 + draws, groups); the first row has each once, as observed."""
    drawn = np.random.default_rng([seed, 0]).multinomial(groups, np.full(groups, 1 / groups), size=draws)
    return np.vstack([np.ones(groups), drawn])


def bootstrap_groups(customers: int, seed: int) -> IntArray:
    """Assigns each customer (customers,) to a random group; group sizes differ by one at most.

    A bootstrap draws customers with replacement, and the figures need only sums over them. Sums of equal random groups,
    drawn with replacement, vary like sums of customers; 500 groups give the width of an interval to about 3 %. So a
    draw costs the same for any number of customers. If there are no more customers than groups, each is a group of its
    own, which is the ordinary bootstrap.
    """
    return np.random.default_rng([seed, 1]).permutation(customers) % BOOTSTRAP_GROUPS


def random_segments(groups: int, k: int) -> Labels:
    """Assigns the random groups (groups,) to k segments in turn, which makes random segments of similar size."""
    return (np.arange(groups) % k).astype(np.int16)


def terms_of(revenue: FloatArray) -> list[FloatArray]:
    """Returns the terms whose sums give the figures: 1, log revenue, its square, and revenue, each (customers,)."""
    log_revenue = np.log1p(np.maximum(revenue, 0.0))
    log_revenue -= log_revenue.mean()
    return [np.ones_like(revenue), log_revenue, log_revenue**2, revenue]


def figures(labels: Labels, terms: Sequence[FloatArray], groups: IntArray, weights: FloatArray) -> Figures:
    """Returns what a segmentation was worth in each draw, with segments and their order as they were at the cutoff.

    Args:
        labels: Segment (customers,) of each customer, in the order in which segments are targeted.
        terms: The terms of `terms_of`, each (customers,).
        groups: Random group (customers,) of each customer.
        weights: How often each draw has each group (draws, groups).
    """
    segments = int(labels.max()) + 1
    place = groups * segments + labels
    # The last bits of a matrix product would depend on the number of threads; einsum's do not.
    return _figures(
        np.einsum("dg,gs->ds", weights, np.bincount(place, values, weights.shape[1] * segments).reshape(-1, segments))
        for values in terms
    )


def figures_of_chance(k: int, terms: Sequence[FloatArray], groups: IntArray, weights: FloatArray, seed: int) -> Figures:
    """Returns what k random segments were worth in each draw; every draw after the first shuffles the groups again."""
    first = random_segments(weights.shape[1], k)
    shuffled = np.random.default_rng([seed, 2]).permuted(np.tile(first, (len(weights), 1)), axis=1)
    shuffled[0] = first
    members = shuffled[:, :, None] == np.arange(k)
    return _figures(np.einsum("dg,g,dgs->ds", weights, np.bincount(groups, values), members) for values in terms)


def _figures(sums: Iterable[FloatArray]) -> Figures:
    """Computes the figures from the sums (draws, segments) of each term of `terms_of`."""
    sizes, logs, squares, revenues = sums
    customers, total = sizes.sum(axis=1), revenues.sum(axis=1)
    with np.errstate(divide="ignore", invalid="ignore"):
        common = logs.sum(axis=1) ** 2 / customers
        between = np.where(sizes > 0, logs**2 / sizes, 0.0).sum(axis=1) - common
        explained = np.clip(between / (squares.sum(axis=1) - common), 0.0, 1.0)
        reached = revenues / np.where(total > 0, total, np.nan)[:, None]
        steps = sizes / customers[:, None]
        before = np.cumsum(steps, axis=1) - steps
        part = np.where(sizes > 0, np.clip((TARGETED_SHARE - before) / steps, 0.0, 1.0), 0.0)
    # Twice the area between the curve and the diagonal, by the trapezoid of each segment.
    area = (steps * (np.cumsum(reached, axis=1) - reached / 2)).sum(axis=1)
    return Figures(explained, 2 * area - 1, (reached * part).sum(axis=1) / TARGETED_SHARE)


def best_gini(revenue: FloatArray) -> float:
    """Returns the Gini index of the perfect order: customers are targeted by the revenue that they later brought."""
    descending = -np.sort(-revenue)
    reached = np.cumsum(descending) - descending / 2
    return float(2 * reached.sum() / len(revenue) / descending.sum() - 1)


def reachable_share(customers: "pd.DataFrame", seed: int) -> float:
    """Returns the explained share of log revenue that single customers' features reach: the yardstick of the value.

    Boosted trees (Friedman 2001) predict log(1 + revenue) from recency, frequency and monetary, each fifth of the
    customers by trees that were grown on the others. At most YARDSTICK_CUSTOMERS are used.

    Args:
        customers: The customers of `outcomes.Outcomes`.
        seed: Seed of the sample and of the fifths.

    Returns:
        1 - squared error / variance; zero or less if the features say nothing about the revenue.
    """
    from sklearn.ensemble import HistGradientBoostingRegressor
    from sklearn.model_selection import KFold

    generator = np.random.default_rng([seed, 3])
    rows = np.sort(generator.permutation(len(customers))[:YARDSTICK_CUSTOMERS])
    known = customers[list(PROFILE_FEATURES)].to_numpy(dtype=np.float64)[rows]
    log_revenue = np.log1p(np.maximum(customers["revenue"].to_numpy(dtype=np.float64)[rows], 0.0))
    if len(rows) < YARDSTICK_FOLDS or np.ptp(log_revenue) == 0:
        return 0.0
    trees = HistGradientBoostingRegressor(
        max_iter=60, max_leaf_nodes=8, min_samples_leaf=20, early_stopping=False, random_state=seed
    )
    predicted = np.empty(len(rows))
    with single_threaded():
        for others, fifth in KFold(YARDSTICK_FOLDS, shuffle=True, random_state=seed).split(known):
            predicted[fifth] = trees.fit(known[others], log_revenue[others]).predict(known[fifth])
    errors, differences = log_revenue - predicted, log_revenue - log_revenue.mean()
    return float(1.0 - errors @ errors / (differences @ differences))


def value_test(
    segmentations: Sequence[Segmentation], revenue: FloatArray, groups: IntArray, bootstraps: int, seed: int
) -> "pd.DataFrame":
    """Returns the rows of value_test: each figure and its difference from the R x F grid's, both with intervals.

    All segmentations face the same draws, so the noise they share cancels out in the difference.

    Args:
        segmentations: The segmentations, one of them the grid.
        revenue: Revenue (customers,) in the window.
        groups: Random group (customers,) of each customer.
        bootstraps: Number of draws.
        seed: Seed of the draws.
    """
    import pandas as pd

    terms = terms_of(revenue)
    weights = bootstrap_weights(int(groups.max()) + 1, bootstraps, seed)
    measured = [
        figures_of_chance(one.k, terms, groups, weights, seed)
        if one.algorithm == RANDOM
        else figures(one.labels, terms, groups, weights)
        for one in segmentations
    ]
    of_grid = next(worth for one, worth in zip(segmentations, measured, strict=True) if one.algorithm == BASELINE)
    rows = []
    for one, worth in zip(segmentations, measured, strict=True):
        row: dict[str, object] = {"algorithm": one.algorithm, "k": one.k}
        for name, values, grid_values in zip(Figures._fields, worth, of_grid, strict=True):
            for column, draws in ((name, values), (f"{name}_over_grid", values - grid_values)):
                low, high = _interval(draws[1:])
                row |= {column: draws[0], f"{column}_low": low, f"{column}_high": high}
        rows.append(row)
    return pd.DataFrame(rows)


def _interval(draws: FloatArray) -> tuple[float, float]:
    known = draws[~np.isnan(draws)]
    if not known.size:
        return float("nan"), float("nan")
    low, high = np.quantile(known, INTERVAL_QUANTILES)
    return float(low), float(high)


def value_by_segment(segmentations: Sequence[Segmentation], customers: "pd.DataFrame") -> "pd.DataFrame":
    """Returns the rows of value_by_segment: who was in each segment at the cutoff, and what they did afterwards."""
    import pandas as pd

    orders, revenue = (customers[name].to_numpy(dtype=np.float64) for name in ("orders", "revenue"))
    features = {name: customers[name].to_numpy(dtype=np.float64) for name in PROFILE_FEATURES}
    ascending = {name: np.argsort(values, kind="stable") for name, values in features.items()}
    parts = []
    for one in segmentations:
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
    """Returns the median (segments,) of each segment.

    Args:
        values: Values (customers,).
        ascending: The order (customers,) that sorts the values, computed once for all segmentations.
        labels: Segment (customers,) of each customer.
        sizes: Customers (segments,) in each segment.
    """
    in_segments = values[ascending[np.argsort(labels[ascending], kind="stable")]]
    starts = np.cumsum(sizes) - sizes
    return (in_segments[starts + (sizes - 1) // 2] + in_segments[starts + sizes // 2]) / 2


def tested_k(candidates: "pd.DataFrame", tested: "pd.DataFrame") -> "pd.Series":
    """Returns the k with which each candidate of a night was tested.

    It is the candidate's own. An algorithm that finds its own number of clusters, and the grid, may have had another
    number at the cutoff; that one is returned then.

    Args:
        candidates: algorithm and k of the night's candidates.
        tested: algorithm and k of the rows of value_test.
    """

    def is_only_one(table: "pd.DataFrame") -> "pd.Series":
        return ~table["algorithm"].duplicated(keep=False)

    only_k = tested[is_only_one(tested)].set_index("algorithm")["k"]
    k_at_cutoff = candidates["algorithm"].map(only_k)
    return k_at_cutoff.where(is_only_one(candidates) & k_at_cutoff.notna(), candidates["k"]).astype("int64")


def with_value(candidates: "pd.DataFrame", tested: "pd.DataFrame", reachable: float) -> "pd.DataFrame":
    """Adds what the value test says of the candidates: value, value_share, value_error and above_grid.

    All are missing for candidates that were not tested.

    Args:
        candidates: algorithm and k of the night's candidates, and other columns.
        tested: The rows of value_test, of the window that chooses.
        reachable: The explained share that the features reach there (`reachable_share`); value_share and its standard
            error value_error are missing if that is not above zero.
    """
    import pandas as pd

    width = tested["explained_share_high"] - tested["explained_share_low"]
    yardstick = reachable if reachable > 0 else np.nan
    figures = pd.DataFrame(
        {
            "algorithm": tested["algorithm"],
            "tested_k": tested["k"],
            "value": tested["explained_share"],
            "value_share": (tested["explained_share"] / yardstick).clip(upper=1.0),
            "value_error": width / ERRORS_IN_INTERVAL / yardstick,
            "above_grid": (tested["explained_share_over_grid_low"] > 0) & (tested["gini_over_grid_low"] > 0),
        }
    )
    keyed = candidates.assign(tested_k=tested_k(candidates, tested))
    joined = keyed.merge(figures, how="left", on=["algorithm", "tested_k"]).drop(columns="tested_k")
    return joined.astype({"above_grid": "boolean"})
