"""The gap statistic: how much better a clustering fits its customers than it would fit customers without clusters."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from seg_pipeline.models.coreset import Coreset, FloatArray
from seg_pipeline.models.metrics import inertia_of
from seg_pipeline.models.model import ClusterModel, single_threaded

# Points of a reference draw. Dispersion is compared per customer, so their number need not be the customers'.
_POINTS_PER_REFERENCE = 1000

FitRange = Callable[[Coreset, Sequence[int], int], Sequence[ClusterModel]]


@dataclass(frozen=True, slots=True)
class Gap:
    """Gap statistic of one candidate; NaN where it has none.

    Attributes
    ----------
    gap : float
        Mean log inertia per customer on the references, less the candidate's own; higher is better.
    standard_error : float
        Of the gap, from the references' standard deviation times sqrt(1 + 1 / references). The smallest k whose gap is
        at least the next one's less its standard error is the paper's choice.
    """

    gap: float
    standard_error: float


@single_threaded()
def gap_statistic(
    coreset: Coreset, models: Sequence[ClusterModel], fit: FitRange, *, seed: int, references: int = 10
) -> list[Gap]:
    """Gap statistic (Tibshirani, Walther & Hastie 2001, references of kind b) of each of `models`, in their order.

    Each reference is uniform in the box that the principal axes put around the cells.

    Parameters
    ----------
    coreset : Coreset
        The one that `models` were fitted on.
    models : sequence of ClusterModel
        Candidates of one algorithm.
    fit : callable
        Fits that algorithm to a coreset for some k with a seed, with the effort the candidates had or less. A k that it
        leaves out on a reference is not counted there.
    references : int
        Reference draws, two or more.
    """
    if references < 2:
        raise ValueError(f"{references} references have no standard deviation: at least two are needed")
    ks = sorted({model.k for model in models})
    draws: dict[int, list[float]] = {k: [] for k in ks}
    low, high, axes = _principal_box(coreset)
    for reference_seed in np.random.SeedSequence(seed).generate_state(references):
        drawn = np.random.default_rng(reference_seed).uniform(low, high, (_POINTS_PER_REFERENCE, len(low))) @ axes
        reference = Coreset(drawn, np.ones(len(drawn)), exact=True)
        for fitted in fit(reference, ks, int(reference_seed)):
            draws[fitted.k].append(_log_dispersion(reference, fitted))
    return [_gap(_log_dispersion(coreset, model), draws[model.k]) for model in models]


def _gap(log_dispersion: float, draws: Sequence[float]) -> Gap:
    if len(draws) < 2 or not np.isfinite([log_dispersion, *draws]).all():  # no dispersion: every cell its own cluster
        return Gap(float("nan"), float("nan"))
    return Gap(
        gap=float(np.mean(draws)) - log_dispersion,
        standard_error=float(np.std(draws)) * float(np.sqrt(1.0 + 1.0 / len(draws))),
    )


def _log_dispersion(coreset: Coreset, model: ClusterModel) -> float:
    """Logarithm of the inertia per customer."""
    inertia = inertia_of(coreset, model)
    return float(np.log(inertia / coreset.weights.sum())) if inertia > 0 else -np.inf


def _principal_box(coreset: Coreset) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Least and greatest coordinate (features,) of the cells along their principal axes, and the axes as rows."""
    mean = np.average(coreset.points, axis=0, weights=coreset.weights)
    centred = coreset.points - mean
    axes: FloatArray = np.linalg.eigh((coreset.weights[:, None] * centred).T @ centred)[1].T
    along = centred @ axes.T
    return along.min(axis=0), along.max(axis=0), axes
