"""The warehouse, and the only place that knows which engine runs.

A table, or one night's rows of it, is replaced in one transaction: a run that is killed leaves it old or new.

duckdb_file.py has the DuckDB file, which is all there is unless warehouse.engine says otherwise, and connection.py what
a connection to it does. With spark the large tables, those that grow with order lines, are made by Spark and live as
Parquet beside the file, which has views of them (spark.py and spark_connection.py); dialect.py translates statements.
"""

from seg_pipeline.warehouse.connection import Connection, Parameters, Relation, literal, name_of, quoted
from seg_pipeline.warehouse.duckdb_errors import DAMAGE
from seg_pipeline.warehouse.duckdb_file import GRACE_SECONDS, Warehouse
from seg_pipeline.warehouse.spark import MEMORY_BESIDE_SPARK, SparkWarehouse

__all__ = [
    "DAMAGE",
    "GRACE_SECONDS",
    "MEMORY_BESIDE_SPARK",
    "Connection",
    "Parameters",
    "Relation",
    "SparkWarehouse",
    "Warehouse",
    "literal",
    "name_of",
    "quoted",
]
