"""Gaussian mixtures with full or diagonal covariances, fitted to weighted cells by expectation and maximisation.

scikit-learn's mixture takes no weights; hence this one.
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

CovarianceType = Literal["full", "diag"]


class GaussianMixtureAlgorithm(Clustering):
    """The likeliest mixture of those that EM reaches from `n_init` KMeans clusterings."""

    name = "gaussian_mixture"
    title = "Gaussian mixture"
    refit_options: ClassVar[Mapping[str, Any]] = {"n_init": 2, "cells": 1000}
    has_gap = False
    is_random = True
    covariance_type: CovarianceType = "full"

    @single_threaded()
    def fit_range(self, coreset: Coreset, ks: Sequence[int], *, seed: int, n_init: int) -> list[ClusterModel]:
        """One model for each k that does not exceed the number of cells, all fitted side by side.

        Short runs tell the starts apart, so that MAX_STARTS of them are enough.
        """
        started = time.perf_counter()
        mixtures = [
            WeightedGaussianMixture(
                k, covariance_type=self.covariance_type, n_init=min(n_init, MAX_STARTS), random_state=seed
            )
            for k in feasible(ks, coreset)
        ]
        fit_side_by_side(mixtures, coreset.points, coreset.weights)
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

    def compare(self, model: ClusterModel, point: FloatArray, coreset: Coreset) -> Comparison:
        """Compares the posterior probabilities, which decide, beside the distances to the centres."""
        probabilities = self.posteriors(model, point)[0]
        return Comparison(
            "the most probable component of the mixture",
            order=np.argsort(-probabilities, kind="stable"),
            distances=center_distances(model, point),
            probabilities=probabilities,
            wording="probability {:.3f}",
        )

    @staticmethod
    def posteriors(model: ClusterModel, points: FloatArray) -> FloatArray:
        """Returns the posterior probability (rows, k) of each component."""
        return _posteriors_of(points, _parameters_of(model))


class DiagonalGaussianMixtureAlgorithm(GaussianMixtureAlgorithm):
    """The same with axis-parallel components: fewer parameters, so BIC admits more of them."""

    name = "gaussian_mixture_diagonal"
    title = "Gaussian mixture (diagonal)"
    covariance_type = "diag"


class _Parameters(NamedTuple):
    weights: FloatArray  # (k,)
    means: FloatArray  # (k, features)
    covariances: FloatArray  # (k, features, features)


def _parameters_of(model: ClusterModel) -> _Parameters:
    if model.covariances is None:
        raise ValueError(f"a {model.algorithm} model without covariances is no Gaussian mixture")
    return _Parameters(model.weights, model.centers, model.covariances)


class WeightedGaussianMixture:
    """Gaussian mixture over weighted points.

    EM (Dempster, Laird & Rubin 1977), each point counting by its weight. It starts from the labels of `n_init` KMeans
    clusterings; every start gets a short run, and the likeliest is taken to convergence (Biernacki, Celeux & Govaert
    2003). Parameters as scikit-learn's `GaussianMixture`.

    Parameters
    ----------
    n_components : int
    covariance_type : "full" or "diag"
        Any ellipsoid, or axes parallel to the features.
    n_init : int
        KMeans clusterings to start from.
    random_state : int
    reg_covar : float
        Added to every variance, so that a component on few distinct points keeps a volume.
    tol : float
        Gain in log-likelihood per unit of weight below which EM has converged.
    short_iter, max_iter : int
        Iterations of a short run, and at most of the long one.

    Attributes
    ----------
    weights_ : (k,)
    means_ : (k, features)
        By the first coordinate, then the next.
    covariances_ : (k, features, features)
        Whole matrices even where only their diagonals are free.
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
        reg_covar: float = 1e-6,
        tol: float = 1e-5,
        short_iter: int = 20,
        max_iter: int = 500,
    ) -> None:
        self.n_components = n_components
        self.covariance_type = covariance_type
        self.n_init = n_init
        self.random_state = random_state
        self.reg_covar = reg_covar
        self.tol = tol
        self.short_iter = short_iter
        self.max_iter = max_iter

    def fit(self, X: FloatArray, sample_weight: FloatArray | None = None) -> WeightedGaussianMixture:
        """Fit to `X` (points, features) with weights (points,) above zero, one each if absent."""
        fit_side_by_side([self], X, np.ones(len(X)) if sample_weight is None else sample_weight)
        return self

    def predict_proba(self, X: FloatArray) -> FloatArray:
        """Posterior probability (points, k) of each component."""
        return _posteriors_of(X, self._parameters)

    def predict(self, X: FloatArray) -> IntArray:
        """Component (points,) of the highest posterior probability."""
        labels: IntArray = self.predict_proba(X).argmax(axis=1)
        return labels

    def score(self, X: FloatArray, sample_weight: FloatArray | None = None) -> float:
        """Log-likelihood per unit of weight."""
        return float(np.average(_expect_points(X, self._parameters)[0], weights=sample_weight))

    def bic(self, X: FloatArray, sample_weight: FloatArray | None = None) -> float:
        """Bayesian information criterion (Schwarz 1978), n being the total weight; lower is better."""
        n = float(len(X) if sample_weight is None else sample_weight.sum())
        k, features = self.means_.shape
        of_a_covariance = features if self.covariance_type == "diag" else features * (features + 1) / 2
        free_parameters = k * of_a_covariance + k * features + k - 1
        return float(free_parameters * np.log(n) - 2.0 * n * self.score(X, sample_weight))

    @property
    def _parameters(self) -> _Parameters:
        return _Parameters(self.weights_, self.means_, self.covariances_)


