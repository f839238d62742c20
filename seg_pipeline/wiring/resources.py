"""Dagster's resources, made from the settings: the warehouse, and the settings themselves."""

import datetime
import json
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import dagster as dg
from dagster_duckdb import DuckDBResource
from pydantic import Field

from seg_pipeline import nights
from seg_pipeline.errors import UsageError
from seg_pipeline.settings import Settings, flattened, with_overrides
from seg_pipeline.warehouse import MEMORY_BESIDE_SPARK, SparkWarehouse, Warehouse
from seg_pipeline.wiring.records import delete_old_runs
from seg_pipeline.wiring.shop import JOBS, Shop

# The tag of runs that Dagster starts for a backfill.
BACKFILL_TAG = "dagster/backfill"
# Sections of the settings that describe the machine and its services, not a run.
SOURCE_TAG = "seg_pipeline/source"
MACHINE_SECTIONS = ("warehouse", "spark", "output", "automation")


class WarehouseResource(dg.ConfigurableResource[Warehouse]):
    """The warehouse as a Dagster resource, which a run keeps open; the stock DuckDB resource says which file it is."""

    duckdb: DuckDBResource = Field(description="The DuckDB file and the configuration of its connections")
    wait_seconds: float = Field(description="How long to wait while another process has the file open, in seconds")
    spark: dict[str, Any] | None = Field(
        default=None, description="Where Spark runs and keeps the large tables; None if they are in the DuckDB file"
    )
    most_customers: int | None = Field(
        default=None,
        description="How many customers Python loads at once; it works on a sample of more. None for no limit",
    )

    @property
    def plain(self) -> Warehouse:
        """The warehouse without Dagster."""
        file: dict[str, Any] = {
            "database": self.duckdb.database,
            "connection_config": dict(self.duckdb.connection_config),
            "wait_seconds": self.wait_seconds,
            "most_customers": self.most_customers,
        }
        if self.spark is None:
            return Warehouse(**file)
        return SparkWarehouse(**file, **{**self.spark, "folder": Path(self.spark["folder"])})

    @contextmanager
    def yield_for_execution(self, context: dg.InitResourceContext) -> Iterator[Warehouse]:
        """Keeps the warehouse open from the first step of a run to its last."""
        warehouse = self.plain
        with warehouse.held(context.log.warning if context.log else _ignore):
            yield warehouse


def warehouse_resource(settings: Settings) -> WarehouseResource:
    """Returns the settings' warehouse as a resource."""
    file, spark = settings.warehouse, settings.spark
    limits = {"memory_limit": file.memory_limit, "threads": file.threads}
    connection_config = {name: value for name, value in limits.items() if value is not None}
    if file.engine == "duckdb":
        duckdb = DuckDBResource(database=str(file.path), connection_config=connection_config)
        return WarehouseResource(duckdb=duckdb, wait_seconds=file.wait_seconds)
    folder = (spark.warehouse or Path(f"{file.path}.spark")).absolute()
    place = {
        "folder": str(folder),
        "format": spark.format,
        "master": spark.master,
        "remote": spark.remote,
        "config": spark.config,
    }
    return WarehouseResource(
        duckdb=DuckDBResource(
            database=str(file.path), connection_config={"memory_limit": MEMORY_BESIDE_SPARK} | connection_config
        ),
        wait_seconds=file.wait_seconds,
        most_customers=spark.sample,
        # Dagster accepts no None inside a mapping.
        spark={name: value for name, value in place.items() if value is not None},
    )


def warehouse_of(settings: Settings) -> Warehouse:
    """Returns the settings' warehouse, without Dagster."""
    return warehouse_resource(settings).plain


def settings_resource(
    settings: Settings,
    check: Callable[[Settings], None],
    check_backfill: Callable[[Settings, datetime.date, datetime.date], None] | None = None,
    jobs: Collection[str] = (),
) -> dg.ResourceDefinition:
    """Returns the settings as a resource, which is checked before a run starts; the launchpad can override any setting.

    Args:
        settings: The settings before a run's overrides; the launchpad shows them.
        check: Raises UsageError for names and secrets that only the rooms, or the environment, can check.
        check_backfill: Raises UsageError if the nights from one to another may not be built again; None if all may.
        jobs: The names of the shop's own jobs, whose old runs are deleted.
    """
    defaults = "; ".join(
        f"{key}={_as_written(value)}"
        for key, value in flattened(settings).items()
        if key.split(".")[0] not in MACHINE_SECTIONS
    )

    @dg.resource(
        config_schema={
            "set": dg.Field(
                [str],
                default_value=[],
                description="Settings for this run alone as KEY=VALUE, for example returns=drop or models.k_max=8."
                f" docs/reference.md explains each. Settings that are not named here keep these values: {defaults}",
            )
        },
        description="The settings of the pipeline: defaults, preset, settings file, environment, and those of the run.",
    )
    def resource(context: dg.InitResourceContext) -> Settings:
        try:
            run_settings = with_overrides(settings, context.resource_config["set"])
            check(run_settings)
            if check_backfill and context.run and BACKFILL_TAG in context.run.tags:
                partition = context.run.tags.get("dagster/partition")
                if partition:
                    as_of = nights.as_of_of(partition)
                    check_backfill(run_settings, as_of, as_of)
        except UsageError:
            if context.run and context.instance:
                # Another try would fail in the same way.
                context.instance.add_run_tags(context.run.run_id, {"dagster/max_retries": "0"})
            raise
        if context.run and context.instance:
            # A run can be searched for by these, no matter who started it.
            tags = run_tags(run_settings, context.run)
            context.instance.add_run_tags(context.run.run_id, tags)
            keep = run_settings.retention.runs
            if keep and context.run.job_name in jobs and context.instance.is_persistent:
                delete_old_runs(context.instance, context.run.job_name, keep, {SOURCE_TAG: tags[SOURCE_TAG]})
        return run_settings

    return resource


def resources_of(
    shop: Shop,
    check: Callable[[Settings], None],
    check_backfill: Callable[[Settings, datetime.date, datetime.date], None] | None = None,
) -> dict[str, Any]:
    """Returns the resources of a shop by their names.

    Args:
        shop: The shop.
        check: As in `settings_resource`.
        check_backfill: As in `settings_resource`.
    """
    return {
        shop.name("settings"): settings_resource(
            shop.settings, check, check_backfill, [shop.name(job) for job in JOBS]
        ),
        shop.name("warehouse"): warehouse_resource(shop.settings),
    }


def run_tags(settings: Settings, run: dg.DagsterRun) -> dict[str, str]:
    """Returns the tags to search runs by: the source of the orders, the engine, and the as_of of the night."""
    source = " ".join([*settings.source.path, *([settings.source.table] if settings.source.table else [])])
    partition = run.tags.get("dagster/partition")
    tags = {SOURCE_TAG: source, "seg_pipeline/engine": settings.warehouse.engine}
    return tags | ({"seg_pipeline/as_of": nights.as_of_of(partition).isoformat()} if partition else {})


def _as_written(value: object) -> str:
    """Returns a setting's value as it is written after KEY=."""
    if isinstance(value, tuple):
        return ",".join(map(str, value))
    return json.dumps(value) if isinstance(value, dict) else "" if value is None else str(value)


def _ignore(_: str) -> None:
    """Ignores a message that there is no log for."""
