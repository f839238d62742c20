"""The door of this room: assignments and profiles, strategies, and the published files."""

import csv
import datetime
import io
from collections.abc import Iterator
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

import dagster as dg

from seg_pipeline.champions.appointment import appoint, takeover_rule
from seg_pipeline.champions.tables import CHAMPION_DECISIONS, SEGMENT_IDENTITY
from seg_pipeline.evaluation.selection import choice_rule
from seg_pipeline.evaluation.tables import (
    CHOICE_SENSITIVITY,
    EVALUATION_REPORT,
    VALUE_BY_SEGMENT,
    VALUE_TEST,
    VALUE_WINDOW,
)
from seg_pipeline.features.assets import feature_transforms, rfm_features
from seg_pipeline.features.tables import RFM_FEATURES
from seg_pipeline.models.assets import coreset
from seg_pipeline.models.champions import SHAPING, Champion, champion_of, champions_overview
from seg_pipeline.models.tables import CHAMPIONS, FEATURE_DRIFT
from seg_pipeline.nights import NIGHTS, as_of_of, night_of
from seg_pipeline.publishing.cluster_map import principal_plane
from seg_pipeline.publishing.retention import forget_nights
from seg_pipeline.publishing.sets import damaged_files, publish
from seg_pipeline.publishing.views import VIEWS
from seg_pipeline.quality.suites import checks_of
from seg_pipeline.raw.tables import RAW_ORDERS
from seg_pipeline.segments.assignment import assign_night
from seg_pipeline.segments.migration import lost_customers, migrate_night
from seg_pipeline.segments.strategies import strategies
from seg_pipeline.segments.tables import (
    SEGMENT_ASSIGNMENTS,
    SEGMENT_HISTORY,
    SEGMENT_MIGRATION,
    SEGMENT_MOVES,
    SEGMENT_PROFILES,
    SEGMENT_STRATEGIES,
)
from seg_pipeline.settings import Settings, flattened, output_hash_key
from seg_pipeline.tables import OWNER, markdown, preview, rows_built
from seg_pipeline.warehouse import Warehouse

if TYPE_CHECKING:
    import pandas as pd

OUTCOMES = (SEGMENT_ASSIGNMENTS, SEGMENT_PROFILES, SEGMENT_STRATEGIES, SEGMENT_MIGRATION, SEGMENT_MOVES)
# Beside what came out, how the customers buy: without it nobody could rank them by value.
PUBLISHED_TABLES = (*OUTCOMES, RFM_FEATURES)
REPORT_PAGE = "report.html"
# Beside the report, which is the same for the same orders.
TIMINGS = "timings.csv"
# What of the settings the report shows: what shapes the numbers, not where things lie on this machine.
SHOWN = (*SHAPING, "champions", "drift", "report", "strategies", "value")
SOURCE_IN_WORDS = (
    "SELECT min(source_file) || CASE count(DISTINCT source_file) WHEN 1 THEN ''"
    " ELSE ' to ' || max(source_file) || ' (' || count(DISTINCT source_file) || ' files)' END FROM raw.raw_orders"
)
PACKAGES = ("seg-pipeline", "dagster", "duckdb", "great-expectations", "scikit-learn", "pandas")


@dg.multi_asset(
    specs=[
        # In this room, so that the graph reads from models over evaluation to segments.
        dg.AssetSpec(deps=deps, partitions_def=NIGHTS, **table.asset(kinds={"python"}, group="segments"))
        for table, deps in (
            (CHAMPIONS, [EVALUATION_REPORT.asset_key, rfm_features, feature_transforms, coreset]),
            (CHAMPION_DECISIONS, [CHAMPIONS.asset_key]),
            (SEGMENT_IDENTITY, [CHAMPIONS.asset_key]),
        )
    ]
)
def appointed_champion(
    context: dg.AssetExecutionContext, warehouse: Warehouse, settings: dg.ResourceParam[Settings]
) -> Iterator[dg.MaterializeResult]:
    as_of = night_of(context)
    decision = appoint(warehouse, settings, as_of)
    overview = champions_overview(warehouse)
    changes = warehouse.night(SEGMENT_IDENTITY, as_of)
    figures = decision.dropna(axis=1).drop(columns=["reason"]).T.reset_index().set_axis(["what", "value"], axis=1)
    yield dg.MaterializeResult(
        asset_key=CHAMPIONS.asset_key,
        metadata={
            "dagster/row_count": len(overview),
            "decision": decision["decision"].iloc[0],
            "reason": decision["reason"].iloc[0],
            "champions": dg.MetadataValue.md(markdown(overview)),
        },
    )
    yield dg.MaterializeResult(
        asset_key=CHAMPION_DECISIONS.asset_key,
        metadata={
            **rows_built(warehouse, CHAMPION_DECISIONS, as_of),
            "decision": decision["decision"].iloc[0],
            "reason": decision["reason"].iloc[0],
            "rule": takeover_rule(settings),
            "figures": dg.MetadataValue.md(markdown(figures)),
        },
    )
    yield dg.MaterializeResult(
        asset_key=SEGMENT_IDENTITY.asset_key,
        metadata={
            **rows_built(warehouse, SEGMENT_IDENTITY, as_of),
            "changes": dg.MetadataValue.md(
                markdown(changes[["segment_id", "change", "segment_name", "previous_name", "overlap", "customers"]])
            ),
        },
    )


