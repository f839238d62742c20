"""The door of the features room: each customer's features on a night, and the scale on which they compare."""

import dagster as dg

from seg_pipeline.features.buyers import read_buyers
from seg_pipeline.features.night import build_features, grid_overview
from seg_pipeline.features.tables import FEATURE_TRANSFORMS, RFM_FEATURES
from seg_pipeline.features.transforms import fit_transforms
from seg_pipeline.prepared.tables import CLEAN_ORDERS, DAY_FIGURES
from seg_pipeline.ui import built, preview, table_of
from seg_pipeline.wiring import Room, Shop, night_of


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

    return room
