"""What a model is, what every algorithm must be able to do, and what algorithms of one kind share.

Nothing here knows a particular algorithm.
"""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cache
from typing import TYPE_CHECKING, Any, ClassVar, Protocol

import numpy as np
import numpy.typing as npt

from seg_pipeline.features.transforms import apply_transforms, invert_transforms
from seg_pipeline.models.coreset import Coreset, FloatArray, IntArray, group_means
from seg_pipeline.models.explanation import Comparison, FeatureChanges, QuintileLookup

if TYPE_CHECKING:
    import pandas as pd
    from threadpoolctl import ThreadpoolController

# Rows handled at once when every customer is labelled: bounds memory, whatever the number of customers.
ROWS_AT_ONCE = 65_536
# Values of a feature to try between those of the cells, which may lie far apart.
EVEN_VALUES = 500


@dataclass(frozen=True, slots=True)
class ClusterModel:
    """A fitted model as plain numbers.

    Clusters are numbered by the first coordinate of their centre, then the next, so that the same fit always carries
    the same numbers.

    Attributes:
        algorithm: Name of the algorithm.
        k: Number of clusters; a component of a mixture may be no customer's most probable one.
        centers: Mean (k, features) of each cluster's customers in transformed units; the mean of each component of a
            mixture, and the medoids of k-medoids.
        weights: Share (k,) of customers in each cluster; the weight of each component of a mixture.
        covariances: Covariances (k, features, features) of a mixture; else None.
        cell_labels: Cluster (cells,) of each cell of the coreset.
        log_likelihood: Mean log-likelihood per customer of a mixture; else None.
        bic: Bayesian information criterion of a mixture, lower is better; else None.
        fit_seconds: Time of the fit. If one tree serves every k, the time of the tree; if all mixtures are fitted
            together, an even part of their time.
        noise: Number of the cluster of noise points (customers HDBSCAN put in no dense cluster); None without one.
    """

    algorithm: str
    k: int
    centers: FloatArray
    weights: FloatArray
    covariances: FloatArray | None
    cell_labels: IntArray
    log_likelihood: float | None
    bic: float | None
    fit_seconds: float
    noise: int | None = None


class Algorithm(Protocol):
    """A way of clustering: it fits a range of k on a coreset, labels any customers afterwards and explains its labels.

    Algorithms that find their clusters in the modelling features inherit from `Clustering`.

    Attributes:
        name: Its name in settings and tables.
        title: Its name in charts and the report.
        kind: What computes it, as the UI shows it.
        is_baseline: Whether the other algorithms must beat it. The baseline is always fitted, is never ranked, has no
            gates to pass, and is chosen only if a setting says so or nothing else is left.
        cluster_names: Names of its clusters, by number, if they are known before any customer is seen; else empty.
        has_stability: Whether other customers would give other clusters, which is what stability measures.
        refit_options: What a refit that measures stability passes to `fit_range`, and the most "cells" it runs on: just
            enough effort for the figure to measure the customers drawn and neither the starts nor the cells.
        has_gap: Whether it minimises the dispersion within clusters, which is what the gap statistic compares.
        is_random: Whether another seed can give another model.
    """

    name: str
    title: str
    kind: str
    is_baseline: bool
    cluster_names: tuple[str, ...]
    has_stability: bool
    refit_options: ClassVar[Mapping[str, Any]]
    has_gap: bool
    is_random: bool

    def fit_range(self, coreset: Coreset, ks: Sequence[int], *, seed: int, n_init: int) -> list[ClusterModel]:
        """Fits one model for each k, in the order of `ks`; a k that the cells cannot fill is left out.

        An algorithm that finds its own number of clusters returns one model whatever `ks`. All k come at once, because
        one tree may serve every k. `seed` and `n_init` (starts for each k) matter only to algorithms that start at
        random.
        """
        ...

    def predict(self, model: ClusterModel, points: FloatArray, coreset: Coreset) -> tuple[IntArray, FloatArray]:
        """Returns the cluster of each of `points` (rows, features) and the confidence in it, 0 to 1; both (rows,).

        `coreset` is the one that the model was fitted on.
        """
        ...

    def label(self, models: Sequence[ClusterModel], points: FloatArray, coreset: Coreset) -> list[IntArray]:
        """Returns the clusters (rows,) that `predict` returns with each of `models`, all fitted on `coreset`."""
        ...

    def columns(self, transforms: pd.DataFrame) -> list[str]:
        """Returns the columns of rfm_features that decide a customer's cluster.

        `transforms` are the rows of feature_transforms.
        """
        ...

    def points_of(self, customers: pd.DataFrame, transforms: pd.DataFrame) -> FloatArray:
        """Returns the points that `predict` takes for customers; `customers` has the columns named by `columns`."""
        ...

    def as_champion(self, model: ClusterModel, coreset: Coreset) -> ClusterModel:
        """Returns the model with its cells labelled by the numbers that `predict` gives."""
        ...

    def explain(self, model: ClusterModel, point: FloatArray, coreset: Coreset) -> Comparison:
        """Explains why `predict` puts one customer's point (1, features) where it does."""
        ...

    def changes_to_try(self, transforms: pd.DataFrame, coreset: Coreset, quintiles: QuintileLookup) -> FeatureChanges:
        """Returns the changes that may move a customer to another cluster.

        Args:
            transforms: The rows of feature_transforms.
            coreset: The coreset that the model was fitted on.
            quintiles: Returns the night's cut points of a feature.
        """
        ...


