"""Explains why a customer is in a segment: from the raw lines to the segment of a night, and what would change it.

Computes everything again with the code and the champion that scored the night, and compares it with what is stored.
"""

import datetime
import itertools
import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from seg_pipeline.errors import DataError, UsageError
from seg_pipeline.features.tables import RFM_FEATURES
from seg_pipeline.features.transforms import apply_transforms
from seg_pipeline.models.champions import Champion, find_champion
from seg_pipeline.models.explanation import Comparison, Measure
from seg_pipeline.raw.columns import CUSTOMER_ID, CUSTOMER_TEXT
from seg_pipeline.segments.tables import SEGMENT_ASSIGNMENTS
from seg_pipeline.settings import Settings
from seg_pipeline.usecases.customer_lines import Line, Rejection, lines_of
from seg_pipeline.usecases.existing import existing_warehouse
from seg_pipeline.usecases.what_would_change import Change, changes_of, number_of, plain, segment_ids_of
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


@dataclass(frozen=True, slots=True)
class Feature:
    """A feature of the night as stored, and what it means."""

    name: str
    value: int | float | str | datetime.date | None
    description: str


@dataclass(frozen=True, slots=True)
class GridCell:
    """A cell of the R x F grid.

    Attributes:
        r_score: Recency score, 1 to 5.
        f_score: Frequency score, 1 to 5.
        name: The name of the cell's grid segment.
    """

    r_score: int
    f_score: int
    name: str


@dataclass(frozen=True, slots=True)
class FeatureTransformation:
    """The numbers from a feature's stored value to what the model sees, in the order in which they are computed.

    Attributes:
        feature: Name of the feature.
        raw: Stored value, in the feature's unit; None if it is missing.
        filled: `raw`, or the value that replaces it if it is missing.
        transform: Name of the function that is applied to `filled`, such as log1p.
        transformed: Result of that function.
        center: Number subtracted from `transformed`.
        scale: Number that the difference is divided by.
        scaled: (transformed - center) / scale.
        weight: Number that `scaled` is multiplied by.
        weighted: scaled x weight: the number that the model sees.
    """

    feature: str
    raw: float | None
    filled: float
    transform: str
    transformed: float
    center: float
    scale: float
    scaled: float
    weight: float
    weighted: float


@dataclass(frozen=True, slots=True)
class ClusterDistance:
    """The distances from the customer to a cluster, and the cluster's probability.

    Attributes:
        cluster: Number of the cluster.
        segment_id: Id of the cluster's segment.
        segment_name: Name of that segment.
        distance: Distance to the cluster's centre, in transformed units.
        nearest_cell_distance: Distance to the nearest of its cells, in transformed units; None unless the nearest cell
            decides.
        probability: Posterior probability, 0 to 1; None unless the model is a mixture.
    """

    cluster: int
    segment_id: int
    segment_name: str
    distance: float
    nearest_cell_distance: float | None
    probability: float | None


@dataclass(frozen=True, slots=True)
class RunnerUp:
    """The nearest cluster of another segment, compared with the customer's own.

    Attributes:
        segment_name: Name of the other segment.
        measure: What the two numbers are.
        value: Its number for the runner-up.
        own_value: Its number for the customer's own cluster.
    """

    segment_name: str
    measure: Measure
    value: float
    own_value: float


@dataclass(frozen=True, slots=True)
class Stay:
    """Consecutive nights in one segment, among the nights that are kept."""

    first: datetime.date
    last: datetime.date
    nights: int
    segment_id: int
    segment_name: str


@dataclass(frozen=True, slots=True)
class Decision:
    """A customer's segment on a night and everything that led to it.

    Attributes:
        segment_id: Id of the segment.
        segment_name: Its name.
        confidence: Confidence in it, 0 to 1.
        model_id: The champion that scored the night.
        fitted_as_of: The night that the champion was fitted on.
        features: The customer's features, as stored.
        scores: The customer's R, F and M scores, as stored.
        rule: A short rule that describes the segment, see segment_profiles.
        rule_precision: Share of the customers matching the rule who are in the segment.
        rule_recall: Share of the segment's customers who match the rule.
        why: What decided, in words.
        grid_cell: The customer's cell of the R x F grid; None if they bought nothing.
        transformations: The numbers that the model sees, one per feature, and how they were computed; empty if no model
            was applied (segment 0), and if the model is a rule on other columns.
        cluster_distances: The distances to each cluster, the customer's own first; empty if nothing was compared.
        runner_up: The segment that came second; None if nothing was compared.
        changes: What would move the customer, one feature at a time; empty if they bought nothing.
    """

    segment_id: int
    segment_name: str
    confidence: float
    model_id: str
    fitted_as_of: datetime.date
    features: tuple[Feature, ...]
    scores: tuple[Feature, ...]
    rule: str | None
    rule_precision: float | None
    rule_recall: float | None
    why: str
    grid_cell: GridCell | None = None
    transformations: tuple[FeatureTransformation, ...] = ()
    cluster_distances: tuple[ClusterDistance, ...] = ()
    runner_up: RunnerUp | None = None
    changes: tuple[Change, ...] = ()


@dataclass(frozen=True, slots=True)
class Explanation:
    """A customer's lines, segment and history, as of a night.

    Attributes:
        customer_id: Id of the customer.
        as_of: The night.
        line_count: Number of the customer's raw lines.
        counted_line_count: Number of those lines that count.
        late_line_count: Number of the clean lines on or after the night.
        first_lines: The first raw lines.
        rejections: The number of rejected lines for each reason, with examples.
        decision: The segment; None if the customer has no clean line before the night.
        history: The customer's segments on the nights up to this one, the earliest first.
    """

    customer_id: str
    as_of: datetime.date
    line_count: int
    counted_line_count: int
    late_line_count: int
    first_lines: tuple[Line, ...]
    rejections: tuple[Rejection, ...]
    decision: Decision | None
    history: tuple[Stay, ...]


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
    )
    if row["frequency"].iloc[0] == 0:
        return decision
    _check_stored(champion, row, assigned, as_of)
    return _with_reasons(decision, warehouse, champion, row, as_of)


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
    comparison = champion.scorer.compare(row)
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
