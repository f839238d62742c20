"""The views of the published database: what most readers ask for, joined, so that a BI tool needs no query of its own.

A column that is one of a published table has the meaning that the table says; only what is computed is described here.
"""

from collections.abc import Iterable
from dataclasses import dataclass

from seg_pipeline.features.tables import RFM_FEATURES
from seg_pipeline.segments.tables import SEGMENT_ASSIGNMENTS, SEGMENT_MIGRATION, SEGMENT_PROFILES, SEGMENT_STRATEGIES
from seg_pipeline.tables import Table


@dataclass(frozen=True, slots=True)
class ViewColumn:
    """A column of a view: its meaning, and the SQL expression over published tables that it is."""

    name: str
    description: str
    expression: str


@dataclass(frozen=True, slots=True)
class View:
    """A view over published tables, which go by their names without a schema."""

    name: str
    description: str
    columns: tuple[ViewColumn, ...]
    source: str

    @property
    def query(self) -> str:
        chosen = ", ".join(f'{column.expression} AS "{column.name}"' for column in self.columns)
        return f"SELECT {chosen} FROM {self.source}"


def columns_of(table: Table, *names: str) -> Iterable[ViewColumn]:
    """Columns of a table as they are, with its meanings."""
    known = {column.name: column.description for column in table.columns}
    return (ViewColumn(name, known[name], f"{table.short_name}.{name}") for name in names)


ACTIONS = ("objective", "marketing", "sales", "service")

CUSTOMERS = View(
    "customers",
    "One row per customer: the segment, how sure that is, what to do for them, and how they buy.",
    (
        *columns_of(SEGMENT_ASSIGNMENTS, "as_of", "customer_id", "segment_id", "segment_name", "confidence"),
        *columns_of(RFM_FEATURES, "monetary", "frequency", "recency_days", "first_order_on", "last_order_on"),
        *columns_of(RFM_FEATURES, "avg_order_value", "days_between_orders", "return_rate"),
        *columns_of(RFM_FEATURES, "r_score", "f_score", "m_score", "rfm_segment"),
        *columns_of(SEGMENT_STRATEGIES, *ACTIONS),
    ),
    "segment_assignments JOIN rfm_features USING (as_of, customer_id)"
    " JOIN segment_strategies USING (as_of, segment_id)",
)

SEGMENT_OVERVIEW = View(
    "segment_overview",
    "One row per segment: who they are, what they are worth, what to do for them and what it may cost.",
    (
        *columns_of(SEGMENT_PROFILES, "as_of", "segment_id", "segment_name", "customers", "share", "revenue"),
        ViewColumn(
            "revenue_per_customer",
            "Mean monetary of its customers, in the shop's currency",
            "CAST(segment_profiles.revenue / segment_profiles.customers AS DOUBLE)",
        ),
        *columns_of(SEGMENT_PROFILES, "revenue_share", "active_share", "headroom"),
        *columns_of(SEGMENT_PROFILES, "median_recency_days", "median_frequency", "median_monetary"),
        *columns_of(SEGMENT_PROFILES, "mean_confidence", "stability", "name_reason", "rule"),
        *columns_of(SEGMENT_STRATEGIES, *ACTIONS, "budget", "budget_share", "contacts", "holdout_customers"),
    ),
    "segment_profiles JOIN segment_strategies USING (as_of, segment_id)",
)

MIGRATION = View(
    "migration",
    "Who moved from where to where since an earlier night, and which part of the segment that is; two nights are"
    " compared with this one, see segment_migration.",
    (
        *columns_of(SEGMENT_MIGRATION, "from_as_of", "to_as_of", "from_segment_id", "from_segment_name"),
        *columns_of(SEGMENT_MIGRATION, "to_segment_id", "to_segment_name", "customers"),
        ViewColumn(
            "share_of_from",
            "Share of the customers of the earlier segment who went that way",
            "segment_migration.customers / sum(segment_migration.customers) OVER (PARTITION BY from_as_of,"
            " from_segment_id)",
        ),
        ViewColumn("stayed", "Whether they are in the segment that they were in", "from_segment_id = to_segment_id"),
    ),
    "segment_migration",
)

VIEWS = (CUSTOMERS, SEGMENT_OVERVIEW, MIGRATION)
