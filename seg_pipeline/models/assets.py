"""The door of the models room: drift, the coreset, and the candidate models of every algorithm of the registry."""

import dagster as dg

from seg_pipeline.features.tables import FEATURE_TRANSFORMS, RFM_FEATURES
from seg_pipeline.models.candidates import fit_candidates
from seg_pipeline.models.champions import comparable_champion
from seg_pipeline.models.drift import drift_rows
from seg_pipeline.models.model import Algorithm
from seg_pipeline.models.night import coreset_of_night
from seg_pipeline.models.registry import ALGORITHMS
from seg_pipeline.models.store import coreset_rows, read_coreset
from seg_pipeline.models.tables import CANDIDATES, CORESET, FEATURE_DRIFT
from seg_pipeline.ui import built, table_of
from seg_pipeline.wiring import Room, Shop, night_of

# Columns of the candidates that the UI shows.
COLUMNS_SHOWN = [
    "k",
    "inertia",
    "silhouette",
    "calinski_harabasz",
    "davies_bouldin",
    "bic",
    "stability",
    "smallest_share",
    "eligible",
]


def assets_of(shop: Shop) -> Room:
    """Returns the models room."""
    room = shop.room("models", nightly=True)

    @room.asset(FEATURE_DRIFT, kinds={"python"}, deps=[RFM_FEATURES])
    def drifted_features(context: dg.AssetExecutionContext) -> dg.MaterializeResult:
        warehouse, settings, as_of = shop.warehouse(context), shop.settings_of(context), night_of(context)
        champion = comparable_champion(warehouse, settings, as_of)
        drift = drift_rows(warehouse, settings, champion, as_of)
        warehouse.replace_night(FEATURE_DRIFT, drift, as_of)
        return built(
            warehouse,
            FEATURE_DRIFT,
            as_of,
            {
                "champion": champion.model_id if champion else "none with these settings",
                # Dagster draws each number as a trend over the nights.
                **{
                    f"{figure}_{row['feature']}": round(float(row[column]), 4)
                    for figure, column in (("psi", "psi"), ("restated", "restated_share"))
                    for row in drift[drift[column].notna()].to_dict("records")
                },
            },
        )

    # If what was known of customers is restated beyond drift.restated_critical, the night stops before the fit.
    @room.asset(CORESET, kinds={"numpy"}, deps=[RFM_FEATURES, FEATURE_TRANSFORMS, FEATURE_DRIFT])
    def coreset(context: dg.AssetExecutionContext) -> dg.MaterializeResult:
        warehouse, settings, as_of = shop.warehouse(context), shop.settings_of(context), night_of(context)
        summary = coreset_of_night(warehouse, as_of, settings.models.max_cells)
        warehouse.replace_night(CORESET, coreset_rows(summary), as_of)
        return built(
            warehouse,
            CORESET,
            as_of,
            {
                "customers": int(summary.weights.sum()),
                "exact": summary.exact,
                "lost_share": round(summary.lost_share, 6),
            },
        )

    for name in CANDIDATES:
        _add_candidates(room, ALGORITHMS[name])
    return room


def _add_candidates(room: Room, algorithm: Algorithm) -> None:
    """Adds the asset of one algorithm's candidates."""
    table, shop = CANDIDATES[algorithm.name], room.shop

    @room.asset(table, kinds={algorithm.kind}, deps=[CORESET])
    def candidates(context: dg.AssetExecutionContext) -> dg.MaterializeResult:
        warehouse, settings, as_of = shop.warehouse(context), shop.settings_of(context), night_of(context)
        rows = fit_candidates(algorithm, read_coreset(warehouse, as_of), settings)
        warehouse.replace_night(table, rows, as_of)
        return built(
            warehouse,
            table,
            as_of,
            {
                "fit_seconds": float(rows["fit_seconds"].sum()),
                "candidates": table_of(rows[COLUMNS_SHOWN]),
            },
        )
