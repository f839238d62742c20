"""A fitted model applied to every customer of a night: the same transforms and the same numbers that fitting used."""

import datetime
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

import numpy as np

from seg_pipeline.features.tables import RFM_FEATURES, RFM_GRID
from seg_pipeline.features.transforms import apply_transforms
from seg_pipeline.models.algorithms.rfm_grid import NAME as RFM_GRID_NAME
from seg_pipeline.models.coreset import Coreset, FloatArray, IntArray
from seg_pipeline.models.model import ClusterModel
from seg_pipeline.models.registry import ALGORITHMS
from seg_pipeline.warehouse import Connection, Relation

if TYPE_CHECKING:
    import pandas as pd

# Of customers without a purchase.
NO_CLUSTER = -1


@dataclass(frozen=True, slots=True)
class Scorer:
    """A model with all that labelling takes: `transforms` as rows of feature_transforms, and the model's coreset."""

    model: ClusterModel
    transforms: "pd.DataFrame"
    coreset: Coreset

    @property
    def columns(self) -> list[str]:
        """What of rfm_features it looks at."""
        return ["rfm_segment"] if self.model.algorithm == RFM_GRID_NAME else self.transforms["feature"].to_list()

    def label(self, buyers: "pd.DataFrame") -> tuple[IntArray, FloatArray]:
        """Cluster and confidence, both (buyers,). The R x F grid is a rule, not distances: its confidence is 1."""
        if self.model.algorithm == RFM_GRID_NAME:
            return grid_clusters(buyers), np.ones(len(buyers))
        points = apply_transforms(buyers, self.transforms)
        clusters, confidence = ALGORITHMS[self.model.algorithm].predict(self.model, points, self.coreset)
        return clusters, np.clip(confidence, 0.0, 1.0)


def label_customers(connection: Connection, scorer: Scorer, as_of: datetime.date) -> AbstractContextManager[Relation]:
    """Yields a temporary table with a row per customer of a night: customer_id, cluster, confidence.

    Customers without a purchase are in cluster -1 with confidence 1. Customers pass through Python some at a time, so
    memory does not grow with them.
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


def grid_clusters(rows: "pd.DataFrame") -> IntArray:
    """The grid as cluster numbers (rows,): the place of rfm_segment in the list of the grid's names."""
    place = {name: number for number, name in enumerate(RFM_GRID)}
    return np.asarray(rows["rfm_segment"].map(place), dtype=np.int64)
