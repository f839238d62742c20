"""The door of the features room: each customer's features on a night, and the scale on which they compare."""

import dagster as dg

from seg_pipeline import nights
from seg_pipeline.features.buyers import read_buyers
from seg_pipeline.features.night import build_features, build_rhythm, grid_overview
from seg_pipeline.features.tables import CUSTOMER_RHYTHM, FEATURE_TRANSFORMS, RFM_FEATURES
from seg_pipeline.features.transforms import fit_transforms
from seg_pipeline.prepared.day_figures import new_findings
from seg_pipeline.prepared.day_verdicts import IMPOSSIBLE
from seg_pipeline.prepared.tables import CLEAN_ORDERS, DAY_FIGURES
from seg_pipeline.ui import built, preview, table_of
from seg_pipeline.wiring import Room, Shop, checked_night, night_of

# How many days and deliveries the check names.
NAMED_FINDINGS = 5


def assets_of(shop: Shop) -> Room:
    """Returns the features room."""
    room = shop.room("features", nightly=True)

    @room.asset(RFM_FEATURES, kinds={"sql"}, deps=[CLEAN_ORDERS, DAY_FIGURES])
    def rfm_features(context: dg.AssetExecutionContext) -> dg.MaterializeResult:
        warehouse, as_of = shop.warehouse(context), night_of(context)
        build_features(warehouse, as_of)
        grid = grid_overview(warehouse, as_of)
        return built(
            warehouse,
            RFM_FEATURES,
            as_of,
            {
                "customers": int(grid["customers"].sum()),
                "first_rows": preview(warehouse, RFM_FEATURES, as_of),
                "customers_by_rfm_segment": table_of(grid),
            },
            revenue="monetary",
        )

    @room.asset(CUSTOMER_RHYTHM, kinds={"sql"}, deps=[CLEAN_ORDERS, RFM_FEATURES])
    def customer_rhythm(context: dg.AssetExecutionContext) -> dg.MaterializeResult:
        warehouse, as_of = shop.warehouse(context), night_of(context)
        customers = build_rhythm(warehouse, shop.settings_of(context), as_of)
        return built(
            warehouse,
            CUSTOMER_RHYTHM,
            as_of,
            {
                # Dagster draws each number as a trend over the nights.
                **{row["lifecycle"]: int(row["customers"]) for row in customers.to_dict("records")},
                "first_rows": preview(warehouse, CUSTOMER_RHYTHM, as_of),
            },
        )

    @room.asset(FEATURE_TRANSFORMS, kinds={"python"}, deps=[RFM_FEATURES])
    def feature_transforms(context: dg.AssetExecutionContext) -> dg.MaterializeResult:
        warehouse, as_of = shop.warehouse(context), night_of(context)
        features = shop.settings_of(context).features
        transforms = fit_transforms(read_buyers(warehouse, as_of, features.columns), features)
        warehouse.replace_night(FEATURE_TRANSFORMS, transforms, as_of)
        return built(
            warehouse,
            FEATURE_TRANSFORMS,
            as_of,
            {
                "transforms": table_of(transforms),
            },
        )

    @room.check(
        RFM_FEATURES.name,
        "No order day and no delivery since the last night with segments is odd or impossible by the shop's own"
        " history (prepared.day_figures). An odd one is a warning, and so is any if a later night has segments. If an"
        " impossible one is right as it is: seg-pipeline accept NAME.",
    )
    def days_usual(context: dg.AssetCheckExecutionContext) -> dg.AssetCheckResult:
        warehouse = shop.warehouse(context)
        as_of = checked_night(context, warehouse, RFM_FEATURES) or nights.FIRST_DAY
        found = new_findings(warehouse, as_of)
        newest = warehouse.newest_night(nights.ASSIGNMENTS)
        stops = (found["verdict"] == IMPOSSIBLE).any() and not (newest and newest > as_of)
        named = "; ".join(
            f"{name} is {verdict}: {reason}"
            for name, verdict, reason in found.head(NAMED_FINDINGS).itertuples(index=False)
        )
        more = f"; and {len(found) - NAMED_FINDINGS} more" if len(found) > NAMED_FINDINGS else ""
        accept = "; if it is right: seg-pipeline accept NAME" if stops else ""
        return dg.AssetCheckResult(
            passed=found.empty,
            severity=dg.AssetCheckSeverity.ERROR if stops else dg.AssetCheckSeverity.WARN,
            description=f"{named}{more}{accept}" if named else "All new days and deliveries are as usual.",
            metadata={"found": len(found), **({"findings": table_of(found)} if len(found) else {})},
        )

    return room
