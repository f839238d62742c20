"""The candidates of one algorithm on a night: every k of the range fitted, and each model assessed."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from seg_pipeline.models.coreset import Coreset
from seg_pipeline.models.gap import Gap, gap_statistic
from seg_pipeline.models.model import Algorithm, ClusterModel
from seg_pipeline.models.stability import Stability, stability
from seg_pipeline.models.store import candidate_rows
from seg_pipeline.settings import Settings

if TYPE_CHECKING:
    import pandas as pd


def fitted_candidates(algorithm: Algorithm, coreset: Coreset, settings: Settings) -> "pd.DataFrame":
    """Fits an algorithm on a night's coreset and assesses its models.

    Args:
        algorithm: The algorithm; the baseline is fitted whether or not the settings list it.
        coreset: The coreset of the night.
        settings: The run's settings: the algorithms compared, the range of k, the seed, and what is measured.

    Returns:
        The rows of the algorithm's candidates table; none for an algorithm that is not compared.
    """
    chosen = settings.models
    models: list[ClusterModel] = []
    if algorithm.is_baseline or algorithm.name in chosen.algorithms:
        ks = range(chosen.k_min, chosen.k_max + 1)
        models = algorithm.fit_range(coreset, ks, seed=chosen.seed, n_init=chosen.n_init)
    sure: Sequence[Stability | None] = [None] * len(models)
    gaps: Sequence[Gap | None] = [None] * len(models)
    if models and chosen.bootstraps and algorithm.has_stability:
        sure = stability(algorithm, coreset, models, draws=chosen.bootstraps, seed=chosen.seed)
    if models and chosen.gap_references and algorithm.has_gap:
        gaps = gap_statistic(
            coreset,
            models,
            lambda reference, ks, seed: algorithm.fit_range(reference, ks, seed=seed, n_init=1),
            seed=chosen.seed,
            references=chosen.gap_references,
        )
    return candidate_rows(coreset, models, sure, gaps, settings.selection)
