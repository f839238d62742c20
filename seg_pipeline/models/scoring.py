"""Applies a fitted model to every customer of a night, with the transforms and numbers that the fit used."""

import datetime
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from seg_pipeline.features.tables import IS_BUYER, RFM_FEATURES
from seg_pipeline.models.coreset import Coreset, FloatArray, IntArray
from seg_pipeline.models.explanation import Comparison, FeatureChanges, QuintileLookup
from seg_pipeline.models.model import Algorithm, ClusterModel
from seg_pipeline.models.registry import ALGORITHMS
from seg_pipeline.warehouse import Connection, Relation

if TYPE_CHECKING:
    import pandas as pd

# Marks customers with no purchase, whom the model does not label.
NO_CLUSTER = -1


@dataclass(frozen=True, slots=True)
class Scorer:
    """A model with everything that it takes to label customers.

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
        """Labels buyers.

        Args:
            buyers: Rows of rfm_features with at least `columns`.

        Returns:
            The cluster of each buyer (buyers,), and the confidence in it, from 0 to 1 (buyers,).
        """
        points = self.algorithm.points_of(buyers, self.transforms)
        return self.algorithm.predict(self.model, points, self.coreset)

    def explain(self, buyer: "pd.DataFrame") -> Comparison:
        """Explains why `label` puts a buyer in their cluster.

        Args:
            buyer: One row of rfm_features with at least `columns`.
        """
        point = self.algorithm.points_of(buyer, self.transforms)
        return self.algorithm.explain(self.model, point, self.coreset)

    def changes_to_try(self, quintiles: QuintileLookup) -> FeatureChanges:
        """Returns the changes that may move a buyer to another cluster.

        Args:
            quintiles: Returns the night's cut points of a feature.
        """
        return self.algorithm.changes_to_try(self.transforms, self.coreset, quintiles)


def label_customers(connection: Connection, scorer: Scorer, as_of: datetime.date) -> AbstractContextManager[Relation]:
    """Returns a context manager that holds the labels of a night's customers in a temporary table.

    Customers with no purchase are in NO_CLUSTER with confidence 1. Python labels the buyers in batches, so memory does
    not grow with their number.

    Args:
        connection: A connection to the warehouse.
        scorer: Labels the buyers.
        as_of: The night.

    Returns:
        A context manager that yields the table, with a row per customer: customer_id, cluster, confidence.
    """
    return connection.compute_columns(
        partial(_label_batch, scorer),
        RFM_FEATURES,
        as_of,
        columns=scorer.columns,
        where=IS_BUYER,
        types={"cluster": "INTEGER", "confidence": "DOUBLE"},
        defaults={"cluster": NO_CLUSTER, "confidence": 1.0},
    )


def _label_batch(scorer: Scorer, buyers: "pd.DataFrame") -> "pd.DataFrame":
    """Returns the cluster and the confidence of each buyer as a frame, as `compute_columns` needs them."""
    import pandas as pd

    clusters, confidence = scorer.label(buyers)
    return pd.DataFrame({"cluster": clusters, "confidence": confidence})
