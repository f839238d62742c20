"""The version of a DuckDB file, and what makes a file of an older one into one of this."""

from typing import Any

import duckdb

from seg_pipeline.errors import MachineError

# What makes a file of version 1 one of version 2, and so on: a file's version is one more than the steps it has had.
MIGRATIONS = (
    # Loading became incremental. Both stages come from the source again; what was made of them stays.
    "DROP SCHEMA IF EXISTS raw CASCADE; DROP SCHEMA IF EXISTS prepared CASCADE",
)
VERSION = len(MIGRATIONS) + 1
# Version 1 had no mark; these are the schemas that tell it from a new file.
SCHEMAS_OF_VERSION_1 = ("raw", "prepared", "features", "models", "evaluation", "segments")


def version_of(connection: duckdb.DuckDBPyConnection) -> int | None:
    """Returns the version of a file; None for one that is new."""

    def rows(query: str, *values: Any) -> list[Any]:
        # All of them: a result that is read in part keeps its transaction open, here for the whole run.
        return connection.execute(query, values).fetchall()

    if not rows("FROM duckdb_views() WHERE database_name = current_database() AND view_name = 'warehouse_version'"):
        ours = rows(
            "FROM duckdb_schemas() WHERE database_name = current_database() AND schema_name IN ?", SCHEMAS_OF_VERSION_1
        )
        return 1 if ours else None
    return int(rows("SELECT version FROM main.warehouse_version")[0][0])


def migrate(connection: duckdb.DuckDBPyConnection, version: int | None) -> None:
    """Does to a file what it lacks to be of this version, within the caller's transaction; None is a new one."""
    for migration in MIGRATIONS[version - 1 :] if version else ():
        connection.execute(migration)
    mark(connection)


def mark(connection: duckdb.DuckDBPyConnection) -> None:
    """Writes the version into the file: a view, so that it is no table among those of the stages."""
    connection.execute(f"CREATE OR REPLACE VIEW main.warehouse_version AS SELECT {VERSION} AS version")


def refuse_newer(version: int | None, database: str) -> None:
    """Raises MachineError if a file was made by a newer version of the package."""
    if version is not None and version > VERSION:
        raise MachineError(
            f"warehouse {database} was made by a newer seg-pipeline (its version is {version}, this one knows"
            f" {VERSION}); install that one, or name another file with warehouse.path"
        )
