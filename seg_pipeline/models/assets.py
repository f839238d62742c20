"""The door of this room: the coreset, and one table of candidate models per algorithm of the registry."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import dagster as dg

from seg_pipeline.errors import UsageError, did_you_mean
from seg_pipeline.features.buyers import GRID_PLACE, read_buyers
from seg_pipeline.features.tables import FEATURE_TRANSFORMS, RFM_FEATURES, RFM_GRID
from seg_pipeline.features.transforms import apply_transforms
from seg_pipeline.models.algorithms.rfm_grid import NAME as RFM_GRID_NAME
from seg_pipeline.models.algorithms.rfm_grid import grid_model
from seg_pipeline.models.champions import find_champion_of, settings_digest
from seg_pipeline.models.coreset import Coreset, summarise
from seg_pipeline.models.drift import drift_rows
from seg_pipeline.models.gap import Gap, gap_statistic
from seg_pipeline.models.model import Algorithm, ClusterModel
from seg_pipeline.models.recount import recounted
from seg_pipeline.models.registry import ALGORITHMS
from seg_pipeline.models.stability import Stability, stability
from seg_pipeline.models.store import candidate_rows, coreset_rows, read_coreset
from seg_pipeline.models.tables import CANDIDATES, CORESET, FEATURE_DRIFT
from seg_pipeline.settings import ModelSettings, Settings
from seg_pipeline.ui import built, table_of
from seg_pipeline.wiring import Room, Shop, night_of

if TYPE_CHECKING:
    import pandas as pd


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


def check_algorithms(settings: ModelSettings) -> None:
    """Raises UsageError where models.algorithms names what is not in the registry."""
    for name in settings.algorithms:
        if name not in ALGORITHMS:
            raise UsageError(
                f"models.algorithms: no algorithm {name!r}{did_you_mean(name, ALGORITHMS)}"
                f"; there are {', '.join(ALGORITHMS)}"
            )


def assets_of(shop: Shop) -> Room:
    """Returns the models room: drift, the coreset, and one table of candidate models per algorithm of the registry."""
    room = shop.room("models", nightly=True)

    @room.asset(FEATURE_DRIFT, kinds={"python"}, deps=[RFM_FEATURES])
    def drifted_features(context: dg.AssetExecutionContext) -> dg.MaterializeResult:
        warehouse, settings, as_of = shop.warehouse(context), shop.settings_of(context), night_of(context)
        champion = find_champion_of(warehouse, as_of)
        # By other settings customers look different though nothing has happened to them.
        if champion and champion.settings_digest != settings_digest(settings):
            champion = None
        drift = drift_rows(warehouse, champion, as_of)
        warehouse.replace_night(FEATURE_DRIFT, drift, as_of)
        return built(
            warehouse,
            FEATURE_DRIFT,
            as_of,
            {
                "champion": champion.model_id if champion else "none with these settings",
                **{f"psi_{row['feature']}": round(float(row["psi"]), 4) for row in drift.to_dict("records")},
            },
        )

    # Customers who have drifted beyond belief are not modelled: the checks of the drift come first.
    @room.asset(CORESET, kinds={"numpy"}, deps=[RFM_FEATURES, FEATURE_TRANSFORMS, FEATURE_DRIFT])
    def coreset(context: dg.AssetExecutionContext) -> dg.MaterializeResult:
        import numpy as np

        warehouse, settings, as_of = shop.warehouse(context), shop.settings_of(context), night_of(context)
        transforms = warehouse.night(FEATURE_TRANSFORMS, as_of)
        buyers = read_buyers(warehouse, as_of, (*transforms["feature"], GRID_PLACE), {"names": list(RFM_GRID)})
        summary, cell_of_customer = summarise(apply_transforms(buyers, transforms), settings.models.max_cells)
        grid = np.bincount(
            cell_of_customer * len(RFM_GRID) + buyers["grid_place"].to_numpy(),
            minlength=len(summary.weights) * len(RFM_GRID),
        ).reshape(-1, len(RFM_GRID))
        if len(buyers) == warehouse.most_customers:
            with warehouse.get_connection() as connection:
                summary, grid = recounted(connection, summary, transforms, as_of)
        # The commonest grid segment of each cell; of equally common ones the first of the grid.
        common = np.array(list(RFM_GRID))[grid.argmax(axis=1)]
        warehouse.replace_night(CORESET, coreset_rows(summary, common.tolist()), as_of)
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

    for algorithm in CANDIDATES:
        _add_candidates(room, algorithm)
    return room


def _add_candidates(room: Room, algorithm: str) -> None:
    """Adds the asset of one algorithm's candidates: every k of the range, or the one row of the grid."""
    table, shop = CANDIDATES[algorithm], room.shop

    @room.asset(table, kinds={"python" if algorithm == RFM_GRID_NAME else "scikitlearn"}, deps=[CORESET])
    def candidates(context: dg.AssetExecutionContext) -> dg.MaterializeResult:
        warehouse, settings, as_of = shop.warehouse(context), shop.settings_of(context), night_of(context)
        summary, cells = read_coreset(warehouse, as_of)
        if algorithm == RFM_GRID_NAME:
            models = [grid_model(summary, cells["rfm_segment"].to_numpy())]
            rows = candidate_rows(summary, models, [None], [None], settings.selection)
        else:
            rows = _candidates(ALGORITHMS[algorithm], summary, settings)
        warehouse.replace_night(table, rows, as_of)
        return built(
            warehouse,
            table,
            as_of,
            {
                "fit_seconds": float(rows["fit_seconds"].sum()),
                "candidates": table_of(rows[SHOWN]),
            },
        )


def _candidates(algorithm: Algorithm, summary: Coreset, settings: Settings) -> "pd.DataFrame":
    """Every k of the range fitted and assessed; no rows where the algorithm is not compared."""
    chosen = settings.models
    models: list[ClusterModel] = []
    if algorithm.name in chosen.algorithms:
        ks = range(chosen.k_min, chosen.k_max + 1)
        models = algorithm.fit_range(summary, ks, seed=chosen.seed, n_init=chosen.n_init)
    sure: Sequence[Stability | None] = [None] * len(models)
    gaps: Sequence[Gap | None] = [None] * len(models)
    if models and chosen.bootstraps:
        sure = stability(algorithm, summary, models, draws=chosen.bootstraps, seed=chosen.seed)
    if models and chosen.gap_references and algorithm.has_gap:
        gaps = gap_statistic(
            summary,
            models,
            lambda reference, ks, seed: algorithm.fit_range(reference, ks, seed=seed, n_init=1),
            seed=chosen.seed,
            references=chosen.gap_references,
        )
    return candidate_rows(summary, models, sure, gaps, settings.selection)
