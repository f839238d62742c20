"""The choice: which candidate the segments come from, by one rule, with a reason for every candidate.

Silhouette alone answers two segments on nearly every RFM table: buyers and near non-buyers, of no use to a team. So the
rule starts from what a team can serve, and lets elbow and silhouette decide within that.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from seg_pipeline.models.rfm_grid import NAME as RFM_GRID
from seg_pipeline.settings import SelectionSettings

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True, slots=True)
class Candidate:
    """What the rule looks at. Figures without meaning are NaN; `refusal` is the gate it fails, in words."""

    algorithm: str
    k: int
    inertia: float
    silhouette: float
    calinski_harabasz: float
    davies_bouldin: float
    bic: float
    refusal: str | None

    @property
    def name(self) -> str:
        return f"{self.algorithm} with {self.k} segments"


@dataclass(frozen=True, slots=True)
class Verdict:
    """What became of a candidate."""

    is_elbow: bool
    is_best_silhouette: bool
    rank: int | None
    chosen: bool
    reason: str


def rule_in_words(selection: SelectionSettings) -> str:
    """The rule with the settings' own figures, for the report."""
    return (
        f"1. A candidate is eligible with {selection.k_min} to {selection.k_max} segments, none below"
        f" {selection.smallest_share:.0%} and none above {selection.largest_share:.0%} of the customers."
        " 2. Each algorithm proposes one eligible candidate: the one at the elbow of its inertia (of a mixture, of its"
        f" BIC) if its silhouette is at most {selection.silhouette_tolerance:g} below the algorithm's best eligible"
        " one, else the one with the best silhouette. 3. The proposals are ranked by silhouette, by Calinski-Harabasz"
        " and by Davies-Bouldin; the best mean rank is chosen, of equal ones the higher silhouette, then the fewer"
        " segments. 4. selection.algorithm and selection.k force the choice. 5. Where nothing is eligible, the public"
        " R x F grid is used, with a warning."
    )


def evaluate_candidates(table: "pd.DataFrame", selection: SelectionSettings) -> "pd.DataFrame":
    """The rows of evaluation_report, in order of algorithm and k.

    Args:
        table: One row per candidate: algorithm, k, the metrics, eligible, ineligible_because; the grid is one row.
        selection: The gates and the forced choice.
    """
    import pandas as pd

    table = table.sort_values(["algorithm", "k"], ignore_index=True)
    candidates = [
        Candidate(
            algorithm=row["algorithm"],
            k=row["k"],
            inertia=row["inertia"],
            silhouette=row["silhouette"],
            calinski_harabasz=row["calinski_harabasz"],
            davies_bouldin=row["davies_bouldin"],
            bic=row["bic"],
            refusal=None if row["eligible"] else row["ineligible_because"],
        )
        for row in table.to_dict("records")
    ]
    verdicts = pd.DataFrame(judge(candidates, selection)).astype({"rank": "Int64"})
    return pd.concat([table.drop(columns="ineligible_because"), verdicts], axis=1)


def judge(candidates: Sequence[Candidate], selection: SelectionSettings) -> list[Verdict]:
    """A verdict for each candidate, in their order; the grid must be among them, as the last resort."""
    sweeps: dict[str, list[Candidate]] = {}
    for candidate in candidates:
        if candidate.algorithm != RFM_GRID:
            sweeps.setdefault(candidate.algorithm, []).append(candidate)
    elbows = {name: elbow(sweep) for name, sweep in sweeps.items()}
    best_silhouettes = {name: _best_by_silhouette(sweep) for name, sweep in sweeps.items()}
    admitted = {name: _admitted(sweep, selection) for name, sweep in sweeps.items()}
    proposals = {
        name: proposal
        for name, sweep in admitted.items()
        if (proposal := _proposal(sweep, elbows[name], selection)) is not None
    }
    mean_ranks = _mean_ranks(list(proposals.values()))
    # The proposals by mean rank, then the others by silhouette.
    ranking = sorted(
        (one for sweep in admitted.values() for one in sweep),
        key=lambda one: (mean_ranks.get(one, math.inf), -_or_worst(one.silhouette), one.k, one.algorithm),
    )
    grid = next(one for one in candidates if one.algorithm == RFM_GRID)
    chosen = ranking[0] if ranking else grid

    def reason(candidate: Candidate) -> str:
        if candidate == chosen:
            return _why(
                chosen, at_elbow=chosen == elbows.get(chosen.algorithm), mean_ranks=mean_ranks, selection=selection
            )
        if candidate == grid:
            return "The baseline: the public R x F grid, scored for comparison."
        if candidate not in ranking:
            return candidate.refusal or f"Eligible, but not what {_forced(selection)} asks for."
        own = proposals[candidate.algorithm]
        if candidate == own:
            return f"The algorithm's proposal, mean rank {mean_ranks[own]:.2f}, behind {chosen.name}."
        return f"Eligible, but elbow and silhouette favour {own.k} segments."

    return [
        Verdict(
            is_elbow=candidate == elbows.get(candidate.algorithm),
            is_best_silhouette=candidate == best_silhouettes.get(candidate.algorithm),
            rank=ranking.index(candidate) + 1 if candidate in ranking else None,
            chosen=candidate == chosen,
            reason=reason(candidate),
        )
        for candidate in candidates
    ]


