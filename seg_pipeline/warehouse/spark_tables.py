"""The large tables of a warehouse with Spark: numbered folders of Parquet, and a view of each table in the DuckDB file.

The view names the folders that are the table now. A change writes new folders and replaces the view within the
caller's transaction, so a run that is killed leaves the old table or the new one.
"""

import json
import re
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import duckdb

from seg_pipeline.tables import Table
from seg_pipeline.warehouse import delta
from seg_pipeline.warehouse.connection import LARGE_TABLE, Parameters, literal, quoted
from seg_pipeline.warehouse.spark_errors import translate_spark_errors

if TYPE_CHECKING:
    from pyspark.sql import DataFrame, SparkSession

FOLDER_NAME = re.compile("[0-9]{6,}")
# A change merges a table of more folders than this into one, since reading a table opens every file.
MAX_FOLDERS = 64


class LargeTables:
    """The large tables beside one DuckDB file.

    Attributes:
        changed: The names of the tables that consist of other files now than when this object was made.
    """

    def __init__(self, duckdb: duckdb.DuckDBPyConnection, folder: Path, session: "Callable[[], SparkSession]") -> None:
        """Takes a connection to the DuckDB file, the folder of the tables, and a function that returns the session."""
        self._duckdb = duckdb
        self._folder = folder
        self._session = session
        self.changed: set[str] = set()

    def create(self, table: Table, *, or_replace: bool) -> None:
        """Creates a table without rows; if it exists and `or_replace` is off, gives it the columns that it lacks."""
        folders = self.folders(table.name)
        columns = [(column.name, column.type) for column in table.columns]
        if folders is None or or_replace:
            self.set_folders(table.name, columns, [])
        elif schema_of(columns) != schema_of(self.columns(table.name)):
            # An older version wrote the table. Its rows are written again, so that every file has every column.
            rewritten = self.write(table.name, self.read(table.name, folders), columns) if folders else []
            self.set_folders(table.name, columns, rewritten)

    def folders(self, table: str) -> list[str] | None:
        """Returns the folders of a table; None if it is not a large table."""
        folders = large_tables(self._duckdb).get(table)
        return None if folders is None else [str(self._folder / folder) for folder in folders]

    def set_folders(self, table: str, columns: Sequence[tuple[str, str]], folders: Sequence[str]) -> None:
        """Makes a table consist of some folders, by replacing its view."""
        self.changed.add(table)
        if folders:
            files = ", ".join(literal(f"{folder}/*.parquet") for folder in folders)
            rows = f"SELECT {_cast(columns)} FROM read_parquet([{files}], hive_partitioning = false)"
        else:
            names = ", ".join(f"CAST(NULL AS {type_}) AS {quoted(name)}" for name, type_ in columns)
            rows = f"SELECT {names} WHERE false"
        self._duckdb.execute(f"CREATE OR REPLACE VIEW {table} AS {rows}")
        comment = LARGE_TABLE + json.dumps([str(Path(folder).relative_to(self._folder)) for folder in folders])
        self._duckdb.execute(f"COMMENT ON VIEW {table} IS {literal(comment)}")

    def append(self, table: str, folders: Sequence[str]) -> int:
        """Adds folders to a table, and returns the number of their rows."""
        columns, rows = self.columns(table), self.count_rows(folders)
        all_folders = [*(self.folders(table) or []), *folders]
        if len(all_folders) > MAX_FOLDERS:
            all_folders = self.write(table, self.read(table, all_folders), columns)
        self.set_folders(table, columns, all_folders)
        return rows

    def replace(self, table: str, folders: Sequence[str], frame: "DataFrame") -> int:
        """Replaces some folders of a table by the rows of a frame, and returns by how many rows it is smaller."""
        others = [folder for folder in self.folders(table) or [] if folder not in folders]
        rows_before = self.count_rows(folders)
        written = self.write(table, frame)
        self.set_folders(table, self.columns(table), [*others, *written])
        return rows_before - self.count_rows(written)

    def read(self, table: str, folders: Sequence[str]) -> "DataFrame":
        """Returns the rows in some folders of a table."""
        session, schema = self._session(), schema_of(self.columns(table))
        return session.read.schema(schema).parquet(*folders) if folders else session.createDataFrame([], schema)

    def write(self, table: str, frame: "DataFrame", columns: Sequence[tuple[str, str]] | None = None) -> list[str]:
        """Writes the rows of a frame to a new folder of a table, which does not become part of the table yet.

        Args:
            table: The table.
            frame: Its columns are matched by name; a missing one is NULL.
            columns: The columns of the table with their types; those it has if None.

        Returns:
            The folder; none if there are no rows.
        """
        from pyspark.sql import functions

        present = set(frame.columns)
        values = [
            (functions.col(name) if name in present else functions.lit(None)).cast(spark_type(type_)).alias(name)
            for name, type_ in columns or self.columns(table)
        ]
        folder = self.new_folder(table)
        with translate_spark_errors():
            frame.select(*values).write.parquet(folder)
        return [folder] if self.count_rows([folder]) else []

    def copy(self, table: str, query: str, values: Parameters | None) -> list[str]:
        """Writes the rows of a query that DuckDB runs to a new folder of a table, matching columns by name."""
        columns, folder = self.columns(table), self.new_folder(table)
        Path(folder).mkdir()
        rows = f"(FROM {table} LIMIT 0) UNION ALL BY NAME ({query})"
        self._duckdb.execute(
            f"COPY (SELECT {_cast(columns)} FROM ({rows})) TO {literal(f'{folder}/part-0.parquet')}", values
        )
        return [folder]

    def new_folder(self, table: str) -> str:
        """Returns the path of the next folder of a table; the folder does not exist yet."""
        place = self._folder / table
        place.mkdir(parents=True, exist_ok=True)
        return str(place / f"{max((int(folder.name) for folder in folders_in(place)), default=0) + 1:06}")

    def columns(self, table: str) -> list[tuple[str, str]]:
        """Returns the columns of a table with their types."""
        return self._duckdb.execute(
            "SELECT column_name, data_type FROM duckdb_columns() WHERE schema_name || '.' || table_name = $table"
            " ORDER BY column_index",
            {"table": table},
        ).fetchall()

    def count_rows(self, folders: Sequence[str]) -> int:
        """Returns how many rows are in some folders."""
        return sum(rows for _, rows in self._files(folders))

    def update_delta_logs(self, tables: Iterable[str]) -> None:
        """Makes the Delta logs of some tables list the files that the tables consist of."""
        for table in sorted(tables):
            no_rows = self._duckdb.sql(f"FROM {table} LIMIT 0").to_arrow_table()
            place = self._folder / table
            files = self._files(self.folders(table) or [])
            delta.update_log(place, no_rows.schema, {str(Path(file).relative_to(place)): rows for file, rows in files})

    def _files(self, folders: Sequence[str]) -> list[tuple[str, int]]:
        """Returns the files in some folders, each with its number of rows."""
        files = [f"{folder}/*.parquet" for folder in folders if any(Path(folder).glob("*.parquet"))]
        if not files:
            return []
        return self._duckdb.execute(
            "SELECT file_name, num_rows FROM parquet_file_metadata($files)", {"files": files}
        ).fetchall()


