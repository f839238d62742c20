"""The tables of this room."""

from seg_pipeline.champions.tables import SEGMENT_ID, SEGMENT_NAME
from seg_pipeline.features.tables import AS_OF, GRID_CELLS, NO_PURCHASES
from seg_pipeline.models.drift import stability_index_term
from seg_pipeline.tables import Column, Rule, Table

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
    large=True,
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
        Column("fitted_as_of", "DATE", "Night the model was fitted on; after the night itself where none was before"),
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

# Segments that have lost all their customers have no row; together they are one bin that is empty now.
SHARE_DRIFT = (
    f"SELECT sum({stability_index_term('now', 'fitted_share')}) + {stability_index_term('max(gone)', '0')} AS psi FROM"
    " (SELECT fitted_as_of, fitted_share, customers / sum(customers) OVER () AS now,"
    " 1 - sum(fitted_share) OVER () AS gone FROM {batch} WHERE segment_id > 0) HAVING psi"
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
            "grid_name",
            "VARCHAR",
            "Cell of the R x F grid that the name starts from",
            values=(*GRID_CELLS, NO_PURCHASES),
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
        Column(
            "active_share",
            "DOUBLE",
            "Share of its customers who bought within the last 90 days",
            min_value=0,
            max_value=1,
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
        Column(
            "rule",
            "VARCHAR",
            "The segment as a short rule, close to the model and not it; NULL where none is short enough",
            nullable=True,
        ),
        Column(
            "rule_precision",
            "DOUBLE",
            "Share of the customers under the rule who are in the segment, on the night of the fit",
            nullable=True,
            min_value=0,
            max_value=1,
        ),
        Column(
            "rule_recall",
            "DOUBLE",
            "Share of the segment's customers who are under the rule, on the night of the fit",
            nullable=True,
            min_value=0,
            max_value=1,
        ),
        Column("fitted_as_of", "DATE", "Night the model was fitted on"),
        Column(
            "fitted_share",
            "DOUBLE",
            "Share of the buyers on that night; NULL of segment 0",
            nullable=True,
            min_value=0,
            max_value=1,
        ),
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
            "shares_as_when_fitted",
            "The segments' shares of the buyers are those of the night of the fit, but for drift.psi_warning"
            " (population stability index).",
            SHARE_DRIFT + " > :drift.psi_warning",
            "warning",
        ),
        Rule(
            "shares_credible",
            "The segments' shares of the buyers have not drifted beyond drift.psi_critical since the night of the fit.",
            # A night before the champion is scored by what came later; that it differs is no fault.
            SHARE_DRIFT + " > :drift.psi_critical AND max(fitted_as_of) <= :as_of",
        ),
        Rule(
            "no_segment_too_large",
            "No segment holds more than nine of ten customers.",
            "SELECT segment_id, share FROM {batch} WHERE share > 0.9",
            "warning",
        ),
    ),
)

SEGMENT_HISTORY = Table(
    "segments.segment_history",
    "The segment of every customer on every night that is kept: a view of segment_assignments.",
    nightly=True,
    key=("customer_id",),
    columns=(AS_OF, Column("customer_id", "VARCHAR", "Customer"), SEGMENT_ID, SEGMENT_NAME),
)

SEGMENT_MIGRATION = Table(
    "segments.segment_migration",
    "Who moved from where to where: customers by their segment on an earlier night and on this one. Compared are the"
    " night before in the warehouse and the last one that is a week or more ago.",
    nightly=True,
    key=("from_as_of", "from_segment_id", "to_segment_id"),
    may_be_empty=True,
    columns=(
        AS_OF,
        Column("from_as_of", "DATE", "The earlier night"),
        Column("to_as_of", "DATE", "This night"),
        Column("from_segment_id", "INTEGER", "Segment then; -1 of who was no customer yet", min_value=-1),
        Column("from_segment_name", "VARCHAR", "Its name then"),
        Column("to_segment_id", "INTEGER", "Segment now; -1 of who is no customer any more", min_value=-1),
        Column("to_segment_name", "VARCHAR", "Its name now"),
        Column("customers", "BIGINT", "Customers who went that way", min_value=1),
    ),
    rules=(
        Rule(
            "customers_add_up",
            "Those who came from anywhere are the night's customers.",
            "SELECT from_as_of, sum(customers) AS moved FROM {batch} WHERE to_segment_id >= 0 GROUP BY from_as_of"
            " HAVING sum(customers) != (SELECT count(*) FROM segments.segment_assignments WHERE as_of = :as_of)",
        ),
    ),
)

