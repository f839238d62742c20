"""How good a clustering of weighted cells is; each customer counts with the label of their cell.

On an exact coreset every figure is what scikit-learn computes on the rows of all customers. On any other coreset,
inertia, explained share and Calinski-Harabasz still are, because cells know their spread; silhouette and
Davies-Bouldin, which average distances, are expanded to the second order of the spread. Every candidate is judged by
its hard labels, so that the figures compare across algorithms.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np

from seg_pipeline.models.coreset import Coreset, FloatArray, IntArray, group_means
from seg_pipeline.models.model import ClusterModel, single_threaded

# Rows of distances in memory at once while silhouettes are summed.
_ROWS_AT_ONCE = 512


@dataclass(frozen=True, slots=True)
class Metrics:
    """Figures of one clustering; NaN if a figure has no meaning (fewer than two clusters with customers).

    Attributes:
        inertia: Within-cluster sum of squares about the cluster means, summed over customers, squared transformed
            units.
        explained_share: 1 - inertia / total sum of squares; 0 if all customers are equal.
        silhouette: Mean over customers of (b - a) / max(a, b), where a is the mean distance to the rest of the own
            cluster and b the mean distance to the nearest other cluster (Rousseeuw 1987); -1 to 1, higher is better.
        calinski_harabasz: Between- over within-cluster variance (Calinski & Harabasz 1974); higher is better.
        davies_bouldin: Mean over clusters of their worst ratio of scatter to separation (Davies & Bouldin 1979); lower
            is better.
        smallest_share: Share of customers in the smallest cluster; 0 if a cluster has no customers.
        largest_share: Share of customers in the largest cluster.
    """

    inertia: float
    explained_share: float
    silhouette: float
    calinski_harabasz: float
    davies_bouldin: float
    smallest_share: float
    largest_share: float


@single_threaded()
def metrics_of(coreset: Coreset, models: Sequence[ClusterModel]) -> list[Metrics]:
    """Returns the metrics of each of `models`, fitted on `coreset`, in their order.

    One pass over the distances between cells serves the silhouettes of all models; memory stays linear in the cells.
    """
    if not models:
        return []
    labelings = [np.unique(model.cell_labels, return_inverse=True)[1] for model in models]
    silhouettes = _silhouettes(coreset, labelings)
    return [
        _metrics(coreset, model.k, labels, silhouette)
        for model, labels, silhouette in zip(models, labelings, silhouettes, strict=True)
    ]


def inertia_of(coreset: Coreset, model: ClusterModel) -> float:
    """Returns the inertia of a model fitted on `coreset`, without computing the other figures of `Metrics`."""
    labels = np.unique(model.cell_labels, return_inverse=True)[1]
    centers = group_means(labels, coreset.weights, coreset.points)[1]
    return float(coreset.weights @ _squares(coreset, labels, centers))


def _squares(coreset: Coreset, labels: IntArray, centers: FloatArray) -> FloatArray:
    """Returns the mean squared distance (cells,) of each cell's customers to their cluster's centre.

    It is the squared distance of the cell plus the cell's spread.
    """
    squares: FloatArray = ((coreset.points - centers[labels]) ** 2).sum(axis=1) + coreset.spread
    return squares


def _metrics(coreset: Coreset, k: int, labels: IntArray, silhouette: float) -> Metrics:
    """Returns the figures of one clustering, whose labels (cells,) are 0, 1, ... without gaps."""
    customers = coreset.weights.sum()
    cluster_weights, centers = group_means(labels, coreset.weights, coreset.points)
    filled = len(cluster_weights)
    squares = _squares(coreset, labels, centers)
    mean = np.average(coreset.points, axis=0, weights=coreset.weights)
    inertia = float(coreset.weights @ squares)
    between = float(cluster_weights @ ((centers - mean) ** 2).sum(axis=1))
    total = inertia + between
    return Metrics(
        inertia=inertia,
        explained_share=between / total if total > 0 else 0.0,
        silhouette=silhouette,
        calinski_harabasz=_calinski_harabasz(inertia, between, filled, customers),
        davies_bouldin=_davies_bouldin(coreset, labels, centers),
        smallest_share=float(cluster_weights.min() / customers) if filled == k else 0.0,
        largest_share=float(cluster_weights.max() / customers),
    )


def _calinski_harabasz(inertia: float, between: float, k: int, customers: float) -> float:
    if k < 2 or customers <= k:
        return float("nan")
    # As in scikit-learn: 1 if every cluster is a single point.
    return between * (customers - k) / (inertia * (k - 1)) if inertia > 0 else 1.0


def _davies_bouldin(coreset: Coreset, labels: IntArray, centers: FloatArray) -> float:
    from scipy.spatial.distance import cdist

    if len(centers) < 2:
        return float("nan")
    squares = ((coreset.points - centers[labels]) ** 2).sum(axis=1) + _perpendicular_spread(coreset)
    scatter = group_means(labels, coreset.weights, np.sqrt(squares)[:, None])[1]
    separation = cdist(centers, centers)
    # As in scikit-learn, neither coinciding centres nor a cluster and itself count.
    separation[separation == 0] = np.inf
    return float(((scatter + scatter.T) / separation).max(axis=1).mean())


def _perpendicular_spread(coreset: Coreset) -> FloatArray:
    """Returns the part (cells,) of each cell's spread that counts if distances, not their squares, are averaged.

    For an offset e with mean zero, small beside d, E|d + e| = |d| + E|e perpendicular to d|^2 / (2 |d|): the part of e
    along d averages out. If the spread is equal in all p directions, (p - 1) / p of it is perpendicular, and
    sqrt(d^2 + that) is E|d + e| to the second order. (The root of the mean square, sqrt(d^2 + spread), is larger, by
    Jensen's inequality.)
    """
    features = coreset.points.shape[1]
    return coreset.spread * (features - 1) / features


def _silhouettes(coreset: Coreset, labelings: Sequence[IntArray]) -> list[float]:
    """Returns the mean silhouette, over customers, of each labeling.

    A customer's sum of distances to a cluster is a weighted sum over cells. Between two cells, the mean distance of
    customers is the root of the squared distance of the cells' means plus the perpendicular spread of both (see
    `_perpendicular_spread`). Within a cell of n customers and spread s, the mean squared distance is 2 s n / (n - 1),
    and each customer has n - 1 others. Distances to a cell are always multiplied by all n of its customers, so the root
    of 2 s (n - 1) / n stands for the distance here.

    The customers of a cell do not all have the same nearest other cluster, and the mean of their smallest distances is
    below the smallest of their mean distances. So each cell is represented by two halves. They lie at the root of its
    spread to either side of its mean, along the line to the nearest other cell, since that is where customers are. An
    offset e changes the mean distance f of x to a cluster with centroid c by e.(x - c) / f to the first order.
    """
    from scipy.spatial.distance import cdist

    points, weights, perpendicular = coreset.points, coreset.weights, _perpendicular_spread(coreset)
    within_squares = 2.0 * coreset.spread * np.maximum(weights - 1.0, 0.0) / weights
    # A row of distances times these columns (one per cluster of each labeling) is the sum of distances to each cluster.
    memberships = [weights[:, None] * (labels[:, None] == np.arange(labels.max() + 1)) for labels in labelings]
    stacked = np.hstack(memberships)
    splits = np.cumsum([membership.shape[1] for membership in memberships])[:-1]
    cluster_weights = stacked.sum(axis=0)
    centroids = stacked.T @ points / cluster_weights[:, None]
    sizes = np.split(cluster_weights, splits)

    def total_of_rows(start: int) -> FloatArray:
        """Sums the silhouettes (labelings,) of the customers in some rows."""
        rows = slice(start, start + _ROWS_AT_ONCE)
        distances = cdist(points[rows], points, "sqeuclidean")
        np.fill_diagonal(distances[:, start:], np.inf)
        offsets = _half_offsets(coreset, rows, distances)
        distances += perpendicular[rows, None]
        distances += perpendicular
        np.fill_diagonal(distances[:, start:], within_squares[rows])
        np.sqrt(distances, out=distances)
        # Customers are not their own neighbours. One who is alone in a cluster has none, and a silhouette of 0.
        neighbours = cluster_weights - (stacked[rows] > 0)
        means = distances @ stacked / np.where(neighbours > 0, neighbours, 1.0)
        changes = np.einsum("ij,ij->i", offsets, points[rows])[:, None] - offsets @ centroids.T
        np.divide(changes, means, out=changes, where=means > 0)
        halves = np.maximum(np.concatenate([means + changes, means - changes]), 0.0)
        silhouettes = [
            _silhouette_rows(of_labeling, np.tile(labels[rows], 2), of_clusters)
            for labels, of_labeling, of_clusters in zip(labelings, np.split(halves, splits, axis=1), sizes, strict=True)
        ]
        return np.array(silhouettes) @ np.tile(weights[rows], 2)

    # Nearly all of the work releases Python's lock. The sum is in the order of the rows, whichever finish first.
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        totals = sum(pool.map(total_of_rows, range(0, len(points), _ROWS_AT_ONCE)), np.zeros(len(labelings)))
    return [float(total / (2.0 * weights.sum())) for total in totals]


def _half_offsets(coreset: Coreset, rows: slice, squares: FloatArray) -> FloatArray:
    """Returns the offset (rows, features) of one half of each cell from its mean, towards the nearest other cell.

    The other half has the opposite offset. `squares` (rows, cells) are the squared distances between the cells' means,
    infinite from a cell to itself.
    """
    nearest = squares.argmin(axis=1)
    apart = np.take_along_axis(squares, nearest[:, None], axis=1)
    ratios = np.divide(coreset.spread[rows, None], apart, out=np.zeros_like(apart), where=apart > 0)
    offsets: FloatArray = np.sqrt(ratios) * (coreset.points[nearest] - coreset.points[rows])
    return offsets


def _silhouette_rows(means: FloatArray, labels: IntArray, cluster_weights: FloatArray) -> FloatArray:
    """Returns the silhouette (rows,) from each row's mean distances (rows, k) to clusters; NaN for a single cluster."""
    if len(cluster_weights) < 2:
        return np.full(len(means), np.nan)
    own = labels[:, None]
    within = np.take_along_axis(means, own, axis=1)[:, 0]
    others = means.copy()
    np.put_along_axis(others, own, np.inf, axis=1)
    nearest = others.min(axis=1)
    scale = np.maximum(within, nearest)
    # By convention 0 if the cluster has one customer, or if all distances are 0.
    silhouettes: FloatArray = np.zeros_like(scale)
    np.divide(nearest - within, scale, out=silhouettes, where=(cluster_weights[labels] > 1) & (scale > 0))
    return silhouettes
