"""The night's candidates as they would be without features.clip, for the table of the choice's sensitivity."""

import datetime
from collections.abc import Sequence
from dataclasses import replace
from functools import partial

import numpy as np

from seg_pipeline.evaluation.selection import Candidate
from seg_pipeline.evaluation.value import fit_algorithm
from seg_pipeline.features.buyers import read_buyers
from seg_pipeline.features.transforms import apply_transforms, fit_transforms
from seg_pipeline.models.coreset import summarise
from seg_pipeline.models.gates import sizes_of
from seg_pipeline.models.metrics import metrics_of
from seg_pipeline.models.parallel import parallel_map
from seg_pipeline.settings import Settings
from seg_pipeline.warehouse import Warehouse


def unclipped(
    warehouse: Warehouse, settings: Settings, as_of: datetime.date, candidates: Sequence[Candidate]
) -> list[Candidate]:
    """Fits a night's candidates again on features without limits; returns none if there are no limits anyway.

    Sizes, silhouette and explained share are measured again. Stability and value, which cost most, are taken from the
    candidate of the same algorithm and number of segments.

    Args:
        warehouse: The warehouse.
        settings: The run's settings.
        as_of: The night.
        candidates: The night's candidates, the grid among them.
    """
    features, models = settings.features, settings.models
    if not features.clip:
        return []
    buyers = read_buyers(warehouse, as_of, tuple(dict.fromkeys((*features.columns, "monetary"))))
    transforms = fit_transforms(buyers, features.model_copy(update={"clip": 0}))
    coreset, cell_of_buyer = summarise(apply_transforms(buyers, transforms), models.max_cells)
    revenue = np.bincount(cell_of_buyer, buyers["monetary"].to_numpy(dtype=np.float64)).astype(np.float64)
    coreset = replace(coreset, revenue=revenue)
    fitted = [one for one in candidates if not one.is_baseline]
    ks = sorted({one.k for one in fitted})
    fit = partial(fit_algorithm, coreset, ks, models.seed, models.n_init)
    again = {
        (model.algorithm, model.k): (sizes_of(coreset, model), metrics)
        for sweep in parallel_map(fit, models.algorithms)
        for model, metrics in zip(sweep, metrics_of(coreset, sweep), strict=True)
    }
    return [
        replace(
            one,
            sizes=again[one.key][0],
            silhouette=again[one.key][1].silhouette,
            explained_share=again[one.key][1].explained_share,
        )
        for one in fitted
        if one.key in again
    ] + [one for one in candidates if one.is_baseline]
