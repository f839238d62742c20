"""The DuckDB file: who has it open, what a run makes of one that is damaged, of an older version or in use.

DuckDB locks its file with fcntl, and the system drops such a lock once the process closes any handle of that file:
while a run has the file open, nothing else in the process may open it.
"""

import datetime
import fcntl
import logging
import os
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
from seg_pipeline.warehouse.connection import Connection, Parameters, bound, literal, quoted
from seg_pipeline.warehouse.duckdb_errors import BusyError, DamagedError, as_machine_errors, first_line
from seg_pipeline.warehouse.sharing import SharedFile, sync_folder

if TYPE_CHECKING:
    import pandas as pd

Warned = Callable[[str], None]

RETRY_SECONDS = 0.2
# How long a run waits for a reader to let go before it leaves the file to it.
GRACE_SECONDS = 3.0
REBUILD = "seg-pipeline backfill FIRST LAST brings past nights back"
LOG = logging.getLogger(__name__)


@dataclass(slots=True)
class _Run:
    """A file that this process holds, as it was when opened.

    Attributes:
        connection: To the file.
        inode: Which file it is.
        read_only: Whether the process only looks at it.
        damage: The line that reports any that was met.
    """

    connection: duckdb.DuckDBPyConnection
    inode: tuple[int, int] | None
    read_only: bool
    damage: str | None = None


