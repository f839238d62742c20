"""The ledger of all deliveries, raw.deliveries, as records."""

from collections.abc import Iterable
from dataclasses import asdict, dataclass, fields, replace

from seg_pipeline.raw.tables import DELIVERIES
from seg_pipeline.warehouse import Connection


@dataclass(frozen=True, slots=True)
class Entry:
    """A row of raw.deliveries; tables.py describes the columns."""

    source_file: str
    status: str
    reason: str | None = None
    lines: int = 0
    pulled_rows: int | None = None
    columns: str | None = None
    unused: str | None = None
    content_hash: str | None = None
    read_with: str | None = None
    seen_hash: str | None = None
    seen_bytes: int | None = None
    seen_modified_ns: int | None = None

    @property
    def is_loaded(self) -> bool:
        return self.status in ("loaded", "kept")

    @property
    def last_content(self) -> str | None:
        """The hash of the last content of the file that counts, which may be loaded under another name."""
        # Older versions recorded no content_hash for repeated files.
        return self.content_hash or (self.seen_hash if self.status == "repeated" else None)


def read_ledger(connection: Connection) -> list[Entry]:
    """Returns the rows of raw.deliveries."""
    names = ", ".join(f'"{field.name}"' for field in fields(Entry))
    return [
        Entry(*row)
        for row in connection.execute(f"SELECT {names} FROM {DELIVERIES.name} ORDER BY source_file").fetchall()
    ]


def write_ledger(connection: Connection, entries: Iterable[Entry]) -> None:
    """Replaces all rows of raw.deliveries."""
    connection.execute(f"DELETE FROM {DELIVERIES.name}")
    connection.insert_rows(DELIVERIES, map(asdict, sorted(entries, key=lambda entry: entry.source_file)))


def without_lines(entry: Entry) -> Entry:
    """Returns an entry without the fields that describe loaded lines."""
    return replace(entry, lines=0, columns=None, unused=None)


def retraction_of(entry: Entry) -> Entry:
    """Returns the entry of a delivery whose content is retracted."""
    return replace(entry, status="retracted", reason="retracted by hand", lines=0)


def prefix_of_pulls(table: str) -> str:
    """Returns the prefix of the names of a table's deliveries, which a number follows."""
    return f"{table}#"
