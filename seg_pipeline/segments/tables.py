"""Descriptions of the segment tables: assignments, profiles, history, migration and strategies."""

from pathlib import Path

from seg_pipeline.champions.names import NAMES, contradicted_names
from seg_pipeline.champions.tables import SEGMENT_ID, SEGMENT_NAME
from seg_pipeline.features.tables import LIFECYCLES, NO_PURCHASES
from seg_pipeline.models.drift import stability_index_term
from seg_pipeline.models.tables import OVERDUE
from seg_pipeline.segments.measurement import SMALLEST_SAMPLE
from seg_pipeline.tables import AS_OF, CUSTOMER_ID, Column, Rule, Table, count, day, money, number, share, text

RULES = Path(__file__).parent / "rules"

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
    "The segment of every customer on a night, from the champion of that night.",
    large=True,
    nightly=True,
    key=("customer_id",),
    columns=(
        AS_OF,
        CUSTOMER_ID,
        SEGMENT_ID,
        SEGMENT_NAME,
        share("confidence", "How clearly the customer belongs to the segment, from 0 (on the border) to 1"),
        text(
            "lifecycle",
            "Where the customer is in their own rhythm, see customer_rhythm; NULL without a purchase",
            nullable=True,
            values=LIFECYCLES,
        ),
        text(
            "advice",
            "The name whose actions apply to the customer (advice_actions has them): that of the segment, unless the"
            " customer's own rhythm speaks against it",
        ),
        text("model_id", "Model that assigned the segment: algorithm, k, night and a digest of its numbers"),
        day(
            "fitted_as_of", "Night that the model was fitted on; later than the night itself if no earlier model exists"
        ),
    ),
    rules=(
        Rule(
            "customers_conserved",
            "Every customer of rfm_features is assigned exactly once, and no one else is.",
            "SELECT customer_id FROM (SELECT customer_id FROM features.rfm_features WHERE as_of = :as_of) AS known"
            " FULL JOIN {batch} USING (customer_id) WHERE as_of IS NULL OR known.customer_id IS NULL",
        ),
        Rule(
            "lifecycles_as_rhythm",
            "The lifecycles are those of customer_rhythm.",
            "SELECT customer_id, assigned.lifecycle, rhythm.lifecycle AS of_rhythm FROM {batch} AS assigned"
            " LEFT JOIN features.customer_rhythm AS rhythm USING (customer_id, as_of)"
            " WHERE assigned.lifecycle IS DISTINCT FROM rhythm.lifecycle",
        ),
        Rule(
            "advice_as_rhythm",
            "No customer who is leaving by their own rhythm gets the actions for someone who stays, and no active"
            " customer those for someone who leaves.",
            "SELECT customer_id, lifecycle, advice FROM {batch}"
            " WHERE lifecycle IN ('lapsed', 'lost') AND advice IN ('Champions', 'Loyal Customers',"
            " 'Potential Loyalists', 'New Customers', 'Promising', 'Need Attention')"
            " OR lifecycle IN ('new', 'active') AND advice IN ('Can''t Lose', 'At Risk', 'Hibernating', 'Lost')",
        ),
        Rule(
            "buyers_have_segments",
            "Segment 0 holds all customers without a purchase, and no one else.",
            "SELECT customer_id, segment_id, frequency FROM {batch} JOIN features.rfm_features AS features"
            " USING (customer_id, as_of) WHERE (segment_id = 0) != (frequency = 0)",
        ),
    ),
)

SHARE_DRIFT = (
    (RULES / "share_drift.sql")
    .read_text(encoding="utf-8")
    .replace("{segment_term}", stability_index_term("now", "fitted_share"))
    .replace("{lost_term}", stability_index_term("max(lost)", "0"))
)

