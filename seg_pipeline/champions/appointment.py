"""The appointment of a champion: decides whether the night's model replaces it, and what happens to the segments.

A challenger takes over only by the stated rule. Before it does, its clusters are matched to the champion's segments, so
that segments keep their ids and names.
"""

import datetime
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from seg_pipeline.champions.cadence import is_past
from seg_pipeline.champions.contingency import Contingency, count_contingency, identity_rows
from seg_pipeline.champions.identity import assign_segment_ids
from seg_pipeline.champions.new_segments import segments_of
from seg_pipeline.champions.tables import CHAMPION_DECISIONS, SEGMENT_IDENTITY
from seg_pipeline.evaluation.selection import Score
from seg_pipeline.evaluation.tables import EVALUATION_REPORT
from seg_pipeline.features.tables import FEATURE_TRANSFORMS
from seg_pipeline.features.transforms import invert_transforms
from seg_pipeline.models.champions import (
    Champion,
    append_champion,
    find_champion,
    has_reference_of,
    incumbent_of,
    largest_segment_id,
    model_id,
    newest_champion,
    settings_digest,
)
from seg_pipeline.models.drift import training_summary
from seg_pipeline.models.gates import failed_gate, sizes_of
from seg_pipeline.models.metrics import metrics_of
from seg_pipeline.models.model import model_from_labels
from seg_pipeline.models.registry import ALGORITHMS
from seg_pipeline.models.scoring import Scorer, label_customers
from seg_pipeline.models.store import read_coreset, read_jaccard, read_model
from seg_pipeline.settings import SelectionSettings, Settings
from seg_pipeline.warehouse import Connection, Warehouse

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True, slots=True)
class Performance:
    """How a model performs on the night's customers; NaN if unknown. Nobody knows yet what they will be worth.

    Attributes:
        silhouette: Mean silhouette, -1 to 1.
        explained_share: Share of the variance that lies between the segments, 0 to 1.
        stability: Stability when the model was fitted.
        refusal: The gate that it fails, in a sentence; None if it passes all.
    """

    silhouette: float
    explained_share: float
    stability: float
    refusal: str | None
    stability_error: float = float("nan")
    value_share: float = float("nan")
    value_error: float = float("nan")


@dataclass(frozen=True, slots=True)
class Decision:
    """The decision on a challenger.

    Attributes:
        outcome: `first`, `replaced`, `kept` or `past`, as in champion_decisions.
        reason: Why, in a sentence.
        challenger: Performance of the challenger.
        incumbent: Performance of the champion on the same customers; None if there is no champion.
        challenger_score: The challenger's score, see `_scores`.
        incumbent_score: The champion's score; None if there is no champion.
    """

    outcome: str
    reason: str
    challenger: Performance
    incumbent: Performance | None
    challenger_score: float
    incumbent_score: float | None

    @property
    def takes_over(self) -> bool:
        return self.outcome in ("first", "replaced")


@dataclass(frozen=True, slots=True)
class Appointment:
    """What was decided on the night's chosen model.

    Attributes:
        outcome: `first`, `replaced`, `kept` or `past`, as in champion_decisions.
        reason: Why, in a sentence.
        figures: Maps the columns of champion_decisions to their values, without the reason and those that are NULL.
    """

    outcome: str
    reason: str
    figures: dict[str, Any]


def takeover_rule(settings: Settings) -> str:
    """Returns the rule in words, with the figures of the settings."""
    return (
        "The night's model takes over if there is no champion, if the settings that shape a model have changed, if the"
        " champion fails a gate of the selection on the night's customers, or if the model's score on them is at least"
        f" {settings.champions.margin:g} above the champion's. (The score is that of the choice without value.) A"
        " pinned champion stays, and a night changes nothing if a later night"
        " is already scored."
    )


