"""Why one customer is in a segment: from the raw lines to the segment of a night, and what would change it.

Everything is computed anew with the code and the champion that scored the night, and must come to what is stored.
"""

import datetime
import itertools
import math
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from seg_pipeline.errors import DataError, UsageError
from seg_pipeline.features.tables import RFM_FEATURES, RFM_GRID
from seg_pipeline.features.transforms import apply_transforms, invert_transforms
from seg_pipeline.models.algorithms.gaussian_mixture import GaussianMixtureAlgorithm
from seg_pipeline.models.algorithms.rfm_grid import NAME as RFM_GRID_NAME
from seg_pipeline.models.champions import Champion, find_champion
from seg_pipeline.models.coreset import FloatArray, IntArray
from seg_pipeline.models.model import NearestCell
from seg_pipeline.models.registry import ALGORITHMS
from seg_pipeline.prepared.tables import REASONS
from seg_pipeline.raw.columns import BLANKS
from seg_pipeline.segments.tables import SEGMENT_ASSIGNMENTS
from seg_pipeline.warehouse import Connection, Warehouse

if TYPE_CHECKING:
    import pandas as pd

LINES = Path(__file__).with_name("customer_lines.sql")

COUNTS, TOO_LATE = "counts", "on or after the night"
SHOWN_LINES = 10
EXAMPLES = 3
SUGGESTIONS = 3
# Letters that a mistyped id may differ in.
LIKELY_TYPOS = 2
# Values tried of a feature besides those of the champion's own cells, where these lie far apart.
EVEN_VALUES = 500
SCORES = ("r_score", "f_score", "m_score")
# What the R x F grid looks at, and where its scores come from.
GRID_FEATURES = {"recency_days": "r_score", "frequency": "f_score"}

SegmentsOf = Callable[["pd.DataFrame"], IntArray]


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
    """Lines that were rejected for one reason, with the first of them."""

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
    """A modelling feature on its way to the matrix; `raw` is None where `filled` stands for it."""

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
    """How near the customer is to a cluster: what the algorithm goes by is not None, and so is the centre's distance.

    Attributes
    ----------
    distance : float
        To the centre, transformed units.
    nearest_cell : float or None
        To the nearest of its cells, of algorithms that go by them.
    probability : float or None
        Posterior, of a mixture.
    """

    cluster: int
    segment_id: int
    segment_name: str
    distance: float
    nearest_cell: float | None
    probability: float | None


@dataclass(frozen=True, slots=True)
class Change:
    """The smallest change of one feature, the others as they are, that moves the customer; None where none does."""

    feature: str
    now: float
    to: float | None
    segment_id: int | None
    segment_name: str | None


@dataclass(frozen=True, slots=True)
class Stay:
    """Nights in a row, of those that are kept, in one segment."""

    first: datetime.date
    last: datetime.date
    nights: int
    segment_id: int
    segment_name: str


