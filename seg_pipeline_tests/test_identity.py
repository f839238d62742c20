"""Clusters matched to segments, and names that stay."""

from itertools import permutations

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays

from seg_pipeline.champions.identity import assign_segment_ids, match_clusters
from seg_pipeline.champions.names import DISTINGUISHING_SCORES, LEVELS, name_segments

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


def profiles(*scores, ids=None, recency=10.0, rhythm=float("nan")):
    table = pd.DataFrame(scores, columns=["mean_r_score", "mean_f_score", "mean_m_score"])
    table.insert(0, "segment_id", ids or range(1, len(table) + 1))
    table["median_recency_days"], table["median_frequency"] = recency, 2.0
    table["median_days_between_orders"] = rhythm
    return table


def kept(now, before_names, **options):
    before = pd.DataFrame(before_names, columns=["segment_id", "segment_name", "grid_name"])
    return name_segments(now, before=before, **options)


def test_a_segment_just_over_the_border_of_its_cell_keeps_its_name():
    names = kept(profiles((4.45, 4.6, 4.0)), [(1, "Champions", "Champions")])

    assert names["segment_name"].to_list() == ["Champions"]
    assert "keeps the name Champions, which still fits" in names["name_reason"].iloc[0]


def test_a_segment_far_from_its_cell_is_renamed():
    assert kept(profiles((3.9, 4.6, 4.0)), [(1, "Champions", "Champions")])["segment_name"].to_list() == [
        "Loyal Customers"
    ]


HIGH_AND_LOW = [(1, "Champions, high spend", "Champions"), (2, "Champions, low spend", "Champions")]
BY_ORDERS = [(1, "Champions, low order count", "Champions"), (2, "Champions, high order count", "Champions")]


@pytest.mark.parametrize(
    ("ids", "scores", "before", "names"),
    [
        # A third one joins.
        ([1, 2, 7], [4.5, 4.0, 4.8], HIGH_AND_LOW, ["medium spend", "low spend", "high spend"]),
        # One is gone: no word stands alone.
        ([2], [4.0], HIGH_AND_LOW, [""]),
        # The two have changed places.
        ([1, 2], [4.0, 4.5], HIGH_AND_LOW, ["low spend", "high spend"]),
        # One is replaced by another.
        ([7, 2], [3.5, 4.0], HIGH_AND_LOW, ["low spend", "high spend"]),
        # A segment keeps a name that had no word before.
        ([1, 7], [3.5, 4.0], [(1, "Champions", "Champions")], ["low spend", "high spend"]),
    ],
)
def test_words_of_level_are_given_again_among_the_segments_that_share_a_name(ids, scores, before, names):
    now = profiles(*[(4.9, 4.9, score) for score in scores], ids=ids)

    assert kept(now, before)["segment_name"].to_list() == [f"Champions, {name}".removesuffix(", ") for name in names]


def test_the_same_segments_are_distinguished_by_the_same_score_as_long_as_it_orders_them():
    now = profiles((5, 4.6, 5), (5, 4.8, 2))

    assert kept(now, BY_ORDERS)["segment_name"].to_list() == [name for _, name, _ in BY_ORDERS]
    # With equal order counts, or other segments, the score in which they differ most takes over.
    assert kept(profiles((5, 5, 5), (5, 5, 2)), BY_ORDERS)["segment_name"].to_list() == [
        "Champions, high spend",
        "Champions, low spend",
    ]
    assert kept(now.assign(segment_id=[1, 7]), BY_ORDERS)["segment_name"].to_list() == [
        "Champions, high spend",
        "Champions, low spend",
    ]


def test_the_reason_of_a_kept_name_says_where_the_scores_lie_and_among_whom_the_word_holds():
    names = kept(profiles((4.4, 4.6, 4.0), (5, 5, 5)), [(1, "Champions", "Champions")])

    assert names["segment_name"].to_list() == ["Champions, low spend", "Champions, high spend"]
    assert (
        names["name_reason"]
        .iloc[0]
        .endswith(
            " The segment keeps the name Champions, which still fits."
            " Among the 2 segments of that name, its spend is low (mean score 4.0)."
        )
    )


scores = st.integers(4, 20).map(lambda quarters: quarters / 4)


@settings(deadline=None, max_examples=60)
@given(
    st.lists(st.tuples(scores, scores, scores), min_size=1, max_size=7),
    st.lists(st.tuples(scores, scores, scores), min_size=1, max_size=7),
    st.permutations(range(1, 8)),
)
def test_no_word_of_level_contradicts_its_score_or_stands_alone_at_any_takeover(first, second, ids):
    before = name_segments(profiles(*first))
    now = profiles(*second, ids=ids[: len(second)])

    names = kept(
        now, [(number, *row) for number, row in enumerate(before[["segment_name", "grid_name"]].to_numpy(), 1)]
    )

    assert names["segment_name"].is_unique
    for grid_name, namesakes in names.groupby("grid_name"):
        levels = namesakes["segment_name"].str.removeprefix(grid_name).str.removeprefix(", ")
        if len(namesakes) == 1:
            assert levels.to_list() == [""]
            continue
        [measure] = {level.removeprefix("level ").split(" ", 1 if "level" not in level else 3)[-1] for level in levels}
        [score] = [column for column, words in DISTINGUISHING_SCORES.items() if words == measure]
        order = LEVELS.get(len(levels), [f"level {place} of {len(levels)}" for place in range(1, len(levels) + 1)])
        by_word = [names.index[names["segment_name"] == f"{grid_name}, {word} {measure}"][0] for word in order]
        assert now.loc[by_word, score].is_monotonic_increasing


@pytest.mark.parametrize(
    ("recency", "name"),
    [(301.0, "Loyal Customers"), (374.0, "Loyal Customers"), (376.0, "At Risk")],
)
def test_a_segment_just_past_its_own_rhythm_keeps_its_name(recency, name):
    now = profiles((3.2, 4.4, 3.0), recency=recency, rhythm=100.0)

    assert kept(now, [(1, "Loyal Customers", "Loyal Customers")])["segment_name"].to_list() == [name]


def test_the_unclustered_rest_does_not_inherit_the_name_of_a_segment():
    now = profiles((3.0, 3.0, 3.0)).assign(cluster=[0])

    names = kept(now, [(1, "Need Attention", "Need Attention")], noise=0)

    assert names["segment_name"].to_list() == ["Need Attention, unclustered"]
