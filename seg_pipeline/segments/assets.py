"""The door of the segments room: assigns customers, profiles segments, tracks who moved, and plans what to do."""

from collections.abc import Iterator

import dagster as dg

from seg_pipeline.features.tables import CUSTOMER_RHYTHM, FEATURES, RFM_FEATURES
from seg_pipeline.models.champions import champion_of
from seg_pipeline.models.tables import CHAMPIONS, FEATURE_DRIFT
from seg_pipeline.prepared.tables import CLEAN_ORDERS
from seg_pipeline.segments.assignment import assign_night, customers_by_advice
from seg_pipeline.segments.measurement import COLUMNS as MEASURED_COLUMNS
from seg_pipeline.segments.measurement import measure_segments
from seg_pipeline.segments.migration import (
    lost_customers,
    migrate_night,
    move_lists,
    nights_on_record,
    since_earliest_night,
)
from seg_pipeline.segments.strategies import ACTION_COLUMNS, BUDGET_COLUMNS, advice_actions, plan_strategies
from seg_pipeline.segments.tables import (
    ADVICE_ACTIONS,
    SEGMENT_ASSIGNMENTS,
    SEGMENT_HISTORY,
    SEGMENT_MIGRATION,
    SEGMENT_MOVES,
    SEGMENT_PROFILES,
    SEGMENT_STRATEGIES,
)
from seg_pipeline.ui import built, preview, table_of
from seg_pipeline.wiring import Room, Shop, checked_night, night_of

SIZE_COLUMNS = ["segment_id", "segment_name", "customers", "share", "revenue", "revenue_share"]
RULE_COLUMNS = ["segment_name", "rule", "rule_precision", "rule_recall"]
HOLDOUT_COLUMNS = ["base_rate", "holdout_customers", "smallest_effect"]


