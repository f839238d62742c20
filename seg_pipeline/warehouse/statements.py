"""What the rooms say to the warehouse: transactions, statements, tables replaced whole or by night.

The large tables, those that grow with order lines, may be an engine's that works on them on many machines (spark.py).
Then a connection has it beside it, and each function here hands to it what is about a large table.
"""

import datetime
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
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

# Vectors of 2,048 rows that are handed to Python at once where every customer passes through it: bounds memory.
VECTORS_AT_ONCE = 128


class Engine(Protocol):
    """What holds the large tables where the DuckDB file does not; the file has views of them."""

    def execute(self, query: str, parameters: Parameters | None = None) -> Any:
        """Runs a statement of DuckDB's dialect over the large tables, or over what other such statements made."""

    def has(self, table: str) -> bool:
        """Whether a table is one of the large ones."""

    def create(self, table: Table, *, or_replace: bool) -> None:
        """As the function of that name."""

    def frame(self, query: str, parameters: Parameters | None = None) -> Any:
        """What a query of DuckDB's dialect gives, as a frame of the engine's own."""

    def translated(self, query: str) -> str:
        """A query of DuckDB's dialect as the engine says it; what it reads is known to the engine afterwards."""

    def insert(self, table: Table, query: str, parameters: Parameters | None) -> bool:
        """As the function of that name; False where neither the table nor what the query reads is the engine's."""

    def delete(self, table: str, where: str, parameters: Parameters | None) -> int | None:
        """As the function of that name; None where the table is not the engine's."""

    def temporary(self, name: str, rows: "pd.DataFrame") -> None:
        """As the function of that name."""

    def append(self, table: str, parts: Sequence[Part], read: "Callable[[Part], Iterable[pa.RecordBatch]]") -> None:
        """As the function `append_read`."""

    def append_rows(self, table: str, query: str, parameters: Parameters) -> int | None:
        """As the function of that name; None where the table is not the engine's."""

    def map(
        self,
        query: str,
        parameters: Parameters | None,
        function: "Callable[[pd.DataFrame], pd.DataFrame]",
        into: str,
        columns: str,
    ) -> None:
        """As the function `map_rows`."""


def engine_of(connection: duckdb.DuckDBPyConnection) -> Engine | None:
    """The engine of the large tables; None where they are in the DuckDB file like all others."""
    return getattr(connection, "engine", None)


@contextmanager
def transaction(connection: duckdb.DuckDBPyConnection) -> Iterator[None]:
    """All of the statements within, or none of them."""
    connection.begin()
    try:
        yield
    except BaseException:
        with suppress(duckdb.Error):  # a fatal error has ended the transaction already, and is the one to tell
            connection.rollback()
        raise
    connection.commit()


@contextmanager
def interrupts_as_they_are(connection: duckdb.DuckDBPyConnection) -> Iterator[None]:
    """Within, a query that Ctrl-C ends raises what the signal's handler raised; DuckDB makes a RuntimeError of it."""
    try:
        yield
    except RuntimeError as error:
        if error.__cause__ is None or isinstance(error.__cause__, Exception):
            raise
        # Other threads may still be at the query, and closing the connection would wait for them.
        connection.interrupt()
        raise error.__cause__ from None


def replace_table(
    connection: duckdb.DuckDBPyConnection, table: Table, query: str | Path, parameters: Parameters | None = None
) -> None:
    """Replaces a table within the caller's transaction."""
    create(connection, table)
    insert(connection, table, query, parameters)


def insert(
    connection: duckdb.DuckDBPyConnection, table: Table, query: str | Path, parameters: Parameters | None = None
) -> None:
    """Appends what a query gives, columns matched by name."""
    engine = engine_of(connection)
    if engine is None or not engine.insert(table, text_of(query), parameters):
        execute(connection, f"INSERT INTO {table.name} BY NAME {text_of(query)}", parameters)


def delete(connection: duckdb.DuckDBPyConnection, table: str, where: str, parameters: Parameters | None = None) -> int:
    """Deletes the rows that a condition holds for; how many they were."""
    if (engine := engine_of(connection)) and (deleted := engine.delete(table, where, parameters)) is not None:
        return deleted
    row = execute(connection, f"DELETE FROM {table} WHERE {where}", parameters).fetchone()
    return int(row[0]) if row else 0


