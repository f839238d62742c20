"""A connection to the warehouse: transactions, statements, tables replaced as a whole or by night, temporary tables.

The rooms say what to do, and the connection decides where it is done. Here everything runs in the DuckDB file;
spark_connection.py is the connection of a warehouse whose large tables (those that grow with order lines) are in Spark.
"""

import datetime
import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

import duckdb

from seg_pipeline.errors import UsageError
from seg_pipeline.tables import Table

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa

Parameters = Mapping[str, Any]
Part = TypeVar("Part")

# How many of DuckDB's vectors (2,048 rows each) are handed to Python at once; this bounds memory.
VECTORS_PER_BATCH = 128
# Where DuckDB lists the large tables of an engine, and the column of their names there.
LISTED_IN = {"duckdb": ("duckdb_tables()", "table_name"), "spark": ("duckdb_views()", "view_name")}
# The comment on the view of a large table begins with this; the folders of its files follow.
LARGE_TABLE = "large table: "
# The suffix of the warehouse's path with which the paths of folders with copies of lines begin.
COPIES = ".copies-"
# Numbers the names of temporary relations, so that two that exist at once never share a name.
_NUMBERS = count(1)


@dataclass(frozen=True, slots=True)
class Relation:
    """What a statement can read: the name of a table, or a query in parentheses. As text it is its SQL."""

    sql: str

    def __str__(self) -> str:
        return self.sql


class Result(Protocol):
    """The rows that a statement returns."""

    def fetchall(self) -> list[tuple[Any, ...]]:
        """Returns all rows."""

    def fetchone(self) -> tuple[Any, ...] | None:
        """Returns the first row; None if there is none."""

    def df(self) -> "pd.DataFrame":
        """Returns all rows as a frame."""