def assets_of(shop: Shop) -> Room:
    """Returns the segments room."""
    room = shop.room("segments", nightly=True)

    @room.tables(
        {
            SEGMENT_ASSIGNMENTS: [RFM_FEATURES, CUSTOMER_RHYTHM, FEATURE_DRIFT, CHAMPIONS],
            SEGMENT_PROFILES: [SEGMENT_ASSIGNMENTS],
        },
        kinds={"python"},
    )
    def labelled_customers(context: dg.AssetExecutionContext) -> Iterator[dg.MaterializeResult]:
        from seg_pipeline.plotting.notation import Notation
        from seg_pipeline.plotting.segments import feature_profiles, sizes_and_revenue

        warehouse, as_of = shop.warehouse(context), night_of(context)
        settings = shop.settings_of(context)
        champion = champion_of(warehouse, as_of)
        assign_night(warehouse, champion, as_of)
        profiles = warehouse.night(SEGMENT_PROFILES, as_of)
        yield built(
            warehouse,
            SEGMENT_ASSIGNMENTS,
            as_of,
            {
                "customers": int(profiles["customers"].sum()),
                "model_id": champion.model_id,
                "fitted_as_of": champion.fitted_as_of.isoformat(),
                "mean_confidence": round(float((profiles["mean_confidence"] * profiles["share"]).sum()), 4),
                "first_rows": preview(warehouse, SEGMENT_ASSIGNMENTS, as_of),
            },
            key=shop.key(SEGMENT_ASSIGNMENTS),
        )
        notation = Notation(settings.report.locale, settings.strategies.currency)
        yield built(
            warehouse,
            SEGMENT_PROFILES,
            as_of,
            {
                "segments": table_of(profiles[SIZE_COLUMNS]),
                "names": table_of(profiles[["segment_name", "name_reason"]]),
                "rules": table_of(profiles[RULE_COLUMNS]),
                "rule_fidelity": round(champion.rule_fidelity, 4),
                **shop.picture(lambda: sizes_and_revenue(profiles, notation=notation), "Sizes and revenue"),
                **shop.picture(lambda: feature_profiles(profiles, FEATURES, notation=notation), "Feature profiles"),
            },
            key=shop.key(SEGMENT_PROFILES),
            revenue="revenue",
        )

    @room.tables(
        {table: [SEGMENT_ASSIGNMENTS] for table in (SEGMENT_HISTORY, SEGMENT_MIGRATION, SEGMENT_MOVES)}, kinds={"sql"}
    )
    def migrated_customers(context: dg.AssetExecutionContext) -> Iterator[dg.MaterializeResult]:
        from seg_pipeline.plotting.segments import migration_flow

        warehouse, as_of = shop.warehouse(context), night_of(context)
        made_again = migrate_night(warehouse, as_of)
        nights = nights_on_record(warehouse)
        yield dg.MaterializeResult(
            asset_key=shop.key(SEGMENT_HISTORY),
            metadata={"dagster/row_count": int(nights["customers"].sum()), "nights": len(nights)},
        )
        migration = warehouse.night(SEGMENT_MIGRATION, as_of)
        stayed = migration[migration["from_segment_id"] == migration["to_segment_id"]]
        flow = since_earliest_night(migration)
        moves = move_lists(warehouse, as_of)
        by_model = moves["moved_by"] == "model"
        yield built(
            warehouse,
            SEGMENT_MIGRATION,
            as_of,
            {
                "nights_made_again": [str(night) for night in made_again],
                "moved": int(migration["customers"].sum() - stayed["customers"].sum()),
                "migration": table_of(migration.drop(columns=["as_of", "to_as_of"])),
                **(shop.picture(lambda: migration_flow(flow), "Who moved") if len(flow) else {}),
            },
            key=shop.key(SEGMENT_MIGRATION),
        )
        yield built(
            warehouse,
            SEGMENT_MOVES,
            as_of,
            {"lists": table_of(moves[~by_model]), "moved_by_model": int(moves.loc[by_model, "customers"].sum())},
            key=shop.key(SEGMENT_MOVES),
        )

    @room.asset(SEGMENT_STRATEGIES, kinds={"python"}, deps=[CLEAN_ORDERS, CHAMPIONS, SEGMENT_PROFILES])
    def segment_strategies(context: dg.AssetExecutionContext) -> dg.MaterializeResult:
        warehouse, as_of = shop.warehouse(context), night_of(context)
        settings = shop.settings_of(context)
        measurement = measure_segments(warehouse, champion_of(warehouse, as_of), as_of, settings)
        plan = plan_strategies(warehouse.night(SEGMENT_PROFILES, as_of), settings.strategies, measurement)
        warehouse.replace_night(SEGMENT_STRATEGIES, plan, as_of)
        return built(
            warehouse,
            SEGMENT_STRATEGIES,
            as_of,
            {
                "measured": table_of(
                    plan[["segment_name", *MEASURED_COLUMNS[1:], "unmeasured_because", "disagreement"]]
                ),
                **(
                    {}
                    if settings.strategies.budget is None
                    else {"budget": table_of(plan[["segment_name", *BUDGET_COLUMNS]])}
                ),
                "holdout": table_of(plan[["segment_name", *HOLDOUT_COLUMNS]]),
                "actions": table_of(plan[["segment_name", *ACTION_COLUMNS]]),
            },
        )

    @room.asset(ADVICE_ACTIONS, kinds={"python"}, deps=[SEGMENT_ASSIGNMENTS])
    def advice_actions_of_night(context: dg.AssetExecutionContext) -> dg.MaterializeResult:
        warehouse, as_of = shop.warehouse(context), night_of(context)
        actions = advice_actions(shop.settings_of(context).strategies, customers_by_advice(warehouse, as_of))
        warehouse.replace_night(ADVICE_ACTIONS, actions, as_of)
        return built(warehouse, ADVICE_ACTIONS, as_of, {"advice": table_of(actions)})

    @room.check(
        RFM_FEATURES.name,
        "The share of customers of the last night with segments who are missing is at most"
        " drift.lost_customers_critical; above drift.lost_customers_warning the check warns. If they are meant to be"
        " missing, raise the limit for one run.",
    )
    def customers_kept(context: dg.AssetCheckExecutionContext) -> dg.AssetCheckResult:
        warehouse, drift = shop.warehouse(context), shop.settings_of(context).drift
        missing, before = lost_customers(warehouse, checked_night(context, warehouse, RFM_FEATURES))
        critical = missing > drift.lost_customers_critical * before
        return dg.AssetCheckResult(
            passed=missing <= drift.lost_customers_warning * before,
            severity=dg.AssetCheckSeverity.ERROR if critical else dg.AssetCheckSeverity.WARN,
            description=f"{missing:,} of the {before:,} customers of the last night with segments are missing",
            metadata={"missing": missing, "before": before},
        )

    return room
