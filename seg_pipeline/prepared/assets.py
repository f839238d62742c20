"""The door of the prepared room: clean and rejected orders, built together so that no line is lost between them, and
what each day and delivery brought."""

from collections.abc import Iterator

import dagster as dg

from seg_pipeline.prepared.cleaning import clean
from seg_pipeline.prepared.day_figures import findings, newest_days, update_day_figures
from seg_pipeline.prepared.tables import CLEAN_ORDERS, CLEANED_FILES, DAY_FIGURES, REASONS, REJECTED_ORDERS
from seg_pipeline.raw.tables import DELIVERIES, RAW_ORDERS
from seg_pipeline.ui import table_of
from seg_pipeline.wiring import Room, Shop


def assets_of(shop: Shop) -> Room:
    """Returns the prepared room: each raw line is in clean_orders or rejected_orders, and each day is judged."""
    room = shop.room("prepared", nightly=False)
    delivered = [RAW_ORDERS, DELIVERIES]

    @room.tables({CLEAN_ORDERS: delivered, REJECTED_ORDERS: delivered, CLEANED_FILES: delivered}, kinds={"sql"})
    def prepared_orders(context: dg.AssetExecutionContext) -> Iterator[dg.MaterializeResult]:
        warehouse, settings = shop.warehouse(context), shop.settings_of(context)
        with warehouse.get_connection() as connection:
            clean_before, rejected_before = warehouse.count(CLEAN_ORDERS), warehouse.count(REJECTED_ORDERS)
            dates = clean(connection, settings)
        summary = warehouse.read(
            "SELECT count(*) AS lines, count(DISTINCT customer_id) AS customers,"
            " count(*) FILTER (is_return) AS returned_lines, CAST(sum(amount) AS VARCHAR) AS revenue,"
            " min(ordered_at) AS first_order, max(ordered_at) AS last_order"
            f" FROM {CLEAN_ORDERS.name}"
        ).iloc[0]
        reasons = warehouse.read(
            f"SELECT reason, count(*) AS lines FROM {REJECTED_ORDERS.name} GROUP BY ALL ORDER BY lines DESC, reason"
        )
        reasons["meaning"] = reasons["reason"].map(REASONS)
        lines, rejected = int(summary["lines"]), int(reasons["lines"].sum())
        yield dg.MaterializeResult(
            asset_key=shop.key(CLEAN_ORDERS),
            metadata={
                "dagster/row_count": lines,
                "rows_since_run_before": lines - clean_before,
                "customers": int(summary["customers"]),
                "returned_lines": int(summary["returned_lines"]),
                "revenue": float(summary["revenue"] or 0),
                "first_order": str(summary["first_order"]),
                "last_order": str(summary["last_order"]),
            },
        )
        yield dg.MaterializeResult(
            asset_key=shop.key(REJECTED_ORDERS),
            metadata={
                "dagster/row_count": rejected,
                "rows_since_run_before": rejected - rejected_before,
                "rejected_share": round(rejected / max(lines + rejected, 1), 4),
                "reasons": table_of(reasons),
            },
        )
        yield dg.MaterializeResult(
            asset_key=shop.key(CLEANED_FILES),
            metadata={"dagster/row_count": warehouse.count(CLEANED_FILES), "dates": dates.name},
        )

    @room.asset(DAY_FIGURES, kinds={"sql"}, deps=[CLEAN_ORDERS, REJECTED_ORDERS, CLEANED_FILES])
    def day_figures(context: dg.AssetExecutionContext) -> dg.MaterializeResult:
        from seg_pipeline.plotting.days import day_trends

        warehouse, settings = shop.warehouse(context), shop.settings_of(context)
        with warehouse.get_connection() as connection:
            update_day_figures(connection, settings.days)
        days = newest_days(warehouse)
        return dg.MaterializeResult(
            metadata={
                "dagster/row_count": warehouse.count(DAY_FIGURES),
                "findings": table_of(findings(warehouse)),
                **(shop.picture(lambda: day_trends(days), "Order days") if len(days) else {}),
            }
        )

    return room
