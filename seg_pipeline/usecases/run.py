"""Runs the pipeline: loads and cleans the source, then builds one night."""

import datetime
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any

from seg_pipeline import preloading
from seg_pipeline.champions.cadence import last_scored, refit_due
from seg_pipeline.champions.tables import CHAMPION_DECISIONS
from seg_pipeline.errors import DataError, UsageError
from seg_pipeline.interrupts import ignore_interrupts
from seg_pipeline.models.champions import champion_of, newest_champion
from seg_pipeline.models.parallel import start_workers
from seg_pipeline.nights import FIRST_DAY, has_night, partition_of
from seg_pipeline.prepared.day_figures import no_new_day
from seg_pipeline.publishing.sets import LATEST, published_as_of
from seg_pipeline.raw.sources import needs_extra
from seg_pipeline.segments.tables import SEGMENT_PROFILES
from seg_pipeline.settings import Settings
from seg_pipeline.usecases.execution import Progress, executing
from seg_pipeline.warehouse import Warehouse

# The figures of a segment's profile that sum up a run.
FIGURES = (
    "customers",
    "share",
    "revenue",
    "revenue_share",
    "median_recency_days",
    "median_frequency",
    "median_monetary",
)


@dataclass(frozen=True, slots=True)
class RunResult:
    """The result of a run.

    Attributes:
        as_of: The night that was built.
        fit: Why models were fitted; None if the night was only scored.
        decision: Whether the fitted model became champion (`decision`) and why (`reason`); None without a fit.
        model_id: The model that scored the night.
        fitted_as_of: The night that the model was fitted on.
        segments: segment_id, segment_name and FIGURES of each segment.
        warehouse: The warehouse's file.
        output: The folder of all published sets.
        published: The published set; None if a later night is published.
    """

    as_of: datetime.date
    fit: str | None
    decision: dict[str, str] | None
    model_id: str
    fitted_as_of: datetime.date
    segments: list[dict[str, Any]]
    warehouse: str
    output: Path
    published: Path | None


def run(settings: Settings, progress: Progress, *, refit: bool = False) -> RunResult:
    """Loads and cleans the source, then builds one night.

    The result is read before another run can change the tables. An interrupt that comes after the night was published
    is too late, and the run ends as without it.

    Args:
        settings: The settings; `as_of` is the night, which is the one after the last order if it is None.
        progress: Receives the progress of the run.
        refit: Whether to fit models even if no fit is due. Without a fit, the night is scored with its champion.

    Returns:
        The night's segments, and where they are published.

    Raises:
        DataError: The orders cannot be read, or fail a critical check, which the message names.
        UsageError: The settings are wrong.
        MachineError: A file cannot be read or written.
    """
    if settings.as_of is not None and not has_night(settings.as_of):
        raise UsageError(f"as_of: {settings.as_of} is no night: nights go from {FIRST_DAY} to tomorrow (UTC)")
    with executing(settings, progress) as execution:
        warehouse = execution.warehouse
        newest = newest_champion(warehouse)
        will_fit = refit or newest is None
        if will_fit:
            start_workers()
        # From here on a thread imports modules, and nothing else may be imported, such as a source's driver.
        if not needs_extra(settings.source):
            preloading.start(fits=will_fit)
        try:
            execution.run("ingest")
        finally:
            preloading.wait()
        progress.report_stages()
        as_of = settings.as_of or _day_after_last_order(warehouse)
        if settings.as_of is None and newest is not None and as_of < newest.in_force_from:
            progress.on_warning(
                f"the last order is before {newest.model_id}, which is in force from {newest.in_force_from}; if"
                " these are the orders of another shop, give them their own --warehouse and --output"
            )
        if settings.as_of is None and as_of == last_scored(warehouse):
            progress.on_warning(no_new_day(warehouse, as_of))
        fit = "asked for" if refit else refit_due(warehouse, settings, as_of)
        try:
            execution.run("refit" if fit else "night", partition_of(as_of))
        except KeyboardInterrupt:
            if progress.failed_checks or not progress.has_published:
                raise
        # The night is published, so no interrupt may make the run look as if it had failed.
        ignore_interrupts()
        progress.report_stages()
        return _result(warehouse, settings.output.path, as_of, fit)


def _result(warehouse: Warehouse, output: Path, as_of: datetime.date, fit: str | None) -> RunResult:
    """Returns the result of a run whose night has been built."""
    champion = champion_of(warehouse, as_of)
    decision = warehouse.night(CHAMPION_DECISIONS, as_of).iloc[-1] if fit else None
    profiles = warehouse.night(SEGMENT_PROFILES, as_of, ("segment_id", "segment_name", *FIGURES))
    return RunResult(
        as_of=as_of,
        fit=fit,
        decision=None if decision is None else {name: decision[name] for name in ("decision", "reason")},
        model_id=champion.model_id,
        fitted_as_of=champion.fitted_as_of,
        # Money is DECIMAL in the warehouse; in JSON a Decimal would become text.
        segments=[
            {str(name): float(value) if isinstance(value, Decimal) else value for name, value in row.items()}
            for row in profiles.to_dict("records")
        ],
        warehouse=warehouse.database,
        output=output,
        published=output / LATEST if published_as_of(output) == as_of else None,
    )


def _day_after_last_order(warehouse: Warehouse) -> datetime.date:
    """Returns the first night that includes every order.

    Raises:
        DataError: The night lies in the future, so the last order is misdated.
    """
    last: datetime.date = warehouse.value("SELECT CAST(max(ordered_at) AS DATE) FROM prepared.clean_orders")
    as_of = last + datetime.timedelta(days=1)
    if not has_night(as_of):
        where = warehouse.value(
            "SELECT arg_max(source_file || ' row ' || source_row, ordered_at) FROM prepared.clean_orders"
        )
        raise DataError(
            f"{where}: the last order is dated {last}, but nights go from {FIRST_DAY} to tomorrow (UTC);"
            " fix the date, narrow plausible_dates, or give --as-of"
        )
    return as_of
