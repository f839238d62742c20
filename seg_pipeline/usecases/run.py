"""A run: load and clean the source, then build one night."""

import datetime
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any

from seg_pipeline import preloading
from seg_pipeline.champions.cadence import refit_due
from seg_pipeline.champions.tables import CHAMPION_DECISIONS
from seg_pipeline.errors import DataError, UsageError
from seg_pipeline.models.champions import champion_of, newest_champion
from seg_pipeline.nights import FIRST_DAY, has_night, partition_of
from seg_pipeline.publishing.sets import LATEST, published_as_of
from seg_pipeline.raw.sources import needs_library
from seg_pipeline.segments.tables import SEGMENT_PROFILES
from seg_pipeline.settings import Settings
from seg_pipeline.usecases.execution import Progress, executing
from seg_pipeline.warehouse import Warehouse

# What of a segment's profile sums up a run.
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
class Done:
    """A finished run.

    Attributes:
        as_of: Its night.
        fit: Why models were fitted; None if the night was only scored.
        decision: What became of the fitted model (`decision`) and why (`reason`); None without a fit.
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


def run(settings: Settings, progress: Progress, *, refit: bool = False) -> Done:
    """Loads and cleans the source, then builds one night: settings.as_of, or the night after the last order.

    Models are fitted if a fit is due or `refit` asks for it; else the night is scored with its champion.

    Raises:
        SegPipelineError: With the one line to show; a failed critical check is a DataError that names it.
    """
    if settings.as_of is not None and not has_night(settings.as_of):
        raise UsageError(f"as_of: {settings.as_of} is no night: nights go from {FIRST_DAY} to tomorrow (UTC)")
    with executing(settings, progress) as execution:
        warehouse = execution.warehouse
        # While other modules load, nothing else may be imported.
        if not needs_library(settings.source):
            preloading.start()
        execution.run("ingest")
        progress.end_run()
        as_of = settings.as_of or _day_after_last_order(warehouse)
        newest = newest_champion(warehouse)
        if settings.as_of is None and newest is not None and as_of < newest.in_force_from:
            progress.warned(
                f"the last order is before {newest.model_id}, which is in force from {newest.in_force_from}; are these"
                " other orders? Then give them a --warehouse (and --output) of their own"
            )
        fit = "asked for" if refit else refit_due(warehouse, settings, as_of)
        execution.run("refit" if fit else "night", partition_of(as_of))
        progress.end_run()
        return _done(warehouse, settings.output.path, as_of, fit)


def _done(warehouse: Warehouse, output: Path, as_of: datetime.date, fit: str | None) -> Done:
    """What a night has become."""
    champion = champion_of(warehouse, as_of)
    decided = warehouse.night(CHAMPION_DECISIONS, as_of).iloc[-1] if fit else None
    profiles = warehouse.night(SEGMENT_PROFILES, as_of, ("segment_id", "segment_name", *FIGURES))
    return Done(
        as_of=as_of,
        fit=fit,
        decision=None if decided is None else {name: decided[name] for name in ("decision", "reason")},
        model_id=champion.model_id,
        fitted_as_of=champion.fitted_as_of,
        # Money is exact in the warehouse, and a number here.
        segments=[
            {str(name): float(value) if isinstance(value, Decimal) else value for name, value in row.items()}
            for row in profiles.to_dict("records")
        ],
        warehouse=warehouse.database,
        output=output,
        published=output / LATEST if published_as_of(output) == as_of else None,
    )


def _day_after_last_order(warehouse: Warehouse) -> datetime.date:
    """The night that sees every order.

    Raises:
        DataError: It lies in the future, so the last order is misdated.
    """
    last: datetime.date = warehouse.value("SELECT CAST(max(ordered_at) AS DATE) FROM prepared.clean_orders")
    as_of = last + datetime.timedelta(days=1)
    if not has_night(as_of):
        where = warehouse.value(
            "SELECT arg_max(source_file || ' row ' || source_row, ordered_at) FROM prepared.clean_orders"
        )
        raise DataError(
            f"{where}: the last order is of {last}, and nights go from {FIRST_DAY} to tomorrow (UTC);"
            " fix the date, narrow plausible_dates, or give --as-of"
        )
    return as_of
