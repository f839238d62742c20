"""Selection: one rule that ranks the candidates, chooses the model of the segments, and gives a reason for each.

Silhouette alone picks two segments on nearly every RFM table, buyers and near non-buyers, which is of no use to a team.
So the rule starts from the number of segments a team can serve, and weighs how well the segments are separated against
how much of the variance they explain, how stable they are, and what they would have been worth.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from seg_pipeline.models.gates import Sizes, failed_gate, servable
from seg_pipeline.models.registry import ALGORITHMS
from seg_pipeline.settings import SelectionSettings

if TYPE_CHECKING:
    import pandas as pd

# The terms of the score: figures of a candidate, each with the setting of its weight.
TERMS = {
    "silhouette": "silhouette_weight",
    "explained_share": "explained_weight",
    "stability": "stability_weight",
    "value_share": "value_weight",
}
# The other figures of a candidate.
MEASURES = ("inertia", "bic", "stability_error", "value_error", "valley", "classification_criterion")
# The settings of the gates, each with a value that lets every candidate pass.
GATES: Mapping[str, float] = {
    "smallest_customers": 1,
    "smallest_share": 0.0,
    "largest_share": 1.0,
    "smallest_stability": -1.0,
}
# The data have groups if every cluster of a model has at least this stability (Jaccard; Hennig 2007), and if the
# valleys between its clusters are at most that high. If not, they are a continuum that was divided. With many
# customers, a cut through a cloud is as repeatable as a border between groups, so stability alone does not tell.
GROUPS_FROM = 0.75
HIGHEST_VALLEY = 0.8
# Algorithm and number of segments.
CandidateKey = tuple[str, int]


class Measured(Protocol):
    """What can be scored: the terms of the score and the standard errors of two of them; NaN if not measured."""

    @property
    def silhouette(self) -> float: ...
    @property
    def explained_share(self) -> float: ...
    @property
    def stability(self) -> float: ...
    @property
    def stability_error(self) -> float: ...
    @property
    def value_share(self) -> float: ...
    @property
    def value_error(self) -> float: ...


# Compared by identity: its arrays have no single answer to whether they are equal.
@dataclass(frozen=True, slots=True, eq=False)
class Candidate:
    """The figures of a candidate that the rule uses; NaN if a figure does not apply or was not measured.

    Attributes:
        algorithm: Name of the algorithm.
        k: Number of segments.
        sizes: The sizes of its clusters.
        inertia: Within-cluster sum of squares.
        explained_share: Share of the variance of the features that lies between the segments, 0 to 1.
        silhouette: Mean silhouette, -1 to 1.
        bic: Bayesian information criterion, of a mixture only.
        stability: Mean adjusted Rand index with refits on bootstrap samples.
        stability_error: Standard error of the stability.
        jaccard: Stability of each cluster; empty if it was not measured.
        valley: How high the valleys between its clusters are, 1 if there are none.
        classification_criterion: How badly it describes the customers as groups of one shape; lower is better.
        value_share: Explained share of next-period revenue over what can be reached, in the window that chooses.
        value_error: Standard error of value_share.
        above_grid: Whether it was worth more than the R x F grid there, beyond chance.
    """

    algorithm: str
    k: int
    sizes: Sizes
    inertia: float = math.nan
    explained_share: float = math.nan
    silhouette: float = math.nan
    bic: float = math.nan
    stability: float = math.nan
    stability_error: float = math.nan
    jaccard: tuple[float, ...] = ()
    valley: float = math.nan
    classification_criterion: float = math.nan
    value_share: float = math.nan
    value_error: float = math.nan
    above_grid: bool = False

    @property
    def key(self) -> CandidateKey:
        return self.algorithm, self.k

    @property
    def name(self) -> str:
        return f"{self.algorithm} with {self.k} segment{'s' if self.k > 1 else ''}"

    @property
    def is_baseline(self) -> bool:
        """Whether it is the baseline, which is never ranked, and chosen only by force or as the last resort."""
        return ALGORITHMS[self.algorithm].is_baseline

    @property
    def shows_groups(self) -> bool:
        """Whether it shows that the data have groups."""
        return has_groups(min(self.jaccard, default=math.nan), self.valley) is True

    def refusal(self, selection: SelectionSettings) -> str | None:
        """Returns the first gate that it fails, in a sentence; None if it passes all."""
        return failed_gate(self.sizes, self.stability, selection)


@dataclass(frozen=True, slots=True)
class Score:
    """The score of a candidate: a weighted mean of terms, each a share from 0 to 1.

    Silhouette, explained share and stability are such shares; value is the share of what can be reached.

    Attributes:
        weights: Weight of each term that counts. A term that none of the compared candidates has does not count.
    """

    weights: Mapping[str, float]

    @classmethod
    def among(cls, candidates: Iterable[Measured], selection: SelectionSettings) -> "Score":
        """Returns the score by which some candidates are compared."""
        compared = list(candidates)
        return cls(
            {
                term: weight
                for term, setting in TERMS.items()
                if (weight := getattr(selection, setting))
                and any(not math.isnan(getattr(one, term)) for one in compared)
            }
        )

    def of(self, candidate: Measured) -> float:
        """Returns the score of a candidate, 0 to 1; NaN if one of its terms was not measured."""
        total = sum(self.weights.values())
        # max() would take the zero for a NaN in one order of its arguments, and the NaN in the other.
        terms = (weight * float(np.maximum(getattr(candidate, term), 0.0)) for term, weight in self.weights.items())
        return sum(terms) / total if total else 0.0

    def error_of(self, candidate: Measured) -> float:
        """Returns the standard error of a candidate's score, from those of its stability and value."""
        total = sum(self.weights.values()) or 1.0
        errors = {"stability": candidate.stability_error, "value_share": candidate.value_error}
        return math.hypot(
            *(
                self.weights[term] / total * error
                for term, error in errors.items()
                if term in self.weights and not math.isnan(error)
            )
        )


