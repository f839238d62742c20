"""Order lines from a table of a PostgreSQL server, read through ADBC. Each pull loads what came since the pull before.

A cursor column that only grows says which rows are new. A row whose value lies behind the last pull would never be
loaded, and there are three ways in which that can happen:

- Two transactions run at once, and the one with the smaller value commits last. A pull therefore ends at the newest
  value that is there when it begins, and first waits for every transaction that had written by then or was inserting
  into the table. Transactions that begin later get later values.
- Several rows have the same value, because the column is not unique. More rows may get the newest value, so its rows
  are left to a later pull.
- Values are drawn early and used late: by sequences with a cache, by programs that hand out blocks of ids, by clocks of
  several machines, by a transaction that reads for long before its first write and then stamps its rows with the time
  it began; and, if the server is a standby, by transactions on its primary, which it does not see. Nothing can wait for
  these. `Pulled.behind` counts the rows that are there now up to the last pull: more than were pulled means that some
  came behind the cursor.

Rows without a value in the column are an error. A row that is changed or deleted after its pull stays as it was; under
a column that changes with the row, such as updated_at, it would come again as a further line. So rows may only be added
to the table, as order lines are.

The address of the server holds a password. It comes as a SecretStr and is shown to the driver alone. The driver's error
messages quote it, so they are replaced by words of this module.
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
from seg_pipeline.raw.sources.source import Delivery, Pulled, Shape
from seg_pipeline.settings import SOURCE_DATABASE, SourceSettings, source_database
from seg_pipeline.warehouse import append_rows, quoted

if TYPE_CHECKING:
    from adbc_driver_manager.dbapi import Connection

# How the names of its tables begin, in the ledger and in source_file.
SCHEME = "postgresql:"
WAIT_SECONDS = 60.0
POLL_SECONDS = 0.2

# Passed to the server as settings of the session, since the statement that streams rows can bind no parameters.
AFTER = "current_setting('seg_pipeline.after')"
UPTO = "current_setting('seg_pipeline.upto')"

# Dates in ISO form and numbers in full, whatever the server's or the user's own settings are. The time zone stays as
# the database has it: the shop's own time counts.
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

# A transaction that has written holds a lock on its own number. An insert locks the table before it draws a value.
WRITERS = """SELECT DISTINCT coalesce(transactionid::text, virtualtransaction) FROM pg_locks
    WHERE granted AND (locktype = 'transactionid' AND mode = 'ExclusiveLock'
        OR locktype = 'relation' AND mode = 'RowExclusiveLock' AND relation = $1::oid)"""

# A pattern of the driver's message, and the error that replaces it: the message itself is never shown.
REFUSALS: tuple[tuple[str, type[SegPipelineError], str], ...] = (
    ("password|authenticat|pg_hba|role .* does not exist", UsageError, "it refuses the user or the password"),
    ("database .* does not exist", UsageError, "it has no database of that name"),
    ("host name", MachineError, "its host name is not known"),
    ("refused|No such file|running", MachineError, "nothing answers there"),
    ("time-?out|timed out|unreachable|No route", MachineError, "it does not answer"),
    ("SSL|certificate", MachineError, "the two cannot agree on encryption (sslmode)"),
    ("too many|starting up|shutting down|recovery", MachineError, "it takes no connections now"),
    ("URI|connection option|percent|missing|utf-8", UsageError, "it is not an address that libpq understands"),
)

Result = TypeVar("Result")


@dataclass(frozen=True, slots=True)
class TableShape(Shape):
    """How a table is read: its name as the server knows it, and the column that says which rows are new."""

    table: str = ""
    cursor: str = ""


class PostgreSQL:
    """A table of a PostgreSQL server, pulled again and again."""

    endings = ()
    library = "adbc_driver_postgresql"

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

    def load(self, connection: duckdb.DuckDBPyConnection, delivery: Delivery, into: str, limit: int | None) -> Pulled:
        shape, [name] = cast(TableShape, delivery.shape), delivery.files
        address, columns = source_database(), delivery.columns
        return pull(connection, address, shape.table, columns, shape.cursor, delivery.after, into, name)


@dataclass(frozen=True, slots=True)
class _Table:
    """A table of the server, with its name as SQL text."""

    oid: str
    name: str
    types: dict[str, str]
    unique: frozenset[str]


def header(uri: SecretStr, table: str) -> tuple[str, ...]:
    """Returns the columns of a table or view, in their order.

    Args:
        uri: A postgresql:// address. libpq takes what it leaves out from PGHOST, PGUSER, PGPASSWORD and so on.
        table: SCHEMA.TABLE, as SQL writes it.

    Raises:
        UsageError: The extra is not installed, or the address, user, password, database or table is wrong.
        MachineError: The server cannot be reached.
    """

    def work(server: "_Server") -> tuple[str, ...]:
        return tuple(server.table(table).types)

    return _with_server(uri, table, work)


def pull(
    connection: duckdb.DuckDBPyConnection,
    uri: SecretStr,
    table: str,
    columns: Mapping[str, str],
    cursor: str,
    after: str | None,
    into: str,
    source_file: str,
    wait_seconds: float = WAIT_SECONDS,
) -> Pulled:
    """Appends the rows whose cursor is past `after` to a table of the warehouse: all of them or, on an error, none.

    Every value is text as PostgreSQL writes it; an empty one is NULL, as in files. The rows come from one snapshot, in
    the order of the cursor, and pass through in batches.

    Args:
        connection: Of the warehouse, in a transaction or not.
        uri: As in `header`.
        table: As in `header`.
        columns: Column of raw_orders -> column of the table.
        cursor: The column that only grows.
        after: `last_cursor` of the pull before; None for all rows.
        into: A table with the columns of raw_orders.
        source_file: The name of this delivery. source_row counts its rows from 1.
        wait_seconds: How long to wait for transactions that could still bring rows behind the cursor.

    Raises:
        UsageError: As in `header`; or there is no such column, no right to read it, or the cursor has no order.
        DataError: Rows have no value in the cursor, or the server cannot give a row.
        MachineError: The server cannot be reached or goes away, or a transaction does not end in time.
    """

    def work(server: "_Server") -> Pulled:
        found = server.table(table)
        for setting, name in (("cursor", cursor), *((f"columns.{key}", name) for key, name in columns.items())):
            if name not in found.types:
                raise UsageError(f"source.{setting}: {table} has no column {name!r}{did_you_mean(name, found.types)}")
        # Qualified, since the bare name would mean the text that is selected from the column.
        by, kind, rows = f"line.{quoted(cursor)}", found.types[cursor], f"{found.name} AS line"
        newest = server.value(f"SELECT {by}::text FROM {rows} WHERE {by} IS NOT NULL ORDER BY {by} DESC LIMIT 1")
        if newest is not None and newest != after:
            _wait_for_writers(server, found, wait_seconds)
        server.rows(
            "SELECT set_config('seg_pipeline.after', $1, false) AS after,"
            " set_config('seg_pipeline.upto', $2, false) AS upto",
            after or "",
            newest or "",
        )
        past = f"{by} > {AFTER}::{kind}" if after is not None else "true"
        early = f"{by} {'<=' if cursor in found.unique else '<'} {UPTO}::{kind}" if newest is not None else "false"
        server.run("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY")
        [(nameless, behind, waiting, last_cursor)] = server.rows(
            f"""SELECT (SELECT count(*) FROM {rows} WHERE {by} IS NULL) AS nameless,
                (SELECT count(*) FROM {rows} WHERE NOT ({past})) AS behind,
                (SELECT count(*) FROM {rows} WHERE {past} AND NOT ({early})) AS waiting,
                (SELECT {by}::text FROM {rows} WHERE {past} AND {early} ORDER BY {by} DESC LIMIT 1) AS last_cursor"""
        )
        if nameless:
            raise DataError(f"{table}: {nameless:,} rows have no {cursor} and so would never be pulled (source.cursor)")
        if last_cursor is None:
            return Pulled(0, after, waiting, behind)
        values = ", ".join(f"nullif(line.{quoted(name)}::text, '') AS {quoted(key)}" for key, name in columns.items())
        lines = server.append(
            f"SELECT {values}, row_number() OVER (ORDER BY {by}) AS source_row FROM {rows}"
            f" WHERE {past} AND {early} ORDER BY {by}",
            connection,
            into,
            source_file,
        )
        if lines is None and not server.is_there():
            raise MachineError(f"{table}: the server went away in mid-pull; none of its rows were loaded")
        if lines is None:
            raise DataError(f"{table}: the server could not give every row; SELECT * FROM {table} says why")
        return Pulled(lines, last_cursor, waiting, behind)

    return _with_server(uri, table, work)


class _Server:
    """A session of the server. DuckDB reads its answers and makes its parameters, so that pyarrow is not needed."""

    def __init__(self, connection: "Connection", reader: duckdb.DuckDBPyConnection):
        self._connection = connection
        self._reader = reader

    @classmethod
    @contextmanager
    def session(cls, uri: SecretStr) -> "Iterator[Self]":
        from adbc_driver_postgresql import dbapi

        with ExitStack() as opened:
            connection = opened.enter_context(closing(dbapi.connect(uri.get_secret_value(), autocommit=True)))
            server = cls(connection, opened.enter_context(duckdb.connect()))
            server.rows(SESSION)
            yield server

    def run(self, statement: str) -> None:
        """Runs a statement that has no answer."""
        with closing(self._connection.cursor()) as cursor:
            cursor.execute(statement)

    def rows(self, query: str, *parameters: str) -> list[tuple[Any, ...]]:
        """Returns a small answer. Its columns need different names: pyarrow, if installed, finds them by name."""
        bound = None
        if parameters:
            values = ", ".join("?::VARCHAR" for _ in parameters)
            bound = self._reader.sql(f"SELECT {values}", params=list(parameters))
        # Read as a whole, so that an error comes with its SQLSTATE and not from the middle of a stream.
        with closing(self._connection.cursor(adbc_stmt_kwargs={"adbc.postgresql.use_copy": "false"})) as cursor:
            cursor.execute(query, bound)
            self._reader.register("answer", cursor.fetch_arrow())
            return self._reader.execute("SELECT * FROM answer").fetchall()

    def value(self, query: str, *parameters: str) -> Any:
        rows = self.rows(query, *parameters)
        return rows[0][0] if rows else None

    def table(self, given: str) -> _Table:
        rows = self.rows(COLUMNS, given)
        if not rows:
            raise UsageError(f"source.table: the database has no table {given!r}; name it as SCHEMA.TABLE")
        unique = frozenset(name for _, _, name, _, is_unique in rows if is_unique)
        return _Table(rows[0][0], rows[0][1], {name: kind for _, _, name, kind, _ in rows}, unique)

    def append(self, query: str, connection: duckdb.DuckDBPyConnection, into: str, source_file: str) -> int | None:
        """Streams an answer into a table of the warehouse; returns None, with nothing appended, if it broke off."""
        with closing(self._connection.cursor()) as cursor:
            cursor.execute(query)
            connection.register("pulled_lines", cursor.fetch_arrow())
            try:
                lines = "SELECT *, $source_file AS source_file FROM pulled_lines"
                return append_rows(connection, into, lines, {"source_file": source_file})
            except duckdb.InvalidInputException:
                return None  # any other error is the warehouse's own, which knows no address
            finally:
                connection.unregister("pulled_lines")

    def is_there(self) -> bool:
        """Returns whether the server still answers, even if only to say that the transaction is aborted."""
        from adbc_driver_manager import Error

        try:
            self.rows("SELECT 1")
        except Error as error:
            return error.sqlstate is not None
        return True


def _wait_for_writers(server: _Server, table: _Table, seconds: float) -> None:
    """Waits for the transactions that may have drawn values and not committed them yet."""
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
    """Returns what `work` does on the server; turns its errors into one line that holds nothing of the address."""
    if find_spec("adbc_driver_postgresql") is None:
        raise UsageError("source.table: reading from PostgreSQL needs: pip install 'seg-pipeline[postgres]'")
    from adbc_driver_manager import Error

    if not re.match("postgres(ql)?://", uri.get_secret_value()):
        raise UsageError(
            f"source.table: set {SOURCE_DATABASE} to postgresql://USER:PASSWORD@HOST/DATABASE, or postgresql://"
        )
    connected = False
    try:
        with _Server.session(uri) as server:
            connected = True
            return work(server)
    except (Error, UnicodeError) as error:
        failure = _complaint(table, error) if connected else _refusal(error)
    # Raised here and not where the driver's error is caught: that quotes the address, and must not hang on to this one.
    raise failure


def _refusal(error: Exception) -> SegPipelineError:
    """Returns the error that says why there is no connection."""
    for words, kind, reason in REFUSALS:
        if re.search(words, str(error), re.IGNORECASE):
            return kind(f"{SOURCE_DATABASE}: no connection to the database: {reason}")
    return MachineError(f"{SOURCE_DATABASE}: no connection to the database")


def _complaint(table: str, error: Exception) -> SegPipelineError:
    """Returns the error that says why a query failed."""
    state = getattr(error, "sqlstate", None)
    if state is None or state.startswith(("08", "57P")):
        return MachineError(f"{table}: the server went away in mid-pull; none of its rows were loaded")
    errors: dict[str, SegPipelineError] = {
        "22023": UsageError(f"source.table: {table!r} is not SCHEMA.TABLE"),
        "42501": UsageError(f"source.table: the database does not let its user read {table}"),
        "42883": UsageError(f"source.cursor: the column of {table} is of a type that has no order"),
        "57014": MachineError(f"{table}: the server cancelled the query, perhaps by a time limit of its own"),
    }
    if state in errors:
        return errors[state]
    if state.startswith("22"):
        return DataError(
            f"{table}: the server cannot read a value (SQLSTATE {state}); was source.cursor another column before?"
        )
    return DataError(f"{table}: the server refuses a query (SQLSTATE {state})")
