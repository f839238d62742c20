"""Bisecting KMeans on weighted cells: scikit-learn's, told each cell's customers as sample weights."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from typing import Any, ClassVar

from seg_pipeline.models.coreset import Coreset
from seg_pipeline.models.model import ClusterModel, FitsEachK, NearestCell, model_from_labels

# Starts for each bisection: two centres have few local optima.
_MAX_STARTS = 3


class BisectingKMeansAlgorithm(FitsEachK, NearestCell):
    """The cluster of the largest inertia is split in two by KMeans until there are k (Steinbach et al. 2000).

    A customer belongs where the splits lead, which need not be the nearest centre; hence the nearest cell decides.
    """

    name = "bisecting_kmeans"
    title = "Bisecting KMeans"
    refit_options: ClassVar[Mapping[str, Any]] = {"n_init": 1, "cells": 6000}
    has_gap = True

    def fit(self, coreset: Coreset, k: int, *, seed: int, n_init: int) -> ClusterModel:
        from sklearn.cluster import BisectingKMeans
        from sklearn.exceptions import ConvergenceWarning

        estimator = BisectingKMeans(
            n_clusters=k, init="k-means++", n_init=min(n_init, _MAX_STARTS), random_state=seed, tol=0.0
        )
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)  # fewer clusters than k
            estimator.fit(coreset.points, sample_weight=coreset.weights)
        return model_from_labels(self.name, coreset, estimator.labels_)
