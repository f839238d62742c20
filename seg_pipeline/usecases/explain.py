"""Why one customer is in a segment: from the raw lines to the segment of a night, and what would change it.

Everything is computed again, by the code and the champion that scored the night, and must agree with what is stored.
"""

import datetime
import itertools
import math
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from seg_pipeline.errors import DataError, UsageError
from seg_pipeline.features.tables import RFM_FEATURES
from seg_pipeline.features.transforms import apply_transforms
from seg_pipeline.models.champions import Champion, find_champion
from seg_pipeline.models.explanation import Comparison
from seg_pipeline.prepared.tables import REASONS
from seg_pipeline.raw.columns import CUSTOMER_ID, CUSTOMER_TEXT
from seg_pipeline.segments.tables import SEGMENT_ASSIGNMENTS
from seg_pipeline.usecases.what_would_change import Change, changes_of, number_of, plain, segments_given
from seg_pipeline.warehouse import Connection, Warehouse

if TYPE_CHECKING:
    import pandas as pd

LINES_SQL = Path(__file__).with_name("customer_lines.sql")

COUNTS, TOO_LATE = "counts", "on or after the night"
SHOWN_LINES = 10
EXAMPLES = 3
SUGGESTIONS = 3
# Letters that a mistyped id may differ in.
LIKELY_TYPOS = 2
SCORES = ("r_score", "f_score", "m_score")


@dataclass(frozen=True, slots=True)
class Line:
    """A raw line as delivered; `fate` is `counts`, `on or after the night`, or the reason it was rejected."""

    source_file: str
    source_row: int
    order_id: str | None
    ordered_at: str | None
    product_id: str | None
    quantity: str | None
    unit_price: str | None
    amount: str | None
    fate: str


@dataclass(frozen=True, slots=True)
class Rejection:
    """The lines that were rejected for one reason: how many, and the first of them."""

    reason: str
    meaning: str
    lines: int
    examples: list[str]


@dataclass(frozen=True, slots=True)
class Feature:
    """A feature of the night as stored, and what it means."""

    name: str
    value: int | float | str | datetime.date | None
    description: str


