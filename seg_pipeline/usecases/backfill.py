"""Backfilling: builds past nights again from the clean orders in the warehouse."""

import datetime
import time

from seg_pipeline.errors import UsageError
from seg_pipeline.nights import FIRST_DAY, has_night, partition_of
from seg_pipeline.publishing.retention import refuse_past_retention
from seg_pipeline.segments.tables import SEGMENT_PROFILES
from seg_pipeline.settings import Settings
from seg_pipeline.usecases.execution import Progress, executing


def backfill(
    settings: Settings, progress: Progress, first: datetime.date, last: datetime.date, *, refit: bool = False
) -> list[datetime.date]:
    """Builds the nights from `first` to `last` again, each scored by its champion.

    Args:
        settings: The settings that the nights were run with.
        progress: Receives the progress of the runs.
        first: The first night.
        last: The last night.
        refit: Whether to fit models on every night too.

    Returns:
        The nights, in order.

    Raises:
        UsageError: There is no such night, or the next run would delete it as past its retention.
        SegPipelineError: A night could not be built; the message is one line.
    """
    nights = [first + datetime.timedelta(days=day) for day in range((last - first).days + 1)]
    if not nights or not (has_night(first) and has_night(last)):
        raise UsageError(f"no nights from {first} to {last}: they go from {FIRST_DAY} to tomorrow (UTC)")
    with executing(settings, progress) as execution:
        refuse_past_retention(settings, first, last, execution.warehouse.newest_night(SEGMENT_PROFILES.name))
        for as_of in nights:
            began = time.perf_counter()
            execution.run("refit" if refit else "night", partition_of(as_of))
            progress.on_part_end(str(as_of), time.perf_counter() - began)
    return nights