SEGMENT_PROFILES = Table(
    "segments.segment_profiles",
    "One row per segment and night: how many customers it has, what they are worth, how they buy, and why the segment"
    " has its name.",
    nightly=True,
    key=("segment_id",),
    columns=(
        AS_OF,
        SEGMENT_ID,
        SEGMENT_NAME,
        text(
            "grid_name",
            "The name without words of level, or, for a segment in words of its own, the name that fits it best; its"
            " actions apply",
            values=(*(one.name for one in NAMES), NO_PURCHASES),
        ),
        Column("cluster", "INTEGER", "Number of its cluster in the model, from 0; -1 for segment 0"),
        count("customers", "Customers in the segment", min_value=1),
        share("share", "Share of all customers"),
        Column("revenue", "DECIMAL(38, 4)", "Sum of its customers' monetary, in the shop's currency"),
        number("revenue_share", "Share of all customers' monetary", nullable=True),
        Column(
            "headroom",
            "DECIMAL(38, 4)",
            "Revenue gained if every customer below the segment's upper quartile of monetary spent as much as it; a"
            " sum, not a forecast",
            min_value=0,
        ),
        share("active_share", "Share of its customers who bought in the last 90 days"),
        share("once_share", "Share of its customers with one order", nullable=True),
        number("mean_r_score", "Mean recency score, 1 to 5", nullable=True, min_value=1, max_value=5),
        number("mean_f_score", "Mean frequency score, 1 to 5", nullable=True, min_value=1, max_value=5),
        number("mean_m_score", "Mean monetary score, 1 to 5", nullable=True, min_value=1, max_value=5),
        *(number(f"median_{name}", f"Median {name} of its customers", nullable=True) for name in PROFILED),
        *(
            share(
                f"lifecycle_{name}",
                f"Share of its customers whose lifecycle is {name}, see customer_rhythm; NULL for segment 0",
                nullable=True,
            )
            for name in LIFECYCLES
        ),
        share("mean_confidence", "Mean confidence of its customers"),
        share(
            "stability",
            "Mean overlap (Jaccard) with refits on bootstrap samples; from 0.75 the segment is stable, below 0.6 it is"
            " not a cluster in the data",
            nullable=True,
        ),
        text("name_reason", "Why it has this name"),
        share(
            "deserved_share",
            "Share of its customers who deserved the name when it was given, or of whom the words are true",
            nullable=True,
        ),
        text(
            "rule",
            "The segment as a short rule, which approximates the model; NULL if no rule is short enough",
            nullable=True,
        ),
        share(
            "rule_precision",
            "Share of the customers who match the rule that are in the segment, on the night of the fit",
            nullable=True,
        ),
        share(
            "rule_recall",
            "Share of the segment's customers who match the rule, on the night of the fit",
            nullable=True,
        ),
        day("fitted_as_of", "Night that the model was fitted on"),
        share(
            "fitted_share",
            "Share of the buyers on the night that drift is measured from; NULL for segment 0",
            nullable=True,
        ),
        day(
            "reference_as_of",
            "Night that drift is measured from: that of the fit, or of the last challenge that the champion survived",
            nullable=True,
        ),
    ),
    rules=(
        Rule(
            "names_unique",
            "No two segments have the same name.",
            "SELECT segment_name, count(*) AS segments FROM {batch} GROUP BY segment_name HAVING count(*) > 1",
        ),
        Rule(
            "customers_add_up",
            "The segments' customers add up to the assignments.",
            "SELECT profiled, assigned FROM (SELECT (SELECT sum(customers) FROM {batch}) AS profiled, (SELECT count(*)"
            " FROM segments.segment_assignments WHERE as_of = :as_of) AS assigned)"
            " WHERE profiled IS DISTINCT FROM assigned",
        ),
        Rule(
            "revenue_adds_up",
            "The segments' revenue adds up exactly to the customers' monetary.",
            "SELECT profiled, monetary FROM (SELECT (SELECT sum(revenue) FROM {batch}) AS profiled, (SELECT"
            " sum(monetary) FROM features.rfm_features WHERE as_of = :as_of) AS monetary)"
            " WHERE profiled IS DISTINCT FROM monetary",
        ),
        Rule(
            "shares_as_when_fitted",
            "The segments' shares of the buyers have not drifted beyond drift.psi_warning (population stability index)."
            " It warns as features_as_when_fitted of feature_drift does, if no refit came.",
            f"SELECT psi FROM ({SHARE_DRIFT}) WHERE psi > :drift.psi_warning AND {OVERDUE}",
            "warning",
        ),
        Rule(
            "names_as_measured",
            "Nothing that was measured tonight contradicts the name of a segment: for example, that hardly any of the"
            " Champions bought in the last 90 days. Names are given again when a new model takes over.",
            "SELECT segment_name, active_share, once_share, lifecycle_new, lifecycle_overdue, lifecycle_lapsed,"
            " lifecycle_lost, median_recency_days, median_monetary"
            f" FROM {{batch}} WHERE {contradicted_names()}",
            "warning",
        ),
        Rule(
            "no_segment_too_large",
            "No segment holds more than 90 % of the customers.",
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
    columns=(AS_OF, CUSTOMER_ID, SEGMENT_ID, SEGMENT_NAME),
)

# What the teams should do.
ACTIONS = (
    text("objective", "What to achieve with these customers"),
    text("marketing", "Action for marketing"),
    text("sales", "Action for sales"),
    text("service", "Action for service"),
)

FROM_SEGMENT_ID = Column(
    "from_segment_id", "INTEGER", "Segment on the earlier night; -1 for customers who are new since", min_value=-1
)
FROM_SEGMENT_NAME = text("from_segment_name", "Name of that segment")

# What can move a customer; the column moved_by says what they mean.
MOVED_BY = ("customer", "model", "new", "late", "gone")

SEGMENT_MIGRATION = Table(
    "segments.segment_migration",
    "Numbers of customers by their segment on an earlier night and on this one. The earlier nights are the warehouse's"
    " previous night and its last night that is at least a week ago.",
    nightly=True,
    key=("from_as_of", "from_segment_id", "to_segment_id"),
    may_be_empty=True,
    columns=(
        AS_OF,
        day("from_as_of", "The earlier night"),
        day("to_as_of", "This night"),
        FROM_SEGMENT_ID,
        FROM_SEGMENT_NAME,
        Column(
            "to_segment_id", "INTEGER", "Segment on this night; -1 for people who are no longer customers", min_value=-1
        ),
        text("to_segment_name", "Name of that segment"),
        count(
            "customers", "Customers who moved from the one to the other, or stayed if they are the same", min_value=1
        ),
    ),
    rules=(
        Rule(
            "migration_as_history",
            "The numbers of customers are those of segment_history, for every pair of segments. An earlier night that"
            " was deleted since is not compared.",
            RULES / "migration_as_history.sql",
        ),
    ),
)

SEGMENT_MOVES = Table(
    "segments.segment_moves",
    "Lists for teams to act on: every customer whose segment has changed since a week ago, who is new since then, or"
    " who is gone. moved_by tells the customers' own moves from those of a new model.",
    large=True,
    nightly=True,
    key=("customer_id",),
    may_be_empty=True,
    columns=(
        AS_OF,
        CUSTOMER_ID,
        day("from_as_of", "The earlier night"),
        FROM_SEGMENT_ID,
        FROM_SEGMENT_NAME,
        Column(
            "segment_id", "INTEGER", "Segment on this night; -1 for people who are no longer customers", min_value=-1
        ),
        text("segment_name", "Name of that segment"),
        money(
            "monetary",
            "Value of all lines, net of returns, in the shop's currency; of those who are gone, on the earlier night",
        ),
        text(
            "moved_by",
            "customer (moved under tonight's model as well), model (tonight's model puts the customer of the earlier"
            " night in the same segment, so only the model has changed), new (first order since the earlier night),"
            " late (not there on the earlier night, but with orders before it, which were delivered late) or gone",
            values=MOVED_BY,
        ),
        text("from_model_id", "Model that scored the earlier night"),
        text("model_id", "Model that scored this night"),
    ),
    rules=(
        Rule(
            "moves_as_migration",
            "The moves from each segment to each other one are as many as in segment_migration.",
            "SELECT from_segment_id, segment_id, moves, customers FROM (SELECT from_segment_id, segment_id, count(*) AS"
            " moves FROM {batch} GROUP BY from_segment_id, segment_id) AS listed FULL JOIN (SELECT from_segment_id,"
            " to_segment_id AS segment_id, customers FROM segments.segment_migration WHERE as_of = :as_of AND"
            " from_segment_id != to_segment_id AND from_as_of = (SELECT min(from_as_of) FROM"
            " segments.segment_migration WHERE as_of = :as_of)) AS counted USING (from_segment_id, segment_id)"
            " WHERE moves IS DISTINCT FROM customers",
        ),
    ),
)

ADVICE_ACTIONS = Table(
    "segments.advice_actions",
    "One row per name and night: what marketing, sales and service should do for the customers with this advice,"
    " whichever segment they are in.",
    nightly=True,
    key=("advice",),
    columns=(
        AS_OF,
        text("advice", "The name whose actions these are"),
        *ACTIONS,
        count("customers", "Customers with this advice"),
    ),
    rules=(
        Rule(
            "all_are_advised",
            "Every customer has an advice whose actions are here.",
            "SELECT advised, assigned FROM (SELECT (SELECT sum(customers) FROM {batch}) AS advised, (SELECT count(*)"
            " FROM segments.segment_assignments WHERE as_of = :as_of) AS assigned)"
            " WHERE advised IS DISTINCT FROM assigned",
        ),
    ),
)

SEGMENT_STRATEGIES = Table(
    "segments.segment_strategies",
    "One row per segment and night: what marketing, sales and service should do, what customers of the segment did in"
    " the window before the night, and the segment's part of the budget, if there is a budget.",
    nightly=True,
    key=("segment_id",),
    columns=(
        AS_OF,
        SEGMENT_ID,
        SEGMENT_NAME,
        *ACTIONS,
        day(
            "measured_from",
            "First day of the window that was measured, which ends with the night; NULL if there is no measurement",
            nullable=True,
        ),
        count(
            "measured_customers",
            "Customers whom the night's model puts in the segment by their orders before the window; NULL if not"
            " measured",
            nullable=True,
        ),
        share("repurchase_rate", "Share of them who bought in the window", nullable=True),
        share("repurchase_rate_low", "Lower bound of its 95 % interval (Wilson)", nullable=True),
        share("repurchase_rate_high", "Upper bound of that interval", nullable=True),
        share("shop_repurchase_rate", "The same share of all customers who were measured", nullable=True),
        number("measured_revenue", "Their mean revenue in the window, in the shop's currency", nullable=True),
        number(
            "measured_revenue_low",
            f"Lower bound of its 95 % interval (bootstrap); NULL with fewer than {SMALLEST_SAMPLE} customers",
            nullable=True,
        ),
        number("measured_revenue_high", "Upper bound of that interval", nullable=True),
        text("unmeasured_because", "Why the segment was not measured, in a sentence; NULL if it was", nullable=True),
        text(
            "disagreement",
            "In which way the actions and the measurement contradict each other, in a sentence; NULL if they do not",
            nullable=True,
        ),
        number(
            "headroom",
            "Revenue gained if every customer below the upper quartile spent as much as it, see segment_profiles",
            min_value=0,
        ),
        Column(
            "contact_cost",
            "DECIMAL(38, 4)",
            "Cost of one contact with one customer, which depends on the effort of the actions; this and the columns to"
            " arithmetic are NULL without strategies.budget",
            nullable=True,
            min_value=0,
        ),
        Column(
            "spendable",
            "DECIMAL(38, 2)",
            "Most that contacts with its customers in strategies.period_days can cost, in whole cents; 0 if it has no"
            " claim, NULL if contacts are free",
            nullable=True,
            min_value=0,
        ),
        share("budget_share", "Share of the budget, before it is rounded to whole cents", nullable=True),
        Column(
            "budget",
            "DECIMAL(38, 2)",
            "Budget for strategies.period_days in the shop's currency, in whole cents, which add up to the whole budget"
            " unless every segment has all it can spend",
            nullable=True,
            min_value=0,
        ),
        count(
            "contacts",
            "Contacts with all its customers in strategies.period_days that its budget pays for; NULL if contacts are"
            " free",
            nullable=True,
        ),
        number(
            "contacts_per_customer",
            "Contacts per customer in strategies.period_days, on average; NULL if contacts are free",
            nullable=True,
            min_value=0,
        ),
        share(
            "reached_share",
            "Share of its customers who can be contacted once with its budget; NULL if contacts are free",
            nullable=True,
        ),
        text("arithmetic", "How its share of the budget was calculated", nullable=True),
        share(
            "base_rate",
            "Share assumed to buy in the next 90 days without a contact: the value nearest to 0.5 between active_share"
            " and the active share of all buyers",
            nullable=True,
        ),
        count(
            "holdout_customers",
            "Customers to leave out at random to measure a rise of strategies.effect; NULL if half of all are too few,"
            " if the actions take no effort, or if there is a budget that pays for no contact",
            nullable=True,
            min_value=1,
        ),
        share(
            "smallest_effect",
            "Smallest rise of the share who buy that can be measured by leaving out half; NULL if none can",
            nullable=True,
        ),
    ),
    rules=(
        Rule(
            "budget_is_split",
            "The shares of the budget add up to 1, or to less if every segment has all it can spend.",
            "SELECT sum(budget_share) AS parts, sum(spendable) AS spendable FROM {batch}"
            " HAVING sum(budget_share) > 1.000001 OR sum(budget_share) < 0.999999"
            " AND bool_or(spendable IS NULL OR budget < spendable)",
        ),
        Rule(
            "budget_can_be_spent",
            "No segment has more budget than contacts with all its customers can cost.",
            "SELECT segment_id, budget, spendable FROM {batch} WHERE budget > spendable",
        ),
        Rule(
            "budget_is_whole_or_absent",
            "Either every segment has a budget with its arithmetic, or none has.",
            "SELECT count(*) AS segments, count(budget) AS budgets, count(arithmetic) AS explained FROM {batch}"
            " HAVING count(budget) NOT IN (0, count(*)) OR count(arithmetic) != count(budget)",
        ),
        Rule(
            "measured_or_explained",
            "A segment is either measured or says why it is not, and its figures lie within their intervals.",
            "SELECT segment_id, repurchase_rate, unmeasured_because FROM {batch} WHERE"
            " (repurchase_rate IS NULL) != (unmeasured_because IS NOT NULL) OR repurchase_rate < repurchase_rate_low"
            " OR repurchase_rate > repurchase_rate_high",
        ),
        Rule(
            "holdouts_leave_half",
            "A holdout is at most half of its segment.",
            "SELECT segment_id, holdout_customers, customers FROM {batch} JOIN segments.segment_profiles"
            " USING (segment_id, as_of) WHERE 2 * holdout_customers > customers",
        ),
    ),
)