@dataclass(frozen=True)
class Warehouse:
    """One DuckDB file. Outside a run connections are short, since DuckDB lets one process write at a time.

    Attributes:
        database: The file's path, or `:memory:`.
        connection_config: DuckDB's settings, such as memory_limit.
        wait_seconds: How long to wait while another process has the file open.
        most_customers: How many customers Python sees at once; beyond, it samples. None for all.
    """

    database: str
    connection_config: Mapping[str, Any] = field(default_factory=dict)
    wait_seconds: float = 60
    most_customers: int | None = None

    @contextmanager
    def get_connection(self) -> Iterator[Connection]:
        """Yields a connection that is closed whatever happens; within a run, another one to the run's open file.

        Raises:
            MachineError: The file stays busy, cannot be opened or written, is damaged or of another version, the disk
                or the memory is full.
        """
        with self._opened() as duckdb:
            yield Connection(duckdb)

    @contextmanager
    def transaction(self) -> Iterator[Connection]:
        """Yields a connection whose statements are committed all together, or not at all if the block raises."""
        with self.get_connection() as connection, connection.transaction():
            yield connection

    @contextmanager
    def _opened(self) -> Iterator[duckdb.DuckDBPyConnection]:
        """As `get_connection`, with DuckDB's own connection."""
        run = _HELD.get(self._lock)
        if run and run.damage:
            raise MachineError(run.damage)
        connection = run.connection.cursor() if run else self._current(self._open(self.wait_seconds))
        try:
            with self._machine_errors(), interrupts.unwrapped(connection):
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
    def held(self, warned: Warned = LOG.warning, *, read_only: bool = False) -> Iterator[None]:
        """The warehouse for a whole run: another run waits for its end, so that two never mix their tables.

        A run makes the file fit for use first. One that is damaged is set aside; one that an older version made is
        migrated; one that other processes keep open is left to them, and a copy takes its place.

        Args:
            warned: Is given a line for each of these.
            read_only: Not for a run but for a look at it: nothing is changed, and other readers are not in the way.

        Raises:
            MachineError: another process's run goes on beyond `wait_seconds`, or as for `get_connection`; the file was
                moved or deleted meanwhile.
        """
        if self.database == ":memory:" or self._lock in _HELD:
            yield
            return
        self._make_folder()
        with self._alone():
            if read_only:
                connection = self._current(self._open(self.wait_seconds, read_only=True), read_only=True)
            else:
                connection = self._open_for_run(warned)
            # The file stays open as long: opening it anew for every query would take seconds of a run.
            run = _HELD[self._lock] = _Run(connection, self._inode(), read_only)
            try:
                yield
                if self._inode() != run.inode:
                    raise MachineError(f"warehouse {self.database} was moved or deleted while the run had it open")
                if not (read_only or run.damage):
                    # Closing does it too, yet says nothing where the disk is full or the file damaged.
                    with self._opened() as last:
                        last.execute("CHECKPOINT")
            finally:
                del _HELD[self._lock]
                connection.close()
                if run.damage and not read_only:
                    self._set_aside()

    def write_anew(self) -> None:
        """Writes the file anew, so that nothing of what was deleted is left in its free pages; not within a run.

        Raises:
            MachineError: another process has it open, or as for `get_connection`.
        """
        anew = self._file.with_name(self._file.name + ".anew")
        with self._alone():
            try:
                anew.unlink(missing_ok=True)
                with closing(self._current(self._open(self.wait_seconds))) as connection, self._machine_errors():
                    [(name,)] = connection.execute("SELECT current_database()").fetchall()
                    connection.execute(f"ATTACH {literal(str(anew))} AS anew")
                    connection.execute(f"COPY FROM DATABASE {quoted(name)} TO anew")
                    connection.execute("DETACH anew")
                os.replace(anew, self._file)
                sync_folder(self._file.parent)
            except OSError as error:
                raise MachineError(f"warehouse {self.database} cannot be written anew: {error.strerror}") from None

    @property
    def _lock(self) -> Path:
        return Path(self.database + ".lock")

    @property
    def _file(self) -> Path:
        """The file as DuckDB names it, whole and without links; its write-ahead log lies beside it."""
        return Path(os.path.realpath(self.database))

    def _alone(self) -> IO[bytes]:
        """Keeps other runs away while it is open; the system gives the lock back even if the process is killed."""
        deadline = time.monotonic() + self.wait_seconds
        with ExitStack() as opened:
            try:
                lock = opened.enter_context(self._lock.open("a+b", buffering=0))
                while not _taken(lock):
                    if time.monotonic() >= deadline:
                        lock.seek(0)
                        runner = lock.read().decode()
                        raise MachineError(f"warehouse {self.database} is busy: process {runner} runs on it")
                    time.sleep(RETRY_SECONDS)
                lock.truncate(0)
                lock.write(str(os.getpid()).encode())
            except OSError as error:
                raise MachineError(f"warehouse {self.database}: {error.strerror}") from None
            opened.pop_all()
            return lock

    def _make_folder(self) -> None:
        try:
            Path(self.database).parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise MachineError(f"warehouse {self.database}: {error.strerror}") from None

    def _inode(self) -> tuple[int, int] | None:
        try:
            found = os.stat(self.database)
        except OSError:
            return None
        return found.st_dev, found.st_ino

    def _open_for_run(self, warned: Warned) -> duckdb.DuckDBPyConnection:
        """The file, made fit for a run by the one process that has the lock."""
        self._shared.clear()
        deadline = time.monotonic() + self.wait_seconds
        while True:
            try:
                return self._migrated(self._open(min(GRACE_SECONDS, self.wait_seconds)), warned)
            except BusyError as busy:
                if self._shared.leave_to_readers(lambda: self._connect(read_only=True)):
                    warned(
                        f"warehouse {self.database}: {busy.holder} has it open to read, and keeps the file as it is"
                        " now; the run goes on with a copy in its place"
                    )
                elif left := self._shared.leave_to_writer():
                    warned(
                        f"warehouse {self.database}: {busy.holder} has it open to write, and keeps it as {left}; the"
                        " run goes on with a copy in its place"
                    )
                elif time.monotonic() >= deadline:
                    raise MachineError(f"{busy} and writes to it; opened read-only it is never in the way") from None
            except DamagedError as damage:
                aside = self._set_aside()
                warned(f"{damage}; it is set aside as {aside}; this run rebuilds from the source, and {REBUILD}")

    @property
    def _shared(self) -> SharedFile:
        return SharedFile(self.database, self._file)

    def _damaged_name(self) -> Path:
        names = (self._file.with_name(f"{self._file.name}.damaged{f'-{n}' if n > 1 else ''}") for n in count(1))
        return next(name for name in names if not name.exists())

    def _set_aside(self) -> Path:
        """Moves a damaged file away, then its write-ahead log; of one without its file DuckDB takes no notice."""
        aside = self._damaged_name()
        log = Path(f"{self._file}.wal")
        try:
            self._file.rename(aside)
            if log.exists():
                log.rename(f"{aside}.wal")
        except OSError as error:
            raise MachineError(
                f"warehouse {self.database} is damaged and cannot be set aside: {error.strerror}"
            ) from None
        return aside

    def _open(self, patience_seconds: float, *, read_only: bool = False) -> duckdb.DuckDBPyConnection:
        deadline = time.monotonic() + patience_seconds
        while True:
            try:
                return self._connect(read_only)
            except BusyError:
                if time.monotonic() >= deadline:
                    raise
                time.sleep(RETRY_SECONDS)

    def _connect(self, read_only: bool) -> duckdb.DuckDBPyConnection:
        self._make_folder()
        if self._file.is_file() and not self._file.stat().st_size:
            raise DamagedError(f"warehouse {self.database} is damaged: it is empty")
        if not _is_database(Path(self.database)):
            raise MachineError(
                f"warehouse {self.database}: is no DuckDB file; name another with warehouse.path, or"
                " move it away, and seg-pipeline run builds it from the source"
            )
        try:
            with self._machine_errors():
                connection = duckdb.connect(self.database, read_only=read_only, config=dict(self.connection_config))
                # What an instant reads as must not depend on where the machine stands.
                connection.execute("SET GLOBAL TimeZone = 'UTC'")
                # Tables of order lines are written in a quarter less time, for a file some 4 % larger: what these
                # save of text, dictionaries save as well.
                connection.execute("SET GLOBAL disabled_compression_methods = 'fsst,dict_fsst,zstd'")
                return connection
        except (duckdb.InvalidInputException, duckdb.ParserException, duckdb.SyntaxException) as error:
            raise UsageError(f"warehouse: a setting that DuckDB refuses: {first_line(error)}") from None
        except duckdb.Error as error:
            raise MachineError(f"warehouse {self.database} cannot be opened: {first_line(error)}") from None

    def _machine_errors(self) -> AbstractContextManager[None]:
        return as_machine_errors(self.database, self._file)

    def _current(self, connection: duckdb.DuckDBPyConnection, *, read_only: bool = False) -> duckdb.DuckDBPyConnection:
        """Returns the connection if it is to a file of this version, for all but a run, which migrates."""
        version = self._version(connection)
        if version is None and not read_only:
            with self._machine_errors():
                versions.mark(connection)
        if version is not None and version < versions.VERSION:
            connection.close()
            raise MachineError(
                f"warehouse {self.database} was made by an older seg-pipeline; the next seg-pipeline run migrates it"
            )
        return connection

    def _migrated(self, connection: duckdb.DuckDBPyConnection, warned: Warned) -> duckdb.DuckDBPyConnection:
        """Returns the connection of a run: what a file lacks to be of this version is done to it, all or nothing."""
        version = self._version(connection)
        if version == versions.VERSION:
            return connection
        with self._machine_errors(), Connection(connection).transaction():
            versions.migrate(connection, version)
        if version:
            warned(f"warehouse {self.database} was made by an older seg-pipeline and is migrated")
        return connection

    def _version(self, connection: duckdb.DuckDBPyConnection) -> int | None:
        """Returns the version of a file; None for one that is new. A newer one than this is refused, and closed."""
        with self._machine_errors():
            version = versions.version_of(connection)
        try:
            versions.refuse_newer(version, self.database)
        except MachineError:
            connection.close()
            raise
        return version

    @property
    def _is_looked_at(self) -> bool:
        """Whether this process holds the warehouse only to look at it."""
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
        """Returns the rows of a query as a frame: a look into tables, at most one row per customer.

        The DuckDB file answers, which has every table or a view of it.
        """
        with self._opened() as duckdb:
            return duckdb.execute(*bound(query, parameters)).df()

    def value(self, query: str, parameters: Parameters | None = None) -> Any:
        """Returns the first value of the first row of a query; None if there is no row. Answered as `read` is."""
        with self._opened() as duckdb:
            row = duckdb.execute(*bound(query, parameters)).fetchone()
        return row[0] if row else None

    def night(
        self,
        table: Table,
        as_of: datetime.date,
        columns: Sequence[str] = ("*",),
        where: str = "true",
        parameters: Parameters | None = None,
    ) -> "pd.DataFrame":
        """Returns one night's rows of a nightly table, in the order of its key; of wide tables only some columns."""
        return self.read(
            f"SELECT {', '.join(columns)} FROM {table.name} WHERE as_of = $as_of AND ({where})"
            f" ORDER BY {', '.join(table.key)}",
            {"as_of": as_of, **(parameters or {})},
        )

    def newest_night(self, table: str) -> datetime.date | None:
        """The latest night of a table by its name; None where it has none, or where there is no such table."""
        with self.get_connection() as connection:
            if table not in connection.tables_with("as_of"):
                return None
        newest: datetime.date | None = self.value(f"SELECT max(as_of) FROM {table}")
        return newest

    def count(self, table: Table, as_of: datetime.date | None = None) -> int:
        """Rows of a table, or of one of its nights."""
        where = "WHERE as_of = $as_of" if table.nightly else ""
        return int(self.value(f"SELECT count(*) FROM {table.name} {where}", {"as_of": as_of}))


# What this process holds, by lock: a run from the command line is two runs of Dagster's.
_HELD: dict[Path, _Run] = {}


def _taken(lock: IO[bytes]) -> bool:
    """Takes the lock on an open file where it is free."""
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _is_database(path: Path) -> bool:
    """Whether DuckDB may open the path: there is nothing yet, or a file with its mark at byte 8."""
    if not path.is_file():
        return True
    with path.open("rb") as file:
        return file.read(12)[8:] == b"DUCK"