@dataclass(frozen=True, slots=True)
class Verdict:
    """The result of the rule for one candidate.

    Attributes:
        eligible: Whether it passes the gates.
        is_elbow: Whether it is at the elbow of its algorithm's curve.
        is_best_silhouette: Whether its silhouette is the best of its algorithm.
        score: Its score; NaN if it was not measured in full.
        score_error: The standard error of the score; NaN without a score.
        rank: Its place by score, from 1; None if it is not eligible.
        chosen: Whether the segments come from it.
        reason: Why it was or was not chosen, in a sentence.
    """

    eligible: bool
    is_elbow: bool
    is_best_silhouette: bool
    score: float
    score_error: float
    rank: int | None
    chosen: bool
    reason: str


@dataclass(frozen=True, slots=True)
class Scenario:
    """The winner under changed settings; `scenario` says which was changed, `note` what a gate refuses (or None)."""

    scenario: str
    algorithm: str
    k: int
    note: str | None


def choice_rule(selection: SelectionSettings) -> str:
    """Returns the rule in words, with the figures of the settings, for the report."""
    return (
        f"1. A candidate is eligible if it has {selection.k_min} to {selection.k_max} segments (fewer with few buyers),"
        f" each with at least {selection.smallest_customers} customers and {selection.smallest_share:.0%} of them, or"
        f" {selection.smallest_revenue_share:.0%} of the revenue, and at most {selection.largest_share:.0%} of the"
        f" customers, and if its stability is at least {selection.smallest_stability:g}. 2. Its score is the mean of"
        " silhouette, explained share, stability and value (the share of the next period's revenue that it would have"
        " explained, over the share that can be explained at all), weighted"
        f" {' : '.join(f'{getattr(selection, setting):g}' for setting in TERMS.values())}; a figure that was not"
        " measured for any candidate does not count, and a candidate that lacks one of the others has no score. 3. If"
        " the data have groups, their number is that of the segments: the candidate that describes the customers best"
        " as groups of one shape (by the classification likelihood) shows groups if every segment comes out again in"
        f" bootstrap refits (Jaccard of at least {GROUPS_FROM:g}) and valleys lie between the segments (at most"
        f" {HIGHEST_VALLEY:.0%} of the lower peak); then only candidates with as many segments are left. 4. The"
        f" candidates whose score is at most {_errors(selection)} below the best are taken to be equally good. Among"
        " these, the one with the champion's algorithm and number of segments is chosen. If there is none, one whose"
        " value lies above that of the public R x F grid beyond chance goes before one whose value does not; then the"
        " one with the fewest segments is chosen, and among those the one with the highest score. 5."
        " selection.algorithm and selection.k force the choice. 6. If no candidate is eligible, the public R x F grid"
        f" is used, with a warning, or all buyers are one segment if the grid's have fewer than"
        f" {selection.smallest_customers} customers on average."
    )