def fit_side_by_side(mixtures: Sequence[WeightedGaussianMixture], points: FloatArray, weights: FloatArray) -> None:
    """Fit `mixtures` that differ in their number of components to points (points, features) with weights (points,).

    The runs of EM know nothing of each other; what a step does to parameters, it does to those of all at once.
    """
    if not mixtures:
        return
    options = mixtures[0]
    coreset = Coreset(points, weights, exact=False)
    # On data of a huge scale a fixed addition would drown in rounding, and covariances be singular all the same.
    ridge = max(options.reg_covar, 1e-10 * float(points.var(axis=0).max()))
    centre = points.mean(axis=0)
    em = _EM(points - centre, weights, ridge=ridge, diagonal=options.covariance_type == "diag", tol=options.tol)

    starts = [
        em.start(kmeans_labels(coreset, k, seed=mixture.random_state + start, n_init=1), k)
        for mixture in mixtures
        for k in [mixture.n_components]
        for start in range(mixture.n_init)
    ]
    short = iter(em.run(starts, options.short_iter))
    likeliest = [max(islice(short, mixture.n_init), key=lambda run: run[1])[0] for mixture in mixtures]
    for mixture, (found, _) in zip(mixtures, em.run(likeliest, options.max_iter), strict=True):
        order = canonical_order(found.means)
        mixture.weights_, mixture.means_, mixture.covariances_ = (
            parameter[order] for parameter in found._replace(means=found.means + centre)
        )


