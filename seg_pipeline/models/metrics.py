"""How good a clustering of weighted cells is, by the customers in them, each with its cell's label.

On an exact coreset every figure is what scikit-learn gives on all customers' rows. On any other, inertia, explained
share and Calinski-Harabasz still are, for the cells know their spread; silhouette and Davies-Bouldin, which average
distances, take the root of the mean squared distance between (or within) cells for the mean distance. All candidates
are scored by their hard labels, whatever made them, so that the figures compare across algorithms.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from seg_pipeline.models.coreset import Coreset, FloatArray, IntArray, group_means
from seg_pipeline.models.model import ClusterModel, single_threaded

# Rows of distances held at once while silhouettes are summed.
_ROWS_AT_ONCE = 512


@dataclass(frozen=True, slots=True)
class Metrics:
    """Figures of one clustering; NaN where a figure has no meaning (fewer than two clusters with customers).

    Attributes
    ----------
    inertia : float
        Within-cluster sum of squares about the cluster means, summed over customers, squared transformed units.
    explained_share : float
        1 - inertia / total sum of squares; 0 where all customers are equal.
    silhouette : float
        Mean over customers of (b - a) / max(a, b), a the mean distance to the rest of the own cluster, b to the nearest
        other cluster (Rousseeuw 1987); -1 to 1, higher is better.
    calinski_harabasz : float
        Between- over within-cluster variance (Calinski & Harabasz 1974); higher is better.
    davies_bouldin : float
        Mean over clusters of their worst ratio of scatter to separation (Davies & Bouldin 1979); lower is better.
    smallest_share, largest_share : float
        Share of customers in the smallest and largest cluster; a cluster that is nobody's counts, with share 0.
    """

    inertia: float
    explained_share: float
    silhouette: float
    calinski_harabasz: float
    davies_bouldin: float
    smallest_share: float
    largest_share: float


@single_threaded()
def score(coreset: Coreset, models: Sequence[ClusterModel]) -> list[Metrics]:
    """Metrics of each of `models`, fitted on `coreset`, in their order.

    One pass over the distances between cells serves the silhouettes of all; memory stays linear in the cells.
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
    """The inertia of a model fitted on `coreset` alone, as in `Metrics`."""
    labels = np.unique(model.cell_labels, return_inverse=True)[1]
    centers = group_means(labels, coreset.weights, coreset.points)[1]
    return float(coreset.weights @ _squares(coreset, labels, centers))


def _squares(coreset: Coreset, labels: IntArray, centers: FloatArray) -> FloatArray:
    """Mean squared distance (cells,) of each cell's customers to their centre: the cell's own, and that within it."""
    squares: FloatArray = ((coreset.points - centers[labels]) ** 2).sum(axis=1) + coreset.spread
    return squares


def _metrics(coreset: Coreset, k: int, labels: IntArray, silhouette: float) -> Metrics:
    """All figures of one clustering, its labels (cells,) numbered 0, 1, ... without gaps."""
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
        davies_bouldin=_davies_bouldin(coreset, labels, centers, squares),
        smallest_share=float(cluster_weights.min() / customers) if filled == k else 0.0,
        largest_share=float(cluster_weights.max() / customers),
    )


def _calinski_harabasz(inertia: float, between: float, k: int, customers: float) -> float:
    if k < 2 or customers <= k:
        return float("nan")
    # As scikit-learn: 1 where every cluster is a single point.
    return between * (customers - k) / (inertia * (k - 1)) if inertia > 0 else 1.0


def _davies_bouldin(coreset: Coreset, labels: IntArray, centers: FloatArray, squares: FloatArray) -> float:
    from scipy.spatial.distance import cdist

    if len(centers) < 2:
        return float("nan")
    scatter = group_means(labels, coreset.weights, np.sqrt(squares)[:, None])[1]
    separation = cdist(centers, centers)
    separation[separation == 0] = np.inf  # as scikit-learn: coinciding centres, and a cluster with itself, do not count
    return float(((scatter + scatter.T) / separation).max(axis=1).mean())


def _silhouettes(coreset: Coreset, labelings: Sequence[IntArray]) -> list[float]:
    """Mean silhouette of each labeling, over customers.

    A customer's sum of distances to a cluster is a weighted sum over cells: all customers of a cell share one
    silhouette. Between cells with means d apart and spreads s and t, the mean squared distance of customers is
    d^2 + s + t, and its root stands for their mean distance. Within a cell of n customers it is 2 s n / (n - 1), among
    n - 1 others; summed over n, so that all cells are treated alike, 2 s (n - 1) / n.
    """
    from scipy.spatial.distance import cdist

    points, weights, spread = coreset.points, coreset.weights, coreset.spread
    within_squares = 2.0 * spread * np.maximum(weights - 1.0, 0.0) / weights
    # A row of distances times these columns, one for each cluster of each labeling, sums the distances to each cluster.
    memberships = [weights[:, None] * (labels[:, None] == np.arange(labels.max() + 1)) for labels in labelings]
    stacked = np.hstack(memberships)
    splits = np.cumsum([membership.shape[1] for membership in memberships])[:-1]
    cluster_weights = [membership.sum(axis=0) for membership in memberships]
    totals = np.zeros(len(labelings))
    for start in range(0, len(points), _ROWS_AT_ONCE):
        rows = slice(start, start + _ROWS_AT_ONCE)
        distances = cdist(points[rows], points, "sqeuclidean")
        distances += spread[rows, None] + spread
        np.fill_diagonal(distances[:, start:], within_squares[rows])
        np.sqrt(distances, out=distances)
        sums_by_labeling = np.split(distances @ stacked, splits, axis=1)
        for index, (labels, sums) in enumerate(zip(labelings, sums_by_labeling, strict=True)):
            silhouettes = _silhouette_rows(sums, labels[rows], cluster_weights[index])
            totals[index] += np.dot(weights[rows], silhouettes)
    return [float(total / weights.sum()) for total in totals]


def _silhouette_rows(sums: FloatArray, labels: IntArray, cluster_weights: FloatArray) -> FloatArray:
    """Silhouette (rows,) from each row's sum of distances to each cluster (rows, k); NaN for a single cluster."""
    if len(cluster_weights) < 2:
        return np.full(len(sums), np.nan)
    own = labels[:, None]
    others = cluster_weights[labels] - 1.0
    within = np.take_along_axis(sums, own, axis=1)[:, 0] / np.where(others > 0, others, 1.0)
    means = sums / cluster_weights
    np.put_along_axis(means, own, np.inf, axis=1)
    nearest = means.min(axis=1)
    scale = np.maximum(within, nearest)
    # Alone in its cluster, or all at distance 0: by convention 0.
    silhouettes: FloatArray = np.zeros_like(scale)
    np.divide(nearest - within, scale, out=silhouettes, where=(others > 0) & (scale > 0))
    return silhouettes
