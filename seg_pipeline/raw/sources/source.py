"""What a kind of source is: the protocol that each kind keeps, and the records that pass between a kind and the ledger.

A kind is one file of this folder and one line of the registry. Nothing outside this folder asks which kind it has.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

import duckdb

from seg_pipeline.errors import SegPipelineError
from seg_pipeline.settings import SourceSettings


@dataclass(frozen=True, slots=True)
class Fingerprint:
    """What tells cheaply whether a file may have changed."""

    bytes: int
    modified_ns: int


@dataclass(frozen=True, slots=True)
class Shape:
    """What files have in common that are loaded together. A kind adds what else it needs to read them.

    Attributes:
        header: The columns in their order.
        types: The type of each column as DuckDB names it; empty if every value is text.
    """

    header: tuple[str, ...]
    types: tuple[str, ...] = ()

    @property
    def detected(self) -> Mapping[str, str]:
        """Settings of `source` that were left to the file to decide, with what it decided."""
        return {}


@dataclass(frozen=True, slots=True)
class Pulled:
    """What was loaded from a source that continues.

    Attributes:
        lines: How many lines it was.
        last_cursor: Where the next load continues; that of the load before if there were no lines.
        waiting: Rows left to a later load: those of the newest value, and those that are newer than this load's start.
        behind: Rows up to `after` that are there now; more than were loaded means that some came behind the cursor.
    """

    lines: int
    last_cursor: str | None
    waiting: int = 0
    behind: int = 0


@dataclass(frozen=True, slots=True)
class Delivery:
    """What is loaded at once: files of one shape, or what a table got since the load before.

    Attributes:
        kind: Loads it.
        files: Their names, as source_file has them.
        shape: What they have in common.
        columns: Column of raw_orders -> column of the files.
        after: Where the load before ended; None if there was none, and for files.
    """

    kind: "SourceKind"
    files: tuple[str, ...]
    shape: Shape
    columns: dict[str, str]
    after: str | None = None

    @property
    def header(self) -> tuple[str, ...]:
        return self.shape.header

    def load(self, connection: duckdb.DuckDBPyConnection, into: str, *, limit: int | None = None) -> Pulled | None:
        """Appends its lines to a table; see `SourceKind.load`."""
        return self.kind.load(connection, self, into, limit)


@dataclass(frozen=True, slots=True)
class Found:
    """What there is to load of some files, and for each file that cannot be read the error that says why."""

    deliveries: list[Delivery]
    refused: dict[str, SegPipelineError]


class SourceKind(Protocol):
    """A kind of source.

    Some kinds read files that source.path names: such a file is known by its content, and is loaded again as a whole
    when that changes. Others read a table that grows, source.table: each load continues where the one before ended.
    """

    @property
    def endings(self) -> tuple[str, ...]:
        """How the names of its files end, in small letters; empty for a kind of table."""

    @property
    def library(self) -> str | None:
        """The library that must be imported to read it; None if DuckDB reads it alone."""

    def matches(self, name: str) -> bool:
        """Returns whether a file or table of this name is of this kind. The first match in the registry counts."""

    def tables(self, source: SourceSettings) -> list[str]:
        """Returns the names of the tables that the settings name, as `matches` knows them; none for a kind of file."""

    def shape(self, name: str, source: SourceSettings) -> Shape:
        """Returns the header of a file or table, and how to read it.

        Raises:
            SegPipelineError: It cannot be read as the settings say.
        """

    def fingerprint(self, name: str) -> Fingerprint | None:
        """Returns what changes when a file does; None for a table, of which only a load says what is new."""

    def content_hash(self, name: str) -> str | None:
        """Returns a digest by which content is recognised under any name; None for a table or if it cannot be read."""

    def load(
        self, connection: duckdb.DuckDBPyConnection, delivery: Delivery, into: str, limit: int | None
    ) -> Pulled | None:
        """Appends the lines of a delivery to a table, as text, with the file and the row that each came from.

        Args:
            connection: Of the warehouse.
            delivery: One of this kind.
            into: A table with the columns of raw_orders. source_row counts the lines of each file from 1.
            limit: Load so many lines only, the first ones.

        Returns:
            What was pulled, for a table; None for files.

        Raises:
            DataError: A file or row cannot be read; the line names it.
            MachineError: The source cannot be reached.
        """
