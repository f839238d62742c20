"""Gaussian mixtures with full or diagonal covariances, fitted to weighted cells by expectation and maximisation.

scikit-learn's mixture takes no weights; hence this one.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Literal, NamedTuple

import numpy as np

from seg_pipeline.models.coreset import Coreset, FloatArray, IntArray
from seg_pipeline.models.kmeans import kmeans_labels
from seg_pipeline.models.model import ROWS_AT_ONCE, ClusterModel, canonical_order, feasible, single_threaded

MAX_STARTS = 5

CovarianceType = Literal["full", "diag"]


class GaussianMixtureAlgorithm:
    """The likeliest mixture of those that EM reaches from `n_init` KMeans clusterings."""

    name = "gaussian_mixture"
    title = "Gaussian mixture"
    refit_options: ClassVar[Mapping[str, Any]] = {"n_init": 2, "cells": 1000}
    has_gap = False
    covariance_type: CovarianceType = "full"

    @single_threaded()
    def fit_range(self, coreset: Coreset, ks: Sequence[int], *, seed: int, n_init: int) -> list[ClusterModel]:
        """One model for each k that does not exceed the number of cells.

        Short runs tell the starts apart, so that MAX_STARTS of them are enough.
        """
        models = []
        for k in feasible(ks, coreset):
            started = time.perf_counter()
            mixture = WeightedGaussianMixture(
                k, covariance_type=self.covariance_type, n_init=min(n_init, MAX_STARTS), random_state=seed
            ).fit(coreset.points, coreset.weights)
            models.append(
                ClusterModel(
                    algorithm=self.name,
                    k=k,
                    centers=mixture.means_,
                    weights=mixture.weights_,
                    covariances=mixture.covariances_,
                    cell_labels=mixture.predict(coreset.points),
                    log_likelihood=mixture.score(coreset.points, coreset.weights),
                    bic=mixture.bic(coreset.points, coreset.weights),
                    fit_seconds=time.perf_counter() - started,
                )
            )
        return models

    @single_threaded()
    def predict(self, model: ClusterModel, points: FloatArray, coreset: Coreset) -> tuple[IntArray, FloatArray]:
        """The component of the highest posterior probability, and that probability."""
        posteriors = self.posteriors(model, points)
        return posteriors.argmax(axis=1), posteriors.max(axis=1)

    @staticmethod
    def posteriors(model: ClusterModel, points: FloatArray) -> FloatArray:
        """Posterior probability (rows, k) of each component."""
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
        weights = np.ones(len(X)) if sample_weight is None else sample_weight
        coreset = Coreset(X, weights, exact=False)
        # On data of a huge scale a fixed addition would drown in rounding, and covariances be singular all the same.
        ridge = max(self.reg_covar, 1e-10 * float(X.var(axis=0).max()))

        centre = X.mean(axis=0)
        moments = _moments(X - centre)
        runs = []
        for start in range(self.n_init):
            labels = kmeans_labels(coreset, self.n_components, seed=self.random_state + start, n_init=1)
            one_hot = (labels == np.arange(self.n_components)[:, None]).astype(np.float64)
            parameters = self._maximise(moments, weights * one_hot, ridge)
            runs.append(self._em(moments, weights, parameters, ridge, self.short_iter))
        best = max(runs, key=lambda run: run[1])[0]
        best, self.lower_bound_ = self._em(moments, weights, best, ridge, self.max_iter)

        best = best._replace(means=best.means + centre)
        order = canonical_order(best.means)
        self.weights_, self.means_, self.covariances_ = (parameter[order] for parameter in best)
        return self

    def _em(
        self, moments: FloatArray, weights: FloatArray, parameters: _Parameters, ridge: float, iterations: int
    ) -> tuple[_Parameters, float]:
        """Parameters after at most `iterations`, and the log-likelihood per unit of weight one step before them."""
        log_likelihood = -np.inf
        for _ in range(iterations):
            before = log_likelihood
            log_densities, posteriors = _expect(moments, parameters)
            log_likelihood = float(weights @ log_densities / weights.sum())
            parameters = self._maximise(moments, weights * posteriors, ridge)
            if log_likelihood - before < self.tol:
                break
        return parameters, log_likelihood

    def _maximise(self, moments: FloatArray, shares: FloatArray, ridge: float) -> _Parameters:
        parameters = _maximise(moments, shares, ridge)
        if self.covariance_type == "full":
            return parameters
        return parameters._replace(covariances=parameters.covariances * np.eye(parameters.means.shape[1]))

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


def _moments(points: FloatArray) -> FloatArray:
    """1, the features and their products (1 + features + features^2, points) of centred points (points, features).

    A log-density is linear in them, and so are the sums that parameters come from: a step of EM is one matrix product.
    Centred, because a variance is then no small difference of large numbers.
    """
    products = np.einsum("ni,nj->ijn", points, points).reshape(-1, len(points))
    return np.vstack([np.ones(len(points)), points.T, products])


def _expect(moments: FloatArray, parameters: _Parameters) -> tuple[FloatArray, FloatArray]:
    """Log-density of the mixture at each point (points,), and posteriors of its components (k, points)."""
    weights, means, covariances = parameters
    k, features = means.shape
    precisions = np.linalg.inv(covariances)
    slopes = np.einsum("kij,kj->ki", precisions, means)
    constants = (
        np.log(weights)
        - 0.5 * np.linalg.slogdet(covariances)[1]
        - 0.5 * features * np.log(2.0 * np.pi)
        - 0.5 * (slopes * means).sum(axis=1)
    )
    joint = np.column_stack([constants, slopes, -0.5 * precisions.reshape(k, -1)]) @ moments
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
    return _expect(_moments(points - centre), parameters._replace(means=parameters.means - centre))


def _maximise(moments: FloatArray, shares: FloatArray, ridge: float) -> _Parameters:
    """Parameters that fit the points best, each component owning `shares` (k, points) of their weight."""
    sums = shares @ moments.T
    k, features = len(sums), int(np.sqrt(len(moments)))  # 1 + features + features^2 of them
    owned = sums[:, 0] + 10 * np.finfo(np.float64).eps  # a component that owns nothing must not divide by zero
    means = sums[:, 1 : 1 + features] / owned[:, None]
    squares = sums[:, 1 + features :].reshape(k, features, features) / owned[:, None, None]
    covariances = squares - means[:, :, None] * means[:, None, :] + ridge * np.eye(features)
    return _Parameters(owned / owned.sum(), means, covariances)


def _posteriors_of(points: FloatArray, parameters: _Parameters) -> FloatArray:
    """Posteriors (points, k), some rows at a time."""
    chunks = range(0, len(points), ROWS_AT_ONCE)
    return np.concatenate([_expect_points(points[start : start + ROWS_AT_ONCE], parameters)[1].T for start in chunks])
