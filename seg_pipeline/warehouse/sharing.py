"""Replaces a DuckDB file with a copy while other processes have it open; they keep the old file."""

import fcntl
import json
import os
import re
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from pathlib import Path

from seg_pipeline.errors import MachineError
from seg_pipeline.warehouse.connection import COPIES
from seg_pipeline.warehouse.duckdb_errors import BusyError

# A process that has not written for this long is assumed to stay idle during the copying. Afterwards this is checked.
QUIET_SECONDS = 1.0
COPY_CHUNK_BYTES = 1 << 24
# The suffix of numbered copies, such as `warehouse.duckdb.2`, one of which the warehouse path links to.
NUMBER_SUFFIX = r"\.[0-9]+"

# The suffixes of what runs leave beside the file, besides numbered copies.
REMAINS = r"\.damaged(-[0-9]+)?(\.wal)?|\.rewritten(\.wal)?|\.cop(y|ies-.*)|\.tmp"

# The size in bytes and the time of change in nanoseconds of a database and, if it has one, of its write-ahead log.
State = tuple[tuple[int, int], ...]


class SharedFile:
    """A DuckDB file that other processes may have open.

    Only the run that holds the warehouse's lock may call the methods, and only while it does not have the file open.

    Attributes:
        database: The warehouse, as error messages name it.
        file: The absolute path of the file with links resolved, as DuckDB names it.
        path: The path of the warehouse: the file, or the link to it if the file is a numbered copy.
    """

    def __init__(self, database: str, file: Path) -> None:
        self.database = database
        self.file = file
        link = file.with_name(re.sub(f"{NUMBER_SUFFIX}$", "", file.name))
        self.path = link if link.is_symlink() and Path(os.path.realpath(link)) == file else file
        # Holds an unfinished copy, then the link to it, before either moves to its own path.
        self._temporary = self.path.with_name(f"{self.path.name}.copy")

    def delete_leftovers(self) -> None:
        """Deletes what killed runs left behind, and numbered files that nobody has open or has written to.

        Raises:
            MachineError: A file cannot be deleted.
        """
        with self._translate_errors("files that earlier runs left behind cannot be deleted"):
            self._temporary.unlink(missing_ok=True)
            for copies in self._files_with_suffix(rf"({NUMBER_SUFFIX})?{re.escape(COPIES)}.*"):
                shutil.rmtree(copies)
            for companion in self._files_with_suffix(rf"{NUMBER_SUFFIX}\.(wal|handover)"):
                database = companion.with_suffix("")
                if database != self.file and not database.exists():
                    companion.unlink()
            # The first file that was left to a writer keeps its log here; only its writer can finish it.
            if wal_of(self.path).exists():
                return
            for database in self._files_with_suffix(NUMBER_SUFFIX):
                if database != self.file:
                    self._delete_if_redundant(database)

    def delete_remains(self) -> list[str]:
        """Deletes all that is beside the current file and could hold its rows, and returns the paths.

        Raises:
            OSError: A file cannot be deleted.
        """
        # A numbered file that no run handed over may be somebody's backup.
        handed_over = {record.with_suffix("") for record in self._files_with_suffix(rf"{NUMBER_SUFFIX}\.handover")}
        numbered = {path for database in handed_over for path in (database, wal_of(database), _handover_path(database))}
        current = {self.file, wal_of(self.file), _handover_path(self.file)}
        remains = [path for path in {*self._files_with_suffix(REMAINS), *numbered} - current if path.exists()]
        for path in remains:
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path)
            else:
                path.unlink()
        return sorted(map(str, remains))

    def replace_with_copy(self, open_to_read: Callable[[], AbstractContextManager[object]]) -> bool:
        """Replaces the file with a copy if the processes that have it open only read it; they keep the old file.

        Args:
            open_to_read: Opens the file read-only; raises BusyError if a process has it open to write.

        Returns:
            Whether the file was replaced.

        Raises:
            MachineError: The file cannot be replaced with a copy.
        """
        try:
            reader = open_to_read()
        except BusyError:
            return False
        # The open reader keeps writers out until a handle of the file is closed, so the copy is complete. It is
        # identical to the file, so a log beside the file fits the copy too, and one move suffices.
        with reader, self._translate_errors("a process has it open, and it cannot be replaced with a copy"):
            with _deleted_on_error(self._temporary):
                _copy_file(self.file, self._temporary)
            os.replace(self._temporary, self.file)
            sync_to_disk(self.file.parent)
        return True

    def fork_from_writer(self) -> Path | None:
        """Leaves the file to a process that may write to it, and makes the warehouse path a link to a copy.

        The writer looks for its log at the path it opened. DuckDB resolves symlinks, so the copy needs its own file
        name and log.

        Returns:
            The path at which the old file stays; None if the process is writing, and nothing was changed.

        Raises:
            MachineError: The file cannot be replaced with a copy.
        """
        state = _state_of(self.file, wal_of(self.file))
        # A time well in the future says that the clock was set back since, and not when that was.
        if any(abs(time.time_ns() - modified_ns) < QUIET_SECONDS * 1e9 for _, modified_ns in state):
            return None
        old, new = self._next_numbered_paths()
        with self._translate_errors("a process has it open, and it cannot be replaced with a copy"):
            if not self._copy_database_and_log(new, state):
                return None
            self._swap_in(old, new, state)
        return old

    def _next_numbered_paths(self) -> tuple[Path, Path]:
        """Returns the paths of the old file, which stays if it is numbered already, and of the new copy."""
        numbers = [int(file.suffix[1:]) for file in self._files_with_suffix(NUMBER_SUFFIX)]
        following = max(numbers, default=0) + 1
        if self.path.is_symlink():
            return self.file, self._numbered(following)
        return self._numbered(following), self._numbered(following + 1)

    def _copy_database_and_log(self, new: Path, state: State) -> bool:
        """Copies the file to a temporary path and its log to that of the new database.

        If the process is killed, both copies stay; `delete_leftovers` deletes them, as neither has a database.

        Args:
            new: The path that the copy will have.
            state: The state of the file and its log before the copying.

        Returns:
            Whether they are still in that state; if not, or after an error, the copies are deleted.
        """
        new_log = wal_of(new)
        with _deleted_on_error(self._temporary, new_log):
            # DuckDB would replay a log that is already there into the copy.
            new_log.unlink(missing_ok=True)
            _copy_file(self.file, self._temporary)
            # The writer deletes its log at a checkpoint. The comparison of states detects that.
            with suppress(FileNotFoundError):
                _copy_file(wal_of(self.file), new_log)
            if _state_of(self.file, wal_of(self.file)) == state:
                return True
        _delete(self._temporary, new_log)
        return False

    def _swap_in(self, old: Path, new: Path, state: State) -> None:
        """Gives the copy its path, the old file a numbered path, and makes the warehouse path a link to the copy.

        Until the link takes its place, the warehouse path leads to the old file. If the process is killed before that,
        the numbered files hold nothing that the old file does not, and `delete_leftovers` deletes them.
        """
        _record_handover(new, _state_of(self._temporary, wal_of(new)))
        os.replace(self._temporary, new)
        if old != self.file:
            os.link(self.file, old)
        _record_handover(old, state)
        self._temporary.symlink_to(new.name)
        os.replace(self._temporary, self.path)
        sync_to_disk(self.path.parent)
        _handover_path(new).unlink()

    def _delete_if_redundant(self, database: Path) -> None:
        """Deletes a numbered database with its log if no process has it open and it holds nothing of its own.

        This is so if it is another name of the current file, or still in the state in which it was handed over. A file
        without a record of that state is kept.
        """
        with database.open("r+b") as opened, suppress(BlockingIOError):
            fcntl.lockf(opened, fcntl.LOCK_EX | fcntl.LOCK_NB)
            is_current_file = self.file.exists() and database.samefile(self.file)
            if is_current_file or _handover_of(database) == _state_of(database, wal_of(database)):
                # In this order, because a log or a record without a database is deleted by the next run.
                _delete(database, wal_of(database), _handover_path(database))

    def _numbered(self, number: int) -> Path:
        return self.path.with_name(f"{self.path.name}.{number}")

    def _files_with_suffix(self, suffix: str) -> list[Path]:
        """Returns the files beside the warehouse path that have its name with a suffix, a regular expression."""
        pattern = re.compile(f"{re.escape(self.path.name)}({suffix})")
        return [file for file in self.path.parent.iterdir() if pattern.fullmatch(file.name)]

    @contextmanager
    def _translate_errors(self, failure: str) -> Iterator[None]:
        """Turns errors of the file system into a MachineError of one line.

        Args:
            failure: What cannot be done, for the error message.
        """
        try:
            yield
        except OSError as error:
            raise MachineError(f"warehouse {self.database}: {failure}: {error.strerror or error}") from error


