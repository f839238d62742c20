"""A fitted model applied to every customer of a night: the same transforms and the same numbers that fitting used."""

import datetime
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

import numpy as np

from seg_pipeline.features.tables import RFM_FEATURES
from seg_pipeline.models.coreset import Coreset, FloatArray, IntArray
from seg_pipeline.models.explanation import Comparison, Fifths, Variations
from seg_pipeline.models.model import Algorithm, ClusterModel
from seg_pipeline.models.registry import ALGORITHMS
from seg_pipeline.warehouse import Connection, Relation

if TYPE_CHECKING:
    import pandas as pd

# Of customers without a purchase.
NO_CLUSTER = -1


@dataclass(frozen=True, slots=True)
class Scorer:
    """A model with all that labelling takes: the rows of feature_transforms, and the model's coreset."""

    model: ClusterModel
    transforms: "pd.DataFrame"
    coreset: Coreset

    @property
    def algorithm(self) -> Algorithm:
        """The algorithm that fitted the model."""
        return ALGORITHMS[self.model.algorithm]

    @property
    def columns(self) -> list[str]:
        """The columns of rfm_features that a customer's cluster follows from."""
        return self.algorithm.columns(self.transforms)

    def label(self, buyers: "pd.DataFrame") -> tuple[IntArray, FloatArray]:
        """Returns the cluster of each buyer and the confidence in it, 0 to 1; both (buyers,)."""
        points = self.algorithm.points_of(buyers, self.transforms)
        clusters, confidence = self.algorithm.predict(self.model, points, self.coreset)
        return clusters, np.clip(confidence, 0.0, 1.0)

    def compare(self, buyer: "pd.DataFrame") -> Comparison:
        """Explains why `label` puts a buyer, a row of rfm_features, where it does."""
        point = self.algorithm.points_of(buyer, self.transforms)
        return self.algorithm.compare(self.model, point, self.coreset)

    def variations(self, fifths: Fifths) -> Variations:
        """Returns what could be different about a buyer, so that `label` might put them elsewhere."""
        return self.algorithm.variations(self.transforms, self.coreset, fifths)


def label_customers(connection: Connection, scorer: Scorer, as_of: datetime.date) -> AbstractContextManager[Relation]:
    """Yields a temporary table with a row per customer of a night: customer_id, cluster, confidence.

    Customers without a purchase are in cluster -1 with confidence 1. Customers pass through Python some at a time, so
    memory does not grow with their number.
    """
    return connection.computed(
        RFM_FEATURES,
        as_of,
        columns=scorer.columns,
        where="frequency > 0",
        function=partial(_labels, scorer),
        types={"cluster": "INTEGER", "confidence": "DOUBLE"},
        otherwise={"cluster": NO_CLUSTER, "confidence": 1.0},
    )


def _labels(scorer: Scorer, buyers: "pd.DataFrame") -> "pd.DataFrame":
    import pandas as pd

    clusters, confidence = scorer.label(buyers)
    return pd.DataFrame({"cluster": clusters, "confidence": confidence})
