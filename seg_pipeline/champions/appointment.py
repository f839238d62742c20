"""The night's model against the champion: who scores from now on, and what becomes of the segments.

A challenger takes over only by a stated rule. Its clusters are matched to the champion's segments before it does, so
that ids and names survive.
"""

import datetime
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from seg_pipeline.champions.cadence import is_past
from seg_pipeline.champions.identity import identified
from seg_pipeline.champions.meeting import Meeting, identity_rows, meeting_of
from seg_pipeline.champions.new_segments import segments_of
from seg_pipeline.champions.tables import CHAMPION_DECISIONS, SEGMENT_IDENTITY
from seg_pipeline.evaluation.selection import Candidate, weights_of
from seg_pipeline.evaluation.tables import EVALUATION_REPORT
from seg_pipeline.features.tables import FEATURE_TRANSFORMS
from seg_pipeline.features.transforms import invert_transforms
from seg_pipeline.models.champions import (
    Champion,
    append_champion,
    find_champion,
    incumbent_of,
    largest_segment_id,
    model_id,
    newest_champion,
    settings_digest,
)
from seg_pipeline.models.drift import training_summary
from seg_pipeline.models.gates import failed_gate
from seg_pipeline.models.metrics import metrics_of
from seg_pipeline.models.model import model_from_labels
from seg_pipeline.models.registry import ALGORITHMS
from seg_pipeline.models.scoring import Scorer, label_customers
from seg_pipeline.models.store import read_coreset, read_jaccard, read_model
from seg_pipeline.settings import SelectionSettings, Settings
from seg_pipeline.warehouse import Warehouse

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True, slots=True)
class Figures:
    """A model on the night's customers, as the rule compares it, NaN if unknown; `refusal` is the gate it fails."""

    score: float
    silhouette: float
    explained_share: float
    refusal: str | None


@dataclass(frozen=True, slots=True)
class Decision:
    """What becomes of a challenger: `outcome` as in champion_decisions."""

    outcome: str
    reason: str
    challenger: Figures
    incumbent: Figures | None

    @property
    def takes_over(self) -> bool:
        return self.outcome in ("first", "replaced")


def takeover_rule(settings: Settings) -> str:
    """Says when a challenger takes over, with the figures of the settings."""
    return (
        "The night's model takes over where there is no champion, where the settings that shape a model have changed,"
        " where the champion fails a gate of the selection on the night's customers, or where the model's score there"
        f" is at least {settings.champions.margin:g} above the champion's (the score of the choice, without value). A"
        " pinned champion stays, and a night changes nothing once a later one is scored."
    )


def appoint(warehouse: Warehouse, settings: Settings, as_of: datetime.date) -> "pd.DataFrame":
    """Decides on the night's chosen model; returns its row of champion_decisions.

    Writes champion_decisions and segment_identity and, if the model takes over, the row of champions, all in one
    transaction. Deciding a night again with the same model decides the same.
    """
    chosen = warehouse.night(EVALUATION_REPORT, as_of, where="chosen").iloc[0]
    scorer = _scorer_of(warehouse, chosen, as_of)
    name = model_id(scorer, as_of)
    newest = newest_champion(warehouse)
    known = find_champion(warehouse, name)
    incumbent = incumbent_of(warehouse, as_of, name)
    largest = largest_segment_id(warehouse)
    jaccard = read_jaccard(warehouse, chosen["algorithm"], int(chosen["k"]), as_of)

    past = newest is not None and is_past(warehouse, as_of)
    decision = _decision(chosen, incumbent, scorer, settings)
    # A model that took over on its night did so, whatever came later.
    if past and decision.takes_over and known is None:
        decision = replace(
            decision, outcome="past", reason="Later nights are scored already: a past night changes nothing."
        )

    with warehouse.get_connection() as connection, label_customers(connection, scorer, as_of) as labelled:
        meeting = meeting_of(connection, labelled, incumbent, as_of)
        matches = meeting.matches(settings.champions.smallest_overlap)
        if known is None:
            ids = _ids(meeting, {cluster: segment_id for cluster, (segment_id, _) in matches.items()}, largest)
            segments, fidelity = segments_of(connection, labelled, scorer, ids, largest, incumbent, jaccard, as_of)
            challenger = Champion(
                model_id=name,
                fitted_as_of=as_of,
                in_force_from=as_of,
                pinned=False,
                settings_digest=settings_digest(settings),
                why=decision.reason,
                scorer=scorer,
                segments=segments,
                training=training_summary(connection, scorer.transforms, as_of),
                customers=int(meeting.clusters["customers"].sum()),
                stability=float(chosen["stability"]),
                rule_fidelity=fidelity,
            )
        else:
            challenger = replace(known, in_force_from=as_of, pinned=False)
        row = _decision_row(decision, challenger, incumbent, meeting)
        with connection.transaction():
            connection.replace_night(CHAMPION_DECISIONS, row, as_of)
            connection.create(SEGMENT_IDENTITY, or_replace=False)
            # A takeover stays on record, whatever is decided on its night later.
            if decision.takes_over:
                changes = identity_rows(challenger, incumbent, meeting, dict(matches.values()))
                connection.replace_night(SEGMENT_IDENTITY, changes, as_of)
            if decision.takes_over and not past and (newest is None or newest.model_id != name):
                append_champion(connection, challenger)
    return row


