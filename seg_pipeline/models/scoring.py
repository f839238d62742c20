"""Applies a fitted model to every customer of a night, with the transforms and numbers that the fit used."""

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

# The cluster of customers without a purchase.
NO_CLUSTER = -1


@dataclass(frozen=True, slots=True)
class Scorer:
    """A model with everything that labelling customers needs.

    Attributes:
        model: The model.
        transforms: The rows of feature_transforms.
        coreset: The coreset that the model was fitted on.
    """

    model: ClusterModel
    transforms: "pd.DataFrame"
    coreset: Coreset

    @property
    def algorithm(self) -> Algorithm:
        """The algorithm that fitted the model."""
        return ALGORITHMS[self.model.algorithm]

    @property
    def columns(self) -> list[str]:
        """The columns of rfm_features that decide a customer's cluster."""
        return self.algorithm.columns(self.transforms)

    def label(self, buyers: "pd.DataFrame") -> tuple[IntArray, FloatArray]:
        """Returns the cluster of each buyer and the confidence in it, 0 to 1; both (buyers,)."""
        points = self.algorithm.points_of(buyers, self.transforms)
        clusters, confidence = self.algorithm.predict(self.model, points, self.coreset)
        return clusters, np.clip(confidence, 0.0, 1.0)

    def compare(self, buyer: "pd.DataFrame") -> Comparison:
        """Explains why `label` puts a buyer (one row of rfm_features) where it does."""
        point = self.algorithm.points_of(buyer, self.transforms)
        return self.algorithm.compare(self.model, point, self.coreset)

    def variations(self, fifths: Fifths) -> Variations:
        """Returns the changes to try on a buyer that may move them to another cluster."""
        return self.algorithm.variations(self.transforms, self.coreset, fifths)


def label_customers(connection: Connection, scorer: Scorer, as_of: datetime.date) -> AbstractContextManager[Relation]:
    """Yields a temporary table with a row per customer of a night: customer_id, cluster, confidence.

    Customers without a purchase are in cluster -1 with confidence 1. Python labels the customers in batches, so memory
    does not grow with their number.
    """
    return connection.compute_columns(
        partial(_labels, scorer),
        RFM_FEATURES,
        as_of,
        columns=scorer.columns,
        where="frequency > 0",
        types={"cluster": "INTEGER", "confidence": "DOUBLE"},
        defaults={"cluster": NO_CLUSTER, "confidence": 1.0},
    )


def _labels(scorer: Scorer, buyers: "pd.DataFrame") -> "pd.DataFrame":
    import pandas as pd

    clusters, confidence = scorer.label(buyers)
    return pd.DataFrame({"cluster": clusters, "confidence": confidence})