def works_elsewhere(connection: duckdb.DuckDBPyConnection, table: str) -> bool:
    """Whether a table is an engine's, which does its work in workers of its own."""
    engine = engine_of(connection)
    return engine is not None and engine.has(table)


def append_read(
    connection: duckdb.DuckDBPyConnection,
    table: str,
    parts: Sequence[Part],
    read: "Callable[[Part], Iterable[pa.RecordBatch]]",
) -> None:
    """Appends what `read` gives for each part to a table of an engine's, which calls it in its workers."""
    if engine := engine_of(connection):
        engine.append(table, parts, read)


def append_rows(connection: duckdb.DuckDBPyConnection, table: str, query: str, parameters: Parameters) -> int:
    """Appends what a query over frames and streams of the connection gives, columns by name; how many rows it was."""
    if (engine := engine_of(connection)) and (appended := engine.append_rows(table, query, parameters)) is not None:
        return appended
    row = connection.execute(f"INSERT INTO {table} BY NAME {query}", dict(parameters)).fetchone()
    return int(row[0]) if row else 0


def map_rows(
    connection: duckdb.DuckDBPyConnection,
    query: str,
    parameters: Parameters,
    function: "Callable[[pd.DataFrame], pd.DataFrame]",
    into: str,
    columns: str,
) -> None:
    """Makes a temporary table, for `over_lines`, of what a function gives for the rows of a query, some at a time.

    Args:
        connection: Of the warehouse.
        query: Over a large table, which is committed.
        parameters: What the query binds.
        function: Of a frame; with an engine it is called in the workers.
        into: The name of the temporary table.
        columns: Its columns with their types, as in CREATE TABLE.
    """
    if engine := engine_of(connection):
        engine.map(query, parameters, function, into, columns)
        return
    connection.execute(f"CREATE OR REPLACE TEMP TABLE {into} ({columns})")
    for batch in batches(connection, query, parameters):
        connection.register("given_rows", function(batch))
        connection.execute(f"INSERT INTO {into} BY NAME SELECT * FROM given_rows")
    with suppress(duckdb.Error):
        connection.unregister("given_rows")


def place_of(connection: duckdb.DuckDBPyConnection, key: str) -> str:
    """What stands for a row of a large table while it is joined: its place in the file, or else its key."""
    return key if engine_of(connection) else "rowid"


def replace_night(
    connection: duckdb.DuckDBPyConnection,
    table: Table,
    rows: "str | Path | pd.DataFrame",
    as_of: datetime.date,
    parameters: Parameters | None = None,
) -> None:
    """Replaces one night's rows within the caller's transaction, columns matched by name.

    Args:
        connection: In a transaction.
        table: A nightly table; it is made where it does not exist.
        rows: A query, in which `$as_of` is bound, or a frame; as_of is added where the frame lacks it.
        as_of: The night.
        parameters: What else the query binds.
    """
    create(connection, table, or_replace=False)
    delete(connection, table.name, "as_of = $as_of", {"as_of": as_of})
    if not isinstance(rows, str | Path):
        connection.register("given_rows", rows)
        rows = "SELECT $as_of AS as_of, * FROM given_rows"
    insert(connection, table, rows, {"as_of": as_of, **(parameters or {})})


def execute(
    connection: duckdb.DuckDBPyConnection, query: str | Path, parameters: Parameters | None = None
) -> duckdb.DuckDBPyConnection:
    """Runs a statement with those of the parameters that it names as `$name`."""
    text = text_of(query)
    return connection.execute(text, named(text, parameters))


def over_lines(
    connection: duckdb.DuckDBPyConnection, query: str | Path, parameters: Parameters | None = None
) -> duckdb.DuckDBPyConnection:
    """As `execute`, of a statement over large tables or over temporary ones that such statements made.

    Where an engine has the large tables, it runs it.
    """
    text = text_of(query)
    # It gives what has the methods of a result that are used here.
    return (engine_of(connection) or connection).execute(text, named(text, parameters))


def named(query: str, parameters: Parameters | None) -> dict[str, Any]:
    """Those of the parameters that a query names as `$name`."""
    names = set(re.findall(r"\$([a-z_]+)", query))
    return {key: value for key, value in (parameters or {}).items() if key in names}


