"""Bisecting KMeans on weighted cells: scikit-learn's, told each cell's customers as sample weights."""

from __future__ import annotations

import time
import warnings
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import numpy as np

from seg_pipeline.models.coreset import Coreset
from seg_pipeline.models.model import ClusterModel, NearestCell, feasible, model_from_labels, single_threaded

# Starts for each bisection: two centres have few local optima.
_MAX_STARTS = 3


class BisectingKMeansAlgorithm(NearestCell):
    """The cluster of the largest inertia is split in two by KMeans until there are k (Steinbach et al. 2000).

    A customer belongs where the splits lead, which need not be the nearest centre; hence the nearest cell decides.
    """

    name = "bisecting_kmeans"
    title = "Bisecting KMeans"
    refit_options: ClassVar[Mapping[str, Any]] = {"n_init": 1}
    has_gap = True

    @single_threaded()
    def fit_range(self, coreset: Coreset, ks: Sequence[int], *, seed: int, n_init: int) -> list[ClusterModel]:
        """One model for each k; a k is left out if the cells are too few, or too close, to fill as many clusters."""
        from sklearn.cluster import BisectingKMeans
        from sklearn.exceptions import ConvergenceWarning

        models = []
        for k in feasible(ks, coreset):
            started = time.perf_counter()
            estimator = BisectingKMeans(
                n_clusters=k, init="k-means++", n_init=min(n_init, _MAX_STARTS), random_state=seed, tol=0.0
            )
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", ConvergenceWarning)
                estimator.fit(coreset.points, sample_weight=coreset.weights)
            labels = estimator.labels_.astype(np.int64)
            if len(np.unique(labels)) == k:
                models.append(model_from_labels(self.name, coreset, labels, time.perf_counter() - started))
        return models
