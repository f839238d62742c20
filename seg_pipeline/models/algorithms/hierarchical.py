"""Hierarchical clustering by Ward's criterion on weighted cells, in memory linear in the cells.

It is implemented here because those of scikit-learn and SciPy take no weights and hold all pairwise distances.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import numpy as np

from seg_pipeline.models.coreset import Coreset, FloatArray, IntArray, group_means
from seg_pipeline.models.model import (
    ClusterModel,
    NearestCell,
    feasible,
    model_from_labels,
    nearest_centers,
    single_threaded,
)


class WardAlgorithm(NearestCell):
    """Builds one Ward tree and cuts it at every k; the clusters are consolidated if the coreset is not exact."""

    name = "hierarchical"
    kind = "numpy"
    title = "Hierarchical (Ward)"
    refit_options: ClassVar[Mapping[str, Any]] = {"n_init": 1}
    has_gap = True
    is_random = False

    @single_threaded()
    def fit_range(self, coreset: Coreset, ks: Sequence[int], *, seed: int, n_init: int) -> list[ClusterModel]:
        """Fits one model for each k up to the number of cells; nothing is random here."""
        started = time.perf_counter()
        tree = WeightedWard().fit(coreset.points, coreset.weights)
        tree_seconds = time.perf_counter() - started
        models = []
        for k in feasible(ks, coreset):
            labels = tree.labels_at(k) if coreset.exact else _consolidated(tree.labels_at(k), coreset)
            models.append(model_from_labels(self.name, coreset, labels, tree_seconds))
        return models


def _consolidated(labels: IntArray, coreset: Coreset) -> IntArray:
    """Returns the labels (cells,) after one move of each cell to its nearest centre.

    The labels stay as they are if the moves would empty a cluster. When merges are nearly equal, small
    differences between coresets change their order, and so where the tree cuts. The sum of squares can then be several
    per cent above or below that of the tree of all customers. One step of Lloyd's algorithm never raises it (the
    consolidation of Husson, Josse & Pages 2010); the price is that clusters of different k are not nested.
    """
    moved = nearest_centers(coreset.points, group_means(labels, coreset.weights, coreset.points)[1])
    return moved if len(np.unique(moved)) == len(np.unique(labels)) else labels


class WeightedWard:
    """Ward's tree over weighted points.

    It merges the two clusters whose union raises the within-cluster sum of squares least (Ward 1963). For clusters of
    weights v and w, the rise is v w / (v + w) times the squared distance of their centroids. The merges are found by
    the nearest-neighbour chain (Murtagh & Legendre 2014) on centroids: time is quadratic, memory linear in the points.
    Of equally near neighbours the chain takes its previous link, else the first.

    Attributes:
        heights_: Merge heights (points - 1,), ascending: the square root of twice the rise in the sum of squares, which
            is scikit-learn's `distances_`.
    """

    heights_: FloatArray

    def fit(self, X: FloatArray, sample_weight: FloatArray | None = None) -> WeightedWard:
        """Builds the tree of `X` (points, features) with weights (points,) above zero; all weights are 1 if None."""
        weights = np.ones(len(X)) if sample_weight is None else sample_weight
        survivors, absorbed, rises = _chain_merges(X, weights)
        by_height = np.argsort(rises, kind="stable")
        self._absorbed, self._survivors = absorbed[by_height], survivors[by_height]
        self.heights_ = np.sqrt(2.0 * rises[by_height])
        return self

    def labels_at(self, k: int) -> IntArray:
        """Returns the labels (points,), 0 to k - 1, of the tree cut into k clusters.

        Raises:
            ValueError: k is below 1 or above the number of points.
        """
        n_points = len(self.heights_) + 1
        if not 1 <= k <= n_points:
            raise ValueError(f"a tree of {n_points} points cannot be cut into {k} clusters")
        root = np.arange(n_points)
        root[self._absorbed[: n_points - k]] = self._survivors[: n_points - k]
        while not np.array_equal(root, root[root]):
            root = root[root]
        return np.unique(root, return_inverse=True)[1]


def _chain_merges(points: FloatArray, weights: FloatArray) -> tuple[IntArray, IntArray, FloatArray]:
    """Finds Ward's merges by the nearest-neighbour chain.

    A cluster goes by the name of one of its points.

    Returns:
        For each merge (points - 1,), the name that survives, the name that is absorbed, and the rise of the
        within-cluster sum of squares. The rise is never below that of the merges that a merge builds on.
    """
    n_points = len(points)
    survivors = np.empty(n_points - 1, dtype=np.int64)
    absorbed = np.empty(n_points - 1, dtype=np.int64)
    rises = np.empty(n_points - 1)

    # One slot for each cluster. The slot of an absorbed cluster is moved to infinity, so it is never a neighbour.
    names = np.arange(n_points)
    centroids = np.array(points.T, order="C")
    inverse_weights = 1.0 / weights
    latest_rise = np.zeros(n_points)
    alive = np.ones(n_points, dtype=bool)
    chain: list[int] = []
    merge = 0
    while merge < n_points - 1:
        if not chain:
            chain.append(int(alive.argmax()))
        tip = chain[-1]
        offsets = centroids - centroids[:, tip, None]
        rise = np.einsum("ij,ij->j", offsets, offsets) / (inverse_weights + inverse_weights[tip])
        rise[tip] = np.inf
        nearest = int(rise.argmin())
        if len(chain) == 1 or rise[nearest] < rise[chain[-2]]:
            chain.append(nearest)
            continue

        rise_of_merge = rise[chain[-2]]
        gone, kept = sorted(chain[-2:])
        del chain[-2:]
        survivors[merge], absorbed[merge] = names[kept], names[gone]
        # Rounding could put a merge just below one that it builds on, and the order by height would be wrong.
        rises[merge] = latest_rise[kept] = max(rise_of_merge, latest_rise[gone], latest_rise[kept])
        share_gone = inverse_weights[kept] / (inverse_weights[gone] + inverse_weights[kept])
        centroids[:, kept] += share_gone * (centroids[:, gone] - centroids[:, kept])
        inverse_weights[kept] = inverse_weights[gone] * share_gone
        centroids[:, gone] = np.inf
        alive[gone] = False
        merge += 1

        if 2 * (n_points - merge) < len(alive):
            slot_after = np.cumsum(alive) - 1
            chain = [int(slot_after[slot]) for slot in chain]
            names, inverse_weights, latest_rise = names[alive], inverse_weights[alive], latest_rise[alive]
            centroids = np.ascontiguousarray(centroids[:, alive])
            alive = alive[alive]
    return survivors, absorbed, rises
