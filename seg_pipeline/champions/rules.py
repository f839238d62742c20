"""Describes each segment by a short rule that a person can apply: the leaves of a shallow decision tree, as text.

The rule describes the model and does not replace it: customers are scored by the model. How far the two agree is
counted with the rules as worded, with their rounded figures.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from seg_pipeline.features.tables import RFM_FEATURES
from seg_pipeline.models.model import single_threaded

if TYPE_CHECKING:
    import pandas as pd

MAX_DEPTH = 4
LEAVES_PER_SEGMENT = 2
# Figures that a person can remember: 490, not 487.33.
SIGNIFICANT_DIGITS = 2
# Converting back from transformed units recovers the delivered values to this many decimals.
DECIMALS = 6

EVERYONE = "every buyer"
# Features that count something, such as days and orders.
WHOLE_NUMBERS = frozenset(column.name for column in RFM_FEATURES.columns if column.type == "INTEGER")

# Above the first bound and up to the second, inclusive.
Interval = tuple[float, float]
ANY: Interval = (-math.inf, math.inf)


@dataclass(frozen=True, slots=True)
class Box:
    """One or more leaves of the tree, as a box in feature space.

    Attributes:
        segment_id: The segment that most of its customers are in.
        limits: Interval of each feature that it limits; any other feature may have any value.
    """

    segment_id: int
    limits: dict[str, Interval]

    def holds(self, features: "pd.DataFrame") -> npt.NDArray[np.bool_]:
        """Returns whether each row (rows,) lies in the box."""
        inside = np.ones(len(features), dtype=bool)
        for name, (above, up_to) in self.limits.items():
            inside &= (features[name] > above).to_numpy() & (features[name] <= up_to).to_numpy()
        return inside


def segment_rules(
    features: "pd.DataFrame", customers: npt.NDArray[np.float64], segment_ids: npt.NDArray[np.int64]
) -> tuple["pd.DataFrame", float]:
    """Returns a rule for each segment, and how far the rules agree with the segments.

    Args:
        features: A row per cell and a column per feature, in the features' own units.
        customers: Customers (cells,) in each cell.
        segment_ids: Segment (cells,) of each cell.

    Returns:
        The rules: segment_id; rule, missing if the tree is too shallow to have a leaf for the segment; rule_precision,
        the share of the customers under the rule who are in the segment; rule_recall, the share of the segment under
        the rule. And their fidelity: the share of the customers whose rule names their segment.
    """
    import pandas as pd

    # The mean of a cell may be 2.4 orders, but a customer has a whole number of them.
    readable = features.round({name: 0 if name in WHOLE_NUMBERS else DECIMALS for name in features})
    boxes = _boxes(readable, customers, segment_ids)
    rows, agreeing = [], 0.0
    for segment_id in np.unique(segment_ids):
        own = [box for box in boxes if box.segment_id == segment_id]
        under_rule = (
            np.any([box.holds(readable) for box in own], axis=0) if own else np.zeros(len(readable), dtype=bool)
        )
        in_segment = segment_ids == segment_id
        both = float(customers[under_rule & in_segment].sum())
        agreeing += both
        rows.append(
            {
                "segment_id": int(segment_id),
                "rule": _rule_text(own, readable),
                "rule_precision": both / float(customers[under_rule].sum()) if under_rule.any() else float("nan"),
                "rule_recall": both / float(customers[in_segment].sum()),
            }
        )
    return pd.DataFrame(rows), agreeing / float(customers.sum())


@single_threaded()
def _boxes(
    features: "pd.DataFrame", customers: npt.NDArray[np.float64], segment_ids: npt.NDArray[np.int64]
) -> list[Box]:
    """Fits the tree and returns its leaves with rounded bounds; adjacent leaves of one segment are merged."""
    from sklearn.tree import DecisionTreeClassifier

    fitted = DecisionTreeClassifier(
        max_depth=MAX_DEPTH, max_leaf_nodes=LEAVES_PER_SEGMENT * max(len(np.unique(segment_ids)), 1), random_state=0
    ).fit(features.to_numpy(), segment_ids, sample_weight=customers)
    tree, names = fitted.tree_, list(features)
    leaves: list[Box] = []
    pending: list[tuple[int, dict[str, Interval]]] = [(0, {})]
    while pending:
        node, limits = pending.pop()
        if tree.children_left[node] == tree.children_right[node]:
            # Rounding may leave a leaf empty.
            if all(above < up_to for above, up_to in limits.values()):
                leaves.append(Box(int(fitted.classes_[tree.value[node][0].argmax()]), limits))
            continue
        name = names[tree.feature[node]]
        bound = _rounded_bound(name, float(tree.threshold[node]))
        above, up_to = limits.get(name, ANY)
        pending.append((tree.children_right[node], {**limits, name: (max(above, bound), up_to)}))
        pending.append((tree.children_left[node], {**limits, name: (above, min(up_to, bound))}))
    return _merge_adjacent(leaves)


def _rounded_bound(name: str, bound: float) -> float:
    """Rounds a bound for reading: to the whole number below for counts, else to two significant digits."""
    if name in WHOLE_NUMBERS or bound == 0:
        return math.floor(bound)
    return round(bound, SIGNIFICANT_DIGITS - 1 - math.floor(math.log10(abs(bound))))


def _merge_adjacent(boxes: Sequence[Box]) -> list[Box]:
    """Merges boxes of the same segment that differ in one feature and touch there, until there are none."""
    for place, one in enumerate(boxes):
        for other in boxes[place + 1 :]:
            together = _union(one, other)
            if together is not None:
                return _merge_adjacent([together, *(box for box in boxes if box is not one and box is not other)])
    return list(boxes)


def _union(one: Box, other: Box) -> Box | None:
    """Returns the box that holds what both boxes hold and nothing else; None if there is no such box."""
    names = one.limits.keys() | other.limits.keys()
    differing = [name for name in names if one.limits.get(name, ANY) != other.limits.get(name, ANY)]
    if one.segment_id != other.segment_id or len(differing) != 1:
        return None
    [name] = differing
    low, high = sorted((one.limits.get(name, ANY), other.limits.get(name, ANY)))
    if low[1] != high[0]:
        return None
    limits = {key: limit for key, limit in one.limits.items() if key != name}
    joined = (low[0], high[1])
    return Box(one.segment_id, limits if joined == ANY else {**limits, name: joined})


def _rule_text(boxes: Sequence[Box], features: "pd.DataFrame") -> str | None:
    """Writes the boxes as text, such as `recency_days <= 45 and frequency >= 4, or monetary > 1200`.

    Args:
        boxes: The boxes of one segment.
        features: The cells, whose columns give the order of the features and their smallest values.

    Returns:
        The rule; None if there is no box.
    """
    if not boxes:
        return None
    names = [str(name) for name in features]
    conditions = [
        " and ".join(
            _condition(name, *box.limits[name], least=features[name].min()) for name in names if name in box.limits
        )
        for box in sorted(boxes, key=lambda box: [box.limits.get(name, ANY) for name in names])
    ]
    # A box without limits has an empty condition: it holds everyone.
    return ", or ".join(conditions) if all(conditions) else EVERYONE


def _condition(name: str, above: float, up_to: float, *, least: float) -> str:
    """Writes a feature's limit; `least` is its smallest value, so that `frequency <= 1` becomes `frequency = 1`."""
    if name not in WHOLE_NUMBERS:
        if above == -math.inf:
            return f"{name} <= {_number(up_to)}"
        return f"{name} > {_number(above)}" if up_to == math.inf else f"{_number(above)} < {name} <= {_number(up_to)}"
    first = above + 1
    if up_to == math.inf:
        return f"{name} >= {_number(first)}"
    if max(first, least) == up_to:
        return f"{name} = {_number(up_to)}"
    return f"{name} <= {_number(up_to)}" if above == -math.inf else f"{_number(first)} <= {name} <= {_number(up_to)}"


def _number(value: float) -> str:
    return f"{value:.0f}" if value == round(value) else f"{value:.10g}"
