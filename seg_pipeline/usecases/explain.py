"""Explains why a customer is in a segment: from the raw lines to the segment of a night, and what would change it.

Computes everything again with the code and the champion that scored the night, and compares it with what is stored.
"""

import datetime
import itertools
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from seg_pipeline.errors import DataError, UsageError
from seg_pipeline.features.tables import RFM_FEATURES
from seg_pipeline.features.transforms import apply_transforms
from seg_pipeline.models.champions import Champion, find_champion
from seg_pipeline.models.explanation import Comparison
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
# A mistyped id differs in at most this many letters.
LIKELY_TYPOS = 2
SCORES = ("r_score", "f_score", "m_score")


@dataclass(frozen=True, slots=True)
class Feature:
    """A feature of the night as stored, and what it means."""

    name: str
    value: int | float | str | datetime.date | None
    description: str


@dataclass(frozen=True, slots=True)
class Step:
    """The steps that turn a feature into the number that the model sees.

    Attributes:
        feature: The feature.
        raw: Its value; None if it is missing.
        filled: The value, or its replacement if it is missing.
        transform: The name of the transform.
        transformed: The transformed value.
        center: What scaling subtracts.
        scale: What scaling then divides by.
        scaled: The scaled value.
        weight: What the scaled value is multiplied by.
        weighted: The result.
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
class Affinity:
    """How near the customer is to a cluster.

    Attributes:
        cluster: The cluster.
        segment_id: The segment of the cluster.
        segment_name: The name of that segment.
        distance: Distance to the centre, in transformed units.
        nearest_cell: Distance to the nearest of its cells; None unless the nearest cell decides.
        probability: Posterior probability; None unless the model is a mixture.
    """

    cluster: int
    segment_id: int
    segment_name: str
    distance: float
    nearest_cell: float | None
    probability: float | None


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
        segment_id: The segment.
        segment_name: Its name.
        confidence: Confidence in it, 0 to 1.
        why: What decided, in words.
        model_id: The champion that scored the night.
        fitted_as_of: The night that it was fitted on.
        features: The customer's features, as stored.
        scores: The customer's R, F and M scores, as stored.
        grid: The customer's cell of the R x F grid; None if they bought nothing.
        steps: How each feature of the model becomes a number that the model sees; empty in segment 0, where no model
            was applied, and if the model is a rule on other columns.
        affinities: How near the customer is to each cluster, their own first; empty if nothing was compared.
        runner_up: The segment that came second; None if nothing was compared.
        changes: What would move the customer, one feature at a time.
        rule: A short rule that describes the segment, see segment_profiles.
        rule_precision: Share of the customers matching the rule who are in the segment.
        rule_recall: Share of the segment's customers who match the rule.
    """

    segment_id: int
    segment_name: str
    confidence: float
    why: str
    model_id: str
    fitted_as_of: datetime.date
    features: list[Feature]
    scores: list[Feature]
    grid: str | None
    steps: list[Step]
    affinities: list[Affinity]
    runner_up: str | None
    changes: list[Change]
    rule: str | None
    rule_precision: float | None
    rule_recall: float | None


@dataclass(frozen=True, slots=True)
class Explanation:
    """What is known of a customer on a night.

    Attributes:
        customer_id: The customer.
        as_of: The night.
        lines: The customer's raw lines.
        lines_counting: The raw lines that count.
        lines_too_late: The clean lines on or after the night.
        first_lines: The first raw lines.
        rejections: The rejected lines by reason.
        decision: The segment; None if the customer has no clean line before the night.
        history: The customer's segments on the nights up to this one, the earliest first.
    """

    customer_id: str
    as_of: datetime.date
    lines: int
    lines_counting: int
    lines_too_late: int
    first_lines: list[Line]
    rejections: list[Rejection]
    decision: Decision | None
    history: list[Stay]


def explain(settings: Settings, customer: str, lines: int) -> Explanation:
    """Explains a customer's segment on a night.

    Args:
        settings: The settings that name the warehouse; `as_of` is the night, the newest scored one if it is None.
        customer: The customer's id, as a person may write it.
        lines: How many raw lines to show.

    Raises:
        UsageError: There is no warehouse, or the night has not been scored.
        DataError: No line has this customer, or the stored segment does not follow from the stored features.
    """
    warehouse = existing_warehouse(settings)
    with warehouse.held(read_only=True):
        customer_id = warehouse.value(
            f"SELECT {CUSTOMER_TEXT} FROM (SELECT $customer AS customer_id)", {"customer": customer, **CUSTOMER_ID}
        )
        night = _night(warehouse, settings.as_of)
        with warehouse.get_connection() as connection:
            raw_lines = lines_of(connection, customer_id, night, lines)
        assigned = warehouse.night(
            SEGMENT_ASSIGNMENTS, night, where="customer_id = $customer_id", parameters={"customer_id": customer_id}
        )
        if not raw_lines.total and assigned.empty:
            raise DataError(f"no line of customer {customer_id!r}{_suggestion(warehouse, customer_id, night)}")
        return Explanation(
            customer_id=customer_id,
            as_of=night,
            lines=raw_lines.total,
            lines_counting=raw_lines.counting,
            lines_too_late=raw_lines.too_late,
            first_lines=raw_lines.first,
            rejections=raw_lines.rejections,
            decision=None if assigned.empty else _decision(warehouse, assigned.iloc[0], night),
            history=_history(warehouse, customer_id, night),
        )


