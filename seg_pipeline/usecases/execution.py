"""The jobs that the UI knows, run in this process, with their progress reported."""

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import dagster as dg

from seg_pipeline import interrupts
from seg_pipeline.errors import DataError
from seg_pipeline.guest import check, definitions_of
from seg_pipeline.models.parallel import start_workers
from seg_pipeline.settings import Settings, dagster_home
from seg_pipeline.warehouse import Warehouse
from seg_pipeline.wiring import Shop, warehouse_of


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
class Execution:
    """A held warehouse, and the jobs that can be run on it.

    Attributes:
        warehouse: What this process holds.
        shop: What was put together.
        definitions: Its jobs.
        instance: Where Dagster records the runs.
        progress: What hears of them.
    """

    warehouse: Warehouse
    shop: Shop
    definitions: dg.Definitions
    instance: dg.DagsterInstance
    progress: Progress

    def run(self, job: str, partition: str | None = None) -> None:
        """Runs a job by its name, of one night if it has nights.

        Raises:
            DataError: A critical check failed; the line names it.
            KeyboardInterrupt: Ctrl-C was pressed, whatever became of it in the meantime.
        """
        with interrupts.watched(dg.DagsterExecutionInterruptedError) as interrupted:
            self.progress.interrupted = interrupted
            try:
                self.definitions.resolve_job_def(self.shop.name(job)).execute_in_process(
                    instance=self.instance,
                    partition_key=partition,
                    run_config={"loggers": {"progress": {"config": {}}}},
                )
            except BaseException as error:
                if interrupted() or isinstance(error, dg.DagsterExecutionInterruptedError):
                    raise KeyboardInterrupt from None
                if isinstance(error, dg.DagsterError) and self.progress.failed_checks:
                    raise DataError("critical check failed: " + "; ".join(self.progress.failed_checks)) from None
                raise
            if interrupted():
                raise KeyboardInterrupt


@contextmanager
def executing(settings: Settings, progress: Progress) -> Iterator[Execution]:
    """Holds the warehouse of the settings, and yields what runs jobs on it.

    Raises:
        UsageError: The settings name what is not there.
        MachineError: The warehouse cannot be opened, or stays busy.
    """
    check(settings)
    home = dagster_home()
    # Without a home, nobody will look at Dagster's pages.
    shop = Shop(settings, has_pages=home is not None)
    definitions = definitions_of(shop, loggers={"progress": _logger(progress)})
    warehouse = warehouse_of(settings)
    with (
        warehouse.held(),
        dg.DagsterInstance.get() if home else dg.DagsterInstance.ephemeral() as instance,
    ):
        start_workers()
        yield Execution(warehouse, shop, definitions, instance, progress)


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
