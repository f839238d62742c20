"""A shop, which holds all that a room knows of Dagster's names, and the rooms that are built for it.

Keys, groups, partitions, upstream assets, the pool and the names of resources come from a `Shop` and from nowhere else.
A pipeline under a prefix, or downstream of another project's asset, is a different shop.
"""

import datetime
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import dagster as dg

from seg_pipeline import nights, ui
from seg_pipeline.quality.evaluation import evaluate
from seg_pipeline.quality.suites import suite_of
from seg_pipeline.settings import Settings
from seg_pipeline.tables import Table
from seg_pipeline.warehouse import Warehouse

if TYPE_CHECKING:
    from matplotlib.figure import Figure

PACKAGE = Path(__file__).parents[1]
# The shop's own jobs, without the prefix; automation.py makes them.
JOBS = ("nightly", "ingest", "night", "refit")
# One partition a day. Today has one already (`end_offset`), so that a shop with an order today can be run now.
NIGHTS = dg.DailyPartitionsDefinition(start_date=nights.FIRST_DAY.isoformat(), end_offset=1)

Context = dg.AssetExecutionContext | dg.AssetCheckExecutionContext
# A function that builds assets or performs a check, and the decorator that adds it to its room.
Build = Callable[..., Any]
Decorator = Callable[[Build], dg.AssetsDefinition]
# What an asset is built from: a table, the `schema.name` of an asset that is not a table, or another project's asset.
Upstream = Table | str | dg.AssetKey


@dataclass(frozen=True, slots=True)
class Shop:
    """One pipeline in a code location: its settings and its names in Dagster.

    Attributes:
        settings: The settings that the pipeline was loaded with; a run may override some of them.
        prefix: A word in front of every asset key, group, job, schedule, sensor and resource; empty for none.
        upstream: The assets that raw orders come from, if another project delivers them.
        pool: The concurrency pool that every step takes a slot of; None for none.
        partitions: The nights.
        has_pages: Whether anybody looks at Dagster's pages. If not, no pictures are drawn for them.
    """

    settings: Settings
    prefix: str = ""
    upstream: tuple[dg.AssetKey, ...] = ()
    pool: str | None = None
    partitions: dg.PartitionsDefinition = NIGHTS
    has_pages: bool = True

    def key(self, asset: Upstream) -> dg.AssetKey:
        """Returns the key of an asset: a table, a `schema.name`, or a key, which is returned as it is."""
        if isinstance(asset, dg.AssetKey):
            return asset
        name = asset if isinstance(asset, str) else asset.name
        return dg.AssetKey([*([self.prefix] if self.prefix else []), *name.split(".")])

    def name(self, name: str) -> str:
        """Returns the name of a group, job, schedule, sensor or resource, with the prefix."""
        return f"{self.prefix}_{name}" if self.prefix else name

    def room(self, name: str, *, nightly: bool) -> "Room":
        """Returns an empty room. The assets of a nightly room are partitioned by night."""
        return Room(self, name, nightly)

    def warehouse(self, context: Context) -> Warehouse:
        """Returns the warehouse of a run, which keeps it open."""
        warehouse: Warehouse = getattr(context.resources, self.name("warehouse"))
        return warehouse

    def settings_of(self, context: Context) -> Settings:
        """Returns the settings of a run."""
        settings: Settings = getattr(context.resources, self.name("settings"))
        return settings

    def picture(self, draw: "Callable[[], Figure]", title: str) -> dict[str, dg.MetadataValue]:
        """Returns a plot as metadata, under a name made from its title; empty if nobody looks at the pages."""
        return {title.lower().replace(" ", "_"): ui.picture(draw, title)} if self.has_pages else {}

    @property
    def resources(self) -> set[str]:
        """The names of the resources that assets and checks need."""
        return {self.name("warehouse"), self.name("settings")}


def night_of(context: Context) -> datetime.date:
    """Returns the as_of of the partition that a run builds."""
    return nights.as_of_of(context.partition_key)