@dg.multi_asset(
    specs=[
        dg.AssetSpec(deps=deps, partitions_def=NIGHTS, **table.asset(kinds={"python"}))
        for table, deps in (
            (SEGMENT_ASSIGNMENTS, [rfm_features, FEATURE_DRIFT.asset_key, CHAMPIONS.asset_key]),
            (SEGMENT_PROFILES, [SEGMENT_ASSIGNMENTS.asset_key]),
        )
    ]
)
def labelled_customers(
    context: dg.AssetExecutionContext, warehouse: Warehouse, settings: dg.ResourceParam[Settings]
) -> Iterator[dg.MaterializeResult]:
    from seg_pipeline.plotting import plots
    from seg_pipeline.plotting.notation import Notation

    as_of = night_of(context)
    champion = champion_of(warehouse, as_of)
    assign_night(warehouse, champion, as_of)
    profiles = warehouse.night(SEGMENT_PROFILES, as_of)
    yield dg.MaterializeResult(
        asset_key=SEGMENT_ASSIGNMENTS.asset_key,
        metadata={
            **rows_built(warehouse, SEGMENT_ASSIGNMENTS, as_of),
            "customers": int(profiles["customers"].sum()),
            "model_id": champion.model_id,
            "fitted_as_of": champion.fitted_as_of.isoformat(),
            "mean_confidence": round(float((profiles["mean_confidence"] * profiles["share"]).sum()), 4),
            "first_rows": preview(warehouse, SEGMENT_ASSIGNMENTS, as_of),
        },
    )
    columns = ["segment_id", "segment_name", "customers", "share", "revenue", "revenue_share"]
    notation = Notation(settings.report.locale, settings.strategies.currency)
    yield dg.MaterializeResult(
        asset_key=SEGMENT_PROFILES.asset_key,
        metadata={
            **rows_built(warehouse, SEGMENT_PROFILES, as_of, revenue="revenue"),
            "segments": dg.MetadataValue.md(markdown(profiles[columns])),
            "names": dg.MetadataValue.md(markdown(profiles[["segment_name", "name_reason"]])),
            "rules": dg.MetadataValue.md(markdown(profiles[["segment_name", "rule", "rule_precision", "rule_recall"]])),
            "rule_fidelity": round(champion.rule_fidelity, 4),
            "sizes_and_revenue": dg.MetadataValue.md(
                plots.markdown_image(plots.sizes_and_revenue(profiles, notation=notation), "Sizes and revenue")
            ),
            "feature_profiles": dg.MetadataValue.md(
                plots.markdown_image(plots.feature_profiles(profiles, notation=notation), "Feature profiles")
            ),
        },
    )


