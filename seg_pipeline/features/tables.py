"""Descriptions of the feature tables, and the public R x F grid."""

from dataclasses import replace
from pathlib import Path

from seg_pipeline.tables import (
    AS_OF,
    CUSTOMER_ID,
    Column,
    Rule,
    Table,
    Unit,
    day,
    days,
    money,
    number,
    share,
    text,
)

RULES = Path(__file__).parent / "rules"

# The segment of customers without a purchase.
NO_PURCHASES = "No purchases"
NO_PURCHASES_ID = 0
# The condition, in SQL, that a row of rfm_features is a buyer: a customer with at least one purchase order.
IS_BUYER = "frequency > 0"

# The public R x F grid: the cells (r_score, f_score) that each name covers. rfm_features.sql has the same grid in SQL,
# and a test compares the two.
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


def feature(column: Column, title: str, unit: Unit = "number") -> Column:
    """Returns a column as a feature: models may use it, and charts and the report show it by its title."""
    return replace(column, title=title, unit=unit)


def score(name: str, description: str, title: str) -> Column:
    """Returns a column of scores, from 1 to 5, as a feature."""
    return feature(Column(name, "INTEGER", description, nullable=True, min_value=1, max_value=5), title)


RFM_FEATURES = Table(
    "features.rfm_features",
    "One row per customer and night: how recently, how often and for how much the customer bought, and in what way.",
    large=True,
    nightly=True,
    key=("customer_id",),
    columns=(
        AS_OF,
        CUSTOMER_ID,
        day("first_order_on", "Day of the first purchase; NULL without a purchase", nullable=True),
        day("last_order_on", "Day of the last purchase; NULL without a purchase", nullable=True),
        feature(
            days("recency_days", "Calendar days from the last purchase to the night", nullable=True),
            "Days since last order",
        ),
        feature(Column("frequency", "INTEGER", "Distinct purchase orders", min_value=0), "Orders"),
        feature(money("monetary", "Value of all lines, net of returns, in the shop's currency"), "Spend", "money"),
        feature(
            number("avg_order_value", "Monetary per purchase order, in the shop's currency", nullable=True),
            "Average order value",
            "money",
        ),
        feature(
            days("tenure_days", "Calendar days from the first purchase to the night", nullable=True),
            "Days since first order",
        ),
        feature(
            number(
                "days_between_orders",
                "Mean number of days between purchase days; NULL if there is only one",
                nullable=True,
                min_value=0,
            ),
            "Days between orders",
        ),
        feature(number("return_rate", "Returned value over purchased value", min_value=0), "Return rate", "share"),
        feature(number("units_per_order", "Units per purchase order", nullable=True, min_value=0), "Units per order"),
        feature(
            number("lines_per_order", "Order lines per purchase order", nullable=True, min_value=0), "Lines per order"
        ),
        feature(Column("active_months", "INTEGER", "Calendar months with a purchase", min_value=0), "Active months"),
        feature(
            share("recent_share", "Share of the purchased value that was bought in the last 90 days", nullable=True),
            "Recent share",
            "share",
        ),
        score("r_score", "Recency score, 1 to 5; 5 for the most recent buyers", "Recency score"),
        score("f_score", "Frequency score, 1 to 5; 5 for the most orders", "Frequency score"),
        score("m_score", "Monetary score, 1 to 5; 5 for the highest value", "Monetary score"),
        text("rfm_segment", "Segment in the public R x F grid", values=(*GRID_CELLS, NO_PURCHASES)),
    ),
    rules=(
        Rule(
            "customers_conserved",
            "Every customer with a clean line before the night has a row, and no one else has.",
            "SELECT customer_id FROM (SELECT DISTINCT customer_id FROM prepared.clean_orders WHERE ordered_at < :as_of)"
            " AS clean FULL JOIN {batch} USING (customer_id) WHERE as_of IS NULL OR clean.customer_id IS NULL",
        ),
        Rule(
            "money_conserved",
            "The customers' monetary adds up exactly to the clean lines before the night.",
            "SELECT of_customers, of_lines FROM (SELECT (SELECT sum(monetary) FROM {batch}) AS of_customers, (SELECT"
            " sum(amount) FROM prepared.clean_orders WHERE ordered_at < :as_of) AS of_lines)"
            " WHERE of_customers IS DISTINCT FROM of_lines",
        ),
        Rule(
            "buyers_complete",
            "Every customer with a purchase has a recency, a tenure and three scores.",
            f"SELECT customer_id FROM {{batch}} WHERE {IS_BUYER} AND (recency_days IS NULL OR tenure_days IS NULL"
            " OR r_score IS NULL OR f_score IS NULL OR m_score IS NULL)",
        ),
        Rule(
            "some_buyers",
            "At least one customer has a purchase.",
            "SELECT 'no customer has a purchase' AS problem FROM {batch} HAVING coalesce(max(frequency), 0) = 0",
        ),
        Rule(
            "orders_still_arrive",
            "The day before the night has orders, or usually has none. The check warns on the first two nights without"
            " orders, and then every week.",
            RULES / "orders_still_arrive.sql",
            "warning",
        ),
    ),
)