def has_groups(jaccard: float, valley: float) -> bool | None:
    """Returns whether the data have groups, by what a model of them shows.

    If they have none, they are a continuum that was divided: also useful, but its borders could lie elsewhere.

    Args:
        jaccard: Stability of its least stable cluster.
        valley: How high the valleys between its clusters are.

    Returns:
        Whether there are groups; None if one of both was not measured.
    """
    if math.isnan(jaccard) or math.isnan(valley):
        return None
    return jaccard >= GROUPS_FROM and valley <= HIGHEST_VALLEY


def evaluate_candidates(
    table: "pd.DataFrame", selection: SelectionSettings, champion_key: CandidateKey | None = None
) -> "pd.DataFrame":
    """Returns the rows of evaluation_report, ordered by algorithm and k.

    Args:
        table: One row per candidate, the grid among them: algorithm, k, the metrics, the value, and sizes, revenues and
            jaccard of its clusters.
        selection: The gates, the weights and the forced choice.
        champion_key: Algorithm and number of segments of the champion, if there is one; preferred within the tolerance.
    """
    import pandas as pd

    table = table.sort_values(["algorithm", "k"], ignore_index=True)
    verdicts = verdicts_of(candidates_of(table), selection, champion_key)
    figures = table.drop(columns=["sizes", "revenues", "jaccard"])
    return pd.concat([figures, pd.DataFrame(verdicts).astype({"rank": "Int64"})], axis=1)


def candidates_of(table: "pd.DataFrame") -> list[Candidate]:
    """Returns the rows of a table as for `evaluate_candidates` as candidates."""
    import pandas as pd

    def numbers(value: Any) -> np.ndarray[Any, np.dtype[np.float64]] | None:
        return np.asarray(value, dtype=np.float64) if isinstance(value, np.ndarray | list) else None

    candidates = []
    for row in table.to_dict("records"):
        jaccard = numbers(row["jaccard"])
        sizes = numbers(row["sizes"])
        if sizes is None:
            raise ValueError(f"{row['algorithm']} with {row['k']} segments has no sizes")
        candidates.append(
            Candidate(
                algorithm=row["algorithm"],
                k=row["k"],
                sizes=Sizes(sizes, numbers(row["revenues"])),
                jaccard=() if jaccard is None else tuple(jaccard.tolist()),
                above_grid=bool(pd.notna(row["above_grid"]) and row["above_grid"]),
                **{name: math.nan if row[name] is None else float(row[name]) for name in (*TERMS, *MEASURES)},
            )
        )
    return candidates


