"""K-medoids on weighted cells: each cluster is represented by one of its own cells, and distances are not squared.

It is less drawn to extremes than KMeans. It is implemented here because scikit-learn has none.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np

from seg_pipeline.models.coreset import Coreset, FloatArray, IntArray
from seg_pipeline.models.model import (
    ClusterModel,
    FitsEachK,
    NearestCenter,
    canonical_order,
    model_from_labels,
)

# The most starts for each k.
_MAX_STARTS = 5
# Cells that are tried as a medoid at once.
_TRIED_AT_ONCE = 16
# Up to this many cells, all are tried.
_TRIED_WITHOUT_BOUNDS = 100


class KMedoidsAlgorithm(FitsEachK, NearestCenter):
    """Fits k-medoids from a few starts and keeps the best; the centres of the model are the medoids."""

    name = "k_medoids"
    kind = "numpy"
    title = "K-medoids"
    refit_options: ClassVar[Mapping[str, Any]] = {"n_init": 3}
    has_gap = True
    is_random = True

    def fit(self, coreset: Coreset, k: int, *, seed: int, n_init: int) -> ClusterModel:
        estimator = WeightedKMedoids(k, n_init=min(n_init, _MAX_STARTS), random_state=seed)
        estimator.fit(coreset.points, coreset.weights)
        medoids = coreset.points[estimator.medoid_indices_]
        return model_from_labels(self.name, coreset, estimator.labels_, centers=medoids)


class WeightedKMedoids:
    """K-medoids over weighted points: reduces the weighted sum of distances to the nearest medoid.

    Two steps alternate: points go to their nearest medoid, and each cluster's medoid becomes the point with the least
    sum of distances in the cluster (Park & Jun 2009). Starts are those of k-means++. Memory is linear in the points.

    Args:
        n_clusters: Number of clusters.
        n_init: Number of starts, of which the best is kept.
        random_state: Seed of the starts.
        max_iter: The most turns of each start.

    Attributes:
        medoid_indices_: Index (k,) of each cluster's medoid; clusters are numbered by their medoid's first coordinate,
            then the next.
        labels_: Cluster (points,) of each point.
        inertia_: Weighted sum of distances to the nearest medoid.
    """

    medoid_indices_: IntArray
    labels_: IntArray
    inertia_: float

    def __init__(self, n_clusters: int, *, n_init: int = 5, random_state: int = 0, max_iter: int = 100) -> None:
        self.n_clusters = n_clusters
        self.n_init = n_init
        self.random_state = random_state
        self.max_iter = max_iter

    def fit(self, X: FloatArray, sample_weight: FloatArray | None = None) -> WeightedKMedoids:
        """Fits to `X` (points, features) with weights (points,) above zero; all weights are 1 if None."""
        from sklearn.cluster import kmeans_plusplus

        weights = np.ones(len(X)) if sample_weight is None else np.asarray(sample_weight, dtype=np.float64)
        self.inertia_ = np.inf
        for start in range(self.n_init):
            medoids = kmeans_plusplus(
                X, self.n_clusters, sample_weight=weights, random_state=self.random_state + start
            )[1].astype(np.int64)
            medoids, labels, inertia = self._alternate(X, weights, medoids)
            if inertia < self.inertia_:
                self.medoid_indices_, self.labels_, self.inertia_ = medoids, labels, inertia
        return self

    def _alternate(self, X: FloatArray, weights: FloatArray, medoids: IntArray) -> tuple[IntArray, IntArray, float]:
        """Alternates both steps until neither improves the inertia; returns medoids, labels and inertia."""
        from scipy.spatial.distance import cdist

        inertia = np.inf
        for _ in range(self.max_iter):
            medoids = medoids[canonical_order(X[medoids])]
            distances = cdist(X[medoids], X)
            labels = distances.argmin(axis=0)
            before, inertia = inertia, float(weights @ distances.min(axis=0))
            if inertia >= before:
                break
            best, medoids = (medoids, labels, inertia), medoids.copy()
            for cluster in np.unique(labels):
                members = np.flatnonzero(labels == cluster)
                medoids[cluster] = members[medoid(X[members], weights[members])]
        return best


def medoid(points: FloatArray, weights: FloatArray) -> int:
    """Returns the index of the point with the least weighted sum of distances to all of `points` (points, features).

    The result is exact without computing all distances. The sum is a convex function of the place, so it is nowhere
    below its tangent plane at any point tried (Kelley 1960), and the planes of a few points rule most others out.
    """
    from scipy.spatial.distance import cdist

    if len(points) <= _TRIED_WITHOUT_BOUNDS:
        return int((cdist(points, points) @ weights).argmin())
    best, least = 0, np.inf
    bounds = np.zeros(len(points))
    moments = np.column_stack([weights, weights[:, None] * points])
    # The points nearest to the mean are tried first, then those with the lowest bounds.
    promise = cdist(points, np.average(points, axis=0, weights=weights)[None])[:, 0]
    while True:
        tried = np.argpartition(promise, _TRIED_AT_ONCE)[:_TRIED_AT_ONCE]
        tried = np.sort(tried[bounds[tried] < least])
        if not len(tried):
            return best
        distances = cdist(points[tried], points)
        sums = distances @ weights
        if sums.min() < least:
            best, least = int(tried[sums.argmin()]), float(sums.min())
        # A point does not add to the slope at its own place.
        pulls = np.divide(1.0, distances, out=np.zeros_like(distances), where=distances > 0) @ moments
        slopes = pulls[:, :1] * points[tried] - pulls[:, 1:]
        planes = slopes @ points.T + (sums - (slopes * points[tried]).sum(axis=1))[:, None]
        np.maximum(bounds, planes.max(axis=0), out=bounds)
        bounds[tried] = np.inf
        promise = bounds
