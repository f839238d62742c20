"""The one Definitions object that Dagster loads: the rooms in the order the data walks, and what they share."""

import datetime
import json
import warnings
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import dagster as dg

from seg_pipeline import automation
from seg_pipeline.evaluation import assets as evaluation
from seg_pipeline.features import assets as features
from seg_pipeline.features.transforms import check_columns
from seg_pipeline.models import assets as models
from seg_pipeline.models.registry import check_algorithms
from seg_pipeline.nights import as_of_of
from seg_pipeline.prepared import assets as prepared
from seg_pipeline.raw import assets as raw
from seg_pipeline.segments import assets as segments
from seg_pipeline.segments.strategies import read_actions
from seg_pipeline.settings import Settings, flattened, load_settings, output_hash_key
from seg_pipeline.warehouse import MEMORY_BESIDE_SPARK, SparkWarehouse, Warehouse

ROOMS = (raw.defs, prepared.defs, features.defs, models.defs, evaluation.defs, segments.defs)

# Settings of the machine and its services: no matter of a single run.
OF_THE_MACHINE = ("warehouse", "spark", "output", "automation")

Loader = Callable[[Sequence[str]], Settings]


def build_definitions(
    load: Loader = load_settings, loggers: Mapping[str, dg.LoggerDefinition] | None = None
) -> dg.Definitions:
    """All of the pipeline.

    Args:
        load: Gives the settings, with the `KEY=VALUE` overrides of a run laid on top; tests pass their own.
        loggers: In place of Dagster's console log, for the command line.
    """
    settings = load(())
    assets = [asset for room in ROOMS for asset in room.assets or () if isinstance(asset, dg.AssetsDefinition)]
    fresh = dg.FreshnessPolicy.time_window(fail_window=datetime.timedelta(hours=settings.automation.fresh_within_hours))
    return dg.Definitions(
        assets=dg.map_asset_specs(
            lambda spec: _made_by(settings.warehouse.engine, spec)._replace(freshness_policy=fresh),
            # The command line shows no pages.
            assets if loggers else _with_code(assets),
        ),
        asset_checks=[check for room in ROOMS for check in room.asset_checks or ()],
        jobs=automation.JOBS,
        schedules=[automation.nightly_schedule(settings, warehouse_of(settings))],
        sensors=[automation.new_files_sensor(settings), automation.failure_alert(settings.automation)],
        resources={"settings": settings_of_run(load, settings), "warehouse": warehouse_of(settings)},
        # In one process: DuckDB lets one process write, and a process per step would import everything again.
        executor=dg.in_process_executor,
        loggers=loggers,
    )


def _made_by(engine: str, spec: dg.AssetSpec) -> dg.AssetSpec:
    """The asset with the engine that makes its table, which is the warehouse's for large ones."""
    made_by = engine if spec.metadata.get("large") else "duckdb"
    return spec.replace_attributes(
        kinds={*(spec.kinds - {"duckdb"}), made_by}, metadata={**spec.metadata, "engine": made_by}
    )


def _with_code(assets: Sequence[dg.AssetsDefinition]) -> list[dg.AssetsDefinition]:
    """The assets with a link to their code on their pages."""
    with warnings.catch_warnings():
        # Of the library's: that these links may still change.
        warnings.simplefilter("ignore", dg.BetaWarning)
        linked = dg.with_source_code_references(dg.map_asset_specs(_with_sql, assets))
    return [asset for asset in linked if isinstance(asset, dg.AssetsDefinition)]


def _with_sql(spec: dg.AssetSpec) -> dg.AssetSpec:
    """The asset with a link to the query of its table, where it has one in a file of its name."""
    file = next(Path(__file__).parent.glob(f"*/{spec.key.path[-1]}.sql"), None)
    if file is None:
        return spec
    query = dg.CodeReferencesMetadataValue(
        code_references=[dg.LocalFileCodeReference(file_path=str(file), line_number=1, label=file.name)]
    )
    return spec.merge_attributes(metadata={"dagster/code_references": query})


def settings_of_run(load: Loader, settings: Settings) -> dg.ResourceDefinition:
    """The settings as a resource, checked before a run does anything. The launchpad can override any of them.

    Args:
        load: See `build_definitions`.
        settings: Those without overrides, which the launchpad shows.
    """
    in_force = "; ".join(
        f"{key}={_as_given(value)}"
        for key, value in flattened(settings).items()
        if key.split(".")[0] not in OF_THE_MACHINE
    )

    @dg.resource(
        config_schema={
            "set": dg.Field(
                [str],
                default_value=[],
                description="Settings for this run alone as KEY=VALUE, for example returns=drop or models.k_max=8."
                f" docs/reference.md says what each means. Without any they are: {in_force}",
            )
        },
        description="The settings of the pipeline: defaults, preset, settings file, environment, and those of the run.",
    )
    def resource(context: dg.InitResourceContext) -> Settings:
        settings = load(context.resource_config["set"])
        check(settings)
        if context.run and context.instance:
            # Whoever started the run, it is found by these.
            context.instance.add_run_tags(context.run.run_id, run_tags(settings, context.run))
        return settings

    return resource


def _as_given(value: object) -> str:
    """A setting as one gives it."""
    if isinstance(value, tuple):
        return ",".join(map(str, value))
    return json.dumps(value) if isinstance(value, dict) else "" if value is None else str(value)


def run_tags(settings: Settings, run: dg.DagsterRun) -> dict[str, str]:
    """What runs are found by: where their orders come from, and the as_of of their night."""
    source = " ".join([*settings.source.path, *([settings.source.table] if settings.source.table else [])])
    night = run.tags.get("dagster/partition")
    tags = {"seg_pipeline/source": source, "seg_pipeline/engine": settings.warehouse.engine}
    return tags | ({"seg_pipeline/as_of": as_of_of(night).isoformat()} if night else {})


def check(settings: Settings) -> None:
    """Raises UsageError for what the settings name and only the rooms, or the environment, know."""
    check_columns(settings.features)
    check_algorithms(settings)
    read_actions(settings.strategies.actions)
    output_hash_key(settings.output)


def warehouse_of(settings: Settings) -> Warehouse:
    """The warehouse of the settings."""
    given, spark = settings.warehouse, settings.spark
    limits = {"memory_limit": given.memory_limit, "threads": given.threads}
    file: dict[str, Any] = {
        "database": str(given.path),
        "connection_config": {name: value for name, value in limits.items() if value is not None},
        "wait_seconds": given.wait_seconds,
    }
    if given.engine == "duckdb":
        return Warehouse(**file)
    file["connection_config"] = {"memory_limit": MEMORY_BESIDE_SPARK} | file["connection_config"]
    folder = (spark.warehouse or Path(f"{given.path}.spark")).absolute()
    return SparkWarehouse(
        **file,
        most_customers=spark.sample,
        folder=str(folder),
        format=spark.format,
        master=spark.master,
        remote=spark.remote,
        config=spark.config,
    )


defs = build_definitions()
