"""The same work with both engines, and their tables side by side."""

from dataclasses import dataclass
from pathlib import Path

import demo_shop
import duckdb
import pytest
from deltalake import DeltaTable
from pandas.testing import assert_frame_equal

from seg_pipeline.prepared.cleaning import clean
from seg_pipeline.prepared.tables import CLEAN_ORDERS, REJECTED_ORDERS
from seg_pipeline.raw.erasure import ErasureKey
from seg_pipeline.raw.ingestion import ingest
from seg_pipeline.raw.tables import RAW_ORDERS
from seg_pipeline.settings import load_settings
from seg_pipeline.wiring import warehouse_of
from seg_pipeline_tests.whole_runs import run_pipeline

# Few rows need few partitions, and nothing runs often enough here to be worth Java's best compiler; one whole run has
# Java's defaults: that on a Connect server.
FEW_PARTITIONS = "spark.config.spark.sql.shuffle.partitions=2"
QUICK_JAVA = "-XX:TieredStopAtLevel=1 -XX:+UseSerialGC"
SPARK = (
    "spark.master=local[2]",
    FEW_PARTITIONS,
    f"spark.config.spark.driver.extraJavaOptions={QUICK_JAVA}",
)
WITH_SPARK = [word for given in ("warehouse.engine=spark", *SPARK) for word in ("--set", given)]
QUICK = ("--set", "models.gap_references=0", "--set", "value.bootstraps=20")
ENGINES = ("duckdb", "spark")
LINES = ("raw.raw_orders", "raw.deliveries", "prepared.clean_orders", "prepared.rejected_orders")
TABLES = (
    "SELECT schema_name || '.' || table_name FROM duckdb_tables() WHERE NOT temporary UNION ALL"
    " SELECT schema_name || '.' || view_name FROM duckdb_views() WHERE comment IS NOT NULL ORDER BY ALL"
)
# But for how long something took, when it was seen, and the engine's own hash of a day's lines.
ROWS = "SELECT COLUMNS(lambda name: name NOT IN ('fit_seconds', 'seen_modified_ns', 'digest')) FROM {} ORDER BY ALL"


def rows_of(warehouse, table):
    return warehouse.read(ROWS.format(table))


def rows_by_delta(warehouse, table, version=None):
    """A table as a reader of Delta finds it."""
    log = DeltaTable(warehouse.folder / table, version=version)
    with duckdb.connect() as connection:
        connection.register("found", log.to_pyarrow_table())
        return connection.execute(ROWS.format("found")).df()


def tables_of(warehouse):
    """Every table of a warehouse by its name."""
    return {name: rows_of(warehouse, name) for name in warehouse.read(TABLES).iloc[:, 0]}


def assert_same_tables(found, expected):
    """Row by row, and to the last digit."""
    assert found.keys() == expected.keys()
    for name, rows in expected.items():
        assert_frame_equal(found[name], rows, check_exact=True, obj=name)


@dataclass
class Both:
    """One warehouse for each engine, to which the same is done."""

    folder: Path

    def settings(self, engine, *given):
        file = self.folder / engine / "warehouse.duckdb"
        return load_settings([*given, *SPARK, f"warehouse.engine={engine}", f"warehouse.path={file}"], environment={})

    def prepare(self, *given):
        """Loads and cleans with each engine; tables of lines by engine, or the line that an error ends in."""
        return [self._prepared(self.settings(engine, *given)) for engine in ENGINES]

    def _prepared(self, settings):
        warehouse = warehouse_of(settings)
        try:
            with warehouse.held(), warehouse.get_connection() as connection:
                key = ErasureKey.beside(warehouse.database)
                ingest(connection, settings.source, settings.retention.deliveries_days, key)
                clean(connection, settings)
        except Exception as error:
            return type(error), str(error).replace(str(Path(warehouse.database).parent), "")
        return {name: rows_of(warehouse, name) for name in LINES}

    def create_lines(self, engine):
        """Empty tables of lines."""
        with self.warehouse(engine).get_connection() as connection:
            for table in (RAW_ORDERS, CLEAN_ORDERS, REJECTED_ORDERS):
                connection.create(table)

    def warehouse(self, engine):
        return warehouse_of(self.settings(engine))


@pytest.fixture
def both(tmp_path):
    return Both(tmp_path)


def run_with(engine, folder, source, *options):
    folder.mkdir(exist_ok=True)
    spark = WITH_SPARK if engine == "spark" else ()
    return run_pipeline(folder, source, *QUICK, *spark, *options, bootstraps=2)


def warehouse(folder, engine):
    given = [f"warehouse.path={folder / 'warehouse.duckdb'}", f"warehouse.engine={engine}"]
    return warehouse_of(load_settings(given, environment={}))


def tables(folder, engine):
    return tables_of(warehouse(folder, engine))


@pytest.fixture(scope="session")
def small_shop(tmp_path_factory):
    """Two months of the demo shop, as files."""
    folder = tmp_path_factory.mktemp("small_shop")
    demo_shop.main(["--out", str(folder), "--until", "2026-02-28", "--since", "2026-01-01"])
    return folder


@pytest.fixture(scope="session")
def small_shop_tables(small_shop, tmp_path_factory):
    """The tables of that shop, made by DuckDB."""
    folder = tmp_path_factory.mktemp("small_shop_run")
    assert run_with("duckdb", folder, small_shop).status == 0
    return tables(folder, "duckdb")
