"""KMeans on weighted cells: scikit-learn's, with the number of customers in each cell as sample weight."""

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


def kmeans_labels(coreset: Coreset, k: int, *, seed: int, n_init: int, max_iter: int = 300) -> IntArray:
    """Returns the labels (cells,) of the best of `n_init` runs of KMeans, each of at most `max_iter` iterations.

    There are fewer than k different labels if cells lie too close to tell apart.
    """
    from sklearn.cluster import KMeans
    from sklearn.exceptions import ConvergenceWarning

    # Unless max_iter ends it, tol=0 runs to the fixed point, where each cell's centre is the nearest one, and each
    # centre is its cells' mean.
    estimator = KMeans(n_clusters=k, n_init=n_init, random_state=seed, tol=0.0, max_iter=max_iter)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # fewer than k clusters; the labels show it
        estimator.fit(coreset.points, sample_weight=coreset.weights)
    labels: IntArray = estimator.labels_.astype(np.int64)
    return labels
