"""The warehouse whose large tables are made by Spark, and the Spark session that makes them.

The large tables are folders of Parquet beside the DuckDB file, which has views of them (spark_tables.py). The next run
deletes folders of a large table that its view does not read. PySpark is imported late, and only in this package.
"""

import logging
import os
import shutil
import sys
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import duckdb

from seg_pipeline import interrupts
from seg_pipeline.errors import MachineError, UsageError
from seg_pipeline.warehouse import delta
from seg_pipeline.warehouse.connection import Connection
from seg_pipeline.warehouse.duckdb_errors import first_line
from seg_pipeline.warehouse.duckdb_file import LOG, Warehouse, Warn
from seg_pipeline.warehouse.spark_connection import TEMPORARY, SparkConnection
from seg_pipeline.warehouse.spark_tables import LargeTables, folders_in, large_tables

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

# The defaults; settings override them. How a time is read must not depend on the time zone of the machine, and a number
# that does not fit its type must end the query.
CONFIG = {
    "spark.sql.session.timeZone": "UTC",
    "spark.sql.timestampType": "TIMESTAMP_NTZ",
    "spark.sql.ansi.enabled": "true",
    "spark.ui.enabled": "false",
    "spark.ui.showConsoleProgress": "false",
    "spark.app.name": "seg-pipeline",
    "spark.hadoop.mapreduce.fileoutputcommitter.marksuccessfuljobs": "false",
    # Rows per batch that goes to Python: ten times Spark's default costs little memory and saves a tenth of parsing.
    "spark.sql.execution.arrow.maxRecordsPerBatch": "100000",
}
# DuckDB's memory limit if the settings give none: beside Spark, DuckDB only holds the small tables and writes the
# published files, and the memory of a run must not grow with the shop.
MEMORY_BESIDE_SPARK = "1GB"
# A local session works without a host name in the network.
LOCAL_CONFIG = {"spark.driver.host": "127.0.0.1", "spark.driver.bindAddress": "127.0.0.1"}
# Java's heap in a local session, where it also does the workers' part: this share of the machine's memory, within these
# limits in bytes (Spark's default is 1 GB). The rest is for Python and for the system's file cache.
LOCAL_HEAP_SHARE, MIN_HEAP, MAX_HEAP = 0.25, 1 << 30, 4 << 30
# The folder of Spark's catalog, which stays empty.
CATALOG = "catalog"
# PySpark gives this warning when it is imported, which Great Expectations also does if PySpark is installed.
warnings.filterwarnings("ignore", "PySpark does not yet fully support pandas", FutureWarning)


@dataclass(frozen=True)
class SparkWarehouse(Warehouse):
    """The DuckDB file, with the large tables beside it as Parquet that Spark writes.

    Attributes:
        folder: The folder of the large tables.
        master: The master URL: where Spark runs.
        remote: The address of a Spark Connect server, instead of a master.
        format: Whether other readers see plain Parquet or Delta tables.
        config: Further settings of Spark.
    """

    folder: Path = field(kw_only=True)
    master: str = "local[*]"
    remote: str | None = None
    format: Literal["parquet", "delta"] = "parquet"
    config: Mapping[str, Any] = field(default_factory=dict)

    @contextmanager
    def get_connection(self) -> Iterator[Connection]:
        """Yields a connection as the parent does, with Spark for the large tables; a read-only one starts no Spark."""
        with self._duckdb_connection() as duckdb_connection:
            if self._is_read_only:
                yield Connection(duckdb_connection)
                return
            connection = SparkConnection(duckdb_connection, self.folder, self.session)
            try:
                yield connection
            finally:
                connection.close()
            if self.format == "delta":
                connection.large.update_delta_logs(connection.large.changed)

    @contextmanager
    def held(self, warn: Warn = LOG.warning, *, read_only: bool = False) -> Iterator[None]:
        """Holds the warehouse as the parent does; a run also deletes leftovers of a run that was killed."""
        with super().held(warn, read_only=read_only):
            if not read_only:
                self._clean_up()
            yield

    def rewrite(self) -> list[str]:
        """Rewrites the file as the parent does; also deletes the files that rows were deleted from."""
        remains = super().rewrite()
        self._clean_up()
        return remains

    def _clean_up(self) -> None:
        """Brings the Delta logs up to date; deletes temporary tables and folders that no large table's view reads."""
        with self._duckdb_connection() as connection:
            tables = large_tables(connection)
            self._sync_delta_logs(connection, tables)
        for table, used in (*tables.items(), (TEMPORARY, [])):
            for table_folder in folders_in(self.folder / table):
                if str(table_folder.relative_to(self.folder)) not in used:
                    shutil.rmtree(table_folder)

    def _sync_delta_logs(self, connection: duckdb.DuckDBPyConnection, tables: Mapping[str, Sequence[str]]) -> None:
        """Updates the Delta logs of the large tables, or deletes them if the format is not delta."""
        if self.format == "delta":
            delta.check_installed()
            LargeTables(connection, self.folder, self.session).update_delta_logs(tables)
        else:
            for table in tables:
                delta.delete_log(self.folder / table)

    def session(self) -> "SparkSession":
        """Returns the Spark session of the process, and starts it if there is none.

        Raises:
            UsageError: PySpark is not installed, or Spark does not start as the settings say.
            MachineError: The folder of the large tables cannot be created.
        """
        try:
            from pyspark.sql import SparkSession
        except ImportError:
            raise UsageError(
                "warehouse.engine=spark needs PySpark: install seg-pipeline with its extra spark, and Java 17 or later"
            ) from None
        if running := SparkSession.getActiveSession():
            return running
        # Spark also logs, as JSON on the console, every error that it raises.
        logging.getLogger("SQLQueryContextLogger").setLevel(logging.CRITICAL + 1)
        os.environ.setdefault("PYSPARK_PYTHON", sys.executable)
        # The catalog stays empty; without this setting Spark would create its folder wherever the run was started.
        catalog = {"spark.sql.warehouse.dir": str(self.folder / CATALOG)}
        builder = SparkSession.builder.config(map=CONFIG | catalog | self._local_config() | dict(self.config))
        builder = builder.remote(self.remote) if self.remote else builder.master(self.master)
        log = self.folder / "spark.log"
        try:
            log.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise MachineError(f"{log.parent}: cannot be created: {error.strerror or error}") from error
        try:
            with interrupts.defer_interrupts(), _stderr_to(log):
                return builder.getOrCreate()
        except Exception as error:
            raise UsageError(f"spark: does not start ({first_line(error)}); see {log}") from error

    def _local_config(self) -> dict[str, str]:
        """Returns the settings of a session on this machine; the executors of local-cluster have their own memory."""
        if self.remote or not self.master.startswith("local"):
            return {}
        return LOCAL_CONFIG if self.master.startswith("local-cluster") else LOCAL_CONFIG | _heap()


def _heap() -> dict[str, str]:
    """Returns the setting of Java's heap on this machine; spark.config.spark.driver.memory overrides it."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    heap = min(max(int(memory * LOCAL_HEAP_SHARE), MIN_HEAP), MAX_HEAP)
    return {"spark.driver.memory": f"{heap >> 20}m"}


@contextmanager
def _stderr_to(file: Path) -> Iterator[None]:
    """Redirects standard error, of this process and those it starts, to a file while the block runs."""
    sys.stderr.flush()
    stderr = os.dup(2)
    with file.open("wb") as log:
        os.dup2(log.fileno(), 2)
    try:
        yield
    finally:
        os.dup2(stderr, 2)
        os.close(stderr)