def _scorer_of(warehouse: Warehouse, chosen: "pd.Series", as_of: datetime.date) -> Scorer:
    """The model that a row of evaluation_report chose, able to score customers."""
    coreset = read_coreset(warehouse, as_of)
    transforms = warehouse.night(FEATURE_TRANSFORMS, as_of).drop(columns="as_of")
    model = read_model(warehouse, chosen["algorithm"], int(chosen["k"]), as_of)
    return Scorer(ALGORITHMS[model.algorithm].as_champion(model, coreset), transforms, coreset)


def _ids(meeting: Meeting, matches: Mapping[int, int], largest_id: int) -> dict[int, int]:
    """Segment id of each of the challenger's clusters; `matches` has those that are segments of the incumbent."""
    clusters, money = meeting.clusters["cluster"].to_list(), meeting.clusters["mean_money"].to_list()
    return dict(zip(clusters, identified(clusters, matches, money, largest_id), strict=True))


def _decision_row(
    decision: Decision, challenger: Champion, incumbent: Champion | None, meeting: Meeting
) -> "pd.DataFrame":
    """The row of champion_decisions."""
    import pandas as pd

    ours, theirs = decision.challenger, decision.incumbent
    ids = dict(zip(challenger.segments["cluster"], challenger.segments["segment_id"], strict=True))
    return pd.DataFrame(
        {
            "challenger_id": [challenger.model_id],
            "incumbent_id": [incumbent.model_id if incumbent else None],
            "decision": [decision.outcome],
            "reason": [decision.reason],
            "challenger_score": [ours.score],
            "incumbent_score": [theirs.score if theirs else None],
            "challenger_silhouette": [ours.silhouette],
            "incumbent_silhouette": [theirs.silhouette if theirs else None],
            "challenger_explained_share": [ours.explained_share],
            "incumbent_explained_share": [theirs.explained_share if theirs else None],
            "agreement": [meeting.agreement if incumbent else None],
            "kept_share": [meeting.kept_share(ids)],
            "kept_share_unmatched": [meeting.kept_share(_ids(meeting, {}, 0))],
        }
    )


def _decision(chosen: "pd.Series", incumbent: Champion | None, challenger: Scorer, settings: Settings) -> Decision:
    """The decision by `takeover_rule`, on the night's customers."""
    ours = _figures_of_challenger(chosen, settings.selection)
    theirs = None if incumbent is None else _figures_of_incumbent(incumbent, challenger, settings.selection)
    return Decision(*_by_rule(incumbent, ours, theirs, settings), ours, theirs)


def _by_rule(incumbent: Champion | None, ours: Figures, theirs: Figures | None, settings: Settings) -> tuple[str, str]:
    """The decision by `takeover_rule`, and why."""
    if incumbent is None or theirs is None:
        return "first", "There was no champion."
    if incumbent.pinned:
        return "kept", f"{incumbent.model_id} is pinned."
    if incumbent.settings_digest != settings_digest(settings):
        return "replaced", "The settings that shape a model have changed."
    if theirs.refusal:
        return "replaced", f"{incumbent.model_id} is not eligible any more. {theirs.refusal}"
    margin = settings.champions.margin
    against = f"score {ours.score:.3f} against {theirs.score:.3f} of {incumbent.model_id}"
    if ours.score - theirs.score >= margin:
        return "replaced", f"Better by {margin:g} or more: {against}."
    return "kept", f"Not better by {margin:g}: {against}."


def _figures_of_challenger(chosen: "pd.Series", selection: SelectionSettings) -> Figures:
    return Figures(
        score_without_value(chosen["silhouette"], chosen["explained_share"], chosen["stability"], selection),
        float(chosen["silhouette"]),
        float(chosen["explained_share"]),
        None,
    )


def _figures_of_incumbent(incumbent: Champion, challenger: Scorer, selection: SelectionSettings) -> Figures:
    """The incumbent's segments on the challenger's cells, by the features that stand there."""
    nan, coreset = float("nan"), challenger.coreset
    customers = invert_transforms(coreset.points, challenger.transforms).assign(rfm_segment=coreset.rfm_segments)
    if not set(incumbent.scorer.columns) <= set(customers):
        return Figures(nan, nan, nan, None)  # it looks at features that are not compared any more
    segment_of = dict(zip(incumbent.segments["cluster"], incumbent.segments["segment_id"], strict=True))
    labels = np.array([segment_of[cluster] for cluster in incumbent.scorer.label(customers)[0]])
    model = model_from_labels(incumbent.scorer.model.algorithm, coreset, labels)
    [measured] = metrics_of(coreset, [model])
    return Figures(
        score_without_value(measured.silhouette, measured.explained_share, incumbent.stability, selection),
        measured.silhouette,
        measured.explained_share,
        # The baseline is there for want of better: it has no gates to pass.
        None if incumbent.scorer.algorithm.is_baseline else failed_gate(model.k, measured, None, selection),
    )


def score_without_value(
    silhouette: float, explained_share: float, stability: float, selection: SelectionSettings
) -> float:
    """The score of the choice on a night's customers; what they will be worth nobody knows yet."""
    return Candidate(
        algorithm="",
        k=0,
        inertia=float("nan"),
        explained_share=explained_share,
        silhouette=silhouette,
        bic=float("nan"),
        stability=stability,
        refusal=None,
    ).score(weights_of(selection))
