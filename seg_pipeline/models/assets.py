"""The door of this room: the coreset, and one table of candidate models per algorithm of the registry."""

from collections.abc import Sequence

import dagster as dg

from seg_pipeline.errors import UsageError, did_you_mean
from seg_pipeline.features.assets import feature_transforms, rfm_features
from seg_pipeline.features.tables import FEATURE_TRANSFORMS, RFM_FEATURES
from seg_pipeline.features.transforms import apply_transforms
from seg_pipeline.models.coreset import summarise
from seg_pipeline.models.metrics import score
from seg_pipeline.models.model import ClusterModel
from seg_pipeline.models.registry import ALGORITHMS
from seg_pipeline.models.rfm_grid import NAME as RFM_GRID_NAME
from seg_pipeline.models.rfm_grid import grid_model
from seg_pipeline.models.store import candidate_rows, coreset_rows, read_coreset
from seg_pipeline.models.tables import CANDIDATES, CORESET
from seg_pipeline.nights import NIGHTS, night_of
from seg_pipeline.quality import checks_of
from seg_pipeline.settings import ModelSettings, Settings
from seg_pipeline.tables import markdown, rows_built
from seg_pipeline.warehouse import Warehouse


def check_algorithms(settings: ModelSettings) -> None:
    """Raises UsageError where models.algorithms names what is not in the registry."""
    for name in settings.algorithms:
        if name not in ALGORITHMS:
            raise UsageError(
                f"models.algorithms: no algorithm {name!r}{did_you_mean(name, ALGORITHMS)}"
                f"; there are {', '.join(ALGORITHMS)}"
            )


@dg.asset(**CORESET.asset(kinds={"numpy"}), partitions_def=NIGHTS, deps=[rfm_features, feature_transforms])
def coreset(
    context: dg.AssetExecutionContext, warehouse: Warehouse, settings: dg.ResourceParam[Settings]
) -> dg.MaterializeResult:
    as_of = night_of(context)
    buyers = warehouse.night(RFM_FEATURES, as_of, where="frequency > 0")
    matrix = apply_transforms(buyers, warehouse.night(FEATURE_TRANSFORMS, as_of))
    summary, cell_of_customer = summarise(matrix, settings.models.max_cells)
    # The commonest grid segment of each cell; of equally common ones the first by name.
    counts = (
        buyers.groupby([cell_of_customer, "rfm_segment"])
        .size()
        .rename_axis(["cell", "rfm_segment"])
        .reset_index(name="n")
    )
    common = counts.sort_values(["cell", "n", "rfm_segment"], ascending=[True, False, True]).drop_duplicates("cell")
    warehouse.replace_night(CORESET, coreset_rows(summary, common["rfm_segment"].to_list()), as_of)
    return dg.MaterializeResult(
        metadata={
            **rows_built(len(summary.weights), as_of),
            "customers": len(buyers),
            "exact": summary.exact,
        }
    )


def candidates_asset(algorithm: str) -> dg.AssetsDefinition:
    """The asset of one algorithm's candidates, every k of the range; of the grid, its one row."""
    table = CANDIDATES[algorithm]

    @dg.asset(
        **table.asset(kinds={"python" if algorithm == RFM_GRID_NAME else "scikitlearn"}),
        partitions_def=NIGHTS,
        deps=[coreset],
    )
    def candidates(
        context: dg.AssetExecutionContext, warehouse: Warehouse, settings: dg.ResourceParam[Settings]
    ) -> dg.MaterializeResult:
        as_of = night_of(context)
        summary, cells = read_coreset(warehouse, as_of)
        models: Sequence[ClusterModel] = []
        if algorithm == RFM_GRID_NAME:
            models = [grid_model(summary, cells["rfm_segment"].to_numpy())]
        elif algorithm in settings.models.algorithms:
            ks = range(settings.models.k_min, settings.models.k_max + 1)
            models = ALGORITHMS[algorithm].fit_range(
                summary, ks, seed=settings.models.seed, n_init=settings.models.n_init
            )
        rows = candidate_rows(models, score(summary, models), settings.selection)
        warehouse.replace_night(table, rows, as_of)
        shown = rows[
            ["k", "inertia", "silhouette", "calinski_harabasz", "davies_bouldin", "bic", "smallest_share", "eligible"]
        ]
        return dg.MaterializeResult(
            metadata={
                **rows_built(len(rows), as_of),
                "fit_seconds": float(rows["fit_seconds"].sum()),
                "candidates": dg.MetadataValue.md(markdown(shown)),
            }
        )

    return candidates


candidate_assets = {algorithm: candidates_asset(algorithm) for algorithm in CANDIDATES}

defs = dg.Definitions(
    assets=[coreset, *candidate_assets.values()],
    asset_checks=[checks_of(table) for table in (CORESET, *CANDIDATES.values())],
)
