"""The night's model against the champion: who scores from now on, and what becomes of the segments.

A challenger takes over only by a stated rule. Its clusters are matched to the champion's segments before it does, so
that ids and names survive.
"""

import datetime
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from seg_pipeline.champions.cadence import is_past
from seg_pipeline.champions.identity import identified, matched
from seg_pipeline.champions.names import keep_names, name_segments
from seg_pipeline.champions.rules import segment_rules
from seg_pipeline.champions.tables import CHAMPION_DECISIONS, SEGMENT_IDENTITY
from seg_pipeline.evaluation.selection import Candidate, weights_of
from seg_pipeline.evaluation.tables import EVALUATION_REPORT
from seg_pipeline.features.tables import FEATURE_TRANSFORMS, NO_PURCHASES, RFM_FEATURES, RFM_GRID
from seg_pipeline.features.transforms import invert_transforms
from seg_pipeline.models.algorithms.rfm_grid import NAME as RFM_GRID_NAME
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
from seg_pipeline.models.metrics import score
from seg_pipeline.models.model import model_from_labels, nearest_centers
from seg_pipeline.models.scoring import NO_CLUSTER, Scorer, grid_clusters, label_customers
from seg_pipeline.models.stability import adjusted_rand
from seg_pipeline.models.store import read_coreset, read_jaccard, read_model
from seg_pipeline.settings import SelectionSettings, Settings
from seg_pipeline.warehouse import Connection, Relation, Warehouse

if TYPE_CHECKING:
    import numpy.typing as npt
    import pandas as pd

PROFILES = Path(__file__).with_name("segment_profiles.sql")


@dataclass(frozen=True, slots=True)
class Figures:
    """A model on the night's customers, as the rule compares it, NaN if unknown; `refusal` is the gate it fails."""

    score: float
    silhouette: float
    explained_share: float
    refusal: str | None


@dataclass(frozen=True, slots=True)
class Meeting:
    """The customers of the challenger's clusters and, at the same time, of the incumbent's segments.

    Attributes
    ----------
    clusters : DataFrame
        cluster, customers and mean_money of the challenger's clusters that are somebody's.
    segment_ids : list of int
        The incumbent's segments that are somebody's; empty without one.
    shared : (clusters, segments)
        Customers in both.
    """

    clusters: "pd.DataFrame"
    segment_ids: list[int]
    shared: "npt.NDArray[np.int64]"

    def kept_share(self, ids: Mapping[int, int]) -> float | None:
        """Share of the customers whose segment has the same id by both, if clusters have these ids."""
        if not self.segment_ids:
            return None
        same = np.array([ids[cluster] for cluster in self.clusters["cluster"]])[:, None] == self.segment_ids
        return float(self.shared[same].sum() / self.shared.sum())


def rule_in_words(settings: Settings) -> str:
    """When a challenger takes over, with the settings' own figures."""
    return (
        "The night's model takes over where there is no champion, where the settings that shape a model have changed,"
        " where the champion fails a gate of the selection on the night's customers, or where the model's score there"
        f" is at least {settings.champions.margin:g} above the champion's (the score of the choice, without value). A"
        " pinned champion stays, and a night changes nothing once a later one is scored."
    )


