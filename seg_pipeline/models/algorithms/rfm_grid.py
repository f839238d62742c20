"""The baseline: the public R x F grid of RFM segments as an algorithm, so that it is assessed like any clustering.

The grid is a rule on two scores, which are computed with the features. There is nothing to fit and no k to sweep. A
customer's cluster is the place of their `rfm_segment` in the list of the grid's names.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import numpy.typing as npt

from seg_pipeline.features.tables import GRID_CELLS
from seg_pipeline.models.coreset import Coreset, FloatArray, IntArray
from seg_pipeline.models.explanation import Comparison, FeatureChanges, QuintileLookup
from seg_pipeline.models.model import ClusterModel, model_from_labels

if TYPE_CHECKING:
    import pandas as pd


class RFMGridAlgorithm:
    """Labels each customer with their part of the grid, whatever the other customers do."""

    name = "rfm_grid"
    title = "R x F grid (baseline)"
    kind = "python"
    is_baseline = True
    cluster_names = tuple(GRID_CELLS)
    has_stability = False
    refit_options: ClassVar[Mapping[str, Any]] = {}
    has_gap = False
    is_random = False

    def fit_range(self, coreset: Coreset, ks: Sequence[int], *, seed: int, n_init: int) -> list[ClusterModel]:
        """Returns one model whatever `ks`, with a cluster for each segment of the grid that is the commonest in a cell.

        Clusters are numbered by their centres, like those of any candidate.

        Raises:
            ValueError: The coreset does not know its cells' grid segments.
        """
        return [model_from_labels(self.name, coreset, _segments_of(coreset))]

    def predict(self, model: ClusterModel, points: FloatArray, coreset: Coreset) -> tuple[IntArray, FloatArray]:
        """Returns the points, which are places in the grid; the confidence is 1, since a rule has no doubt."""
        return points[:, 0].astype(np.int64), np.ones(len(points))

    def label(self, models: Sequence[ClusterModel], points: FloatArray, coreset: Coreset) -> list[IntArray]:
        """Returns the points, which are places in the grid, for each model."""
        return [points[:, 0].astype(np.int64) for _ in models]

    def columns(self, transforms: pd.DataFrame) -> list[str]:
        """Returns rfm_segment alone."""
        return ["rfm_segment"]

    def points_of(self, customers: pd.DataFrame, transforms: pd.DataFrame) -> FloatArray:
        """Returns the place (customers, 1) of each customer's segment in the grid."""
        return _places(customers["rfm_segment"]).astype(np.float64)[:, None]

    def as_champion(self, model: ClusterModel, coreset: Coreset) -> ClusterModel:
        """Returns the model with its cells labelled by their places in the grid."""
        import pandas as pd

        return replace(model, cell_labels=_places(pd.Series(_segments_of(coreset))))

    def explain(self, model: ClusterModel, point: FloatArray, coreset: Coreset) -> Comparison:
        """Names the rule; nothing is compared."""
        return Comparison("its cell of the R x F grid, a rule on the scores")

    def changes_to_try(self, transforms: pd.DataFrame, coreset: Coreset, quintiles: QuintileLookup) -> FeatureChanges:
        """Returns values of recency and frequency on both sides of the night's score limits.

        Those two features decide the grid segment.
        """
        cuts = {name: quintiles(name) for name in ("recency_days", "frequency")}
        segment_of = {cell: name for name, cells in GRID_CELLS.items() for cell in cells}

        def with_segments(rows: pd.DataFrame) -> pd.DataFrame:
            recency, frequency = (np.searchsorted(cuts[name], rows[name].to_numpy(np.float64)) for name in cuts)
            # A short recency gets a high score.
            scores = zip(5 - recency, 1 + frequency, strict=True)
            return rows.assign(rfm_segment=[segment_of[int(r), int(f)] for r, f in scores])

        return FeatureChanges({name: np.append(values, values + 1) for name, values in cuts.items()}, with_segments)


def _segments_of(coreset: Coreset) -> npt.NDArray[np.str_]:
    if coreset.rfm_segments is None:
        raise ValueError("the coreset does not know the grid segments of its cells")
    return coreset.rfm_segments


def _places(segments: pd.Series) -> IntArray:
    """Returns the place (rows,) of each segment in the list of the grid's names."""
    place = {name: number for number, name in enumerate(GRID_CELLS)}
    return np.asarray(segments.map(place), dtype=np.int64)