def large_tables(connection: duckdb.DuckDBPyConnection) -> dict[str, list[str]]:
    """Returns the large tables of a DuckDB file, each with its folders."""
    rows = connection.execute(
        "SELECT schema_name || '.' || view_name, comment FROM duckdb_views() WHERE comment LIKE $mark",
        {"mark": f"{LARGE_TABLE}%"},
    ).fetchall()
    return {name: json.loads(comment.removeprefix(LARGE_TABLE)) for name, comment in rows}


def folders_in(place: Path) -> list[Path]:
    """Returns the numbered folders of a table; anything else in its folder does not belong to the warehouse."""
    return [path for path in place.iterdir() if FOLDER_NAME.fullmatch(path.name)] if place.is_dir() else []


def schema_of(columns: Iterable[tuple[str, str]]) -> str:
    """Returns columns with DuckDB's types as a schema of Spark."""
    return ", ".join(f"`{name}` {spark_type(type_)}" for name, type_ in columns)


def spark_type(duckdb_type: str) -> str:
    """Returns Spark's name of a type of DuckDB."""
    from seg_pipeline.warehouse.dialect import type_of

    return type_of(duckdb_type)


def _cast(columns: Sequence[tuple[str, str]]) -> str:
    """Returns the columns of a SELECT, each cast to its type: files that others wrote may have other types."""
    return ", ".join(f"CAST({quoted(name)} AS {type_}) AS {quoted(name)}" for name, type_ in columns)