def appoint(warehouse: Warehouse, settings: Settings, as_of: datetime.date) -> "pd.DataFrame":
    """Decides on the night's chosen model; returns its row of champion_decisions.

    Writes champion_decisions and segment_identity and, where the model takes over, the row of champions, all in one
    transaction. Deciding a night again with the same model decides the same.
    """
    import pandas as pd

    chosen = warehouse.night(EVALUATION_REPORT, as_of, where="chosen").iloc[0]
    coreset, cells = read_coreset(warehouse, as_of)
    transforms = warehouse.night(FEATURE_TRANSFORMS, as_of).drop(columns="as_of")
    model = read_model(warehouse, chosen["algorithm"], int(chosen["k"]), as_of)
    if model.algorithm == RFM_GRID_NAME:
        model = replace(model, cell_labels=grid_clusters(cells))
    scorer = Scorer(model, transforms, coreset)
    name = model_id(scorer, as_of)
    newest = newest_champion(warehouse)
    known = find_champion(warehouse, name)
    incumbent = incumbent_of(warehouse, as_of, name)
    largest = largest_segment_id(warehouse)

    ours = _figures_of_challenger(chosen, settings.selection)
    theirs = None
    if incumbent is not None:
        customers = invert_transforms(coreset.points, transforms).assign(rfm_segment=cells["rfm_segment"])
        theirs = _figures_of_incumbent(incumbent, scorer, customers, settings.selection)
    past = newest is not None and is_past(warehouse, as_of)
    decision, reason = _by_rule(incumbent, ours, theirs, settings)
    # A model that took over on its night did so, whatever came later.
    if past and decision != "kept" and known is None:
        decision, reason = "past", "Later nights are scored already: a past night changes nothing."

    with warehouse.get_connection() as connection, label_customers(connection, scorer, as_of) as labelled:
        meeting = _meeting(connection, labelled, incumbent, as_of)
        pairs = matched(meeting.shared, settings.champions.smallest_overlap)
        overlaps = {meeting.segment_ids[column]: overlap for column, overlap in pairs.values()}
        clusters, money = meeting.clusters["cluster"].to_list(), meeting.clusters["mean_money"].to_list()
        if known is None:
            matches = {clusters[row]: meeting.segment_ids[column] for row, (column, _) in pairs.items()}
            ids = dict(zip(clusters, identified(clusters, matches, money, largest), strict=True))
            segments, fidelity = _with_rules(
                scorer,
                _segments(
                    connection,
                    labelled,
                    scorer,
                    ids,
                    largest,
                    incumbent,
                    read_jaccard(warehouse, chosen["algorithm"], int(chosen["k"]), as_of),
                    as_of,
                ),
            )
            challenger = Champion(
                model_id=name,
                fitted_as_of=as_of,
                in_force_from=as_of,
                pinned=False,
                settings_digest=settings_digest(settings),
                why=reason,
                scorer=scorer,
                segments=segments,
                training=training_summary(connection, transforms, as_of),
                customers=int(meeting.clusters["customers"].sum()),
                stability=float(chosen["stability"]),
                rule_fidelity=fidelity,
            )
        else:
            challenger = replace(known, in_force_from=as_of, pinned=False)
        by_money = dict(zip(clusters, identified(clusters, {}, money, 0), strict=True))
        ids = dict(zip(challenger.segments["cluster"], challenger.segments["segment_id"], strict=True))
        row = pd.DataFrame(
            {
                "challenger_id": [name],
                "incumbent_id": [incumbent.model_id if incumbent else None],
                "decision": [decision],
                "reason": [reason],
                "challenger_score": [ours.score],
                "incumbent_score": [theirs.score if theirs else None],
                "challenger_silhouette": [ours.silhouette],
                "incumbent_silhouette": [theirs.silhouette if theirs else None],
                "challenger_explained_share": [ours.explained_share],
                "incumbent_explained_share": [theirs.explained_share if theirs else None],
                "agreement": [adjusted_rand(meeting.shared.astype(float)) if incumbent else None],
                "kept_share": [meeting.kept_share(ids)],
                "kept_share_unmatched": [meeting.kept_share(by_money)],
            }
        )
        taking_over = decision in ("first", "replaced")
        changes = _changes(challenger, incumbent, meeting, overlaps)
        with connection.transaction():
            connection.replace_night(CHAMPION_DECISIONS, row, as_of)
            connection.create(SEGMENT_IDENTITY, or_replace=False)
            # A takeover stays on record, whatever is decided on its night later.
            if taking_over:
                connection.replace_night(SEGMENT_IDENTITY, changes, as_of)
            if taking_over and not past and (newest is None or newest.model_id != name):
                append_champion(connection, challenger)
    return row


def _by_rule(incumbent: Champion | None, ours: Figures, theirs: Figures | None, settings: Settings) -> tuple[str, str]:
    """The decision and why, see `rule_in_words`."""
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


