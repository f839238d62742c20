"""The common part of all kinds of files: loads their lines into raw_orders, in this process or in Spark's workers.

Order lines stay inside the database: a kind returns the query that reads its files, and DuckDB runs it.
"""

import glob
import hashlib
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, chdir, contextmanager, nullcontext
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING

import duckdb

from seg_pipeline.errors import DataError
from seg_pipeline.raw.columns import ID_COLUMNS, ORDER_COLUMNS
from seg_pipeline.raw.sources.places import path_of, place_of
from seg_pipeline.raw.sources.source import Delivery, Fingerprint, Shape
from seg_pipeline.settings import SourceSettings
from seg_pipeline.tables import Table
from seg_pipeline.warehouse import DAMAGE, Connection, Relation, literal

if TYPE_CHECKING:
    import pyarrow as pa

# How many lines a worker passes on in one batch.
LINES_PER_BATCH = 50_000
# The lines of DuckDB's error message that explain the error begin with these words.
DETAILS = ("Error when", "Expected", "Value with", "Maximum line size")
# Errors of the machine or of this program, which no other file would avoid.
NOT_ABOUT_FILES = (
    duckdb.OutOfMemoryException,
    duckdb.FatalException,
    duckdb.InternalException,
    duckdb.TransactionException,
)


class FileKind:
    """A kind of file that DuckDB reads: the endings of its files, their shape, and the query that reads them."""

    endings: tuple[str, ...] = ()
    extra: str | None = None

    def shape(self, name: str, source: SourceSettings) -> Shape:
        raise NotImplementedError

    def query(self, delivery: Delivery) -> str:
        """Returns a query of the lines of `$files`: the columns of raw_orders as text, source_file and source_row.

        With one thread, the query must return the lines of a file in their order.
        """
        raise NotImplementedError

    def parameters(self, delivery: Delivery, names: Iterable[str]) -> dict[str, object]:
        """Returns the parameters with which the query reads the files of these names."""
        return files_parameter(names)

    def readable_paths(
        self, delivery: Delivery, copies: str | None = None
    ) -> AbstractContextManager[Mapping[str, str]]:
        """Yields the paths that DuckDB reads, each mapped to the delivered file it came from.

        Args:
            delivery: The files.
            copies: The beginning of the path of folders with copies; None for the system's temporary folder.

        Raises:
            DataError: A file cannot be read.
            MachineError: A copy cannot be written.
        """
        return nullcontext({file: file for file in delivery.files})

    def parts(self, connection: Connection, delivery: Delivery) -> "list[Part]":
        """Returns the parts of a delivery that Spark's workers read in parallel."""
        return [self.part(delivery, file, copies=connection.copies) for file in delivery.files]

    def part(self, delivery: Delivery, file: str, where: str = "", copies: str | None = None) -> "Part":
        """Returns a file of a delivery as a part, or only its lines that fulfil a condition."""
        return Part(self, replace(delivery, files=(file,)), place_of(file).base_folder(file), where, copies)

    def append(
        self,
        connection: Connection,
        delivery: Delivery,
        paths: Mapping[str, str],
        into: Table | Relation,
        limit: int | None,
    ) -> None:
        """Appends the lines of a delivery to a table; `paths` comes from `readable_paths`."""
        lines = self.query(delivery) + first_rows(limit)
        connection.insert(into, lines, self.parameters(delivery, paths))

    def refuse_lost_lines(self, delivery: Delivery, paths: Mapping[str, str]) -> None:
        """Raises DataError if DuckDB would read a file without one of its lines and without an error.

        Args:
            delivery: The files.
            paths: As from `readable_paths`.
        """

    def refuse_unread(self, delivery: Delivery, file: str) -> None:
        """Raises DataError if a file from which no line was read has lines."""

    def message(self, file: str, error: duckdb.Error) -> str:
        """Returns DuckDB's error about a file as one line that begins with the file."""
        lines = (line.strip() for line in str(error).splitlines())
        detail = next((line for line in lines if line.startswith(DETAILS)), "")
        return " ".join(f"{file}: {message_of(error)} {detail}".split())

    def matches(self, name: str) -> bool:
        return name.lower().endswith(self.endings)

    def tables(self, source: SourceSettings) -> list[str]:
        return []

    def fingerprint(self, name: str) -> Fingerprint:
        status = path_of(name).stat()
        return Fingerprint(status.st_size, status.st_mtime_ns)

    def content_hash(self, name: str) -> str | None:
        try:
            with path_of(name).open("rb") as content:
                return hashlib.file_digest(content, "sha256").hexdigest()
        except OSError:
            return None  # loading the file reports the error

    def load(self, connection: Connection, delivery: Delivery, into: Table | Relation, limit: int | None) -> None:
        for file in delivery.files:
            place_of(file).register_with(connection.duckdb)
        if connection.try_parallel_append(into, partial(self.parts, connection, delivery), read_lines):
            return
        with self.readable_paths(delivery, connection.copies) as paths, self.translate_errors(paths):
            if not limit:
                self.refuse_lost_lines(delivery, paths)
            self.append(connection, delivery, paths, into, limit)

    @contextmanager
    def translate_errors(self, paths: Mapping[str, str]) -> Iterator[None]:
        """Turns DuckDB's errors about a file into a DataError of one line that names the file.

        Args:
            paths: Each path that DuckDB reads, mapped to the delivered file.
        """
        try:
            yield
        except duckdb.Error as error:
            damage = DAMAGE.search(str(error))
            is_of_warehouse = damage and damage["file"] not in paths
            if isinstance(error, NOT_ABOUT_FILES) or is_of_warehouse or "No space left" in str(error):
                raise
            file = next((file for path, file in paths.items() if path in str(error)), next(iter(paths.values())))
            raise DataError(self.message(file, error)) from None


