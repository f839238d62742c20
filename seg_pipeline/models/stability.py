"""How sure a clustering is: would like customers, drawn anew, or another seed, give the same segments?

A bootstrap draws as many customers as there are, with replacement. On cells that is a change of weights, so no row of a
customer is touched. Refits of costly algorithms run on a coarser summary. Where cells are too coarse or starts too few,
the figure is theirs and not the customers': an algorithm's `refit_options` have as many as it takes.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np

from seg_pipeline.models.coreset import Coreset, FloatArray, IntArray, group_means, summarise
from seg_pipeline.models.model import Algorithm, ClusterModel, single_threaded
from seg_pipeline.models.side_by_side import side_by_side

# Cells at most that a refit runs on, unless the algorithm's `refit_options` have other "cells".
COARSE_CELLS = 500
# Refits with other seeds on unchanged weights.
SEEDS = 3


@dataclass(frozen=True, slots=True)
class Stability:
    """Agreement of one candidate with its refits; NaN where no refit gave as many clusters.

    Attributes
    ----------
    bootstrap : float
        Mean adjusted Rand index over the bootstrap draws; 1 is the same clustering each time, 0 that of chance.
    seeds : float
        Mean adjusted Rand index of refits with other seeds against the first; 1 where nothing is random.
    jaccard : (k,)
        Of each cluster, the mean over draws of its best overlap with a cluster of the draw: customers in both over
        customers in either (Hennig 2007). From 0.75 a cluster is real, below 0.6 it is a cut through a cloud.
    """

    bootstrap: float
    seeds: float
    jaccard: FloatArray


@single_threaded()
def stability_of(
    algorithm: Algorithm, coreset: Coreset, models: Sequence[ClusterModel], *, draws: int, seed: int
) -> list[Stability]:
    """Stability of each of `models`, fitted by `algorithm` on `coreset`, in their order.

    Parameters
    ----------
    draws : int
        Bootstrap draws; each refits every k once.
    seed : int
        Of the draws and of the refits.
    """
    coarse_of_cell = summarise(coreset.points, algorithm.refit_options.get("cells", COARSE_CELLS))[1]
    refit = partial(_refit, algorithm, coreset, coarse_of_cell, [model.k for model in models], seed)
    # Where nothing is random another seed gives the same.
    seeds = [(number, False) for number in range(SEEDS + 1 if algorithm.is_random else 1)]
    labels = side_by_side(refit, [*((draw, True) for draw in range(draws)), *seeds])
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
    """Number of clusters -> labels (cells,) of all cells by a refit: its number, and whether customers are drawn."""
    number, is_draw = refit
    weights = coreset.weights
    if is_draw:
        shares = weights / weights.sum()
        draw = np.random.default_rng([seed, number])
        weights = draw.multinomial(int(weights.sum()), shares).astype(np.float64)
    drawn = weights > 0
    coarse = np.unique(coarse_of_cell[drawn], return_inverse=True)[1]
    totals, points = group_means(coarse, weights[drawn], coreset.points[drawn])
    summary = Coreset(points, totals, exact=coreset.exact)
    options = {name: value for name, value in algorithm.refit_options.items() if name != "cells"}
    fitted = algorithm.fit_range(summary, ks, seed=seed + number, **options)
    labels_of_each = algorithm.label(fitted, coreset.points, summary)
    labels = {model.k: labels for model, labels in zip(fitted, labels_of_each, strict=True)}
    if len(ks) == len(fitted) == 1:
        # An algorithm that finds its own number of clusters may find another one.
        return {ks[0]: next(iter(labels.values()))}
    return labels


def _agreement(
    model: ClusterModel,
    weights: FloatArray,
    refits: Sequence[dict[int, IntArray]],
    reseeded: Sequence[dict[int, IntArray]],
) -> Stability:
    tables = [contingency(model.cell_labels, refit[model.k], weights) for refit in refits if model.k in refit]
    same_k = [refit[model.k] for refit in reseeded if model.k in refit]
    seeds = [contingency(same_k[0], labels, weights) for labels in same_k[1:]]
    jaccard = np.full(model.k, np.nan)
    if tables:
        best = np.mean([_best_jaccard(table) for table in tables], axis=0)
        jaccard[np.unique(model.cell_labels)] = best
    return Stability(
        bootstrap=_mean([adjusted_rand(table) for table in tables]),
        seeds=_mean([adjusted_rand(table) for table in seeds]),
        jaccard=jaccard,
    )


def contingency(labels: IntArray, others: IntArray, weights: FloatArray) -> FloatArray:
    """Customers (clusters, other clusters) of each pair of labels; clusters without a cell are left out."""
    rows, row = np.unique(labels, return_inverse=True)
    columns, column = np.unique(others, return_inverse=True)
    flat = np.bincount(row * len(columns) + column, weights, minlength=len(rows) * len(columns))
    table: FloatArray = flat.astype(np.float64).reshape(len(rows), len(columns))
    return table


def adjusted_rand(table: FloatArray) -> float:
    """Adjusted Rand index (Hubert and Arabie 1985) from a contingency table of customers."""

    def pairs(counts: FloatArray) -> float:
        return float((counts * (counts - 1) / 2).sum())

    both, by_rows, by_columns = pairs(table), pairs(table.sum(axis=1)), pairs(table.sum(axis=0))
    everyone = pairs(table.sum(keepdims=True))
    expected = by_rows * by_columns / everyone if everyone else 0.0
    most = (by_rows + by_columns) / 2
    return 1.0 if most == expected else (both - expected) / (most - expected)


def _best_jaccard(table: FloatArray) -> FloatArray:
    """Best overlap (clusters,) of each row's cluster with one of the columns'."""
    either = table.sum(axis=1)[:, None] + table.sum(axis=0)[None, :] - table
    overlaps: FloatArray = (table / either).max(axis=1)
    return overlaps


def _mean(values: Sequence[float]) -> float:
    return float(np.mean(values)) if values else float("nan")
