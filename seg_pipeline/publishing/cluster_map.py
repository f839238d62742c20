"""The plane of the cluster map: the cells of the coreset on their first two principal components."""

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

    Principal component analysis of the customers (Pearson 1901): eigenvectors of the weighted covariance matrix. The
    largest loading of each axis is positive, so the map does not flip from night to night.

    Args:
        points: The cells, (cells, features).
        weights: The customers of each cell, (cells,).
        features: Names of the features, in the order of the columns.

    Returns:
        The cells' places, (cells, 2), and what each axis is made of, in words.
    """
    shares = weights / weights.sum()
    centred = points - shares @ points
    variances, vectors = np.linalg.eigh((centred * shares[:, None]).T @ centred)
    order = np.argsort(variances)[::-1][:2]
    axes = vectors[:, order]
    axes *= np.where(axes[np.abs(axes).argmax(axis=0), range(axes.shape[1])] < 0, -1.0, 1.0)
    places = centred @ axes
    total = variances.sum()
    labels = [
        f"{' '.join(f'{loading:+.2f} {name}' for name, loading in zip(features, axes[:, axis], strict=True))}"
        f" ({variances[order[axis]] / total if total > 0 else 0:.0%} of variance)"
        for axis in range(axes.shape[1])
    ]
    if len(labels) == 1:
        # One feature: the second axis is flat.
        return np.column_stack([places[:, 0], np.zeros(len(places))]), (labels[0], "")
    return places, (labels[0], labels[1])


def champion_map(champion: Champion) -> tuple[pd.DataFrame, tuple[str, str]]:
    """Returns the cells that the champion was fitted on, placed on two axes, and what the axes are made of, in words.

    The frame has x, y, customers, cluster, segment_id and segment_name, a row per cell.
    """
    coreset = champion.scorer.coreset
    features = champion.scorer.transforms.sort_values("position")["feature"].to_list()
    places, axis_labels = principal_plane(coreset.points, coreset.weights, features)
    cells = pd.DataFrame(
        {
            "x": places[:, 0],
            "y": places[:, 1],
            "customers": coreset.weights,
            "cluster": champion.scorer.model.cell_labels,
        }
    )
    return cells.merge(champion.segments[["cluster", "segment_id", "segment_name"]], on="cluster"), axis_labels
