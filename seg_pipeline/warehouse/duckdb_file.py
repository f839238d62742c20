"""The DuckDB file: how it is opened and locked, and how a run handles a file that is damaged, outdated or in use.

DuckDB locks its file with fcntl, and the system releases such a lock as soon as the process closes any handle of that
file. So while a run has the file open, nothing else in the process may open it.
"""

import datetime
import fcntl
import logging
import os
import shutil
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, closing, contextmanager
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

import duckdb

from seg_pipeline import interrupts
from seg_pipeline.errors import MachineError, UsageError
from seg_pipeline.tables import Table
from seg_pipeline.warehouse import versions
from seg_pipeline.warehouse.connection import Connection, Parameters, literal, quoted
from seg_pipeline.warehouse.duckdb_errors import BusyError, DamagedError, first_line, translate_errors
from seg_pipeline.warehouse.in_memory import half_of_the_memory
from seg_pipeline.warehouse.sharing import SharedFile, sync_to_disk, wal_of

if TYPE_CHECKING:
    import pandas as pd

# Is given each warning as one line.
Warn = Callable[[str], None]

RETRY_SECONDS = 0.2
# How long a run waits for a reader to close the file before it leaves the file to that reader.
GRACE_SECONDS = 3.0
# Files with order lines are for their owner alone, unless the owner says otherwise.
PRIVATE = 0o600
REBUILD = "seg-pipeline backfill FIRST LAST brings past nights back"
LOG = logging.getLogger(__name__)


@dataclass(slots=True)
class _Run:
    """The file that this process holds open for a run.

    Attributes:
        connection: The run's connection to the file.
        inode: Device and inode number of the file when it was opened.
        read_only: Whether the process only reads it.
        damage: The error line that reports damage; None if there was none.
    """

    connection: duckdb.DuckDBPyConnection
    inode: tuple[int, int] | None
    read_only: bool
    damage: str | None = None