def appoint(warehouse: Warehouse, settings: Settings, as_of: datetime.date) -> Appointment:
    """Decides whether the night's chosen model becomes the champion.

    Writes champion_decisions, segment_identity and, if the model takes over, its row of champions, all in one
    transaction. A champion that is kept gets another row of champions, and drift is measured from this night on.
    Running it again for the same night and model gives the same decision.
    """
    chosen = warehouse.night(EVALUATION_REPORT, as_of, where="chosen").iloc[0]
    scorer = _scorer_of(warehouse, chosen, as_of)
    challenger_id = model_id(scorer, as_of)
    newest = newest_champion(warehouse)
    earlier_row = find_champion(warehouse, challenger_id)
    incumbent = incumbent_of(warehouse, as_of, challenger_id)
    largest = largest_segment_id(warehouse)
    jaccard = read_jaccard(warehouse, chosen["algorithm"], int(chosen["k"]), as_of)

    past = newest is not None and is_past(warehouse, as_of)
    decision = _decide(chosen, incumbent, scorer, settings)
    # A model that once took over on this night keeps that decision, even if later nights are scored by now.
    if past and decision.takes_over and earlier_row is None:
        decision = replace(
            decision, outcome="past", reason="Later nights are already scored, and a past night changes nothing."
        )

    with warehouse.get_connection() as connection, label_customers(connection, scorer, as_of) as labelled:
        contingency = count_contingency(connection, labelled, incumbent, as_of)
        matches = contingency.matches(settings.champions.smallest_overlap)
        if earlier_row is None:
            ids = _ids(contingency, {cluster: segment_id for cluster, (segment_id, _) in matches.items()}, largest)
            segments, fidelity = segments_of(connection, labelled, scorer, ids, largest, incumbent, jaccard, as_of)
            challenger = Champion(
                model_id=challenger_id,
                fitted_as_of=as_of,
                in_force_from=as_of,
                pinned=False,
                settings_digest=settings_digest(settings),
                why=decision.reason,
                scorer=scorer,
                segments=segments,
                training=training_summary(connection, scorer.transforms, as_of),
                reference_as_of=as_of,
                customers=int(contingency.clusters["customers"].sum()),
                stability=float(chosen["stability"]),
                rule_fidelity=fidelity,
            )
        else:
            challenger = replace(earlier_row, in_force_from=as_of, pinned=False)
        row = _decision_row(decision, challenger, incumbent, contingency)
        in_force = challenger if decision.takes_over else None
        if decision.outcome == "kept" and incumbent is not None:
            in_force = _with_new_reference(connection, incumbent, contingency, decision.reason, as_of)
        with connection.transaction():
            connection.replace_night(CHAMPION_DECISIONS, row, as_of)
            connection.create(SEGMENT_IDENTITY, or_replace=False)
            # A takeover stays on record even if a later run decides otherwise on the same night.
            if decision.takes_over:
                changes = identity_rows(challenger, incumbent, contingency, dict(matches.values()))
                connection.replace_night(SEGMENT_IDENTITY, changes, as_of)
            if in_force is not None and not past and _changes(newest, in_force, decision):
                append_champion(connection, in_force)
    figures = {str(column): value for column, value in row.iloc[0].drop("reason").dropna().items()}
    return Appointment(decision.outcome, decision.reason, figures)


def _scorer_of(warehouse: Warehouse, chosen: "pd.Series", as_of: datetime.date) -> Scorer:
    """Returns a scorer of the model that was chosen, given its row of evaluation_report."""
    coreset = read_coreset(warehouse, as_of)
    transforms = warehouse.night(FEATURE_TRANSFORMS, as_of).drop(columns="as_of")
    model = read_model(warehouse, chosen["algorithm"], int(chosen["k"]), as_of)
    return Scorer(ALGORITHMS[model.algorithm].as_champion(model, coreset), transforms, coreset)


def _with_new_reference(
    connection: Connection, champion: Champion, contingency: Contingency, reason: str, as_of: datetime.date
) -> Champion:
    """Returns a champion that was kept, with the night's customers as those that drift is measured from.

    Otherwise the same drift would make another refit due a week later, and again after that.
    """
    customers = dict(zip(contingency.segment_ids, contingency.shared.sum(axis=0), strict=True))
    shares = champion.segments["segment_id"].map(
        lambda segment_id: customers.get(segment_id, 0) / contingency.shared.sum()
    )
    return replace(
        champion,
        in_force_from=as_of,
        why=f"Kept. {reason} From here on, drift is measured from this night.",
        segments=champion.segments.assign(share=shares.where(champion.segments["segment_id"] > 0)),
        training=training_summary(connection, champion.scorer.transforms, as_of),
        reference_as_of=as_of,
    )


def _changes(newest: Champion | None, in_force: Champion, decision: Decision) -> bool:
    """Returns whether putting a champion in force changes anything. It does not if the same night is run again."""
    if newest is None:
        return True
    if decision.takes_over:
        return newest.model_id != in_force.model_id
    # Running a night again that a takeover ended must not bring back the champion before it.
    return newest.model_id == in_force.model_id and not has_reference_of(newest, in_force)


def _ids(contingency: Contingency, matches: Mapping[int, int], largest_id: int) -> dict[int, int]:
    """Maps each of the challenger's clusters to its segment id.

    Args:
        contingency: The challenger's clusters.
        matches: The incumbent's segment id of each cluster that matches one.
        largest_id: The largest segment id that any champion ever gave.
    """
    clusters, money = contingency.clusters["cluster"].to_list(), contingency.clusters["mean_money"].to_list()
    return dict(zip(clusters, assign_segment_ids(clusters, matches, money, largest_id), strict=True))


