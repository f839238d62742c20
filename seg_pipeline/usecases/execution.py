"""Runs the jobs that the UI knows in this process, and reports their progress."""

import logging
import signal
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import dagster as dg

from seg_pipeline import interrupts
from seg_pipeline.errors import DataError, MachineError
from seg_pipeline.guest import check, definitions_of
from seg_pipeline.models.parallel import start_workers
from seg_pipeline.settings import Settings, dagster_home
from seg_pipeline.usecases.event_store import instance_in_memory
from seg_pipeline.warehouse import Warehouse
from seg_pipeline.wiring import Shop, warehouse_of

REPAIR = "if a delivered file is at fault, correct it, or take it out with seg-pipeline retract FILE, and run again"


@dataclass(slots=True)
class Progress:
    """Reports the progress of runs as it happens, and keeps what is needed after them.

    Attributes:
        on_step_start: Called with the name of each step as it begins.
        on_step_end: Called with the name and the seconds of each step as it ends.
        on_part_end: Called with a name and its seconds: for each stage at the end of a run, since stages take turns
            within it, or for each night of a backfill as it ends.
        on_warning: Called with a line for each check that failed as a warning, and for each warning that a step logs.
        interrupt: Returns the number of the signal that asks the run to end; None if there is none.
        seconds: The seconds of each stage so far, in the order in which the stages began.
        failed_checks: A line for each critical check that failed.
        has_published: Whether the step that publishes has ended, and its night is the latest.
    """

    on_step_start: Callable[[str], None]
    on_step_end: Callable[[str, float], None]
    on_part_end: Callable[[str, float], None]
    on_warning: Callable[[str], None]
    interrupt: Callable[[], int | None] = lambda: None
    seconds: dict[str, float] = field(default_factory=dict)
    failed_checks: list[str] = field(default_factory=list)
    has_published: bool = False
    _stage: str = ""
    _stages_reported: int = 0

    def on_event(self, event: dg.DagsterEvent) -> None:
        """Reports one of Dagster's events.

        Raises:
            Interrupted: The run has to end.
        """
        kind = event.event_type
        if kind == dg.DagsterEventType.ASSET_MATERIALIZATION:
            published = event.step_materialization_data.materialization.metadata.get("published")
            self.has_published = self.has_published or bool(published and published.value)
        self.raise_interrupt()
        if kind == dg.DagsterEventType.STEP_START:
            self.on_step_start(event.step_key or "")
        elif kind == dg.DagsterEventType.ASSET_MATERIALIZATION and event.asset_key:
            self._enter_stage(event.asset_key.path[0])
        elif kind == dg.DagsterEventType.ASSET_CHECK_EVALUATION:
            evaluation = event.asset_check_evaluation_data
            self._enter_stage(evaluation.asset_key.path[0])
            if not evaluation.passed:
                line = f"{'.'.join(evaluation.asset_key.path)}: {evaluation.check_name}: {evaluation.description}"
                if evaluation.severity == dg.AssetCheckSeverity.ERROR:
                    self.failed_checks.append(line)
                else:
                    self.on_warning(line)
        elif kind == dg.DagsterEventType.STEP_SUCCESS:
            seconds = event.step_success_data.duration_ms / 1000
            self.on_step_end(event.step_key or "", seconds)
            if self._stage:
                self.seconds[self._stage] += seconds

    def raise_interrupt(self) -> None:
        """Raises Interrupted if a signal asks the run to end, even if a library swallowed its exception."""
        if number := self.interrupt() or interrupts.arrived_interrupt():
            raise interrupts.Interrupted(number)

    def report_stages(self) -> None:
        """Reports the stages of the run that has just ended, in the order in which they began."""
        for stage in list(self.seconds)[self._stages_reported :]:
            self.on_part_end(stage, self.seconds[stage])
        self._stages_reported = len(self.seconds)

    def _enter_stage(self, stage: str) -> None:
        self._stage = stage
        self.seconds.setdefault(stage, 0.0)


@dataclass(frozen=True, slots=True)
class Execution:
    """A warehouse that this process holds, and the jobs that it can run there.

    Attributes:
        warehouse: The warehouse.
        shop: The shop that the jobs were made for.
        definitions: The definitions that hold the jobs.
        instance: The Dagster instance that records the runs.
        progress: Receives the progress of the runs.
    """

    warehouse: Warehouse
    shop: Shop
    definitions: dg.Definitions
    instance: dg.DagsterInstance
    progress: Progress

    def run(self, job: str, partition: str | None = None) -> None:
        """Runs a job.

        Args:
            job: The job's name, without the prefix of the shop.
            partition: The partition of the night, if the job has nights.

        Raises:
            DataError: A critical check failed; the message names it.
            Interrupted: A signal interrupted the job, or the one before it at its very end, even if a library swallowed
                the exception.
        """
        self.progress.raise_interrupt()
        if job == "refit":
            start_workers()
        with interrupts.watch_interrupts(dg.DagsterExecutionInterruptedError) as arrived_signal:
            self.progress.interrupt = arrived_signal
            try:
                self.definitions.resolve_job_def(self.shop.name(job)).execute_in_process(
                    instance=self.instance,
                    partition_key=partition,
                    run_config={"loggers": {"progress": {"config": {}}}},
                )
            except BaseException as error:
                number = arrived_signal()
                if number or isinstance(error, dg.DagsterExecutionInterruptedError):
                    raise interrupts.Interrupted(number or signal.SIGINT) from None
                if isinstance(error, dg.DagsterError) and self.progress.failed_checks:
                    raise DataError(
                        f"critical check failed: {'; '.join(self.progress.failed_checks)}; {REPAIR}"
                    ) from None
                raise


@contextmanager
def executing(settings: Settings, progress: Progress) -> Iterator[Execution]:
    """Holds the warehouse of the settings and yields an execution that runs jobs on it.

    Raises:
        UsageError: The settings name something that does not exist.
        MachineError: The warehouse cannot be opened, or stays busy, or there is no temporary folder.
    """
    check(settings)
    _require_temporary_folder()
    home = dagster_home()
    # Without a home for its records, Dagster has no pages to look at.
    shop = Shop(settings, has_pages=home is not None)
    definitions = definitions_of(shop, loggers={"progress": _logger(progress)})
    warehouse = warehouse_of(settings)
    with (
        warehouse.held(),
        dg.DagsterInstance.get() if home else instance_in_memory() as instance,
    ):
        yield Execution(warehouse, shop, definitions, instance, progress)


def _require_temporary_folder() -> None:
    """Raises MachineError if there is no temporary folder, which Dagster needs for its records."""
    try:
        tempfile.gettempdir()
    except FileNotFoundError as error:
        raise MachineError(f"{error.strerror}; create one, or set TMPDIR") from None


def _logger(progress: Progress) -> dg.LoggerDefinition:
    """Returns a Dagster logger that passes events to the progress and writes nothing."""

    class Handler(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            meta: dict[str, Any] = getattr(record, "dagster_meta", {})
            if (event := meta.get("dagster_event")) is not None:
                progress.on_event(event)
            elif record.levelno == logging.WARNING:
                progress.on_warning(meta.get("orig_message") or record.getMessage())

    @dg.logger(config_schema={})
    def logger(context: dg.InitLoggerContext) -> logging.Logger:
        log = logging.Logger("progress", level=logging.DEBUG)
        log.addHandler(Handler())
        return log

    return logger
