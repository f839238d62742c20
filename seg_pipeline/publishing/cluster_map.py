"""Places the cells of the coreset on the plane of the cluster map: their first two principal components."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import pandas as pd

from seg_pipeline.models.champions import Champion

FloatArray = npt.NDArray[np.float64]


def principal_plane(
    points: FloatArray, weights: FloatArray, features: Sequence[str]
) -> tuple[FloatArray, tuple[str, str]]:
    """Projects weighted points onto their first two principal components.

    Uses principal component analysis (Pearson 1901): the eigenvectors of the weighted covariance matrix. The loading of
    largest magnitude on each axis is positive, so that a refit seldom mirrors the map.

    Args:
        points: The cells, (cells, features), in the units of the model.
        weights: The number of customers in each cell, (cells,).
        features: The names of the features, in the order of the columns.

    Returns:
        The positions of the cells, (cells, 2), and a label for each axis that says what it is made of.
    """
    shares = weights / weights.sum()
    centred = points - shares @ points
    variances, vectors = np.linalg.eigh((centred * shares[:, None]).T @ centred)
    order = np.argsort(variances)[::-1][:2]
    axes = vectors[:, order]
    axes *= np.where(axes[np.abs(axes).argmax(axis=0), range(axes.shape[1])] < 0, -1.0, 1.0)
    positions = centred @ axes
    total = variances.sum()
    labels = [
        f"{' '.join(f'{loading:+.2f} {name}' for name, loading in zip(features, axes[:, axis], strict=True))}"
        # Rounding can make the variance of a flat axis slightly negative.
        f" ({max(0.0, variances[order[axis]] / total) if total > 0 else 0:.0%} of variance)"
        for axis in range(axes.shape[1])
    ]
    if len(labels) == 1:
        # One feature: the second axis is flat.
        return np.column_stack([positions[:, 0], np.zeros(len(positions))]), (labels[0], "")
    return positions, (labels[0], labels[1])


def champion_map(champion: Champion) -> tuple[pd.DataFrame, tuple[str, str]]:
    """Returns the cells that the champion was fitted on, placed on two axes, and a label for each axis.

    The frame has one row per cell: x, y, customers, cluster, segment_id and segment_name.
    """
    coreset = champion.scorer.coreset
    features = champion.scorer.transforms.sort_values("position")["feature"].to_list()
    positions, axis_labels = principal_plane(coreset.points, coreset.weights, features)
    cells = pd.DataFrame(
        {
            "x": positions[:, 0],
            "y": positions[:, 1],
            "customers": coreset.weights,
            "cluster": champion.scorer.model.cell_labels,
        }
    )
    return cells.merge(champion.segments[["cluster", "segment_id", "segment_name"]], on="cluster"), axis_labels
