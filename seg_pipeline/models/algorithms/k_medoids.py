"""K-medoids on weighted cells: each cluster is represented by one of its own cells, and distances are not squared.

Less drawn to extremes than KMeans. scikit-learn has none; hence this one.
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

# Starts for each k.
_MAX_STARTS = 5
# Cells tried at once as a medoid; of so few in a cluster all are.
_TRIED_AT_ONCE = 16
_TRIED_WITHOUT_BOUNDS = 100


class KMedoidsAlgorithm(FitsEachK, NearestCenter):
    """The best of a few starts of k-medoids; the centres of the model are the medoids."""

    name = "k_medoids"
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
    """K-medoids over weighted points: the sum of distances to the nearest medoid, by weight, is brought down.

    Points go to their nearest medoid and the medoid to the point with the least sum of distances in its cluster, in
    turns (Park & Jun 2009), from k-means++ starts. Memory is linear in the points.

    Parameters
    ----------
    n_clusters : int
    n_init : int
        Starts, of which the best is kept.
    random_state : int
    max_iter : int

    Attributes
    ----------
    medoid_indices_ : (k,)
        Numbered by the medoids' first coordinate, then the next.
    labels_ : (points,)
    inertia_ : float
        Weighted sum of distances to the nearest medoid.
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
        """Fit to `X` (points, features) with weights (points,) above zero, one each if absent."""
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
        """Medoids, labels and inertia where neither step improves on them."""
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
    """Index of the point with the least weighted sum of distances to all of `points` (points, features).

    Exact without all distances: the sum is a convex function of the place, nowhere below its tangent plane at any
    point tried (Kelley 1960), and the planes of a few rule most points out.
    """
    from scipy.spatial.distance import cdist

    if len(points) <= _TRIED_WITHOUT_BOUNDS:
        return int((cdist(points, points) @ weights).argmin())
    best, least = 0, np.inf
    bounds = np.zeros(len(points))
    moments = np.column_stack([weights, weights[:, None] * points])
    # First those nearest to the mean, then those that promise most.
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
        # What lies at the very place pulls nowhere.
        pulls = np.divide(1.0, distances, out=np.zeros_like(distances), where=distances > 0) @ moments
        slopes = pulls[:, :1] * points[tried] - pulls[:, 1:]
        planes = slopes @ points.T + (sums - (slopes * points[tried]).sum(axis=1))[:, None]
        np.maximum(bounds, planes.max(axis=0), out=bounds)
        bounds[tried] = np.inf
        promise = bounds
