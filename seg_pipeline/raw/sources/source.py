"""The protocol that each kind of source follows, and the records that pass between a kind and the ledger.

A kind is one file of this folder and one line of the registry. Code outside this folder never asks for the kind.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

from seg_pipeline.errors import SegPipelineError
from seg_pipeline.settings import SourceSettings
from seg_pipeline.tables import Table
from seg_pipeline.warehouse import Connection, Relation


@dataclass(frozen=True, slots=True)
class Fingerprint:
    """Size and time of change of a file; if both are the same as before, the content is not read again."""

    bytes: int
    modified_ns: int


@dataclass(frozen=True, slots=True)
class Shape:
    """The properties that files must share to be loaded together. A kind adds the properties that it needs.

    Attributes:
        header: The columns in their order.
        types: The type of each column as DuckDB names it; empty if every value is text.
    """

    header: tuple[str, ...]
    types: tuple[str, ...] = ()

    @property
    def detected(self) -> Mapping[str, str]:
        """The settings of `source` that were detected in the file, with their values."""
        return {}


@dataclass(frozen=True, slots=True)
class Pull:
    """The result of loading the new rows of a table.

    Attributes:
        lines: The number of rows that were loaded.
        last_cursor: Where the next load continues; unchanged if there were no new rows.
        waiting: The number of rows left to a later load: those with the newest value, and those newer than the start
            of this load.
        behind: The number of rows up to `after` that exist now; if more than were loaded, some came behind the cursor.
    """

    lines: int
    last_cursor: str | None
    waiting: int = 0
    behind: int = 0


@dataclass(frozen=True, slots=True)
class Delivery:
    """Files of one shape, or the new rows of a table, which are loaded together.

    Attributes:
        kind: The kind of source, which loads it.
        files: The names of the files, as they appear in source_file.
        shape: The shape of the files.
        columns: Column of raw_orders -> column of the files.
        after: Where the last load ended; None if there was none, and for files.
    """

    kind: "SourceKind"
    files: tuple[str, ...]
    shape: Shape
    columns: dict[str, str]
    after: str | None = None

    @property
    def header(self) -> tuple[str, ...]:
        return self.shape.header

    def load(self, connection: Connection, into: Table | Relation, *, limit: int | None = None) -> Pull | None:
        """Appends the lines to a table; see `SourceKind.load`."""
        return self.kind.load(connection, self, into, limit)


@dataclass(frozen=True, slots=True)
class Discovery:
    """The deliveries among some files, and the error of each file that cannot be read."""

    deliveries: list[Delivery]
    refused: dict[str, SegPipelineError]


class SourceKind(Protocol):
    """A kind of source.

    Some kinds read the files that source.path names: a file is recognised by its content, and is loaded again as a
    whole if that changes. Others read a table that grows (source.table): each load continues where the last one ended.
    """

    @property
    def endings(self) -> tuple[str, ...]:
        """The endings of the names of its files, in lower case; empty for a kind of table."""

    @property
    def extra(self) -> str | None:
        """The extra of this package that reading needs, such as `postgres`; None if it needs none."""

    def matches(self, name: str) -> bool:
        """Returns whether a file or table of this name is of this kind; the first match in the registry is used."""

    def tables(self, source: SourceSettings) -> list[str]:
        """Returns the names of the tables in the settings, as `matches` recognises them; none for a kind of file."""

    def shape(self, name: str, source: SourceSettings) -> Shape:
        """Returns the header of a file or table, and how to read it.

        Raises:
            SegPipelineError: It cannot be read with these settings.
        """

    def fingerprint(self, name: str) -> Fingerprint | None:
        """Returns the fingerprint of a file; None for a table, whose new rows only a load can find."""

    def content_hash(self, name: str) -> str | None:
        """Returns a digest of the content of a file; None if it cannot be read, and for a table."""

    def load(
        self, connection: Connection, delivery: Delivery, into: Table | Relation, limit: int | None
    ) -> Pull | None:
        """Appends the lines of a delivery to a table, as text, with the file and the row that each line came from.

        Args:
            connection: The connection to the warehouse.
            delivery: A delivery of this kind.
            into: A table with the columns of raw_orders. source_row counts the lines of each file from 1.
            limit: The number of lines to load, from the first; None for all.

        Returns:
            The result of the pull for a table; None for files.

        Raises:
            DataError: A file or row cannot be read; the error line names it.
            MachineError: The source cannot be reached, or the disk is full.
        """