def verdicts_of(
    candidates: Sequence[Candidate], selection: SelectionSettings, champion_key: CandidateKey | None = None
) -> list[Verdict]:
    """Applies the rule and returns a verdict for each candidate, in their order.

    The grid must be among the candidates, as the last resort.
    """
    choice = _Choice(candidates, selection, champion_key)
    sweeps: dict[str, list[Candidate]] = {}
    for candidate in candidates:
        if not candidate.is_baseline:
            sweeps.setdefault(candidate.algorithm, []).append(candidate)
    elbows = [elbow(sweep) for sweep in sweeps.values()]
    best_silhouettes = [_best_by_silhouette(sweep) for sweep in sweeps.values()]
    verdicts = []
    for candidate in candidates:
        score = choice.score.of(candidate)
        verdicts.append(
            Verdict(
                eligible=candidate.refusal(selection) is None,
                is_elbow=any(candidate is one for one in elbows),
                is_best_silhouette=any(candidate is one for one in best_silhouettes),
                score=score,
                score_error=math.nan if math.isnan(score) else choice.score.error_of(candidate),
                rank=next((rank for rank, one in enumerate(choice.ranking, 1) if one is candidate), None),
                chosen=candidate is choice.winner,
                reason=choice.reason(candidate),
            )
        )
    return verdicts


def sensitivity(
    candidates: Sequence[Candidate],
    selection: SelectionSettings,
    champion_key: CandidateKey | None = None,
    unclipped: Sequence[Candidate] = (),
) -> list[Scenario]:
    """Returns the winner as set, and with one thing changed at a time.

    Each weight is zero or doubled, the tolerance is zero or doubled, and each gate is open.

    Args:
        candidates: The night's candidates.
        selection: The settings.
        champion_key: As for `verdicts_of`.
        unclipped: The candidates of the same customers without features.clip; empty to leave that variant out.
    """
    changes: dict[str, dict[str, float]] = {"as set": {}}
    for name in TERMS.values():
        for weight in (0.0, 2 * getattr(selection, name)):
            changes[f"{name} = {weight:g}"] = {name: weight}
    for errors in (0.0, 2 * selection.tolerance_errors):
        changes[f"tolerance_errors = {errors:g}"] = {"tolerance_errors": errors}
    for name, value in GATES.items():
        changes[f"{name} = {value:g}"] = {name: value}
    scenarios = []
    for scenario, change in changes.items():
        winner = _Choice(candidates, selection.model_copy(update=change), champion_key).winner
        gate = next((name for name in GATES if name in change), None)
        note = gate and _what_a_gate_refuses(gate, candidates, selection)
        scenarios.append(Scenario(scenario, winner.algorithm, winner.k, note))
    if unclipped:
        winner = _Choice(unclipped, selection, champion_key).winner
        note = "Without limits on odd values; stability and value are those of the fits with limits."
        scenarios.append(Scenario("features.clip = 0", winner.algorithm, winner.k, note))
    return scenarios


