"""Exports the tables of one night: all of them to one DuckDB database with views, and each to Parquet and CSV.

The other files are written from the database, so customer ids are hashed in one place only.
"""

import datetime
import errno
import fcntl
import hashlib
import os
import shutil
import tempfile
import threading
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

import duckdb
from pydantic import SecretStr

from seg_pipeline.errors import MachineError
from seg_pipeline.publishing.views import View
from seg_pipeline.tables import Column, Table
from seg_pipeline.warehouse import (
    Connection,
    DamagedError,
    Warehouse,
    hmac_blocks,
    hmac_sha256,
    literal,
    quoted,
    scratch,
)

DATABASE = "segments.duckdb"
# The oldest DuckDB that can read it, for the tools of others.
READABLE_FROM = "v1.0.0"
# Prefix of the copy of it that is read while a client has it locked.
COPY = ".copy-"
_ATTACHING = threading.Lock()
# DuckDB names a warehouse after its file. A file name has no slash, so no warehouse can have this name.
NIGHT = '"published/night"'
CUSTOMER = "customer_id"
# DuckDB's errors about a file that another process, or another database of this one, has open to write.
LOCKED = ("Conflicting lock", "Unique file handle conflict")
# Letters and symbols that show nothing: fillers of Hangul, and Braille without dots.
BLANKS = r"\x{115F}\x{1160}\x{3164}\x{FFA0}\x{2800}"
# A spreadsheet runs a cell that begins like this as a formula, even if it comes from an order line. Some skip blanks
# and invisible characters before it (no letter, number, punctuation or symbol), and some read full-width signs.
FORMULA = rf"^(?:[^\p{{L}}\p{{N}}\p{{P}}\p{{S}}]|[{BLANKS}])*[=+@\t\r\n\x{{FF1D}}\x{{FF0B}}\x{{FF20}}\x{{FF0D}}-]"


def export_night(
    warehouse: Warehouse,
    tables: Sequence[Table],
    views: Sequence[View],
    as_of: datetime.date,
    folder: Path,
    hash_key: SecretStr | None,
) -> dict[str, int]:
    """Writes one night's rows of the tables, in the order of their keys as published.

    Args:
        warehouse: The warehouse that holds the tables.
        tables: The tables to export. Files, and tables of the database, have their names without the schema.
        views: The views of the database, over these tables.
        as_of: The night.
        folder: The folder of the files, none of which may exist yet.
        hash_key: The key of the HMAC-SHA256 (in hex) that replaces customer ids; None leaves them plain.

    Returns:
        Maps the name of each file to its number of rows.

    Raises:
        MachineError: A file cannot be written.
    """
    rows = {}
    with warehouse.get_connection() as connection:
        # The path is absolute because DuckDB reads the text before a colon as the name of another database system.
        database = literal(str((folder / DATABASE).absolute()))
        connection.execute(f"ATTACH {database} AS {NIGHT} (STORAGE_VERSION '{READABLE_FROM}')")
        try:
            for table in tables:
                name = table.short_name
                rows[name] = _copy(connection, table, as_of, hash_key)
                _comment(connection, "TABLE", table)
                columns = [quoted(column.name) for column in table.columns]
                _write(connection, table, columns, folder / f"{name}.parquet", "FORMAT parquet, COMPRESSION zstd")
                cells = [_harmless(column) for column in table.columns]
                _write(connection, table, cells, folder / f"{name}.csv", "FORMAT csv, HEADER")
            for view in views:
                connection.execute(f"CREATE VIEW {_published(view)} AS {view.query}")
                _comment(connection, "VIEW", view)
            connection.execute(f"CHECKPOINT {NIGHT}")
        finally:
            connection.execute(f"DETACH {NIGHT}")
    return {DATABASE: sum(rows.values())} | {
        f"{name}.{form}": rows[name] for name in rows for form in ("parquet", "csv")
    }


def content_digest(file: Path) -> str:
    """Returns a digest of the tables, rows and views of a DuckDB file; its bytes differ each time it is written.

    Raises:
        FileNotFoundError: The file does not exist.
        DamagedError: The file is not a whole database that this version of DuckDB can read.
        MachineError: The memory does not suffice.
    """
    with opened(file) as (connection, database):
        listed = f"WHERE NOT internal AND database_name = {literal(database)}"
        names = connection.execute(f"SELECT table_name FROM duckdb_tables() {listed} ORDER BY ALL").fetchall()
        # XOR ignores the order of the rows. Two equal rows would cancel each other, but tables have keys.
        rows = "SELECT count(*), bit_xor(md5_number(CAST(whole_row AS VARCHAR))) FROM {}.{} AS whole_row"
        content = [
            (name, connection.execute(rows.format(quoted(database), quoted(name))).fetchall()) for (name,) in names
        ]
        content += connection.execute(
            f"SELECT view_name, sql FROM duckdb_views() {listed} ORDER BY view_name"
        ).fetchall()
    return hashlib.sha256(repr(content).encode()).hexdigest()