def _figures_of_incumbent(
    incumbent: Champion, challenger: Scorer, customers: "pd.DataFrame", selection: SelectionSettings
) -> Figures:
    """The incumbent's segments of the challenger's cells; `customers` has the features that stand at the cells."""
    nan = float("nan")
    if not set(incumbent.scorer.columns) <= set(customers):
        return Figures(nan, nan, nan, None)  # it looks at features that are not compared any more
    segment_of = dict(zip(incumbent.segments["cluster"], incumbent.segments["segment_id"], strict=True))
    labels = np.array([segment_of[cluster] for cluster in incumbent.scorer.label(customers)[0]])
    model = model_from_labels(incumbent.scorer.model.algorithm, challenger.coreset, labels)
    [measured] = score(challenger.coreset, [model])
    return Figures(
        score_without_value(measured.silhouette, measured.explained_share, incumbent.stability, selection),
        measured.silhouette,
        measured.explained_share,
        # The grid is there for want of better: it has no gates to pass.
        None if model.algorithm == RFM_GRID_NAME else failed_gate(model.k, measured, None, selection),
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


def _meeting(connection: Connection, labelled: Relation, incumbent: Champion | None, as_of: datetime.date) -> Meeting:
    """Counts who is where; `labelled` has the challenger's clusters."""
    clusters = connection.execute(
        f"SELECT cluster, count(*) AS customers, sum(monetary) / count(*) AS mean_money FROM {labelled}"
        f" JOIN {RFM_FEATURES.name} USING (customer_id) WHERE as_of = $as_of AND cluster != $none"
        " GROUP BY cluster ORDER BY cluster",
        {"as_of": as_of, "none": NO_CLUSTER},
    ).df()
    if incumbent is None:
        return Meeting(clusters, [], np.zeros((len(clusters), 0), dtype=np.int64))
    with (
        label_customers(connection, incumbent.scorer, as_of) as before,
        connection.temporary(incumbent.segments) as segments,
    ):
        pairs = connection.execute(
            f"SELECT now.cluster, segments.segment_id, count(*) AS customers FROM {labelled} AS now"
            f" JOIN {before} AS before USING (customer_id)"
            f" JOIN {segments} AS segments ON segments.cluster = before.cluster"
            f" WHERE now.cluster != {NO_CLUSTER} GROUP BY ALL ORDER BY ALL"
        ).df()
    shared = pairs.pivot_table(index="cluster", columns="segment_id", values="customers", aggfunc="sum", fill_value=0)
    return Meeting(clusters, [int(one) for one in shared.columns], shared.to_numpy(dtype=np.int64))


def _segments(
    connection: Connection,
    labelled: Relation,
    scorer: Scorer,
    ids: Mapping[int, int],
    largest_id: int,
    incumbent: Champion | None,
    jaccard: "npt.NDArray[np.float64] | None",
    as_of: datetime.date,
) -> "pd.DataFrame":
    """The segments of a new champion, a row per cluster and one for who has not bought; see `Champion`."""
    import pandas as pd

    by_rhythm = scorer.model.algorithm != RFM_GRID_NAME
    clusters = pd.DataFrame({"cluster": [NO_CLUSTER, *ids], "segment_id": [0, *ids.values()]})
    with connection.temporary(clusters) as numbered:
        profiles = connection.execute(PROFILES, {"as_of": as_of, "labelled": labelled, "numbered": numbered}).df()
    names = name_segments(profiles, by_rhythm=by_rhythm, noise=scorer.model.noise)
    if incumbent is not None:
        names = keep_names(names, profiles, incumbent.segments, by_rhythm=by_rhythm)
    buyers = profiles["customers"].where(profiles["segment_id"] > 0)
    segments = clusters.merge(
        names.assign(segment_id=profiles["segment_id"], share=buyers / buyers.sum()), on="segment_id", how="left"
    )
    # Segment 0 has its name whether or not anybody is in it on this night.
    nobody = segments["cluster"] == NO_CLUSTER
    segments.loc[nobody, "segment_name"] = segments.loc[nobody, "grid_name"] = NO_PURCHASES
    segments.loc[nobody, "name_reason"] = "no purchase before the night, only returns"
    segments["stability"] = [
        float("nan") if jaccard is None or cluster == NO_CLUSTER else jaccard[cluster]
        for cluster in segments["cluster"]
    ]
    return pd.concat([segments, _unoccupied(scorer, segments, largest_id)], ignore_index=True)


def _unoccupied(scorer: Scorer, segments: "pd.DataFrame", largest_id: int) -> "pd.DataFrame":
    """Rows for clusters that are nobody's on the night of the fit, since a customer may come to be in one later.

    A part of the grid is a segment of its own; a component of a mixture goes with the nearest that has customers.
    """
    import pandas as pd

    model, used = scorer.model, segments["cluster"].to_list()
    if model.algorithm == RFM_GRID_NAME:
        unused = [(place, name) for place, name in enumerate(RFM_GRID) if place not in used]
        largest = max(largest_id, int(segments["segment_id"].max()))
        return pd.DataFrame(
            [
                {
                    "cluster": place,
                    "segment_id": largest + number,
                    "segment_name": name,
                    "grid_name": name,
                    "name_reason": f"its part of the grid is {name}; nobody was there when it was named",
                    "share": 0.0,
                }
                for number, (place, name) in enumerate(unused, start=1)
            ],
            columns=segments.columns,
        )
    empty = [cluster for cluster in range(model.k) if cluster not in used]
    if not empty:
        return segments.iloc[:0]
    occupied = [cluster for cluster in used if cluster != NO_CLUSTER]
    nearest = nearest_centers(model.centers[empty], model.centers[occupied])
    homes = segments.set_index("cluster").loc[[occupied[place] for place in nearest]]
    return homes.assign(cluster=empty).reset_index(drop=True)


def _with_rules(scorer: Scorer, segments: "pd.DataFrame") -> "tuple[pd.DataFrame, float]":
    """The segments with their rules in words, and how far these agree with the model's labels of its cells."""
    import pandas as pd

    segment_of = dict(zip(segments["cluster"], segments["segment_id"], strict=True))
    rules, fidelity = segment_rules(
        invert_transforms(scorer.coreset.points, scorer.transforms),
        scorer.coreset.weights,
        np.array([segment_of[cluster] for cluster in scorer.model.cell_labels]),
    )
    # Who has bought nothing is told by that alone.
    nobody = pd.DataFrame({"segment_id": [0], "rule": ["frequency = 0"], "rule_precision": [1.0], "rule_recall": [1.0]})
    return segments.merge(pd.concat([rules, nobody]), on="segment_id", how="left"), fidelity


def _changes(
    challenger: Champion, incumbent: Champion | None, meeting: Meeting, overlaps: Mapping[int, float]
) -> "pd.DataFrame":
    """The rows of segment_identity if the challenger takes over."""
    import pandas as pd

    segment_of = dict(zip(challenger.segments["cluster"], challenger.segments["segment_id"], strict=True))
    customers: dict[int, int] = {}
    for cluster, count in zip(meeting.clusters["cluster"], meeting.clusters["customers"], strict=True):
        customers[segment_of[cluster]] = customers.get(segment_of[cluster], 0) + int(count)
    now = _names(challenger)
    before = {} if incumbent is None else _names(incumbent)
    rows = []
    for segment_id in sorted({*now, *before} - {0}):
        name, previous = now.get(segment_id), before.get(segment_id)
        change = "dissolved" if name is None else "new" if previous is None else "kept"
        rows.append(
            {
                "segment_id": segment_id,
                "change": "renamed" if change == "kept" and name != previous else change,
                "segment_name": name,
                "previous_name": previous,
                "overlap": overlaps.get(segment_id) if change == "kept" else None,
                "customers": customers.get(segment_id, 0),
                "model_id": challenger.model_id,
                "previous_model_id": None if incumbent is None else incumbent.model_id,
            }
        )
    return pd.DataFrame(rows)


def _names(champion: Champion) -> dict[int, str]:
    return dict(zip(champion.segments["segment_id"], champion.segments["segment_name"], strict=True))