class _Choice:
    """The rule applied to some candidates: their ranking, the winner, and the reason for each verdict."""

    def __init__(
        self, candidates: Sequence[Candidate], selection: SelectionSettings, champion_key: CandidateKey | None
    ) -> None:
        fitted = [candidate for candidate in candidates if not candidate.is_baseline]
        asked_for = [
            candidate
            for candidate in fitted
            if selection.algorithm in (None, candidate.algorithm) and selection.k in (None, candidate.k)
        ]
        eligible = [candidate for candidate in asked_for if candidate.refusal(selection) is None]
        self._selection, self._champion_key = selection, champion_key
        self._forced_by = _forcing_settings(selection)
        # If the choice is forced and none of those asked for is eligible, all of them are ranked.
        ranked = asked_for if self._forced_by and not eligible else eligible
        self.score = Score.among(ranked or fitted, selection)
        # Ties go to fewer segments, and then in the order of the registry.
        order = list(ALGORITHMS)
        in_full = [candidate for candidate in ranked if not math.isnan(self.score.of(candidate))]
        self.ranking = sorted(
            in_full or (ranked if self._forced_by else []),
            key=lambda one: (-_or_zero(self.score.of(one)), one.k, order.index(one.algorithm)),
        )
        # The number of groups in the data; None if they have none.
        self.groups: int | None = None
        self._close, self._preferred = self._equally_good()
        self.winner = self._preferred[0] if self._preferred else self._last_resort(candidates)

    def _equally_good(self) -> tuple[list[Candidate], list[Candidate]]:
        """Returns the candidates within the tolerance, and those to choose from, the first of which wins."""
        if not self.ranking:
            return [], []
        compared = self._with_as_many_segments_as_groups() or self.ranking
        best = compared[0]
        least = self.score.of(best) - self._selection.tolerance_errors * self.score.error_of(best)
        close = [one for one in compared if not self.score.of(one) < least]
        # Teams keep the segments they know as long as nothing else is better.
        kept = [one for one in close if one.key == self._champion_key]
        preferred = kept or [one for one in close if one.above_grid] or close
        # The sort keeps the ranking among equally many segments.
        return close, sorted(preferred, key=lambda one: one.k)

    def _with_as_many_segments_as_groups(self) -> list[Candidate]:
        """Returns the ranked candidates with as many segments as the data have groups; none if they have none."""
        measured = [one for one in self.ranking if not math.isnan(one.classification_criterion)]
        if not measured or self._forced_by:
            return []
        fitting_best = min(measured, key=lambda one: one.classification_criterion)
        self.groups = fitting_best.k if fitting_best.shows_groups else None
        return [one for one in self.ranking if one.k == self.groups]

    def _last_resort(self, candidates: Sequence[Candidate]) -> Candidate:
        """Returns the grid, or all buyers as one segment if they are too few for as many segments as the grid has."""
        grid = next(candidate for candidate in candidates if candidate.is_baseline)
        single = sorted(
            (one for one in candidates if one.k == 1 and not one.is_baseline),
            key=lambda one: list(ALGORITHMS).index(one.algorithm),
        )
        few = grid.k * self._selection.smallest_customers > grid.sizes.customers.sum()
        return single[0] if single and few and not self._forced_by else grid

    def reason(self, candidate: Candidate) -> str:
        """Returns why a candidate was or was not chosen, in a sentence."""
        if candidate is self.winner:
            return self._reason_for_choice()
        if candidate.is_baseline:
            return "This is the baseline, the public R x F grid, for comparison."
        refusal = candidate.refusal(self._selection)
        if not any(candidate is one for one in self.ranking):
            return refusal or (
                f"It is eligible, but the choice is forced by {self._forced_by}."
                if self._forced_by
                else "It was not measured in full, so it has no score."
            )
        behind = self.score.of(self.winner) - self.score.of(candidate)
        if self.groups not in (None, candidate.k):
            return f"The data have {self.groups} groups, and it has {candidate.k} segments."
        if not any(candidate is one for one in self._close) or behind > 0 or math.isnan(behind):
            return f"Its score is {behind:.3f} below that of {self.winner.name}."
        if self.winner.key == self._champion_key:
            why = "it does not have the champion's algorithm and number of segments"
        elif self.winner.above_grid and not candidate.above_grid:
            why = "its value does not lie above that of the R x F grid beyond chance"
        else:
            why = "it has more segments"
        return f"Its score is {-behind:.3f} above that of {self.winner.name}, within the tolerance, but {why}."

    def _reason_for_last_resort(self) -> str:
        chosen, selection = self.winner, self._selection
        if chosen.is_baseline and selection.algorithm == chosen.algorithm:
            return "The choice is forced by selection.algorithm."
        cause = (
            f"There are too few buyers for {self._forced_by}" if self._forced_by else "No fitted candidate is eligible"
        )
        if chosen.is_baseline:
            return f"{cause}, so the public R x F grid is used."
        return (
            f"{cause}, and {chosen.sizes.customers.sum():,.0f} buyers are too few for the segments of the public R x F"
            f" grid with {selection.smallest_customers} customers each, so all are one segment."
        )

    def _reason_for_choice(self) -> str:
        if not self.ranking:
            return self._reason_for_last_resort()
        chosen, selection = self.winner, self._selection
        buyers = f"{chosen.sizes.customers.sum():,.0f} buyers"
        if self._forced_by:
            refusal = chosen.refusal(selection)
            otherwise = f" Otherwise it would be rejected: {refusal}" if refusal else ""
            return f"The choice is forced by {self._forced_by}.{otherwise}"
        if chosen.k == 1:
            return (
                f"{buyers} are too few for two segments of at least {selection.smallest_customers} customers, so all"
                " are one segment."
            )
        high = servable(selection, chosen.sizes.customers.sum())[1]
        few = (
            f" With {buyers}, at most {high} segments can have {selection.smallest_customers} customers each."
            if high < selection.k_min
            else ""
        )
        compared = [one for one in self.ranking if self.groups in (None, one.k)]
        best = compared[0]
        groups = f"The data have {self.groups} groups, and it has as many segments. " if self.groups else ""
        score = f"{groups}Its score of {self.score.of(chosen):.3f} is"
        if chosen is best:
            return f"{score} the best of {len(compared)} eligible candidate{'s'[: len(compared) - 1]}.{few}"
        causes = []
        if chosen.key == self._champion_key:
            causes.append("it has the champion's algorithm and number of segments")
        else:
            if chosen.above_grid and not all(one.above_grid for one in self._close):
                causes.append("its value lies above that of the R x F grid beyond chance")
            if any(one.k > chosen.k for one in self._preferred):
                causes.append("it has the fewest segments of the candidates of which that is true")
        error = selection.tolerance_errors * self.score.error_of(best)
        return (
            f"{score} within {_errors(selection)} ({error:.3f}) of the best ({best.name}, {self.score.of(best):.3f}),"
            f" and {', and '.join(causes)}.{few}"
        )