LIFECYCLES = ("new", "active", "overdue", "lapsed", "lost")

CUSTOMER_RHYTHM = Table(
    "features.customer_rhythm",
    "One row per customer with a purchase and night: how often they usually buy, how long they have been silent by"
    " that measure, and what that makes of them.",
    large=True,
    nightly=True,
    key=("customer_id",),
    columns=(
        AS_OF,
        CUSTOMER_ID,
        number(
            "usual_gap_days",
            "Median days between the customer's order days, or, as long as there is one, between those of all"
            " customers; NULL if nobody has two",
            nullable=True,
            min_value=1,
        ),
        number("days_overdue_ratio", "Days since the last purchase over the usual gap", nullable=True, min_value=0),
        text(
            "lifecycle",
            "The first that applies: new (one order, at most rhythm.new_days old), active (ratio up to"
            " rhythm.active_ratio), overdue (up to rhythm.overdue_ratio), lost (beyond, and silent for longer than"
            " rhythm.lost_share of the gaps after which any customer came back), lapsed",
            values=LIFECYCLES,
        ),
    ),
    rules=(
        Rule(
            "buyers_conserved",
            "Every customer with a purchase has a row, and no one else has.",
            "SELECT customer_id FROM (SELECT customer_id FROM features.rfm_features WHERE as_of = :as_of AND"
            f" {IS_BUYER}) AS buyers FULL JOIN {{batch}} USING (customer_id)"
            " WHERE as_of IS NULL OR buyers.customer_id IS NULL",
        ),
        Rule(
            "all_have_a_gap_or_none",
            "Either every customer has a usual gap, or nobody has, because no customer has two order days.",
            "SELECT count(*) AS customers, count(usual_gap_days) AS with_gap FROM {batch}"
            " HAVING count(usual_gap_days) NOT IN (0, count(*))",
        ),
    ),
)

# The columns that models may use and charts show, by name.
FEATURES = {column.name: column for column in RFM_FEATURES.columns if column.title}

FEATURE_TRANSFORMS = Table(
    "features.feature_transforms",
    "One row per modelling feature and night: the steps, in plain numbers, that make its values comparable with those"
    " of other features. They are applied in the order of the columns.",
    nightly=True,
    key=("feature",),
    columns=(
        AS_OF,
        Column("position", "INTEGER", "Column of the feature in the matrix, from 0", min_value=0),
        text("feature", "Column of rfm_features"),
        number("fill", "Replaces a missing value: the median of the other values"),
        text(
            "transform",
            "identity, log1p as sign(x) log(1 + |x|), or yeo-johnson",
            values=("identity", "log1p", "yeo-johnson"),
        ),
        number("lambda", "Exponent of yeo-johnson", nullable=True),
        number("low", "Lower values count as this one; NULL without a limit (features.clip)", nullable=True),
        number("high", "Higher values count as this one; NULL without a limit", nullable=True),
        number("center", "Is subtracted: the mean, the median, or 0"),
        number("scale", "Is divided by: the standard deviation, the interquartile range, or 1", min_value=0),
        number("weight", "Is multiplied by", min_value=0),
    ),
)
