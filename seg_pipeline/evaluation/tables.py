"""The tables of this room."""

from seg_pipeline.evaluation.value import RANDOM, Figures
from seg_pipeline.features.tables import AS_OF
from seg_pipeline.models.registry import ALGORITHMS, BASELINE
from seg_pipeline.models.tables import METRICS
from seg_pipeline.tables import Column, Rule, Table

EVALUATION_REPORT = Table(
    "evaluation.evaluation_report",
    "One row per candidate of a night: all metrics, its rank by the rule, whether it was chosen, and why or why not.",
    nightly=True,
    key=("algorithm", "k"),
    columns=(
        AS_OF,
        Column("algorithm", "VARCHAR", f"Algorithm; {BASELINE} is the public R x F grid, the baseline"),
        Column("k", "INTEGER", "Number of segments", min_value=1),
        *METRICS,
        Column(
            "value",
            "DOUBLE",
            "Explained share of next-period revenue when fitted at the value test's cutoff; NULL where not tested",
            nullable=True,
            min_value=0,
            max_value=1,
        ),
        Column("eligible", "BOOLEAN", "Passes the gates of the selection settings"),
        Column(
            "score",
            "DOUBLE",
            "Weighted mean of silhouette, explained share, stability and value, of those that were measured",
            min_value=0,
            max_value=1,
        ),
        Column("is_elbow", "BOOLEAN", "The algorithm's k by the elbow (inertia; of a mixture, BIC)"),
        Column("is_best_silhouette", "BOOLEAN", "The algorithm's k by silhouette alone"),
        Column(
            "rank", "INTEGER", "Place among the eligible candidates by the rule, 1 the best", nullable=True, min_value=1
        ),
        Column("chosen", "BOOLEAN", "The model that the segments come from"),
        Column("reason", "VARCHAR", "Why it was or was not chosen"),
    ),
    rules=(
        Rule(
            "one_chosen",
            "Exactly one candidate is chosen.",
            "SELECT count(*) FILTER (chosen) AS chosen FROM {batch} HAVING count(*) FILTER (chosen) != 1",
        ),
        Rule(
            "a_fitted_model_chosen",
            "A fitted model is good enough: the grid is not the fallback.",
            f"SELECT algorithm, reason FROM {{batch}} WHERE chosen AND algorithm = '{BASELINE}'",
            "warning",
        ),
    ),
)


CHOICE_SENSITIVITY = Table(
    "evaluation.choice_sensitivity",
    "What would have been chosen on a night if the weights of the rule were others.",
    nightly=True,
    key=("scenario",),
    columns=(
        AS_OF,
        Column("scenario", "VARCHAR", "The setting that is moved, and to what"),
        Column("algorithm", "VARCHAR", "Algorithm of the winner"),
        Column("k", "INTEGER", "Number of segments of the winner", min_value=1),
    ),
)


VALUE_WINDOW = Table(
    "evaluation.value_window",
    "The value test of a night: the window that was held back, and what all its customers did in it; or why there is"
    " no test.",
    nightly=True,
    key=("cutoff",),
    columns=(
        AS_OF,
        Column("cutoff", "DATE", "First day that was held back: segments know the orders before it"),
        Column("window_days", "INTEGER", "Days from the cutoff to the night", min_value=1),
        Column("customers", "BIGINT", "Customers with a purchase before the cutoff", nullable=True, min_value=1),
        Column("sampled", "BOOLEAN", "Whether they are a sample of those that there were", nullable=True),
        Column("repurchase_rate", "DOUBLE", "Share of them who bought", nullable=True, min_value=0, max_value=1),
        Column("orders", "BIGINT", "Purchase orders that they placed", nullable=True, min_value=0),
        Column("revenue", "DECIMAL(18, 4)", "Value of all their lines, net of returns", nullable=True),
        Column("best_gini", "DOUBLE", "Gini of the perfect order, customers by what they came to bring", nullable=True),
        Column("untested_because", "VARCHAR", "Why there is no test; NULL where there is one", nullable=True),
    ),
    rules=(
        Rule(
            "window_before_the_night",
            "The window ends with the night: no order on or after it is looked at.",
            "SELECT cutoff, window_days FROM {batch} WHERE cutoff + window_days != :as_of",
        ),
        Rule(
            "tested_or_why_not",
            "There are figures, or a reason why there are none.",
            "SELECT * FROM {batch} WHERE (customers IS NULL) = (untested_because IS NULL)",
        ),
        Rule(
            "revenue_conserved",
            "The revenue is that of the clean lines of the window, of the customers who had bought before, unless they"
            " are a sample.",
            "SELECT revenue, of_lines FROM {batch}, (SELECT sum(amount) AS of_lines FROM prepared.clean_orders"
            " WHERE ordered_at < :as_of AND ordered_at >= (SELECT min(cutoff) FROM {batch}) AND customer_id IN"
            " (SELECT customer_id FROM prepared.clean_orders WHERE NOT is_return AND ordered_at < (SELECT min(cutoff)"
            " FROM {batch}))) WHERE NOT sampled AND abs(revenue - of_lines) > 0.01",
        ),
    ),
)

