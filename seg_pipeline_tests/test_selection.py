"""The rule that chooses the model, on a few candidates whose outcome is plain to see."""

import math

import pandas as pd
import pytest

from seg_pipeline.evaluation.selection import (
    Candidate,
    candidates_of,
    choice_rule,
    elbow,
    evaluate_candidates,
    sensitivity,
    verdicts_of,
)
from seg_pipeline.settings import SelectionSettings

NAN = math.nan
GRID = Candidate("rfm_grid", 10, 50.0, 0.6, 0.1, NAN, NAN, "10 segments are outside the 3 to 8.")


def candidate(algorithm, k, silhouette, explained, stability, refusal=None, value=NAN):
    return Candidate(algorithm, k, 100.0 / k, explained, silhouette, NAN, stability, refusal, value)


def outcome(candidates, **selection):
    verdicts = verdicts_of(candidates, SelectionSettings(**selection))
    return {(one.algorithm, one.k): verdict for one, verdict in zip(candidates, verdicts, strict=True)}


def chosen(verdicts):
    return [key for key, verdict in verdicts.items() if verdict.chosen]


def test_the_score_is_the_weighted_mean_and_the_best_one_is_chosen():
    verdicts = outcome(
        [candidate("kmeans", 3, 0.3, 0.6, 0.9), candidate("kmeans", 5, 0.3, 0.8, 0.9), GRID],
        silhouette_weight=1, explained_weight=1, stability_weight=2,
    )  # fmt: skip

    assert verdicts["kmeans", 5].score == pytest.approx((0.3 + 0.8 + 2 * 0.9) / 4)
    assert chosen(verdicts) == [("kmeans", 5)]
    assert verdicts["kmeans", 5].reason == "Its score of 0.725 is the best of 2 eligible candidates."
    assert verdicts["kmeans", 3].reason == "Its score is 0.050 below that of kmeans with 5 segments."


def test_within_the_tolerance_the_fewest_segments_are_chosen():
    candidates = [candidate("kmeans", 4, 0.3, 0.69, 0.9), candidate("kmeans", 6, 0.3, 0.72, 0.9), GRID]

    verdicts = outcome(candidates, tolerance=0.02)

    assert chosen(verdicts) == [("kmeans", 4)]
    assert verdicts["kmeans", 4].rank == 2
    assert verdicts["kmeans", 4].reason == (
        "Its score of 0.630 is within 0.02 of the best (kmeans with 6 segments, 0.640), and it has the fewest segments"
        " of the candidates within that distance."
    )
    assert "within the tolerance, but it has more segments" in verdicts["kmeans", 6].reason
    assert chosen(outcome(candidates, tolerance=0)) == [("kmeans", 6)]


def test_among_equally_few_segments_the_higher_score_is_chosen():
    verdicts = outcome([candidate("hierarchical", 4, 0.3, 0.6, 0.7), candidate("kmeans", 4, 0.3, 0.6, 0.71), GRID])

    assert chosen(verdicts) == [("kmeans", 4)]


def test_what_fails_a_gate_is_not_chosen_and_says_which_gate():
    verdicts = outcome(
        [candidate("kmeans", 2, 0.9, 0.9, 0.9, "2 is refused."), candidate("kmeans", 3, 0.3, 0.6, 0.9), GRID]
    )

    assert verdicts["kmeans", 2].is_best_silhouette
    assert (verdicts["kmeans", 2].rank, verdicts["kmeans", 2].reason) == (None, "2 is refused.")
    assert chosen(verdicts) == [("kmeans", 3)]
    assert verdicts["rfm_grid", 10].reason.startswith("This is the baseline")


def test_without_an_eligible_candidate_the_grid_is_the_fallback():
    verdicts = outcome([candidate("kmeans", 3, 0.3, 0.6, 0.2, "Too unstable."), GRID])

    assert chosen(verdicts) == [("rfm_grid", 10)]
    assert verdicts["rfm_grid", 10].reason == "No fitted candidate is eligible, so the public R x F grid is used."


def test_a_stability_that_was_not_measured_does_not_count():
    verdicts = outcome([candidate("kmeans", 3, 0.3, 0.6, NAN), GRID])

    assert verdicts["kmeans", 3].score == pytest.approx(0.45)