@dataclass(frozen=True, slots=True)
class Decision:
    """The segment of the night and all that led to it; of segment 0 the steps are empty, since no model took part.

    Attributes
    ----------
    why : str
        What decided, in words.
    grid : str or None
        The customer's cell of the R x F grid.
    affinities : list of Affinity
        Of every cluster, the customer's first; empty for the R x F grid, which is a rule.
    runner_up : str or None
        The segment that came second; None where nothing is compared.
    rule : str or None
        The segment as a short rule, see segment_profiles.
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
    """A customer on a night. `decision` is None where no clean line before the night makes them a customer."""

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
    """Explains a customer's segment on a night, the newest one that is scored if None.

    Raises
    ------
    UsageError
        There is no warehouse, or not that night in it.
    DataError
        No line names the customer, or the night's segments are not those of its features.
    """
    if not Path(warehouse.database).is_file():
        raise UsageError(f"warehouse {warehouse.database}: no such file; seg-pipeline run makes one")
    customer_id = re.sub(r"^([0-9]+)\.0+$", r"\1", customer.strip(BLANKS))
    with warehouse.held(read_only=True):
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
    """The night asked for, or the newest, known to be scored."""
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
    """All lines, those that count, those too late, the first ones, and the rejected ones by reason."""
    with connection.temporary(LINES, {"customer_id": customer_id, "as_of": as_of, "blanks": BLANKS}) as customer_lines:
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
    """`; did you mean A, B?` with customers of the night whose ids differ in a letter or two."""
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
    told = [Feature(str(name), _plain(row[name].iloc[0]), described[str(name)]) for name in row]
    is_buyer = bool(row["frequency"].iloc[0] > 0)
    if is_buyer:
        _check_stored(champion, row, assigned, as_of)
    return_only = "no purchase before the night, only returns: no model takes part, and any purchase would end it"
    why, affinities, runner_up = _comparison(champion, row) if is_buyer else (return_only, [], None)
    of_segment = champion.segments[champion.segments["segment_id"] == assigned["segment_id"]].iloc[0]
    return Decision(
        segment_id=int(assigned["segment_id"]),
        segment_name=assigned["segment_name"],
        confidence=float(assigned["confidence"]),
        why=why,
        model_id=champion.model_id,
        fitted_as_of=champion.fitted_as_of,
        features=[one for one in told if one.name not in ("as_of", "customer_id", "rfm_segment", *SCORES)],
        scores=[one for one in told if one.name in SCORES],
        grid=_grid(row) if is_buyer else None,
        steps=_steps(champion, row) if is_buyer else [],
        affinities=affinities,
        runner_up=runner_up,
        changes=_changes(warehouse, champion, row, as_of) if is_buyer else [],
        rule=_plain(of_segment["rule"]),
        rule_precision=_plain(of_segment["rule_precision"]),
        rule_recall=_plain(of_segment["rule_recall"]),
    )


def _check_stored(champion: Champion, row: "pd.DataFrame", assigned: "pd.Series", as_of: datetime.date) -> None:
    """Raises DataError where the features do not lead to the segment that is stored."""
    [segment_id], [confidence] = _segments_of(champion)(row), champion.scorer.label(row)[1]
    if segment_id != assigned["segment_id"] or not math.isclose(confidence, assigned["confidence"], abs_tol=1e-9):
        raise DataError(
            f"customer {assigned['customer_id']!r}: the features of the night {as_of} lead to segment {segment_id}, and"
            f" {assigned['segment_id']} is stored; seg-pipeline backfill {as_of} scores it anew"
        )


def _grid(row: "pd.DataFrame") -> str:
    r, f, name = (row[column].iloc[0] for column in ("r_score", "f_score", "rfm_segment"))
    return f"R {r:.0f} x F {f:.0f}: {name}"


def _segments_of(champion: Champion) -> SegmentsOf:
    """What segment the champion puts customers in."""
    segment_of = dict(zip(champion.segments["cluster"], champion.segments["segment_id"], strict=True))
    return lambda rows: np.array([segment_of[cluster] for cluster in champion.scorer.label(rows)[0]])


def _steps(champion: Champion, row: "pd.DataFrame") -> list[Step]:
    """Each modelling feature on its way, by the code that scores: left out steps are those with 0 and 1 for numbers."""
    if champion.scorer.model.algorithm == RFM_GRID_NAME:
        return []
    transforms = champion.scorer.transforms.sort_values("position")
    [transformed], [scaled], [weighted] = (
        apply_transforms(row, transforms.assign(**without))
        for without in ({"center": 0.0, "scale": 1.0, "weight": 1.0}, {"weight": 1.0}, {})
    )
    steps = []
    for place, one in enumerate(transforms.to_dict("records")):
        raw = _number(row, one["feature"])
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


def _comparison(champion: Champion, row: "pd.DataFrame") -> tuple[str, list[Affinity], str | None]:
    """What decided, how near each cluster is, and who came second."""
    from scipy.spatial.distance import cdist

    model, coreset = champion.scorer.model, champion.scorer.coreset
    if model.algorithm == RFM_GRID_NAME:
        return "its cell of the R x F grid, a rule on the scores", [], None
    algorithm = ALGORITHMS[model.algorithm]
    point = apply_transforms(row, champion.scorer.transforms)
    distances = cdist(point, model.centers)[0]
    probabilities = cells = None
    if isinstance(algorithm, GaussianMixtureAlgorithm):
        why, said = "the most probable component of the mixture", "probability {:.3f}"
        probabilities = algorithm.posteriors(model, point)[0]
        order = np.argsort(-probabilities, kind="stable")
    elif isinstance(algorithm, NearestCell):
        why, said = "the cluster of the nearest cell", "its nearest cell is {:.3f} away"
        to_cells = cdist(point, coreset.points)[0]
        cells = np.array([to_cells[model.cell_labels == cluster].min(initial=np.inf) for cluster in range(model.k)])
        order = np.argsort(cells, kind="stable")
    else:
        why, said = "the nearest centre", "its centre is {:.3f} away"
        order = np.argsort(distances, kind="stable")
    known = champion.segments.set_index("cluster")
    affinities = [
        Affinity(
            cluster=int(cluster),
            segment_id=int(known.loc[cluster, "segment_id"]),
            segment_name=str(known.loc[cluster, "segment_name"]),
            distance=float(distances[cluster]),
            nearest_cell=None if cells is None or np.isinf(cells[cluster]) else float(cells[cluster]),
            probability=None if probabilities is None else float(probabilities[cluster]),
        )
        for cluster in order
    ]
    by = probabilities if probabilities is not None else distances if cells is None else cells
    second = next((one for one in affinities if one.segment_id != affinities[0].segment_id), None)
    figures = "" if second is None else f"{said.format(by[second.cluster])}, {by[affinities[0].cluster]:.3f} here"
    return why, affinities, None if second is None else f"{second.segment_name}: {figures}"


def _changes(warehouse: Warehouse, champion: Champion, row: "pd.DataFrame", as_of: datetime.date) -> list[Change]:
    """For each feature alone the smallest change that moves the customer, looked for among values that customers have.

    The champion's own labelling says what a value leads to; between two values tried the border is halved in on.
    """
    names = dict(zip(champion.segments["segment_id"], champion.segments["segment_name"], strict=True))
    if champion.scorer.model.algorithm == RFM_GRID_NAME:
        segments_of, tried = _by_scores(warehouse, champion, as_of)
        fills: dict[str, float] = {}
    else:
        segments_of, transforms = _segments_of(champion), champion.scorer.transforms
        cells = invert_transforms(champion.scorer.coreset.points, transforms)
        tried = {
            str(name): np.append(values, np.linspace(values.min(), values.max(), EVEN_VALUES))
            for name, values in cells.items()
        }
        fills = dict(zip(transforms["feature"], transforms["fill"], strict=True))
    changes = []
    for name, values in tried.items():
        known = _number(row, name)
        now = fills[name] if known is None else known
        moved = _nearest_change(row, name, now, values, segments_of)
        to, segment_id = moved or (None, None)
        changes.append(Change(name, now, to, segment_id, None if segment_id is None else names[segment_id]))
    return changes


def _nearest_change(
    row: "pd.DataFrame", name: str, now: float, values: FloatArray, segments_of: SegmentsOf
) -> tuple[float, int] | None:
    """The value nearest to `now`, in whole steps of the feature's unit, that leads elsewhere, and the segment there."""
    decimals = _decimals(name, values)
    steps_per_unit = 10.0**decimals

    def segments_at(steps: IntArray) -> IntArray:
        rows = row.loc[row.index.repeat(len(steps))].assign(**{name: np.round(steps / steps_per_unit, decimals)})
        return segments_of(rows)

    [own] = segments_of(row)
    at = now * steps_per_unit
    tried = np.unique(np.round(values * steps_per_unit).astype(np.int64))
    elsewhere = segments_at(tried) != own
    borders = []
    # Upwards, then downwards, each from the nearest value on.
    for places, nearest in (
        (np.flatnonzero(tried > at), math.floor(at)),
        (np.flatnonzero(tried < at)[::-1], math.ceil(at)),
    ):
        first = next((number for number, place in enumerate(places) if elsewhere[place]), None)
        if first is None:
            continue
        near = int(tried[places[first - 1]]) if first else nearest
        far = int(tried[places[first]])
        while abs(far - near) > 1:
            middle = (near + far) // 2
            if segments_at(np.array([middle]))[0] == own:
                near = middle
            else:
                far = middle
        borders.append(far)
    if not borders:
        return None
    best = min(borders, key=lambda border: abs(border - at))
    return round(best / steps_per_unit, decimals), int(segments_at(np.array([best]))[0])