def _night(warehouse: Warehouse, as_of: datetime.date | None) -> datetime.date:
    """Returns the night, or the newest one if it is None, after checking that it has been scored."""
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
    """Returns `; did you mean A or B?` with customers of the night whose ids differ in at most two letters."""
    similar = warehouse.read(
        f"SELECT customer_id FROM {RFM_FEATURES.name} WHERE as_of = $as_of"
        " AND damerau_levenshtein(lower(customer_id), lower($customer_id)) <= $typos"
        " ORDER BY damerau_levenshtein(lower(customer_id), lower($customer_id)), customer_id LIMIT $limit",
        {"as_of": as_of, "customer_id": customer_id, "typos": LIKELY_TYPOS, "limit": SUGGESTIONS},
    )["customer_id"]
    return f"; did you mean {' or '.join(similar)}?" if len(similar) else ""


def _decision(warehouse: Warehouse, assigned: "pd.Series", as_of: datetime.date) -> Decision:
    champion = find_champion(warehouse, assigned["model_id"])
    if champion is None:
        raise DataError(f"{assigned['model_id']} scored the night {as_of} but is no longer among the champions")
    row = warehouse.night(
        RFM_FEATURES, as_of, where="customer_id = $customer_id", parameters={"customer_id": assigned["customer_id"]}
    )
    described = {column.name: column.description for column in RFM_FEATURES.columns}
    features = [Feature(str(name), plain(row[name].iloc[0]), described[str(name)]) for name in row]
    is_buyer = bool(row["frequency"].iloc[0] > 0)
    if is_buyer:
        _check_stored(champion, row, assigned, as_of)
    only_returns = (
        "no purchase before the night, only returns: no model was applied; any purchase would move them to another"
        " segment"
    )
    compared = champion.scorer.explain(row) if is_buyer else Comparison(only_returns)
    affinities = _affinities(champion, compared)
    segment = champion.segments[champion.segments["segment_id"] == assigned["segment_id"]].iloc[0]
    return Decision(
        segment_id=int(assigned["segment_id"]),
        segment_name=assigned["segment_name"],
        confidence=float(assigned["confidence"]),
        why=compared.why,
        model_id=champion.model_id,
        fitted_as_of=champion.fitted_as_of,
        features=[
            feature for feature in features if feature.name not in ("as_of", "customer_id", "rfm_segment", *SCORES)
        ],
        scores=[feature for feature in features if feature.name in SCORES],
        grid=_grid(row) if is_buyer else None,
        steps=_steps(champion, row) if is_buyer else [],
        affinities=affinities,
        runner_up=_runner_up(compared, affinities),
        changes=changes_of(warehouse, champion, row, as_of) if is_buyer else [],
        rule=plain(segment["rule"]),
        rule_precision=plain(segment["rule_precision"]),
        rule_recall=plain(segment["rule_recall"]),
    )


def _check_stored(champion: Champion, row: "pd.DataFrame", assigned: "pd.Series", as_of: datetime.date) -> None:
    """Raises DataError if the stored features do not lead to the stored segment."""
    [segment_id], [confidence] = segment_ids_of(champion, row), champion.scorer.label(row)[1]
    if segment_id != assigned["segment_id"] or not math.isclose(confidence, assigned["confidence"], abs_tol=1e-9):
        raise DataError(
            f"customer {assigned['customer_id']!r}: the features of the night {as_of} lead to segment {segment_id}, and"
            f" {assigned['segment_id']} is stored; seg-pipeline backfill {as_of} scores it again"
        )


def _grid(row: "pd.DataFrame") -> str:
    r, f, name = (row[column].iloc[0] for column in ("r_score", "f_score", "rfm_segment"))
    return f"R {r:.0f} x F {f:.0f}: {name}"


def _steps(champion: Champion, row: "pd.DataFrame") -> list[Step]:
    """Returns how each feature becomes a number that the model sees, computed by the code that scores.

    To stop after a step, the following ones subtract 0, and divide or multiply by 1.
    """
    transforms = champion.scorer.transforms.sort_values("position")
    if not set(transforms["feature"]) <= set(champion.scorer.columns):
        # The model is a rule on other columns, which go through no transform.
        return []
    [transformed], [scaled], [weighted] = (
        apply_transforms(row, transforms.assign(**skipped))
        for skipped in ({"center": 0.0, "scale": 1.0, "weight": 1.0}, {"weight": 1.0}, {})
    )
    steps = []
    for position, transform in enumerate(transforms.to_dict("records")):
        raw = number_of(row, transform["feature"])
        steps.append(
            Step(
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
    return steps


def _affinities(champion: Champion, compared: Comparison) -> list[Affinity]:
    """Returns how near the customer is to each cluster, in the order of the comparison."""
    segments = champion.segments.set_index("cluster")
    cells, probabilities = compared.nearest_cells, compared.probabilities
    return [
        Affinity(
            cluster=int(cluster),
            segment_id=int(segments.loc[cluster, "segment_id"]),
            segment_name=str(segments.loc[cluster, "segment_name"]),
            distance=float(compared.distances[cluster]),
            nearest_cell=None if cells is None or math.isinf(cells[cluster]) else float(cells[cluster]),
            probability=None if probabilities is None else float(probabilities[cluster]),
        )
        for cluster in compared.order
    ]


def _runner_up(compared: Comparison, affinities: list[Affinity]) -> str | None:
    """Returns the segment that came second, with the figure that decided; None if there is no other segment."""
    second = next((other for other in affinities if other.segment_id != affinities[0].segment_id), None)
    if second is None:
        return None
    there, here = compared.deciding[second.cluster], compared.deciding[affinities[0].cluster]
    return f"{second.segment_name}: {compared.wording.format(there)}, {here:.3f} here"


def _history(warehouse: Warehouse, customer_id: str, as_of: datetime.date) -> list[Stay]:
    """Returns the nights kept up to this one, joining consecutive nights in one segment."""
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
    return stays