def _what_a_gate_refuses(gate: str, candidates: Sequence[Candidate], selection: SelectionSettings) -> str | None:
    """Returns how many candidates a gate alone refuses and how few customers are behind it; None for up to half."""
    alone = selection.model_copy(update={name: value for name, value in GATES.items() if name != gate})
    low, high = servable(alone, max((one.sizes.customers.sum() for one in candidates), default=0))
    compared = [one for one in candidates if not one.is_baseline and low <= one.k <= high]
    refused = [one for one in compared if one.refusal(alone) is not None]
    if not refused or 2 * len(refused) <= len(compared):
        return None
    behind = max(_share_behind(gate, one, alone) for one in refused)
    return (
        f"This gate alone refuses {len(refused)} of {len(compared)} candidates, because of segments with at most"
        f" {behind:.1%} of the customers."
    )


def _share_behind(gate: str, candidate: Candidate, selection: SelectionSettings) -> float:
    """Returns the share of the customers who are in the segments for which a gate refuses a candidate."""
    shares = candidate.sizes.shares
    if gate == "largest_share":
        return float(shares[shares > selection.largest_share].sum())
    if gate == "smallest_stability":
        return float(shares[np.asarray(candidate.jaccard or np.zeros(candidate.k)) < GROUPS_FROM].sum())
    return float(shares[candidate.sizes.too_small(selection)].sum())


def _forcing_settings(selection: SelectionSettings) -> str:
    """Returns the names of the settings that force the choice; empty if none does."""
    values = {"selection.algorithm": selection.algorithm, "selection.k": selection.k}
    return " and ".join(key for key, value in values.items() if value is not None)


def _errors(selection: SelectionSettings) -> str:
    """Returns the tolerance in words."""
    errors = selection.tolerance_errors
    return "one standard error" if errors == 1 else f"{errors:g} standard errors"


def _or_zero(value: float) -> float:
    return 0.0 if math.isnan(value) else value


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