_FIGURES = {
    "explained_share": ("Share of the variance of log revenue in the window that lies between segments", 0, 1),
    "gini": ("Gini index of the revenue reached when the segments are targeted by their mean spend so far", None, None),
    "lift": ("Revenue reached so with the first 20 % of customers, over what as many random ones bring", None, None),
}


def _figure_columns(name: str) -> list[Column]:
    meaning, low, high = _FIGURES[name]
    return [
        Column(name, "DOUBLE", meaning, nullable=True, min_value=low, max_value=high),
        Column(f"{name}_low", "DOUBLE", "Lower end of its 95 % bootstrap interval", nullable=True),
        Column(f"{name}_high", "DOUBLE", "Upper end of it", nullable=True),
        Column(f"{name}_over_grid", "DOUBLE", "The same less that of the R x F grid", nullable=True),
        Column(f"{name}_over_grid_low", "DOUBLE", "Lower end of the difference's interval", nullable=True),
        Column(f"{name}_over_grid_high", "DOUBLE", "Upper end of it", nullable=True),
    ]


SEGMENTATION = (
    AS_OF,
    Column(
        "algorithm",
        "VARCHAR",
        f"Algorithm; {BASELINE} is the public R x F grid, random as many segments by chance, in random order",
        values=(*ALGORITHMS, RANDOM),
    ),
    Column("k", "INTEGER", "Number of segments", min_value=1),
)

VALUE_TEST = Table(
    "evaluation.value_test",
    "One row per segmentation as of the cutoff: how much of the revenue after it the segments explain, and how much of"
    " it one reaches by targeting the best of them first. Empty where there is no test.",
    nightly=True,
    key=("algorithm", "k"),
    may_be_empty=True,
    columns=(*SEGMENTATION, *(column for name in Figures._fields for column in _figure_columns(name))),
    rules=(
        Rule(
            "intervals_in_order",
            "No interval ends before it begins.",
            "SELECT algorithm, k FROM {batch} WHERE "
            + " OR ".join(f"{name}{of}_low > {name}{of}_high" for name in Figures._fields for of in ("", "_over_grid")),
        ),
        Rule(
            "chance_explains_less",
            "Random segments explain less of the revenue than the best fitted ones: the features tell something.",
            "SELECT random.explained_share AS by_chance, fitted.explained_share AS fitted FROM"
            f" (SELECT * FROM {{batch}} WHERE algorithm = '{RANDOM}') AS random,"
            " (SELECT max(explained_share) AS explained_share FROM {batch}"
            f" WHERE algorithm NOT IN ('{RANDOM}', '{BASELINE}')) AS fitted"
            " WHERE random.explained_share >= fitted.explained_share",
            "warning",
        ),
    ),
)

VALUE_BY_SEGMENT = Table(
    "evaluation.value_by_segment",
    "One row per segment as of the cutoff: who was in it then, and what they really did in the window.",
    nightly=True,
    key=("algorithm", "k", "segment"),
    may_be_empty=True,
    columns=(
        *SEGMENTATION,
        Column("segment", "INTEGER", "Place by mean spend at the cutoff, 1 the highest; of random, any", min_value=1),
        Column("customers", "BIGINT", "Customers in it", min_value=1),
        Column("median_recency_days", "DOUBLE", "Median days since the last purchase, at the cutoff", min_value=0),
        Column("median_frequency", "DOUBLE", "Median purchase orders, at the cutoff", min_value=1),
        Column("median_monetary", "DOUBLE", "Median spend, at the cutoff"),
        Column("repurchase_rate", "DOUBLE", "Share who bought in the window", min_value=0, max_value=1),
        Column("orders", "BIGINT", "Purchase orders in the window", min_value=0),
        Column("revenue", "DECIMAL(18, 4)", "Value of all lines in the window, net of returns"),
        Column("revenue_per_customer", "DOUBLE", "Revenue over customers, those who did not buy included"),
    ),
    rules=(
        Rule(
            "segments_add_up",
            "The segments of each segmentation hold every customer once, and all orders and revenue of the window.",
            "SELECT * FROM (SELECT algorithm, k, sum(customers) AS customers, sum(orders) AS orders,"
            " sum(revenue) AS revenue FROM {batch} GROUP BY algorithm, k) AS sums JOIN evaluation.value_window AS whole"
            " ON whole.as_of = :as_of WHERE sums.customers != whole.customers OR sums.orders != whole.orders"
            " OR abs(sums.revenue - whole.revenue) > 0.01",
        ),
        Rule(
            "every_segmentation_here",
            "What is in value_test is here, and nothing else.",
            "SELECT algorithm, k FROM (SELECT DISTINCT algorithm, k, 1 AS here FROM {batch}) AS parts FULL JOIN"
            " (SELECT algorithm, k, 1 AS tested FROM evaluation.value_test WHERE as_of = :as_of) AS wholes"
            " USING (algorithm, k) WHERE here IS NULL OR tested IS NULL",
        ),
    ),
)
