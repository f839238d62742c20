"""The warehouse, and the only place that knows which engine runs: connections, transactions, the .sql files.

A table, or one night's rows of it, is replaced in one transaction: a run that is killed leaves it old or new.

duckdb_file.py holds the DuckDB file, which is all there is unless warehouse.engine says otherwise. With spark the large
tables, those that grow with order lines, are made by Spark (spark.py) and live as Parquet beside the file, which has
views of them; dialect.py translates the statements.
"""

from seg_pipeline.warehouse.duckdb_file import DAMAGE, GRACE_SECONDS, Warehouse
from seg_pipeline.warehouse.spark import MEMORY_BESIDE_SPARK, SparkWarehouse
from seg_pipeline.warehouse.statements import (
    Engine,
    Parameters,
    append_read,
    append_rows,
    batches,
    create,
    delete,
    engine_of,
    execute,
    insert,
    interrupts_as_they_are,
    literal,
    map_rows,
    over_lines,
    place_of,
    quoted,
    replace_night,
    replace_table,
    tables_with,
    temporary,
    transaction,
    works_elsewhere,
)

__all__ = [
    "DAMAGE",
    "GRACE_SECONDS",
    "MEMORY_BESIDE_SPARK",
    "Engine",
    "Parameters",
    "SparkWarehouse",
    "Warehouse",
    "append_read",
    "append_rows",
    "batches",
    "create",
    "delete",
    "engine_of",
    "execute",
    "insert",
    "interrupts_as_they_are",
    "literal",
    "map_rows",
    "over_lines",
    "place_of",
    "quoted",
    "replace_night",
    "replace_table",
    "tables_with",
    "temporary",
    "transaction",
    "works_elsewhere",
]
