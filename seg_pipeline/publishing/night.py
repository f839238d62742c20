"""Publishes one night: its report and its files; then deletes the rows of nights past their retention."""

import datetime
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING

from seg_pipeline.evaluation.selection import choice_rule
from seg_pipeline.evaluation.tables import (
    CHOICE_SENSITIVITY,
    CHOICE_WINDOW,
    EVALUATION_REPORT,
    VALUE_BY_SEGMENT,
    VALUE_TEST,
    VALUE_WINDOW,
)
from seg_pipeline.models.champions import SHAPING, Champion
from seg_pipeline.prepared.day_figures import findings, newest_days
from seg_pipeline.publishing.retention import delete_old_nights
from seg_pipeline.publishing.sets import REPORT_PAGE, publish
from seg_pipeline.publishing.tables import PUBLISHED_TABLES
from seg_pipeline.publishing.views import VIEWS
from seg_pipeline.segments.assignment import advice_by_segment
from seg_pipeline.segments.migration import move_lists, since_earliest_night
from seg_pipeline.segments.tables import SEGMENT_MIGRATION, SEGMENT_PROFILES, SEGMENT_STRATEGIES
from seg_pipeline.settings import Settings, flattened, output_hash_key
from seg_pipeline.warehouse import Warehouse, Warn

if TYPE_CHECKING:
    from seg_pipeline.publishing.report import Report

# Settings that shape the numbers; the report leaves out those of the machine.
SHOWN_SETTINGS = (*SHAPING, "champions", "drift", "report", "rhythm", "strategies", "value")
SOURCE_IN_WORDS = (
    "SELECT min(source_file) || CASE count(DISTINCT source_file) WHEN 1 THEN ''"
    " ELSE ' to ' || max(source_file) || ' (' || count(DISTINCT source_file) || ' files)' END FROM raw.raw_orders"
)
LINES_BY_STAGE = (
    "SELECT 'raw' AS stage, NULL AS reason, count(*) AS lines FROM raw.raw_orders"
    " UNION ALL SELECT 'clean', NULL, count(*) FROM prepared.clean_orders"
    " UNION ALL (SELECT 'rejected', reason, count(*) AS lines FROM prepared.rejected_orders GROUP BY reason"
    " ORDER BY lines DESC, reason)"
)
PACKAGES = ("seg-pipeline", "dagster", "duckdb", "great-expectations", "scikit-learn", "pandas")


@dataclass(frozen=True, slots=True)
class Published:
    """The result of publishing a night.

    Attributes:
        folder: The published set.
        is_latest: Whether the night is the latest one published; an older night changes nothing.
        rows_past_retention: How many rows of nights past retention.nights were deleted from the warehouse.
    """

    folder: Path
    is_latest: bool
    rows_past_retention: int


def report_of(warehouse: Warehouse, settings: Settings, champion: Champion, as_of: datetime.date) -> "Report":
    """Returns the contents of a night's report: its segments, and the candidates that its model was chosen from."""
    from seg_pipeline.plotting.notation import Notation
    from seg_pipeline.publishing.cluster_map import champion_map
    from seg_pipeline.publishing.report import Report

    fitted = champion.fitted_as_of
    cells, axis_labels = champion_map(champion)
    return Report(
        as_of=as_of,
        source=warehouse.value(SOURCE_IN_WORDS),
        notation=Notation(settings.report.locale, settings.strategies.currency),
        evaluation=warehouse.night(EVALUATION_REPORT, fitted),
        profiles=warehouse.night(SEGMENT_PROFILES, as_of),
        strategies=warehouse.night(SEGMENT_STRATEGIES, as_of),
        cells=cells,
        axis_labels=axis_labels,
        rows=warehouse.read(LINES_BY_STAGE),
        settings={key: value for key, value in flattened(settings).items() if key.split(".")[0] in SHOWN_SETTINGS},
        model_id=champion.model_id,
        versions={name: version(name) for name in PACKAGES},
        rule=choice_rule(settings.selection),
        sensitivity=warehouse.night(CHOICE_SENSITIVITY, fitted),
        value_window=warehouse.night(VALUE_WINDOW, fitted),
        choice_window=warehouse.night(CHOICE_WINDOW, fitted),
        value_test=warehouse.night(VALUE_TEST, fitted),
        value_by_segment=warehouse.night(VALUE_BY_SEGMENT, fitted),
        fitted_as_of=fitted,
        days=newest_days(warehouse, as_of),
        day_findings=findings(warehouse, as_of),
        migration=since_earliest_night(warehouse.night(SEGMENT_MIGRATION, as_of)),
        moves=move_lists(warehouse, as_of),
        advice=advice_by_segment(warehouse, as_of),
    )


def publish_night(
    warehouse: Warehouse,
    settings: Settings,
    champion: Champion,
    report: "Report",
    pages: Mapping[str, str],
    warn: Warn,
) -> Published:
    """Publishes a night and, if it is the latest one, deletes nights past their retention.

    Args:
        warehouse: The warehouse that holds the night.
        settings: Where to publish, how customer ids are shown, and how long nights are kept.
        champion: The model that scored the night.
        report: The contents of the report, from `report_of`.
        pages: The texts of further files by their names.
        warn: Is called if what was published is damaged.

    Raises:
        MachineError: The folder cannot be written.
    """
    from seg_pipeline.publishing.report import render

    latest = publish(
        warehouse,
        PUBLISHED_TABLES,
        {REPORT_PAGE: render(report), **pages},
        report.as_of,
        champion.model_id,
        settings.output.path,
        output_hash_key(settings.output),
        VIEWS,
        warn,
    )
    deleted = (
        delete_old_nights(warehouse, champion, report.as_of, settings.retention.nights) if latest.is_of_night else 0
    )
    return Published(latest.folder, latest.is_of_night, deleted)