def _decision_row(
    decision: Decision, challenger: Champion, incumbent: Champion | None, contingency: Contingency
) -> "pd.DataFrame":
    """Returns the row of champion_decisions."""
    import pandas as pd

    new, old = decision.challenger, decision.incumbent
    ids = dict(zip(challenger.segments["cluster"], challenger.segments["segment_id"], strict=True))
    return pd.DataFrame(
        {
            "challenger_id": [challenger.model_id],
            "incumbent_id": [incumbent.model_id if incumbent else None],
            "decision": [decision.outcome],
            "reason": [decision.reason],
            "challenger_score": [decision.challenger_score],
            "incumbent_score": [decision.incumbent_score],
            "challenger_silhouette": [new.silhouette],
            "incumbent_silhouette": [old.silhouette if old else None],
            "challenger_explained_share": [new.explained_share],
            "incumbent_explained_share": [old.explained_share if old else None],
            "agreement": [contingency.agreement if incumbent else None],
            "kept_share": [contingency.kept_share(ids)],
            "kept_share_unmatched": [contingency.kept_share(_ids(contingency, {}, 0))],
        }
    )


def _decide(chosen: "pd.Series", incumbent: Champion | None, challenger: Scorer, settings: Settings) -> Decision:
    """Compares both models on the night's customers and decides by `takeover_rule`."""
    new = Performance(
        float(chosen["silhouette"]), float(chosen["explained_share"]), float(chosen["stability"]), refusal=None
    )
    old = None if incumbent is None else _incumbent_performance(incumbent, challenger, settings.selection)
    new_score, old_score = _scores(new, old, settings.selection)
    outcome, reason = _outcome_and_reason(incumbent, old, new_score, old_score, settings)
    return Decision(outcome, reason, new, old, new_score, None if old is None else old_score)


def _scores(new: Performance, old: Performance | None, selection: SelectionSettings) -> tuple[float, float]:
    """Returns the scores of both models: the rule's, without value.

    A stability that was measured for one of them alone does not count.
    """
    if old is None:
        return Score.among([new], selection).of(new), float("nan")
    if np.isnan(new.stability) or np.isnan(old.stability):
        new, old = (replace(one, stability=float("nan")) for one in (new, old))
    score = Score.among([new, old], selection)
    return score.of(new), score.of(old)


def _outcome_and_reason(
    incumbent: Champion | None, old: Performance | None, new_score: float, old_score: float, settings: Settings
) -> tuple[str, str]:
    """Applies `takeover_rule` to the challenger's score (new_score) and the incumbent's performance and score."""
    if incumbent is None or old is None:
        return "first", "There was no champion."
    if incumbent.pinned:
        return "kept", f"The champion {incumbent.model_id} is pinned."
    if incumbent.settings_digest != settings_digest(settings):
        return "replaced", "The settings that shape a model have changed."
    if old.refusal:
        return "replaced", f"The champion {incumbent.model_id} is no longer eligible. {old.refusal}"
    margin = settings.champions.margin
    comparison = f"at least {margin:g} above the {old_score:.3f} of the champion {incumbent.model_id}"
    if new_score - old_score >= margin:
        return "replaced", f"The new model's score of {new_score:.3f} is {comparison}."
    return "kept", f"The new model's score of {new_score:.3f} is not {comparison}."


def _incumbent_performance(incumbent: Champion, challenger: Scorer, selection: SelectionSettings) -> Performance:
    """Labels the challenger's cells by the incumbent and measures the segments there.

    The cells' points are converted back to raw features, which the incumbent then transforms in its own way.
    """
    nan, coreset = float("nan"), challenger.coreset
    customers = invert_transforms(coreset.points, challenger.transforms).assign(rfm_segment=coreset.rfm_segments)
    if not set(incumbent.scorer.columns) <= set(customers):
        return Performance(nan, nan, nan, None)  # the incumbent uses features that the night's fit does not have
    segment_of = dict(zip(incumbent.segments["cluster"], incumbent.segments["segment_id"], strict=True))
    labels = np.array([segment_of[cluster] for cluster in incumbent.scorer.label(customers)[0]])
    model = model_from_labels(incumbent.scorer.model.algorithm, coreset, labels)
    [measured] = metrics_of(coreset, [model])
    return Performance(
        measured.silhouette,
        measured.explained_share,
        incumbent.stability,
        # The baseline is the last resort, so it has no gates to pass.
        None if incumbent.scorer.algorithm.is_baseline else failed_gate(sizes_of(coreset, model), nan, selection),
    )