def sync_to_disk(path: Path) -> None:
    """Flushes a file, or the names in a folder, to disk, so that they survive a power failure."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def wal_of(database: Path) -> Path:
    """Returns the path of the write-ahead log of a database."""
    return Path(f"{database}.wal")


def _handover_path(database: Path) -> Path:
    """Returns the path of the record of the state in which a numbered database was handed over."""
    return Path(f"{database}.handover")


def _record_handover(database: Path, state: State) -> None:
    """Records the state in which a numbered database holds nothing that the warehouse does not."""
    _handover_path(database).write_text(json.dumps(state))


def _handover_of(database: Path) -> State | None:
    """Returns the recorded state of a numbered database; None if there is no complete record."""
    try:
        return tuple((size, modified_ns) for size, modified_ns in json.loads(_handover_path(database).read_text()))
    except (FileNotFoundError, ValueError):
        return None


def _state_of(*files: Path) -> State:
    """Returns the state of a database and its log; a file that does not exist is left out."""
    state = []
    for file in files:
        with suppress(FileNotFoundError):
            status = file.stat()
            state.append((status.st_size, status.st_mtime_ns))
    return tuple(state)


def _copy_file(source: Path, target: Path) -> None:
    """Copies the content and the mode of a file, and flushes the copy to disk."""
    with source.open("rb") as old, open(target, "wb", opener=lambda path, flags: os.open(path, flags, 0o600)) as new:
        shutil.copyfileobj(old, new, COPY_CHUNK_BYTES)
        new.flush()
        os.fsync(new.fileno())
    shutil.copymode(source, target)


def _delete(*files: Path) -> None:
    for file in files:
        file.unlink(missing_ok=True)


@contextmanager
def _deleted_on_error(*files: Path) -> Iterator[None]:
    """Deletes files if the block raises."""
    try:
        yield
    except BaseException:
        _delete(*files)
        raise