@dg.multi_asset(
    specs=[
        dg.AssetSpec(deps=[SEGMENT_ASSIGNMENTS.asset_key], partitions_def=NIGHTS, **table.asset(kinds={"sql"}))
        for table in (SEGMENT_HISTORY, SEGMENT_MIGRATION, SEGMENT_MOVES)
    ]
)
def migrated_customers(context: dg.AssetExecutionContext, warehouse: Warehouse) -> Iterator[dg.MaterializeResult]:
    from seg_pipeline.plotting import plots

    as_of = night_of(context)
    migrate_night(warehouse, as_of)
    nights = warehouse.read(
        "SELECT as_of, count(*) AS customers FROM segments.segment_history GROUP BY ALL ORDER BY ALL"
    )
    yield dg.MaterializeResult(
        asset_key=SEGMENT_HISTORY.asset_key,
        metadata={"dagster/row_count": int(nights["customers"].sum()), "nights": len(nights)},
    )
    migration = warehouse.night(SEGMENT_MIGRATION, as_of)
    flow = _farthest(migration)
    stayed = migration[migration["from_segment_id"] == migration["to_segment_id"]]
    pictures = {"flow": dg.MetadataValue.md(plots.markdown_image(plots.flow(flow), "Who moved"))} if len(flow) else {}
    yield dg.MaterializeResult(
        asset_key=SEGMENT_MIGRATION.asset_key,
        metadata={
            **rows_built(warehouse, SEGMENT_MIGRATION, as_of),
            "moved": int(migration["customers"].sum() - stayed["customers"].sum()),
            "migration": dg.MetadataValue.md(markdown(migration.drop(columns=["as_of", "to_as_of"]))),
            **pictures,
        },
    )
    lists = warehouse.read(
        "SELECT segment_name AS newly, from_segment_name AS before, count(*) AS customers,"
        f" CAST(sum(monetary) AS DOUBLE) AS monetary FROM {SEGMENT_MOVES.name} WHERE as_of = $as_of"
        " GROUP BY ALL ORDER BY customers DESC, newly, before",
        {"as_of": as_of},
    )
    yield dg.MaterializeResult(
        asset_key=SEGMENT_MOVES.asset_key,
        metadata={
            **rows_built(warehouse, SEGMENT_MOVES, as_of),
            "lists": dg.MetadataValue.md(markdown(lists)),
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
            **rows_built(warehouse, SEGMENT_STRATEGIES, as_of),
            "budget": dg.MetadataValue.md(
                markdown(
                    plan[
                        [
                            "segment_name",
                            "contact_cost",
                            "spendable",
                            "budget_share",
                            "budget",
                            "contacts",
                            "reached_share",
                            "arithmetic",
                        ]
                    ]
                )
            ),
            "holdout": dg.MetadataValue.md(
                markdown(plan[["segment_name", "base_rate", "holdout_customers", "smallest_effect"]])
            ),
            "actions": dg.MetadataValue.md(
                markdown(plan[["segment_name", "objective", "marketing", "sales", "service"]])
            ),
        }
    )


@dg.asset(
    key=["segments", "published_files"],
    group_name="segments",
    kinds={"duckdb", "parquet", "csv", "html"},
    owners=[OWNER],
    description="What teams read: the night's segments as Parquet, CSV and one DuckDB file, and the evaluation report."
    " The latest night's set is switched as a whole; an older night changes nothing that is published.",
    # The columns of the file that most readers open.
    metadata=SEGMENT_ASSIGNMENTS.asset(kinds=())["metadata"],
    partitions_def=NIGHTS,
    deps=[*(table.asset_key for table in (*PUBLISHED_TABLES, EVALUATION_REPORT, CHOICE_SENSITIVITY, VALUE_BY_SEGMENT))],
)
def published_files(
    context: dg.AssetExecutionContext, warehouse: Warehouse, settings: dg.ResourceParam[Settings]
) -> dg.MaterializeResult:
    from seg_pipeline.plotting import plots
    from seg_pipeline.plotting.notation import Notation
    from seg_pipeline.publishing.report import Report, render

    as_of = night_of(context)
    champion = champion_of(warehouse, as_of)
    # What was compared on the night that the champion was fitted.
    evaluation = warehouse.night(EVALUATION_REPORT, champion.fitted_as_of)
    profiles = warehouse.night(SEGMENT_PROFILES, as_of)
    cells, axis_labels = _cluster_map(champion)
    report = Report(
        as_of=as_of,
        source=warehouse.value(SOURCE_IN_WORDS),
        notation=Notation(settings.report.locale, settings.strategies.currency),
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
        settings={key: value for key, value in flattened(settings).items() if key.split(".")[0] in SHOWN},
        model_id=champion.model_id,
        versions={name: version(name) for name in PACKAGES},
        rule=choice_rule(settings.selection),
        sensitivity=warehouse.night(CHOICE_SENSITIVITY, champion.fitted_as_of),
        value_window=warehouse.night(VALUE_WINDOW, champion.fitted_as_of),
        value_test=warehouse.night(VALUE_TEST, champion.fitted_as_of),
        value_by_segment=warehouse.night(VALUE_BY_SEGMENT, champion.fitted_as_of),
        fitted_as_of=champion.fitted_as_of,
        migration=_farthest(warehouse.night(SEGMENT_MIGRATION, as_of)),
    )
    folder, is_latest = publish(
        warehouse,
        PUBLISHED_TABLES,
        {REPORT_PAGE: render(report), TIMINGS: _step_timings(context.instance, context.run.run_id)},
        as_of,
        champion.model_id,
        settings.output.path,
        output_hash_key(settings.output),
        VIEWS,
    )
    forgotten = forget_nights(warehouse, champion, as_of, settings.retention.nights) if is_latest else 0
    metadata: dict[str, Any] = {
        **rows_built(warehouse, SEGMENT_ASSIGNMENTS, as_of),
        "rows_past_retention": forgotten,
        "published": is_latest,
        "cluster_map": dg.MetadataValue.md(plots.markdown_image(plots.cluster_map(cells, axis_labels), "Cluster map")),
    }
    if is_latest:
        metadata["report"] = dg.MetadataValue.path(str((folder / REPORT_PAGE).absolute()))
        metadata["folder"] = dg.MetadataValue.path(str(folder.absolute()))
    return dg.MaterializeResult(metadata=metadata)