def batches(
    connection: duckdb.DuckDBPyConnection, query: str | Path, parameters: Parameters | None = None
) -> "Iterator[pd.DataFrame]":
    """What a query gives, some rows at a time; it sees what is committed, and the connection stays free meanwhile."""
    with connection.cursor() as reader:
        found = execute(reader, query, parameters)
        while len(batch := found.fetch_df_chunk(VECTORS_AT_ONCE)):
            yield batch


def temporary(connection: duckdb.DuckDBPyConnection, name: str, rows: "pd.DataFrame") -> None:
    """A temporary table of a frame's rows, for `over_lines`. The database joins a frame itself with one thread only."""
    if engine := engine_of(connection):
        engine.temporary(name, rows)
        return
    connection.register("given_rows", rows)
    connection.execute(f"CREATE OR REPLACE TEMP TABLE {name} AS SELECT * FROM given_rows")
    connection.unregister("given_rows")


def create(connection: duckdb.DuckDBPyConnection, table: Table, *, or_replace: bool = True) -> None:
    """The table with its columns: empty and new, or as it is where it exists and `or_replace` is off.

    Where the warehouse is only looked at, a table that may be as it is stays so.
    """
    if not or_replace and _is_read_only(connection):
        return
    connection.execute(f"CREATE SCHEMA IF NOT EXISTS {table.asset_key[0]}")
    if table.large:
        engine = engine_of(connection)
        _refuse_other_engines(connection, table, "spark" if engine else "duckdb")
        if engine:
            engine.create(table, or_replace=or_replace)
            return
    if or_replace:
        connection.execute(f"CREATE OR REPLACE TABLE {table.name} ({table.ddl})")
        return
    connection.execute(f"CREATE TABLE IF NOT EXISTS {table.name} ({table.ddl})")
    # A warehouse that an older version made has its nights; columns that came later are empty in them.
    for column in table.columns:
        connection.execute(f'ALTER TABLE {table.name} ADD COLUMN IF NOT EXISTS "{column.name}" {column.type}')


def tables_with(connection: duckdb.DuckDBPyConnection, column: str) -> list[str]:
    """The names of the tables that have such a column."""
    rows = connection.execute(
        "SELECT DISTINCT schema_name || '.' || table_name AS name FROM duckdb_columns() WHERE column_name = $column"
        " AND (schema_name, table_name) IN (SELECT (schema_name, table_name) FROM duckdb_tables() WHERE NOT temporary"
        " UNION ALL SELECT (schema_name, view_name) FROM duckdb_views() WHERE comment LIKE $mark) ORDER BY name",
        {"column": column, "mark": f"{LARGE_TABLE}%"},
    )
    return [name for (name,) in rows.fetchall()]


def _refuse_other_engines(connection: duckdb.DuckDBPyConnection, table: Table, engine: str) -> None:
    """Raises UsageError where a large table was made with another engine than the one that runs."""
    kinds = {"duckdb": "BASE TABLE", "spark": "VIEW"}
    found = connection.execute(
        "SELECT table_type FROM information_schema.tables WHERE table_schema || '.' || table_name = $name",
        {"name": table.name},
    ).fetchall()
    for other, kind in kinds.items():
        if other != engine and (kind,) in found:
            raise UsageError(
                f"warehouse.engine={engine}: {table.name} was made with {other}; set that, or name another file with"
                " warehouse.path, and it is built from the source"
            )


# How the comment on the view of a large table begins; the folders of its files follow.
LARGE_TABLE = "large table: "


def _is_read_only(connection: duckdb.DuckDBPyConnection) -> bool:
    return connection.execute(
        "SELECT readonly FROM duckdb_databases() WHERE database_name = current_database()"
    ).fetchall() == [(True,)]


def quoted(name: str) -> str:
    """A name of a table or column as an SQL identifier."""
    return '"' + name.replace('"', '""') + '"'


def literal(text: str) -> str:
    """A text as an SQL literal, for statements that bind no parameters."""
    return "'" + text.replace("'", "''") + "'"


def text_of(query: str | Path) -> str:
    """The text of a query, or of the file that it is in."""
    return query.read_text(encoding="utf-8") if isinstance(query, Path) else query
