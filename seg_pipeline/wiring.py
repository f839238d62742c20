"""From settings to what the rooms are built with: the shop, its warehouse and Dagster's resources.

A `Shop` is all that the door of a room knows of Dagster's names: keys, groups, partitions, upstream, pool and resources
come from it and from nowhere else. A pipeline under another prefix, or below another project's asset, is another shop.
This module imports no room.
"""

import datetime
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import dagster as dg
from dagster_duckdb import DuckDBResource
from pydantic import Field

from seg_pipeline import nights, ui
from seg_pipeline.quality.suites import evaluate, suite_of
from seg_pipeline.settings import Settings, flattened, with_overrides
from seg_pipeline.tables import Table
from seg_pipeline.warehouse import MEMORY_BESIDE_SPARK, SparkWarehouse, Warehouse

if TYPE_CHECKING:
    from matplotlib.figure import Figure

# A partition a day. Today has one already (`end_offset`), so that a shop with an order today can be run now.
NIGHTS = dg.DailyPartitionsDefinition(start_date=nights.FIRST_DAY.isoformat(), end_offset=1)
# Settings that describe the machine and its services rather than a run.
OF_THE_MACHINE = ("warehouse", "spark", "output", "automation")

Context = dg.AssetExecutionContext | dg.AssetCheckExecutionContext
# A function that builds assets or judges one, and what adds it to its room.
Build = Callable[..., Any]
Decorator = Callable[[Build], dg.AssetsDefinition]
# What an asset is built from: a table, the name of what is none, or another project's asset.
Upstream = Table | str | dg.AssetKey
HOUSE = Path(__file__).parent


@dataclass(frozen=True, slots=True)
class Shop:
    """One pipeline in a code location: its settings, and its names in Dagster.

    Attributes:
        settings: The settings that it was loaded with; a run may lay overrides on top.
        prefix: A word in front of every asset key, group, job, schedule, sensor and resource; none if empty.
        upstream: The assets that raw orders come from, if another project delivers them.
        pool: The concurrency pool that every step takes a slot of; none if None.
        partitions: The nights.
        has_pages: Whether anybody looks at Dagster's pages; without, no pictures are drawn for them.
    """

    settings: Settings
    prefix: str = ""
    upstream: tuple[dg.AssetKey, ...] = ()
    pool: str | None = None
    partitions: dg.PartitionsDefinition = NIGHTS
    has_pages: bool = True

    def key(self, table: Upstream) -> dg.AssetKey:
        """Returns the asset key of a table, or of what is named like one, `schema.name`; a key stays as it is."""
        if isinstance(table, dg.AssetKey):
            return table
        name = table if isinstance(table, str) else table.name
        return dg.AssetKey([*([self.prefix] if self.prefix else []), *name.split(".")])

    def name(self, name: str) -> str:
        """Returns the name of a group, job, schedule, sensor or resource."""
        return f"{self.prefix}_{name}" if self.prefix else name

    def room(self, name: str, *, nightly: bool) -> "Room":
        """Returns an empty room; the assets of a nightly one are partitioned by night."""
        return Room(self, name, nightly)

    def warehouse(self, context: Context) -> Warehouse:
        """Returns the warehouse that a run holds."""
        warehouse: Warehouse = getattr(context.resources, self.name("warehouse"))
        return warehouse

    def settings_of(self, context: Context) -> Settings:
        """Returns the settings of a run."""
        settings: Settings = getattr(context.resources, self.name("settings"))
        return settings

    def picture(self, draw: "Callable[[], Figure]", title: str) -> dict[str, dg.MetadataValue]:
        """Returns metadata with a plot under a name made of its title; empty where nobody looks at the pages."""
        return {title.lower().replace(" ", "_"): ui.picture(draw, title)} if self.has_pages else {}

    @property
    def resources(self) -> set[str]:
        """The resources that assets and checks need."""
        return {self.name("warehouse"), self.name("settings")}


def night_of(context: Context) -> datetime.date:
    """Returns the as_of of the partition that a run builds."""
    return nights.as_of_of(context.partition_key)


