"""The warehouse whose large tables are Spark's, and the Spark session that makes them.

The large tables are folders of Parquet beside the DuckDB file, which has views of them (spark_connection.py). Folders
that no view names are deleted by the next run. PySpark is imported late, in this package and nowhere else.
"""

import logging
import os
import shutil
import sys
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from seg_pipeline import interrupts
from seg_pipeline.errors import UsageError
from seg_pipeline.warehouse import delta
from seg_pipeline.warehouse.connection import Connection
from seg_pipeline.warehouse.duckdb_file import LOG, Warehouse, Warned
from seg_pipeline.warehouse.spark_connection import TEMPORARY, SparkConnection, first_line, named_folders, numbered

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

# Laid under the settings' own. What a time reads as must not depend on where a machine stands, and a number that does
# not fit its type ends a query.
CONFIG = {
    "spark.sql.session.timeZone": "UTC",
    "spark.sql.timestampType": "TIMESTAMP_NTZ",
    "spark.sql.ansi.enabled": "true",
    "spark.ui.enabled": "false",
    "spark.ui.showConsoleProgress": "false",
    "spark.app.name": "seg-pipeline",
    "spark.hadoop.mapreduce.fileoutputcommitter.marksuccessfuljobs": "false",
    # Rows that pass to Python at once: ten times Spark's own number costs little memory and saves a tenth of parsing.
    "spark.sql.execution.arrow.maxRecordsPerBatch": "100000",
}
# DuckDB's own, where the settings name none: beside Spark it has the small tables and writes what is published, and the
# memory of the run must not grow with the shop.
MEMORY_BESIDE_SPARK = "1GB"
# A local session needs no name of the machine in the network.
LOCAL_CONFIG = {"spark.driver.host": "127.0.0.1", "spark.driver.bindAddress": "127.0.0.1"}
# Java's heap where it does the workers' part, too: a share of the machine's memory, which Spark's 1 GB leaves unused.
# The rest is for Python and for the system's cache of files.
LOCAL_HEAP_SHARE, LEAST_HEAP, MOST_HEAP = 0.25, 1 << 30, 4 << 30
CATALOG = "catalog"
# Said when it is imported, be it by Great Expectations, which imports it where it is installed.
warnings.filterwarnings("ignore", "PySpark does not yet fully support pandas", FutureWarning)


@dataclass(frozen=True)
class SparkWarehouse(Warehouse):
    """The DuckDB file with the large tables beside it, as Parquet that Spark writes.

    Attributes:
        folder: Where the large tables are.
        master: Where Spark runs.
        remote: Address of a Spark Connect server, in place of a master.
        format: What the large tables are to other readers.
        config: Further settings of Spark.
    """

    folder: str = ""
    master: str = "local[*]"
    remote: str | None = None
    format: Literal["parquet", "delta"] = "parquet"
    config: Mapping[str, Any] = field(default_factory=dict)

    @contextmanager
    def get_connection(self) -> Iterator[Connection]:
        """As the parent's, with Spark for what is about large tables; a look into the warehouse starts no Spark."""
        with self._opened() as duckdb:
            if self._is_looked_at:
                yield Connection(duckdb)
                return
            connection = SparkConnection(duckdb, Path(self.folder), self.session)
            try:
                yield connection
            finally:
                connection.close()
            if self.format == "delta":
                connection.tell_delta(connection.switched)

    @contextmanager
    def held(self, warned: Warned = LOG.warning, *, read_only: bool = False) -> Iterator[None]:
        """As the parent's; a run deletes what a run that was killed has left."""
        with super().held(warned, read_only=read_only):
            if not read_only:
                self._tidy()
            yield

    def write_anew(self) -> None:
        """As the parent's; files that rows were deleted from are deleted, too."""
        super().write_anew()
        self._tidy()

    def _tidy(self) -> None:
        """Deletes the folders of tables that no view names; logs of Delta go with the views, or with the setting."""
        folder = Path(self.folder)
        with self._opened() as duckdb:
            tables = named_folders(duckdb)
            if self.format == "delta":
                delta.check_installed()
                SparkConnection(duckdb, folder, self.session).tell_delta(tables)
            else:
                for table in tables:
                    delta.forget(folder / table)
        for table, used in (*tables.items(), (TEMPORARY, [])):
            for found in numbered(folder / table):
                if str(found.relative_to(folder)) not in used:
                    shutil.rmtree(found)

    def session(self) -> "SparkSession":
        """The process's Spark session, started where there is none.

        Raises:
            UsageError: PySpark is not installed, or Spark does not start as the settings say.
        """
        try:
            from pyspark.sql import SparkSession
        except ImportError:
            raise UsageError(
                "warehouse.engine=spark needs PySpark: install seg-pipeline with its extra spark, and Java 17 or later"
            ) from None
        if running := SparkSession.getActiveSession():
            return running
        # Spark says on the console, as JSON, what it raises as well.
        logging.getLogger("SQLQueryContextLogger").setLevel(logging.CRITICAL + 1)
        os.environ.setdefault("PYSPARK_PYTHON", sys.executable)
        # Nothing is in the catalog; without a place of its own it would make a folder wherever the run was started.
        catalog = {"spark.sql.warehouse.dir": str(Path(self.folder) / CATALOG)}
        builder = SparkSession.builder.config(map=CONFIG | catalog | self._local_config() | dict(self.config))
        builder = builder.remote(self.remote) if self.remote else builder.master(self.master)
        try:
            with interrupts.deferred(), _stderr_to(Path(self.folder) / "spark.log"):
                return builder.getOrCreate()
        except Exception as error:
            raise UsageError(
                f"spark: does not start ({first_line(error)}); {Path(self.folder) / 'spark.log'} says more"
            ) from error

    def _local_config(self) -> dict[str, str]:
        """What a session on this machine needs; with local-cluster, executors have memory of their own."""
        if self.remote or not self.master.startswith("local"):
            return {}
        return LOCAL_CONFIG if self.master.startswith("local-cluster") else LOCAL_CONFIG | _heap()


def _heap() -> dict[str, str]:
    """The setting of Java's heap on this machine."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    heap = min(max(int(memory * LOCAL_HEAP_SHARE), LEAST_HEAP), MOST_HEAP)
    return {"spark.driver.memory": f"{heap >> 20}m"}


@contextmanager
def _stderr_to(file: Path) -> Iterator[None]:
    """Sends to a file what processes started in the block write on their standard error: Spark's are chatty."""
    file.parent.mkdir(parents=True, exist_ok=True)
    sys.stderr.flush()
    kept = os.dup(2)
    with file.open("wb") as log:
        os.dup2(log.fileno(), 2)
    try:
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
