"""Explains why a customer is in a segment: from the raw lines to the segment of a night, and what would change it.

Computes everything again with the code and the champion that scored the night, and compares it with what is stored.
"""

import datetime
import itertools
import math
from dataclasses import replace
from typing import TYPE_CHECKING

from seg_pipeline.errors import DataError, UsageError
from seg_pipeline.features.tables import CUSTOMER_RHYTHM, RFM_FEATURES
from seg_pipeline.features.transforms import apply_transforms
from seg_pipeline.models.champions import Champion, find_champion
from seg_pipeline.models.explanation import Comparison
from seg_pipeline.raw.columns import CUSTOMER_ID, CUSTOMER_TEXT
from seg_pipeline.segments.strategies import ACTION_COLUMNS
from seg_pipeline.segments.tables import ADVICE_ACTIONS, SEGMENT_ASSIGNMENTS
from seg_pipeline.settings import Settings
from seg_pipeline.usecases.customer_lines import lines_of
from seg_pipeline.usecases.existing import existing_warehouse
from seg_pipeline.usecases.explanation import (
    Advice,
    ClusterDistance,
    Decision,
    Explanation,
    Feature,
    FeatureTransformation,
    GridCell,
    Rhythm,
    RunnerUp,
    Stay,
)
from seg_pipeline.usecases.what_would_change import changes_of, number_of, plain, segment_ids_of
from seg_pipeline.warehouse import Warehouse

if TYPE_CHECKING:
    import pandas as pd

SUGGESTIONS = 3
# A mistyped id differs from the right one in at most this many letters.
LIKELY_TYPOS = 2
# Scoring one customer and scoring all of them may differ in the last bits of a sum.
CONFIDENCE_TOLERANCE = 1e-9
SCORES = ("r_score", "f_score", "m_score")
# Columns of rfm_features that are not shown as features: they are shown elsewhere.
SHOWN_ELSEWHERE = ("as_of", "customer_id", "rfm_segment", *SCORES)
ONLY_RETURNS = (
    "no purchase before the night, only returns: no model was applied; any purchase would move them to another segment"
)


def explain(settings: Settings, customer: str, max_lines: int) -> Explanation:
    """Explains a customer's segment on a night.

    Args:
        settings: The settings that name the warehouse; `as_of` is the night, the newest scored one if it is None.
        customer: The customer's id, as a person may write it.
        max_lines: Largest number of raw lines to return.

    Returns:
        The customer's first lines, rejected lines, segment and what led to it, and history.

    Raises:
        UsageError: There is no warehouse, or the night has not been scored.
        DataError: No line has this customer, the champion that scored the night or the stored segment is missing, or
            the stored segment or confidence does not follow from the stored features.
    """
    warehouse = existing_warehouse(settings)
    with warehouse.held(read_only=True):
        customer_id = warehouse.value(
            f"SELECT {CUSTOMER_TEXT} FROM (SELECT $customer AS customer_id)", {"customer": customer, **CUSTOMER_ID}
        )
        night = _scored_night(warehouse, settings.as_of)
        with warehouse.get_connection() as connection:
            raw_lines = lines_of(connection, customer_id, night, max_lines)
        assigned = warehouse.night(
            SEGMENT_ASSIGNMENTS, night, where="customer_id = $customer_id", parameters={"customer_id": customer_id}
        )
        if not raw_lines.total and assigned.empty:
            raise DataError(f"no line of customer {customer_id!r}{_suggestion(warehouse, customer_id, night)}")
        return Explanation(
            customer_id=customer_id,
            as_of=night,
            line_count=raw_lines.total,
            counted_line_count=raw_lines.counting,
            late_line_count=raw_lines.too_late,
            first_lines=raw_lines.first,
            rejections=raw_lines.rejections,
            decision=None if assigned.empty else _decision(warehouse, assigned.iloc[0], night),
            history=_history(warehouse, customer_id, night),
        )


def _scored_night(warehouse: Warehouse, as_of: datetime.date | None) -> datetime.date:
    """Returns `as_of`, or the newest scored night if `as_of` is None.

    Raises:
        UsageError: No night, or not this one, has been scored.
    """
    newest = warehouse.value("SELECT max(as_of) FROM {assignments}", {"assignments": SEGMENT_ASSIGNMENTS})
    if newest is None:
        raise UsageError(f"warehouse {warehouse.database}: no night has been scored yet")
    if as_of is None or as_of == newest:
        night: datetime.date = newest
        return night
    if not warehouse.value(f"SELECT count(*) FROM {SEGMENT_ASSIGNMENTS.name} WHERE as_of = $as_of", {"as_of": as_of}):
        raise UsageError(
            f"the night {as_of} has not been scored; the newest is {newest}; seg-pipeline backfill {as_of} scores it"
        )
    return as_of


