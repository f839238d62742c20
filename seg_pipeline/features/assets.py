"""The door of this room: rfm_features and feature_transforms, one set of rows per night."""

from pathlib import Path

import dagster as dg
import duckdb

from seg_pipeline.errors import DataError
from seg_pipeline.features.buyers import read_buyers
from seg_pipeline.features.tables import FEATURE_TRANSFORMS, RFM_FEATURES
from seg_pipeline.features.transforms import fit_transforms
from seg_pipeline.nights import NIGHTS, night_of
from seg_pipeline.prepared.tables import CLEAN_ORDERS
from seg_pipeline.quality.suites import checks_of
from seg_pipeline.settings import Settings
from seg_pipeline.tables import markdown, preview, rows_built
from seg_pipeline.warehouse import Warehouse

SQL = Path(__file__).parent


@dg.asset(**RFM_FEATURES.asset(kinds={"sql"}), partitions_def=NIGHTS, deps=[CLEAN_ORDERS.asset_key])
def rfm_features(context: dg.AssetExecutionContext, warehouse: Warehouse) -> dg.MaterializeResult:
    as_of = night_of(context)
    first = warehouse.value("SELECT CAST(min(ordered_at) AS DATE) FROM prepared.clean_orders")
    if as_of <= first:
        raise DataError(f"no orders before {as_of}: the first clean one is on {first}")
    try:
        warehouse.replace_night(RFM_FEATURES, SQL / "rfm_features.sql", as_of)
    except duckdb.ConversionException:
        raise DataError(
            "some customer's lines add up to more than 14 digits: mend unit_price, quantity or amount"
        ) from None
    grid = warehouse.read(
        "SELECT rfm_segment, count(*) AS customers, CAST(sum(monetary) AS DOUBLE) AS monetary"
        " FROM features.rfm_features WHERE as_of = $as_of GROUP BY ALL ORDER BY customers DESC, rfm_segment",
        {"as_of": as_of},
    )
    return dg.MaterializeResult(
        metadata={
            **rows_built(warehouse, RFM_FEATURES, as_of, revenue="monetary"),
            "customers": int(grid["customers"].sum()),
            "first_rows": preview(warehouse, RFM_FEATURES, as_of),
            "customers_by_rfm_segment": dg.MetadataValue.md(markdown(grid)),
        }
    )


@dg.asset(**FEATURE_TRANSFORMS.asset(kinds={"python"}), partitions_def=NIGHTS, deps=[rfm_features])
def feature_transforms(
    context: dg.AssetExecutionContext, warehouse: Warehouse, settings: dg.ResourceParam[Settings]
) -> dg.MaterializeResult:
    as_of = night_of(context)
    transforms = fit_transforms(read_buyers(warehouse, as_of, settings.features.columns), settings.features)
    warehouse.replace_night(FEATURE_TRANSFORMS, transforms, as_of)
    return dg.MaterializeResult(
        metadata={
            **rows_built(warehouse, FEATURE_TRANSFORMS, as_of),
            "transforms": dg.MetadataValue.md(markdown(transforms)),
        }
    )


defs = dg.Definitions(
    assets=[rfm_features, feature_transforms], asset_checks=[checks_of(RFM_FEATURES), checks_of(FEATURE_TRANSFORMS)]
)
