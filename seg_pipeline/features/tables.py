"""The tables of this room, and the public R x F grid."""

from seg_pipeline.tables import Column, Rule, Table

NO_PURCHASES = "No purchases"

# The public R x F grid: name -> the cells (r_score, f_score) it covers. rfm_features.sql says the same in SQL; a test
# holds them equal.
GRID_CELLS: dict[str, frozenset[tuple[int, int]]] = {
    name: frozenset((r, f) for r in recency for f in frequency)
    for name, recency, frequency in (
        ("Champions", (5,), (4, 5)),
        ("Loyal Customers", (3, 4), (4, 5)),
        ("Potential Loyalists", (4, 5), (2, 3)),
        ("New Customers", (5,), (1,)),
        ("Promising", (4,), (1,)),
        ("Need Attention", (3,), (3,)),
        ("About to Sleep", (3,), (1, 2)),
        ("Can't Lose", (1, 2), (5,)),
        ("At Risk", (1, 2), (3, 4)),
        ("Hibernating", (1, 2), (1, 2)),
    )
}

AS_OF = Column("as_of", "DATE", "The night: orders before this day count")

RFM_FEATURES = Table(
    "features.rfm_features",
    "One row per customer and night: how recently, how often and for how much they bought, and how they buy.",
    large=True,
    nightly=True,
    key=("customer_id",),
    columns=(
        AS_OF,
        Column("customer_id", "VARCHAR", "Customer"),
        Column("first_order_on", "DATE", "Day of the first purchase; NULL without one", nullable=True),
        Column("last_order_on", "DATE", "Day of the last purchase; NULL without one", nullable=True),
        Column(
            "recency_days",
            "INTEGER",
            "Calendar days from the last purchase to the night",
            nullable=True,
            min_value=1,
            title="Days since last order",
        ),
        Column("frequency", "INTEGER", "Distinct purchase orders", min_value=0, title="Orders"),
        Column(
            "monetary",
            "DECIMAL(18, 4)",
            "Value of all lines, net of returns, in the shop's currency",
            title="Spend",
            unit="money",
        ),
        Column(
            "avg_order_value",
            "DOUBLE",
            "Monetary per purchase order",
            nullable=True,
            title="Average order value",
            unit="money",
        ),
        Column(
            "tenure_days",
            "INTEGER",
            "Calendar days from the first purchase to the night",
            nullable=True,
            min_value=1,
            title="Days since first order",
        ),
        Column(
            "days_between_orders",
            "DOUBLE",
            "Mean days between purchase days; NULL with one",
            nullable=True,
            min_value=0,
            title="Days between orders",
        ),
        Column(
            "return_rate",
            "DOUBLE",
            "Returned value over purchased value",
            min_value=0,
            title="Return rate",
            unit="share",
        ),
        Column(
            "units_per_order", "DOUBLE", "Units per purchase order", nullable=True, min_value=0, title="Units per order"
        ),
        Column(
            "lines_per_order",
            "DOUBLE",
            "Order lines per purchase order",
            nullable=True,
            min_value=0,
            title="Lines per order",
        ),
        Column("active_months", "INTEGER", "Calendar months with a purchase", min_value=0, title="Active months"),
        Column(
            "recent_share",
            "DOUBLE",
            "Share of the purchased value that lies in the last 90 days",
            nullable=True,
            min_value=0,
            max_value=1,
            title="Recent share",
            unit="share",
        ),
        Column(
            "r_score",
            "INTEGER",
            "Recency, 1 to 5, 5 the newest buyers",
            nullable=True,
            min_value=1,
            max_value=5,
            title="Recency score",
        ),
        Column(
            "f_score",
            "INTEGER",
            "Frequency, 1 to 5, 5 the most orders",
            nullable=True,
            min_value=1,
            max_value=5,
            title="Frequency score",
        ),
        Column(
            "m_score",
            "INTEGER",
            "Monetary, 1 to 5, 5 the most valuable",
            nullable=True,
            min_value=1,
            max_value=5,
            title="Monetary score",
        ),
        Column(
            "rfm_segment", "VARCHAR", "Name of the cell in the public R x F grid", values=(*GRID_CELLS, NO_PURCHASES)
        ),
    ),
    rules=(
        Rule(
            "customers_conserved",
            "Every customer with a clean line before the night has a row, and no one else.",
            "SELECT customer_id FROM (SELECT DISTINCT customer_id FROM prepared.clean_orders WHERE ordered_at < :as_of)"
            " AS clean FULL JOIN {batch} USING (customer_id) WHERE as_of IS NULL OR clean.customer_id IS NULL",
        ),
        Rule(
            "money_conserved",
            "The customers' monetary adds up to the clean lines before the night, to the last digit.",
            "SELECT * FROM (SELECT (SELECT sum(monetary) FROM {batch}) AS of_customers, (SELECT sum(amount) FROM"
            " prepared.clean_orders WHERE ordered_at < :as_of) AS of_lines) WHERE of_customers != of_lines",
        ),
        Rule(
            "prices_as_before",
            "The median price of a unit on the last order day is that of the four weeks before, but for a factor of"
            " drift.price_ratio_critical; days of fewer than 20 lines are not judged.",
            "SELECT last_day, price, price_before FROM"
            " (SELECT max(day) AS last_day, median(unit) FILTER (is_last) AS price,"
            " median(unit) FILTER (NOT is_last) AS price_before, count(*) FILTER (is_last) AS lines"
            " FROM (SELECT *, day = max(day) OVER () AS is_last"
            " FROM (SELECT CAST(ordered_at AS DATE) AS day, CAST(amount AS DOUBLE) / quantity AS unit"
            " FROM prepared.clean_orders WHERE NOT is_return AND amount > 0"
            " AND ordered_at < :as_of AND ordered_at >= :as_of - 29)))"
            " WHERE lines >= 20 AND EXISTS (SELECT * FROM {batch})"
            " AND greatest(price / price_before, price_before / price) > :drift.price_ratio_critical",
        ),
        Rule(
            "buyers_complete",
            "Who bought has dates, a recency and three scores.",
            "SELECT customer_id FROM {batch} WHERE frequency > 0 AND (recency_days IS NULL OR tenure_days IS NULL"
            " OR r_score IS NULL OR f_score IS NULL OR m_score IS NULL)",
        ),
        Rule(
            "some_buyers",
            "Some customer bought something.",
            "SELECT 'no customer has a purchase' AS problem FROM {batch} HAVING coalesce(max(frequency), 0) = 0",
        ),
        Rule(
            "night_near_last_order",
            "The last purchase is at most a week before the night: orders keep arriving.",
            "SELECT max(last_order_on) AS last_order_on FROM {batch} HAVING max(last_order_on) < :as_of - 8",
            "warning",
        ),
    ),
)

# What models may use and charts show.
FEATURES = {column.name: column for column in RFM_FEATURES.columns if column.title}

FEATURE_TRANSFORMS = Table(
    "features.feature_transforms",
    "One row per modelling feature and night: how its values become comparable. Plain numbers, applied in this order.",
    nightly=True,
    key=("feature",),
    columns=(
        AS_OF,
        Column("position", "INTEGER", "Place in the matrix, from 0", min_value=0),
        Column("feature", "VARCHAR", "Column of rfm_features"),
        Column("fill", "DOUBLE", "Stands for a missing value: the median of the others"),
        Column(
            "transform",
            "VARCHAR",
            "identity, log1p as sign(x) log(1 + |x|), or yeo-johnson",
            values=("identity", "log1p", "yeo-johnson"),
        ),
        Column("lambda", "DOUBLE", "Exponent of yeo-johnson", nullable=True),
        Column("center", "DOUBLE", "Subtracted: the mean, the median, or 0"),
        Column("scale", "DOUBLE", "Divided by: the standard deviation, the interquartile range, or 1", min_value=0),
        Column("weight", "DOUBLE", "Multiplied by, last", min_value=0),
    ),
)
