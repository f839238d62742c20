"""The views of the published database: what most readers ask for, joined, so that a BI tool needs no own query.

The column of a published table keeps its description; only computed columns are described here.
"""

from collections.abc import Iterable
from dataclasses import dataclass

from seg_pipeline.features.tables import CUSTOMER_RHYTHM, LIFECYCLES, RFM_FEATURES
from seg_pipeline.segments.measurement import COLUMNS as MEASURED_COLUMNS
from seg_pipeline.segments.strategies import ACTION_COLUMNS
from seg_pipeline.segments.tables import (
    ADVICE_ACTIONS,
    SEGMENT_ASSIGNMENTS,
    SEGMENT_MIGRATION,
    SEGMENT_MOVES,
    SEGMENT_PROFILES,
    SEGMENT_STRATEGIES,
)
from seg_pipeline.tables import Table


@dataclass(frozen=True, slots=True)
class ViewColumn:
    """A column of a view: its name, its meaning, and its SQL expression over published tables."""

    name: str
    description: str
    expression: str


@dataclass(frozen=True, slots=True)
class View:
    """A view over published tables; its SQL names them without a schema."""

    name: str
    description: str
    columns: tuple[ViewColumn, ...]
    source: str

    @property
    def query(self) -> str:
        columns = ", ".join(f'{column.expression} AS "{column.name}"' for column in self.columns)
        return f"SELECT {columns} FROM {self.source}"


def columns_of(table: Table, *names: str) -> Iterable[ViewColumn]:
    """Returns columns of a table, unchanged, with their descriptions."""
    descriptions = {column.name: column.description for column in table.columns}
    return (ViewColumn(name, descriptions[name], f"{table.short_name}.{name}") for name in names)


CUSTOMERS = View(
    "customers",
    "One row per customer: the segment, how sure that is, how they buy, where they are in their own rhythm, and"
    " what to do for them.",
    (
        *columns_of(SEGMENT_ASSIGNMENTS, "as_of", "customer_id", "segment_id", "segment_name", "confidence"),
        *columns_of(RFM_FEATURES, "monetary", "frequency", "recency_days", "first_order_on", "last_order_on"),
        *columns_of(RFM_FEATURES, "avg_order_value", "days_between_orders", "return_rate"),
        *columns_of(RFM_FEATURES, "r_score", "f_score", "m_score", "rfm_segment"),
        *columns_of(SEGMENT_ASSIGNMENTS, "lifecycle"),
        *columns_of(CUSTOMER_RHYTHM, "usual_gap_days", "days_overdue_ratio"),
        *columns_of(SEGMENT_ASSIGNMENTS, "advice"),
        *columns_of(ADVICE_ACTIONS, *ACTION_COLUMNS),
    ),
    "segment_assignments JOIN rfm_features USING (as_of, customer_id)"
    " JOIN advice_actions USING (as_of, advice)"
    # Customers without a purchase have no rhythm.
    " LEFT JOIN customer_rhythm USING (as_of, customer_id)",
)

SEGMENT_OVERVIEW = View(
    "segment_overview",
    "One row per segment: who they are, what they are worth, what to do for them, what such customers went on to do,"
    " and the budget if there is one.",
    (
        *columns_of(SEGMENT_PROFILES, "as_of", "segment_id", "segment_name", "customers", "share", "revenue"),
        ViewColumn(
            "revenue_per_customer",
            "Mean monetary of its customers, in the shop's currency",
            "CAST(segment_profiles.revenue / segment_profiles.customers AS DOUBLE)",
        ),
        *columns_of(SEGMENT_PROFILES, "revenue_share", "active_share", "headroom"),
        *columns_of(SEGMENT_PROFILES, "median_recency_days", "median_frequency", "median_monetary"),
        *columns_of(SEGMENT_PROFILES, *(f"lifecycle_{name}" for name in LIFECYCLES)),
        *columns_of(SEGMENT_PROFILES, "mean_confidence", "stability", "name_reason", "rule"),
        *columns_of(SEGMENT_STRATEGIES, *ACTION_COLUMNS, *MEASURED_COLUMNS, "unmeasured_because", "disagreement"),
        *columns_of(SEGMENT_STRATEGIES, "budget", "budget_share", "contacts", "contacts_per_customer"),
        *columns_of(SEGMENT_STRATEGIES, "holdout_customers"),
    ),
    "segment_profiles JOIN segment_strategies USING (as_of, segment_id)",
)

MIGRATION = View(
    "migration",
    "How many customers moved from one segment to another since an earlier night, and their share of the earlier"
    " segment; two earlier nights are compared with this one, see segment_migration.",
    (
        *columns_of(SEGMENT_MIGRATION, "from_as_of", "to_as_of", "from_segment_id", "from_segment_name"),
        *columns_of(SEGMENT_MIGRATION, "to_segment_id", "to_segment_name", "customers"),
        ViewColumn(
            "share_of_from",
            "Share of the customers of the earlier segment who moved this way",
            "segment_migration.customers / sum(segment_migration.customers) OVER (PARTITION BY from_as_of,"
            " from_segment_id)",
        ),
        ViewColumn(
            "stayed", "Whether the customers are still in their earlier segment", "from_segment_id = to_segment_id"
        ),
    ),
    "segment_migration",
)

MOVES = View(
    "moves",
    "The customers who moved by themselves, are new or are gone, and what to do for them: segment_moves without the"
    " moves of a new model.",
    (
        *columns_of(SEGMENT_MOVES, "as_of", "customer_id", "from_as_of", "from_segment_id", "from_segment_name"),
        *columns_of(SEGMENT_MOVES, "segment_id", "segment_name", "moved_by", "monetary"),
        *columns_of(SEGMENT_ASSIGNMENTS, "lifecycle", "advice"),
        *columns_of(ADVICE_ACTIONS, *ACTION_COLUMNS),
    ),
    # Those who are gone have no advice.
    "segment_moves LEFT JOIN segment_assignments USING (as_of, customer_id)"
    " LEFT JOIN advice_actions USING (as_of, advice) WHERE moved_by != 'model'",
)

VIEWS = (CUSTOMERS, SEGMENT_OVERVIEW, MIGRATION, MOVES)
