"""The choice: which candidate the segments come from, by one rule, with a reason for every candidate.

Silhouette alone answers two segments on nearly every RFM table: buyers and near non-buyers, of no use to a team. So
the rule starts from what a team can serve, and weighs how clearly segments stand apart against how much they explain,
how sure they are and what they would have been worth.
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
Settled = tuple[str, int]


@dataclass(frozen=True, slots=True)
class Candidate:
    """What the rule looks at. Figures without meaning are NaN; `refusal` is the gate it fails, in words."""

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
    def name(self) -> str:
        return f"{self.algorithm} with {self.k} segments"

    @property
    def is_baseline(self) -> bool:
        """Whether it is the baseline: never ranked, chosen by force or as the last resort."""
        return ALGORITHMS[self.algorithm].is_baseline

    def score(self, weights: Weights) -> float:
        """Weighted mean of silhouette, explained share, stability and value; what was not measured does not count."""
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
    """What became of a candidate."""

    is_elbow: bool
    is_best_silhouette: bool
    score: float
    rank: int | None
    chosen: bool
    reason: str


@dataclass(frozen=True, slots=True)
class Scenario:
    """The winner if the settings were others."""

    scenario: str
    algorithm: str
    k: int


def choice_rule(selection: SelectionSettings) -> str:
    """The rule with the settings' own figures, for the report."""
    return (
        f"1. A candidate is eligible with {selection.k_min} to {selection.k_max} segments, none below"
        f" {selection.smallest_share:.0%} and none above {selection.largest_share:.0%} of the customers, and with a"
        f" stability of at least {selection.smallest_stability:g}. 2. Its score is the mean of silhouette, explained"
        " share, stability and value (what share of the next period's revenue it would have explained), weighted"
        f" {' : '.join(f'{weight:g}' for weight in weights_of(selection))}; what was not measured does not count."
        f" 3. Of the candidates whose score is at most {selection.tolerance:g} below the best, the one with the"
        " champion's algorithm and number of segments is chosen, or else the one with the fewest segments, of equal"
        " ones the one with the higher score. 4. selection.algorithm and selection.k force the choice. 5. Where nothing"
        " is eligible, the public R x F grid is used, with a warning."
    )


def evaluate_candidates(
    table: "pd.DataFrame", selection: SelectionSettings, settled: Settled | None = None
) -> "pd.DataFrame":
    """The rows of evaluation_report, in order of algorithm and k.

    Args:
        table: One row per candidate: algorithm, k, the metrics and the value, eligible, and the reason where it is not;
            the grid is one row.
        selection: The gates, the weights and the forced choice.
        settled: Algorithm and number of segments that the teams know, if they do: kept within the tolerance.
    """
    import pandas as pd

    table = table.sort_values(["algorithm", "k"], ignore_index=True)
    verdicts = pd.DataFrame(judge(candidates_of(table), selection, settled)).astype({"rank": "Int64"})
    return pd.concat([table.drop(columns="reason"), verdicts], axis=1)


def candidates_of(table: "pd.DataFrame") -> list[Candidate]:
    """The rows of such a table, or of evaluation_report, as candidates."""
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


def judge(
    candidates: Sequence[Candidate], selection: SelectionSettings, settled: Settled | None = None
) -> list[Verdict]:
    """A verdict for each candidate, in their order; the grid must be among them, as the last resort."""
    sweeps: dict[str, list[Candidate]] = {}
    for candidate in candidates:
        if not candidate.is_baseline:
            sweeps.setdefault(candidate.algorithm, []).append(candidate)
    elbows = [elbow(sweep) for sweep in sweeps.values()]
    best_silhouettes = [_best_by_silhouette(sweep) for sweep in sweeps.values()]
    weights = weights_of(selection)
    ranking = _ranking(candidates, selection)
    chosen = _winner(candidates, selection, settled)

    def reason(candidate: Candidate) -> str:
        if candidate == chosen:
            return _why(chosen, ranking, selection, settled)
        if candidate.is_baseline:
            return "The baseline: the public R x F grid, scored for comparison."
        if candidate not in ranking:
            return candidate.refusal or f"Eligible, but not what {_forced(selection)} asks for."
        behind = chosen.score(weights) - candidate.score(weights)
        if behind < 0:
            why = "is not what the champion has" if _has(chosen, settled) else "has more segments"
            return f"Scores {-behind:.3f} above {chosen.name}, within the tolerance, but {why}."
        return f"Scores {behind:.3f} below {chosen.name}."

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
    candidates: Sequence[Candidate], selection: SelectionSettings, settled: Settled | None = None
) -> list[Scenario]:
    """The winner as the settings are, with each weight at zero and at twice its value, and without the tolerance."""
    moved = {"as set": selection}
    for name in ("silhouette_weight", "explained_weight", "stability_weight", "value_weight"):
        for weight in (0.0, 2 * getattr(selection, name)):
            moved[f"{name} = {weight:g}"] = selection.model_copy(update={name: weight})
    moved["tolerance = 0"] = selection.model_copy(update={"tolerance": 0.0})
    winners = {scenario: _winner(candidates, settings, settled) for scenario, settings in moved.items()}
    return [Scenario(scenario, winner.algorithm, winner.k) for scenario, winner in winners.items()]


