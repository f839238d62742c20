"""The DuckDB file: who has it open, what a run makes of one that is damaged, of an older version or in use.

DuckDB locks its file with fcntl, and the system drops such a lock once the process closes any handle of that file:
while a run has the file open, nothing else in the process may open it.
"""

import datetime
import fcntl
import logging
import os
import re
import shutil
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, closing, contextmanager, suppress
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

import duckdb

from seg_pipeline.errors import MachineError, UsageError
from seg_pipeline.tables import Table
from seg_pipeline.warehouse.statements import (
    Parameters,
    execute,
    interrupts_as_they_are,
    literal,
    quoted,
    replace_night,
    tables_with,
    text_of,
    transaction,
)

if TYPE_CHECKING:
    import pandas as pd

Warned = Callable[[str], None]

RETRY_SECONDS = 0.2
# How long a run waits for a reader to let go before it leaves the file to it.
GRACE_SECONDS = 3.0
# Who has not written for so long is taken to be doing nothing while the file is copied; that it did is looked for.
QUIET_SECONDS = 1.0
COPY_BYTES = 1 << 24

# What makes a file of version 1 one of version 2, and so on: the version of a file is one more than what it has had.
MIGRATIONS = (
    # Loading became incremental. Both stages come from the source again; what was made of them stays.
    "DROP SCHEMA IF EXISTS raw CASCADE; DROP SCHEMA IF EXISTS prepared CASCADE",
)
VERSION = len(MIGRATIONS) + 1
# Version 1 had no mark; these are the schemas that tell it from a new file.
SCHEMAS_OF_VERSION_1 = ("raw", "prepared", "features", "models", "evaluation", "segments")

# Only what says so for certain: a file that is whole must never be set aside.
DAMAGE = re.compile(r'Corrupt (database|WAL) file|Could not read enough bytes from file "(?P<file>[^"]*)"')
REBUILD = "seg-pipeline backfill FIRST LAST brings past nights back"
# At the end of the name of a file that a link is about.
NUMBER = re.compile(r"\.[0-9]+$")
LOG = logging.getLogger(__name__)


class _BusyError(MachineError):
    """Another process has the file open."""

    def __init__(self, database: str, holder: str) -> None:
        super().__init__(f"warehouse {database} is busy: {holder} has it open")
        self.holder = holder


class _DamagedError(MachineError):
    """What is in the file is not what was written to it."""


