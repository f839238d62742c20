"""The door of this room: the coreset, and one table of candidate models per algorithm of the registry."""

import dagster as dg

from seg_pipeline.features.assets import feature_transforms, rfm_features
from seg_pipeline.models.candidates import fitted_candidates
from seg_pipeline.models.champions import comparable_champion
from seg_pipeline.models.drift import drift_rows
from seg_pipeline.models.night_coreset import coreset_of_night
from seg_pipeline.models.registry import ALGORITHMS
from seg_pipeline.models.store import coreset_rows, read_coreset
from seg_pipeline.models.tables import CANDIDATES, CORESET, FEATURE_DRIFT
from seg_pipeline.nights import NIGHTS, night_of
from seg_pipeline.quality.suites import checks_of
from seg_pipeline.settings import Settings
from seg_pipeline.tables import markdown, rows_built
from seg_pipeline.warehouse import Warehouse

# Columns of the candidates that the UI shows.
SHOWN = [
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


@dg.asset(**FEATURE_DRIFT.asset(kinds={"python"}), partitions_def=NIGHTS, deps=[rfm_features])
def drifted_features(
    context: dg.AssetExecutionContext, warehouse: Warehouse, settings: dg.ResourceParam[Settings]
) -> dg.MaterializeResult:
    as_of = night_of(context)
    champion = comparable_champion(warehouse, settings, as_of)
    drift = drift_rows(warehouse, champion, as_of)
    warehouse.replace_night(FEATURE_DRIFT, drift, as_of)
    return dg.MaterializeResult(
        metadata={
            **rows_built(warehouse, FEATURE_DRIFT, as_of),
            "champion": champion.model_id if champion else "none with these settings",
            **{f"psi_{row['feature']}": round(float(row["psi"]), 4) for row in drift.to_dict("records")},
        }
    )


# Customers who have drifted beyond belief are not modelled: the checks of the drift come first.
@dg.asset(
    **CORESET.asset(kinds={"numpy"}),
    partitions_def=NIGHTS,
    deps=[rfm_features, feature_transforms, FEATURE_DRIFT.asset_key],
)
def coreset(
    context: dg.AssetExecutionContext, warehouse: Warehouse, settings: dg.ResourceParam[Settings]
) -> dg.MaterializeResult:
    as_of = night_of(context)
    summary = coreset_of_night(warehouse, as_of, settings.models.max_cells)
    warehouse.replace_night(CORESET, coreset_rows(summary), as_of)
    return dg.MaterializeResult(
        metadata={
            **rows_built(warehouse, CORESET, as_of),
            "customers": int(summary.weights.sum()),
            "exact": summary.exact,
            "lost_share": round(summary.lost_share, 6),
        }
    )


def candidates_asset(name: str) -> dg.AssetsDefinition:
    """The asset of one algorithm's candidates."""
    algorithm, table = ALGORITHMS[name], CANDIDATES[name]

    @dg.asset(**table.asset(kinds={algorithm.kind}), partitions_def=NIGHTS, deps=[coreset])
    def candidates(
        context: dg.AssetExecutionContext, warehouse: Warehouse, settings: dg.ResourceParam[Settings]
    ) -> dg.MaterializeResult:
        as_of = night_of(context)
        rows = fitted_candidates(algorithm, read_coreset(warehouse, as_of), settings)
        warehouse.replace_night(table, rows, as_of)
        return dg.MaterializeResult(
            metadata={
                **rows_built(warehouse, table, as_of),
                "fit_seconds": float(rows["fit_seconds"].sum()),
                "candidates": dg.MetadataValue.md(markdown(rows[SHOWN])),
            }
        )

    return candidates


candidate_assets = {name: candidates_asset(name) for name in CANDIDATES}

defs = dg.Definitions(
    assets=[drifted_features, coreset, *candidate_assets.values()],
    asset_checks=[checks_of(table) for table in (FEATURE_DRIFT, CORESET, *CANDIDATES.values())],
)