@dataclass(frozen=True, slots=True)
class Step:
    """A modelling feature on its way to the matrix; `raw` is None if it is missing, and `filled` stands for it."""

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
        segment_id: Its segment.
        segment_name: The name of that segment.
        distance: Distance to the centre, transformed units.
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
    """The segment of the night and all that led to it.

    Attributes:
        segment_id: The segment.
        segment_name: Its name.
        confidence: Confidence in it, 0 to 1.
        why: What decided, in words.
        model_id: The champion that scored the night.
        fitted_as_of: The night that it was fitted on.
        features: The customer's features, as stored.
        scores: Their R, F and M scores, as stored.
        grid: Their cell of the R x F grid; None if they bought nothing.
        steps: The modelling features on their way to the matrix; empty in segment 0, since no model was applied, and if
            the model is a rule on other columns.
        affinities: How near the customer is to each cluster, their own first; empty if nothing was compared.
        runner_up: The segment that came second; None if nothing was compared.
        changes: What would move the customer, one feature at a time.
        rule: The segment as a short rule, see segment_profiles.
        rule_precision: Share of the customers under the rule who are in the segment.
        rule_recall: Share of the segment's customers who are under the rule.
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
    """A customer on a night. `decision` is None if they have no clean line before the night."""

    customer_id: str
    as_of: datetime.date
    lines: int
    lines_counting: int
    lines_too_late: int
    first_lines: list[Line]
    rejections: list[Rejection]
    decision: Decision | None
    history: list[Stay]


def explain(
    warehouse: Warehouse, customer: str, as_of: datetime.date | None = None, lines: int = SHOWN_LINES
) -> Explanation:
    """Explains a customer's segment on a night.

    Args:
        warehouse: The warehouse.
        customer: The customer's id, as a person may write it.
        as_of: The night; the newest one that is scored if None.
        lines: How many raw lines to show.

    Raises:
        UsageError: There is no warehouse, or the night is not scored in it.
        DataError: No line has this customer, or the stored segment does not follow from the stored features.
    """
    if not Path(warehouse.database).is_file():
        raise UsageError(f"warehouse {warehouse.database}: no such file; seg-pipeline run makes one")
    with warehouse.held(read_only=True):
        customer_id = warehouse.value(
            f"SELECT {CUSTOMER_TEXT} FROM (SELECT $customer AS customer_id)", {"customer": customer, **CUSTOMER_ID}
        )
        night = _night(warehouse, as_of)
        with warehouse.get_connection() as connection:
            total, counting, too_late, first_lines, rejections = _lines(connection, customer_id, night, lines)
        assigned = warehouse.night(
            SEGMENT_ASSIGNMENTS, night, where="customer_id = $customer_id", parameters={"customer_id": customer_id}
        )
        if not total and assigned.empty:
            raise DataError(f"no line of customer {customer_id!r}{_alike(warehouse, customer_id, night)}")
        return Explanation(
            customer_id=customer_id,
            as_of=night,
            lines=total,
            lines_counting=counting,
            lines_too_late=too_late,
            first_lines=first_lines,
            rejections=rejections,
            decision=None if assigned.empty else _decision(warehouse, assigned.iloc[0], night),
            history=_history(warehouse, customer_id, night),
        )


def _night(warehouse: Warehouse, as_of: datetime.date | None) -> datetime.date:
    """Returns the night asked for, or the newest, after checking that it is scored."""
    is_there = warehouse.value(
        "SELECT count(*) FROM information_schema.tables WHERE table_schema || '.' || table_name = $name",
        {"name": SEGMENT_ASSIGNMENTS.name},
    )
    newest = warehouse.value(f"SELECT max(as_of) FROM {SEGMENT_ASSIGNMENTS.name}") if is_there else None
    if newest is None:
        raise UsageError(f"warehouse {warehouse.database}: no night has been scored yet")
    if as_of is None or as_of == newest:
        found: datetime.date = newest
        return found
    if not warehouse.value(f"SELECT count(*) FROM {SEGMENT_ASSIGNMENTS.name} WHERE as_of = $as_of", {"as_of": as_of}):
        raise UsageError(
            f"the night {as_of} has not been scored; the newest is {newest}; seg-pipeline backfill {as_of} scores it"
        )
    return as_of


def _lines(
    connection: Connection, customer_id: str, as_of: datetime.date, shown: int
) -> tuple[int, int, int, list[Line], list[Rejection]]:
    """Returns how many lines there are, count, and are too late; the first ones; and the rejected ones by reason."""
    customer = {"customer_id": customer_id, **CUSTOMER_ID}
    rejected_lines = f"SELECT * FROM prepared.rejected_orders WHERE {CUSTOMER_TEXT} = $customer_id"
    with (
        connection.temporary(rejected_lines, customer) as customer_rejections,
        connection.temporary(
            LINES_SQL, {**customer, "as_of": as_of, "customer_rejections": customer_rejections}
        ) as customer_lines,
    ):
        [(total, counting, too_late)] = connection.execute(
            "SELECT count(*), count(*) FILTER (counts), count(*) FILTER (NOT counts AND reason IS NULL)"
            f" FROM {customer_lines}"
        ).fetchall()
        first = connection.execute(
            "SELECT source_file, source_row, order_id, ordered_at, product_id, quantity, unit_price, amount,"
            f" CASE WHEN counts THEN $counts ELSE coalesce(reason, $too_late) END AS fate FROM {customer_lines}"
            " ORDER BY parsed_at NULLS LAST, source_file, source_row LIMIT $shown",
            {"counts": COUNTS, "too_late": TOO_LATE, "shown": shown},
        ).fetchall()
        rejected = connection.execute(
            "SELECT reason, count(*) AS lines, list(source_file || ' row ' || source_row || ': ' || concat_ws(', ',"
            " order_id, customer_id, ordered_at, product_id, quantity, unit_price, amount)"
            f" ORDER BY source_file, source_row)[:{EXAMPLES}] FROM {customer_lines} WHERE reason IS NOT NULL"
            " GROUP BY reason ORDER BY lines DESC, reason"
        ).fetchall()
    return (
        total,
        counting,
        too_late,
        [Line(*line) for line in first],
        [Rejection(reason, REASONS[reason], count, examples) for reason, count, examples in rejected],
    )


def _alike(warehouse: Warehouse, customer_id: str, as_of: datetime.date) -> str:
    """Returns `; did you mean A or B?` with customers of the night whose ids differ in a letter or two."""
    found = warehouse.read(
        f"SELECT customer_id FROM {RFM_FEATURES.name} WHERE as_of = $as_of"
        " AND damerau_levenshtein(lower(customer_id), lower($customer_id)) <= $typos"
        " ORDER BY damerau_levenshtein(lower(customer_id), lower($customer_id)), customer_id LIMIT $limit",
        {"as_of": as_of, "customer_id": customer_id, "typos": LIKELY_TYPOS, "limit": SUGGESTIONS},
    )["customer_id"]
    return f"; did you mean {' or '.join(found)}?" if len(found) else ""


def _decision(warehouse: Warehouse, assigned: "pd.Series", as_of: datetime.date) -> Decision:
    champion = find_champion(warehouse, assigned["model_id"])
    if champion is None:
        raise DataError(f"{assigned['model_id']} scored the night {as_of} and is not among the champions any more")
    row = warehouse.night(
        RFM_FEATURES, as_of, where="customer_id = $customer_id", parameters={"customer_id": assigned["customer_id"]}
    )
    described = {column.name: column.description for column in RFM_FEATURES.columns}
    features = [Feature(str(name), plain(row[name].iloc[0]), described[str(name)]) for name in row]
    is_buyer = bool(row["frequency"].iloc[0] > 0)
    if is_buyer:
        _check_stored(champion, row, assigned, as_of)
    return_only = (
        "no purchase before the night, only returns: no model was applied; any purchase would move them to another"
        " segment"
    )
    compared = champion.scorer.compare(row) if is_buyer else Comparison(return_only)
    affinities = _affinities(champion, compared)
    of_segment = champion.segments[champion.segments["segment_id"] == assigned["segment_id"]].iloc[0]
    return Decision(
        segment_id=int(assigned["segment_id"]),
        segment_name=assigned["segment_name"],
        confidence=float(assigned["confidence"]),
        why=compared.why,
        model_id=champion.model_id,
        fitted_as_of=champion.fitted_as_of,
        features=[one for one in features if one.name not in ("as_of", "customer_id", "rfm_segment", *SCORES)],
        scores=[one for one in features if one.name in SCORES],
        grid=_grid(row) if is_buyer else None,
        steps=_steps(champion, row) if is_buyer else [],
        affinities=affinities,
        runner_up=_runner_up(compared, affinities),
        changes=changes_of(warehouse, champion, row, as_of) if is_buyer else [],
        rule=plain(of_segment["rule"]),
        rule_precision=plain(of_segment["rule_precision"]),
        rule_recall=plain(of_segment["rule_recall"]),
    )


def _check_stored(champion: Champion, row: "pd.DataFrame", assigned: "pd.Series", as_of: datetime.date) -> None:
    """Raises DataError if the stored features do not lead to the stored segment."""
    [segment_id], [confidence] = segments_given(champion, row), champion.scorer.label(row)[1]
    if segment_id != assigned["segment_id"] or not math.isclose(confidence, assigned["confidence"], abs_tol=1e-9):
        raise DataError(
            f"customer {assigned['customer_id']!r}: the features of the night {as_of} lead to segment {segment_id}, and"
            f" {assigned['segment_id']} is stored; seg-pipeline backfill {as_of} scores it again"
        )


def _grid(row: "pd.DataFrame") -> str:
    r, f, name = (row[column].iloc[0] for column in ("r_score", "f_score", "rfm_segment"))
    return f"R {r:.0f} x F {f:.0f}: {name}"


def _steps(champion: Champion, row: "pd.DataFrame") -> list[Step]:
    """Each modelling feature on its way to the matrix, by the code that scores.

    A step is left out by giving it 0 to subtract, or 1 to divide or multiply by.
    """
    transforms = champion.scorer.transforms.sort_values("position")
    if not set(transforms["feature"]) <= set(champion.scorer.columns):
        return []  # a rule on other columns, which go through no transform
    [transformed], [scaled], [weighted] = (
        apply_transforms(row, transforms.assign(**without))
        for without in ({"center": 0.0, "scale": 1.0, "weight": 1.0}, {"weight": 1.0}, {})
    )
    steps = []
    for place, one in enumerate(transforms.to_dict("records")):
        raw = number_of(row, one["feature"])
        steps.append(
            Step(
                feature=one["feature"],
                raw=raw,
                filled=one["fill"] if raw is None else raw,
                transform=one["transform"],
                transformed=float(transformed[place]),
                center=one["center"],
                scale=one["scale"],
                scaled=float(scaled[place]),
                weight=one["weight"],
                weighted=float(weighted[place]),
            )
        )
    return steps


def _affinities(champion: Champion, compared: Comparison) -> list[Affinity]:
    """How near the customer is to each cluster, in the order of the comparison."""
    known = champion.segments.set_index("cluster")
    cells, probabilities = compared.nearest_cells, compared.probabilities
    return [
        Affinity(
            cluster=int(cluster),
            segment_id=int(known.loc[cluster, "segment_id"]),
            segment_name=str(known.loc[cluster, "segment_name"]),
            distance=float(compared.distances[cluster]),
            nearest_cell=None if cells is None or math.isinf(cells[cluster]) else float(cells[cluster]),
            probability=None if probabilities is None else float(probabilities[cluster]),
        )
        for cluster in compared.order
    ]


def _runner_up(compared: Comparison, affinities: list[Affinity]) -> str | None:
    """The segment that came second, with the figure that decided; None if there is no other."""
    second = next((one for one in affinities if one.segment_id != affinities[0].segment_id), None)
    if second is None:
        return None
    there, here = (compared.deciding[one.cluster] for one in (second, affinities[0]))
    return f"{second.segment_name}: {compared.wording.format(there)}, {here:.3f} here"


def _history(warehouse: Warehouse, customer_id: str, as_of: datetime.date) -> list[Stay]:
    """Returns the nights kept up to this one, joining consecutive nights in one segment."""
    nights = warehouse.read(
        f"SELECT as_of, segment_id, segment_name FROM {SEGMENT_ASSIGNMENTS.name}"
        " WHERE customer_id = $customer_id AND as_of <= $as_of ORDER BY as_of",
        {"customer_id": customer_id, "as_of": as_of},
    ).to_dict("records")
    stays = []
    for (segment_id, name), group in itertools.groupby(nights, lambda one: (one["segment_id"], one["segment_name"])):
        days = [one["as_of"].date() for one in group]
        stays.append(Stay(days[0], days[-1], len(days), int(segment_id), name))
    return stays