SEGMENT_MOVES = Table(
    "segments.segment_moves",
    "The lists that teams act on: every customer whose segment is another than a week ago, or who is new since.",
    large=True,
    nightly=True,
    key=("customer_id",),
    may_be_empty=True,
    columns=(
        AS_OF,
        Column("customer_id", "VARCHAR", "Customer"),
        Column("from_as_of", "DATE", "The night that is compared with"),
        Column("from_segment_id", "INTEGER", "Segment then; -1 of who was no customer yet", min_value=-1),
        Column("from_segment_name", "VARCHAR", "Its name then"),
        SEGMENT_ID,
        SEGMENT_NAME,
        Column("monetary", "DECIMAL(18, 4)", "Value of all lines, net of returns, in the shop's currency"),
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
        Column("contact_cost", "DOUBLE", "Cost of one contact with one customer: by the actions' effort", min_value=0),
        Column(
            "spendable",
            "DOUBLE",
            "Most that contacts with its customers can cost; 0 where it has no claim; missing where contacts are free",
            nullable=True,
            min_value=0,
        ),
        Column("budget_share", "DOUBLE", "Part of the budget", min_value=0, max_value=1),
        Column("budget", "DOUBLE", "Budget in the shop's currency", min_value=0),
        Column("contacts", "BIGINT", "Contacts that its budget pays; missing where free", nullable=True, min_value=0),
        Column(
            "reached_share",
            "DOUBLE",
            "Share of its customers whom these contacts reach once; missing where free",
            nullable=True,
            min_value=0,
            max_value=1,
        ),
        Column("arithmetic", "VARCHAR", "How the part of the budget came about"),
        Column(
            "base_rate",
            "DOUBLE",
            "Share taken to buy within the next 90 days: between active_share and all buyers', the nearest to one half",
            nullable=True,
            min_value=0,
            max_value=1,
        ),
        Column(
            "holdout_customers",
            "BIGINT",
            "Customers to leave out at random to measure a rise of strategies.effect; missing where half are too few",
            nullable=True,
            min_value=1,
        ),
        Column(
            "smallest_effect",
            "DOUBLE",
            "Smallest rise of the share who buy that leaving out half would measure; missing where there is none",
            nullable=True,
            min_value=0,
            max_value=1,
        ),
    ),
    rules=(
        Rule(
            "budget_is_split",
            "The parts of the budget add up to the whole; only where each segment has all it can spend to less.",
            "SELECT sum(budget_share) AS parts, sum(spendable) AS spendable FROM {batch}"
            " HAVING sum(budget_share) > 1.000001 OR sum(budget_share) < 0.999999"
            " AND bool_or(spendable IS NULL OR budget < spendable * 0.999999)",
        ),
        Rule(
            "budget_can_be_spent",
            "No segment has more budget than contacts with all its customers can cost.",
            "SELECT segment_id, budget, spendable FROM {batch} WHERE budget > spendable * 1.000001",
        ),
        Rule(
            "holdouts_leave_half",
            "A holdout is at most half of its segment.",
            "SELECT segment_id, holdout_customers, customers FROM {batch} JOIN segments.segment_profiles"
            " USING (segment_id, as_of) WHERE 2 * holdout_customers > customers",
        ),
    ),
)
