"""The rule that chooses the model, on a few candidates whose outcome is plain to see."""

import math
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from seg_pipeline.evaluation.selection import (
    Candidate,
    choice_rule,
    elbow,
    evaluate_candidates,
    has_groups,
    sensitivity,
    verdicts_of,
)
from seg_pipeline.models.gates import Sizes, failed_gate, servable
from seg_pipeline.settings import SelectionSettings

NAN = math.nan


def sizes(*customers, revenue=None):
    return Sizes(np.array(customers, dtype=float), None if revenue is None else np.array(revenue, dtype=float))


def even(k, customers=1000):
    return sizes(*[customers / k] * k)


GRID = Candidate("rfm_grid", 10, even(10), explained_share=0.6, silhouette=0.1)


def candidate(algorithm, k, silhouette, explained, stability, value=NAN, **figures):
    return Candidate(
        algorithm,
        k,
        figures.pop("sizes", even(k)),
        inertia=100.0 / k,
        explained_share=explained,
        silhouette=silhouette,
        stability=stability,
        value_share=value,
        **figures,
    )


def outcome(candidates, champion_key=None, **selection):
    verdicts = verdicts_of(candidates, SelectionSettings(**selection), champion_key)
    return {(one.algorithm, one.k): verdict for one, verdict in zip(candidates, verdicts, strict=True)}


def chosen(verdicts):
    return [key for key, verdict in verdicts.items() if verdict.chosen]


def test_the_score_is_the_weighted_mean_and_the_best_one_is_chosen():
    verdicts = outcome(
        [candidate("kmeans", 3, 0.3, 0.6, 0.9), candidate("kmeans", 5, 0.3, 0.8, 0.9), GRID], stability_weight=2
    )

    assert verdicts["kmeans", 5].score == pytest.approx((0.3 + 0.8 + 2 * 0.9) / 4)
    assert chosen(verdicts) == [("kmeans", 5)]
    assert verdicts["kmeans", 5].reason == "Its score of 0.725 is the best of 2 eligible candidates."
    assert verdicts["kmeans", 3].reason == "Its score is 0.050 below that of kmeans with 5 segments."
    # A figure below zero counts as zero.
    assert outcome([candidate("kmeans", 3, -0.3, 0.6, 0.9), GRID])["kmeans", 3].score == pytest.approx(0.5)


def test_value_counts_as_the_share_of_what_can_be_reached():
    candidates = [candidate("kmeans", 4, 0.3, 0.6, 0.9, 0.4), candidate("kmeans", 5, 0.3, 0.6, 0.9, 0.8), GRID]

    verdicts = outcome(candidates, value_weight=2)

    assert verdicts["kmeans", 4].score == pytest.approx((0.3 + 0.6 + 0.9 + 2 * 0.4) / 5)
    assert verdicts["kmeans", 5].score == pytest.approx((0.3 + 0.6 + 0.9 + 2 * 0.8) / 5)
    assert "weighted 1 : 1 : 1 : 2" in choice_rule(SelectionSettings(value_weight=2))


def test_the_error_of_a_score_follows_from_those_of_stability_and_value():
    one = candidate("kmeans", 4, 0.3, 0.6, 0.8, 0.4, stability_error=0.03, value_error=0.08)

    verdict = outcome([one, GRID])["kmeans", 4]

    assert verdict.score_error == pytest.approx(math.hypot(0.03 / 4, 0.08 / 4))


def test_candidates_within_a_standard_error_are_equally_good_and_the_fewest_segments_win():
    four = candidate("kmeans", 4, 0.3, 0.69, 0.9)
    six = candidate("kmeans", 6, 0.3, 0.72, 0.9, stability_error=0.05)

    verdicts = outcome([four, six, GRID])

    assert chosen(verdicts) == [("kmeans", 4)]
    assert verdicts["kmeans", 4].rank == 2
    assert verdicts["kmeans", 4].reason == (
        "Its score of 0.630 is within one standard error (0.017) of the best (kmeans with 6 segments, 0.640), and it"
        " has the fewest segments of the candidates of which that is true."
    )
    assert verdicts["kmeans", 6].reason.endswith("within the tolerance, but it has more segments.")
    assert chosen(outcome([four, six, GRID], tolerance_errors=0)) == [("kmeans", 6)]
    assert chosen(outcome([four, replace(six, stability_error=0.01), GRID])) == [("kmeans", 6)]


