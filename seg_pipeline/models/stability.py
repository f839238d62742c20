"""How stable a clustering is: whether a bootstrap sample of the customers, or another seed, gives the same clusters.

A bootstrap sample draws as many customers as there are, with replacement. On cells that only changes the weights, so no
customer's row is touched. Refits of costly algorithms run on a coarser summary. If the cells are too coarse or the
starts too few, the figure measures those instead of the customers; each algorithm's `refit_options` are set to avoid
that.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np

from seg_pipeline.models.coreset import Coreset, FloatArray, IntArray, group_means, summarise
from seg_pipeline.models.model import Algorithm, ClusterModel, single_threaded
from seg_pipeline.models.parallel import parallel_map

# The most cells that a refit runs on, unless the algorithm's `refit_options` have other "cells".
COARSE_CELLS = 500
# Refits with other seeds on unchanged weights.
SEEDS = 3


@dataclass(frozen=True, slots=True)
class Stability:
    """Agreement of one candidate with its refits; NaN if no refit has as many clusters.

    Attributes:
        bootstrap: Mean adjusted Rand index with refits on bootstrap samples; 1 is the same clustering each time, 0 is
            no better than chance.
        error: Its standard error: the standard deviation over the samples, over the root of their number.
        seeds: Mean adjusted Rand index of refits with other seeds against the first; 1 if nothing is random.
        jaccard: Stability (k,) of each cluster: the mean, over bootstrap samples, of its best overlap with a cluster of
            the refit. The overlap is customers in both over customers in either (Hennig 2007). From 0.75 on a cluster
            is real; below 0.6 it is a cut through a cloud.
    """

    bootstrap: float
    error: float
    seeds: float
    jaccard: FloatArray


@single_threaded()
def stability_of(
    algorithm: Algorithm, coreset: Coreset, models: Sequence[ClusterModel], *, draws: int, seed: int
) -> list[Stability]:
    """Measures the stability of each of `models`, in their order.

    Args:
        algorithm: The algorithm that fitted the models.
        coreset: The coreset that they were fitted on.
        models: Candidates of that algorithm.
        draws: Number of bootstrap samples; each refits every k once.
        seed: Seed of the samples and of the refits.
    """
    coarse_of_cell = summarise(coreset.points, algorithm.refit_options.get("cells", COARSE_CELLS))[1]
    refit = partial(_refit, algorithm, coreset, coarse_of_cell, [model.k for model in models], seed)
    # If nothing is random, one refit stands for those with other seeds.
    seeds = [(number, False) for number in range(SEEDS + 1 if algorithm.is_random else 1)]
    labels = parallel_map(refit, [*((draw, True) for draw in range(draws)), *seeds])
    refits, reseeded = labels[:draws], labels[draws:]
    if not algorithm.is_random:
        reseeded *= SEEDS + 1
    return [_agreement(model, coreset.weights, refits, reseeded) for model in models]


@single_threaded()
def _refit(
    algorithm: Algorithm,
    coreset: Coreset,
    coarse_of_cell: IntArray,
    ks: Sequence[int],
    seed: int,
    refit: tuple[int, bool],
) -> dict[int, IntArray]:
    """Refits each of `ks` once and labels all cells.

    Args:
        algorithm: The algorithm.
        coreset: The cells.
        coarse_of_cell: Number (cells,) of the coarse cell that each cell belongs to.
        ks: Numbers of clusters.
        seed: Seed of all refits.
        refit: Number of the refit, and whether it draws a bootstrap sample.

    Returns:
        Labels (cells,) of all cells, by number of clusters.
    """
    number, is_draw = refit
    weights = coreset.weights
    if is_draw:
        shares = weights / weights.sum()
        generator = np.random.default_rng([seed, number])
        weights = generator.multinomial(int(weights.sum()), shares).astype(np.float64)
    filled = weights > 0
    coarse = np.unique(coarse_of_cell[filled], return_inverse=True)[1]
    totals, points = group_means(coarse, weights[filled], coreset.points[filled])
    summary = Coreset.without_spread(points, totals, exact=coreset.exact)
    options = {name: value for name, value in algorithm.refit_options.items() if name != "cells"}
    fitted = algorithm.fit_range(summary, ks, seed=seed + number, **options)
    labels_of_each = algorithm.label(fitted, coreset.points, summary)
    labels = {model.k: labels for model, labels in zip(fitted, labels_of_each, strict=True)}
    if len(ks) == len(fitted) == 1:
        # An algorithm that finds its own number of clusters may find another number in a refit.
        return {ks[0]: next(iter(labels.values()))}
    return labels


def _agreement(
    model: ClusterModel,
    weights: FloatArray,
    refits: Sequence[dict[int, IntArray]],
    reseeded: Sequence[dict[int, IntArray]],
) -> Stability:
    """Compares a model with its refits: those on bootstrap samples, and those with other seeds."""
    tables = [contingency(model.cell_labels, refit[model.k], weights) for refit in refits if model.k in refit]
    same_k = [refit[model.k] for refit in reseeded if model.k in refit]
    seeds = [contingency(same_k[0], labels, weights) for labels in same_k[1:]]
    jaccard = np.full(model.k, np.nan)
    if tables:
        best = np.mean([_best_jaccard(table) for table in tables], axis=0)
        jaccard[np.unique(model.cell_labels)] = best
    agreements = [adjusted_rand(table) for table in tables]
    return Stability(
        bootstrap=_mean(agreements),
        error=float(np.std(agreements, ddof=1) / np.sqrt(len(tables))) if len(tables) > 1 else float("nan"),
        seeds=_mean([adjusted_rand(table) for table in seeds]),
        jaccard=jaccard,
    )


def contingency(labels: IntArray, others: IntArray, weights: FloatArray) -> FloatArray:
    """Counts the customers (clusters, other clusters) of each pair of labels; clusters without a cell are left out."""
    row_names, rows = np.unique(labels, return_inverse=True)
    column_names, columns = np.unique(others, return_inverse=True)
    shape = len(row_names), len(column_names)
    flat = np.bincount(rows * shape[1] + columns, weights, minlength=shape[0] * shape[1])
    table: FloatArray = flat.astype(np.float64).reshape(shape)
    return table


def adjusted_rand(table: FloatArray) -> float:
    """Returns the adjusted Rand index (Hubert and Arabie 1985) of a contingency table of customers."""

    def pairs(counts: FloatArray) -> float:
        return float((counts * (counts - 1) / 2).sum())

    both, by_rows, by_columns = pairs(table), pairs(table.sum(axis=1)), pairs(table.sum(axis=0))
    everyone = pairs(table.sum(keepdims=True))
    expected = by_rows * by_columns / everyone if everyone else 0.0
    largest = (by_rows + by_columns) / 2
    return 1.0 if largest == expected else (both - expected) / (largest - expected)


def _best_jaccard(table: FloatArray) -> FloatArray:
    """Returns the best overlap (clusters,) of each row's cluster with any of the columns' clusters."""
    either = table.sum(axis=1)[:, None] + table.sum(axis=0)[None, :] - table
    overlaps: FloatArray = (table / either).max(axis=1)
    return overlaps


def _mean(values: Sequence[float]) -> float:
    return float(np.mean(values)) if values else float("nan")
