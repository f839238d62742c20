"""A run from the command line: the jobs that the UI knows, in this process, with its progress shown."""

import datetime
import importlib
import logging
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import dagster as dg

from seg_pipeline.automation import ingest, night
from seg_pipeline.definitions import Loader, build_definitions, check, warehouse_of
from seg_pipeline.errors import DataError, UsageError
from seg_pipeline.nights import FIRST_DAY, has_night, partition_of
from seg_pipeline.segments.publishing import LATEST, published_as_of
from seg_pipeline.settings import dagster_home
from seg_pipeline.warehouse import Warehouse


@dataclass(slots=True)
class Progress:
    """What a run tells while it goes: its steps, its stages with their seconds, and the checks that failed.

    `started` is called with the name of each step as it begins, `finished` with each stage and its seconds as the next
    one begins, `warned` with each failed warning.
    """

    started: Callable[[str], None]
    finished: Callable[[str, float], None]
    warned: Callable[[str], None]
    seconds: dict[str, float] = field(default_factory=dict)
    failed_checks: list[str] = field(default_factory=list)
    _stage: str = ""

    def on_event(self, event: dg.DagsterEvent) -> None:
        kind = event.event_type
        if kind == dg.DagsterEventType.STEP_START:
            self.started(event.step_key or "")
        elif kind == dg.DagsterEventType.ASSET_MATERIALIZATION and event.asset_key:
            self._in_stage(event.asset_key.path[0])
        elif kind == dg.DagsterEventType.ASSET_CHECK_EVALUATION:
            evaluation = event.asset_check_evaluation_data
            self._in_stage(evaluation.asset_key.path[0])
            if not evaluation.passed:
                line = f"{'.'.join(evaluation.asset_key.path)}: {evaluation.check_name}: {evaluation.description}"
                if evaluation.severity == dg.AssetCheckSeverity.ERROR:
                    self.failed_checks.append(line)
                else:
                    self.warned(line)
        elif kind == dg.DagsterEventType.STEP_SUCCESS and self._stage:
            self.seconds[self._stage] += event.step_success_data.duration_ms / 1000

    def end(self) -> None:
        """Tells the last stage."""
        self._in_stage("")

    def _in_stage(self, stage: str) -> None:
        if stage != self._stage:
            if self._stage:
                self.finished(self._stage, self.seconds[self._stage])
            self._stage = stage
            self.seconds.setdefault(stage, 0.0)


@dataclass(frozen=True, slots=True)
class Done:
    """A finished run: its night, the warehouse, and the published folder where this night is the latest."""

    as_of: datetime.date
    warehouse: Warehouse
    output: Path
    published: Path | None


def run(load: Loader, progress: Progress) -> Done:
    """Loads and cleans the source, then builds one night: settings.as_of, or the night after the last order.

    Raises:
        SegPipelineError: with the one line to show; a failed critical check is a DataError that names it.
    """
    settings = load(())
    check(settings)
    definitions = build_definitions(load, loggers={"progress": _logger(progress)})
    warehouse = warehouse_of(settings.warehouse)
    if settings.as_of is not None and not has_night(settings.as_of):
        raise UsageError(f"as_of: {settings.as_of} is no night: nights go from {FIRST_DAY} to tomorrow (UTC)")
    threading.Thread(target=_import_early, daemon=True).start()
    with warehouse.held(), _instance() as instance:
        _execute(definitions, ingest.name, instance, progress)
        as_of = settings.as_of or _day_after_last_order(warehouse)
        _execute(definitions, night.name, instance, progress, partition_of(as_of))
    progress.end()
    folder = settings.output.path
    return Done(as_of, warehouse, folder, folder / LATEST if published_as_of(folder) == as_of else None)


def _import_early() -> None:
    """Loads what takes seconds to load, in the order it is needed, while the database reads the orders."""
    for module in ("seg_pipeline.great_expectations_duckdb", "sklearn.cluster", "kneed", "matplotlib.figure"):
        importlib.import_module(module)


def _execute(
    definitions: dg.Definitions,
    job: str,
    instance: dg.DagsterInstance,
    progress: Progress,
    partition: str | None = None,
) -> None:
    try:
        definitions.resolve_job_def(job).execute_in_process(
            instance=instance, partition_key=partition, run_config={"loggers": {"progress": {"config": {}}}}
        )
    except dg.DagsterExecutionInterruptedError:
        raise KeyboardInterrupt from None
    except dg.DagsterError:
        if not progress.failed_checks:
            raise
        raise DataError("critical check failed: " + "; ".join(progress.failed_checks)) from None


def _day_after_last_order(warehouse: Warehouse) -> datetime.date:
    last: datetime.date = warehouse.value("SELECT CAST(max(ordered_at) AS DATE) FROM prepared.clean_orders")
    as_of = last + datetime.timedelta(days=1)
    if not has_night(as_of):
        where = warehouse.value(
            "SELECT arg_max(source_file || ' row ' || source_row, ordered_at) FROM prepared.clean_orders"
        )
        raise DataError(
            f"{where}: the last order is of {last}, and nights go from {FIRST_DAY} to tomorrow (UTC);"
            " mend the date, narrow plausible_dates, or give --as-of"
        )
    return as_of


@contextmanager
def _instance() -> Iterator[dg.DagsterInstance]:
    """The UI's own history where DAGSTER_HOME names it, else one that is gone afterwards."""
    with dg.DagsterInstance.get() if dagster_home() else dg.DagsterInstance.ephemeral() as instance:
        yield instance


def _logger(progress: Progress) -> dg.LoggerDefinition:
    """A Dagster logger that passes events on and writes nothing."""

    class Handler(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            meta: dict[str, Any] = getattr(record, "dagster_meta", {})
            if (event := meta.get("dagster_event")) is not None:
                progress.on_event(event)

    @dg.logger(config_schema={})
    def logger(context: dg.InitLoggerContext) -> logging.Logger:
        log = logging.Logger("progress", level=logging.DEBUG)
        log.addHandler(Handler())
        return log

    return logger
