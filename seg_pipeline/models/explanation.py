"""How an algorithm explains a label: why a customer is in a cluster, and which changes may move them to another.

Each algorithm fills these records, and `seg-pipeline explain` shows them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING

import numpy as np

from seg_pipeline.models.coreset import FloatArray, IntArray

if TYPE_CHECKING:
    import pandas as pd

# Takes the name of a feature and returns the night's cut points (4,) that divide its buyers into fifths.
Fifths = Callable[[str], FloatArray]


def _no_distances() -> FloatArray:
    return np.empty(0)


class Measure(StrEnum):
    """The number that decides among clusters."""

    CENTRE_DISTANCE = "centre_distance"
    NEAREST_CELL_DISTANCE = "nearest_cell_distance"
    PROBABILITY = "probability"


@dataclass(frozen=True, slots=True)
class Comparison:
    """What decided a customer's cluster, and how near the customer is to every cluster.

    Attributes:
        why: What decided, in words.
        order: The clusters (k,), the customer's own first; empty if the algorithm is a rule that compares nothing.
        distances: Distance (k,) to each centre, transformed units.
        nearest_cells: Distance (k,) to the nearest cell of each cluster, infinite for a cluster without a cell; None
            unless the nearest cell decides.
        probabilities: Posterior probability (k,) of each component; None unless the model is a mixture.
    """

    why: str
    order: IntArray = field(default_factory=lambda: np.empty(0, dtype=np.int64))
    distances: FloatArray = field(default_factory=_no_distances)
    nearest_cells: FloatArray | None = None
    probabilities: FloatArray | None = None

    @property
    def measure(self) -> Measure:
        """What decided: probabilities, distances to cells, or else distances to centres."""
        if self.probabilities is not None:
            return Measure.PROBABILITY
        return Measure.CENTRE_DISTANCE if self.nearest_cells is None else Measure.NEAREST_CELL_DISTANCE

    @property
    def deciding(self) -> FloatArray:
        """The numbers (k,) that decided, those of `measure`."""
        if self.probabilities is not None:
            return self.probabilities
        return self.distances if self.nearest_cells is None else self.nearest_cells


@dataclass(frozen=True, slots=True)
class Variations:
    """The changes to try on a customer, one feature at a time.

    Attributes:
        values: The values to try for each feature.
        complete: Takes rows with a changed feature and returns them with the columns that follow from it.
    """

    values: Mapping[str, FloatArray]
    complete: Callable[[pd.DataFrame], pd.DataFrame]