def model_from_labels(
    algorithm: str,
    coreset: Coreset,
    labels: npt.NDArray[np.generic],
    fit_seconds: float = 0.0,
    *,
    centers: FloatArray | None = None,
) -> ClusterModel:
    """Makes a model from a hard clustering of the cells.

    Args:
        algorithm: Name of the algorithm.
        coreset: The cells.
        labels: Number or name (cells,) of each cell's cluster; k is the number of different ones.
        fit_seconds: Time of the fit.
        centers: Centre (labels, features) of each label, if labels are numbers; the means of the clusters if None.
    """
    names, clusters = np.unique(labels, return_inverse=True)
    weights, means = group_means(clusters, coreset.weights, coreset.points)
    centers = means if centers is None else centers[names]
    order = canonical_order(centers)
    return ClusterModel(
        algorithm=algorithm,
        k=len(weights),
        centers=centers[order],
        weights=weights[order] / weights.sum(),
        covariances=None,
        cell_labels=np.argsort(order)[clusters],
        log_likelihood=None,
        bic=None,
        fit_seconds=fit_seconds,
    )


def canonical_order(centers: FloatArray) -> IntArray:
    """Returns the order (k,) of the centres (k, features) by their first coordinate, then the next."""
    return np.lexsort(centers.T[::-1])


def feasible(ks: Sequence[int], coreset: Coreset) -> list[int]:
    """Returns the numbers of clusters among `ks` that the cells can fill.

    Raises:
        ValueError: One of `ks` is below 1.
    """
    if any(k < 1 for k in ks):
        raise ValueError(f"k is {min(ks)}: a clustering has at least one cluster")
    return [k for k in ks if k <= len(coreset.points)]


@contextmanager
def single_threaded() -> Iterator[None]:
    """Limits BLAS and OpenMP to one thread, so that sums are added in the same order on every machine."""
    with _thread_pools().limit(limits=1):
        yield


@cache
def _thread_pools() -> ThreadpoolController:
    # The limit does not reach libraries that are loaded later, so those with thread pools are loaded first. Cached,
    # because the search for thread pools takes longer than a small fit.
    import sklearn.cluster  # noqa: F401
    from threadpoolctl import ThreadpoolController

    return ThreadpoolController()


class Clustering:
    """Base of the algorithms that find their clusters in the modelling features."""

    kind = "scikitlearn"
    is_baseline = False
    cluster_names: tuple[str, ...] = ()
    has_stability = True

    def columns(self, transforms: pd.DataFrame) -> list[str]:
        """Returns the modelling features."""
        return [str(feature) for feature in transforms["feature"]]

    def points_of(self, customers: pd.DataFrame, transforms: pd.DataFrame) -> FloatArray:
        """Returns the customers in transformed units."""
        return apply_transforms(customers, transforms)

    def as_champion(self, model: ClusterModel, coreset: Coreset) -> ClusterModel:
        """Returns the model as it is."""
        return model

    def changes_to_try(self, transforms: pd.DataFrame, coreset: Coreset, quintiles: QuintileLookup) -> FeatureChanges:
        """Returns the values of the modelling features at the cells, and evenly spaced values between them."""
        cells = invert_transforms(coreset.points, transforms)
        return FeatureChanges(
            {
                str(name): np.append(values, np.linspace(values.min(), values.max(), EVEN_VALUES))
                for name, values in cells.items()
            },
            lambda rows: rows,
        )


class FitsEachK(ABC):
    """Fits each k by itself, for algorithms whose models for different k have nothing in common."""

    name: str

    @single_threaded()
    def fit_range(self, coreset: Coreset, ks: Sequence[int], *, seed: int, n_init: int) -> list[ClusterModel]:
        """Fits one model for each k, except where the cells are too few or too close together for k clusters."""
        models = []
        for k in feasible(ks, coreset):
            started = time.perf_counter()
            model = self.fit(coreset, k, seed=seed, n_init=n_init)
            if model.k == k:
                models.append(replace(model, fit_seconds=time.perf_counter() - started))
        return models

    @abstractmethod
    def fit(self, coreset: Coreset, k: int, *, seed: int, n_init: int) -> ClusterModel:
        """Fits the model for one k; it has fewer clusters if the cells cannot fill k."""


