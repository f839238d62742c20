"""A segment and a confidence for every customer of a night, from the stored model."""

import hashlib
from typing import TYPE_CHECKING

import numpy as np

from seg_pipeline.features.tables import RFM_GRID
from seg_pipeline.features.transforms import apply_transforms
from seg_pipeline.models.coreset import Coreset, IntArray
from seg_pipeline.models.model import ClusterModel
from seg_pipeline.models.registry import ALGORITHMS
from seg_pipeline.models.rfm_grid import NAME as RFM_GRID_NAME

if TYPE_CHECKING:
    import pandas as pd

# Of customers without a purchase.
NO_CLUSTER = -1


def assign(
    features: "pd.DataFrame", transforms: "pd.DataFrame", model: ClusterModel, coreset: Coreset
) -> "pd.DataFrame":
    """customer_id, segment_id, cluster, confidence, a row per customer in the order of `features`.

    Segments are numbered by the mean monetary of their customers, 1 the highest. Who has bought nothing is in segment
    0 with confidence 1.

    Args:
        features: One night's rows of rfm_features.
        transforms: The same night's rows of feature_transforms.
        model: The chosen model. The R x F grid is a rule, not distances: it labels with confidence 1.
        coreset: The one that the model was fitted on.
    """
    import pandas as pd

    buyers = (features["frequency"] > 0).to_numpy()
    bought = features[buyers]
    if model.algorithm == RFM_GRID_NAME:
        clusters, confidence = _grid_clusters(bought), np.ones(len(bought))
    else:
        clusters, confidence = ALGORITHMS[model.algorithm].predict(model, apply_transforms(bought, transforms), coreset)
    # A cluster that is nobody's is no segment.
    present, places = np.unique(clusters, return_inverse=True)
    money = bought["monetary"].to_numpy(dtype=np.float64)
    mean_money = np.bincount(places, weights=money) / np.bincount(places)
    segment_of = np.empty(len(present), dtype=np.int64)
    segment_of[np.argsort(-mean_money, kind="stable")] = np.arange(1, len(present) + 1)
    assigned = pd.DataFrame(
        {"customer_id": features["customer_id"], "segment_id": 0, "cluster": NO_CLUSTER, "confidence": 1.0}
    )
    assigned.loc[buyers, "segment_id"] = segment_of[places]
    assigned.loc[buyers, "cluster"] = clusters
    assigned.loc[buyers, "confidence"] = np.clip(confidence, 0.0, 1.0)
    return assigned


def cell_clusters(model: ClusterModel, cells: "pd.DataFrame") -> IntArray:
    """Cluster (cells,) of each row of models.coreset, numbered as `assign` numbers the customers'."""
    return _grid_clusters(cells) if model.algorithm == RFM_GRID_NAME else model.cell_labels


def _grid_clusters(rows: "pd.DataFrame") -> IntArray:
    """The grid as cluster numbers: the place of rfm_segment in the list of the grid's names."""
    place = {name: number for number, name in enumerate(RFM_GRID)}
    return np.asarray(rows["rfm_segment"].map(place), dtype=np.int64)


def model_id(model: ClusterModel, as_of: object) -> str:
    """Names a model: algorithm, k, night, and a digest of its numbers."""
    digest = hashlib.sha256()
    for numbers in (model.centers, model.weights, model.covariances, model.cell_labels):
        if numbers is not None:
            digest.update(np.ascontiguousarray(numbers).tobytes())
    return f"{model.algorithm}-{model.k}-{as_of}-{digest.hexdigest()[:8]}"
