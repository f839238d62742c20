"""The door of this room: assignments and profiles, strategies, and the published files."""

import datetime
from collections.abc import Iterator
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

import dagster as dg

from seg_pipeline.evaluation.cluster_map import principal_plane
from seg_pipeline.evaluation.selection import rule_in_words
from seg_pipeline.evaluation.tables import CHOICE_SENSITIVITY, EVALUATION_REPORT
from seg_pipeline.features.assets import feature_transforms, rfm_features
from seg_pipeline.features.tables import FEATURE_TRANSFORMS
from seg_pipeline.models.assets import coreset
from seg_pipeline.models.store import read_coreset, read_model
from seg_pipeline.nights import NIGHTS, night_of
from seg_pipeline.quality import checks_of
from seg_pipeline.segments.assignment import cell_clusters
from seg_pipeline.segments.labelling import label_night
from seg_pipeline.segments.publishing import damaged_files, publish
from seg_pipeline.segments.strategies import strategies
from seg_pipeline.segments.tables import SEGMENT_ASSIGNMENTS, SEGMENT_PROFILES, SEGMENT_STRATEGIES
from seg_pipeline.settings import Settings, flattened
from seg_pipeline.tables import OWNER, markdown, rows_built
from seg_pipeline.warehouse import Warehouse

if TYPE_CHECKING:
    import pandas as pd

PUBLISHED_TABLES = (SEGMENT_ASSIGNMENTS, SEGMENT_PROFILES, SEGMENT_STRATEGIES)
REPORT_PAGE = "report.html"
# What of the settings the report shows: what shapes the numbers, not where things lie on this machine.
SHAPING = (
    "returns",
    "duplicates",
    "zero_prices",
    "excluded_products",
    "cancellations",
    "plausible_dates",
    "features",
    "models",
    "selection",
    "strategies",
)
PACKAGES = ("seg-pipeline", "dagster", "duckdb", "great-expectations", "scikit-learn", "pandas")


@dg.multi_asset(
    specs=[
        dg.AssetSpec(deps=deps, partitions_def=NIGHTS, **table.asset(kinds={"python"}))
        for table, deps in (
            (SEGMENT_ASSIGNMENTS, [rfm_features, feature_transforms, coreset, EVALUATION_REPORT.asset_key]),
            (SEGMENT_PROFILES, [SEGMENT_ASSIGNMENTS.asset_key]),
        )
    ]
)
def labelled_customers(
    context: dg.AssetExecutionContext, warehouse: Warehouse, settings: dg.ResourceParam[Settings]
) -> Iterator[dg.MaterializeResult]:
    from seg_pipeline.evaluation import plots

    as_of = night_of(context)
    chosen = warehouse.night(EVALUATION_REPORT, as_of, columns=("algorithm", "k"), where="chosen").iloc[0]
    model_id = label_night(warehouse, chosen["algorithm"], int(chosen["k"]), as_of)
    profiles = warehouse.night(SEGMENT_PROFILES, as_of)
    yield dg.MaterializeResult(
        asset_key=SEGMENT_ASSIGNMENTS.asset_key,
        metadata={
            **rows_built(int(profiles["customers"].sum()), as_of),
            "customers": int(profiles["customers"].sum()),
            "model_id": model_id,
            "mean_confidence": round(float((profiles["mean_confidence"] * profiles["share"]).sum()), 4),
        },
    )
    columns = ["segment_id", "segment_name", "customers", "share", "revenue", "revenue_share"]
    currency = settings.strategies.currency
    yield dg.MaterializeResult(
        asset_key=SEGMENT_PROFILES.asset_key,
        metadata={
            **rows_built(len(profiles), as_of),
            "segments": dg.MetadataValue.md(markdown(profiles[columns])),
            "names": dg.MetadataValue.md(markdown(profiles[["segment_name", "name_reason"]])),
            "sizes_and_revenue": dg.MetadataValue.md(
                plots.markdown_image(plots.sizes_and_revenue(profiles), "Sizes and revenue")
            ),
            "feature_profiles": dg.MetadataValue.md(
                plots.markdown_image(plots.feature_profiles(profiles, currency=currency), "Feature profiles")
            ),
        },
    )


@dg.asset(**SEGMENT_STRATEGIES.asset(kinds={"python"}), partitions_def=NIGHTS, deps=[SEGMENT_PROFILES.asset_key])
def segment_strategies(
    context: dg.AssetExecutionContext, warehouse: Warehouse, settings: dg.ResourceParam[Settings]
) -> dg.MaterializeResult:
    as_of = night_of(context)
    plan = strategies(warehouse.night(SEGMENT_PROFILES, as_of), settings.strategies)
    warehouse.replace_night(SEGMENT_STRATEGIES, plan, as_of)
    return dg.MaterializeResult(
        metadata={
            **rows_built(len(plan), as_of),
            "budget": dg.MetadataValue.md(markdown(plan[["segment_name", "budget_share", "budget", "arithmetic"]])),
            "actions": dg.MetadataValue.md(
                markdown(plan[["segment_name", "objective", "marketing", "sales", "service"]])
            ),
        }
    )