@dataclass(frozen=True, slots=True)
class Room:
    """The assets and checks of a room. A table brings the checks of its suite with it.

    Attributes:
        shop: The shop that the room is built for.
        name: The name of the room and of its asset group.
        nightly: Whether the assets are partitioned by night.
        assets: The assets added so far.
        checks: The checks added so far.
        table_by_name: The tables among the assets.
    """

    shop: Shop
    name: str
    nightly: bool
    assets: list[dg.AssetsDefinition] = field(default_factory=list)
    checks: list[dg.AssetChecksDefinition] = field(default_factory=list)
    table_by_name: dict[str, Table] = field(default_factory=dict)

    def asset(self, table: Table, *, kinds: set[str], deps: Sequence[Upstream] = ()) -> Decorator:
        """Returns a decorator that adds one table, which the decorated function builds.

        Args:
            table: The table.
            kinds: What Dagster's graph shows as the asset's kinds, besides the engine.
            deps: What the table is built from.
        """
        return self.tables({table: deps}, kinds=kinds)

    def tables(
        self, deps: Mapping[Table, Sequence[Upstream]], *, kinds: set[str] | Mapping[Table, set[str]]
    ) -> Decorator:
        """Returns a decorator that adds several tables; the decorated function builds all and yields a result for each.

        Args:
            deps: What each table is built from.
            kinds: As in `asset`, for all tables or for each.
        """
        shop = self.shop

        def spec_of(table: Table) -> dg.AssetSpec:
            engine = shop.settings.warehouse.engine if table.large else "duckdb"
            return self._spec(
                table.name,
                table.description,
                kinds={engine, *(kinds[table] if isinstance(kinds, Mapping) else kinds)},
                deps=deps[table],
                columns=table,
                metadata={"dagster/table_name": table.name, "large": table.large, "engine": engine},
            )

        def add(build: Build) -> dg.AssetsDefinition:
            step = build.__name__ if len(deps) > 1 else next(iter(deps)).name.replace(".", "__")
            asset = self._add(step, build, [_with_links(spec_of(table), build, table) for table in deps])
            self.checks.extend(self._suite(table) for table in deps)
            self.table_by_name.update({table.name: table for table in deps})
            return asset

        return add

    def files(
        self, name: str, description: str, *, kinds: set[str], deps: Sequence[Upstream], columns: Table
    ) -> Decorator:
        """Returns a decorator that adds an asset outside the warehouse, which the decorated function builds.

        Args:
            name: The name of the asset, `schema.name`.
            description: What the asset is.
            kinds: What Dagster's graph shows as the asset's kinds.
            deps: What the asset is built from.
            columns: The table whose columns the asset's page shows.
        """

        def add(build: Build) -> dg.AssetsDefinition:
            spec = self._spec(name, description, kinds=kinds, deps=deps, columns=columns, metadata={})
            return self._add(build.__name__, build, [_with_links(spec, build)])

        return add

    def check(self, name: str, description: str) -> Callable[[Build], dg.AssetChecksDefinition]:
        """Returns a decorator that adds a critical check outside a suite, which the decorated function performs.

        Args:
            name: The name of the asset, `schema.name`.
            description: What the check guards, and what to do if it fails.
        """

        def add(perform: Build) -> dg.AssetChecksDefinition:
            check = dg.asset_check(
                asset=self.shop.key(name),
                description=f"{description} (critical)",
                blocking=True,
                required_resource_keys=self.shop.resources,
            )(perform)
            self.checks.append(check)
            return check

        return add

    def _add(self, step: str, build: Build, specs: Sequence[dg.AssetSpec]) -> dg.AssetsDefinition:
        """Adds the step that builds one or more assets, and returns it."""
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
        """Returns the spec of an asset; the arguments are those of `files`, and `metadata` is added to its page."""
        hours = self.shop.settings.automation.fresh_within_hours
        return dg.AssetSpec(
            key=self.shop.key(name),
            deps=[self.shop.key(upstream) for upstream in deps],
            description=description,
            group_name=self.shop.name(self.name),
            kinds=kinds,
            owners=[ui.OWNER],
            metadata={"dagster/column_schema": ui.schema_of(columns), **metadata},
            freshness_policy=dg.FreshnessPolicy.time_window(fail_window=datetime.timedelta(hours=hours)),
        )

    def _suite(self, table: Table) -> dg.AssetChecksDefinition:
        """Returns the suite of a table as asset checks. Critical ones block what is downstream."""
        key = self.shop.key(table)
        specs = [
            dg.AssetCheckSpec(
                check.name,
                asset=key,
                description=f"{check.description} ({check.severity})",
                blocking=check.severity == "critical",
            )
            for check in suite_of(table)
        ]
        name = self.shop.name(f"check_{table.name.replace('.', '_')}")

        @dg.multi_asset_check(name=name, specs=specs, can_subset=True, required_resource_keys=self.shop.resources)
        def run_suite(context: dg.AssetCheckExecutionContext) -> Iterator[dg.AssetCheckResult]:
            warehouse, settings = self.shop.warehouse(context), self.shop.settings_of(context)
            selected = {check.name for check in context.selected_asset_check_keys}
            as_of = checked_night(context, warehouse, table)
            if table.nightly and as_of is None:
                # The table is empty, so it has no rows on any night.
                as_of = nights.FIRST_DAY
            for outcome in evaluate(warehouse, table, settings, as_of):
                if outcome.check.name in selected:
                    yield ui.check_result(outcome, key)

        return run_suite


def checked_night(context: dg.AssetCheckExecutionContext, warehouse: Warehouse, table: Table) -> datetime.date | None:
    """Returns the night that a check looks at.

    This is the night of the run, or the table's newest night if the check runs on its own. It is None if the table is
    not nightly or has no night yet.
    """
    if not table.nightly:
        return None
    run = context.op_execution_context
    return nights.as_of_of(run.partition_key) if run.has_partition_key else warehouse.newest_night(table.name)


def _with_links(spec: dg.AssetSpec, build: Build, table: Table | None = None) -> dg.AssetSpec:
    """Returns the spec with links to the function that builds the asset and to the .sql file named after its table."""
    places = [(Path(build.__code__.co_filename), build.__code__.co_firstlineno)]
    if table and (query := next(PACKAGE.glob(f"*/{table.short_name}.sql"), None)):
        places.append((query, 1))
    return spec.merge_attributes(metadata={"dagster/code_references": ui.code_references(*places)})
