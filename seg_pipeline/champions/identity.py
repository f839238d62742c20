"""Identity of segments: matches a refit's clusters to the champion's segments by the customers they share.

The numbers of clusters mean nothing from one fit to the next. So each cluster is assigned to at most one segment, and
each segment to at most one cluster, such that as many customers as possible keep their segment id.
"""

from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt

IntArray = npt.NDArray[np.int64]
FloatArray = npt.NDArray[np.float64]


def match_clusters(shared: IntArray, smallest_overlap: float) -> dict[int, tuple[int, float]]:
    """Matches clusters to segments so that as many customers as possible keep their segment.

    Only pairs whose overlap is large enough may match: customers in both over customers in either (Jaccard 1912). Among
    these, the assignment keeps the most customers (Hungarian method, Kuhn 1955; by SciPy).

    Args:
        shared: Customers (clusters, segments) in each cluster and segment.
        smallest_overlap: The smallest overlap of a match, 0 to 1.

    Returns:
        Maps a row of `shared` to its column and the overlap; rows without a match are left out.
    """
    from scipy.optimize import linear_sum_assignment

    either = shared.sum(axis=1)[:, None] + shared.sum(axis=0)[None, :] - shared
    overlaps = np.divide(shared, either, out=np.zeros(shared.shape), where=either > 0)
    # A pair that overlaps too little keeps nobody, so it cannot take a segment from a pair that may match.
    kept = np.where(overlaps >= smallest_overlap, shared, 0)
    rows, columns = linear_sum_assignment(kept, maximize=True)
    return {
        int(row): (int(column), float(overlaps[row, column]))
        for row, column in zip(rows, columns, strict=True)
        if kept[row, column] > 0
    }


def assign_segment_ids(
    clusters: Sequence[int], matches: Mapping[int, int], mean_money: Sequence[float], largest_id: int
) -> list[int]:
    """Returns the segment id of each cluster: that of the matching segment, or a new one that was never used.

    Args:
        clusters: Numbers (clusters,) of the clusters.
        matches: Maps the number of a cluster to the id of the segment that it matches.
        mean_money: Mean spend (clusters,) of each cluster; new ids are given from the highest to the lowest, and ties
            go to the cluster that comes first.
        largest_id: The largest segment id that was ever given.
    """
    by_money = sorted(range(len(clusters)), key=lambda place: -mean_money[place])
    new = [clusters[place] for place in by_money if clusters[place] not in matches]
    ids = {**matches, **{cluster: largest_id + number for number, cluster in enumerate(new, start=1)}}
    return [ids[cluster] for cluster in clusters]