@dataclass(frozen=True, slots=True)
class Room:
    """The assets of a room and their checks, as its door adds them. Every table brings the checks of its suite.

    Attributes:
        shop: What names the assets.
        name: The room's name, which is its group.
        nightly: Whether its assets are partitioned by night.
        assets: The assets added so far.
        checks: The checks added so far.
        built: The tables among the assets, by name.
    """

    shop: Shop
    name: str
    nightly: bool
    assets: list[dg.AssetsDefinition] = field(default_factory=list)
    checks: list[dg.AssetChecksDefinition] = field(default_factory=list)
    built: dict[str, Table] = field(default_factory=dict)

    def asset(self, table: Table, *, kinds: set[str], deps: Sequence[Upstream] = ()) -> Decorator:
        """Adds the asset of one table; the decorated function builds it.

        Args:
            table: The table that the asset is.
            kinds: What builds it besides the engine, as Dagster's graph shows it.
            deps: What it is built from.
        """
        return self.tables({table: deps}, kinds=kinds)

    def tables(self, deps: Mapping[Table, Sequence[Upstream]], *, kinds: set[str]) -> Decorator:
        """Adds the assets of tables that one step builds together; the decorated function yields a result for each.

        Args:
            deps: The tables, each with what it is built from.
            kinds: As in `asset`.
        """
        shop = self.shop

        def spec_of(table: Table) -> dg.AssetSpec:
            engine = shop.settings.warehouse.engine if table.large else "duckdb"
            return self._spec(
                table.name,
                table.description,
                kinds={engine, *kinds},
                deps=deps[table],
                columns=table,
                metadata={"dagster/table_name": table.name, "large": table.large, "engine": engine},
            )

        def add(build: Build) -> dg.AssetsDefinition:
            step = build.__name__ if len(deps) > 1 else next(iter(deps)).name.replace(".", "__")
            asset = self._add(step, build, [_linked(spec_of(table), build, table) for table in deps])
            self.checks.extend(self._suite(table) for table in deps)
            self.built.update({table.name: table for table in deps})
            return asset

        return add

    def files(
        self, name: str, description: str, *, kinds: set[str], deps: Sequence[Upstream], columns: Table
    ) -> Decorator:
        """Adds an asset that is no table of the warehouse; the decorated function builds it.

        Args:
            name: Its name, `schema.name`.
            description: What it is.
            kinds: What it is, as Dagster's graph shows it.
            deps: What it is built from.
            columns: The table whose columns its page shows.
        """

        def add(build: Build) -> dg.AssetsDefinition:
            spec = self._spec(name, description, kinds=kinds, deps=deps, columns=columns, metadata={})
            return self._add(build.__name__, build, [_linked(spec, build)])

        return add

    def _add(self, step: str, build: Build, specs: Sequence[dg.AssetSpec]) -> dg.AssetsDefinition:
        """The step that builds assets, added to the room."""
        asset = dg.multi_asset(
            name=self.shop.name(step),
            specs=specs,
            required_resource_keys=self.shop.resources,
            partitions_def=self.shop.partitions if self.nightly else None,
            pool=self.shop.pool,
        )(build)
        self.assets.append(asset)
        return asset

    def _spec(
        self,
        name: str,
        description: str,
        *,
        kinds: set[str],
        deps: Sequence[Upstream],
        columns: Table,
        metadata: Mapping[str, Any],
    ) -> dg.AssetSpec:
        hours = self.shop.settings.automation.fresh_within_hours
        return dg.AssetSpec(
            key=self.shop.key(name),
            deps=[self.shop.key(one) for one in deps],
            description=description,
            group_name=self.shop.name(self.name),
            kinds=kinds,
            owners=[ui.OWNER],
            metadata={"dagster/column_schema": ui.schema_of(columns), **metadata},
            freshness_policy=dg.FreshnessPolicy.time_window(fail_window=datetime.timedelta(hours=hours)),
        )

    def check(self, name: str, description: str) -> Callable[[Build], dg.AssetChecksDefinition]:
        """Adds a critical check that is no suite's; the decorated function judges.

        Args:
            name: The asset, `schema.name`.
            description: What the check holds, and what to do if it fails.
        """

        def add(judge: Build) -> dg.AssetChecksDefinition:
            check = dg.asset_check(
                asset=self.shop.key(name),
                description=f"{description} (critical)",
                blocking=True,
                required_resource_keys=self.shop.resources,
            )(judge)
            self.checks.append(check)
            return check

        return add

    def _suite(self, table: Table) -> dg.AssetChecksDefinition:
        """The suite of a table as asset checks, the critical ones blocking."""
        key = self.shop.key(table)
        specs = [
            dg.AssetCheckSpec(
                expected.name,
                asset=key,
                description=f"{expected.description} ({expected.severity})",
                blocking=expected.severity == "critical",
            )
            for expected in suite_of(table)
        ]
        name = self.shop.name(f"check_{table.name.replace('.', '_')}")

        @dg.multi_asset_check(name=name, specs=specs, can_subset=True, required_resource_keys=self.shop.resources)
        def run_suite(context: dg.AssetCheckExecutionContext) -> Iterator[dg.AssetCheckResult]:
            warehouse, settings = self.shop.warehouse(context), self.shop.settings_of(context)
            selected = {selected.name for selected in context.selected_asset_check_keys}
            for outcome in evaluate(warehouse, table, settings, checked_night(context, warehouse, table)):
                if outcome.expected.name in selected:
                    yield ui.check_result(outcome, key)

        return run_suite


def _linked(spec: dg.AssetSpec, build: Build, table: Table | None = None) -> dg.AssetSpec:
    """The asset with links to the function that builds it and, if a file has its table's name, to its query."""
    places = [(Path(build.__code__.co_filename), build.__code__.co_firstlineno)]
    if table and (query := next(HOUSE.glob(f"*/{table.name.split('.')[1]}.sql"), None)):
        places.append((query, 1))
    return spec.merge_attributes(metadata={"dagster/code_references": ui.code_references(*places)})


