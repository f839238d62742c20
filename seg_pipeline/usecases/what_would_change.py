"""Finds the changes that would make the champion put a customer in another segment, one feature at a time."""

import datetime
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from seg_pipeline.features.buyers import score_cuts
from seg_pipeline.features.tables import RFM_FEATURES
from seg_pipeline.models.champions import Champion
from seg_pipeline.models.coreset import FloatArray, IntArray
from seg_pipeline.warehouse import Warehouse

if TYPE_CHECKING:
    import pandas as pd

SegmentsOf = Callable[["pd.DataFrame"], IntArray]


@dataclass(frozen=True, slots=True)
class Change:
    """The smallest change of one feature alone that moves the customer to another segment.

    Attributes:
        feature: The feature.
        now: The value that the champion sees now.
        to: The value that moves the customer; None if no value does.
        segment_id: The segment that the customer moves to.
        segment_name: The name of that segment.
    """

    feature: str
    now: float
    to: float | None
    segment_id: int | None
    segment_name: str | None


def changes_of(warehouse: Warehouse, champion: Champion, row: "pd.DataFrame", as_of: datetime.date) -> list[Change]:
    """Returns for each feature the smallest change that, alone, moves the customer to another segment.

    The champion's algorithm names the values to try, and the champion labels them. Bisection finds the border between
    two of them.

    Args:
        warehouse: The warehouse.
        champion: The champion that scored the night.
        row: The customer's row of rfm_features.
        as_of: The night.
    """
    to_try = champion.scorer.changes_to_try(lambda feature: score_cuts(warehouse, feature, as_of))
    transforms = champion.scorer.transforms
    fills = dict(zip(transforms["feature"], transforms["fill"], strict=True))
    names = dict(zip(champion.segments["segment_id"], champion.segments["segment_name"], strict=True))
    changes = []
    for name, values in to_try.values.items():
        value = number_of(row, name)
        now = fills[name] if value is None else value
        change = _nearest_change(row, name, now, values, lambda rows: segment_ids_of(champion, to_try.complete(rows)))
        to, segment_id = change or (None, None)
        changes.append(Change(name, now, to, segment_id, None if segment_id is None else names[segment_id]))
    return changes


def segment_ids_of(champion: Champion, rows: "pd.DataFrame") -> IntArray:
    """Returns the segment id, (rows,), that the champion gives each row of rfm_features."""
    segment_of = dict(zip(champion.segments["cluster"], champion.segments["segment_id"], strict=True))
    return np.array([segment_of[cluster] for cluster in champion.scorer.label(rows)[0]])


def _nearest_change(
    row: "pd.DataFrame", name: str, now: float, values: FloatArray, segments_of: SegmentsOf
) -> tuple[float, int] | None:
    """Finds the value nearest to `now` that leads to another segment, in whole steps of the feature's unit.

    Returns:
        The value and the id of that segment; None if no value leads to another segment.
    """
    decimals = _decimals(name, values)
    steps_per_unit = 10.0**decimals

    def segments_at(steps: IntArray) -> IntArray:
        rows = row.loc[row.index.repeat(len(steps))].assign(**{name: np.round(steps / steps_per_unit, decimals)})
        return segments_of(rows)

    [own] = segments_of(row)
    at = now * steps_per_unit
    trials = np.unique(np.round(values * steps_per_unit).astype(np.int64))
    elsewhere = segments_at(trials) != own
    borders = []
    # Upwards, then downwards.
    for places, start in (
        (np.flatnonzero(trials > at), math.floor(at)),
        (np.flatnonzero(trials < at)[::-1], math.ceil(at)),
    ):
        first = next((number for number, place in enumerate(places) if elsewhere[place]), None)
        if first is None:
            continue
        near = int(trials[places[first - 1]]) if first else start
        far = int(trials[places[first]])
        borders.append(_border(near, far, lambda step: bool(segments_at(np.array([step]))[0] != own)))
    if not borders:
        return None
    best = min(borders, key=lambda border: abs(border - at))
    return round(best / steps_per_unit, decimals), int(segments_at(np.array([best]))[0])


def _border(near: int, far: int, moves: Callable[[int], bool]) -> int:
    """Finds by bisection a step that moves the customer while the step before it does not.

    Args:
        near: A step that does not move the customer.
        far: A step that does, above or below `near`.
        moves: Returns whether a step moves the customer.
    """
    while abs(far - near) > 1:
        middle = (near + far) // 2
        if moves(middle):
            far = middle
        else:
            near = middle
    return far


def _decimals(name: str, values: FloatArray) -> int:
    """Returns how many decimals a value needs: none for counts, two for money, else a thousandth of the range."""
    [type_] = [column.type for column in RFM_FEATURES.columns if column.name == name]
    if type_ != "DOUBLE":
        return 0 if type_ == "INTEGER" else 2
    span = float(np.ptp(values))
    return max(0, 3 - math.floor(math.log10(span))) if span > 0 else 3


def number_of(row: "pd.DataFrame", name: str) -> float | None:
    """Returns the number in a column of a single row; None if it is missing."""
    value = plain(row[name].iloc[0])
    return None if value is None else float(value)


def plain(value: Any) -> Any:
    """Returns a cell of a frame as a Python value: None if it is missing, a date if it is a day."""
    import pandas as pd

    if pd.isna(value):
        return None
    if isinstance(value, pd.Timestamp):
        return value.date()
    return value.item() if isinstance(value, np.generic) else value
