"""A connection to the warehouse: transactions, statements, tables replaced whole or by night, temporary tables.

Rooms say what is to be done; where it is done is the connection's business. Here everything runs in the DuckDB file.
spark_connection.py has the same for a warehouse whose large tables, those that grow with order lines, are Spark's.
"""

import datetime
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
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

# Vectors of 2,048 rows that are handed to Python at once if every customer passes through it: bounds memory.
VECTORS_AT_ONCE = 128
# What a large table is in the DuckDB file, by engine.
KINDS = {"duckdb": "BASE TABLE", "spark": "VIEW"}
# How the comment on the view of a large table begins; the folders of its files follow.
LARGE_TABLE = "large table: "
# Temporary relations have names of their own: two that are there at once never share one.
_NUMBERS = count(1)


@dataclass(frozen=True, slots=True)
class Relation:
    """What a statement can read: the name of a table, or a query in parentheses. As text it is its SQL.

    Bound as a parameter `orders`, a relation takes the place of `{orders}` in a statement.
    """

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


class EngineRows(Protocol):
    """Rows that are not in the DuckDB file, for a library that reads them with the engine that has them."""

    @property
    def frame(self) -> Any:
        """The rows as the engine's own frame."""

    def translated(self, query: str) -> str:
        """Returns a query over `{batch}`, which stands for these rows, in the engine's own dialect."""