def checked_night(context: dg.AssetCheckExecutionContext, warehouse: Warehouse, table: Table) -> datetime.date | None:
    """Returns the night that a check looks at.

    It is the run's; the newest of the table if the check is run by itself; None if the table has no nights.
    """
    if not table.nightly:
        return None
    run = context.op_execution_context
    return nights.as_of_of(run.partition_key) if run.has_partition_key else warehouse.newest_night(table.name)


class WarehouseResource(dg.ConfigurableResource[Warehouse]):
    """The warehouse as a Dagster resource: the stock DuckDB resource says which file, and a run holds it as a whole."""

    duckdb: DuckDBResource = Field(description="The DuckDB file and the configuration of its connections")
    wait_seconds: float = Field(description="How long to wait while another process has the file open")
    spark: dict[str, Any] | None = Field(
        default=None, description="Where Spark runs and keeps the large tables; None if DuckDB has them"
    )
    most_customers: int | None = Field(
        default=None, description="How many customers Python sees at once; it samples beyond. None for all"
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
        return Warehouse(**file) if self.spark is None else SparkWarehouse(**file, **self.spark)

    @contextmanager
    def yield_for_execution(self, context: dg.InitResourceContext) -> Iterator[Warehouse]:
        """Holds the warehouse from the first step of a run to its last."""
        warehouse = self.plain
        with warehouse.held(context.log.warning if context.log else _unheard):
            yield warehouse


def _unheard(_: str) -> None:
    """Drops a line that nobody listens to."""


def warehouse_resource(settings: Settings) -> WarehouseResource:
    """Returns the resource of the settings' warehouse."""
    file, spark = settings.warehouse, settings.spark
    limits = {"memory_limit": file.memory_limit, "threads": file.threads}
    connection_config = {name: value for name, value in limits.items() if value is not None}
    if file.engine == "duckdb":
        duckdb = DuckDBResource(database=str(file.path), connection_config=connection_config)
        return WarehouseResource(duckdb=duckdb, wait_seconds=file.wait_seconds)
    folder = (spark.warehouse or Path(f"{file.path}.spark")).absolute()
    return WarehouseResource(
        duckdb=DuckDBResource(
            database=str(file.path), connection_config={"memory_limit": MEMORY_BESIDE_SPARK} | connection_config
        ),
        wait_seconds=file.wait_seconds,
        most_customers=spark.sample,
        spark={
            "folder": str(folder),
            "format": spark.format,
            "master": spark.master,
            "remote": spark.remote,
            "config": spark.config,
        },
    )


def warehouse_of(settings: Settings) -> Warehouse:
    """Returns the warehouse of the settings."""
    return warehouse_resource(settings).plain


def settings_resource(settings: Settings, check: Callable[[Settings], None]) -> dg.ResourceDefinition:
    """Returns the settings as a resource, checked before a run does anything; the launchpad can override any of them.

    Args:
        settings: The settings without overrides, which the launchpad shows.
        check: Raises UsageError for what the settings name and only the rooms, or the environment, know.
    """
    in_force = "; ".join(
        f"{key}={_as_written(value)}"
        for key, value in flattened(settings).items()
        if key.split(".")[0] not in OF_THE_MACHINE
    )

    @dg.resource(
        config_schema={
            "set": dg.Field(
                [str],
                default_value=[],
                description="Settings for this run alone as KEY=VALUE, for example returns=drop or models.k_max=8."
                f" docs/reference.md explains each. Without any, these are in force: {in_force}",
            )
        },
        description="The settings of the pipeline: defaults, preset, settings file, environment, and those of the run.",
    )
    def resource(context: dg.InitResourceContext) -> Settings:
        of_run = with_overrides(settings, context.resource_config["set"])
        check(of_run)
        if context.run and context.instance:
            # Runs are found by these, whoever started them.
            context.instance.add_run_tags(context.run.run_id, run_tags(of_run, context.run))
        return of_run

    return resource


def resources_of(shop: Shop, check: Callable[[Settings], None]) -> dict[str, Any]:
    """Returns the resources of a shop by their names.

    Args:
        shop: The shop.
        check: As in `settings_resource`.
    """
    return {
        shop.name("settings"): settings_resource(shop.settings, check),
        shop.name("warehouse"): warehouse_resource(shop.settings),
    }


def run_tags(settings: Settings, run: dg.DagsterRun) -> dict[str, str]:
    """Returns the tags that runs are found by: the source of their orders, the engine, and the as_of of their night."""
    source = " ".join([*settings.source.path, *([settings.source.table] if settings.source.table else [])])
    night = run.tags.get("dagster/partition")
    tags = {"seg_pipeline/source": source, "seg_pipeline/engine": settings.warehouse.engine}
    return tags | ({"seg_pipeline/as_of": nights.as_of_of(night).isoformat()} if night else {})


def _as_written(value: object) -> str:
    """A setting's value as one writes it after KEY=."""
    if isinstance(value, tuple):
        return ",".join(map(str, value))
    return json.dumps(value) if isinstance(value, dict) else "" if value is None else str(value)
