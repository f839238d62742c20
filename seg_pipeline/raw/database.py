"""Order lines from a table of a PostgreSQL server, through ADBC, a pull at a time: what came since the pull before.

A cursor column that only grows says what is new. Its values must never come behind one that is pulled already, and
three things make them do so all the same:

- Two transactions at once: the one with the smaller value commits last. A pull therefore ends at the newest value that
  is there when it begins, and first waits for every transaction that had written by then, or was inserting into the
  table. Those that begin later get later values.
- Rows of equal value, where the column is not unique: more may come of the newest value, so it is left to a later pull.
- Values drawn early and used late: sequences with a cache, blocks of ids that a program hands out, clocks of several
  machines, a transaction that reads for long before its first write and then stamps its rows with its beginning; and,
  where the server is a standby, transactions on its primary, which it does not see. Nothing can wait for these.
  `Pulled.behind` counts what is there now of what was pulled before: more than was pulled means that such rows came.

Rows without a value in the column are an error. A row that is changed or deleted after its pull stays as it was, and
under a column that changes with the row, such as updated_at, it comes once more, as a further line: the table must be
one that is only added to, as order lines are.

The address of the server holds a password. It comes as a SecretStr, is shown to the driver alone, and what the driver
complains of, which quotes it, is told in words of this module.
"""

import re
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any, Self, TypeVar

import duckdb
from pydantic import SecretStr

from seg_pipeline.errors import DataError, MachineError, SegPipelineError, UsageError, did_you_mean
from seg_pipeline.tables import Table
from seg_pipeline.warehouse import Connection, Relation, quoted

if TYPE_CHECKING:
    from adbc_driver_manager.dbapi import Connection as ServerConnection

VARIABLE = "SEG_PIPELINE_SOURCE_DATABASE"
WAIT_SECONDS = 60.0
POLL_SECONDS = 0.2

# Given to the server as settings of the session: the statement that streams its rows can bind no parameters.
AFTER = "current_setting('seg_pipeline.after')"
UPTO = "current_setting('seg_pipeline.upto')"

# Dates as ISO writes them and numbers in full, whatever the server's or the user's own settings are. The time zone is
# left as the database has it: the shop's own time counts.
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

# Whoever has written holds a lock on its own number. An insert holds one on the table before it draws its first value.
WRITERS = """SELECT DISTINCT coalesce(transactionid::text, virtualtransaction) FROM pg_locks
    WHERE granted AND (locktype = 'transactionid' AND mode = 'ExclusiveLock'
        OR locktype = 'relation' AND mode = 'RowExclusiveLock' AND relation = $1::oid)"""

# What the driver says, and what of it can be told: never its own words.
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
class Pulled:
    """What a pull brought."""

    lines: int
    last_cursor: str | None  # where the next pull goes on; that of the pull before where there are no lines
    waiting: int = 0  # rows left to a later pull: of the newest value, or newer than the beginning of this one
    behind: int = 0  # rows up to `after` that are there now; more than pulls brought means that some came behind it


@dataclass(frozen=True, slots=True)
class _Table:
    """A table of the server; its name as SQL text."""

    oid: str
    name: str
    types: dict[str, str]
    unique: frozenset[str]


def header(uri: SecretStr, table: str) -> tuple[str, ...]:
    """The columns of a table or view, in their order.

    Args:
        uri: A postgresql:// address. What it leaves out, libpq takes from PGHOST, PGUSER, PGPASSWORD and so on.
        table: SCHEMA.TABLE, as SQL writes it.

    Raises:
        UsageError: the extra is not installed; no address; wrong user, password, database or table.
        MachineError: the server cannot be reached.
    """

    def work(server: "_Server") -> tuple[str, ...]:
        return tuple(server.table(table).types)

    return _told(uri, table, work)


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
) -> Pulled:
    """Appends the rows whose cursor is past `after` to a table of the warehouse: all of them or, on an error, none.

    Every value is text as PostgreSQL writes it, an empty one NULL as in files. The rows are those of one snapshot, in
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
        UsageError: as in `header`; no such column, no right to read, a cursor without an order.
        DataError: rows without a value of the cursor; the server cannot give a row.
        MachineError: the server cannot be reached or goes away; a transaction does not end in time.
    """

    def work(server: "_Server") -> Pulled:
        found = server.table(table)
        for setting, name in (("cursor", cursor), *((f"columns.{key}", name) for key, name in columns.items())):
            if name not in found.types:
                raise UsageError(f"source.{setting}: {table} has no column {name!r}{did_you_mean(name, found.types)}")
        # With the table's name before it: by the bare name the server would sort the text that is selected from it.
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

    return _told(uri, table, work)