class Connection:
    """A connection to the warehouse.

    Statements are in DuckDB's dialect. A statement is a text or a .sql file; of the parameters it takes those that it
    names: a value as `$name`, a `Relation` as `{name}`.

    Attributes:
        engine: The engine of the large tables.
        duckdb: The connection to the DuckDB file, which has every table or a view of it: for what only DuckDB can do.
    """

    engine = "duckdb"

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

    def execute(self, statement: str | Path, parameters: Parameters | None = None) -> Result:
        """Runs a statement and returns its rows."""
        text, values = bound(statement, parameters)
        return self.duckdb.execute(text, values)

    def create(self, table: Table, *, or_replace: bool = True) -> None:
        """Creates a table with its columns: empty, or as it is if it exists and `or_replace` is off.

        In a warehouse that is opened read-only, tables that may stay as they are do.

        Raises:
            UsageError: The table is a large one and was made with another engine.
        """
        if not or_replace and self._is_read_only():
            return
        self.duckdb.execute(f"CREATE SCHEMA IF NOT EXISTS {table.schema}")
        if table.large:
            self._refuse_other_engines(table)
        self._create(table, or_replace=or_replace)

    def insert(self, table: Table | Relation, query: str | Path, parameters: Parameters | None = None) -> int:
        """Appends the rows of a query to a table, columns matched by name, and returns how many they are."""
        text, values = bound(query, parameters)
        row = self.duckdb.execute(f"INSERT INTO {name_of(table)} BY NAME {text}", values).fetchone()
        return int(row[0]) if row else 0

    def delete(self, table: Table | str, where: str, parameters: Parameters | None = None) -> int:
        """Deletes the rows of a table that a condition holds for, and returns how many they were."""
        text, values = bound(f"DELETE FROM {name_of(table)} WHERE {where}", parameters)
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
        """Replaces one night's rows within the caller's transaction, columns matched by name.

        Args:
            table: A nightly table; it is created if it does not exist.
            rows: A query, in which `$as_of` is bound, or a frame without as_of.
            as_of: The night.
            parameters: What else the query binds.
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
        """Yields a relation that reads a frame, or once a stream of Arrow batches."""
        relation = Relation(f"frame_{next(_NUMBERS)}")
        self.duckdb.register(relation.sql, rows)
        try:
            yield relation
        finally:
            self.duckdb.unregister(relation.sql)

    @contextmanager
    def temporary(self, rows: "str | Path | pd.DataFrame", parameters: Parameters | None = None) -> Iterator[Relation]:
        """Yields a temporary table with the rows of a query or frame, and drops it after the block.

        If the block raises, the table goes when the connection is closed.

        Args:
            rows: A query, or a frame, which DuckDB would join with one thread only.
            parameters: What the query binds.
        """
        relation = _new_relation()
        if isinstance(rows, str | Path):
            self._make(relation, *bound(rows, parameters))
        else:
            with self.registered(rows) as frame:
                self._make(relation, f"SELECT * FROM {frame}", None)
        yield relation
        self._drop(relation)

    @contextmanager
    def empty_copy(self, table: Table) -> Iterator[Relation]:
        """Yields an empty temporary table in the DuckDB file with the columns of a table."""
        relation = _new_relation()
        self.duckdb.execute(f"CREATE TEMP TABLE {relation} ({table.ddl})")
        yield relation
        self._drop(relation)

    @contextmanager
    def mapped(
        self,
        query: str,
        parameters: Parameters,
        function: "Callable[[pd.DataFrame], pd.DataFrame]",
        columns: Mapping[str, str],
    ) -> Iterator[Relation]:
        """Yields a temporary table of what a function returns for the rows of a query, some of them at a time.

        Args:
            query: Reads what is committed.
            parameters: What the query binds.
            function: Takes and returns a frame; it must be picklable, as workers may call it.
            columns: The columns of the temporary table with their types.
        """
        relation = _new_relation()
        self._map(relation, *bound(query, parameters), function, columns)
        yield relation
        self._drop(relation)

    @contextmanager
    def computed(
        self,
        table: Table,
        as_of: datetime.date,
        *,
        columns: Sequence[str],
        where: str,
        function: "Callable[[pd.DataFrame], pd.DataFrame]",
        types: Mapping[str, str],
        otherwise: Parameters,
    ) -> Iterator[Relation]:
        """Yields a temporary table of a night's rows by key, with columns that Python computes, some rows at a time.

        Args:
            table: A large nightly table with a key of one column.
            as_of: The night, which is committed.
            columns: The columns that the function is given.
            where: The condition for the rows that the function is given.
            function: Takes a frame of rows and returns one as long with the computed columns; it must be picklable.
            types: The computed columns with their types.
            otherwise: Their values in the other rows of the night.
        """
        [key] = table.key
        place, type_ = self._place_of(table)
        values = ", ".join(f"coalesce({name}, ${name}) AS {name}" for name in types)
        with ExitStack() as kept:
            with self.mapped(
                f"SELECT {place} AS place, {', '.join(columns)} FROM {table.name} WHERE as_of = $as_of AND ({where})",
                {"as_of": as_of},
                partial(_beside_place, function),
                {"place": type_, **types},
            ) as found:
                relation = kept.enter_context(
                    self.temporary(
                        f"SELECT {key}, {values} FROM {table.name} AS night"
                        f" LEFT JOIN {found} AS found ON found.place = night.{place} WHERE as_of = $as_of",
                        {"as_of": as_of, **otherwise},
                    )
                )
            yield relation

    def append_in_workers(
        self,
        table: Table | Relation,
        parts: Callable[[], Sequence[Part]],
        read: "Callable[[Part], Iterable[pa.RecordBatch]]",
    ) -> bool:
        """Appends what `read` returns for each part, if the engine has workers that can do so.

        Args:
            table: Where the rows go.
            parts: Returns the parts; is not called if there are no workers.
            read: Called in a worker with each part; it must be picklable, as the parts must.

        Returns:
            Whether they did. If not, nothing has happened, and the caller reads the rows with DuckDB.
        """
        return False

    def rows_elsewhere(self, query: str) -> EngineRows | None:
        """Returns the rows of a query as the engine has them; None if they are in the DuckDB file."""
        return None

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

    def _create(self, table: Table, *, or_replace: bool) -> None:
        if or_replace:
            self.duckdb.execute(f"CREATE OR REPLACE TABLE {table.name} ({table.ddl})")
            return
        self.duckdb.execute(f"CREATE TABLE IF NOT EXISTS {table.name} ({table.ddl})")
        # A warehouse that an older version made has its nights; columns that came later are empty in them.
        for column in table.columns:
            self.duckdb.execute(f'ALTER TABLE {table.name} ADD COLUMN IF NOT EXISTS "{column.name}" {column.type}')

    def _make(self, relation: Relation, query: str, values: Parameters | None) -> None:
        """Makes a temporary table."""
        self.duckdb.execute(f"CREATE TEMP TABLE {relation} AS {query}", values)

    def _drop(self, relation: Relation) -> None:
        self.duckdb.execute(f"DROP TABLE {relation}")

    def _map(
        self,
        relation: Relation,
        query: str,
        values: Parameters | None,
        function: "Callable[[pd.DataFrame], pd.DataFrame]",
        columns: Mapping[str, str],
    ) -> None:
        """Makes the temporary table of `mapped`."""
        self.duckdb.execute(f"CREATE TEMP TABLE {relation} ({', '.join(map(' '.join, columns.items()))})")
        # It sees what is committed, and leaves the connection free for the rows that come back.
        with self.duckdb.cursor() as reader:
            found = reader.execute(query, values)
            while len(batch := found.fetch_df_chunk(VECTORS_AT_ONCE)):
                with self.registered(function(batch)) as rows:
                    self.duckdb.execute(f"INSERT INTO {relation} BY NAME SELECT * FROM {rows}")

    def _place_of(self, table: Table) -> tuple[str, str]:
        """Returns what stands for a row of a night while it is joined, and its type."""
        return "rowid", "BIGINT"

    def _is_read_only(self) -> bool:
        return self.duckdb.execute(
            "SELECT readonly FROM duckdb_databases() WHERE database_name = current_database()"
        ).fetchall() == [(True,)]

    def _refuse_other_engines(self, table: Table) -> None:
        """Raises UsageError if a large table was made with another engine than the one that runs."""
        found = self.duckdb.execute(
            "SELECT table_type FROM information_schema.tables WHERE table_schema || '.' || table_name = $name",
            {"name": table.name},
        ).fetchall()
        for other, kind in KINDS.items():
            if other != self.engine and (kind,) in found:
                raise UsageError(
                    f"warehouse.engine={self.engine}: {table.name} was made with {other}; set that, or name another"
                    " file with warehouse.path, and it is built from the source"
                )


def bound(statement: str | Path, parameters: Parameters | None) -> tuple[str, dict[str, Any] | None]:
    """Returns the text of a statement with its relations in place, and the values that it names; None for no values."""
    text = statement.read_text(encoding="utf-8") if isinstance(statement, Path) else statement
    if not parameters:
        return text, None
    for name, value in parameters.items():
        if isinstance(value, Relation):
            text = text.replace(f"{{{name}}}", value.sql)
    names = set(re.findall(r"\$([a-z_]+)", text))
    return text, {name: value for name, value in parameters.items() if name in names} or None


def name_of(table: Table | Relation | str) -> str:
    """Returns the name of a table in a statement."""
    return table.name if isinstance(table, Table) else str(table)


def quoted(name: str) -> str:
    """Returns a name of a table or column as an SQL identifier."""
    return '"' + name.replace('"', '""') + '"'


def literal(text: str) -> str:
    """Returns a text as an SQL literal, for statements that bind no parameters."""
    return "'" + text.replace("'", "''") + "'"


def _new_relation() -> Relation:
    return Relation(f"temporary_{next(_NUMBERS)}")


def _beside_place(function: "Callable[[pd.DataFrame], pd.DataFrame]", rows: "pd.DataFrame") -> "pd.DataFrame":
    """What a function computes of rows, beside what stands for them."""
    computed = function(rows)
    computed.insert(0, "place", rows["place"].to_numpy())
    return computed
