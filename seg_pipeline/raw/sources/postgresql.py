"""Order lines from a table of a PostgreSQL server, read through ADBC. Each pull loads the rows added since the last.

A cursor column, whose values only grow, shows which rows are new. A row that appears with a value below the last pull
would never be loaded. This can happen in three ways:

- Two transactions run at once, and the one with the smaller value commits last. A pull therefore ends at the newest
  value that exists when it begins, and first waits for every transaction that has written by then or is inserting into
  the table. Transactions that begin later get larger values.
- Several rows have the same value, because the column is not unique. More rows may still get the newest value, so rows
  with that value are left to a later pull.
- Values are drawn early and used late: by sequences with a cache, by programs that allocate blocks of ids, by machines
  with different clocks, by a transaction that reads for a long time before its first write and then gives its rows the
  time at which it began; and, if the server is a standby, by transactions on its primary, which it does not see. A pull
  cannot wait for these. `Pull.behind` counts the rows up to the last pull that exist now: if there are more than were
  pulled, some came behind the cursor.

Rows without a value in the column are an error. A row that is changed or deleted after its pull stays as it was; with a
column that changes with the row, such as updated_at, it would be loaded again as a further line. So rows may only be
added to the table, as order lines are.

The address of the server contains a password. It is passed as a SecretStr and revealed only to the driver. The driver's
error messages quote it, so this module replaces them by its own.
"""

import re
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any, Self, TypeVar, cast

import duckdb
from pydantic import SecretStr

from seg_pipeline.errors import DataError, MachineError, SegPipelineError, UsageError, did_you_mean
from seg_pipeline.raw.sources.source import Delivery, Pull, Shape
from seg_pipeline.settings import SOURCE_DATABASE_VARIABLE, SourceSettings, source_database
from seg_pipeline.tables import Table
from seg_pipeline.warehouse import Connection, Relation, quoted, scratch

if TYPE_CHECKING:
    from adbc_driver_manager.dbapi import Connection as ServerConnection

# The prefix of the names of its tables, in the ledger and in source_file.
SCHEME = "postgresql:"
WAIT_SECONDS = 60.0
POLL_SECONDS = 0.2

# Passed to the server as settings of the session, since the statement that streams rows cannot bind parameters.
AFTER = "current_setting('seg_pipeline.after')"
UPTO = "current_setting('seg_pipeline.upto')"

# Dates in ISO form and numbers with all digits, independent of the settings of the server or the user. The time zone
# stays as it is in the database: the shop's local time is used.
SESSION = """SELECT set_config('client_encoding', 'UTF8', false) AS encoding,
    set_config('DateStyle', 'ISO, YMD', false) AS dates, set_config('extra_float_digits', '3', false) AS digits"""

COLUMNS = """SELECT attrelid::bigint::text, format('%I.%I', nspname, relname), attname::text,
        format_type(atttypid, atttypmod),
        EXISTS (SELECT FROM pg_index WHERE indrelid = attrelid AND indisunique AND indisvalid AND indpred IS NULL
            AND indnkeyatts = 1 AND indkey[0] = attnum)
    FROM parse_ident($1) AS part
    JOIN pg_namespace ON nspname = part[1]
    JOIN pg_class ON relnamespace = pg_namespace.oid AND relname = part[2] AND relkind IN ('r', 'p', 'v', 'm', 'f')
    JOIN pg_attribute ON attrelid = pg_class.oid AND attnum > 0 AND NOT attisdropped
    WHERE cardinality(part) = 2
    ORDER BY attnum"""

# A transaction that has written holds a lock on its own id. An insert locks the table before it draws a value.
WRITERS = """SELECT DISTINCT coalesce(transactionid::text, virtualtransaction) FROM pg_locks
    WHERE granted AND (locktype = 'transactionid' AND mode = 'ExclusiveLock'
        OR locktype = 'relation' AND mode = 'RowExclusiveLock' AND relation = $1::oid)"""

