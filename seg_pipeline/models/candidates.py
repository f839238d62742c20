"""The candidates of one algorithm on a night: every k of the range is fitted, and each model is assessed."""

from collections.abc import Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import numpy as np

from seg_pipeline.features.tables import GRID_CELLS
from seg_pipeline.models.coreset import Coreset
from seg_pipeline.models.gap import Gap, gap_statistic
from seg_pipeline.models.gates import failed_gate, servable, sizes_of
from seg_pipeline.models.metrics import metrics_of
from seg_pipeline.models.model import Algorithm, ClusterModel
from seg_pipeline.models.separation import classification_criterion, valley_of
from seg_pipeline.models.stability import Stability, stability_of
from seg_pipeline.models.store import model_columns
from seg_pipeline.models.tables import CANDIDATE_COLUMNS
from seg_pipeline.settings import SelectionSettings, Settings

if TYPE_CHECKING:
    import pandas as pd


def fit_candidates(algorithm: Algorithm, coreset: Coreset, settings: Settings) -> "pd.DataFrame":
    """Fits an algorithm on a night's coreset and assesses its models.

    Args:
        algorithm: The algorithm; the baseline is fitted whether or not the settings list it.
        coreset: The coreset of the night.
        settings: The run's settings: the algorithms compared, the range of k, the seed, and what is measured.

    Returns:
        The rows of the algorithm's candidates table; none for an algorithm that is not compared.
    """
    options = settings.models
    models: list[ClusterModel] = []
    if algorithm.is_baseline or algorithm.name in options.algorithms:
        ks = range(fewest_segments(settings, coreset.weights.sum()), options.k_max + 1)
        models = algorithm.fit_range(coreset, ks, seed=options.seed, n_init=options.n_init)
    stabilities: Sequence[Stability | None] = [None] * len(models)
    gaps: Sequence[Gap | None] = [None] * len(models)
    if models and options.bootstraps and algorithm.has_stability:
        stabilities = stability_of(algorithm, coreset, models, draws=options.bootstraps, seed=options.seed)
    if models and options.gap_references and algorithm.has_gap:
        gaps = gap_statistic(
            coreset,
            models,
            lambda reference, ks, seed: algorithm.fit_range(reference, ks, seed=seed, n_init=1),
            seed=options.seed,
            references=options.gap_references,
        )
    return candidate_rows(coreset, models, stabilities, gaps, settings.selection)


def fewest_segments(settings: Settings, customers: float) -> int:
    """Returns the smallest number of segments to fit.

    It is models.k_min, or less if a team cannot serve that many with so few customers. If the segments of the R x F
    grid, the last resort, would be too small as well, it is 1: all customers are one segment then.
    """
    if customers < settings.selection.smallest_customers * len(GRID_CELLS):
        return 1
    return min(settings.models.k_min, servable(settings.selection, customers)[0])


def candidate_rows(
    coreset: Coreset,
    models: Sequence[ClusterModel],
    stabilities: Sequence[Stability | None],
    gaps: Sequence[Gap | None],
    selection: SelectionSettings,
) -> "pd.DataFrame":
    """Returns the rows of a candidates table; a stability or gap of None was not measured."""
    import pandas as pd

    rows: list[dict[str, Any]] = []
    for model, metrics, stability, gap in zip(models, metrics_of(coreset, models), stabilities, gaps, strict=True):
        sizes = sizes_of(coreset, model)
        labels = np.unique(model.cell_labels, return_inverse=True)[1]
        refusal = failed_gate(sizes, stability.bootstrap if stability else float("nan"), selection)
        rows.append(
            {
                **model_columns(model),
                **asdict(metrics),
                "bic": model.bic,
                "log_likelihood": model.log_likelihood,
                "stability": stability.bootstrap if stability else None,
                "stability_error": stability.error if stability else None,
                # With few customers no refit may have as many clusters.
                "smallest_jaccard": float(np.fmin.reduce(stability.jaccard)) if stability else None,
                "valley": valley_of(coreset, labels),
                "classification_criterion": classification_criterion(coreset, labels),
                "seed_stability": stability.seeds if stability else None,
                "jaccard": stability.jaccard.tolist() if stability else None,
                "sizes": sizes.customers.astype(np.int64).tolist(),
                "revenues": None if sizes.revenue is None else sizes.revenue.tolist(),
                "gap": gap.gap if gap else None,
                "gap_standard_error": gap.standard_error if gap else None,
                "lost_share": coreset.lost_share,
                "fit_seconds": model.fit_seconds,
                "eligible": refusal is None,
                "ineligible_because": refusal,
            }
        )
    return pd.DataFrame(rows, columns=[column.name for column in CANDIDATE_COLUMNS if column.name != "as_of"])
