"""The version of a DuckDB file, and the migrations that bring an older file to this version."""

from typing import Any

import duckdb

from seg_pipeline.errors import MachineError

# The first migration leads from version 1 to version 2, and so on.
MIGRATIONS = (
    # To incremental loading: both stages are built from the source again, and the later stages stay.
    "DROP SCHEMA IF EXISTS raw CASCADE; DROP SCHEMA IF EXISTS prepared CASCADE",
)
VERSION = len(MIGRATIONS) + 1
# A file of version 1 does not hold its version; these schemas distinguish it from a new file.
SCHEMAS_OF_VERSION_1 = ("raw", "prepared", "features", "models", "evaluation", "segments")


def version_of(connection: duckdb.DuckDBPyConnection) -> int | None:
    """Returns the version of a file; None if it is new."""

    def rows(query: str, *values: Any) -> list[Any]:
        # All rows are fetched: a result that is only partly read keeps its transaction open, here for the whole run.
        return connection.execute(query, values).fetchall()

    if not rows("FROM duckdb_views() WHERE database_name = current_database() AND view_name = 'warehouse_version'"):
        schemas = rows(
            "FROM duckdb_schemas() WHERE database_name = current_database() AND schema_name IN ?", SCHEMAS_OF_VERSION_1
        )
        return 1 if schemas else None
    return int(rows("SELECT version FROM main.warehouse_version")[0][0])


def migrate(connection: duckdb.DuckDBPyConnection, version: int | None) -> None:
    """Brings a file to this version, within the caller's transaction.

    Args:
        connection: A connection to the file.
        version: Its version; None if it is new.
    """
    for migration in MIGRATIONS[version - 1 :] if version else ():
        connection.execute(migration)
    write_version(connection)


def write_version(connection: duckdb.DuckDBPyConnection) -> None:
    """Writes the version into the file, as a view, so that it does not appear among the tables of the stages."""
    connection.execute(f"CREATE OR REPLACE VIEW main.warehouse_version AS SELECT {VERSION} AS version")


def refuse_newer(version: int | None, database: str) -> None:
    """Raises MachineError if a newer version of the package made the file."""
    if version is not None and version > VERSION:
        raise MachineError(
            f"warehouse {database} was made by a newer seg-pipeline (its version is {version}, this one knows"
            f" {VERSION}); install that one, or name another file with warehouse.path"
        )
