"""The warehouse, and the only place that knows which engine runs.

A table, or one night's rows of it, is replaced in one transaction: a run that is killed leaves the old or the new rows.

duckdb_file.py opens the DuckDB file, and connection.py is a connection to it; in_memory.py is a database in memory, and
keyed_hash.py hashes customer ids in SQL.
With warehouse.engine=spark, Spark makes the large tables (those that grow with order lines) and stores them as Parquet
beside the file, which has views of them: spark.py is that warehouse, spark_connection.py its connection,
spark_tables.py the files of the large tables, and dialect.py translates statements for Spark.
"""

from seg_pipeline.warehouse.connection import Connection, Parameters, Relation, literal, quoted, sql_name
from seg_pipeline.warehouse.duckdb_errors import DAMAGE, DamagedError
from seg_pipeline.warehouse.duckdb_file import GRACE_SECONDS, Warehouse, Warn
from seg_pipeline.warehouse.in_memory import scratch
from seg_pipeline.warehouse.keyed_hash import hmac_blocks, hmac_sha256
from seg_pipeline.warehouse.sharing import sync_to_disk
from seg_pipeline.warehouse.spark import MEMORY_BESIDE_SPARK, SparkWarehouse

__all__ = [
    "DAMAGE",
    "GRACE_SECONDS",
    "MEMORY_BESIDE_SPARK",
    "Connection",
    "DamagedError",
    "Parameters",
    "Relation",
    "SparkWarehouse",
    "Warehouse",
    "Warn",
    "hmac_blocks",
    "hmac_sha256",
    "literal",
    "quoted",
    "scratch",
    "sql_name",
    "sync_to_disk",
]