def test_among_equally_good_ones_the_champions_kind_goes_first_then_more_value_than_the_grid():
    three, four, five, six = (
        candidate("kmeans", k, 0.3, 0.6, 0.9, stability_error=0.1, above_grid=k >= 5) for k in (3, 4, 5, 6)
    )

    verdicts = outcome([three, four, five, six, GRID])
    assert chosen(verdicts) == [("kmeans", 5)]
    assert verdicts["kmeans", 3].reason.endswith("its value does not lie above that of the R x F grid beyond chance.")
    assert chosen(outcome([three, four, five, six, GRID], ("kmeans", 6))) == [("kmeans", 6)]
    kept = outcome([three, four, five, six, GRID], ("kmeans", 4))
    assert chosen(kept) == [("kmeans", 4)]
    assert kept["kmeans", 5].reason.endswith("it does not have the champion's algorithm and number of segments.")
    # Beyond the tolerance it is not kept.
    much_worse = replace(four, silhouette=0.0)
    assert chosen(outcome([three, much_worse, five, GRID], ("kmeans", 4))) == [("kmeans", 5)]


def test_the_reason_for_the_choice_names_what_was_preferred():
    best = candidate("kmeans", 4, 0.3, 0.7, 0.9, stability_error=0.1)
    worth_more = candidate("kmeans", 6, 0.3, 0.69, 0.9, above_grid=True)

    verdicts = outcome([best, worth_more, GRID])

    assert verdicts["kmeans", 6].reason == (
        "Its score of 0.630 is within one standard error (0.033) of the best (kmeans with 4 segments, 0.633), and its"
        " value lies above that of the R x F grid beyond chance."
    )
    kept = outcome([best, candidate("kmeans", 3, 0.3, 0.69, 0.9), GRID], ("kmeans", 4))["kmeans", 4]
    assert (kept.chosen, kept.reason) == (True, "Its score of 0.633 is the best of 2 eligible candidates.")


def test_among_equally_few_segments_the_higher_score_is_chosen():
    verdicts = outcome([candidate("hierarchical", 4, 0.3, 0.6, 0.7), candidate("kmeans", 4, 0.3, 0.6, 0.71), GRID])

    assert chosen(verdicts) == [("kmeans", 4)]


def test_a_candidate_that_was_not_measured_in_full_has_no_score_and_is_not_chosen():
    candidates = [candidate("kmeans", 3, 0.3, 0.6, 0.9, 0.4), candidate("kmeans", 5, 0.9, 0.9, 0.9), GRID]

    verdicts = outcome(candidates)

    assert math.isnan(verdicts["kmeans", 5].score)
    assert (verdicts["kmeans", 5].rank, verdicts["kmeans", 5].reason) == (
        None,
        "It was not measured in full, so it has no score.",
    )
    assert chosen(verdicts) == [("kmeans", 3)]
    # The grid has no stability.
    assert math.isnan(verdicts["rfm_grid", 10].score)


def test_what_was_measured_for_no_candidate_does_not_count():
    verdicts = outcome([candidate("kmeans", 3, 0.3, 0.6, NAN), candidate("kmeans", 4, 0.3, 0.3, NAN), GRID])

    assert verdicts["kmeans", 4].score == pytest.approx(0.3)


def test_what_fails_a_gate_is_not_chosen_and_says_which_gate():
    verdicts = outcome([candidate("kmeans", 2, 0.9, 0.9, 0.9), candidate("kmeans", 3, 0.3, 0.6, 0.9), GRID])

    two = verdicts["kmeans", 2]
    assert (two.is_best_silhouette, two.eligible, two.rank) == (True, False, None)
    assert two.reason == "2 segments is outside the range of 3 to 8 that teams can serve."
    assert chosen(verdicts) == [("kmeans", 3)]
    assert verdicts["rfm_grid", 10].reason.startswith("This is the baseline")


@pytest.mark.parametrize(
    ("clusters", "stability", "refusal"),
    [
        (sizes(500, 480, 20), 0.9, "The smallest segment has 20 customers (2.00%) and 0.0% of the revenue: a segment"),
        (sizes(5000, 4900, 100), 0.9, "The smallest segment has 100 customers (1.00%) and 0.0% of the revenue"),
        (sizes(500, 480, 20, revenue=(400, 450, 150)), 0.9, None),
        (sizes(500, 480, 20, revenue=(400, 550, 50)), 0.9, "The smallest segment has 20 customers (2.00%) and 5.0%"),
        (sizes(500, 480, 20, revenue=(-400, -450, 150)), 0.9, "The smallest segment has 20 customers"),
        (sizes(800, 100, 100), 0.9, "The largest segment has 80.00% of the customers"),
        (sizes(400, 300, 300), 0.4, "Stability 0.40 is below the minimum of 0.5"),
        (sizes(400, 300, 300), NAN, None),
        (sizes(50, 40), 0.9, "2 segments is outside the range of 3 to 3 that teams can serve."),
        (sizes(45, 44), 0.9, None),
        (sizes(30, 30, 20), 0.9, "3 segments are too many for 80 buyers: a segment needs at least 30 customers."),
        (sizes(59), 0.9, None),
        (sizes(900), 0.9, "1 segment is outside the range of 3 to 8 that teams can serve."),
    ],
)
def test_the_gates(clusters, stability, refusal):
    found = failed_gate(clusters, stability, SelectionSettings())

    assert found is None if refusal is None else found.startswith(refusal)


