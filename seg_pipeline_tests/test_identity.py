"""Clusters matched to segments, and names that stay."""

from itertools import permutations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays

from seg_pipeline.champions.identity import assign_segment_ids, match_clusters

TABLES = arrays(np.int64, array_shapes(min_dims=2, max_dims=2, max_side=4), elements=st.integers(0, 50))


def overlap(shared, row, column):
    return shared[row, column] / max(1, shared[row].sum() + shared[:, column].sum() - shared[row, column])


@settings(deadline=None)
@given(TABLES, st.sampled_from([0.0, 0.2, 0.3, 0.5]))
def test_as_many_customers_as_possible_keep_their_segment_in_pairs_that_overlap_enough(shared, smallest):
    def gain(row, column):
        return shared[row, column] if overlap(shared, row, column) >= smallest else 0

    pairs = {row: column for row, (column, _) in match_clusters(shared, smallest).items()}

    # Rows beyond the columns stay without a match in some of the permutations.
    rows, columns = range(shared.shape[0]), range(shared.shape[1])
    places = permutations([*columns, *[None] * len(rows)], len(rows))
    best = max(sum(gain(*pair) for pair in zip(rows, place, strict=True) if pair[1] is not None) for place in places)
    assert sum(gain(*pair) for pair in pairs.items()) == best
    assert all(gain(*pair) > 0 for pair in pairs.items())
    assert not [
        (row, column)
        for row in {*rows} - {*pairs}
        for column in {*columns} - {*pairs.values()}
        if gain(row, column) > 0
    ]


def test_a_pair_that_overlaps_too_little_takes_no_segment_from_one_that_may_match():
    shared = np.array([[20, 0, 60], [0, 20, 100], [40, 20, 0]])

    assert {row: column for row, (column, _) in match_clusters(shared, 0.3).items()} == {1: 2, 2: 0}


def test_an_overlap_is_customers_in_both_over_customers_in_either():
    pairs = match_clusters(np.array([[30, 10], [0, 60]]), 0.0)

    assert {row: column for row, (column, _) in pairs.items()} == {0: 0, 1: 1}
    assert [pairs[0][1], pairs[1][1]] == pytest.approx([30 / 40, 60 / 70])


def test_a_cluster_that_overlaps_too_little_is_no_match():
    assert list(match_clusters(np.array([[50, 45], [0, 55]]), 0.56)) == []
    assert list(match_clusters(np.array([[50, 45], [0, 55]]), 0.5)) == [0, 1]


def test_a_cluster_split_in_two_leaves_its_id_to_the_larger_part():
    pairs = match_clusters(np.array([[70, 0], [30, 0], [0, 100]]), 0.3)

    assert {row: column for row, (column, _) in pairs.items()} == {0: 0, 2: 1}


def test_matched_clusters_keep_ids_and_new_ones_get_ids_never_used_by_spend():
    assert assign_segment_ids([0, 1, 2, 3], {1: 4}, [10.0, 5.0, 30.0, 30.0], largest_id=6) == [9, 4, 7, 8]
    assert assign_segment_ids([0, 1], {}, [1.0, 2.0], largest_id=0) == [2, 1]
