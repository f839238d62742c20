"""Clusters matched to segments, and names that stay."""

from itertools import permutations

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays

from seg_pipeline.champions.identity import assign_segment_ids, match_clusters
from seg_pipeline.champions.names import keep_names, name_segments


@settings(deadline=None)
@given(arrays(np.int64, array_shapes(min_dims=2, max_dims=2, max_side=5), elements=st.integers(0, 50)))
def test_as_many_customers_as_possible_keep_their_segment(shared):
    small, large = sorted(shared.shape)
    table = shared if shared.shape[0] == small else shared.T
    best = max(sum(table[range(small), columns]) for columns in permutations(range(large), small))

    kept = sum(shared[row, column] for row, (column, _) in match_clusters(shared, 0.0).items())

    assert kept == best


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


def profiles(*scores, ids=None, recency=10.0, rhythm=float("nan")):
    table = pd.DataFrame(scores, columns=["mean_r_score", "mean_f_score", "mean_m_score"])
    table.insert(0, "segment_id", ids or range(1, len(table) + 1))
    table["median_recency_days"], table["median_frequency"] = recency, 2.0
    table["median_days_between_orders"] = rhythm
    return table


def kept(now, before_names):
    before = pd.DataFrame(before_names, columns=["segment_id", "segment_name", "grid_name"])
    return keep_names(name_segments(now), now, before)


def test_a_segment_just_over_the_border_of_its_cell_keeps_its_name():
    names = kept(profiles((4.45, 4.6, 4.0)), [(1, "Champions", "Champions")])

    assert names["segment_name"].to_list() == ["Champions"]
    assert "keeps the name Champions, which still fits" in names["name_reason"].iloc[0]


def test_a_segment_far_from_its_cell_is_renamed():
    assert kept(profiles((3.9, 4.6, 4.0)), [(1, "Champions", "Champions")])["segment_name"].to_list() == [
        "Loyal Customers"
    ]


def test_a_new_segment_does_not_take_the_name_that_another_keeps():
    names = kept(profiles((5, 5, 5), (5, 5, 4), ids=[7, 2]), [(2, "Champions, high spend", "Champions")])

    assert names["segment_name"].to_list() == ["Champions, high spend, segment 7", "Champions, high spend"]


@pytest.mark.parametrize(
    ("recency", "name"),
    [(301.0, "Loyal Customers"), (374.0, "Loyal Customers"), (376.0, "At Risk")],
)
def test_a_segment_just_past_its_own_rhythm_keeps_its_name(recency, name):
    now = profiles((3.2, 4.4, 3.0), recency=recency, rhythm=100.0)

    assert kept(now, [(1, "Loyal Customers", "Loyal Customers")])["segment_name"].to_list() == [name]


def test_the_unclustered_rest_does_not_inherit_the_name_of_a_segment():
    now = profiles((3.0, 3.0, 3.0)).assign(cluster=[0])
    before = pd.DataFrame(
        [(1, "Need Attention", "Need Attention")], columns=["segment_id", "segment_name", "grid_name"]
    )

    names = keep_names(name_segments(now, noise=0), now, before)

    assert names["segment_name"].to_list() == ["Need Attention, unclustered"]
