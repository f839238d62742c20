"""What is known about a customer on a night: the records that `explain` returns."""

import datetime
from dataclasses import dataclass

from seg_pipeline.models.explanation import Measure
from seg_pipeline.usecases.customer_lines import Line, Rejection
from seg_pipeline.usecases.what_would_change import Change


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
class Rhythm:
    """Where a customer is in their own rhythm, see customer_rhythm.

    Attributes:
        lifecycle: new, active, overdue, lapsed or lost.
        silent_days: Days since the last purchase.
        usual_gap_days: The usual number of days between purchases; None if no customer of the shop has come back.
        days_overdue_ratio: The silence over the usual gap; None if there is no usual gap.
    """

    lifecycle: str
    silent_days: int
    usual_gap_days: float | None
    days_overdue_ratio: float | None


@dataclass(frozen=True, slots=True)
class Advice:
    """What the teams should do for a customer, see advice_actions.

    Attributes:
        name: The name whose actions apply.
        objective: What to achieve.
        marketing: Action for marketing.
        sales: Action for sales.
        service: Action for service.
    """

    name: str
    objective: str
    marketing: str
    sales: str
    service: str


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
        rhythm: Where the customer is in their own rhythm; None if they bought nothing, or if the night is of an older
            version.
        advice: What to do for the customer; None if the night is of an older version.
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
    rhythm: Rhythm | None = None
    advice: Advice | None = None


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