@contextmanager
def opened(file: Path) -> Iterator[tuple[duckdb.DuckDBPyConnection, str]]:
    """Yields a connection to which a published DuckDB file is attached to read, and the name of the database there.

    A client that has opened the file for writing, as many do only to read, keeps it to itself: then a copy is read.

    Raises:
        FileNotFoundError: The file does not exist.
        DamagedError: The file is not a whole database that this version of DuckDB can read.
        MachineError: The memory does not suffice.
    """
    if not file.is_file():
        raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), str(file))
    try:
        # All threads share one database in memory, to which a file can be attached once.
        with _ATTACHING, scratch() as connection, ExitStack() as stack:
            try:
                database = stack.enter_context(_attached(connection, file.resolve()))
            except duckdb.Error as error:
                if not any(text in str(error) for text in LOCKED):
                    raise
                database = stack.enter_context(_attached(connection, stack.enter_context(_copied(file))))
            yield connection, database
    except duckdb.Error as error:
        kind = MachineError if isinstance(error, duckdb.OutOfMemoryException) else DamagedError
        raise kind(f"{file}: cannot be read: {str(error).splitlines()[0]}") from None


def delete_abandoned_copies(folder: Path) -> None:
    """Deletes the copies that `opened` left in a folder of sets when its process was killed."""
    for copy in folder.glob(f"{COPY}*"):
        with suppress(OSError), copy.open("r+b") as opened:
            # Fails while the process that made the copy reads it. A copy is empty until that process has locked it.
            fcntl.flock(opened, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if copy.stat().st_size:
                copy.unlink()


@contextmanager
def _attached(connection: duckdb.DuckDBPyConnection, file: Path) -> Iterator[str]:
    """Attaches a DuckDB file to read, under a name that is yielded, and detaches it after the block."""
    name = file.name
    connection.execute(f"ATTACH {literal(str(file))} AS {quoted(name)} (READ_ONLY)")
    try:
        yield name
    finally:
        connection.execute(f"DETACH {quoted(name)}")


@contextmanager
def _copied(file: Path) -> Iterator[Path]:
    """Yields a copy of a file of a set, in the folder of the sets, and deletes it after the block.

    It is locked meanwhile, so that the clean-up of a run that publishes lets it be.
    """
    # A disk that holds the file has room for a copy; the temporary folder of the system may not.
    sets = file.resolve().parent.parent
    with file.open("rb") as original, tempfile.NamedTemporaryFile(dir=sets, prefix=COPY) as copy:
        fcntl.flock(copy, fcntl.LOCK_SH)
        shutil.copyfileobj(original, copy)
        copy.flush()
        yield Path(copy.name)


def _copy(connection: Connection, table: Table, as_of: datetime.date, hash_key: SecretStr | None) -> int:
    """Writes one night's rows of a table to the database, in the order of their published keys; returns how many."""
    hashed = {CUSTOMER: f"{hmac_sha256(quoted(CUSTOMER))} AS {CUSTOMER}"} if hash_key else {}
    columns = ", ".join(hashed.get(column.name, quoted(column.name)) for column in table.columns)
    connection.execute(f"CREATE TABLE {_published(table)} ({table.ddl})")
    inserted = connection.execute(
        f"INSERT INTO {_published(table)} SELECT * FROM (SELECT {columns} FROM {table.name} WHERE as_of = $as_of)"
        f" ORDER BY {', '.join(map(quoted, table.key))}",
        {"as_of": as_of, **(hmac_blocks(hash_key.get_secret_value()) if hash_key else {})},
    )
    return int(inserted.fetchall()[0][0])


def _comment(connection: Connection, kind: str, relation: Table | View) -> None:
    """Writes the meaning of a table or view and of its columns where clients show it."""
    name = _published(relation)
    connection.execute(f"COMMENT ON {kind} {name} IS {literal(relation.description)}")
    for column in relation.columns:
        connection.execute(f"COMMENT ON COLUMN {name}.{quoted(column.name)} IS {literal(column.description)}")


def _write(connection: Connection, table: Table, cells: Sequence[str], file: Path, options: str) -> None:
    """Writes a table of the database to a file."""
    # Sorts by the key as it is in the database, because the cells of a CSV may differ from it.
    order = ", ".join(f"night.{quoted(column)}" for column in table.key)
    query = f"SELECT {', '.join(cells)} FROM {_published(table)} AS night ORDER BY {order}"
    connection.execute(f"COPY ({query}) TO $file ({options})", {"file": str(file)})


def _published(relation: Table | View) -> str:
    """Returns the name of a table or view in the database, in the schema that a client looks into first.

    A schema `segments` in a file of that name would make `FROM segments.segment_profiles` ambiguous. Without it, that
    name means the same table as in the warehouse.
    """
    return f"{NIGHT}.main.{quoted(relation.name.rpartition('.')[2])}"


def _harmless(column: Column) -> str:
    """Returns the expression of a column with an apostrophe before text that a spreadsheet would run as a formula."""
    cell = quoted(column.name)
    if column.type != "VARCHAR":
        return cell
    return f"CASE WHEN regexp_matches({cell}, '{FORMULA}') THEN '''' || {cell} ELSE {cell} END AS {cell}"
