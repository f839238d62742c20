"""The tables of this room."""

from seg_pipeline.features.tables import AS_OF, NO_PURCHASES, RFM_GRID
from seg_pipeline.tables import Column, Rule, Table

SEGMENT_ID = Column("segment_id", "INTEGER", "Segment; 0 is 'No purchases', 1 spends most per customer", min_value=0)
SEGMENT_NAME = Column("segment_name", "VARCHAR", "Name of the segment, no two alike")

# Features whose median a profile shows.
PROFILED = (
    "recency_days",
    "frequency",
    "monetary",
    "avg_order_value",
    "tenure_days",
    "days_between_orders",
    "return_rate",
    "units_per_order",
)

SEGMENT_ASSIGNMENTS = Table(
    "segments.segment_assignments",
    "The segment of every customer on a night, from the chosen model.",
    nightly=True,
    key=("customer_id",),
    columns=(
        AS_OF,
        Column("customer_id", "VARCHAR", "Customer"),
        SEGMENT_ID,
        SEGMENT_NAME,
        Column(
            "confidence",
            "DOUBLE",
            "How clearly the customer belongs there, 0 (on the border) to 1",
            min_value=0,
            max_value=1,
        ),
        Column("model_id", "VARCHAR", "Model that assigned it: algorithm, k, night and a digest of its numbers"),
    ),
    rules=(
        Rule(
            "customers_conserved",
            "Every customer of rfm_features is assigned once, and no one else.",
            "SELECT customer_id FROM (SELECT customer_id FROM features.rfm_features WHERE as_of = :as_of) AS known"
            " FULL JOIN {batch} USING (customer_id) WHERE as_of IS NULL OR known.customer_id IS NULL",
        ),
        Rule(
            "buyers_have_segments",
            "Segment 0 holds the customers without a purchase, all of them and no one else.",
            "SELECT customer_id, segment_id, frequency FROM {batch} JOIN features.rfm_features AS features"
            " USING (customer_id, as_of) WHERE (segment_id = 0) != (frequency = 0)",
        ),
    ),
)

SEGMENT_PROFILES = Table(
    "segments.segment_profiles",
    "One row per segment and night: how many, what they are worth, how they buy, and why the segment has its name.",
    nightly=True,
    key=("segment_id",),
    columns=(
        AS_OF,
        SEGMENT_ID,
        SEGMENT_NAME,
        Column(
            "grid_name", "VARCHAR", "Cell of the R x F grid that the name starts from", values=(*RFM_GRID, NO_PURCHASES)
        ),
        Column("cluster", "INTEGER", "Number of its cluster in the model, from 0; -1 of segment 0"),
        Column("customers", "BIGINT", "Customers in the segment", min_value=1),
        Column("share", "DOUBLE", "Share of all customers", min_value=0, max_value=1),
        Column("revenue", "DECIMAL(38, 4)", "Monetary of its customers together, in the shop's currency"),
        Column("revenue_share", "DOUBLE", "Share of all customers' monetary", nullable=True),
        Column(
            "headroom",
            "DECIMAL(38, 4)",
            "Revenue gained if those below the segment's own upper quartile of monetary came up to it",
            min_value=0,
        ),
        Column("mean_r_score", "DOUBLE", "Mean recency score, 1 to 5", nullable=True, min_value=1, max_value=5),
        Column("mean_f_score", "DOUBLE", "Mean frequency score, 1 to 5", nullable=True, min_value=1, max_value=5),
        Column("mean_m_score", "DOUBLE", "Mean monetary score, 1 to 5", nullable=True, min_value=1, max_value=5),
        *(Column(f"median_{name}", "DOUBLE", f"Median {name} of its customers", nullable=True) for name in PROFILED),
        Column("mean_confidence", "DOUBLE", "Mean confidence of its customers", min_value=0, max_value=1),
        Column(
            "stability",
            "DOUBLE",
            "Mean overlap (Jaccard) with refits on bootstrap draws; from 0.75 stable, below 0.6 a cut through a cloud",
            nullable=True,
            min_value=0,
            max_value=1,
        ),
        Column("name_reason", "VARCHAR", "Why it has this name"),
    ),
    rules=(
        Rule(
            "names_unique",
            "No two segments share a name.",
            "SELECT segment_name, count(*) AS segments FROM {batch} GROUP BY segment_name HAVING count(*) > 1",
        ),
        Rule(
            "customers_add_up",
            "The segments' customers add up to the assignments.",
            "SELECT * FROM (SELECT (SELECT sum(customers) FROM {batch}) AS profiled, (SELECT count(*) FROM"
            " segments.segment_assignments WHERE as_of = :as_of) AS assigned) WHERE profiled != assigned",
        ),
        Rule(
            "revenue_adds_up",
            "The segments' revenue adds up to the customers' monetary, to the last digit.",
            "SELECT * FROM (SELECT (SELECT sum(revenue) FROM {batch}) AS profiled, (SELECT sum(monetary) FROM"
            " features.rfm_features WHERE as_of = :as_of) AS monetary) WHERE profiled != monetary",
        ),
        Rule(
            "no_segment_too_large",
            "No segment holds more than nine of ten customers.",
            "SELECT segment_id, share FROM {batch} WHERE share > 0.9",
            "warning",
        ),
    ),
)

SEGMENT_STRATEGIES = Table(
    "segments.segment_strategies",
    "One row per segment and night: what to do for it in marketing, sales and service, and its part of the budget.",
    nightly=True,
    key=("segment_id",),
    columns=(
        AS_OF,
        SEGMENT_ID,
        SEGMENT_NAME,
        Column("objective", "VARCHAR", "What to achieve with the segment"),
        Column("marketing", "VARCHAR", "Action for marketing"),
        Column("sales", "VARCHAR", "Action for sales"),
        Column("service", "VARCHAR", "Action for service"),
        Column("headroom", "DOUBLE", "Revenue within reach, see segment_profiles", min_value=0),
        Column("budget_share", "DOUBLE", "Part of the budget", min_value=0, max_value=1),
        Column("budget", "DOUBLE", "Budget in the shop's currency", min_value=0),
        Column("arithmetic", "VARCHAR", "How the part of the budget came about"),
    ),
    rules=(
        Rule(
            "budget_is_split",
            "The parts of the budget add up to the whole.",
            "SELECT sum(budget_share) AS parts FROM {batch} HAVING abs(sum(budget_share) - 1) > 0.000001",
        ),
    ),
)