def test_with_few_customers_there_are_fewer_segments():
    ranges = [servable(SelectionSettings(), customers) for customers in (10, 59, 60, 89, 90, 239, 240, 10_000)]

    assert ranges == [(1, 1), (1, 1), (2, 2), (2, 2), (3, 3), (3, 7), (3, 8), (3, 8)]


def test_a_shop_with_few_buyers_is_one_segment_and_says_so():
    single, pair = (candidate("kmeans", k, NAN, 0.5, 0.9, sizes=even(k, 50)) for k in (1, 2))

    verdicts = outcome([single, pair, replace(GRID, sizes=even(10, 50))])

    assert chosen(verdicts) == [("kmeans", 1)]
    assert verdicts["kmeans", 1].reason == (
        "50 buyers are too few for two segments of at least 30 customers, so all are one segment."
    )


def test_without_an_eligible_candidate_the_grid_is_the_last_resort():
    verdicts = outcome([candidate("kmeans", 3, 0.3, 0.6, 0.2), GRID])

    assert chosen(verdicts) == [("rfm_grid", 10)]
    assert verdicts["rfm_grid", 10].reason == "No fitted candidate is eligible, so the public R x F grid is used."


def test_all_are_one_segment_if_those_of_the_grid_would_be_too_small_as_well():
    small = replace(GRID, sizes=even(10, 100))
    candidates = [candidate("kmeans", k, 0.3, 0.6, 0.2, sizes=even(k, 100)) for k in (1, 3)]

    verdicts = outcome([*candidates, small])

    assert chosen(verdicts) == [("kmeans", 1)]
    assert verdicts["kmeans", 1].reason == (
        "No fitted candidate is eligible, and 100 buyers are too few for the segments of the public R x F grid with 30"
        " customers each, so all are one segment."
    )


def test_a_forced_choice_beats_the_gates_and_says_so():
    candidates = [
        candidate("hierarchical", 4, 0.3, 0.6, 0.7),
        candidate("kmeans", 4, 0.4, 0.7, 0.9),
        candidate("kmeans", 3, 0.3, 0.6, 0.9),
        candidate("kmeans", 6, 0.3, 0.6, 0.1),
        GRID,
    ]

    assert chosen(outcome(candidates, algorithm="hierarchical")) == [("hierarchical", 4)]
    by_k = outcome(candidates, k=3)
    assert chosen(by_k) == [("kmeans", 3)]
    assert by_k["kmeans", 4].reason == "It is eligible, but the choice is forced by selection.k."
    assert chosen(outcome(candidates, algorithm="rfm_grid")) == [("rfm_grid", 10)]
    forced = outcome(candidates, algorithm="kmeans", k=6)
    assert chosen(forced) == [("kmeans", 6)]
    assert forced["kmeans", 6].reason == (
        "The choice is forced by selection.algorithm and selection.k. Otherwise it would be rejected: Stability 0.10 is"
        " below the minimum of 0.5: refits on bootstrap samples give different clusters."
    )


def test_sensitivity_shows_where_the_winner_changes():
    candidates = [candidate("kmeans", 3, 0.5, 0.5, 0.9), candidate("kmeans", 6, 0.45, 0.8, 0.9), GRID]

    winners = {one.scenario: one.k for one in sensitivity(candidates, SelectionSettings(), unclipped=candidates[::2])}

    assert winners["as set"] == 6
    assert winners["explained_weight = 0"] == 3
    assert winners["silhouette_weight = 2"] == 6
    assert winners["features.clip = 0"] == 3
    assert list(winners)[9:] == [
        "tolerance_errors = 0",
        "tolerance_errors = 2",
        "smallest_customers = 1",
        "smallest_share = 0",
        "largest_share = 1",
        "smallest_stability = -1",
        "features.clip = 0",
    ]