# Patterns of the driver's messages, and the errors that replace them: the messages themselves are never shown.
CONNECTION_ERRORS: tuple[tuple[str, type[SegPipelineError], str], ...] = (
    ("password|authenticat|pg_hba|role .* does not exist", UsageError, "it refuses the user or the password"),
    ("database .* does not exist", UsageError, "it has no database of that name"),
    ("host name", MachineError, "its host name is unknown"),
    ("refused|No such file|running", MachineError, "nothing answers there"),
    ("time-?out|timed out|unreachable|No route", MachineError, "it does not answer"),
    ("SSL|certificate", MachineError, "the two cannot agree on encryption (sslmode)"),
    ("too many|starting up|shutting down|recovery", MachineError, "it takes no connections now"),
    ("URI|connection option|percent|missing|utf-8", UsageError, "it is not an address that libpq understands"),
)

Result = TypeVar("Result")


@dataclass(frozen=True, slots=True)
class TableShape(Shape):
    """How a table is read: its name on the server, and its cursor column, which shows which rows are new."""

    table: str = ""
    cursor: str = ""


class PostgreSQL:
    """A table of a PostgreSQL server, which is pulled again and again."""

    endings = ()
    extra = "postgres"

    def matches(self, name: str) -> bool:
        return name.startswith(SCHEME)

    def tables(self, source: SourceSettings) -> list[str]:
        return [SCHEME + source.table] if source.table else []

    def shape(self, name: str, source: SourceSettings) -> TableShape:
        table = name.removeprefix(SCHEME)
        return TableShape(header(source_database(), table), table=table, cursor=source.cursor or "")

    def fingerprint(self, name: str) -> None:
        return None

    def content_hash(self, name: str) -> None:
        return None

    def load(self, connection: Connection, delivery: Delivery, into: Table | Relation, limit: int | None) -> Pull:
        shape, [name] = cast(TableShape, delivery.shape), delivery.files
        address, columns = source_database(), delivery.columns
        return pull(connection, address, shape.table, columns, shape.cursor, delivery.after, into, name)


@dataclass(frozen=True, slots=True)
class _Table:
    """A table of the server.

    Attributes:
        oid: Its object id.
        name: Its name as an SQL identifier.
        types: Column -> type.
        unique: The columns that have a unique index of their own.
    """

    oid: str
    name: str
    types: dict[str, str]
    unique: frozenset[str]


def header(uri: SecretStr, table: str) -> tuple[str, ...]:
    """Returns the columns of a table or view, in their order.

    Args:
        uri: A postgresql:// address; libpq takes missing parts from PGHOST, PGUSER, PGPASSWORD and so on.
        table: SCHEMA.TABLE, as written in SQL.

    Raises:
        UsageError: The extra is not installed, or the address, user, password, database or table is wrong.
        MachineError: The server cannot be reached.
    """

    def work(server: "_Server") -> tuple[str, ...]:
        return tuple(server.table(table).types)

    return _with_server(uri, table, work)