@dataclass(frozen=True, slots=True)
class Part:
    """The part of a delivery that one worker reads.

    Attributes:
        kind: The kind of file.
        delivery: A delivery of one file.
        base_folder: The folder that the name of the file is relative to; None if the name is absolute.
        where: An SQL condition for the lines to read; empty for all lines.
        copies: The beginning of the path of folders with copies, as in `readable_paths`.
    """

    kind: FileKind
    delivery: Delivery
    base_folder: str | None
    where: str
    copies: str | None


def read_lines(part: Part) -> "Iterator[pa.RecordBatch]":
    """Yields the lines of a part in batches, as `load` would append them. Spark's workers call it.

    Raises:
        DataError: The file cannot be read; the error line names the file and the row.
    """
    kind, delivery = part.kind, part.delivery
    [file] = delivery.files
    lines = kind.query(delivery) + (f" WHERE {part.where}" if part.where else "")
    values = ", ".join(f"CAST({column} AS VARCHAR) AS {column}" for column in ORDER_COLUMNS)
    with (
        # source_file must name the file as the run does, but a worker starts in another folder.
        chdir(part.base_folder) if part.base_folder else nullcontext(),
        kind.readable_paths(delivery, part.copies) as paths,
        kind.translate_errors(paths),
        duckdb.connect(config={"threads": 1}) as connection,
    ):
        kind.refuse_lost_lines(delivery, paths)
        place_of(file).register_with(connection)
        batches = connection.sql(
            f"SELECT {values}, $delivered AS source_file, source_row FROM ({lines})",
            params={"delivered": file, **kind.parameters(delivery, paths)},
        ).to_arrow_reader(LINES_PER_BATCH)
        is_empty = True
        for batch in batches:
            is_empty = False
            yield batch
        if is_empty:
            kind.refuse_unread(delivery, file)


def values_of(delivery: Delivery, value_of: Callable[[str], str]) -> str:
    """Returns the columns of raw_orders as SQL expressions; NULL for a column that the files do not have.

    Args:
        delivery: The delivery, which maps columns of raw_orders to columns of the files.
        value_of: Returns the expression for a column of the files.
    """

    def value(column: str) -> str:
        if column not in delivery.columns:
            return "NULL"
        expression = value_of(delivery.columns[column])
        if column not in ID_COLUMNS:
            return expression
        # An id with a NUL byte looks like the same id without it, but is a different one.
        fault = literal(f"a NUL byte in {column}")
        return f"CASE WHEN contains({expression}, chr(0)) THEN error({fault}) ELSE {expression} END"

    return ", ".join(f"{value(column)} AS {column}" for column in ORDER_COLUMNS)


def files_parameter(names: Iterable[str]) -> dict[str, object]:
    """Returns the parameter `files` for file names, escaped so that DuckDB does not take [, * and ? as a pattern."""
    return {"files": [glob.escape(name) for name in names]}


def first_rows(limit: int | None) -> str:
    """Returns a LIMIT clause; empty if there is no limit."""
    return f" LIMIT {int(limit)}" if limit else ""


def message_of(error: duckdb.Error) -> str:
    """Returns the first line of DuckDB's error message, without the kind of error before it."""
    first = "".join(letter for letter in str(error).strip().split("\n", 1)[0] if letter.isprintable())
    return re.sub(r"^(\w[\w ]* Error: )+", "", first).rstrip(": ")