def test_sensitivity_says_how_few_customers_are_behind_a_gate_that_refuses_most_candidates():
    odd = [candidate("kmeans", k, 0.3, 0.5 + k / 10, 0.9, sizes=sizes(5, *even(k - 1, 995).customers)) for k in (4, 5)]
    candidates = [candidate("kmeans", 3, 0.3, 0.6, 0.9), *odd, GRID]

    of = {one.scenario: one for one in sensitivity(candidates, SelectionSettings(smallest_customers=1))}

    assert of["as set"].k == 3
    assert (of["smallest_share = 0"].k, of["smallest_share = 0"].note) == (
        5,
        "This gate alone refuses 2 of 3 candidates, because of segments with at most 0.5% of the customers.",
    )
    assert [one.scenario for one in of.values() if one.note] == ["smallest_share = 0"]


@pytest.mark.parametrize(
    ("jaccard", "valley", "groups"),
    [(0.75, 0.8, True), (0.74, 0.5, False), (0.9, 0.81, False), (NAN, 0.5, None), (0.9, NAN, None)],
)
def test_the_data_have_groups_if_all_clusters_are_stable_and_valleys_lie_between_them(jaccard, valley, groups):
    assert has_groups(jaccard, valley) is groups


def test_if_the_data_have_groups_there_are_as_many_segments():
    three, four, other_four, five = (
        candidate(algorithm, k, silhouette, 0.6, 0.9, jaccard=(0.9,) * k, valley=0.6, classification_criterion=-fit)
        for algorithm, k, silhouette, fit in
        (("kmeans", 3, 0.5, 1.0), ("kmeans", 4, 0.3, 3.0), ("hierarchical", 4, 0.31, 2.0), ("kmeans", 5, 0.2, 2.0))
    )  # fmt: skip

    verdicts = outcome([three, four, other_four, five, GRID])

    assert chosen(verdicts) == [("hierarchical", 4)]
    assert verdicts["hierarchical", 4].reason == (
        "The data have 4 groups, and it has as many segments. Its score of 0.603 is the best of 2 eligible candidates."
    )
    assert verdicts["kmeans", 3].reason == "The data have 4 groups, and it has 3 segments."
    assert verdicts["kmeans", 4].reason == "Its score is 0.003 below that of hierarchical with 4 segments."
    # Without valleys, a continuum was divided, and the score decides.
    assert chosen(outcome([three, replace(four, valley=0.9), other_four, five, GRID])) == [("kmeans", 3)]


def curve(inertias):
    return [replace(candidate("kmeans", k, 0.5, 0.5, 0.9), inertia=inertia) for k, inertia in enumerate(inertias, 2)]


def test_the_elbow_is_where_the_curve_bends():
    candidates = curve((100, 60, 40, 38, 37))

    assert elbow(candidates) is candidates[2]
    assert [key for key, verdict in outcome([*candidates, GRID]).items() if verdict.is_elbow] == [("kmeans", 4)]


def test_a_curve_without_a_bend_or_with_two_points_has_no_elbow():
    assert elbow(curve((10, 5))) is None
    assert elbow(curve((7, 7, 7))) is None


def test_the_report_has_one_row_per_candidate_in_order_with_one_chosen():
    rows = pd.DataFrame(
        {
            "algorithm": ["rfm_grid", "kmeans", "kmeans"],
            "k": [2, 3, 2],
            "inertia": [9.0, 5.0, 7.0],
            "explained_share": [0.6, 0.6, 0.4],
            "silhouette": [0.1, 0.3, 0.4],
            "bic": None,
            "stability": [None, 0.9, 0.9],
            "stability_error": [None, 0.01, 0.01],
            "value_share": None,
            "value_error": None,
            "valley": 0.9,
            "classification_criterion": 1.0,
            "above_grid": pd.array([None, None, None], dtype="boolean"),
            "sizes": [[50, 50], [40, 30, 30], [50, 50]],
            "revenues": [None, None, [5.0, 7.0]],
            "jaccard": [None, [0.9, 0.8, 0.8], [0.9, 0.9]],
        }
    )

    report = evaluate_candidates(rows, SelectionSettings(smallest_customers=10))

    assert report[["algorithm", "k"]].to_records(index=False).tolist() == [
        ("kmeans", 2),
        ("kmeans", 3),
        ("rfm_grid", 2),
    ]
    assert report["rank"].to_list() == [pd.NA, 1, pd.NA]
    assert report["chosen"].to_list() == [False, True, False]
    assert report["reason"].notna().all()
    assert not {"sizes", "revenues", "jaccard"} & set(report)
