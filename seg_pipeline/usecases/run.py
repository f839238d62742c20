"""A run from the command line: the jobs that the UI knows, in this process, with its progress shown."""

import datetime
import logging
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import dagster as dg

from seg_pipeline import interrupts, loading
from seg_pipeline.automation import ingest, night
from seg_pipeline.automation import refit as refit_job
from seg_pipeline.champions.cadence import refit_due
from seg_pipeline.definitions import Loader, build_definitions, check, warehouse_of
from seg_pipeline.errors import DataError, UsageError
from seg_pipeline.models.champions import newest_champion
from seg_pipeline.models.side_by_side import start_early
from seg_pipeline.nights import FIRST_DAY, has_night, partition_of
from seg_pipeline.publishing.sets import LATEST, published_as_of
from seg_pipeline.raw.object_storage import is_object
from seg_pipeline.settings import dagster_home
from seg_pipeline.warehouse import Warehouse


@dataclass(slots=True)
class Progress:
    """What a run tells while it goes: its steps, its stages with their seconds, and the checks that failed.

    `started` is called with the name of each step as it begins, `stepped` with its name and seconds as it ends,
    `finished` with each stage and its seconds at the end of each of Dagster's runs (stages take turns within one), or
    with each night of a backfill, `warned` with each failed warning. `interrupted` says whether the run is to end.
    """

    started: Callable[[str], None]
    stepped: Callable[[str, float], None]
    finished: Callable[[str, float], None]
    warned: Callable[[str], None]
    interrupted: Callable[[], bool] = lambda: False
    seconds: dict[str, float] = field(default_factory=dict)
    failed_checks: list[str] = field(default_factory=list)
    _stage: str = ""
    _told: int = 0

    def on_event(self, event: dg.DagsterEvent) -> None:
        if self.interrupted():
            raise KeyboardInterrupt
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
        elif kind == dg.DagsterEventType.STEP_SUCCESS:
            seconds = event.step_success_data.duration_ms / 1000
            self.stepped(event.step_key or "", seconds)
            if self._stage:
                self.seconds[self._stage] += seconds

    def end_run(self) -> None:
        """Tells the stages of the run that has ended, in the order in which they began."""
        for stage in list(self.seconds)[self._told :]:
            self.finished(stage, self.seconds[stage])
        self._told = len(self.seconds)

    def _in_stage(self, stage: str) -> None:
        self._stage = stage
        self.seconds.setdefault(stage, 0.0)


@dataclass(frozen=True, slots=True)
class Done:
    """A finished run: its night, the warehouse, and the published folder where this night is the latest.

    `fit` says why models were fitted, None where the night was scored only.
    """

    as_of: datetime.date
    fit: str | None
    warehouse: Warehouse
    output: Path
    published: Path | None


def run(load: Loader, progress: Progress, *, refit: bool = False) -> Done:
    """Loads and cleans the source, then builds one night: settings.as_of, or the night after the last order.

    Models are fitted where that is due, or `refit` asks for it; else the night is scored with its champion.

    Raises:
        SegPipelineError: with the one line to show; a failed critical check is a DataError that names it.
    """
    settings = load(())
    check(settings)
    definitions = build_definitions(load, loggers={"progress": _logger(progress)})
    warehouse = warehouse_of(settings)
    if settings.as_of is not None and not has_night(settings.as_of):
        raise UsageError(f"as_of: {settings.as_of} is no night: nights go from {FIRST_DAY} to tomorrow (UTC)")
    with warehouse.held(), _instance() as instance:
        start_early()
        # A table or objects are read by libraries that must be loaded then.
        if not settings.source.table and not any(map(is_object, settings.source.path)):
            loading.start()
        _execute(definitions, ingest.name, instance, progress)
        progress.end_run()
        as_of = settings.as_of or _day_after_last_order(warehouse)
        newest = newest_champion(warehouse)
        if settings.as_of is None and newest is not None and as_of < newest.in_force_from:
            progress.warned(
                f"the last order is before {newest.model_id}, which is in force from {newest.in_force_from}; are these"
                " other orders? Then give them a --warehouse (and --output) of their own"
            )
        fit = "asked for" if refit else refit_due(warehouse, settings, as_of)
        _execute(definitions, (refit_job if fit else night).name, instance, progress, partition_of(as_of))
        progress.end_run()
    folder = settings.output.path
    return Done(as_of, fit, warehouse, folder, folder / LATEST if published_as_of(folder) == as_of else None)


def backfill(
    load: Loader, progress: Progress, first: datetime.date, last: datetime.date, *, refit: bool = False
) -> list[datetime.date]:
    """Scores nights anew from the clean orders that are there, with a fit of each only if `refit`. Returns the nights.

    Raises:
        SegPipelineError: with the one line to show.
    """
    settings = load(())
    check(settings)
    nights = [first + datetime.timedelta(days=day) for day in range((last - first).days + 1)]
    if not nights or not (has_night(first) and has_night(last)):
        raise UsageError(f"no nights from {first} to {last}: they go from {FIRST_DAY} to tomorrow (UTC)")
    definitions = build_definitions(load, loggers={"progress": _logger(progress)})
    with warehouse_of(settings).held(), _instance() as instance:
        start_early()
        for as_of in nights:
            began = time.perf_counter()
            _execute(definitions, (refit_job if refit else night).name, instance, progress, partition_of(as_of))
            progress.finished(str(as_of), time.perf_counter() - began)
    return nights


def _execute(
    definitions: dg.Definitions,
    job: str,
    instance: dg.DagsterInstance,
    progress: Progress,
    partition: str | None = None,
) -> None:
    with interrupts.watched(dg.DagsterExecutionInterruptedError) as interrupted:
        progress.interrupted = interrupted
        try:
            definitions.resolve_job_def(job).execute_in_process(
                instance=instance, partition_key=partition, run_config={"loggers": {"progress": {"config": {}}}}
            )
        except BaseException as error:
            if interrupted() or isinstance(error, dg.DagsterExecutionInterruptedError):
                raise KeyboardInterrupt from None
            if isinstance(error, dg.DagsterError) and progress.failed_checks:
                raise DataError("critical check failed: " + "; ".join(progress.failed_checks)) from None
            raise
        if interrupted():
            raise KeyboardInterrupt


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
