"""HDBSCAN on weighted cells: clusters of any shape where customers are dense, noise where they are not.

It is implemented here because scikit-learn's takes no weights.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, ClassVar

import numpy as np

from seg_pipeline.models.coreset import Coreset, FloatArray, IntArray
from seg_pipeline.models.model import ClusterModel, NearestCell, model_from_labels, single_threaded

# A dense cluster has at least this share of the customers, and at least this many; the noise may be smaller.
_SMALLEST_SHARE = 0.02
_SMALLEST_CLUSTER = 5
# The number of neighbours to look at first, and of distances in memory at once.
_NEIGHBOURS = 128
_PAIRS_AT_ONCE = 500_000


class HDBSCANAlgorithm(NearestCell):
    """Fits one model with as many clusters as the density shows; noise points are a cluster of their own.

    The cluster of noise is numbered by its mean, like any other. It lies around the others, so its mean is often within
    one of them, and the confidence of its customers is low.
    """

    name = "hdbscan"
    kind = "numpy"
    title = "HDBSCAN"
    refit_options: ClassVar[Mapping[str, Any]] = {"n_init": 1, "cells": 2000}
    has_gap = False
    is_random = False

    @single_threaded()
    def fit_range(self, coreset: Coreset, ks: Sequence[int], *, seed: int, n_init: int) -> list[ClusterModel]:
        """Returns one model whatever `ks`, or none if the density does not show two clusters; nothing is random here.

        k is the number of clusters, plus one if there is noise.
        """
        started = time.perf_counter()
        customers = float(coreset.weights.sum())
        smallest = max(_SMALLEST_CLUSTER, _SMALLEST_SHARE * customers)
        if customers < 2 * smallest:
            return []
        labels = WeightedHDBSCAN(smallest).fit(coreset.points, coreset.weights).labels_
        if labels.max() < 0:
            return []
        model = model_from_labels(self.name, coreset, labels, time.perf_counter() - started)
        noise = model.cell_labels[labels < 0]
        return [replace(model, noise=int(noise[0]) if len(noise) else None)]


class WeightedHDBSCAN:
    """HDBSCAN over weighted points (Campello, Moulavi & Sander 2013; McInnes & Healy 2017).

    A point of weight w stands for w equal points. Memory is linear in the points, time quadratic. All parts that
    separate at the same distance separate at once, as in Campello et al., so the result does not depend on the order of
    the points. In scikit-learn they separate one after the other, so a point that holds two clusters together may count
    as a member of one of them; here it is noise.

    Args:
        min_cluster_size: Weight below which a group is not a cluster.
        min_samples: Weight, including the point's own, within a point's core distance; `min_cluster_size` if None.

    Attributes:
        labels_: Cluster (points,) of each point: 0, 1, ..., or -1 for noise. The set of all points is never one
            cluster.
    """

    labels_: IntArray

    def __init__(self, min_cluster_size: float = 5, *, min_samples: float | None = None) -> None:
        self.min_cluster_size = min_cluster_size
        self.min_samples = min_samples

    def fit(self, X: FloatArray, sample_weight: FloatArray | None = None) -> WeightedHDBSCAN:
        """Fits to `X` (points, features) with weights (points,) above zero; all weights are 1 if None.

        Raises:
            ValueError: `min_samples` exceeds the total weight.
        """
        weights = np.ones(len(X)) if sample_weight is None else np.asarray(sample_weight, dtype=np.float64)
        min_samples = self.min_cluster_size if self.min_samples is None else self.min_samples
        if min_samples > weights.sum():
            raise ValueError(f"min_samples = {min_samples} exceeds the total weight, {weights.sum()}")
        self.labels_ = np.full(len(X), -1)
        cores = _core_squares(X, weights, min_samples)
        edges, reaches = _spanning_tree(X, cores)
        if len(X) == 1 or reaches.max() == 0:
            return self
        # A point as heavy as min_samples has core distance 0 and infinite density; the floor makes densities finite.
        floor = np.finfo(np.float64).eps * np.sqrt(reaches.max())
        tree = _Tree(np.maximum(np.sqrt(cores), floor), weights)
        for edge in np.argsort(reaches, kind="stable"):
            one, other = edges[edge].tolist()
            tree.join(one, other, max(float(np.sqrt(reaches[edge])), floor))
        cluster_of_point, parents, stabilities = tree.condense(self.min_cluster_size)
        chosen = _excess_of_mass(parents, stabilities)[cluster_of_point]
        clustered = chosen >= 0
        self.labels_[clustered] = np.unique(chosen[clustered], return_inverse=True)[1]
        return self


class _Tree:
    """The single linkage tree of points, in which nodes of the same height are merged into one.

    The first nodes are the points. A point's height is its core distance, below which it is not a component.
    """

    def __init__(self, core_distances: FloatArray, weights: FloatArray) -> None:
        self._n_points = len(weights)
        self._heights: list[float] = core_distances.tolist()
        self._weights: list[float] = weights.tolist()
        self._children: list[list[int]] = [[] for _ in weights]
        # A node nearer to the top of each node's component; a top has itself.
        self._above = list(range(len(weights)))

    def join(self, one: int, other: int, height: float) -> None:
        """Joins the components of two points at a height that is no lower than any before."""
        one, other = self._top(one), self._top(other)
        node = len(self._above)
        self._heights.append(height)
        self._weights.append(self._weights[one] + self._weights[other])
        # A node of the same height is merged into the new one, which takes over its children.
        kept, added = (
            self._children[part] if self._children[part] and self._heights[part] == height else [part]
            for part in (one, other)
        )
        if len(kept) < len(added):
            kept, added = added, kept
        kept += added
        self._children.append(kept)
        self._above.append(node)
        self._above[one] = self._above[other] = node

    def _top(self, node: int) -> int:
        while self._above[node] != node:
            self._above[node] = node = self._above[self._above[node]]
        return node

    def condense(self, min_cluster_size: float) -> tuple[IntArray, IntArray, FloatArray]:
        """Condenses the tree: a cluster splits only if two or more parts are large enough, else it loses weight.

        Returns:
            The last cluster (points,) that each point was in; the cluster (clusters,) that each cluster splits from,
            which is numbered before it, and -1 for the first, which holds all points; and the stability (clusters,) of
            each cluster: its weight times the range of density (1 / height) over which it holds, summed.
        """
        cluster_of = np.zeros(len(self._above), dtype=np.int64)
        parents, births, stabilities = [-1], [0.0], [0.0]
        to_visit = [(self._top(0), 0, True)]
        while to_visit:
            node, cluster, is_cluster = to_visit.pop()
            cluster_of[node] = cluster
            height, children = self._heights[node], self._children[node]
            large = []
            if is_cluster:
                large = [
                    child
                    for child in children
                    if self._weights[child] >= min_cluster_size and self._heights[child] < height
                ]
                leaving = self._weights[node] - (self._weights[large[0]] if len(large) == 1 else 0.0)
                stabilities[cluster] += leaving * (1.0 / height - births[cluster])
            for child in children:
                inside = cluster
                if child in large and len(large) > 1:
                    inside = len(parents)
                    parents.append(cluster)
                    births.append(1.0 / height)
                    stabilities.append(0.0)
                to_visit.append((child, inside, child in large))
        return cluster_of[: self._n_points], np.array(parents), np.array(stabilities)


def _excess_of_mass(parents: IntArray, stabilities: FloatArray) -> IntArray:
    """Chooses clusters; returns the chosen cluster (clusters,) that each cluster is in, or -1.

    No chosen cluster is within another, the sum of their stabilities is the largest possible, and the first cluster,
    which holds all points, is not chosen.
    """
    best, below = stabilities.copy(), np.zeros_like(stabilities)
    for cluster in range(len(parents) - 1, 0, -1):
        best[cluster] = max(stabilities[cluster], below[cluster])
        below[parents[cluster]] += best[cluster]
    chosen = np.full(len(parents), -1)
    for cluster in range(1, len(parents)):
        if chosen[parents[cluster]] >= 0:
            chosen[cluster] = chosen[parents[cluster]]
        elif stabilities[cluster] >= below[cluster]:
            chosen[cluster] = cluster
    return chosen


def _core_squares(points: FloatArray, weights: FloatArray, min_samples: float) -> FloatArray:
    """Returns the squared distance (points,) within which the weight, with the point's own, reaches `min_samples`."""
    from scipy.spatial.distance import cdist

    squares = np.zeros(len(points))
    pending = np.flatnonzero(weights < min_samples)
    neighbours = _NEIGHBOURS
    while len(pending):
        neighbours = min(neighbours, len(points))
        short = []
        for rows in np.array_split(pending, 1 + len(pending) * len(points) // _PAIRS_AT_ONCE):
            distances = cdist(points[rows], points, "sqeuclidean")
            nearest = np.argpartition(distances, neighbours - 1, axis=1)[:, :neighbours]
            by_distance = np.take_along_axis(distances, nearest, axis=1).argsort(axis=1)
            nearest = np.take_along_axis(nearest, by_distance, axis=1)
            reached = np.cumsum(weights[nearest], axis=1) >= min_samples
            reached[:, -1] |= neighbours == len(points)  # all points reach it; only rounding could say otherwise
            enough = reached[:, -1]
            last = nearest[enough, reached[enough].argmax(axis=1)]
            squares[rows[enough]] = _squares(points[rows[enough]].T, points[last].T)
            short.append(rows[~enough])
        pending = np.concatenate(short)
        neighbours *= 4
    return squares


def _spanning_tree(points: FloatArray, cores: FloatArray) -> tuple[IntArray, FloatArray]:
    """Returns the minimum spanning tree (Prim 1957) by mutual reachability.

    The reach of two points is the largest of their distance and both core distances.

    Args:
        points: The points (points, features).
        cores: Squared core distance (points,) of each point.

    Returns:
        The edges (points - 1, 2) and their squared reaches (points - 1,).
    """
    n_points = len(points)
    edges, reaches = np.empty((n_points - 1, 2), dtype=np.int64), np.empty(n_points - 1)
    # The first `left` places hold the points outside the tree, each with its nearest point in the tree. When a point
    # joins, the last of them takes its place.
    names, columns, cores = np.arange(n_points), np.array(points.T, order="C"), cores.copy()
    nearest, reach = np.zeros(n_points, dtype=np.int64), np.full(n_points, np.inf)
    joining = 0
    for edge, left in enumerate(range(n_points - 1, 0, -1)):
        name, point, core = names[joining], columns[:, joining, None].copy(), cores[joining]
        for values in (names, columns, cores, nearest, reach):
            values[..., joining] = values[..., left]
        candidates = np.maximum(_squares(columns[:, :left], point), np.maximum(cores[:left], core))
        closer = candidates < reach[:left]
        reach[:left][closer], nearest[:left][closer] = candidates[closer], name
        joining = int(reach[:left].argmin())
        edges[edge], reaches[edge] = (nearest[joining], names[joining]), reach[joining]
    return edges, reaches


def _squares(columns: FloatArray, others: FloatArray) -> FloatArray:
    """Returns the squared distances of points (features, points), always summed in the same order.

    Equal distances therefore compare equal.
    """
    squares = np.subtract(columns, others, order="C")
    squares *= squares
    total: FloatArray = squares.sum(axis=0)
    return total
