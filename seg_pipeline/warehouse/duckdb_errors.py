"""Turns DuckDB's errors about the disk, the memory and locks into one line that says what to do."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import duckdb

from seg_pipeline.errors import MachineError

# Only messages that are certain: an intact file must never be set aside.
DAMAGE = re.compile(r'Corrupt (database|WAL) file|Could not read enough bytes from file "(?P<file>[^"]*)"')

FULL = re.compile("No space left on device|Disk quota exceeded")
# The file in an error about writing; DuckDB may wrap it in JSON, which escapes the quotes.
WRITTEN = re.compile(r'file \\?"(?P<file>[^"\\]+)')


class BusyError(MachineError):
    """Another process has the file open."""

    def __init__(self, database: str, holder: str) -> None:
        super().__init__(f"warehouse {database} is busy: {holder} has it open")
        self.holder = holder


class DamagedError(MachineError):
    """The content of the file is not what was written to it."""


@contextmanager
def translate_errors(database: str, file: Path) -> Iterator[None]:
    """Turns disk, memory and lock errors into a one-line MachineError; anything else is a bug and propagates.

    Args:
        database: The warehouse, as the error line names it.
        file: The path of the file as DuckDB names it.
    """
    try:
        yield
    except duckdb.Error as error:
        machine_error = _machine_error(error, database, file)
        if machine_error is None:
            raise
        raise machine_error from error


def first_line(error: BaseException) -> str:
    """Returns the first line of a DuckDB error, without the kind of error before it (`IO Error: `)."""
    return re.sub(r"^(\w[\w ]* Error: )+", "", str(error).strip().splitlines()[0])


def _machine_error(error: duckdb.Error, database: str, file: Path) -> MachineError | None:
    """Returns the error that replaces a DuckDB error; None if it is not about the machine."""
    text, line = str(error), f"warehouse {database}: {first_line(error)}"
    damage = DAMAGE.search(text)
    if damage and damage["file"] in (None, str(file), f"{file}.wal"):
        return DamagedError(f"warehouse {database} is damaged: {first_line(error)}")
    if FULL.search(text):
        named = WRITTEN.search(text)
        full = Path(named["file"]) if named else file
        return MachineError(f"disk full: no room in {full.parent} for {full.name}; free some space and run again")
    if "Conflicting lock" in text:
        holder = re.search(r"\(PID (\d+)\)", text)
        return BusyError(database, f"process {holder[1]}" if holder else "another process")
    if isinstance(error, duckdb.OutOfMemoryException):
        if "max_temp_directory_size" in text:
            return MachineError(
                f"warehouse {database}: disk full: no room in {file}.tmp for data that exceeds the memory"
            )
        return MachineError(f"{line}; raise warehouse.memory_limit")
    # A failed commit raises a TransactionException; after a fatal error every statement raises a FatalException.
    is_of_machine = isinstance(error, duckdb.IOException | duckdb.FatalException) or "Failed to commit" in text
    return MachineError(line) if is_of_machine else None