class NearestCenter(Clustering):
    """Base of the algorithms whose clusters are the regions around their centres."""

    @single_threaded()
    def predict(self, model: ClusterModel, points: FloatArray, coreset: Coreset) -> tuple[IntArray, FloatArray]:
        """Returns the nearest centre, and its margin over the second nearest (see `center_margin`)."""
        return center_margin(points, model.centers)

    @single_threaded()
    def label(self, models: Sequence[ClusterModel], points: FloatArray, coreset: Coreset) -> list[IntArray]:
        """Returns the nearest centre by each model."""
        return [nearest_centers(points, model.centers) for model in models]

    def explain(self, model: ClusterModel, point: FloatArray, coreset: Coreset) -> Comparison:
        """Compares the distances to the centres, which decide."""
        distances = center_distances(model, point)
        return Comparison(
            "the nearest centre",
            order=np.argsort(distances, kind="stable"),
            distances=distances,
        )


class NearestCell(Clustering):
    """Base of the algorithms whose clusters may have any shape."""

    @single_threaded()
    def predict(self, model: ClusterModel, points: FloatArray, coreset: Coreset) -> tuple[IntArray, FloatArray]:
        """Returns the cluster of the nearest cell, and the margin of that cluster's centre (see `center_margin`).

        If the centre of another cluster is nearer, confidence is 0.
        """
        [labels] = self.label([model], points, coreset)
        return center_margin(points, model.centers, labels)

    @single_threaded()
    def label(self, models: Sequence[ClusterModel], points: FloatArray, coreset: Coreset) -> list[IntArray]:
        """Returns the cluster of the nearest cell by each model; the nearest cells are looked up once for all."""
        from scipy.spatial import cKDTree

        nearest_cell = cKDTree(coreset.points).query(points)[1]
        return [model.cell_labels[nearest_cell] for model in models]

    def explain(self, model: ClusterModel, point: FloatArray, coreset: Coreset) -> Comparison:
        """Compares the distances to the nearest cell of each cluster, which decide, beside those to the centres."""
        from scipy.spatial.distance import cdist

        to_cells = cdist(point, coreset.points)[0]
        nearest = np.array([to_cells[model.cell_labels == cluster].min(initial=np.inf) for cluster in range(model.k)])
        return Comparison(
            "the cluster of the nearest cell",
            order=np.argsort(nearest, kind="stable"),
            distances=center_distances(model, point),
            nearest_cells=nearest,
        )


def center_distances(model: ClusterModel, point: FloatArray) -> FloatArray:
    """Returns the distance (k,) of one point (1, features) to each centre."""
    from scipy.spatial.distance import cdist

    distances: FloatArray = cdist(point, model.centers)[0]
    return distances


def nearest_centers(points: FloatArray, centers: FloatArray) -> IntArray:
    """Returns the index (rows,) of the centre nearest to each of `points` (rows, features)."""
    from scipy.spatial.distance import cdist

    labels = np.empty(len(points), dtype=np.int64)
    for start in range(0, len(points), ROWS_AT_ONCE):
        rows = slice(start, start + ROWS_AT_ONCE)
        labels[rows] = cdist(points[rows], centers).argmin(axis=1)
    return labels


def center_margin(
    points: FloatArray, centers: FloatArray, labels: IntArray | None = None
) -> tuple[IntArray, FloatArray]:
    """Returns `labels` (rows,), or the nearest centres if None, and the confidence (rows,) in them.

    Confidence is max(0, 1 - own / other), from the distances to the own centre and to the nearest other one: 1 at the
    own centre, 0 halfway to another and beyond. It is the simplified silhouette (centres in place of members; Hruschka,
    Campello & de Castro 2006) without its negative side. With a single cluster it is 1.
    """
    from scipy.spatial.distance import cdist

    clusters = np.empty(len(points), dtype=np.int64)
    confidence = np.ones(len(points))
    for start in range(0, len(points), ROWS_AT_ONCE):
        rows = slice(start, start + ROWS_AT_ONCE)
        distances = cdist(points[rows], centers)
        clusters[rows] = distances.argmin(axis=1) if labels is None else labels[rows]
        if len(centers) == 1:
            continue
        own_column = clusters[rows, None]
        own = np.take_along_axis(distances, own_column, axis=1)[:, 0]
        np.put_along_axis(distances, own_column, np.inf, axis=1)
        other = distances.min(axis=1)
        # If the two nearest centres are the same point, the ratio is 1, so the confidence is 0.
        ratio = np.divide(own, other, out=np.ones_like(own), where=other > 0)
        confidence[rows] = np.clip(1.0 - ratio, 0.0, 1.0)
    return clusters, confidence
