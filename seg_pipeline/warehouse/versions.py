"""The schema version of a DuckDB file, and the migrations that bring an older file up to date."""

from typing import Any

import duckdb

from seg_pipeline.errors import MachineError

# The first migration leads from version 1 to version 2, and so on.
MIGRATIONS = (
    # Version 2 loads files incrementally, so both stages are built from the source again; the later stages stay.
    "DROP SCHEMA IF EXISTS raw CASCADE; DROP SCHEMA IF EXISTS prepared CASCADE",
)
SCHEMA_VERSION = len(MIGRATIONS) + 1
# A file of version 1 does not hold its version; these schemas distinguish it from a new file.
SCHEMAS_OF_VERSION_1 = ("raw", "prepared", "features", "models", "evaluation", "segments")


def version_of(connection: duckdb.DuckDBPyConnection) -> int | None:
    """Returns the schema version of a file; None if it is new."""

    def rows(query: str, *values: Any) -> list[Any]:
        # All rows are fetched: a result that is only partly read keeps its transaction open, here for the whole run.
        return connection.execute(query, values).fetchall()

    try:
        [(version,)] = rows("SELECT version FROM main.warehouse_version")
    except duckdb.CatalogException:
        schemas = rows(
            "FROM duckdb_schemas() WHERE database_name = current_database() AND schema_name IN ?", SCHEMAS_OF_VERSION_1
        )
        return 1 if schemas else None
    return int(version)


def migrate(connection: duckdb.DuckDBPyConnection, version: int | None, database: str) -> None:
    """Brings a file to this schema version, within the caller's transaction.

    Args:
        connection: A connection to the file.
        version: Its schema version; None if it is new.
        database: The path of the file, for the error.

    Raises:
        MachineError: A newer seg-pipeline made the file.
    """
    refuse_newer(version, database)
    if version is not None:
        for migration in MIGRATIONS[version - 1 :]:
            connection.execute(migration)
    write_version(connection)


def write_version(connection: duckdb.DuckDBPyConnection) -> None:
    """Writes this schema version into the file, as a view, so that it is not among the tables of the stages."""
    connection.execute(f"CREATE OR REPLACE VIEW main.warehouse_version AS SELECT {SCHEMA_VERSION} AS version")


def refuse_newer(version: int | None, database: str) -> None:
    """Raises MachineError if the file has a newer schema version than this package supports."""
    if version is not None and version > SCHEMA_VERSION:
        raise MachineError(
            f"warehouse {database} has schema version {version}; this seg-pipeline supports up to {SCHEMA_VERSION}."
            " Upgrade seg-pipeline, or name another file with warehouse.path"
        )