class Connection:
    """A connection to the warehouse.

    A statement is a text or a .sql file in DuckDB's dialect. It may name some of its parameters and ignore the others.
    `$name` stands for a value and `{name}` for a relation. A `Table` that is passed for `{name}` can be read before it
    exists: it has no rows then, and NULL in columns that an older version did not write.

    Attributes:
        engine: The engine of the large tables.
        duckdb: The connection to the DuckDB file, for what only DuckDB can do. It has every table, or a view of it.
    """

    engine = "duckdb"
    # What a query raises that is wrong, or that the data does not fit; not what the machine says no to.
    query_errors: tuple[type[Exception], ...] = (duckdb.ProgrammingError, duckdb.DataError, duckdb.NotSupportedError)

    def __init__(self, duckdb: duckdb.DuckDBPyConnection) -> None:
        self.duckdb = duckdb

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """Commits all statements of the block, or none of them if it raises."""
        self.duckdb.begin()
        try:
            yield
        except BaseException:
            with suppress(duckdb.Error):  # a fatal error has ended the transaction already, and is the one to report
                self.duckdb.rollback()
            raise
        self.duckdb.commit()

    @property
    def copies(self) -> str | None:
        """The beginning of the path of folders for copies of lines, which the next run deletes; None in memory."""
        [(path,)] = self.duckdb.execute(
            "SELECT path FROM duckdb_databases() WHERE database_name = current_database()"
        ).fetchall()
        return f"{path}{COPIES}" if path else None

    def execute(self, statement: str | Path, parameters: Parameters | None = None) -> Result:
        """Runs a statement and returns its rows."""
        text, values = self._resolve(statement, parameters)
        return self.duckdb.execute(text, values)

    def create(self, table: Table, *, or_replace: bool = True) -> None:
        """Creates a table with its columns: empty, or as it is if it exists and `or_replace` is off.

        Raises:
            UsageError: The table is a large one and was made with another engine.
        """
        self.duckdb.execute(f"CREATE SCHEMA IF NOT EXISTS {table.schema}")
        if table.large:
            self._refuse_other_engines(table)
        self._create(table, or_replace=or_replace)

    def insert(self, table: Table | Relation, query: str | Path, parameters: Parameters | None = None) -> int:
        """Appends the rows of a query to a table, matching columns by name, and returns their number."""
        text, values = self._resolve(query, parameters)
        row = self.duckdb.execute(f"INSERT INTO {sql_name(table)} BY NAME {text}", values).fetchone()
        return int(row[0]) if row else 0

    def insert_rows(self, table: Table, rows: Iterable[Mapping[str, Any]]) -> None:
        """Appends rows to a table that is not large.

        Args:
            table: The table.
            rows: The values of each row by column; a column that is left out is NULL.
        """
        names = [column.name for column in table.columns]
        values = [{name: row.get(name) for name in names} for row in rows]
        if values:
            types = json.dumps({column.name: column.type for column in table.columns})
            # Decimals and days become text, which the database reads as exactly what it was.
            self.execute(
                f"INSERT INTO {table.name} BY NAME SELECT unnest(from_json($rows, '[{types}]'), max_depth := 2)",
                {"rows": json.dumps(values, default=str, allow_nan=False)},
            )

    def delete(self, table: Table | str, where: str, parameters: Parameters | None = None) -> int:
        """Deletes the rows of a table that fulfil a condition, and returns their number."""
        text, values = self._resolve(f"DELETE FROM {sql_name(table)} WHERE {where}", parameters)
        row = self.duckdb.execute(text, values).fetchone()
        return int(row[0]) if row else 0

    def replace_table(self, table: Table, query: str | Path, parameters: Parameters | None = None) -> None:
        """Replaces a table with the rows of a query, within the caller's transaction."""
        self.create(table)
        self.insert(table, query, parameters)

    def replace_night(
        self,
        table: Table,
        rows: "str | Path | pd.DataFrame",
        as_of: datetime.date,
        parameters: Parameters | None = None,
    ) -> None:
        """Replaces one night's rows within the caller's transaction, matching columns by name.

        Args:
            table: A nightly table; it is created if it does not exist.
            rows: A query, in which `$as_of` is bound, or a frame without as_of.
            as_of: The night.
            parameters: Further parameters of the query.
        """
        self.create(table, or_replace=False)
        self.delete(table, "as_of = $as_of", {"as_of": as_of})
        if isinstance(rows, str | Path):
            self.insert(table, rows, {"as_of": as_of, **(parameters or {})})
            return
        with self.registered(rows) as frame:
            self.insert(table, f"SELECT $as_of AS as_of, * FROM {frame}", {"as_of": as_of})

    @contextmanager
    def registered(self, rows: "pd.DataFrame | pa.RecordBatchReader") -> Iterator[Relation]:
        """Yields a relation that reads a frame, or a stream of Arrow batches, which can be read once."""
        relation = Relation(f"frame_{next(_NUMBERS)}")
        self.duckdb.register(relation.sql, rows)
        try:
            yield relation
        finally:
            # In a transaction that has failed DuckDB 2 drops nothing; the end of the connection does.
            with suppress(duckdb.TransactionException):
                self.duckdb.unregister(relation.sql)

    @contextmanager
    def temporary(self, rows: "str | Path | pd.DataFrame", parameters: Parameters | None = None) -> Iterator[Relation]:
        """Yields a temporary table with the rows of a query or frame, and drops it after the block.

        If the block raises, the table disappears when the connection is closed.

        Args:
            rows: A query, or a frame. DuckDB joins a table with all its threads, and a frame with only one.
            parameters: The parameters of the query.
        """
        relation = _new_relation()
        if isinstance(rows, str | Path):
            self._create_temporary(relation, *self._resolve(rows, parameters))
        else:
            with self.registered(rows) as frame:
                self._create_temporary(relation, f"SELECT * FROM {frame}", None)
        yield relation
        self._drop_temporary(relation)

    @contextmanager
    def empty_copy(self, table: Table) -> Iterator[Relation]:
        """Yields an empty temporary table in the DuckDB file with the columns of a table."""
        relation = _new_relation()
        self.duckdb.execute(f"CREATE TEMP TABLE {relation} ({table.ddl})")
        yield relation
        self._drop_temporary(relation)

    @contextmanager
    def apply_in_batches(
        self,
        function: "Callable[[pd.DataFrame], pd.DataFrame]",
        query: str,
        parameters: Parameters,
        columns: Mapping[str, str],
    ) -> Iterator[Relation]:
        """Yields a temporary table with the rows that a function returns for each batch of a query's rows.

        Args:
            function: Takes and returns a frame; it must be picklable, as workers may call it.
            query: Reads only what is committed.
            parameters: The parameters of the query.
            columns: The columns of the temporary table with their types.
        """
        relation = _new_relation()
        self._apply_in_batches(relation, function, *self._resolve(query, parameters), columns)
        yield relation
        self._drop_temporary(relation)

    @contextmanager
    def compute_columns(
        self,
        function: "Callable[[pd.DataFrame], pd.DataFrame]",
        table: Table,
        as_of: datetime.date,
        *,
        columns: Sequence[str],
        where: str,
        types: Mapping[str, str],
        defaults: Parameters,
    ) -> Iterator[Relation]:
        """Yields a temporary table of a night's rows: their key, and columns that Python computes batch by batch.

        Args:
            function: Takes a frame of rows and returns the computed columns in the same order; it must be picklable.
            table: A large nightly table with a key of one column.
            as_of: The night, whose rows are committed.
            columns: The columns that the function needs.
            where: Which rows of the night the function computes.
            types: The computed columns with their types.
            defaults: The values of the computed columns in the other rows.
        """
        [key] = table.key
        row_id, type_ = self._row_id(table)
        values = ", ".join(f"coalesce({name}, ${name}) AS {name}" for name in types)
        relation = _new_relation()
        with self.apply_in_batches(
            partial(_beside_row_id, function),
            f"SELECT {row_id} AS row_id, {', '.join(columns)} FROM {table.name} WHERE as_of = $as_of AND ({where})",
            {"as_of": as_of},
            {"row_id": type_, **types},
        ) as computed:
            query = (
                f"SELECT {key}, {values} FROM {table.name} AS night"
                f" LEFT JOIN {computed} AS computed ON computed.row_id = night.{row_id} WHERE as_of = $as_of"
            )
            self._create_temporary(relation, *self._resolve(query, {"as_of": as_of, **defaults}))
        yield relation
        self._drop_temporary(relation)

    def try_parallel_append(
        self,
        table: Table | Relation,
        list_parts: Callable[[], Sequence[Part]],
        read: "Callable[[Part], Iterable[pa.RecordBatch]]",
    ) -> bool:
        """Appends the rows that `read` returns for each part, if the engine has workers that read parts in parallel.

        Args:
            table: Where the rows go.
            list_parts: Returns the parts; is called only if there are workers.
            read: Is called in a worker with each part; it must be picklable, as the parts must.

        Returns:
            Whether the rows were appended. If not, nothing was done, and the caller reads the rows with DuckDB.
        """
        return False

    def tables_with(self, column: str) -> list[str]:
        """Returns the names of the tables that have a column."""
        rows = self.duckdb.execute(
            "SELECT DISTINCT schema_name || '.' || table_name AS name FROM duckdb_columns() WHERE column_name = $column"
            " AND (schema_name, table_name) IN (SELECT (schema_name, table_name) FROM duckdb_tables() WHERE NOT"
            " temporary UNION ALL SELECT (schema_name, view_name) FROM duckdb_views() WHERE comment LIKE $mark)"
            " ORDER BY name",
            {"column": column, "mark": f"{LARGE_TABLE}%"},
        )
        return [name for (name,) in rows.fetchall()]

    def _resolve(self, statement: str | Path, parameters: Parameters | None) -> tuple[str, dict[str, Any] | None]:
        """Returns the text of a statement with its relations inserted, and the values that it names (None if none)."""
        text = statement.read_text(encoding="utf-8") if isinstance(statement, Path) else statement
        if not parameters:
            return text, None
        for name, value in parameters.items():
            if isinstance(value, Table | Relation) and f"{{{name}}}" in text:
                relation = self._readable(value) if isinstance(value, Table) else value
                text = text.replace(f"{{{name}}}", relation.sql)
        names = set(re.findall(r"\$([a-z_]+)", text))
        return text, {name: value for name, value in parameters.items() if name in names} or None

    def _readable(self, table: Table) -> Relation:
        """Returns a table as a query that works even if the table, or some of its columns, do not exist yet."""
        existing = {
            name
            for (name,) in self.duckdb.execute(
                "SELECT column_name FROM duckdb_columns() WHERE schema_name || '.' || table_name = $table",
                {"table": table.name},
            ).fetchall()
        }
        missing = ", ".join(
            f"CAST(NULL AS {column.type}) AS {quoted(column.name)}"
            for column in table.columns
            if column.name not in existing
        )
        if not missing:
            return Relation(table.name)
        return Relation(f"(SELECT *, {missing} FROM {table.name})" if existing else f"(SELECT {missing} WHERE false)")

    def _create(self, table: Table, *, or_replace: bool) -> None:
        if or_replace:
            self.duckdb.execute(f"CREATE OR REPLACE TABLE {table.name} ({table.ddl})")
            return
        self.duckdb.execute(f"CREATE TABLE IF NOT EXISTS {table.name} ({table.ddl})")
        # A warehouse that an older version made keeps its nights; columns that were added since are NULL in them.
        existing = self.duckdb.execute(f"FROM {table.name} LIMIT 0").description or ()
        types = {name: kind for name, kind, *_ in existing}
        for column in table.columns:
            if column.name not in types:
                self.duckdb.execute(f'ALTER TABLE {table.name} ADD COLUMN "{column.name}" {column.type}')
            elif column.type.startswith("STRUCT") and types[column.name] != duckdb.type(column.type):
                # A field that was added since is NULL in older rows as well.
                self.duckdb.execute(f'ALTER TABLE {table.name} ALTER "{column.name}" TYPE {column.type}')

    def _create_temporary(self, relation: Relation, query: str, values: Parameters | None) -> None:
        self.duckdb.execute(f"CREATE TEMP TABLE {relation} AS {query}", values)

    def _drop_temporary(self, relation: Relation) -> None:
        self.duckdb.execute(f"DROP TABLE {relation}")

    def _apply_in_batches(
        self,
        relation: Relation,
        function: "Callable[[pd.DataFrame], pd.DataFrame]",
        query: str,
        values: Parameters | None,
        columns: Mapping[str, str],
    ) -> None:
        """Creates the temporary table of `apply_in_batches`."""
        self.duckdb.execute(f"CREATE TEMP TABLE {relation} ({', '.join(map(' '.join, columns.items()))})")
        # A cursor of its own sees only what is committed, and leaves the connection free for the rows that come back.
        with self.duckdb.cursor() as reader:
            result = reader.execute(query, values)
            while len(batch := result.fetch_df_chunk(VECTORS_PER_BATCH)):
                with self.registered(function(batch)) as rows:
                    self.duckdb.execute(f"INSERT INTO {relation} BY NAME SELECT * FROM {rows}")

    def _row_id(self, table: Table) -> tuple[str, str]:
        """Returns the column that identifies a row of a night in a join, and its type."""
        return "rowid", "BIGINT"

    def _refuse_other_engines(self, table: Table) -> None:
        """Raises UsageError if a large table was made with another engine than the one that runs."""
        for other, (catalog, name) in LISTED_IN.items():
            found = f"SELECT 1 FROM {catalog} WHERE schema_name || '.' || {name} = $name"
            if other != self.engine and self.duckdb.execute(found, {"name": table.name}).fetchall():
                raise UsageError(
                    f"warehouse.engine={self.engine}: {table.name} was made with {other}; set that, or name another"
                    " file with warehouse.path, and it is built from the source"
                )


def sql_name(table: Table | Relation | str) -> str:
    """Returns the name of a table in a statement."""
    return table.name if isinstance(table, Table) else str(table)


def quoted(name: str) -> str:
    """Returns the name of a table or column as an SQL identifier."""
    return '"' + name.replace('"', '""') + '"'


def literal(text: str) -> str:
    """Returns a text as an SQL literal, for statements that bind no parameters."""
    return "'" + text.replace("'", "''") + "'"


def _new_relation() -> Relation:
    return Relation(f"temporary_{next(_NUMBERS)}")


def _beside_row_id(function: "Callable[[pd.DataFrame], pd.DataFrame]", rows: "pd.DataFrame") -> "pd.DataFrame":
    """Returns the columns that a function computes for some rows, after the column row_id."""
    columns = function(rows)
    columns.insert(0, "row_id", rows["row_id"].to_numpy())
    return columns
