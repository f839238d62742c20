"""KMeans on weighted cells: scikit-learn's, told each cell's customers as sample weights."""

from __future__ import annotations

import time
import warnings
from collections.abc import Sequence

import numpy as np

from seg_pipeline.models.coreset import Coreset, FloatArray, IntArray
from seg_pipeline.models.model import (
    ClusterModel,
    center_margin,
    feasible,
    model_from_labels,
    nearest_centers,
    single_threaded,
)


class KMeansAlgorithm:
    """Lloyd's KMeans from k-means++ starts, the best of `n_init`."""

    name = "kmeans"
    title = "KMeans"

    @single_threaded()
    def fit_range(self, coreset: Coreset, ks: Sequence[int], *, seed: int, n_init: int) -> list[ClusterModel]:
        """One model for each k; a k is left out if the cells are too few, or too close, to fill as many clusters."""
        models = []
        for k in feasible(ks, coreset):
            started = time.perf_counter()
            labels = kmeans_labels(coreset, k, seed=seed, n_init=n_init)
            if len(np.unique(labels)) == k:
                models.append(model_from_labels(self.name, coreset, labels, time.perf_counter() - started))
        return models

    @single_threaded()
    def predict(self, model: ClusterModel, points: FloatArray, coreset: Coreset) -> tuple[IntArray, FloatArray]:
        """The nearest centre, and its margin over the second nearest (see `center_margin`)."""
        labels = nearest_centers(points, model.centers)
        return labels, center_margin(points, model.centers, labels)


def kmeans_labels(coreset: Coreset, k: int, *, seed: int, n_init: int) -> IntArray:
    """Labels (cells,) of the best of `n_init` KMeans runs; fewer than k where cells lie too close to tell apart."""
    from sklearn.cluster import KMeans
    from sklearn.exceptions import ConvergenceWarning

    # Run to the fixed point (tol=0): every cell's centre is then its nearest, and every centre its cells' mean.
    estimator = KMeans(n_clusters=k, n_init=n_init, random_state=seed, tol=0.0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # fewer clusters than k: the caller sees it in the labels
        estimator.fit(coreset.points, sample_weight=coreset.weights)
    labels: IntArray = estimator.labels_.astype(np.int64)
    return labels
