"""Each segment as a rule in a few words that a person can apply: a shallow tree of the features, read as text.

The rule stands beside the model and is not it: customers are scored by the model. How far the two agree is counted on
the rules as they are worded, with their rounded figures.
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

MAX_DEPTH = 3
LEAVES_PER_SEGMENT = 2
# Figures that a person remembers: 490, not 487.33.
SIGNIFICANT_DIGITS = 2
# The way back from transformed units ends this near to what was delivered.
DECIMALS = 6

EVERYONE = "every buyer"
COUNTED = frozenset(column.name for column in RFM_FEATURES.columns if column.type == "INTEGER")

# Above the first bound and up to the second.
Interval = tuple[float, float]
ANY: Interval = (-math.inf, math.inf)


@dataclass(frozen=True, slots=True)
class Box:
    """A leaf of the tree: the features that it limits, the others having any value, and the segment it stands for."""

    segment_id: int
    limits: dict[str, Interval]

    def holds(self, features: "pd.DataFrame") -> npt.NDArray[np.bool_]:
        """Whether each of the rows lies in it."""
        inside = np.ones(len(features), dtype=bool)
        for name, (above, up_to) in self.limits.items():
            inside &= (features[name] > above).to_numpy() & (features[name] <= up_to).to_numpy()
        return inside


def segment_rules(
    features: "pd.DataFrame", customers: npt.NDArray[np.float64], segment_ids: npt.NDArray[np.int64]
) -> tuple["pd.DataFrame", float]:
    """A rule for each segment, and how far the rules together agree with the segments.

    Parameters
    ----------
    features : DataFrame
        A row per cell and a column per feature, in the features' own units.
    customers : (cells,)
        Customers in each cell.
    segment_ids : (cells,)
        Segment of each cell.

    Returns
    -------
    rules : DataFrame
        segment_id; rule, missing where the tree is too shallow to hold the segment; rule_precision, the share of the
        customers under the rule who are in the segment; rule_recall, the share of the segment under the rule.
    fidelity : float
        Share of the customers whose rule names their segment.
    """
    import pandas as pd

    # A cell of several customers may hold 2.4 orders at the mean; who reads the rule has whole ones.
    readable = features.round({name: 0 if name in COUNTED else DECIMALS for name in features})
    boxes = _boxes(readable, customers, segment_ids)
    rows, agreeing = [], 0.0
    for segment_id in np.unique(segment_ids):
        own = [box for box in boxes if box.segment_id == segment_id]
        under = np.any([box.holds(readable) for box in own], axis=0) if own else np.zeros(len(readable), dtype=bool)
        inside = segment_ids == segment_id
        both = float(customers[under & inside].sum())
        agreeing += both
        rows.append(
            {
                "segment_id": int(segment_id),
                "rule": _in_words(own, readable),
                "rule_precision": both / float(customers[under].sum()) if under.any() else float("nan"),
                "rule_recall": both / float(customers[inside].sum()),
            }
        )
    return pd.DataFrame(rows), agreeing / float(customers.sum())


@single_threaded()
def _boxes(
    features: "pd.DataFrame", customers: npt.NDArray[np.float64], segment_ids: npt.NDArray[np.int64]
) -> list[Box]:
    """The leaves of the tree, rounded, those of one segment that lie side by side as one."""
    from sklearn.tree import DecisionTreeClassifier

    fitted = DecisionTreeClassifier(
        max_depth=MAX_DEPTH, max_leaf_nodes=LEAVES_PER_SEGMENT * max(len(np.unique(segment_ids)), 1), random_state=0
    ).fit(features.to_numpy(), segment_ids, sample_weight=customers)
    tree, names = fitted.tree_, list(features)
    leaves: list[Box] = []
    left_to_walk: list[tuple[int, dict[str, Interval]]] = [(0, {})]
    while left_to_walk:
        node, limits = left_to_walk.pop()
        if tree.children_left[node] == tree.children_right[node]:
            # What was rounded away holds nobody.
            if all(above < up_to for above, up_to in limits.values()):
                leaves.append(Box(int(fitted.classes_[tree.value[node][0].argmax()]), limits))
            continue
        name = names[tree.feature[node]]
        bound = _rounded(name, float(tree.threshold[node]))
        above, up_to = limits.get(name, ANY)
        left_to_walk.append((tree.children_right[node], {**limits, name: (max(above, bound), up_to)}))
        left_to_walk.append((tree.children_left[node], {**limits, name: (above, min(up_to, bound))}))
    return _joined(leaves)


def _rounded(name: str, bound: float) -> float:
    """A bound as it is said: of what is counted the last whole number below it."""
    if name in COUNTED or bound == 0:
        return math.floor(bound)
    return round(bound, SIGNIFICANT_DIGITS - 1 - math.floor(math.log10(abs(bound))))


def _joined(boxes: Sequence[Box]) -> list[Box]:
    """The same with fewer: two of a segment that differ in one feature, and touch there, are one."""
    for place, one in enumerate(boxes):
        for other in boxes[place + 1 :]:
            together = _union(one, other)
            if together is not None:
                return _joined([together, *(box for box in boxes if box is not one and box is not other)])
    return list(boxes)


def _union(one: Box, other: Box) -> Box | None:
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


def _in_words(boxes: Sequence[Box], features: "pd.DataFrame") -> str | None:
    """`recency_days <= 45 and frequency >= 4, or monetary > 1200`, the features in their own order."""
    if not boxes:
        return None
    names = [str(name) for name in features]
    said = [
        " and ".join(
            _condition(name, *box.limits[name], least=features[name].min()) for name in names if name in box.limits
        )
        for box in sorted(boxes, key=lambda box: [box.limits.get(name, ANY) for name in names])
    ]
    return ", or ".join(said) if all(said) else EVERYONE


def _condition(name: str, above: float, up_to: float, *, least: float) -> str:
    if name not in COUNTED:
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
