"""What DuckDB says when the machine fails it, turned into one line that says what to do."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import duckdb

from seg_pipeline.errors import MachineError

# Only what says so for certain: a file that is whole must never be set aside.
DAMAGE = re.compile(r'Corrupt (database|WAL) file|Could not read enough bytes from file "(?P<file>[^"]*)"')


class BusyError(MachineError):
    """Another process has the file open."""

    def __init__(self, database: str, holder: str) -> None:
        super().__init__(f"warehouse {database} is busy: {holder} has it open")
        self.holder = holder


class DamagedError(MachineError):
    """What is in the file is not what was written to it."""


@contextmanager
def as_machine_errors(database: str, file: Path) -> Iterator[None]:
    """Turns disk, memory and lock errors into a one-line MachineError; anything else is a bug and propagates.

    Args:
        database: The warehouse, as the error names it.
        file: The file as DuckDB names it.
    """
    try:
        yield
    except duckdb.Error as error:
        known = _machine_error(error, database, file)
        if known is None:
            raise
        raise known from error


def first_line(error: BaseException) -> str:
    """Returns what a DuckDB error says, without its kind: `IO Error: `."""
    return re.sub(r"^(\w[\w ]* Error: )+", "", str(error).strip().splitlines()[0])


def _machine_error(error: duckdb.Error, database: str, file: Path) -> MachineError | None:
    text, line = str(error), f"warehouse {database}: {first_line(error)}"
    damage = DAMAGE.search(text)
    if damage and damage["file"] in (None, str(file), f"{file}.wal"):
        return DamagedError(f"warehouse {database} is damaged: {first_line(error)}")
    if "Conflicting lock" in text:
        holder = re.search(r"\(PID (\d+)\)", text)
        return BusyError(database, f"process {holder[1]}" if holder else "another process")
    if isinstance(error, duckdb.OutOfMemoryException):
        if "max_temp_directory_size" in text:
            return MachineError(f"warehouse {database}: disk full: no room in {file}.tmp for what exceeds the memory")
        return MachineError(f"{line}; warehouse.memory_limit gives it more")
    # A commit that cannot be written is a TransactionException, and what follows a fatal error a FatalException.
    refused = isinstance(error, duckdb.IOException | duckdb.FatalException) or "Failed to commit" in text
    return MachineError(line) if refused else None
