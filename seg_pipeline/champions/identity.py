"""Segments that mean the same tomorrow: a refit's clusters matched to the champion's segments on shared customers.

Numbers of clusters mean nothing from one fit to the next. Here each cluster takes the id of the segment that most of
its customers were in, one id to one cluster, such that as many customers as possible keep theirs.
"""

from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt

IntArray = npt.NDArray[np.int64]
FloatArray = npt.NDArray[np.float64]


def matched(shared: IntArray, smallest_overlap: float) -> dict[int, tuple[int, float]]:
    """The pairs of clusters and segments that are the same, with their overlap.

    The assignment that keeps the most customers (Hungarian method, Kuhn 1955; by SciPy), of which a pair counts when
    its overlap is large enough: customers in both over customers in either (Jaccard 1912).

    Parameters
    ----------
    shared : (clusters, segments)
        Customers in each cluster and segment.
    smallest_overlap : float
        0 to 1.

    Returns
    -------
    Row of `shared` -> column of `shared` and overlap; rows without a match are left out.
    """
    from scipy.optimize import linear_sum_assignment

    either = shared.sum(axis=1)[:, None] + shared.sum(axis=0)[None, :] - shared
    overlaps = np.divide(shared, either, out=np.zeros(shared.shape), where=either > 0)
    rows, columns = linear_sum_assignment(shared, maximize=True)
    return {
        int(row): (int(column), float(overlaps[row, column]))
        for row, column in zip(rows, columns, strict=True)
        if shared[row, column] > 0 and overlaps[row, column] >= smallest_overlap
    }


def identified(
    clusters: Sequence[int], matches: Mapping[int, int], mean_money: Sequence[float], largest_id: int
) -> list[int]:
    """Segment id of each cluster: the matched one's, else a new one that was never used.

    Parameters
    ----------
    clusters : (clusters,)
        Numbers of the clusters.
    matches : cluster number -> segment id
    mean_money : (clusters,)
        New ids go by it, the highest first; of equal ones the cluster that comes first.
    largest_id : int
        The largest id ever given.
    """
    by_money = sorted(range(len(clusters)), key=lambda place: -mean_money[place])
    new = [clusters[place] for place in by_money if clusters[place] not in matches]
    ids = {**matches, **{cluster: largest_id + number for number, cluster in enumerate(new, start=1)}}
    return [ids[cluster] for cluster in clusters]
