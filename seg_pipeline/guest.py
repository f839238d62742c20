"""Puts all rooms together: the one place that makes Definitions, for Dagster, the command line and tests."""

from collections.abc import Mapping

import dagster as dg

from seg_pipeline import automation
from seg_pipeline.champions import assets as champions
from seg_pipeline.evaluation import assets as evaluation
from seg_pipeline.features import assets as features
from seg_pipeline.features.transforms import check_columns
from seg_pipeline.models import assets as models
from seg_pipeline.models.registry import check_algorithms
from seg_pipeline.prepared import assets as prepared
from seg_pipeline.publishing import assets as publishing
from seg_pipeline.publishing.retention import refuse_past_retention
from seg_pipeline.raw import assets as raw
from seg_pipeline.segments import assets as segments
from seg_pipeline.segments.strategies import read_actions
from seg_pipeline.settings import Settings, output_hash_key
from seg_pipeline.tables import Table
from seg_pipeline.wiring import Room, Shop, resources_of

# In the order of the data flow.
DOORS = (raw, prepared, features, models, evaluation, champions, segments, publishing)


def rooms_of(shop: Shop) -> list[Room]:
    """Returns every room, built for a shop, in the order of the data flow."""
    return [door.assets_of(shop) for door in DOORS]


def tables_of(shop: Shop) -> list[Table]:
    """Returns every table of the warehouse, in the order of the data flow."""
    return [table for room in rooms_of(shop) for table in room.table_by_name.values()]


def definitions_of(shop: Shop, loggers: Mapping[str, dg.LoggerDefinition] | None = None) -> dg.Definitions:
    """Returns the whole pipeline of a shop.

    Args:
        shop: The shop.
        loggers: The loggers of runs, in place of Dagster's console log.
    """
    rooms = rooms_of(shop)
    jobs = automation.jobs_of(shop, rooms)
    return dg.Definitions(
        assets=[asset for room in rooms for asset in room.assets],
        asset_checks=[check for room in rooms for check in room.checks],
        jobs=list(jobs.all),
        schedules=[automation.nightly_schedule(shop, jobs)],
        sensors=[automation.new_files_sensor(shop, jobs), automation.failure_alert(shop)],
        resources=resources_of(shop, check, refuse_past_retention),
        # In one process: DuckDB lets one process write, and a process per step would import everything again.
        executor=dg.in_process_executor,
        loggers=loggers,
    )


def check(settings: Settings) -> None:
    """Checks the names and secrets that only the rooms, or the environment, can check.

    Raises:
        UsageError: A feature or algorithm is unknown, the file of actions is wrong, or the hash key is missing.
    """
    check_columns(settings.features)
    check_algorithms(settings)
    read_actions(settings.strategies.actions)
    output_hash_key(settings.output)