def pull(
    connection: Connection,
    uri: SecretStr,
    table: str,
    columns: Mapping[str, str],
    cursor: str,
    after: str | None,
    into: Table | Relation,
    source_file: str,
    wait_seconds: float = WAIT_SECONDS,
) -> Pull:
    """Appends the rows whose cursor is greater than `after` to a table of the warehouse; on an error, none of them.

    Values are text as PostgreSQL writes them; an empty value is NULL, as in files. The rows come from one snapshot,
    ordered by the cursor, and are streamed in batches.

    Args:
        connection: A connection to the warehouse, in a transaction or not.
        uri: As in `header`.
        table: As in `header`.
        columns: Column of raw_orders -> column of the table.
        cursor: The cursor column.
        after: `last_cursor` of the last pull; None for all rows.
        into: A table with the columns of raw_orders.
        source_file: The name of this delivery. source_row counts its rows from 1.
        wait_seconds: How long to wait for transactions that could still bring rows behind the cursor.

    Raises:
        UsageError: As in `header`; or a column does not exist, the user may not read it, or the cursor has no order.
        DataError: Rows have no value in the cursor column, or the server cannot return a row.
        MachineError: The server cannot be reached, the connection is lost, or a transaction does not end in time.
    """

    def work(server: "_Server") -> Pull:
        source_table = server.table(table)
        for setting, name in (("cursor", cursor), *((f"columns.{key}", name) for key, name in columns.items())):
            if name not in source_table.types:
                suggestion = did_you_mean(name, source_table.types)
                raise UsageError(f"source.{setting}: {table} has no column {name!r}{suggestion}")
        # Qualified, since the bare name would refer to the selected text of that name.
        by, type_, rows = f"line.{quoted(cursor)}", source_table.types[cursor], f"{source_table.name} AS line"
        newest = server.value(f"SELECT {by}::text FROM {rows} WHERE {by} IS NOT NULL ORDER BY {by} DESC LIMIT 1")
        if newest is not None and newest != after:
            _wait_for_writers(server, source_table, wait_seconds)
        server.rows(
            "SELECT set_config('seg_pipeline.after', $1, false) AS after,"
            " set_config('seg_pipeline.upto', $2, false) AS upto",
            after or "",
            newest or "",
        )
        is_new = f"{by} > {AFTER}::{type_}" if after is not None else "true"
        at_most = "<=" if cursor in source_table.unique else "<"
        is_complete = f"{by} {at_most} {UPTO}::{type_}" if newest is not None else "false"
        server.run("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY")
        [(without_cursor, behind, waiting, last_cursor)] = server.rows(
            f"""SELECT (SELECT count(*) FROM {rows} WHERE {by} IS NULL) AS without_cursor,
                (SELECT count(*) FROM {rows} WHERE NOT ({is_new})) AS behind,
                (SELECT count(*) FROM {rows} WHERE {is_new} AND NOT ({is_complete})) AS waiting,
                (SELECT {by}::text FROM {rows} WHERE {is_new} AND {is_complete} ORDER BY {by} DESC LIMIT 1)
                    AS last_cursor"""
        )
        if without_cursor:
            raise DataError(
                f"{table}: {without_cursor:,} rows have no {cursor} and so would never be pulled (source.cursor)"
            )
        if last_cursor is None:
            return Pull(0, after, waiting, behind)
        values = ", ".join(f"nullif(line.{quoted(name)}::text, '') AS {quoted(key)}" for key, name in columns.items())
        lines = server.append(
            f"SELECT {values}, row_number() OVER (ORDER BY {by}) AS source_row FROM {rows}"
            f" WHERE {is_new} AND {is_complete} ORDER BY {by}",
            connection,
            into,
            source_file,
        )
        if lines is None and not server.is_there():
            raise MachineError(f"{table}: the connection was lost during the pull; none of its rows were loaded")
        if lines is None:
            raise DataError(f"{table}: the server could not return every row; SELECT * FROM {table} shows why")
        return Pull(lines, last_cursor, waiting, behind)

    return _with_server(uri, table, work)


class _Server:
    """A session on the server. DuckDB converts results and parameters, so that pyarrow is not needed."""

    def __init__(self, connection: "ServerConnection", reader: duckdb.DuckDBPyConnection):
        self._connection = connection
        self._reader = reader

    @classmethod
    @contextmanager
    def session(cls, uri: SecretStr) -> "Iterator[Self]":
        from adbc_driver_postgresql import dbapi

        with ExitStack() as opened:
            connection = opened.enter_context(closing(dbapi.connect(uri.get_secret_value(), autocommit=True)))
            server = cls(connection, opened.enter_context(scratch()))
            server.rows(SESSION)
            yield server

    def run(self, statement: str) -> None:
        """Runs a statement that returns no rows."""
        with closing(self._connection.cursor()) as cursor:
            cursor.execute(statement)

    def rows(self, query: str, *parameters: str) -> list[tuple[Any, ...]]:
        """Returns a small result. Its columns need distinct names: pyarrow, if installed, finds them by name."""
        values = None
        if parameters:
            placeholders = ", ".join("?::VARCHAR" for _ in parameters)
            # On a cursor of its own: from DuckDB 2 on, a connection runs no query while rows of another are being read.
            values = self._reader.cursor().sql(f"SELECT {placeholders}", params=list(parameters))
        # Read as a whole, so that an error has its SQLSTATE, which an error in the middle of a stream lacks.
        with closing(self._connection.cursor(adbc_stmt_kwargs={"adbc.postgresql.use_copy": "false"})) as cursor:
            cursor.execute(query, values)
            self._reader.register("answer", cursor.fetch_arrow())
            return self._reader.execute("SELECT * FROM answer").fetchall()

    def value(self, query: str, *parameters: str) -> Any:
        rows = self.rows(query, *parameters)
        return rows[0][0] if rows else None

    def table(self, name: str) -> _Table:
        """Returns a table by its name as written in SQL; raises UsageError if there is no such table."""
        rows = self.rows(COLUMNS, name)
        if not rows:
            raise UsageError(f"source.table: the database has no table {name!r}; name it as SCHEMA.TABLE")
        unique = frozenset(column for _, _, column, _, is_unique in rows if is_unique)
        return _Table(rows[0][0], rows[0][1], {column: type_ for _, _, column, type_, _ in rows}, unique)

    def append(self, query: str, connection: Connection, into: Table | Relation, source_file: str) -> int | None:
        """Streams a result into a table of the warehouse; if the stream breaks, appends nothing and returns None."""
        with closing(self._connection.cursor()) as cursor:
            cursor.execute(query)
            with connection.registered(cursor.fetch_arrow()) as rows:
                lines = f"SELECT *, $source_file AS source_file FROM {rows}"
                try:
                    return connection.insert(into, lines, {"source_file": source_file})
                except duckdb.InvalidInputException:
                    return None  # any other error comes from the warehouse, which does not know the address

    def is_there(self) -> bool:
        """Returns whether the server still answers, even if only with the error that the transaction is aborted."""
        from adbc_driver_manager import Error

        try:
            self.rows("SELECT 1")
        except Error as error:
            return error.sqlstate is not None
        return True


