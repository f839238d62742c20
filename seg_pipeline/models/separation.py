"""How well the segments of a clustering are separated: whether the customers between them are fewer.

A cut through a cloud is as repeatable as a border between groups if there are many customers, so stability cannot tell
them apart. A valley can: between the means of two groups, there are fewer customers than at either.
"""

import numpy as np

from seg_pipeline.models.coreset import Coreset, IntArray, group_means

# Places between two means at which the density is taken.
_PLACES = 61
_BINS = 256


def valley_of(coreset: Coreset, labels: IntArray) -> float:
    """Returns how much of the lower peak is left in the valleys between clusters, 0 to 1; NaN for one cluster.

    For each pair of clusters, it is the density at the lowest point between their means, over the lower of the peaks on
    both sides, along the direction that separates them best (Fisher's discriminant). Each cluster counts with its worst
    pair. 1 means that there is no valley: one cloud was divided.

    Args:
        coreset: The cells.
        labels: Cluster (cells,) of each cell: 0, 1, ... without gaps.
    """
    points, weights = coreset.points, coreset.weights
    totals, means = group_means(labels, weights, points)
    k, features = means.shape
    if k < 2:
        return float("nan")
    scatters = np.empty((k, features, features))
    for cluster in range(k):
        own = labels == cluster
        offsets = points[own] - means[cluster]
        scatters[cluster] = (offsets * weights[own, None]).T @ offsets
    ratios = np.full((k, k), -np.inf)
    for one in range(k):
        for other in range(one + 1, k):
            scatter = (scatters[one] + scatters[other]) / (totals[one] + totals[other])
            # A feature without spread in both clusters would leave no direction.
            scatter += 1e-9 * np.eye(features)
            apart = means[other] - means[one]
            direction = np.linalg.solve(scatter, apart)
            direction /= np.linalg.norm(direction)
            here = (labels == one) | (labels == other)
            along = (points[here] - means[one]) @ direction
            # Silverman's rule, for the spread within the clusters and the size of the smaller one.
            width = 1.06 * np.sqrt(direction @ scatter @ direction) * min(totals[one], totals[other]) ** -0.2
            places = np.linspace(0.0, apart @ direction, _PLACES)
            # In narrow bins, so that the cost does not grow with the cells times the places.
            counts, edges = np.histogram(along, bins=_BINS, weights=weights[here])
            middles = (edges[:-1] + edges[1:]) / 2
            density = counts @ np.exp(-0.5 * ((places[None] - middles[:, None]) / width) ** 2)
            left, right = np.maximum.accumulate(density), np.maximum.accumulate(density[::-1])[::-1]
            # Between clusters far apart the density may be zero on one side; nothing is left in such a valley.
            peaks = np.minimum(left, right)
            left_over = np.divide(density, peaks, out=np.zeros_like(density), where=peaks > 0)
            ratios[one, other] = ratios[other, one] = left_over.min()
    return float(ratios.max(axis=1).mean())


def classification_criterion(coreset: Coreset, labels: IntArray) -> float:
    """Returns -2 times the log classification likelihood of Gaussian clusters with a shared covariance, with a penalty.

    The lowest is best (Friedman and Rubin 1967; the penalty is that of the integrated classification likelihood,
    Biernacki, Celeux and Govaert 2000). It needs hard labels only, so it compares across algorithms.
    """
    totals, means = group_means(labels, coreset.weights, coreset.points)
    k, features = means.shape
    customers = totals.sum()
    offsets = coreset.points - means[labels]
    within = (offsets * coreset.weights[:, None]).T @ offsets
    within += np.eye(features) * float(coreset.weights @ coreset.spread) / features
    # A floor for features without spread within the clusters.
    _, log_determinant = np.linalg.slogdet(within / customers + 1e-6 * np.eye(features))
    parameters = k * features + k - 1 + features * (features + 1) / 2
    return float(customers * log_determinant - 2 * totals @ np.log(totals / customers) + parameters * np.log(customers))