def _suggestion(warehouse: Warehouse, customer_id: str, as_of: datetime.date) -> str:
    """Returns `; did you mean A or B?` with customers of the night whose ids are like this one.

    Two ids are alike if they differ in at most LIKELY_TYPOS letters. The result is empty if no id is like this one.
    """
    similar = warehouse.read(
        f"SELECT customer_id FROM {RFM_FEATURES.name} WHERE as_of = $as_of"
        " AND damerau_levenshtein(lower(customer_id), lower($customer_id)) <= $typos"
        " ORDER BY damerau_levenshtein(lower(customer_id), lower($customer_id)), customer_id LIMIT $limit",
        {"as_of": as_of, "customer_id": customer_id, "typos": LIKELY_TYPOS, "limit": SUGGESTIONS},
    )["customer_id"]
    return f"; did you mean {' or '.join(similar)}?" if len(similar) else ""


def _decision(warehouse: Warehouse, assigned: "pd.Series", as_of: datetime.date) -> Decision:
    """Returns the segment of the customer's row of segment_assignments, and what led to it.

    Raises:
        DataError: The champion or the segment is missing, or the stored features do not lead to what is stored.
    """
    champion = find_champion(warehouse, assigned["model_id"])
    if champion is None:
        raise DataError(f"{assigned['model_id']} scored the night {as_of} but is no longer among the champions")
    segment = _segment_of(champion, assigned, as_of)
    row = warehouse.night(
        RFM_FEATURES, as_of, where="customer_id = $customer_id", parameters={"customer_id": assigned["customer_id"]}
    )
    descriptions = {column.name: column.description for column in RFM_FEATURES.columns}
    features = [Feature(str(name), plain(row[name].iloc[0]), descriptions[str(name)]) for name in row]
    decision = Decision(
        segment_id=int(assigned["segment_id"]),
        segment_name=assigned["segment_name"],
        confidence=float(assigned["confidence"]),
        model_id=champion.model_id,
        fitted_as_of=champion.fitted_as_of,
        features=tuple(feature for feature in features if feature.name not in SHOWN_ELSEWHERE),
        scores=tuple(feature for feature in features if feature.name in SCORES),
        rule=plain(segment["rule"]),
        rule_precision=plain(segment["rule_precision"]),
        rule_recall=plain(segment["rule_recall"]),
        why=ONLY_RETURNS,
        rhythm=_rhythm(warehouse, row, as_of),
        advice=_advice(warehouse, assigned.get("advice"), as_of),
    )
    if row["frequency"].iloc[0] == 0:
        return decision
    _check_stored(champion, row, assigned, as_of)
    return _with_reasons(decision, warehouse, champion, row, as_of)


def _rhythm(warehouse: Warehouse, row: "pd.DataFrame", as_of: datetime.date) -> Rhythm | None:
    """Returns where the customer of a row of rfm_features is in their own rhythm; None if that is not stored."""
    # A warehouse of an older version has no such table.
    stored = warehouse.read(
        "SELECT lifecycle, usual_gap_days, days_overdue_ratio FROM {rhythm} WHERE as_of = $as_of"
        " AND customer_id = $customer_id",
        {"rhythm": CUSTOMER_RHYTHM, "as_of": as_of, "customer_id": row["customer_id"].iloc[0]},
    )
    if stored.empty:
        return None
    rhythm = stored.iloc[0]
    return Rhythm(
        lifecycle=rhythm["lifecycle"],
        silent_days=int(row["recency_days"].iloc[0]),
        usual_gap_days=plain(rhythm["usual_gap_days"]),
        days_overdue_ratio=plain(rhythm["days_overdue_ratio"]),
    )


def _advice(warehouse: Warehouse, name: str | None, as_of: datetime.date) -> Advice | None:
    """Returns the actions of an advice; None if they are not stored."""
    stored = warehouse.read(
        f"SELECT {', '.join(ACTION_COLUMNS)} FROM {{actions}} WHERE as_of = $as_of AND advice = $advice",
        {"actions": ADVICE_ACTIONS, "as_of": as_of, "advice": name},
    )
    if stored.empty:
        return None
    return Advice(str(name), *(stored.iloc[0][column] for column in ACTION_COLUMNS))


def _segment_of(champion: Champion, assigned: "pd.Series", as_of: datetime.date) -> "pd.Series":
    """Returns the champion's row of the segment that is stored for the customer.

    Raises:
        DataError: The champion has no such segment.
    """
    segments = champion.segments[champion.segments["segment_id"] == assigned["segment_id"]]
    if segments.empty:
        raise DataError(
            f"customer {assigned['customer_id']!r}: segment {assigned['segment_id']} is stored for the night {as_of},"
            f" but {champion.model_id} has no such segment; seg-pipeline backfill {as_of} scores the night again"
        )
    return segments.iloc[0]


