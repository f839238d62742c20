"""The door of the publishing room: the files that teams read."""

import csv
import datetime
import io

import dagster as dg

from seg_pipeline.evaluation.tables import CHOICE_SENSITIVITY, EVALUATION_REPORT, VALUE_BY_SEGMENT
from seg_pipeline.models.champions import champion_of
from seg_pipeline.publishing.night import publish_night, report_of
from seg_pipeline.publishing.sets import REPORT_PAGE, TIMINGS, damaged_files
from seg_pipeline.publishing.tables import PUBLISHED_TABLES
from seg_pipeline.raw.tables import RAW_ORDERS
from seg_pipeline.segments.tables import SEGMENT_ASSIGNMENTS
from seg_pipeline.ui import rows_built
from seg_pipeline.wiring import Room, Shop, night_of

PUBLISHED_FILES = "segments.published_files"


def assets_of(shop: Shop) -> Room:
    """Returns the publishing room."""
    room = shop.room("publishing", nightly=True)

    @room.files(
        PUBLISHED_FILES,
        "What teams read: the night's segments as Parquet, CSV and one DuckDB file, and the evaluation report. The"
        " latest night's set is switched as a whole; an older night changes nothing that is published.",
        kinds={"duckdb", "parquet", "csv", "html"},
        deps=[*PUBLISHED_TABLES, EVALUATION_REPORT, CHOICE_SENSITIVITY, VALUE_BY_SEGMENT],
        # The file that most readers open.
        columns=SEGMENT_ASSIGNMENTS,
    )
    def published_files(context: dg.AssetExecutionContext) -> dg.MaterializeResult:
        from seg_pipeline.plotting.segments import cluster_map

        warehouse, as_of = shop.warehouse(context), night_of(context)
        settings = shop.settings_of(context)
        champion = champion_of(warehouse, as_of)
        report = report_of(warehouse, settings, champion, as_of)
        timings = _step_timings(context.instance, shop.key(RAW_ORDERS), context.run.run_id)
        pages = {TIMINGS: timings}
        published = publish_night(warehouse, settings, champion, report, pages, context.log.warning)
        places = {"report": published.folder / REPORT_PAGE, "folder": published.folder} if published.is_latest else {}
        return dg.MaterializeResult(
            metadata={
                **rows_built(warehouse, SEGMENT_ASSIGNMENTS, as_of),
                "rows_past_retention": published.rows_past_retention,
                "published": published.is_latest,
                **shop.picture(lambda: cluster_map(report.cells, report.axis_labels), "Cluster map"),
                **{name: dg.MetadataValue.path(str(place.absolute())) for name, place in places.items()},
            }
        )

    @room.check(PUBLISHED_FILES, "Every published file is there, and its content is what the manifest says.")
    def published_set_is_whole(context: dg.AssetCheckExecutionContext) -> dg.AssetCheckResult:
        damaged = damaged_files(shop.settings_of(context).output.path)
        return dg.AssetCheckResult(
            passed=not damaged, description=", ".join(damaged) or None, metadata={"damaged": damaged}
        )

    return room


def _step_timings(instance: dg.DagsterInstance, orders: dg.AssetKey, run_id: str) -> str:
    """Returns the finished steps of a run as CSV: `step`, `began_at` (UTC), `seconds`.

    The steps are in the order in which they began. If another run loaded the orders, its steps come first.
    """
    load = instance.get_latest_materialization_event(orders)
    runs = dict.fromkeys([*([load.run_id] if load else []), run_id])
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