@dataclass(frozen=True)
class Warehouse:
    """One DuckDB file. Outside a run connections are short, since DuckDB lets only one process write at a time.

    Attributes:
        database: The file's path, or `:memory:`.
        connection_config: DuckDB's settings; memory_limit is half of the machine's memory unless given.
        wait_seconds: How long to wait while another process has the file open.
        most_customers: The most customers that Python holds at once; a larger shop is sampled. None for no limit.
    """

    database: str
    connection_config: Mapping[str, Any] = field(default_factory=dict)
    wait_seconds: float = 60
    most_customers: int | None = None

    @contextmanager
    def get_connection(self) -> Iterator[Connection]:
        """Yields a connection and always closes it; within a run it is a further one to the file that the run has open.

        Raises:
            MachineError: The file stays busy, cannot be opened or written, is damaged or of another version, or the
                disk or the memory is full.
        """
        with self._duckdb_connection() as connection:
            yield Connection(connection)

    @contextmanager
    def transaction(self) -> Iterator[Connection]:
        """Yields a connection whose statements are all committed together, or not at all if the block raises."""
        with self.get_connection() as connection, connection.transaction():
            yield connection

    @contextmanager
    def _duckdb_connection(self) -> Iterator[duckdb.DuckDBPyConnection]:
        """Yields DuckDB's own connection under the rules of `get_connection`."""
        run = _HELD.get(self._lock)
        if run and run.damage:
            raise MachineError(run.damage)
        connection = run.connection.cursor() if run else self._refuse_older(self._open(self.wait_seconds))
        try:
            with self._translate_errors(), interrupts.reraise_interrupt(connection):
                yield connection
        except DamagedError as damage:
            if run is None:
                raise MachineError(f"{damage}; move it away, and seg-pipeline run rebuilds from the source") from None
            run.damage = (
                f"{damage}; it is set aside as {self._damaged_name()}; running again rebuilds from the source, and"
                f" {REBUILD}"
            )
            raise MachineError(run.damage) from damage.__cause__
        finally:
            connection.close()

    @contextmanager
    def held(self, warn: Warn = LOG.warning, *, read_only: bool = False) -> Iterator[None]:
        """Holds the warehouse for a whole run: other runs wait for its end, so two never mix their tables.

        First it makes the file fit for use: a damaged file is set aside, a file of an older version is migrated, and a
        file that other processes keep open is left to them and replaced by a copy.

        Args:
            warn: Is called if one of these happens.
            read_only: Only reads the file: changes nothing, and other readers may have it open.

        Raises:
            MachineError: Another process's run takes longer than `wait_seconds`, the file was moved or deleted in the
                meantime, or as in `get_connection`.
        """
        if self.database == ":memory:" or self._lock in _HELD:
            yield
            return
        self._make_folder()
        with self._run_lock():
            if read_only:
                connection = self._refuse_older(self._open(self.wait_seconds, read_only=True), read_only=True)
            else:
                connection = self._open_for_run(warn)
            # The file stays open during the run: opening it for every query would add seconds.
            run = _HELD[self._lock] = _Run(connection, self._inode(), read_only)
            try:
                yield
                if self._inode() != run.inode:
                    raise MachineError(f"warehouse {self.database} was moved or deleted while the run had it open")
                if not (read_only or run.damage):
                    # Closing writes a checkpoint too, but does not report a full disk or a damaged file.
                    with self._duckdb_connection() as last:
                        last.execute("CHECKPOINT")
            finally:
                del _HELD[self._lock]
                connection.close()
                if run.damage and not read_only:
                    self._set_aside()

    def rewrite(self) -> list[str]:
        """Rewrites the file, so that no deleted row is left in its free pages or beside it. Not for use within a run.

        Beside it are damaged files that were set aside, files left to processes that wrote to them, unfinished copies
        and DuckDB's temporary files.

        Returns:
            The files beside it that were deleted.

        Raises:
            MachineError: Another process has it open, a file cannot be deleted, or as in `get_connection`.
        """
        copy = self._file.with_name(self._file.name + ".rewritten")
        with self._run_lock(), ExitStack() as stack:
            try:
                stack.callback(copy.unlink, missing_ok=True)
                copy.unlink(missing_ok=True)
                with closing(self._refuse_older(self._open(self.wait_seconds))) as connection, self._translate_errors():
                    [(name,)] = connection.execute("SELECT current_database()").fetchall()
                    connection.execute(f"ATTACH {literal(str(copy))} AS rewritten")
                    copy.chmod(PRIVATE)
                    connection.execute(f"COPY FROM DATABASE {quoted(name)} TO rewritten")
                    connection.execute("DETACH rewritten")
                shutil.copymode(self._file, copy)
                os.replace(copy, self._file)
                remains = self._shared.delete_remains()
                sync_to_disk(self._file.parent)
                return remains
            except OSError as error:
                raise MachineError(f"warehouse {self.database} cannot be rewritten: {error.strerror}") from None

    @property
    def _lock(self) -> Path:
        return Path(self.database + ".lock")

    @property
    def _file(self) -> Path:
        """The absolute path of the file without links, as DuckDB names it; its write-ahead log is beside it."""
        return Path(os.path.realpath(self.database))

    def _run_lock(self) -> IO[bytes]:
        """Returns a file that keeps other runs out while it is open.

        The system releases the lock even if the process is killed.
        """
        deadline = time.monotonic() + self.wait_seconds
        with ExitStack() as stack:
            try:
                lock = stack.enter_context(open(self._lock, "a+b", buffering=0, opener=_private))
                while not _try_lock(lock):
                    if time.monotonic() >= deadline:
                        lock.seek(0)
                        process = lock.read().decode()
                        raise MachineError(f"warehouse {self.database} is busy: process {process} runs on it")
                    time.sleep(RETRY_SECONDS)
                lock.truncate(0)
                lock.write(str(os.getpid()).encode())
            except OSError as error:
                raise MachineError(f"warehouse {self.database}: {error.strerror}") from None
            stack.pop_all()
            return lock

    def _make_folder(self) -> None:
        try:
            Path(self.database).parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise MachineError(f"warehouse {self.database}: {error.strerror}") from None

    def _inode(self) -> tuple[int, int] | None:
        try:
            status = os.stat(self.database)
        except OSError:
            return None
        return status.st_dev, status.st_ino

    def _open_for_run(self, warn: Warn) -> duckdb.DuckDBPyConnection:
        """Makes the file fit for a run and opens it. Only the process that has the lock may do so."""
        self._shared.delete_leftovers()
        deadline = time.monotonic() + self.wait_seconds
        while True:
            try:
                return self._migrate(self._open(min(GRACE_SECONDS, self.wait_seconds)), warn)
            except BusyError as busy:
                if self._shared.replace_with_copy(lambda: self._connect(read_only=True)):
                    warn(
                        f"warehouse {self.database}: {busy.holder} has it open to read, and keeps the file as it is"
                        " now; the run goes on with a copy in its place"
                    )
                elif writers_file := self._shared.fork_from_writer():
                    warn(
                        f"warehouse {self.database}: {busy.holder} has it open to write, and keeps it as {writers_file}"
                        "; the run goes on with a copy in its place"
                    )
                elif time.monotonic() >= deadline:
                    raise MachineError(f"{busy} and writes to it; opened read-only it would not block a run") from None
            except DamagedError as damage:
                aside = self._set_aside()
                warn(f"{damage}; it is set aside as {aside}; this run rebuilds from the source, and {REBUILD}")

    @property
    def _shared(self) -> SharedFile:
        return SharedFile(self.database, self._file)

    def _damaged_name(self) -> Path:
        names = (self._file.with_name(f"{self._file.name}.damaged{f'-{n}' if n > 1 else ''}") for n in count(1))
        return next(name for name in names if not name.exists())

    def _set_aside(self) -> Path:
        """Moves a damaged file away, then its write-ahead log (DuckDB ignores a log whose file is missing)."""
        aside = self._damaged_name()
        log = wal_of(self._file)
        try:
            self._file.rename(aside)
            if log.exists():
                log.rename(wal_of(aside))
        except OSError as error:
            raise MachineError(
                f"warehouse {self.database} is damaged and cannot be set aside: {error.strerror}"
            ) from None
        return aside

    def _open(self, wait_seconds: float, *, read_only: bool = False) -> duckdb.DuckDBPyConnection:
        deadline = time.monotonic() + wait_seconds
        while True:
            try:
                return self._connect(read_only)
            except BusyError:
                if time.monotonic() >= deadline:
                    raise
                time.sleep(RETRY_SECONDS)

    def _connect(self, read_only: bool) -> duckdb.DuckDBPyConnection:
        self._make_folder()
        try:
            is_empty = self._file.is_file() and not self._file.stat().st_size
            is_database = _is_database(Path(self.database))
        except OSError as error:
            raise MachineError(f"warehouse {self.database}: {error.strerror}") from None
        if is_empty:
            raise DamagedError(f"warehouse {self.database} is damaged: it is empty")
        if not is_database:
            raise MachineError(
                f"warehouse {self.database}: not a DuckDB file; name another with warehouse.path, or"
                " move it away, and seg-pipeline run builds it from the source"
            )
        is_new = not self._file.exists()
        try:
            with self._translate_errors():
                connection = duckdb.connect(self.database, read_only=read_only, config=dict(self.connection_config))
                if is_new and self._file.exists():
                    self._file.chmod(PRIVATE)
                if not {"memory_limit", "max_memory"} & self.connection_config.keys():
                    # Set here, since DuckDB refuses a configuration other than that of this process's connections.
                    connection.execute(f"SET GLOBAL memory_limit = '{half_of_the_memory()}'")
                # How a time is read must not depend on the time zone of the machine.
                connection.execute("SET GLOBAL TimeZone = 'UTC'")
                # Tables of order lines are written in a quarter less time, and the file is only some 4 % larger:
                # dictionaries compress text nearly as well as these methods.
                connection.execute("SET GLOBAL disabled_compression_methods = 'fsst,zstd'")
                return connection
        except (duckdb.InvalidInputException, duckdb.ParserException, duckdb.SyntaxException) as error:
            raise UsageError(f"warehouse: DuckDB refuses a setting: {first_line(error)}") from None
        except duckdb.Error as error:
            raise MachineError(f"warehouse {self.database} cannot be opened: {first_line(error)}") from None

    def _translate_errors(self) -> AbstractContextManager[None]:
        return translate_errors(self.database, self._file)

    def _refuse_older(
        self, connection: duckdb.DuckDBPyConnection, *, read_only: bool = False
    ) -> duckdb.DuckDBPyConnection:
        """Returns the connection; raises MachineError if its file is of an older version, which only a run migrates."""
        version = self._version(connection)
        if version is None and not read_only:
            with self._translate_errors():
                versions.write_version(connection)
        if version is not None and version < versions.SCHEMA_VERSION:
            connection.close()
            raise MachineError(
                f"warehouse {self.database} was made by an older seg-pipeline; the next seg-pipeline run migrates it"
            )
        return connection

    def _migrate(self, connection: duckdb.DuckDBPyConnection, warn: Warn) -> duckdb.DuckDBPyConnection:
        """Migrates the file to this version in one transaction, if necessary, and returns the connection."""
        version = self._version(connection)
        if version == versions.SCHEMA_VERSION:
            return connection
        with self._translate_errors(), Connection(connection).transaction():
            versions.migrate(connection, version, self.database)
        if version:
            warn(f"warehouse {self.database} was made by an older seg-pipeline and is migrated")
        return connection

    def _version(self, connection: duckdb.DuckDBPyConnection) -> int | None:
        """Returns the version of a file; None if it is new. Refuses a newer version and closes the connection."""
        with self._translate_errors():
            version = versions.version_of(connection)
        try:
            versions.refuse_newer(version, self.database)
        except MachineError:
            connection.close()
            raise
        return version

    @property
    def _is_read_only(self) -> bool:
        """Whether this process holds the warehouse only to read it."""
        run = _HELD.get(self._lock)
        return run is not None and run.read_only

    def replace_night(
        self,
        table: Table,
        rows: "str | Path | pd.DataFrame",
        as_of: datetime.date,
        parameters: Parameters | None = None,
    ) -> None:
        """Replaces one night's rows of a nightly table in a transaction; see the method of a connection."""
        with self.transaction() as connection:
            connection.replace_night(table, rows, as_of, parameters)

    def read(self, query: "str | Path", parameters: Parameters | None = None) -> "pd.DataFrame":
        """Returns the rows of a query as a frame; at most one row per customer.

        The DuckDB file answers it, also with another engine: it has every table, or a view of it.
        """
        with self._duckdb_connection() as connection:
            return Connection(connection).execute(query, parameters).df()

    def value(self, query: str, parameters: Parameters | None = None) -> Any:
        """Returns the first value of the first row of a query, answered as in `read`; None if there is no row."""
        with self._duckdb_connection() as connection:
            row = Connection(connection).execute(query, parameters).fetchone()
        return row[0] if row else None

    def night(
        self,
        table: Table,
        as_of: datetime.date,
        columns: Sequence[str] = ("*",),
        where: str = "true",
        parameters: Parameters | None = None,
    ) -> "pd.DataFrame":
        """Returns one night's rows of a nightly table, ordered by its key.

        Args:
            table: The table.
            as_of: The night.
            columns: The columns to return.
            where: The condition for the rows.
            parameters: The parameters of the condition.
        """
        return self.read(
            f"SELECT {', '.join(columns)} FROM {table.name} WHERE as_of = $as_of AND ({where})"
            f" ORDER BY {', '.join(table.key)}",
            {"as_of": as_of, **(parameters or {})},
        )

    def newest_night(self, table: str, *, before: datetime.date | None = None) -> datetime.date | None:
        """Returns the latest night of a table (before a night); None if it has none or does not exist."""
        with self.get_connection() as connection:
            if table not in connection.tables_with("as_of"):
                return None
        newest: datetime.date | None = self.value(
            f"SELECT max(as_of) FROM {table} WHERE coalesce(as_of < $before, true)", {"before": before}
        )
        return newest

    def count(self, table: Table, as_of: datetime.date | None = None) -> int:
        """Returns the number of rows of a table, or of one of its nights; 0 if it does not exist yet."""
        where = "WHERE as_of = $as_of" if table.nightly else ""
        return int(self.value(f"SELECT count(*) FROM {{table}} {where}", {"as_of": as_of, "table": table}))


# The files that this process holds, by lock. A run from the command line is two Dagster runs, which share one file.
_HELD: dict[Path, _Run] = {}


def _private(path: str, flags: int) -> int:
    """Opens a file that, if it is new, only its owner can read."""
    return os.open(path, flags, PRIVATE)


def _try_lock(lock: IO[bytes]) -> bool:
    """Locks an open file, and returns whether it was free."""
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _is_database(path: Path) -> bool:
    """Returns whether DuckDB can open the path: no file exists yet, or it has DuckDB's signature at byte 8."""
    if not path.is_file():
        return True
    with path.open("rb") as file:
        return file.read(12)[8:] == b"DUCK"