def _wait_for_writers(server: _Server, table: _Table, seconds: float) -> None:
    """Waits for transactions that may have drawn values of the cursor without having committed them."""
    deadline = time.monotonic() + seconds
    at_first = set(server.rows(WRITERS, table.oid))
    while at_first & set(server.rows(WRITERS, table.oid)):
        if time.monotonic() >= deadline:
            raise MachineError(
                f"{table.name}: a transaction that was writing when the pull began has not ended in {seconds:g}"
                " seconds, and its rows would come behind the cursor; see pg_stat_activity and pg_prepared_xacts"
            )
        time.sleep(POLL_SECONDS)


def _with_server(uri: SecretStr, table: str, work: Callable[[_Server], Result]) -> Result:
    """Returns the result of a function of the server; turns its errors into one line without any part of the address.

    Args:
        uri: As in `header`.
        table: The table, for the error line.
        work: The function.
    """
    if find_spec("adbc_driver_postgresql") is None:
        raise UsageError("source.table: reading from PostgreSQL needs: pip install 'seg-pipeline[postgres]'")
    from adbc_driver_manager import Error

    if not re.match("postgres(ql)?://", uri.get_secret_value()):
        raise UsageError(
            f"source.table: set {SOURCE_DATABASE_VARIABLE} to postgresql://USER:PASSWORD@HOST/DATABASE, or postgresql://"
        )
    connected = False
    try:
        with _Server.session(uri) as server:
            connected = True
            return work(server)
    except (Error, UnicodeError) as error:
        failure = _query_error(table, error) if connected else _connection_error(error)
    # Raised outside the except clause, so that it does not carry the driver's error, which quotes the address.
    raise failure


def _connection_error(error: Exception) -> SegPipelineError:
    """Returns the error that explains why there is no connection."""
    for pattern, error_class, reason in CONNECTION_ERRORS:
        if re.search(pattern, str(error), re.IGNORECASE):
            return error_class(f"{SOURCE_DATABASE_VARIABLE}: no connection to the database: {reason}")
    return MachineError(f"{SOURCE_DATABASE_VARIABLE}: no connection to the database")


def _query_error(table: str, error: Exception) -> SegPipelineError:
    """Returns the error that explains why a query failed."""
    state = getattr(error, "sqlstate", None)
    if state is None or state.startswith(("08", "57P")):
        return MachineError(f"{table}: the connection was lost during the pull; none of its rows were loaded")
    errors: dict[str, SegPipelineError] = {
        "22023": UsageError(f"source.table: {table!r} is not SCHEMA.TABLE"),
        "42501": UsageError(f"source.table: the database user may not read {table}"),
        "42883": UsageError(f"source.cursor: the type of this column of {table} has no order"),
        "57014": MachineError(f"{table}: the server cancelled the query, perhaps because of a time limit"),
    }
    if state in errors:
        return errors[state]
    if state.startswith("22"):
        return DataError(
            f"{table}: the server cannot read a value (SQLSTATE {state}); was source.cursor another column before?"
        )
    return DataError(f"{table}: the server refuses a query (SQLSTATE {state})")
