"""The database, and the only place that knows which engine runs: connections, transactions, the .sql files.

A table, or one night's rows of it, is replaced in one transaction: a run that is killed leaves it old or new.
"""

import datetime
import fcntl
import os
import re
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

import duckdb
from dagster import InitResourceContext
from dagster_duckdb import DuckDBResource
from pydantic import Field

from seg_pipeline.errors import MachineError, UsageError
from seg_pipeline.tables import Table

if TYPE_CHECKING:
    import pandas as pd

Parameters = Mapping[str, Any]

RETRY_SECONDS = 0.2
# Vectors of 2,048 rows that are handed to Python at once where every customer passes through it: bounds memory.
VECTORS_AT_ONCE = 128


class Warehouse(DuckDBResource):
    """One DuckDB file. Outside a run connections are short, since DuckDB lets one process write at a time.

    Unlike its parent it closes the connection when the work in it fails, and waits only for a file that is busy.
    """

    wait_seconds: float = Field(default=60, description="How long to wait while another process has the file open")

    @contextmanager
    def get_connection(self) -> Iterator[duckdb.DuckDBPyConnection]:
        """A connection that is closed whatever happens.

        Raises:
            MachineError: the file stays busy, cannot be opened or written, the disk or the memory is full.
        """
        connection = self._open()
        try:
            yield connection
        except duckdb.OutOfMemoryException as error:
            raise MachineError(f"warehouse {self.database}: out of memory or disk: {_first_line(error)}") from error
        except duckdb.IOException as error:
            raise MachineError(f"warehouse {self.database}: {_first_line(error)}") from error
        finally:
            connection.close()

    @contextmanager
    def held(self) -> Iterator[None]:
        """The warehouse for a whole run: another run waits for its end, so that two never mix their tables.

        Raises:
            MachineError: another process's run goes on beyond `wait_seconds`.
        """
        path = Path(self.database + ".lock")
        if self.database == ":memory:" or path in _HELD:
            yield
            return
        self._make_folder()
        try:
            lock = path.open("a+", encoding="utf-8")
        except OSError as error:
            raise MachineError(f"warehouse {self.database}: {error.strerror}") from None
        with lock:
            deadline = time.monotonic() + self.wait_seconds
            while not _taken(lock):
                if time.monotonic() >= deadline:
                    lock.seek(0)
                    raise MachineError(f"warehouse {self.database} is busy: process {lock.read()} runs on it")
                time.sleep(RETRY_SECONDS)
            lock.truncate(0)
            lock.write(str(os.getpid()))
            lock.flush()
            _HELD.add(path)
            try:
                # The file stays open as long: opening it anew for every query would take seconds of a run.
                with self.get_connection():
                    yield
            finally:
                _HELD.discard(path)

    @contextmanager
    def yield_for_execution(self, context: InitResourceContext) -> "Iterator[Warehouse]":
        """A Dagster run holds the warehouse from its first step to its last."""
        with self.held():
            yield self

    def _make_folder(self) -> None:
        try:
            Path(self.database).parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise MachineError(f"warehouse {self.database}: {error.strerror}") from None

    def _open(self) -> duckdb.DuckDBPyConnection:
        deadline = time.monotonic() + self.wait_seconds
        self._make_folder()
        if not _is_database(Path(self.database)):
            raise MachineError(f"warehouse {self.database}: is no DuckDB file; name another with warehouse.path")
        while True:
            try:
                connection = duckdb.connect(self.database, config=dict(self.connection_config))
                # What an instant reads as must not depend on where the machine stands.
                connection.execute("SET TimeZone = 'UTC'")
                # Tables of order lines are written in a quarter less time, for a file some 4 % larger: what these
                # save of text, dictionaries save as well.
                connection.execute("SET disabled_compression_methods = 'fsst,dict_fsst,zstd'")
                return connection
            except duckdb.IOException as error:
                busy = "Conflicting lock" in str(error)
                if busy and time.monotonic() < deadline:
                    time.sleep(RETRY_SECONDS)
                    continue
                if busy:
                    holder = re.search(r"\(PID (\d+)\)", str(error))
                    who = f"process {holder[1]}" if holder else "another process"
                    raise MachineError(f"warehouse {self.database} is busy: {who} has it open") from None
                raise MachineError(f"warehouse {self.database}: {_first_line(error)}") from None
            except (duckdb.InvalidInputException, duckdb.ParserException, duckdb.SyntaxException) as error:
                raise UsageError(f"warehouse: a setting that DuckDB refuses: {_first_line(error)}") from None
            except duckdb.Error as error:
                raise MachineError(f"warehouse {self.database} cannot be opened: {_first_line(error)}") from None

    def replace_night(
        self,
        table: Table,
        rows: "str | Path | pd.DataFrame",
        as_of: datetime.date,
        parameters: Parameters | None = None,
    ) -> None:
        """Replaces one night's rows of a nightly table; see the function of that name."""
        with self.get_connection() as connection, transaction(connection):
            replace_night(connection, table, rows, as_of, parameters)

    def read(self, query: "str | Path", parameters: Parameters | None = None) -> "pd.DataFrame":
        """What a query gives, as a frame. Never for order lines: at most one row per customer."""
        with self.get_connection() as connection:
            return execute(connection, _text(query), parameters).df()

    def value(self, query: str, parameters: Parameters | None = None) -> Any:
        """The first value of the first row that a query gives; None where there is no row."""
        with self.get_connection() as connection:
            row = execute(connection, query, parameters).fetchone()
        return row[0] if row else None

    def night(
        self,
        table: Table,
        as_of: datetime.date,
        columns: Sequence[str] = ("*",),
        where: str = "true",
        parameters: Parameters | None = None,
    ) -> "pd.DataFrame":
        """One night's rows of a nightly table, in the order of its key; of wide tables only the columns needed."""
        return self.read(
            f"SELECT {', '.join(columns)} FROM {table.name} WHERE as_of = $as_of AND ({where})"
            f" ORDER BY {', '.join(table.key)}",
            {"as_of": as_of, **(parameters or {})},
        )

    def export_night(self, table: Table, as_of: datetime.date, file: Path) -> None:
        """Writes one night's rows, in the order of the table's key, as the file's ending says: .parquet or .csv."""
        rows = f"SELECT * FROM {table.name} WHERE as_of = $as_of ORDER BY {', '.join(table.key)}"
        options = "FORMAT csv, HEADER" if file.suffix == ".csv" else "FORMAT parquet, COMPRESSION zstd"
        with self.get_connection() as connection:
            execute(connection, f"COPY ({rows}) TO $file ({options})", {"as_of": as_of, "file": str(file)})

    def count(self, table: Table, as_of: datetime.date | None = None) -> int:
        """Rows of a table, or of one of its nights."""
        where = "WHERE as_of = $as_of" if table.nightly else ""
        return int(self.value(f"SELECT count(*) FROM {table.name} {where}", {"as_of": as_of}))


