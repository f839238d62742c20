"""A DuckDB file that other processes have open: it is left to them, and a copy takes its place."""

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

# A process that has not written for so long is taken to be idle while the file is copied; that it was is checked.
QUIET_SECONDS = 1.0
COPY_BYTES = 1 << 24
# At the end of the name of a file that a link is about.
NUMBER = re.compile(r"\.[0-9]+$")


@dataclass(frozen=True, slots=True)
class SharedFile:
    """A DuckDB file that others may have open.

    Attributes:
        database: The warehouse, as errors name it.
        file: The file as DuckDB names it, whole and without links; its write-ahead log lies beside it.
    """

    database: str
    file: Path

    def clear(self) -> None:
        """Deletes what killed runs left, and files that were left to a process and are no longer open."""
        self._copy.unlink(missing_ok=True)
        for left in self._numbered():
            if left == self.file or any(Path(f"{of}.wal").exists() for of in (left, self._place)):
                continue
            with left.open("r+b") as file, suppress(BlockingIOError):
                fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                status = os.fstat(file.fileno())
                # Written to since it was left, it stays. The second name of a file that no link has taken the place of
                # is of a run that was killed.
                if status.st_mtime_ns < status.st_ctime_ns or left.samefile(self.file):
                    left.unlink()

    def leave_to_readers(self, opened: Callable[[], AbstractContextManager[object]]) -> bool:
        """Puts a copy in the place of the file if the processes that have it open only read; they keep what they have.

        Args:
            opened: Opens the file to read.

        Returns:
            Whether a copy is in its place.

        Raises:
            MachineError: The file cannot be copied.
        """
        try:
            reader = opened()
        except BusyError:
            return False
        # The reader keeps writers away until a handle of the file is closed, so the copy is whole. A log beside the
        # file is right for the copy as well, which is the same to the byte: the move is the only step, done or not.
        with reader, self._copying():
            self._copy_to(self._copy)
            os.replace(self._copy, self.file)
            sync_folder(self.file.parent)
        return True

    def leave_to_writer(self) -> Path | None:
        """Leaves the file to a process that may write.

        Such a process finds its write-ahead log by the path it opened, and DuckDB opens the file that a link leads to.
        So the copy gets a name and a log of its own, and the old name becomes a link to it.

        Returns:
            The new name of the file that was left; None if the process is writing just now.

        Raises:
            MachineError: The file cannot be copied.
        """
        before, place = self._written(), self._place
        if before is None:
            return None
        last = max((int(file.suffix[1:]) for file in self._numbered()), default=0)
        free = (place.with_name(f"{place.name}.{n}") for n in count(last + 1))
        left = self.file if place.is_symlink() else next(free)
        new = next(free)
        log, new_log = Path(f"{self.file}.wal"), Path(f"{new}.wal")
        with self._copying():
            self._copy_to(self._copy)
            if log.exists():
                shutil.copyfile(log, new_log)
            if self._written() != before:
                self._copy.unlink()
                new_log.unlink(missing_ok=True)
                return None
            os.replace(self._copy, new)
            if left != self.file:
                os.link(self.file, left)
            self._copy.symlink_to(new.name)
            os.replace(self._copy, place)
            # Later than its last change, by which `clear` knows whether there was one since.
            left.chmod(left.stat().st_mode)
            sync_folder(place.parent)
        return left

    @property
    def _place(self) -> Path:
        """Where the file is, or the link in its place."""
        place = self.file.with_name(NUMBER.sub("", self.file.name))
        return place if place.is_symlink() else self.file

    @property
    def _copy(self) -> Path:
        return self._place.with_name(self._place.name + ".copy")

    def _numbered(self) -> list[Path]:
        """Returns the files that a link is or was about."""
        place = self._place
        return [file for file in place.parent.iterdir() if NUMBER.sub("", file.name) == place.name != file.name]

    def _written(self) -> list[tuple[int, int]] | None:
        """Returns size and last change of the file and its log; None if one of them changed just now."""
        there = [file.stat() for file in (self.file, Path(f"{self.file}.wal")) if file.exists()]
        if any(time.time_ns() - status.st_mtime_ns < QUIET_SECONDS * 1e9 for status in there):
            return None
        return [(status.st_size, status.st_mtime_ns) for status in there]

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
    """Makes a renamed file outlast a loss of power."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
