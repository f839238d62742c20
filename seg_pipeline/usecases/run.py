"""A run: load and clean the source, then build one night."""

import datetime
from dataclasses import dataclass
from pathlib import Path

from seg_pipeline import loading
from seg_pipeline.champions.cadence import refit_due
from seg_pipeline.errors import DataError, UsageError
from seg_pipeline.models.champions import newest_champion
from seg_pipeline.nights import FIRST_DAY, has_night, partition_of
from seg_pipeline.publishing.sets import LATEST, published_as_of
from seg_pipeline.raw.object_storage import is_object
from seg_pipeline.settings import Settings
from seg_pipeline.usecases.execution import Progress, executing
from seg_pipeline.warehouse import Warehouse


@dataclass(frozen=True, slots=True)
class Done:
    """A finished run: its night, the warehouse, and the published folder where this night is the latest.

    `fit` says why models were fitted; None if the night was only scored.
    """

    as_of: datetime.date
    fit: str | None
    warehouse: Warehouse
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
        # A table or objects are read by libraries that must be loaded then.
        if not settings.source.table and not any(map(is_object, settings.source.path)):
            loading.start()
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
    folder = settings.output.path
    return Done(as_of, fit, warehouse, folder, folder / LATEST if published_as_of(folder) == as_of else None)


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