def test_value_counts_like_the_other_figures_unless_it_was_not_tested():
    candidates = [candidate("kmeans", 4, 0.3, 0.6, 0.9, value=0.4), candidate("kmeans", 5, 0.3, 0.6, 0.9), GRID]

    verdicts = outcome(candidates, value_weight=2)

    assert verdicts["kmeans", 4].score == pytest.approx((0.3 + 0.6 + 0.9 + 2 * 0.4) / 5)
    assert verdicts["kmeans", 5].score == pytest.approx(0.6)
    assert "weighted 1 : 1 : 1 : 2" in choice_rule(SelectionSettings(value_weight=2))


def test_a_forced_choice_beats_the_gates_and_says_so():
    candidates = [
        candidate("hierarchical", 4, 0.3, 0.6, 0.7),
        candidate("kmeans", 4, 0.4, 0.7, 0.9),
        candidate("kmeans", 3, 0.3, 0.6, 0.9),
        candidate("kmeans", 6, 0.3, 0.6, 0.1, "6 is refused."),
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
        "The choice is forced by selection.algorithm and selection.k. Otherwise it would be rejected: 6 is refused."
    )


def test_sensitivity_shows_where_the_winner_changes():
    candidates = [candidate("kmeans", 3, 0.5, 0.5, 0.9), candidate("kmeans", 6, 0.3, 0.8, 0.9), GRID]

    winners = {one.scenario: one.k for one in sensitivity(candidates, SelectionSettings(tolerance=0))}

    assert winners["as set"] == 6
    assert winners["explained_weight = 0"] == 3
    assert winners["silhouette_weight = 2"] == 3
    assert winners["stability_weight = 0"] == 6
    assert len(winners) == 10


def sweep(inertias):
    return [Candidate("kmeans", k, inertia, 0.5, 0.5, NAN, 0.9, None) for k, inertia in enumerate(inertias, 2)]


def test_the_elbow_is_where_the_curve_bends():
    candidates = sweep((100, 60, 40, 38, 37))

    assert elbow(candidates) == candidates[2]
    assert [key for key, verdict in outcome([*candidates, GRID]).items() if verdict.is_elbow] == [("kmeans", 4)]


def test_a_curve_without_a_bend_or_with_two_points_has_no_elbow():
    assert elbow(sweep((10, 5))) is None
    assert elbow(sweep((7, 7, 7))) is None


def test_the_report_has_one_row_per_candidate_in_order_with_one_chosen():
    candidates = [GRID, candidate("kmeans", 3, 0.3, 0.6, 0.9), candidate("kmeans", 2, 0.4, 0.4, 0.9, "2 is refused.")]
    rows = pd.DataFrame(
        [
            {
                **{name: getattr(one, name) for name in ("algorithm", "k", "inertia", "explained_share")},
                **{name: getattr(one, name) for name in ("silhouette", "bic", "stability", "value")},
                "eligible": one.refusal is None,
                "reason": one.refusal,
            }
            for one in candidates
        ]
    )

    report = evaluate_candidates(rows, SelectionSettings())

    assert report[["algorithm", "k"]].to_records(index=False).tolist() == [
        ("kmeans", 2),
        ("kmeans", 3),
        ("rfm_grid", 10),
    ]
    assert report["rank"].to_list() == [pd.NA, 1, pd.NA]
    assert report["chosen"].to_list() == [False, True, False]
    assert report["reason"].notna().all()
    # The rule can be applied to the report again, for example with other weights.
    assert [one.refusal is None for one in candidates_of(report)] == [False, True, False]


def test_within_the_tolerance_the_champions_algorithm_and_number_of_segments_are_kept():
    three, four = candidate("kmeans", 3, 0.30, 0.6, 0.9), candidate("kmeans", 4, 0.30, 0.63, 0.9)

    def choice(champion_key, *candidates):
        verdicts = verdicts_of([*candidates, GRID], SelectionSettings(tolerance=0.02), champion_key)
        return next(
            (one.k, verdict.reason) for one, verdict in zip(candidates, verdicts, strict=False) if verdict.chosen
        )

    assert choice(None, three, four)[0] == 3
    assert choice(("kmeans", 4), three, four)[0] == 4
    assert choice(("gaussian_mixture", 4), three, four)[0] == 3
    assert choice(("kmeans", 3), three, four)[1].endswith("and it has the champion's algorithm and number of segments.")
    assert choice(("kmeans", 3), candidate("kmeans", 3, 0.1, 0.6, 0.9), four)[0] == 4