def _forced(selection: SelectionSettings) -> str:
    """The settings that force the choice, as words; empty where none does."""
    forces = {"selection.algorithm": selection.algorithm, "selection.k": selection.k}
    return " and ".join(key for key, value in forces.items() if value is not None)


def _admitted(sweep: Sequence[Candidate], selection: SelectionSettings) -> list[Candidate]:
    """What passes the gates; where the choice is forced, of what is asked for, and all of it if nothing passes."""
    asked_for = [one for one in sweep if selection.algorithm in (None, one.algorithm) and selection.k in (None, one.k)]
    eligible = [one for one in asked_for if one.refusal is None]
    return asked_for if _forced(selection) and not eligible else eligible


def _why(chosen: Candidate, *, at_elbow: bool, mean_ranks: dict[Candidate, float], selection: SelectionSettings) -> str:
    """Why this candidate was chosen."""
    forced = _forced(selection)
    if chosen.algorithm == RFM_GRID:
        if selection.algorithm == RFM_GRID:
            return "Forced by selection.algorithm."
        what = f"The buyers are too few for {forced}" if forced else "No fitted candidate is eligible"
        return f"{what}, so the public R x F grid is used."
    if forced:
        refused = f" It would be refused otherwise: {chosen.refusal}" if chosen.refusal else ""
        return f"Forced by {forced}.{refused}"
    how = "elbow" if at_elbow else "best silhouette"
    compared = (
        f"mean rank {mean_ranks[chosen]:.2f} of {len(mean_ranks)} proposals" if len(mean_ranks) > 1 else "the only one"
    )
    return f"The algorithm's proposal by {how}, {compared} by silhouette, Calinski-Harabasz and Davies-Bouldin."


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


def _proposal(
    admitted: Sequence[Candidate], at_elbow: Candidate | None, selection: SelectionSettings
) -> Candidate | None:
    """One algorithm's proposal among what is admitted."""
    best = _best_by_silhouette(admitted)
    if best is None or at_elbow not in admitted or at_elbow is None:
        return best
    return at_elbow if at_elbow.silhouette >= best.silhouette - selection.silhouette_tolerance else best


def _best_by_silhouette(sweep: Sequence[Candidate]) -> Candidate | None:
    """Of equal ones the fewer segments."""
    measured = [one for one in sweep if not math.isnan(one.silhouette)]
    return max(measured, key=lambda one: (one.silhouette, -one.k), default=None)


def _mean_ranks(proposals: Sequence[Candidate]) -> dict[Candidate, float]:
    """Mean rank of each proposal over the compared metrics; 1 is best, equal values share the better rank."""
    metrics = (
        [_or_worst(one.silhouette) for one in proposals],
        [_or_worst(one.calinski_harabasz) for one in proposals],
        [_or_worst(-one.davies_bouldin) for one in proposals],
    )
    return {
        one: sum(1 + sum(other > values[place] for other in values) for values in metrics) / len(metrics)
        for place, one in enumerate(proposals)
    }


def _or_worst(figure: float) -> float:
    """A figure without meaning is worse than any other."""
    return -math.inf if math.isnan(figure) else figure
