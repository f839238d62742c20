"""The door of this room: clean_orders and rejected_orders, built together so that no line is lost between them."""

from collections.abc import Iterator

import dagster as dg

from seg_pipeline.prepared.cleaning import clean
from seg_pipeline.prepared.tables import CLEAN_ORDERS, CLEANED_FILES, REASONS, REJECTED_ORDERS
from seg_pipeline.quality.suites import checks_of
from seg_pipeline.raw.tables import DELIVERIES, RAW_ORDERS
from seg_pipeline.settings import Settings
from seg_pipeline.tables import markdown
from seg_pipeline.warehouse import Warehouse


@dg.multi_asset(
    specs=[
        dg.AssetSpec(deps=[RAW_ORDERS.asset_key, DELIVERIES.asset_key], **table.asset(kinds={"sql"}))
        for table in (CLEAN_ORDERS, REJECTED_ORDERS, CLEANED_FILES)
    ]
)
def prepared_orders(
    context: dg.AssetExecutionContext, warehouse: Warehouse, settings: dg.ResourceParam[Settings]
) -> Iterator[dg.MaterializeResult]:
    with warehouse.get_connection() as connection:
        for table in (CLEAN_ORDERS, REJECTED_ORDERS):
            connection.create(table, or_replace=False)
        clean_before, rejected_before = warehouse.count(CLEAN_ORDERS), warehouse.count(REJECTED_ORDERS)
        dates = clean(connection, settings)
    summary = warehouse.read(
        "SELECT count(*) AS lines, count(DISTINCT customer_id) AS customers,"
        " count(*) FILTER (is_return) AS returned_lines, CAST(sum(amount) AS VARCHAR) AS revenue,"
        " min(ordered_at) AS first_order, max(ordered_at) AS last_order"
        " FROM prepared.clean_orders"
    ).iloc[0]
    rejected = warehouse.read(
        "SELECT reason, count(*) AS lines FROM prepared.rejected_orders GROUP BY ALL ORDER BY lines DESC, reason"
    )
    lines, lost = int(summary["lines"]), int(rejected["lines"].sum())
    yield dg.MaterializeResult(
        asset_key=CLEAN_ORDERS.asset_key,
        metadata={
            "dagster/row_count": lines,
            "rows_more": lines - clean_before,
            "customers": int(summary["customers"]),
            "returned_lines": int(summary["returned_lines"]),
            "revenue": float(summary["revenue"] or 0),
            "first_order": str(summary["first_order"]),
            "last_order": str(summary["last_order"]),
        },
    )
    rejected["meaning"] = rejected["reason"].map(REASONS)
    yield dg.MaterializeResult(
        asset_key=REJECTED_ORDERS.asset_key,
        metadata={
            "dagster/row_count": lost,
            "rows_more": lost - rejected_before,
            "rejected_share": round(lost / max(lines + lost, 1), 4),
            "reasons": dg.MetadataValue.md(markdown(rejected)),
        },
    )

    yield dg.MaterializeResult(
        asset_key=CLEANED_FILES.asset_key,
        metadata={"dagster/row_count": warehouse.count(CLEANED_FILES), "dates": dates.name},
    )


defs = dg.Definitions(
    assets=[prepared_orders],
    asset_checks=[checks_of(table) for table in (CLEAN_ORDERS, REJECTED_ORDERS, CLEANED_FILES)],
)