def _decimals(name: str, values: FloatArray) -> int:
    """Decimals of a value to act on: whole numbers of what is counted, cents, else a thousandth of the range."""
    [type_] = [column.type for column in RFM_FEATURES.columns if column.name == name]
    if type_ != "DOUBLE":
        return 0 if type_ == "INTEGER" else 2
    span = float(np.ptp(values))
    return max(0, 3 - math.floor(math.log10(span))) if span > 0 else 3


def _by_scores(
    warehouse: Warehouse, champion: Champion, as_of: datetime.date
) -> tuple[SegmentsOf, dict[str, FloatArray]]:
    """The R x F grid as a function of recency and frequency, by the night's fifths, and the values around these."""
    cuts = {
        name: np.array(
            warehouse.value(
                f"SELECT quantile_disc({name}, [0.2, 0.4, 0.6, 0.8]) FROM {RFM_FEATURES.name}"
                " WHERE as_of = $as_of AND frequency > 0",
                {"as_of": as_of},
            ),
            dtype=np.float64,
        )
        for name in GRID_FEATURES
    }
    name_of = {cell: name for name, cells in RFM_GRID.items() for cell in cells}
    of_champion = _segments_of(champion)

    def segments_of(rows: "pd.DataFrame") -> IntArray:
        recency, frequency = (np.searchsorted(cuts[name], rows[name].to_numpy(np.float64)) for name in GRID_FEATURES)
        cells = zip(5 - recency, 1 + frequency, strict=True)
        return of_champion(rows.assign(rfm_segment=[name_of[int(r), int(f)] for r, f in cells]))

    return segments_of, {name: np.append(values, values + 1) for name, values in cuts.items()}


def _history(warehouse: Warehouse, customer_id: str, as_of: datetime.date) -> list[Stay]:
    """The nights that are kept up to this one, those in a row in one segment as one."""
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


def _number(row: "pd.DataFrame", name: str) -> float | None:
    value = _plain(row[name].iloc[0])
    return None if value is None else float(value)


def _plain(value: Any) -> Any:
    """A cell of a frame as Python has it: missing is None, days are dates."""
    import pandas as pd

    if pd.isna(value):
        return None
    if isinstance(value, pd.Timestamp):
        return value.date()
    return value.item() if isinstance(value, np.generic) else value