# Locks that this process has: a run from the command line is two runs of Dagster's.
_HELD: set[Path] = set()


def _taken(lock: IO[str]) -> bool:
    """Takes the lock on an open file where it is free; the system gives it back even if the process is killed."""
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _is_database(path: Path) -> bool:
    """Whether DuckDB may open the path: there is nothing yet, or a file with its mark at byte 8."""
    if not path.is_file() or path.stat().st_size == 0:
        return True
    with path.open("rb") as file:
        return file.read(12)[8:] == b"DUCK"


@contextmanager
def transaction(connection: duckdb.DuckDBPyConnection) -> Iterator[None]:
    """All of the statements within, or none of them."""
    connection.begin()
    try:
        yield
    except BaseException:
        connection.rollback()
        raise
    connection.commit()


def replace_table(
    connection: duckdb.DuckDBPyConnection, table: Table, query: "str | Path", parameters: Parameters | None = None
) -> None:
    """Replaces a table within the caller's transaction."""
    create(connection, table)
    insert(connection, table, query, parameters)


def insert(
    connection: duckdb.DuckDBPyConnection, table: Table, query: "str | Path", parameters: Parameters | None = None
) -> None:
    """Appends what a query gives, columns matched by name."""
    execute(connection, f"INSERT INTO {table.name} BY NAME {_text(query)}", parameters)


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
    connection.execute(f"DELETE FROM {table.name} WHERE as_of = $as_of", {"as_of": as_of})
    if not isinstance(rows, str | Path):
        connection.register("given_rows", rows)
        rows = "SELECT $as_of AS as_of, * FROM given_rows"
    execute(connection, f"INSERT INTO {table.name} BY NAME {_text(rows)}", {"as_of": as_of, **(parameters or {})})


def execute(
    connection: duckdb.DuckDBPyConnection, query: "str | Path", parameters: Parameters | None = None
) -> duckdb.DuckDBPyConnection:
    """Runs a statement with those of the parameters that it names as `$name`."""
    text = _text(query)
    named = set(re.findall(r"\$([a-z_]+)", text))
    return connection.execute(text, {key: value for key, value in (parameters or {}).items() if key in named})


def batches(
    connection: duckdb.DuckDBPyConnection, query: "str | Path", parameters: Parameters | None = None
) -> "Iterator[pd.DataFrame]":
    """What a query gives, some rows at a time; it sees what is committed, and the connection stays free meanwhile."""
    with connection.cursor() as reader:
        found = execute(reader, query, parameters)
        while len(batch := found.fetch_df_chunk(VECTORS_AT_ONCE)):
            yield batch


def temporary(connection: duckdb.DuckDBPyConnection, name: str, rows: "pd.DataFrame") -> None:
    """A temporary table of a frame's rows. The database joins a frame itself with one thread only."""
    connection.register("given_rows", rows)
    connection.execute(f"CREATE OR REPLACE TEMP TABLE {name} AS SELECT * FROM given_rows")
    connection.unregister("given_rows")


def create(connection: duckdb.DuckDBPyConnection, table: Table, *, or_replace: bool = True) -> None:
    """The table with its columns: empty and new, or as it is where it exists and `or_replace` is off."""
    connection.execute(f"CREATE SCHEMA IF NOT EXISTS {table.asset_key[0]}")
    if or_replace:
        connection.execute(f"CREATE OR REPLACE TABLE {table.name} ({table.ddl})")
        return
    connection.execute(f"CREATE TABLE IF NOT EXISTS {table.name} ({table.ddl})")
    # A warehouse that an older version made has its nights; columns that came later are empty in them.
    for column in table.columns:
        connection.execute(f'ALTER TABLE {table.name} ADD COLUMN IF NOT EXISTS "{column.name}" {column.type}')


def _text(query: "str | Path") -> str:
    return query.read_text(encoding="utf-8") if isinstance(query, Path) else query


def _first_line(error: BaseException) -> str:
    return str(error).strip().splitlines()[0]