def weights_of(selection: SelectionSettings) -> Weights:
    """The weights of the score."""
    return (
        selection.silhouette_weight,
        selection.explained_weight,
        selection.stability_weight,
        selection.value_weight,
    )


def _ranking(candidates: Sequence[Candidate], selection: SelectionSettings) -> list[Candidate]:
    """What the rule chooses from, the best score first; of equal ones the fewer segments."""
    weights = weights_of(selection)
    return sorted(_admitted(candidates, selection), key=lambda one: (-one.score(weights), one.k, one.algorithm))


def _has(candidate: Candidate, settled: Settled | None) -> bool:
    return (candidate.algorithm, candidate.k) == settled


def _winner(candidates: Sequence[Candidate], selection: SelectionSettings, settled: Settled | None) -> Candidate:
    """Within the tolerance of the best what is settled, else the fewest segments; the grid if none is admitted."""
    ranking = _ranking(candidates, selection)
    if not ranking:
        return next(one for one in candidates if one.is_baseline)
    weights = weights_of(selection)
    enough = ranking[0].score(weights) - selection.tolerance
    # Of as few segments the first in the ranking, which has the higher score.
    good = [one for one in ranking if one.score(weights) >= enough]
    return next((one for one in good if _has(one, settled)), min(good, key=lambda one: one.k))


def _forced(selection: SelectionSettings) -> str:
    """The settings that force the choice, as words; empty where none does."""
    forces = {"selection.algorithm": selection.algorithm, "selection.k": selection.k}
    return " and ".join(key for key, value in forces.items() if value is not None)


def _admitted(candidates: Sequence[Candidate], selection: SelectionSettings) -> list[Candidate]:
    """What passes the gates; where the choice is forced, of what is asked for, and all of it if nothing passes."""
    asked_for = [
        one
        for one in candidates
        if not one.is_baseline and selection.algorithm in (None, one.algorithm) and selection.k in (None, one.k)
    ]
    eligible = [one for one in asked_for if one.refusal is None]
    return asked_for if _forced(selection) and not eligible else eligible


def _why(chosen: Candidate, ranking: Sequence[Candidate], selection: SelectionSettings, settled: Settled | None) -> str:
    """Why this candidate was chosen."""
    forced = _forced(selection)
    if chosen.is_baseline:
        if selection.algorithm == chosen.algorithm:
            return "Forced by selection.algorithm."
        what = f"The buyers are too few for {forced}" if forced else "No fitted candidate is good enough"
        return f"{what}, so the public R x F grid is used."
    if forced:
        refused = f" It would be refused otherwise: {chosen.refusal}" if chosen.refusal else ""
        return f"Forced by {forced}.{refused}"
    weights, best = weights_of(selection), ranking[0]
    score = f"Score {chosen.score(weights):.3f}"
    if chosen == best:
        return f"{score}, the best of {len(ranking)} eligible candidates."
    preferred = "what the champion has" if _has(chosen, settled) else "the fewest segments of those"
    within = f"within {selection.tolerance:g} of the best ({best.name}, {best.score(weights):.3f})"
    return f"{score}, {within}, and {preferred}."


def elbow(sweep: Sequence[Candidate]) -> Candidate | None:
    """The candidate at the elbow of one algorithm's sweep; None where the curve has none.

    Kneedle (Satopaa et al. 2011) on inertia, of a mixture on BIC.
    """
    from kneed import KneeLocator

    curve = [one.inertia if math.isnan(one.bic) else one.bic for one in sweep]
    if len(sweep) < 3 or max(curve) == min(curve):
        return None
    knee = KneeLocator([one.k for one in sweep], curve, curve="convex", direction="decreasing").knee
    return next((one for one in sweep if one.k == knee), None)


def _best_by_silhouette(sweep: Sequence[Candidate]) -> Candidate | None:
    """Of equal ones the fewer segments."""
    measured = [one for one in sweep if not math.isnan(one.silhouette)]
    return max(measured, key=lambda one: (one.silhouette, -one.k), default=None)
