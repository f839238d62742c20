"""Bisecting KMeans on weighted cells: scikit-learn's, with the number of customers in each cell as sample weight."""

from __future__ import annotations

import time
import warnings
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, ClassVar

import numpy as np

from seg_pipeline.models.coreset import Coreset, FloatArray, IntArray
from seg_pipeline.models.model import ClusterModel, NearestCell, feasible, model_from_labels, single_threaded

# Starts for each bisection: two centres have few local optima.
_MAX_STARTS = 3


class BisectingKMeansAlgorithm(NearestCell):
    """Splits the cluster of the largest inertia in two by KMeans until there are k clusters (Steinbach et al. 2000).

    A customer belongs where the splits lead, which need not be the nearest centre, so the nearest cell decides.
    """

    name = "bisecting_kmeans"
    title = "Bisecting KMeans"
    refit_options: ClassVar[Mapping[str, Any]] = {"n_init": 1, "cells": 6000}
    has_gap = True
    is_random = True

    @single_threaded()
    def fit_range(self, coreset: Coreset, ks: Sequence[int], *, seed: int, n_init: int) -> list[ClusterModel]:
        """Fits one model for each k that the splits reach; one run to the largest k serves all."""
        reachable = feasible(ks, coreset)
        started = time.perf_counter()
        splits = bisections(coreset, max(reachable, default=1), seed=seed, n_init=min(n_init, _MAX_STARTS))
        labels_at = dict(enumerate(splits, start=1))
        seconds = time.perf_counter() - started
        return [model_from_labels(self.name, coreset, labels_at[k], seconds) for k in reachable if k in labels_at]


def bisections(coreset: Coreset, k: int, *, seed: int, n_init: int) -> Iterator[IntArray]:
    """Yields the labels (cells,) of 1, 2, ... clusters, up to `k` or until no cluster can be split.

    For each number of clusters the labels are those of scikit-learn's `BisectingKMeans`, which reports only the last.
    Here it makes one split at a time, with the same random numbers.
    """
    from sklearn.cluster import BisectingKMeans
    from sklearn.exceptions import ConvergenceWarning

    estimator = BisectingKMeans(
        n_clusters=2, init="k-means++", n_init=n_init, random_state=np.random.RandomState(seed), tol=0.0
    )
    labels = np.zeros(len(coreset.points), dtype=np.int64)
    yield labels
    # In the order of the tree's leaves: of several with the same inertia, the first is split.
    names, inertias = [0], [np.inf]
    while len(names) < k:
        widest = int(np.argmax(inertias))
        members = np.flatnonzero(labels == names[widest])
        if inertias[widest] == 0.0 or len(members) < 2:
            return
        points, weights = coreset.points[members], coreset.weights[members]
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)  # the points are too close to tell apart
            second = estimator.fit(points, sample_weight=weights).labels_ == 1
        if second.all() or not second.any():
            return
        labels = labels.copy()
        labels[members[second]] = len(names)
        names[widest : widest + 1] = [names[widest], len(names)]
        inertias[widest : widest + 1] = [_inertia(points[part], weights[part]) for part in (~second, second)]
        yield labels


def _inertia(points: FloatArray, weights: FloatArray) -> float:
    """Returns the weighted sum of squared distances of points (points, features) to their mean."""
    return float(weights @ ((points - np.average(points, axis=0, weights=weights)) ** 2).sum(axis=1))