@dataclass(slots=True)
class _Run:
    """A file that this process holds, as it was when opened; `damage` is the line that tells of any that was met."""

    connection: duckdb.DuckDBPyConnection
    inode: tuple[int, int] | None
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
    def get_connection(self) -> Iterator[duckdb.DuckDBPyConnection]:
        """A connection that is closed whatever happens; within a run, one more to the file that the run has open.

        Raises:
            MachineError: the file stays busy, cannot be opened or written, is damaged or of another version, the disk
                or the memory is full.
        """
        run = _HELD.get(self._lock)
        if run and run.damage:
            raise MachineError(run.damage)
        connection = run.connection.cursor() if run else self._current(self._open(self.wait_seconds))
        try:
            with self._told(), interrupts_as_they_are(connection):
                yield connection
        except _DamagedError as damage:
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
            run = _HELD[self._lock] = _Run(connection, self._inode())
            try:
                yield
                if self._inode() != run.inode:
                    raise MachineError(f"warehouse {self.database} was moved or deleted while the run had it open")
                if not (read_only or run.damage):
                    # Closing does it too, yet says nothing where the disk is full or the file damaged.
                    with self.get_connection() as last:
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
                with closing(self._current(self._open(self.wait_seconds))) as connection, self._told():
                    [(name,)] = connection.execute("SELECT current_database()").fetchall()
                    connection.execute(f"ATTACH {literal(str(anew))} AS anew")
                    connection.execute(f"COPY FROM DATABASE {quoted(name)} TO anew")
                    connection.execute("DETACH anew")
                os.replace(anew, self._file)
                _sync_folder(self._file.parent)
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
        self._copy.unlink(missing_ok=True)  # of a run that was killed
        self._drop_left()
        deadline = time.monotonic() + self.wait_seconds
        while True:
            try:
                return self._migrated(self._open(min(GRACE_SECONDS, self.wait_seconds)), warned)
            except _BusyError as busy:
                if self._left_to_readers():
                    warned(
                        f"warehouse {self.database}: {busy.holder} has it open to read, and keeps the file as it is"
                        " now; the run goes on with a copy in its place"
                    )
                elif left := self._left_to_writer():
                    warned(
                        f"warehouse {self.database}: {busy.holder} has it open to write, and keeps it as {left}; the"
                        " run goes on with a copy in its place"
                    )
                elif time.monotonic() >= deadline:
                    raise MachineError(f"{busy} and writes to it; opened read-only it is never in the way") from None
            except _DamagedError as damage:
                aside = self._set_aside()
                warned(f"{damage}; it is set aside as {aside}; this run rebuilds from the source, and {REBUILD}")

    @property
    def _copy(self) -> Path:
        return self._place.with_name(self._place.name + ".copy")

    def _left_to_readers(self) -> bool:
        """Puts a copy in the place of a file that others have open, if they only read; they keep what they have."""
        try:
            reader = self._connect(read_only=True)
        except _BusyError:
            return False
        # The reader keeps writers away until a handle of the file is closed, so the copy is whole. A log beside the
        # file is right for the copy as well, which is the same to the byte: the move is the only step, done or not.
        with reader, self._copying():
            self._copy_to(self._copy)
            os.replace(self._copy, self._file)
            _sync_folder(self._file.parent)
        return True

    def _left_to_writer(self) -> Path | None:
        """Leaves the file to a process that may write; its new name, None where the process writes just now.

        Such a process finds its write-ahead log by the path it opened, and DuckDB opens the file that a link leads to.
        So the copy gets a name and a log of its own, and the old name becomes a link to it.
        """
        before, place = self._written(), self._place
        if before is None:
            return None
        last = max((int(file.suffix[1:]) for file in self._numbered()), default=0)
        free = (place.with_name(f"{place.name}.{n}") for n in count(last + 1))
        left = self._file if place.is_symlink() else next(free)
        new = next(free)
        log, new_log = Path(f"{self._file}.wal"), Path(f"{new}.wal")
        with self._copying():
            self._copy_to(self._copy)
            if log.exists():
                shutil.copyfile(log, new_log)
            if self._written() != before:
                self._copy.unlink()
                new_log.unlink(missing_ok=True)
                return None
            os.replace(self._copy, new)
            if left != self._file:
                os.link(self._file, left)
            self._copy.symlink_to(new.name)
            os.replace(self._copy, place)
            # Later than its last change, by which _drop_left knows whether there was one since.
            left.chmod(left.stat().st_mode)
            _sync_folder(place.parent)
        return left

    def _drop_left(self) -> None:
        """Deletes what was left to a writer once nobody has it open, if nothing was written to it since."""
        for left in self._numbered():
            if left == self._file or any(Path(f"{of}.wal").exists() for of in (left, self._place)):
                continue
            with left.open("r+b") as file, suppress(BlockingIOError):
                fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                status = os.fstat(file.fileno())
                # The second name of a file that no link has taken the place of is of a run that was killed.
                if status.st_mtime_ns < status.st_ctime_ns or left.samefile(self._file):
                    left.unlink()

    @property
    def _place(self) -> Path:
        """Where the file is, or the link in its place."""
        place = self._file.with_name(NUMBER.sub("", self._file.name))
        return place if place.is_symlink() else self._file

    def _numbered(self) -> list[Path]:
        """The files that a link is or was about."""
        place = self._place
        return [file for file in place.parent.iterdir() if NUMBER.sub("", file.name) == place.name != file.name]

    def _written(self) -> list[tuple[int, int]] | None:
        """Size and last change of the file and its log; None where one of them changed just now."""
        there = [file.stat() for file in (self._file, Path(f"{self._file}.wal")) if file.exists()]
        if any(time.time_ns() - status.st_mtime_ns < QUIET_SECONDS * 1e9 for status in there):
            return None
        return [(status.st_size, status.st_mtime_ns) for status in there]

    def _copy_to(self, target: Path) -> None:
        with self._file.open("rb") as old, target.open("wb") as new:
            shutil.copyfileobj(old, new, COPY_BYTES)
            new.flush()
            os.fsync(new.fileno())
        shutil.copymode(self._file, target)

    @contextmanager
    def _copying(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            self._copy.unlink(missing_ok=True)
            raise MachineError(
                f"warehouse {self.database}: a process has it open, and it cannot be copied: {error.strerror}"
            ) from None

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
            except _BusyError:
                if time.monotonic() >= deadline:
                    raise
                time.sleep(RETRY_SECONDS)

    def _connect(self, read_only: bool) -> duckdb.DuckDBPyConnection:
        self._make_folder()
        if self._file.is_file() and not self._file.stat().st_size:
            raise _DamagedError(f"warehouse {self.database} is damaged: it is empty")
        if not _is_database(Path(self.database)):
            raise MachineError(
                f"warehouse {self.database}: is no DuckDB file; name another with warehouse.path, or"
                " move it away, and seg-pipeline run builds it from the source"
            )
        try:
            with self._told():
                connection = duckdb.connect(self.database, read_only=read_only, config=dict(self.connection_config))
                # What an instant reads as must not depend on where the machine stands.
                connection.execute("SET GLOBAL TimeZone = 'UTC'")
                # Tables of order lines are written in a quarter less time, for a file some 4 % larger: what these
                # save of text, dictionaries save as well.
                connection.execute("SET GLOBAL disabled_compression_methods = 'fsst,dict_fsst,zstd'")
                return connection
        except (duckdb.InvalidInputException, duckdb.ParserException, duckdb.SyntaxException) as error:
            raise UsageError(f"warehouse: a setting that DuckDB refuses: {_first_line(error)}") from None
        except duckdb.Error as error:
            raise MachineError(f"warehouse {self.database} cannot be opened: {_first_line(error)}") from None

    @contextmanager
    def _told(self) -> Iterator[None]:
        """What the machine refuses within becomes one line; any other error is a fault of ours and passes."""
        try:
            yield
        except duckdb.Error as error:
            told = self._line_of(error)
            if told is None:
                raise
            raise told from error

    def _line_of(self, error: duckdb.Error) -> MachineError | None:
        said, line = str(error), f"warehouse {self.database}: {_first_line(error)}"
        damage = DAMAGE.search(said)
        if damage and damage["file"] in (None, str(self._file), f"{self._file}.wal"):
            return _DamagedError(f"warehouse {self.database} is damaged: {_first_line(error)}")
        if "Conflicting lock" in said:
            holder = re.search(r"\(PID (\d+)\)", said)
            return _BusyError(self.database, f"process {holder[1]}" if holder else "another process")
        if isinstance(error, duckdb.OutOfMemoryException):
            if "max_temp_directory_size" in said:
                return MachineError(
                    f"warehouse {self.database}: disk full: no room in {self._file}.tmp for what exceeds the memory"
                )
            return MachineError(f"{line}; warehouse.memory_limit gives it more")
        # A commit that cannot be written is a TransactionException, and what follows a fatal error a FatalException.
        refused = isinstance(error, duckdb.IOException | duckdb.FatalException) or "Failed to commit" in said
        return MachineError(line) if refused else None

    def _current(self, connection: duckdb.DuckDBPyConnection, *, read_only: bool = False) -> duckdb.DuckDBPyConnection:
        """The connection of whoever is no run, to a file of this version."""
        with self._told():
            version = self._version(connection)
            if version is None and not read_only:
                _mark(connection)
        if version is not None and version < VERSION:
            connection.close()
            raise MachineError(
                f"warehouse {self.database} was made by an older seg-pipeline; the next seg-pipeline run migrates it"
            )
        return connection

    def _migrated(self, connection: duckdb.DuckDBPyConnection, warned: Warned) -> duckdb.DuckDBPyConnection:
        """The connection of a run: what a file lacks to be of this version is done to it, all or nothing."""
        with self._told():
            version = self._version(connection)
            if version == VERSION:
                return connection
            with transaction(connection):
                for migration in MIGRATIONS[version - 1 :] if version else ():
                    connection.execute(migration)
                _mark(connection)
        if version:
            warned(f"warehouse {self.database} was made by an older seg-pipeline and is migrated")
        return connection

    def _version(self, connection: duckdb.DuckDBPyConnection) -> int | None:
        """The version of a file, None of one that is new; a newer one than this is refused."""

        def rows(query: str) -> list[Any]:
            # All of them: a result that is read in part keeps its transaction open, here for the whole run.
            return execute(connection, query, {"schemas": SCHEMAS_OF_VERSION_1}).fetchall()

        if not rows("FROM duckdb_views() WHERE database_name = current_database() AND view_name = 'warehouse_version'"):
            ours = rows("FROM duckdb_schemas() WHERE database_name = current_database() AND schema_name IN $schemas")
            return 1 if ours else None
        version = int(rows("SELECT version FROM main.warehouse_version")[0][0])
        if version > VERSION:
            connection.close()
            raise MachineError(
                f"warehouse {self.database} was made by a newer seg-pipeline (its version is {version}, this one knows"
                f" {VERSION}); install that one, or name another file with warehouse.path"
            )
        return version

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
            return execute(connection, text_of(query), parameters).df()

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

    def newest_night(self, table: str) -> datetime.date | None:
        """The latest night of a table by its name; None where it has none, or where there is no such table."""
        with self.get_connection() as connection:
            if table not in tables_with(connection, "as_of"):
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


def _mark(connection: duckdb.DuckDBPyConnection) -> None:
    """Writes the version into the file: a view, so that it is no table among those of the stages."""
    connection.execute(f"CREATE OR REPLACE VIEW main.warehouse_version AS SELECT {VERSION} AS version")


def _sync_folder(folder: Path) -> None:
    """Makes a renamed file outlast a loss of power."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _first_line(error: BaseException) -> str:
    """What a DuckDB error says, without its kind: `IO Error: `."""
    return re.sub(r"^(\w[\w ]* Error: )+", "", str(error).strip().splitlines()[0])
