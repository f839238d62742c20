"""Replaces a DuckDB file that other processes have open by a copy, and leaves the old file to them."""

import fcntl
import os
import re
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import dataclass
from itertools import count
from pathlib import Path

from seg_pipeline.errors import MachineError
from seg_pipeline.warehouse.duckdb_errors import BusyError

# A process that has not written for this long is assumed to stay idle while the file is copied; a check follows.
QUIET_SECONDS = 1.0
COPY_BYTES = 1 << 24
# Ends the name of a file that the warehouse's path links to, or did.
NUMBER = re.compile(r"\.[0-9]+$")


@dataclass(frozen=True, slots=True)
class SharedFile:
    """A DuckDB file that other processes may have open.

    Attributes:
        database: The warehouse, as error lines name it.
        file: The absolute path of the file without links, as DuckDB names it; its write-ahead log is beside it.
    """

    database: str
    file: Path

    def clear(self) -> None:
        """Deletes leftovers of killed runs, and files that were left to a process that has closed them."""
        self._copy.unlink(missing_ok=True)
        for old in self._numbered_files():
            if old == self.file or any(Path(f"{file}.wal").exists() for file in (old, self._place)):
                continue
            with old.open("r+b") as file, suppress(BlockingIOError):
                fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                status = os.fstat(file.fileno())
                # A file that was written to after it was left stays. If it is a second name of the current file, a run
                # was killed before it put a link in the file's place.
                if status.st_mtime_ns < status.st_ctime_ns or old.samefile(self.file):
                    old.unlink()

    def leave_to_readers(self, open_to_read: Callable[[], AbstractContextManager[object]]) -> bool:
        """Replaces the file by a copy if the processes that have it open only read it; they keep the old file.

        Args:
            open_to_read: Opens the file to read.

        Returns:
            Whether the file was replaced.

        Raises:
            MachineError: The file cannot be copied.
        """
        try:
            reader = open_to_read()
        except BusyError:
            return False
        # The reader locks writers out until a handle of the file is closed, so the copy is complete. It is identical to
        # the file, so a log beside the file fits the copy too, and the move is the only step that must succeed.
        with reader, self._copying():
            self._copy_to(self._copy)
            os.replace(self._copy, self.file)
            sync_folder(self.file.parent)
        return True

    def leave_to_writer(self) -> Path | None:
        """Leaves the file to a process that may write to it, and replaces it by a link to a copy.

        Such a process finds its write-ahead log by the path it opened, while DuckDB opens the file that a link points
        to. So the copy gets a name and a log of its own, and the path of the warehouse becomes a link to it.

        Returns:
            The path of the old file; None if the process is writing right now.

        Raises:
            MachineError: The file cannot be copied.
        """
        state, place = self._quiet_state(), self._place
        if state is None:
            return None
        last = max((int(file.suffix[1:]) for file in self._numbered_files()), default=0)
        free = (place.with_name(f"{place.name}.{n}") for n in count(last + 1))
        old = self.file if place.is_symlink() else next(free)
        new = next(free)
        log, new_log = Path(f"{self.file}.wal"), Path(f"{new}.wal")
        with self._copying():
            self._copy_to(self._copy)
            if log.exists():
                shutil.copyfile(log, new_log)
            if self._quiet_state() != state:
                self._copy.unlink()
                new_log.unlink(missing_ok=True)
                return None
            os.replace(self._copy, new)
            if old != self.file:
                os.link(self.file, old)
            self._copy.symlink_to(new.name)
            os.replace(self._copy, place)
            # Sets ctime past mtime, so that `clear` can see whether the file was written to after this.
            old.chmod(old.stat().st_mode)
            sync_folder(place.parent)
        return old

    @property
    def _place(self) -> Path:
        """The path of the file, or of the link that replaced it."""
        place = self.file.with_name(NUMBER.sub("", self.file.name))
        return place if place.is_symlink() else self.file

    @property
    def _copy(self) -> Path:
        return self._place.with_name(self._place.name + ".copy")

    def _numbered_files(self) -> list[Path]:
        """Returns the files that the path of the warehouse links to, or did."""
        place = self._place
        return [file for file in place.parent.iterdir() if NUMBER.sub("", file.name) == place.name != file.name]

    def _quiet_state(self) -> list[tuple[int, int]] | None:
        """Returns size and time of change of the file and its log; None if one changed within QUIET_SECONDS."""
        statuses = [file.stat() for file in (self.file, Path(f"{self.file}.wal")) if file.exists()]
        if any(time.time_ns() - status.st_mtime_ns < QUIET_SECONDS * 1e9 for status in statuses):
            return None
        return [(status.st_size, status.st_mtime_ns) for status in statuses]

    def _copy_to(self, target: Path) -> None:
        with self.file.open("rb") as old, target.open("wb") as new:
            shutil.copyfileobj(old, new, COPY_BYTES)
            new.flush()
            os.fsync(new.fileno())
        shutil.copymode(self.file, target)

    @contextmanager
    def _copying(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            self._copy.unlink(missing_ok=True)
            raise MachineError(
                f"warehouse {self.database}: a process has it open, and it cannot be copied: {error.strerror}"
            ) from None


def sync_folder(folder: Path) -> None:
    """Makes the renaming of files in a folder survive a loss of power."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