def _check_stored(champion: Champion, row: "pd.DataFrame", assigned: "pd.Series", as_of: datetime.date) -> None:
    """Checks that the stored features lead to the stored segment and confidence.

    Raises:
        DataError: They lead to another segment, or to a confidence that differs by more than CONFIDENCE_TOLERANCE.
    """
    [segment_id], [confidence] = segment_ids_of(champion, row), champion.scorer.label(row)[1]
    if segment_id != assigned["segment_id"]:
        difference = f"lead to segment {segment_id}, but segment {assigned['segment_id']} is stored"
    elif not math.isclose(confidence, assigned["confidence"], rel_tol=0.0, abs_tol=CONFIDENCE_TOLERANCE):
        difference = (
            f"lead to segment {segment_id} with confidence {confidence}, but confidence {assigned['confidence']} is"
            " stored"
        )
    else:
        return
    raise DataError(
        f"customer {assigned['customer_id']!r}: the features of the night {as_of} {difference}; seg-pipeline backfill"
        f" {as_of} scores the night again"
    )


def _with_reasons(
    decision: Decision, warehouse: Warehouse, champion: Champion, row: "pd.DataFrame", as_of: datetime.date
) -> Decision:
    """Returns a buyer's decision with what the model saw and compared, and what would change it.

    Args:
        decision: The segment, without reasons.
        warehouse: The warehouse.
        champion: The champion that scored the night.
        row: The buyer's row of rfm_features.
        as_of: The night.
    """
    comparison = champion.scorer.explain(row)
    cluster_distances = _cluster_distances(champion, comparison)
    return replace(
        decision,
        why=comparison.why,
        grid_cell=GridCell(int(row["r_score"].iloc[0]), int(row["f_score"].iloc[0]), row["rfm_segment"].iloc[0]),
        transformations=_transformations(champion, row),
        cluster_distances=cluster_distances,
        runner_up=_runner_up(comparison, cluster_distances),
        changes=tuple(changes_of(warehouse, champion, row, as_of)),
    )


def _transformations(champion: Champion, row: "pd.DataFrame") -> tuple[FeatureTransformation, ...]:
    """Returns a record per feature of the model: the numbers from its stored value to what the model sees.

    The code that scores computes them. To get the intermediate values, later steps are replaced by no-ops (center 0,
    scale 1, weight 1).
    """
    transforms = champion.scorer.transforms.sort_values("position")
    if not set(transforms["feature"]) <= set(champion.scorer.columns):
        # The model is a rule on other columns, which go through no transform.
        return ()
    [transformed], [scaled], [weighted] = (
        apply_transforms(row, transforms.assign(**no_ops))
        for no_ops in ({"center": 0.0, "scale": 1.0, "weight": 1.0}, {"weight": 1.0}, {})
    )
    transformations = []
    for position, transform in enumerate(transforms.to_dict("records")):
        raw = number_of(row, transform["feature"])
        transformations.append(
            FeatureTransformation(
                feature=transform["feature"],
                raw=raw,
                filled=transform["fill"] if raw is None else raw,
                transform=transform["transform"],
                transformed=float(transformed[position]),
                center=transform["center"],
                scale=transform["scale"],
                scaled=float(scaled[position]),
                weight=transform["weight"],
                weighted=float(weighted[position]),
            )
        )
    return tuple(transformations)


def _cluster_distances(champion: Champion, comparison: Comparison) -> tuple[ClusterDistance, ...]:
    """Returns the distances to each cluster, in the order of the comparison."""
    segments = champion.segments.set_index("cluster")
    cells, probabilities = comparison.nearest_cells, comparison.probabilities
    return tuple(
        ClusterDistance(
            cluster=int(cluster),
            segment_id=int(segments.loc[cluster, "segment_id"]),
            segment_name=str(segments.loc[cluster, "segment_name"]),
            distance=float(comparison.distances[cluster]),
            nearest_cell_distance=None if cells is None or math.isinf(cells[cluster]) else float(cells[cluster]),
            probability=None if probabilities is None else float(probabilities[cluster]),
        )
        for cluster in comparison.order
    )


def _runner_up(comparison: Comparison, cluster_distances: tuple[ClusterDistance, ...]) -> RunnerUp | None:
    """Returns the segment that came second, with the numbers that decided; None if there is no other segment."""
    if not cluster_distances:
        return None
    own = cluster_distances[0]
    second = next((other for other in cluster_distances if other.segment_id != own.segment_id), None)
    if second is None:
        return None
    return RunnerUp(
        segment_name=second.segment_name,
        measure=comparison.measure,
        value=float(comparison.deciding[second.cluster]),
        own_value=float(comparison.deciding[own.cluster]),
    )


def _history(warehouse: Warehouse, customer_id: str, as_of: datetime.date) -> tuple[Stay, ...]:
    """Returns the kept nights up to this one, with consecutive nights in the same segment joined."""
    nights = warehouse.read(
        f"SELECT as_of, segment_id, segment_name FROM {SEGMENT_ASSIGNMENTS.name}"
        " WHERE customer_id = $customer_id AND as_of <= $as_of ORDER BY as_of",
        {"customer_id": customer_id, "as_of": as_of},
    ).to_dict("records")
    stays = []
    for (segment_id, name), group in itertools.groupby(
        nights, lambda night: (night["segment_id"], night["segment_name"])
    ):
        days = [night["as_of"].date() for night in group]
        stays.append(Stay(days[0], days[-1], len(days), int(segment_id), name))
    return tuple(stays)