@dg.asset(
    key=["segments", "published_files"],
    group_name="segments",
    kinds={"parquet", "csv", "html"},
    owners=[OWNER],
    description="What teams read: the night's segments as Parquet and CSV, and the evaluation report. The latest"
    " night's set is switched as a whole; an older night changes nothing that is published.",
    # The columns of the file that most readers open.
    metadata=SEGMENT_ASSIGNMENTS.asset(kinds=())["metadata"],
    partitions_def=NIGHTS,
    deps=[*(table.asset_key for table in (*PUBLISHED_TABLES, EVALUATION_REPORT, CHOICE_SENSITIVITY))],
)
def published_files(
    context: dg.AssetExecutionContext, warehouse: Warehouse, settings: dg.ResourceParam[Settings]
) -> dg.MaterializeResult:
    from seg_pipeline.evaluation import plots
    from seg_pipeline.evaluation.report import Report, render

    as_of = night_of(context)
    evaluation = warehouse.night(EVALUATION_REPORT, as_of)
    profiles = warehouse.night(SEGMENT_PROFILES, as_of)
    model_id = warehouse.value(
        "SELECT min(model_id) FROM segments.segment_assignments WHERE as_of = $as_of", {"as_of": as_of}
    )
    cells, axis_labels = _cluster_map(warehouse, as_of, evaluation, profiles)
    report = Report(
        as_of=as_of,
        source=", ".join(settings.source.path),
        currency=settings.strategies.currency,
        evaluation=evaluation,
        profiles=profiles,
        strategies=warehouse.night(SEGMENT_STRATEGIES, as_of),
        cells=cells,
        axis_labels=axis_labels,
        rows=warehouse.read(
            "SELECT 'raw' AS stage, NULL AS reason, count(*) AS lines FROM raw.raw_orders"
            " UNION ALL SELECT 'clean', NULL, count(*) FROM prepared.clean_orders"
            " UNION ALL (SELECT 'rejected', reason, count(*) AS lines FROM prepared.rejected_orders GROUP BY reason"
            " ORDER BY lines DESC, reason)"
        ),
        settings={key: value for key, value in flattened(settings).items() if key.split(".")[0] in SHAPING},
        model_id=model_id,
        versions={name: version(name) for name in PACKAGES},
        timings=None,
        rule=rule_in_words(settings.selection),
        sensitivity=warehouse.night(CHOICE_SENSITIVITY, as_of),
    )
    folder, is_latest = publish(
        warehouse, PUBLISHED_TABLES, {REPORT_PAGE: render(report)}, as_of, model_id, settings.output.path
    )
    metadata: dict[str, Any] = {
        **rows_built(warehouse.count(SEGMENT_ASSIGNMENTS, as_of), as_of),
        "published": is_latest,
        "cluster_map": dg.MetadataValue.md(plots.markdown_image(plots.cluster_map(cells, axis_labels), "Cluster map")),
    }
    if is_latest:
        metadata["report"] = dg.MetadataValue.path(str((folder / REPORT_PAGE).absolute()))
        metadata["folder"] = dg.MetadataValue.path(str(folder.absolute()))
    return dg.MaterializeResult(metadata=metadata)


@dg.asset_check(
    asset=published_files,
    description="Every published file is there, and its content is what the manifest says. (critical)",
    blocking=True,
)
def published_set_is_whole(settings: dg.ResourceParam[Settings]) -> dg.AssetCheckResult:
    damaged = damaged_files(settings.output.path)
    return dg.AssetCheckResult(
        passed=not damaged, description=", ".join(damaged) or None, metadata={"damaged": damaged}
    )


def _cluster_map(
    warehouse: Warehouse, as_of: datetime.date, evaluation: "pd.DataFrame", profiles: "pd.DataFrame"
) -> "tuple[pd.DataFrame, tuple[str, str]]":
    """The night's cells on two axes, each in the segment of its cluster."""
    import pandas as pd

    chosen = evaluation[evaluation["chosen"]].iloc[0]
    summary, cells = read_coreset(warehouse, as_of)
    model = read_model(warehouse, chosen["algorithm"], int(chosen["k"]), as_of)
    features = warehouse.night(FEATURE_TRANSFORMS, as_of).sort_values("position")["feature"].to_list()
    places, axis_labels = principal_plane(summary.points, summary.weights, features)
    table = pd.DataFrame(
        {"x": places[:, 0], "y": places[:, 1], "customers": summary.weights, "cluster": cell_clusters(model, cells)}
    )
    return table.merge(profiles[["cluster", "segment_id", "segment_name"]], on="cluster"), axis_labels


defs = dg.Definitions(
    assets=[labelled_customers, segment_strategies, published_files],
    asset_checks=[*(checks_of(table) for table in PUBLISHED_TABLES), published_set_is_whole],
)
