"""KMeans on weighted cells: scikit-learn's, told each cell's customers as sample weights."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np

from seg_pipeline.models.coreset import Coreset, IntArray
from seg_pipeline.models.model import ClusterModel, FitsEachK, NearestCenter, model_from_labels


class KMeansAlgorithm(FitsEachK, NearestCenter):
    """Lloyd's KMeans from k-means++ starts, the best of `n_init`."""

    name = "kmeans"
    title = "KMeans"
    refit_options: ClassVar[Mapping[str, Any]] = {"n_init": 2, "cells": 6000}
    has_gap = True
    is_random = True

    def fit(self, coreset: Coreset, k: int, *, seed: int, n_init: int) -> ClusterModel:
        return model_from_labels(self.name, coreset, kmeans_labels(coreset, k, seed=seed, n_init=n_init))


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
