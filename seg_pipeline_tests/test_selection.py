"""The rule that chooses, on a few candidates whose outcome can be told by eye."""

import math

import pandas as pd

from seg_pipeline.evaluation.selection import Candidate, elbow, evaluate_candidates, judge
from seg_pipeline.settings import SelectionSettings

RULE = SelectionSettings()
GRID = Candidate("rfm_grid", 10, 50.0, 0.1, 100.0, 2.0, math.nan, "10 segments are outside the 3 to 8.")


def sweep(algorithm, silhouettes, inertias=(100, 60, 40, 38, 37), refused=()):
    """Candidates for k = 2, 3, ...; those of `refused` fail a gate."""
    return [
        Candidate(algorithm, k, inertia, silhouette, 1000 * silhouette, 1 / silhouette, math.nan,
                  f"{k} is refused." if k in refused else None)
        for k, (silhouette, inertia) in enumerate(zip(silhouettes, inertias, strict=True), 2)
    ]  # fmt: skip


def outcome(candidates, **selection):
    verdicts = judge(candidates, SelectionSettings(**selection))
    return {(one.algorithm, one.k): verdict for one, verdict in zip(candidates, verdicts, strict=True)}


def chosen(verdicts):
    return [key for key, verdict in verdicts.items() if verdict.chosen]


def test_the_elbow_is_preferred_to_a_slightly_better_silhouette():
    verdicts = outcome([*sweep("kmeans", (0.6, 0.42, 0.40, 0.2, 0.2), refused=(2,)), GRID])

    assert [key for key, verdict in verdicts.items() if verdict.is_elbow] == [("kmeans", 4)]
    assert chosen(verdicts) == [("kmeans", 4)]
    assert "by elbow" in verdicts["kmeans", 4].reason
    assert verdicts["kmeans", 3].reason == "Eligible, but elbow and silhouette favour 4 segments."


def test_an_elbow_far_below_the_best_silhouette_gives_way_to_it():
    verdicts = outcome([*sweep("kmeans", (0.6, 0.42, 0.30, 0.2, 0.2), refused=(2,)), GRID])

    assert chosen(verdicts) == [("kmeans", 3)]
    assert "by best silhouette" in verdicts["kmeans", 3].reason


def test_what_fails_a_gate_is_not_chosen_and_says_which_gate():
    verdicts = outcome([*sweep("kmeans", (0.9, 0.42, 0.40, 0.2, 0.2), refused=(2, 4)), GRID])

    assert verdicts["kmeans", 2].is_best_silhouette
    assert (verdicts["kmeans", 2].rank, verdicts["kmeans", 2].reason) == (None, "2 is refused.")
    assert chosen(verdicts) == [("kmeans", 3)]


def test_the_proposals_of_the_algorithms_are_compared_by_mean_rank():
    verdicts = outcome(
        [
            *sweep("hierarchical", (0.5, 0.35, 0.33, 0.2, 0.2), refused=(2,)),
            *sweep("kmeans", (0.5, 0.4, 0.38, 0.2, 0.2), refused=(2,)),
            GRID,
        ]
    )

    assert chosen(verdicts) == [("kmeans", 4)]
    assert verdicts["kmeans", 4].rank == 1
    assert verdicts["hierarchical", 4].rank == 2
    assert verdicts["hierarchical", 4].reason == (
        "The algorithm's proposal, mean rank 2.00, behind kmeans with 4 segments."
    )
    assert verdicts["rfm_grid", 10].reason.startswith("The baseline")


def test_without_an_eligible_candidate_the_grid_is_the_fallback():
    verdicts = outcome([*sweep("kmeans", (0.6, 0.4, 0.4, 0.2, 0.2), refused=(2, 3, 4, 5, 6)), GRID])

    assert chosen(verdicts) == [("rfm_grid", 10)]
    assert "No fitted candidate is eligible" in verdicts["rfm_grid", 10].reason


def test_a_forced_choice_beats_the_gates_and_says_so():
    candidates = [
        *sweep("hierarchical", (0.5, 0.35, 0.33, 0.2, 0.2), refused=(2,)),
        *sweep("kmeans", (0.5, 0.4, 0.38, 0.2, 0.2), refused=(2, 6)),
        GRID,
    ]

    assert chosen(outcome(candidates, algorithm="hierarchical")) == [("hierarchical", 4)]
    by_k = outcome(candidates, k=3)
    assert chosen(by_k) == [("kmeans", 3)]
    assert by_k["kmeans", 4].reason == "Eligible, but not what selection.k asks for."
    assert chosen(outcome(candidates, algorithm="rfm_grid")) == [("rfm_grid", 10)]
    forced = outcome(candidates, algorithm="kmeans", k=6)
    assert chosen(forced) == [("kmeans", 6)]
    assert forced["kmeans", 6].reason == (
        "Forced by selection.algorithm and selection.k. It would be refused otherwise: 6 is refused."
    )


def test_a_curve_without_a_bend_or_with_two_points_has_no_elbow():
    assert elbow(sweep("kmeans", (0.5, 0.4), inertias=(10, 5))) is None
    assert elbow(sweep("kmeans", (0.5, 0.4, 0.3), inertias=(7, 7, 7))) is None


def test_the_report_has_one_row_per_candidate_in_order_with_one_chosen():
    rows = [
        {"algorithm": one.algorithm, "k": one.k, "inertia": one.inertia, "silhouette": one.silhouette,
         "calinski_harabasz": one.calinski_harabasz, "davies_bouldin": one.davies_bouldin, "bic": one.bic,
         "eligible": one.refusal is None, "ineligible_because": one.refusal}
        for one in (GRID, *sweep("kmeans", (0.6, 0.42, 0.40, 0.2, 0.2), refused=(2,)))
    ]  # fmt: skip

    report = evaluate_candidates(pd.DataFrame(rows), RULE)

    assert report[["algorithm", "k"]].to_records(index=False).tolist() == [
        *(("kmeans", k) for k in range(2, 7)),
        ("rfm_grid", 10),
    ]
    assert report["rank"].to_list() == [pd.NA, 2, 1, 3, 4, pd.NA]
    assert report["chosen"].to_list() == [False, False, True, False, False, False]
    assert report["reason"].notna().all()
