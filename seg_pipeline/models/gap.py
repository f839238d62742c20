"""The gap statistic: how much better a clustering fits its customers than it would fit customers without clusters."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from seg_pipeline.models.coreset import Coreset, FloatArray
from seg_pipeline.models.metrics import inertia_of
from seg_pipeline.models.model import ClusterModel, single_threaded

# Points of a reference. Dispersion is compared per customer, so a reference need not have as many points.
_POINTS_PER_REFERENCE = 1000

FitRange = Callable[[Coreset, Sequence[int], int], Sequence[ClusterModel]]


@dataclass(frozen=True, slots=True)
class Gap:
    """Gap statistic of one candidate; NaN if it has none.

    Attributes:
        gap: Mean log inertia per customer on the references, less the candidate's own; higher is better.
        standard_error: Standard deviation on the references times sqrt(1 + 1 / references). The paper chooses the
            smallest k whose gap is at least the gap of the next k less its standard error.
    """

    gap: float
    standard_error: float


@single_threaded()
def gap_statistic(
    coreset: Coreset, models: Sequence[ClusterModel], fit: FitRange, *, seed: int, references: int = 10
) -> list[Gap]:
    """Returns the gap statistic of each of `models`, in their order.

    The statistic is that of Tibshirani, Walther & Hastie (2001) with references of their kind (b): each reference is
    uniform in the box that the principal axes put around the cells.

    Args:
        coreset: The coreset that the models were fitted on.
        models: Candidates of one algorithm.
        fit: Fits that algorithm to a coreset, for some k and a seed, with at most the effort that the candidates had.
            A k that it leaves out on a reference is not counted there.
        seed: Seed of the references.
        references: Number of references.

    Raises:
        ValueError: There are fewer than two references.
    """
    if references < 2:
        raise ValueError(f"{references} references have no standard deviation: at least two are needed")
    ks = sorted({model.k for model in models})
    dispersions: dict[int, list[float]] = {k: [] for k in ks}
    low, high, axes = _principal_box(coreset)
    for reference_seed in np.random.SeedSequence(seed).generate_state(references):
        points = np.random.default_rng(reference_seed).uniform(low, high, (_POINTS_PER_REFERENCE, len(low))) @ axes
        reference = Coreset.without_spread(points, np.ones(len(points)), exact=True)
        for fitted in fit(reference, ks, int(reference_seed)):
            dispersions[fitted.k].append(_log_dispersion(reference, fitted))
    return [_gap(_log_dispersion(coreset, model), dispersions[model.k]) for model in models]


def _gap(own: float, on_references: Sequence[float]) -> Gap:
    """Returns the gap statistic from a model's log dispersion and those of fits on the references."""
    # The dispersion is zero, and its logarithm infinite, if every cell is a cluster of its own.
    if len(on_references) < 2 or not np.isfinite([own, *on_references]).all():
        return Gap(float("nan"), float("nan"))
    return Gap(
        gap=float(np.mean(on_references)) - own,
        standard_error=float(np.std(on_references)) * float(np.sqrt(1.0 + 1.0 / len(on_references))),
    )


def _log_dispersion(coreset: Coreset, model: ClusterModel) -> float:
    """Returns the logarithm of the inertia per customer."""
    inertia = inertia_of(coreset, model)
    return float(np.log(inertia / coreset.weights.sum())) if inertia > 0 else -np.inf


def _principal_box(coreset: Coreset) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Returns the least and greatest coordinate (features,) of the cells along their principal axes, and the axes.

    The axes are the rows of a matrix (features, features).
    """
    mean = np.average(coreset.points, axis=0, weights=coreset.weights)
    centred = coreset.points - mean
    axes: FloatArray = np.linalg.eigh((coreset.weights[:, None] * centred).T @ centred)[1].T
    along = centred @ axes.T
    return along.min(axis=0), along.max(axis=0), axes