class _Server:
    """A session of the server. DuckDB reads its answers and makes its parameters, so that nobody needs pyarrow."""

    def __init__(self, connection: "ServerConnection", reader: duckdb.DuckDBPyConnection):
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
        """A statement that has no answer."""
        with closing(self._connection.cursor()) as cursor:
            cursor.execute(statement)

    def rows(self, query: str, *parameters: str) -> list[tuple[Any, ...]]:
        """A small answer. No two columns of it share a name: pyarrow, where it is installed, looks for them by name."""
        bound = None
        if parameters:
            values = ", ".join("?::VARCHAR" for _ in parameters)
            bound = self._reader.sql(f"SELECT {values}", params=list(parameters))
        # Read as a whole, so that an error comes with its SQLSTATE, and not out of the middle of a stream.
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

    def append(self, query: str, connection: Connection, into: Table | Relation, source_file: str) -> int | None:
        """Streams an answer into a table of the warehouse; None where it broke off, and then nothing is appended."""
        with closing(self._connection.cursor()) as cursor:
            cursor.execute(query)
            with connection.registered(cursor.fetch_arrow()) as pulled:
                lines = f"SELECT *, $source_file AS source_file FROM {pulled}"
                try:
                    return connection.insert(into, lines, {"source_file": source_file})
                except duckdb.InvalidInputException:
                    return None  # all others are the warehouse's own, which knows no address

    def is_there(self) -> bool:
        """Whether the server still answers, be it that the transaction is aborted."""
        from adbc_driver_manager import Error

        try:
            self.rows("SELECT 1")
        except Error as error:
            return error.sqlstate is not None
        return True


def _wait_for_writers(server: _Server, table: _Table, seconds: float) -> None:
    """Waits until the transactions have ended that may hold values which they have not committed."""
    deadline = time.monotonic() + seconds
    at_first = set(server.rows(WRITERS, table.oid))
    while at_first & set(server.rows(WRITERS, table.oid)):
        if time.monotonic() >= deadline:
            raise MachineError(
                f"{table.name}: a transaction that was writing when the pull began has not ended in {seconds:g}"
                " seconds, and its rows would come behind the cursor; see pg_stat_activity and pg_prepared_xacts"
            )
        time.sleep(POLL_SECONDS)


def _told(uri: SecretStr, table: str, work: Callable[[_Server], Result]) -> Result:
    """Does work on the server; what goes wrong is told in one line that holds nothing of the address."""
    if find_spec("adbc_driver_postgresql") is None:
        raise UsageError("source.table: reading from PostgreSQL needs: pip install 'seg-pipeline[postgres]'")
    from adbc_driver_manager import Error

    if not re.match("postgres(ql)?://", uri.get_secret_value()):
        raise UsageError(f"source.table: set {VARIABLE} to postgresql://USER:PASSWORD@HOST/DATABASE, or postgresql://")
    connected = False
    try:
        with _Server.session(uri) as server:
            connected = True
            return work(server)
    except (Error, UnicodeError) as error:
        told = _complaint(table, error) if connected else _refusal(error)
    # Raised here and not where it is caught: the driver's error, which quotes the address, must not hang on to it.
    raise told


def _refusal(error: Exception) -> SegPipelineError:
    """Why there is no connection."""
    for words, kind, reason in REFUSALS:
        if re.search(words, str(error), re.IGNORECASE):
            return kind(f"{VARIABLE}: no connection to the database: {reason}")
    return MachineError(f"{VARIABLE}: no connection to the database")


def _complaint(table: str, error: Exception) -> SegPipelineError:
    """Why a query failed."""
    state = getattr(error, "sqlstate", None)
    if state is None or state.startswith(("08", "57P")):
        return MachineError(f"{table}: the server went away in mid-pull; none of its rows were loaded")
    told: dict[str, SegPipelineError] = {
        "22023": UsageError(f"source.table: {table!r} is not SCHEMA.TABLE"),
        "42501": UsageError(f"source.table: the database does not let its user read {table}"),
        "42883": UsageError(f"source.cursor: the column of {table} is of a type that has no order"),
        "57014": MachineError(f"{table}: the server cancelled the query, perhaps by a time limit of its own"),
    }
    if state in told:
        return told[state]
    if state.startswith("22"):
        return DataError(
            f"{table}: the server cannot read a value (SQLSTATE {state}); was source.cursor another column before?"
        )
    return DataError(f"{table}: the server refuses a query (SQLSTATE {state})")
