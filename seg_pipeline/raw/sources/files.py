"""What kinds of files have in common: how their lines become raw_orders, in this process or in Spark's workers.

Order lines stay inside the database: a kind gives the query that reads its files, and DuckDB runs it.
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
from seg_pipeline.raw.columns import IDS, ORDER_COLUMNS
from seg_pipeline.raw.sources.places import path_of, place_of
from seg_pipeline.raw.sources.source import Delivery, Fingerprint, Shape
from seg_pipeline.settings import SourceSettings
from seg_pipeline.tables import Table
from seg_pipeline.warehouse import DAMAGE, Connection, Relation, literal

if TYPE_CHECKING:
    import pyarrow as pa

# How many lines a worker hands on together.
LINES_AT_ONCE = 50_000
# Lines of DuckDB's error message that say what is wrong.
DETAILS = ("Error when", "Expected", "Value with", "Maximum line size")
# Faults of the machine or of this program: another file would not help.
NOT_THE_FILES = (
    duckdb.OutOfMemoryException,
    duckdb.FatalException,
    duckdb.InternalException,
    duckdb.TransactionException,
)


class FileKind:
    """A kind of file that DuckDB reads: how its files end, what shape they have, and which query reads them."""

    endings: tuple[str, ...] = ()
    library: str | None = None

    def shape(self, name: str, source: SourceSettings) -> Shape:
        raise NotImplementedError

    def query(self, delivery: Delivery) -> str:
        """Returns a query of the lines of `$files`: the columns of raw_orders as text, source_file and source_row.

        In one thread it gives the rows of one file in the file's order.
        """
        raise NotImplementedError

    def parameters(self, delivery: Delivery, names: Iterable[str]) -> dict[str, object]:
        """Returns what the query binds to read the files of these names."""
        return files_parameter(names)

    def readable(self, delivery: Delivery) -> AbstractContextManager[Mapping[str, str]]:
        """Maps, while it is open, each path that DuckDB reads to the delivered file it came from."""
        return nullcontext({file: file for file in delivery.files})

    def parts(self, connection: Connection, delivery: Delivery) -> "list[Part]":
        """Returns the parts of a delivery that Spark's workers read side by side."""
        return [self.part(delivery, file) for file in delivery.files]

    def part(self, delivery: Delivery, file: str, where: str = "") -> "Part":
        """Returns a file of a delivery as a part, or the lines of it for which a condition on the query holds."""
        return Part(self, replace(delivery, files=(file,)), place_of(file).start_of(file), where)

    def append(
        self,
        connection: Connection,
        delivery: Delivery,
        read: Mapping[str, str],
        into: Table | Relation,
        limit: int | None,
    ) -> None:
        """Appends the lines of a delivery, whose files are read by the names in `read`, to a table."""
        lines = self.query(delivery) + first_rows(limit)
        connection.insert(into, lines, self.parameters(delivery, read))

    def refuse_unread(self, delivery: Delivery, file: str) -> None:
        """Raises DataError if a file that gave no line has some all the same."""

    def message(self, file: str, error: duckdb.Error) -> str:
        """Returns what DuckDB says of a file, on one line that begins with the file."""
        said = str(error).splitlines()
        detail = next((line.strip() for line in said if line.strip().startswith(DETAILS)), "")
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
            return None  # reading it says why

    def load(self, connection: Connection, delivery: Delivery, into: Table | Relation, limit: int | None) -> None:
        for file in delivery.files:
            place_of(file).prepare(connection.duckdb)
        if connection.try_parallel_append(into, partial(self.parts, connection, delivery), read_lines):
            return
        with self.readable(delivery) as read, self.refused(read):
            self.append(connection, delivery, read, into, limit)

    @contextmanager
    def refused(self, read: Mapping[str, str]) -> Iterator[None]:
        """Turns what DuckDB says of a file into one line that names the file.

        Args:
            read: Maps each path that DuckDB reads to the delivered file.
        """
        try:
            yield
        except duckdb.Error as error:
            damage = DAMAGE.search(str(error))
            is_of_warehouse = damage and damage["file"] not in read
            if isinstance(error, NOT_THE_FILES) or is_of_warehouse or "No space left" in str(error):
                raise
            named = next((file for name, file in read.items() if name in str(error)), next(iter(read.values())))
            raise DataError(self.message(named, error)) from None


@dataclass(frozen=True, slots=True)
class Part:
    """What one worker reads of a delivery at once.

    Attributes:
        kind: Reads it.
        delivery: Of one file.
        start: The folder that the file's name is relative to; None if the name leads there from anywhere.
        where: The condition, in SQL, for the lines that are read; empty for all.
    """

    kind: FileKind
    delivery: Delivery
    start: str | None
    where: str


def read_lines(part: Part) -> "Iterator[pa.RecordBatch]":
    """Yields the lines of a part as `load` would append them, some at a time. Spark's workers call it.

    Raises:
        DataError: The file cannot be read; the line names it and the row.
    """
    kind, delivery = part.kind, part.delivery
    [file] = delivery.files
    lines = kind.query(delivery) + (f" WHERE {part.where}" if part.where else "")
    values = ", ".join(f"CAST({column} AS VARCHAR) AS {column}" for column in ORDER_COLUMNS)
    with (
        # Lines name their file as the run does, and a worker starts in another folder.
        chdir(part.start) if part.start else nullcontext(),
        kind.readable(delivery) as read,
        kind.refused(read),
        duckdb.connect(config={"threads": 1}) as connection,
    ):
        place_of(file).prepare(connection)
        found = connection.execute(
            f"SELECT {values}, $delivered AS source_file, source_row FROM ({lines})",
            {"delivered": file, **kind.parameters(delivery, read)},
        ).to_arrow_reader(LINES_AT_ONCE)
        is_empty = True
        for batch in found:
            is_empty = False
            yield batch
        if is_empty:
            kind.refuse_unread(delivery, file)


def values_of(delivery: Delivery, value_of: Callable[[str], str]) -> str:
    """Returns the columns of raw_orders as SQL expressions; NULL for a column that the files do not have.

    Args:
        delivery: Says which column of the files is which.
        value_of: Gives the expression for a column of the files.
    """

    def value(column: str) -> str:
        if column not in delivery.columns:
            return "NULL"
        name = value_of(delivery.columns[column])
        if column not in IDS:
            return name
        # An id with a NUL byte in it looks like the one without, and is another.
        return f"CASE WHEN contains({name}, chr(0)) THEN error({literal(f'a NUL byte in {column}')}) ELSE {name} END"

    return ", ".join(f"{value(column)} AS {column}" for column in ORDER_COLUMNS)


def files_parameter(names: Iterable[str]) -> dict[str, object]:
    """Returns the parameter `files` for file names. In a pattern of DuckDB's, [, * and ? then mean themselves."""
    return {"files": [glob.escape(name) for name in names]}


def first_rows(limit: int | None) -> str:
    """Returns the end of a query that takes the first rows only; nothing if there is no limit."""
    return f" LIMIT {int(limit)}" if limit else ""


def message_of(error: duckdb.Error) -> str:
    """Returns the first line of DuckDB's error message, without the kind of error before it."""
    first = "".join(letter for letter in str(error).strip().split("\n", 1)[0] if letter.isprintable())
    return re.sub(r"^(\w[\w ]* Error: )+", "", first).rstrip(": ")
