"""Gaussian mixtures with full or diagonal covariances, fitted to weighted cells by expectation-maximisation (EM).

It is implemented here because scikit-learn's mixture takes no weights.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from functools import cache
from itertools import islice
from typing import Any, ClassVar, Literal, NamedTuple

import numpy as np

from seg_pipeline.models.algorithms.kmeans import kmeans_labels
from seg_pipeline.models.coreset import Coreset, FloatArray, IntArray
from seg_pipeline.models.explanation import Comparison
from seg_pipeline.models.model import (
    ROWS_AT_ONCE,
    Clustering,
    ClusterModel,
    canonical_order,
    center_distances,
    feasible,
    single_threaded,
)

MAX_STARTS = 5
# The least variance of a component in any direction, where each feature has variance 1. Counts and other tied values
# lie on lines; without a floor a component shrinks onto one, and its likelihood grows without bound. With .01 more fits
# fell below scikit-learn's with the same least variance than with .02, and with .05 a narrow group inside a wide one is
# found less well. It is well above what a default summary of 100,000 customers loses within cells (.001 a feature).
MIN_VARIANCE = 0.02

CovarianceType = Literal["full", "diag"]


class GaussianMixtureAlgorithm(Clustering):
    """Fits mixtures by EM from several KMeans clusterings and keeps the likeliest."""

    name = "gaussian_mixture"
    kind = "numpy"
    title = "Gaussian mixture"
    refit_options: ClassVar[Mapping[str, Any]] = {"n_init": 2, "cells": 1000}
    has_gap = False
    is_random = True
    covariance_type: CovarianceType = "full"

    @single_threaded()
    def fit_range(self, coreset: Coreset, ks: Sequence[int], *, seed: int, n_init: int) -> list[ClusterModel]:
        """Fits one model for each k up to the number of cells, all of them together.

        At most MAX_STARTS of the `n_init` starts are used: short runs show which of them is best.
        """
        started = time.perf_counter()
        mixtures = [
            WeightedGaussianMixture(
                k, covariance_type=self.covariance_type, n_init=min(n_init, MAX_STARTS), random_state=seed
            )
            for k in feasible(ks, coreset)
        ]
        fit_together(mixtures, coreset.points, coreset.weights)
        seconds = time.perf_counter() - started
        return [
            ClusterModel(
                algorithm=self.name,
                k=mixture.n_components,
                centers=mixture.means_,
                weights=mixture.weights_,
                covariances=mixture.covariances_,
                cell_labels=mixture.predict(coreset.points),
                log_likelihood=mixture.score(coreset.points, coreset.weights),
                bic=mixture.bic(coreset.points, coreset.weights),
                fit_seconds=seconds / len(mixtures),
            )
            for mixture in mixtures
        ]

    @single_threaded()
    def predict(self, model: ClusterModel, points: FloatArray, coreset: Coreset) -> tuple[IntArray, FloatArray]:
        """Returns the component of the highest posterior probability, and that probability."""
        posteriors = self.posteriors(model, points)
        return posteriors.argmax(axis=1), posteriors.max(axis=1)

    @single_threaded()
    def label(self, models: Sequence[ClusterModel], points: FloatArray, coreset: Coreset) -> list[IntArray]:
        """Returns the component of the highest posterior probability by each model."""
        return [self.posteriors(model, points).argmax(axis=1) for model in models]

    def explain(self, model: ClusterModel, point: FloatArray, coreset: Coreset) -> Comparison:
        """Compares the posterior probabilities, which decide, beside the distances to the centres."""
        probabilities = self.posteriors(model, point)[0]
        return Comparison(
            "the most probable component of the mixture",
            order=np.argsort(-probabilities, kind="stable"),
            distances=center_distances(model, point),
            probabilities=probabilities,
        )

    @staticmethod
    def posteriors(model: ClusterModel, points: FloatArray) -> FloatArray:
        """Returns the posterior probability (rows, k) of each component."""
        return _posteriors_of(points, _parameters_of(model))


class DiagonalGaussianMixtureAlgorithm(GaussianMixtureAlgorithm):
    """A Gaussian mixture with axis-parallel components: they have fewer parameters, so BIC allows more of them."""

    name = "gaussian_mixture_diagonal"
    title = "Gaussian mixture (diagonal)"
    covariance_type = "diag"


class _Parameters(NamedTuple):
    weights: FloatArray  # (k,)
    means: FloatArray  # (k, features)
    covariances: FloatArray  # (k, features, features)


def _parameters_of(model: ClusterModel) -> _Parameters:
    if model.covariances is None:
        raise ValueError(f"the {model.algorithm} model has no covariances: it is not a Gaussian mixture")
    return _Parameters(model.weights, model.centers, model.covariances)


class WeightedGaussianMixture:
    """Gaussian mixture over weighted points.

    It is fitted by EM (Dempster, Laird & Rubin 1977), in which each point counts by its weight. EM starts from the
    labels of `n_init` KMeans clusterings, every second of them ended early. Every start gets a short run, and the
    likeliest is run to convergence (Biernacki, Celeux & Govaert 2003). Parameters are named as in scikit-learn's
    `GaussianMixture`.

    Args:
        n_components: Number of components, k.
        covariance_type: "full" for any ellipsoid, "diag" for axes parallel to the features.
        n_init: Number of KMeans clusterings to start from.
        random_state: Seed of the first clustering; each further one adds 1.
        min_variance: The least variance of a component in any direction, where each feature has variance 1. The
            likelihood has its maximum under this constraint, so a wider component is not widened further.
        tol: Gain in log-likelihood per unit of weight below which EM has converged.
        short_iter: Iterations of a short run.
        max_iter: The most iterations of the long run.

    Attributes:
        weights_: Weight (k,) of each component.
        means_: Mean (k, features) of each component, in the order of the first coordinate, then the next.
        covariances_: Covariance matrix (k, features, features) of each component, also if only the diagonal is free.
    """

    weights_: FloatArray
    means_: FloatArray
    covariances_: FloatArray

    def __init__(
        self,
        n_components: int,
        *,
        covariance_type: CovarianceType = "full",
        n_init: int = 10,
        random_state: int = 0,
        min_variance: float = MIN_VARIANCE,
        tol: float = 1e-5,
        short_iter: int = 60,
        max_iter: int = 500,
    ) -> None:
        self.n_components = n_components
        self.covariance_type = covariance_type
        self.n_init = n_init
        self.random_state = random_state
        self.min_variance = min_variance
        self.tol = tol
        self.short_iter = short_iter
        self.max_iter = max_iter

    def fit(self, X: FloatArray, sample_weight: FloatArray | None = None) -> WeightedGaussianMixture:
        """Fits to `X` (points, features) with weights (points,) above zero; all weights are 1 if None."""
        fit_together([self], X, np.ones(len(X)) if sample_weight is None else sample_weight)
        return self

    def predict_proba(self, X: FloatArray) -> FloatArray:
        """Returns the posterior probability (points, k) of each component."""
        return _posteriors_of(X, self._parameters)

    def predict(self, X: FloatArray) -> IntArray:
        """Returns the component (points,) of the highest posterior probability."""
        labels: IntArray = self.predict_proba(X).argmax(axis=1)
        return labels

    def score(self, X: FloatArray, sample_weight: FloatArray | None = None) -> float:
        """Returns the log-likelihood per unit of weight."""
        return float(np.average(_expect_points(X, self._parameters)[0], weights=sample_weight))

    def bic(self, X: FloatArray, sample_weight: FloatArray | None = None) -> float:
        """Returns the Bayesian information criterion (Schwarz 1978), where n is the total weight; lower is better."""
        n = float(len(X) if sample_weight is None else sample_weight.sum())
        k, features = self.means_.shape
        per_covariance = features if self.covariance_type == "diag" else features * (features + 1) / 2
        free_parameters = k * per_covariance + k * features + k - 1
        return float(free_parameters * np.log(n) - 2.0 * n * self.score(X, sample_weight))

    @property
    def _parameters(self) -> _Parameters:
        return _Parameters(self.weights_, self.means_, self.covariances_)


def fit_together(mixtures: Sequence[WeightedGaussianMixture], points: FloatArray, weights: FloatArray) -> None:
    """Fits mixtures that differ only in their number of components.

    The runs of EM are independent of each other, but each step updates the parameters of all of them at once.

    Args:
        mixtures: The mixtures; the options of the first hold for all.
        points: The points (points, features).
        weights: Weight (points,) of each point, above zero.
    """
    if not mixtures:
        return
    options = mixtures[0]
    coreset = Coreset.without_spread(points, weights, exact=False)
    centre = np.average(points, axis=0, weights=weights)
    deviations = np.sqrt(np.average((points - centre) ** 2, axis=0, weights=weights))
    scale = np.where(deviations > 0.0, deviations, 1.0)
    em = _EM(
        (points - centre) / scale,
        weights,
        min_variance=options.min_variance,
        diagonal=options.covariance_type == "diag",
        tol=options.tol,
    )

    starts = [
        em.start(_labels_to_start_from(coreset, k, seed=mixture.random_state, start=start), k)
        for mixture in mixtures
        for k in [mixture.n_components]
        for start in range(mixture.n_init)
    ]
    short = iter(em.run(starts, options.short_iter))
    likeliest = [max(islice(short, mixture.n_init), key=lambda run: run[1])[0] for mixture in mixtures]
    for mixture, (fitted, _) in zip(mixtures, em.run(likeliest, options.max_iter), strict=True):
        order = canonical_order(fitted.means)
        mixture.weights_ = fitted.weights[order]
        mixture.means_ = fitted.means[order] * scale + centre
        mixture.covariances_ = fitted.covariances[order] * np.outer(scale, scale)


def _labels_to_start_from(coreset: Coreset, k: int, *, seed: int, start: int) -> IntArray:
    """Returns the labels (cells,) of one KMeans clustering; every second one is ended after one iteration.

    Runs to the end are often alike, and then so are the mixtures that begin there.
    """
    return kmeans_labels(coreset, k, seed=seed + start, n_init=1, max_iter=1 if start % 2 else 300)


class _EM:
    """EM over the same weighted points from several starts.

    Args:
        points: The standardised points (points, features).
        weights: Weight (points,) of each point.
        min_variance: The least variance of a component in any direction.
        diagonal: Whether covariances are diagonal.
        tol: Gain in log-likelihood per unit of weight below which a run has converged.
    """

    def __init__(
        self, points: FloatArray, weights: FloatArray, *, min_variance: float, diagonal: bool, tol: float
    ) -> None:
        self._moments = _moments(points)
        self._total = weights.sum()
        self._shares = weights / self._total
        self._weighted_moments = np.ascontiguousarray((self._moments * weights).T)
        features = points.shape[1]
        self._min_variance = min_variance
        self._free = np.eye(features) if diagonal else np.ones((features, features))
        self._tol = tol

    def start(self, labels: IntArray, k: int) -> _Parameters:
        """Returns the parameters of the `k` clusters of labels (points,)."""
        one_hot = (labels == np.arange(k)[:, None]).astype(np.float64)
        return self._maximise(one_hot @ self._weighted_moments)

    def run(self, starts: Sequence[_Parameters], iterations: int) -> list[tuple[_Parameters, float]]:
        """Runs EM from each start, for at most `iterations` steps.

        Returns:
            For each start, the parameters and the log-likelihood one step before them, per unit of weight.
        """
        runs = [(start, -np.inf) for start in starts]
        going = list(range(len(starts)))
        for _ in range(iterations):
            if not going:
                break
            steps = self._step([runs[run][0] for run in going])
            gains = [log_likelihood - runs[run][1] for run, (_, log_likelihood) in zip(going, steps, strict=True)]
            for run, step in zip(going, steps, strict=True):
                runs[run] = step
            going = [run for run, gain in zip(going, gains, strict=True) if gain >= self._tol]
        return runs

    def _step(self, runs: Sequence[_Parameters]) -> list[tuple[_Parameters, float]]:
        """Makes one step of all `runs` at once; returns the next parameters of each, and its log-likelihood before."""
        coefficients = _coefficients(_Parameters(*(np.concatenate(parts) for parts in zip(*runs, strict=True))))
        sums = np.empty_like(coefficients)
        ends = np.cumsum([len(run.weights) for run in runs]).tolist()
        components = [slice(start, end) for start, end in zip([0, *ends], ends, strict=False)]
        log_likelihoods = []
        for part in components:
            log_densities, posteriors = _expect(self._moments, coefficients[part])
            log_likelihoods.append(float(self._shares @ log_densities))
            np.matmul(posteriors, self._weighted_moments, out=sums[part])
        weights, means, covariances = self._maximise(sums)
        parameters = [_Parameters(weights[part], means[part], covariances[part]) for part in components]
        return list(zip(parameters, log_likelihoods, strict=True))

    def _maximise(self, sums: FloatArray) -> _Parameters:
        """Returns the likeliest parameters, given the sums (k, moments) of each component's part of the moments."""
        features = len(self._free)
        # A component that owns nothing must not divide by zero.
        owned = sums[:, 0] + 10 * np.finfo(np.float64).eps
        means = sums[:, 1 : 1 + features] / owned[:, None]
        squares = np.empty((len(sums), features, features))
        rows, columns = _pairs(features)
        squares[:, rows, columns] = squares[:, columns, rows] = sums[:, 1 + features :] / owned[:, None]
        covariances = (squares - means[:, :, None] * means[:, None, :]) * self._free
        variances, directions = np.linalg.eigh(covariances)
        thin = variances[:, 0] < self._min_variance
        stretched = directions[thin] * np.sqrt(np.maximum(variances[thin], self._min_variance))[:, None, :]
        covariances[thin] = stretched @ stretched.transpose(0, 2, 1) * self._free
        return _Parameters(owned / self._total, means, covariances)


