"""Selection: one rule that ranks the candidates, chooses the model of the segments, and gives a reason for each.

Silhouette alone picks two segments on nearly every RFM table, buyers and near non-buyers, which is of no use to a team.
So the rule starts from the number of segments a team can serve, and weighs how well the segments are separated against
how much of the variance they explain, how stable they are, and what they would have been worth.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from seg_pipeline.models.registry import ALGORITHMS
from seg_pipeline.settings import SelectionSettings

if TYPE_CHECKING:
    import pandas as pd

# Of silhouette, explained share, stability and value.
Weights = tuple[float, float, float, float]
# Algorithm and number of segments.
CandidateKey = tuple[str, int]


@dataclass(frozen=True, slots=True)
class Candidate:
    """The figures of a candidate that the rule uses; NaN if a figure does not apply or was not measured.

    Attributes:
        algorithm: Name of the algorithm.
        k: Number of segments.
        inertia: Within-cluster sum of squares.
        explained_share: Share of the variance of the features that lies between the segments, 0 to 1.
        silhouette: Mean silhouette, -1 to 1.
        bic: Bayesian information criterion, of a mixture only.
        stability: Mean adjusted Rand index with refits on bootstrap samples.
        refusal: The gate that it fails, in a sentence; None if it passes all.
        value: Explained share of next-period revenue in the value test, 0 to 1.
    """

    algorithm: str
    k: int
    inertia: float
    explained_share: float
    silhouette: float
    bic: float
    stability: float
    refusal: str | None
    value: float = math.nan

    @property
    def key(self) -> CandidateKey:
        return self.algorithm, self.k

    @property
    def name(self) -> str:
        return f"{self.algorithm} with {self.k} segments"

    @property
    def is_baseline(self) -> bool:
        """Whether it is the baseline, which is never ranked, and chosen only by force or as the last resort."""
        return ALGORITHMS[self.algorithm].is_baseline

    def score(self, weights: Weights) -> float:
        """Returns the weighted mean of silhouette, explained share, stability and value.

        A figure that was not measured does not count; one below zero counts as zero.
        """
        figures = (self.silhouette, self.explained_share, self.stability, self.value)
        terms = [
            (weight, max(figure, 0.0))
            for weight, figure in zip(weights, figures, strict=True)
            if not math.isnan(figure)
        ]
        total = sum(weight for weight, _ in terms)
        return sum(weight * figure for weight, figure in terms) / total if total > 0 else 0.0


@dataclass(frozen=True, slots=True)
class Verdict:
    """The result of the rule for one candidate.

    Attributes:
        is_elbow: Whether it is at the elbow of its algorithm's curve.
        is_best_silhouette: Whether its silhouette is the best of its algorithm.
        score: Its score.
        rank: Its place by score, from 1; None if it is not eligible.
        chosen: Whether the segments come from it.
        reason: Why it was or was not chosen, in a sentence.
    """

    is_elbow: bool
    is_best_silhouette: bool
    score: float
    rank: int | None
    chosen: bool
    reason: str


@dataclass(frozen=True, slots=True)
class Scenario:
    """The winner under changed settings; `scenario` says which setting was changed."""

    scenario: str
    algorithm: str
    k: int


def choice_rule(selection: SelectionSettings) -> str:
    """Returns the rule in words, with the figures of the settings, for the report."""
    return (
        f"1. A candidate is eligible if it has {selection.k_min} to {selection.k_max} segments, each with at least"
        f" {selection.smallest_share:.0%} and at most {selection.largest_share:.0%} of the customers, and if its"
        f" stability is at least {selection.smallest_stability:g}. 2. Its score is the mean of silhouette, explained"
        " share, stability and value (the share of the next period's revenue that it would have explained), weighted"
        f" {' : '.join(f'{weight:g}' for weight in weights_of(selection))}; a figure that was not measured does not"
        f" count. 3. Among the candidates whose score is at most {selection.tolerance:g} below the best, the one with"
        " the champion's algorithm and number of segments is chosen. If there is none, the one with the fewest segments"
        " is chosen, and among those the one with the highest score. 4. selection.algorithm and selection.k force the"
        " choice. 5. If no candidate is eligible, the public R x F grid is used, with a warning."
    )


def evaluate_candidates(
    table: "pd.DataFrame", selection: SelectionSettings, champion_key: CandidateKey | None = None
) -> "pd.DataFrame":
    """Returns the rows of evaluation_report, ordered by algorithm and k.

    Args:
        table: One row per candidate, the grid among them: algorithm, k, the metrics and the value, eligible, and the
            reason if it is not eligible.
        selection: The gates, the weights and the forced choice.
        champion_key: Algorithm and number of segments of the champion, if there is one; preferred within the tolerance.
    """
    import pandas as pd

    table = table.sort_values(["algorithm", "k"], ignore_index=True)
    verdicts = verdicts_of(candidates_of(table), selection, champion_key)
    return pd.concat([table.drop(columns="reason"), pd.DataFrame(verdicts).astype({"rank": "Int64"})], axis=1)


def candidates_of(table: "pd.DataFrame") -> list[Candidate]:
    """Returns the rows of a table as for `evaluate_candidates`, or of evaluation_report, as candidates."""
    return [
        Candidate(
            algorithm=row["algorithm"],
            k=row["k"],
            inertia=row["inertia"],
            explained_share=row["explained_share"],
            silhouette=row["silhouette"],
            bic=row["bic"],
            stability=row["stability"],
            refusal=None if row["eligible"] else row["reason"],
            value=row["value"],
        )
        for row in table.to_dict("records")
    ]


def verdicts_of(
    candidates: Sequence[Candidate], selection: SelectionSettings, champion_key: CandidateKey | None = None
) -> list[Verdict]:
    """Applies the rule and returns a verdict for each candidate, in their order.

    The grid must be among the candidates, as the last resort.
    """
    sweeps: dict[str, list[Candidate]] = {}
    for candidate in candidates:
        if not candidate.is_baseline:
            sweeps.setdefault(candidate.algorithm, []).append(candidate)
    elbows = [elbow(sweep) for sweep in sweeps.values()]
    best_silhouettes = [_best_by_silhouette(sweep) for sweep in sweeps.values()]
    weights = weights_of(selection)
    ranking = _ranking(candidates, selection)
    chosen = _winner(candidates, selection, champion_key)

    def reason(candidate: Candidate) -> str:
        if candidate == chosen:
            return _reason_for_choice(chosen, ranking, selection, champion_key)
        if candidate.is_baseline:
            return "This is the baseline, the public R x F grid, scored for comparison."
        if candidate not in ranking:
            return candidate.refusal or f"It is eligible, but the choice is forced by {_forcing_settings(selection)}."
        behind = chosen.score(weights) - candidate.score(weights)
        if behind < 0:
            why = (
                "it does not have the champion's algorithm and number of segments"
                if chosen.key == champion_key
                else "it has more segments"
            )
            return f"Its score is {-behind:.3f} above that of {chosen.name}, within the tolerance, but {why}."
        return f"Its score is {behind:.3f} below that of {chosen.name}."

    return [
        Verdict(
            is_elbow=candidate in elbows,
            is_best_silhouette=candidate in best_silhouettes,
            score=candidate.score(weights),
            rank=ranking.index(candidate) + 1 if candidate in ranking else None,
            chosen=candidate == chosen,
            reason=reason(candidate),
        )
        for candidate in candidates
    ]


def sensitivity(
    candidates: Sequence[Candidate], selection: SelectionSettings, champion_key: CandidateKey | None = None
) -> list[Scenario]:
    """Returns the winner with the settings as they are, with each weight zero or doubled, and without the tolerance."""
    scenarios = {"as set": selection}
    for name in ("silhouette_weight", "explained_weight", "stability_weight", "value_weight"):
        for weight in (0.0, 2 * getattr(selection, name)):
            scenarios[f"{name} = {weight:g}"] = selection.model_copy(update={name: weight})
    scenarios["tolerance = 0"] = selection.model_copy(update={"tolerance": 0.0})
    winners = {scenario: _winner(candidates, settings, champion_key) for scenario, settings in scenarios.items()}
    return [Scenario(scenario, winner.algorithm, winner.k) for scenario, winner in winners.items()]


def weights_of(selection: SelectionSettings) -> Weights:
    """Returns the weights of the score."""
    return (
        selection.silhouette_weight,
        selection.explained_weight,
        selection.stability_weight,
        selection.value_weight,
    )


def _ranking(candidates: Sequence[Candidate], selection: SelectionSettings) -> list[Candidate]:
    """Returns the candidates that the rule chooses from, by score, best first; ties go to fewer segments."""
    weights = weights_of(selection)
    return sorted(
        _candidates_to_rank(candidates, selection),
        key=lambda candidate: (-candidate.score(weights), candidate.k, candidate.algorithm),
    )


def _winner(
    candidates: Sequence[Candidate], selection: SelectionSettings, champion_key: CandidateKey | None
) -> Candidate:
    """Returns the candidate that the rule chooses; the grid if there is nothing to rank."""
    ranking = _ranking(candidates, selection)
    if not ranking:
        return next(candidate for candidate in candidates if candidate.is_baseline)
    weights = weights_of(selection)
    least_score = ranking[0].score(weights) - selection.tolerance
    close = [candidate for candidate in ranking if candidate.score(weights) >= least_score]
    # Among equally few segments, min returns the first in the ranking, which has the highest score.
    fewest_segments = min(close, key=lambda candidate: candidate.k)
    return next((candidate for candidate in close if candidate.key == champion_key), fewest_segments)


def _forcing_settings(selection: SelectionSettings) -> str:
    """Returns the names of the settings that force the choice; empty if none does."""
    values = {"selection.algorithm": selection.algorithm, "selection.k": selection.k}
    return " and ".join(key for key, value in values.items() if value is not None)


def _candidates_to_rank(candidates: Sequence[Candidate], selection: SelectionSettings) -> list[Candidate]:
    """Returns the eligible candidates; if the choice is forced and none of those asked for is eligible, all of them."""
    asked_for = [
        candidate
        for candidate in candidates
        if not candidate.is_baseline
        and selection.algorithm in (None, candidate.algorithm)
        and selection.k in (None, candidate.k)
    ]
    eligible = [candidate for candidate in asked_for if candidate.refusal is None]
    return asked_for if _forcing_settings(selection) and not eligible else eligible


def _reason_for_choice(
    chosen: Candidate, ranking: Sequence[Candidate], selection: SelectionSettings, champion_key: CandidateKey | None
) -> str:
    """Returns why the candidate was chosen, in a sentence."""
    forced_by = _forcing_settings(selection)
    if chosen.is_baseline:
        if selection.algorithm == chosen.algorithm:
            return "The choice is forced by selection.algorithm."
        cause = f"There are too few buyers for {forced_by}" if forced_by else "No fitted candidate is eligible"
        return f"{cause}, so the public R x F grid is used."
    if forced_by:
        refusal = f" Otherwise it would be rejected: {chosen.refusal}" if chosen.refusal else ""
        return f"The choice is forced by {forced_by}.{refusal}"
    weights, best = weights_of(selection), ranking[0]
    score = f"Its score of {chosen.score(weights):.3f} is"
    if chosen == best:
        return f"{score} the best of {len(ranking)} eligible candidates."
    preference = (
        "the champion's algorithm and number of segments"
        if chosen.key == champion_key
        else "the fewest segments of the candidates within that distance"
    )
    return (
        f"{score} within {selection.tolerance:g} of the best ({best.name}, {best.score(weights):.3f}), and it has"
        f" {preference}."
    )


def elbow(sweep: Sequence[Candidate]) -> Candidate | None:
    """Returns the candidate at the elbow of one algorithm's curve; None if the curve has none.

    The elbow is found by Kneedle (Satopaa et al. 2011) on inertia, or on BIC for a mixture.
    """
    from kneed import KneeLocator

    curve = [candidate.inertia if math.isnan(candidate.bic) else candidate.bic for candidate in sweep]
    if len(sweep) < 3 or max(curve) == min(curve):
        return None
    knee = KneeLocator([candidate.k for candidate in sweep], curve, curve="convex", direction="decreasing").knee
    return next((candidate for candidate in sweep if candidate.k == knee), None)


def _best_by_silhouette(sweep: Sequence[Candidate]) -> Candidate | None:
    """Returns the candidate with the best silhouette; ties go to fewer segments. None if none has a silhouette."""
    measured = [candidate for candidate in sweep if not math.isnan(candidate.silhouette)]
    return max(measured, key=lambda candidate: (candidate.silhouette, -candidate.k), default=None)