@dg.asset_check(
    asset=RFM_FEATURES.asset_key,
    description="At most drift.lost_customers_critical of the customers of the last night with segments are gone; from"
    " drift.lost_customers_warning it warns. If they are meant to be gone, raise the limit for one run. (critical)",
    blocking=True,
)
def customers_kept(
    context: dg.AssetCheckExecutionContext, warehouse: Warehouse, settings: dg.ResourceParam[Settings]
) -> dg.AssetCheckResult:
    run = context.op_execution_context
    # By itself, without a partition, it looks at the newest night.
    newest = f"SELECT max(as_of) FROM {RFM_FEATURES.name}"
    as_of = as_of_of(run.partition_key) if run.has_partition_key else warehouse.value(newest)
    gone, before = lost_customers(warehouse, as_of)
    critical = gone > settings.drift.lost_customers_critical * before
    return dg.AssetCheckResult(
        passed=gone <= settings.drift.lost_customers_warning * before,
        severity=dg.AssetCheckSeverity.ERROR if critical else dg.AssetCheckSeverity.WARN,
        description=f"{gone:,} of the {before:,} customers of the last night with segments are gone",
        metadata={"gone": gone, "before": before},
    )


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


def _farthest(migration: "pd.DataFrame") -> "pd.DataFrame":
    """The rows that compare with the earliest of the nights."""
    return migration[migration["from_as_of"] == migration["from_as_of"].min()]


def _step_timings(instance: dg.DagsterInstance, run_id: str) -> str:
    """A CSV of the steps that a run has ended so far: `step`, `began_at` (UTC), `seconds`; in the order they began.

    Those of the run that loaded the orders come first, where that is another one.
    """
    loaded = instance.get_latest_materialization_event(dg.AssetKey(RAW_ORDERS.asset_key))
    runs = dict.fromkeys([*([loaded.run_id] if loaded else []), run_id])
    steps = [
        (step.start_time, step.end_time - step.start_time, step.step_key)
        for run in runs
        for step in instance.get_run_step_stats(run)
        if step.start_time is not None and step.end_time is not None
    ]
    text = io.StringIO()
    lines = csv.writer(text, lineterminator="\n")
    lines.writerow(["step", "began_at", "seconds"])
    for began, seconds, step in sorted(steps):
        began_at = datetime.datetime.fromtimestamp(began, datetime.UTC)
        lines.writerow([step, began_at.isoformat(sep=" ", timespec="milliseconds"), f"{seconds:.3f}"])
    return text.getvalue()


def _cluster_map(champion: Champion) -> "tuple[pd.DataFrame, tuple[str, str]]":
    """The cells that the champion was fitted on, on two axes, each in the segment of its cluster."""
    import pandas as pd

    coreset = champion.scorer.coreset
    features = champion.scorer.transforms.sort_values("position")["feature"].to_list()
    places, axis_labels = principal_plane(coreset.points, coreset.weights, features)
    table = pd.DataFrame(
        {
            "x": places[:, 0],
            "y": places[:, 1],
            "customers": coreset.weights,
            "cluster": champion.scorer.model.cell_labels,
        }
    )
    return table.merge(champion.segments[["cluster", "segment_id", "segment_name"]], on="cluster"), axis_labels


defs = dg.Definitions(
    assets=[appointed_champion, labelled_customers, migrated_customers, segment_strategies, published_files],
    asset_checks=[
        *(checks_of(table) for table in (CHAMPIONS, CHAMPION_DECISIONS, SEGMENT_IDENTITY, SEGMENT_HISTORY)),
        *(checks_of(table) for table in OUTCOMES),
        customers_kept,
        published_set_is_whole,
    ],
)