class _EM:
    """EM over the same weighted points from several starts.

    Parameters
    ----------
    points : (points, features)
        Centred.
    weights : (points,)
    ridge : float
        Added to every variance.
    diagonal : bool
        Whether covariances are.
    tol : float
        Gain in log-likelihood per unit of weight below which a run has converged.
    """

    def __init__(self, points: FloatArray, weights: FloatArray, *, ridge: float, diagonal: bool, tol: float) -> None:
        self._moments = _moments(points)
        self._total = weights.sum()
        self._shares = weights / self._total
        self._weighted_moments = np.ascontiguousarray((self._moments * weights).T)
        features = points.shape[1]
        self._ridge = ridge * np.eye(features)
        self._free = np.eye(features) if diagonal else np.ones((features, features))
        self._tol = tol

    def start(self, labels: IntArray, k: int) -> _Parameters:
        """Parameters of the `k` clusters of labels (points,)."""
        one_hot = (labels == np.arange(k)[:, None]).astype(np.float64)
        return self._maximise(one_hot @ self._weighted_moments)

    def run(self, starts: Sequence[_Parameters], iterations: int) -> list[tuple[_Parameters, float]]:
        """From each start the parameters after at most `iterations`, and the log-likelihood one step before them.

        Log-likelihoods are per unit of weight.
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
        """The next parameters of each of `runs`, and the log-likelihood before; what is done for all costs once."""
        coefficients = _coefficients(_Parameters(*(np.concatenate(parts) for parts in zip(*runs, strict=True))))
        sums = np.empty_like(coefficients)
        ends = np.cumsum([len(run.weights) for run in runs]).tolist()
        of_runs = [slice(start, end) for start, end in zip([0, *ends], ends, strict=False)]
        log_likelihoods = []
        for of_run in of_runs:
            log_densities, posteriors = _expect(self._moments, coefficients[of_run])
            log_likelihoods.append(float(self._shares @ log_densities))
            np.matmul(posteriors, self._weighted_moments, out=sums[of_run])
        weights, means, covariances = self._maximise(sums)
        found = [_Parameters(weights[of_run], means[of_run], covariances[of_run]) for of_run in of_runs]
        return list(zip(found, log_likelihoods, strict=True))

    def _maximise(self, sums: FloatArray) -> _Parameters:
        """Parameters that fit the points best, given each component's sums (k, moments) over what it owns of them."""
        features = len(self._ridge)
        owned = sums[:, 0] + 10 * np.finfo(np.float64).eps  # a component that owns nothing must not divide by zero
        means = sums[:, 1 : 1 + features] / owned[:, None]
        squares = np.empty((len(sums), features, features))
        rows, columns = _pairs(features)
        squares[:, rows, columns] = squares[:, columns, rows] = sums[:, 1 + features :] / owned[:, None]
        covariances = (squares - means[:, :, None] * means[:, None, :] + self._ridge) * self._free
        return _Parameters(owned / self._total, means, covariances)


@cache
def _pairs(features: int) -> tuple[IntArray, IntArray]:
    """The pairs of features, each with itself among them, as rows and columns of a matrix."""
    return np.triu_indices(features)


def _moments(points: FloatArray) -> FloatArray:
    """1, the features and their products, of two each once (moments, points), of centred points (points, features).

    A log-density is linear in them, and so are the sums that parameters come from: a step of EM is two matrix products.
    Centred, because a variance is then no small difference of large numbers.
    """
    columns = np.ascontiguousarray(points.T)
    rows, others = _pairs(len(columns))
    return np.vstack([np.ones(len(points)), columns, columns[rows] * columns[others]])


def _coefficients(parameters: _Parameters) -> FloatArray:
    """What the moments of a point are multiplied by for each component's log of weight times density (k, moments)."""
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
    # A product of two different features stands for both of its places in the matrix.
    curvatures = precisions[:, rows, columns] * np.where(rows == columns, -0.5, -1.0)
    return np.column_stack([constants, slopes, curvatures])


def _expect(moments: FloatArray, coefficients: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Log-density of the mixture at each point (points,), and posteriors of its components (k, points)."""
    joint = coefficients @ moments
    # Sum of exponentials relative to the largest, which cannot underflow.
    largest = joint.max(axis=0)
    joint -= largest
    posteriors = np.exp(joint, out=joint)
    sums = posteriors.sum(axis=0)
    posteriors /= sums
    return largest + np.log(sums), posteriors


def _expect_points(points: FloatArray, parameters: _Parameters) -> tuple[FloatArray, FloatArray]:
    """`_expect` at points (points, features) that need not be centred."""
    centre = parameters.weights @ parameters.means
    return _expect(_moments(points - centre), _coefficients(parameters._replace(means=parameters.means - centre)))


def _posteriors_of(points: FloatArray, parameters: _Parameters) -> FloatArray:
    """Posteriors (points, k), some rows at a time."""
    chunks = range(0, len(points), ROWS_AT_ONCE)
    return np.concatenate([_expect_points(points[start : start + ROWS_AT_ONCE], parameters)[1].T for start in chunks])