@cache
def _pairs(features: int) -> tuple[IntArray, IntArray]:
    """Returns all pairs of features, including each with itself, as rows and columns of a matrix."""
    return np.triu_indices(features)


def _moments(points: FloatArray) -> FloatArray:
    """Returns the moments (moments, points) of points (points, features): 1, each feature, the product of each pair.

    Log-densities are linear in the moments, and so are the sums that parameters come from, so a step of EM is two
    matrix products. The points must be centred, or a variance would be a small difference of large numbers.
    """
    columns = np.ascontiguousarray(points.T)
    rows, others = _pairs(len(columns))
    return np.vstack([np.ones(len(points)), columns, columns[rows] * columns[others]])


def _coefficients(parameters: _Parameters) -> FloatArray:
    """Returns the coefficients (k, moments) of a point's moments.

    Their product with the moments is the log of each component's weight times its density.
    """
    weights, means, covariances = parameters
    features = means.shape[1]
    precisions = np.linalg.inv(covariances)
    slopes = np.einsum("kij,kj->ki", precisions, means)
    constants = (
        np.log(weights)
        - 0.5 * np.linalg.slogdet(covariances)[1]
        - 0.5 * features * np.log(2.0 * np.pi)
        - 0.5 * (slopes * means).sum(axis=1)
    )
    rows, columns = _pairs(features)
    # The product of two different features stands for both of its places in the matrix.
    curvatures = precisions[:, rows, columns] * np.where(rows == columns, -0.5, -1.0)
    return np.column_stack([constants, slopes, curvatures])


def _expect(moments: FloatArray, coefficients: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Returns the log-density (points,) of the mixture at each point, and the posteriors (k, points) of components."""
    joint = coefficients @ moments
    # Exponentials are relative to the largest, so their sum cannot underflow.
    largest = joint.max(axis=0)
    joint -= largest
    posteriors = np.exp(joint, out=joint)
    sums = posteriors.sum(axis=0)
    posteriors /= sums
    return largest + np.log(sums), posteriors


def _expect_points(points: FloatArray, parameters: _Parameters) -> tuple[FloatArray, FloatArray]:
    """Returns what `_expect` does, at points (points, features) that need not be centred."""
    centre = parameters.weights @ parameters.means
    return _expect(_moments(points - centre), _coefficients(parameters._replace(means=parameters.means - centre)))


def _posteriors_of(points: FloatArray, parameters: _Parameters) -> FloatArray:
    """Returns the posteriors (points, k), computed in chunks of rows to bound memory."""
    chunks = range(0, len(points), ROWS_AT_ONCE)
    return np.concatenate([_expect_points(points[start : start + ROWS_AT_ONCE], parameters)[1].T for start in chunks])
