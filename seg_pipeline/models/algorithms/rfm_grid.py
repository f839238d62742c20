"""The baseline: the public R x F grid of RFM segments, put as a model, so that it is scored like any clustering.

The grid itself is a rule on scores, made with the features; there is nothing to fit here and no k to sweep.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from seg_pipeline.models.coreset import Coreset
from seg_pipeline.models.model import ClusterModel, model_from_labels

NAME = "rfm_grid"
TITLE = "R x F grid (baseline)"


def grid_model(coreset: Coreset, cell_labels: npt.NDArray[np.generic]) -> ClusterModel:
    """The grid as a model whose k is the number of distinct labels.

    Parameters
    ----------
    cell_labels : (cells,)
        Grid segment of each cell, numbers or names. Clusters are numbered by their centres, as those of any model.

    Raises
    ------
    ValueError
        The labels are not one for each cell.
    """
    if cell_labels.shape != coreset.weights.shape:
        raise ValueError(f"{len(cell_labels)} grid labels for {len(coreset.weights)} cells")
    return model_from_labels(NAME, coreset, cell_labels)
