"""The files of one night's tables: one DuckDB database of them all, with views, and Parquet and CSV of each.

The database is written first and the others from it, so what a customer's id looks like is decided in one place.
"""

import datetime
import hashlib
import shutil
import tempfile
from collections.abc import Sequence
from pathlib import Path

import duckdb

from seg_pipeline.errors import MachineError
from seg_pipeline.publishing.views import View
from seg_pipeline.tables import Column, Table
from seg_pipeline.warehouse import Connection, Warehouse, literal, quoted

DATABASE = "segments.duckdb"
# A warehouse is known to DuckDB by the name of its file, which cannot have a slash: no warehouse has this one.
NIGHT = '"published/night"'
CUSTOMER = "customer_id"
# HMAC (RFC 2104) of the id, over bytes; the two blocks are the padded key.
HASHED_CUSTOMER = f'sha256($outer || unhex(sha256($inner || encode("{CUSTOMER}"))))'
SHA256_BLOCK_BYTES = 64
# How a cell begins that a spreadsheet runs, though it comes from an order line.
FORMULA = r"^[=+@\t\r-]"


def export_night(
    warehouse: Warehouse,
    tables: Sequence[Table],
    views: Sequence[View],
    as_of: datetime.date,
    folder: Path,
    hash_key: str | None,
) -> dict[str, int]:
    """Writes one night's rows of the tables, in the order of their keys as published.

    Args:
        warehouse: Where the tables are.
        tables: Their names without the schema are the files' names, and the tables' in the database.
        views: Of the database, over these tables.
        as_of: The night.
        folder: Has none of the files yet.
        hash_key: Customer ids are their HMAC-SHA256 under this key, in hex; None leaves them plain.

    Returns:
        Rows by file name.

    Raises:
        MachineError: a file cannot be written.
    """
    rows = {}
    with warehouse.get_connection() as connection:
        # An absolute path: DuckDB takes what stands before a colon for the name of another database system.
        connection.execute(f"ATTACH {literal(str((folder / DATABASE).absolute()))} AS {NIGHT}")
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
    """A digest of the tables, rows and views of a DuckDB file, whose bytes differ each time it is written.

    A copy of the file is read: a client that has opened it to write, as many do even to read, keeps it locked. The copy
    has no name, so nothing is left of it, whatever becomes of the process, and no run that clears up can take it away.

    Raises:
        FileNotFoundError: there is no such file.
        MachineError: it cannot be read.
    """
    # Where the file lies there is room for another of its size.
    with file.open("rb") as original, tempfile.TemporaryFile(dir=file.resolve().parent.parent) as copy:
        shutil.copyfileobj(original, copy)
        copy.flush()
        try:
            with duckdb.connect(f"/dev/fd/{copy.fileno()}", read_only=True) as connection:
                names = connection.execute("SELECT table_name FROM duckdb_tables() ORDER BY table_name").fetchall()
                # One digest of a table's rows in whatever order: they have keys, so none is there twice.
                rows = "SELECT count(*), bit_xor(md5_number(CAST(whole_row AS VARCHAR))) FROM {} AS whole_row"
                content = [(name, connection.execute(rows.format(quoted(name))).fetchall()) for (name,) in names]
                content += connection.execute(
                    "SELECT view_name, sql FROM duckdb_views() WHERE NOT internal ORDER BY view_name"
                ).fetchall()
        except duckdb.Error as error:
            raise MachineError(f"{file}: cannot be read: {str(error).splitlines()[0]}") from None
    return hashlib.sha256(repr(content).encode()).hexdigest()


def hmac_blocks(key: str) -> dict[str, bytes]:
    """The inner and the outer block of HMAC-SHA256: the key, hashed where it is longer than a block, on two pads."""
    given = key.encode("utf-8", "surrogateescape")
    block = (hashlib.sha256(given).digest() if len(given) > SHA256_BLOCK_BYTES else given).ljust(
        SHA256_BLOCK_BYTES, b"\0"
    )
    return {name: bytes(byte ^ pad for byte in block) for name, pad in (("inner", 0x36), ("outer", 0x5C))}


def _copy(connection: Connection, table: Table, as_of: datetime.date, hash_key: str | None) -> int:
    """Writes one night's rows of a table to the database, in the order of the key as it is there; returns how many."""
    columns = ", ".join(
        f"{HASHED_CUSTOMER} AS {CUSTOMER}" if hash_key and column.name == CUSTOMER else quoted(column.name)
        for column in table.columns
    )
    connection.execute(f"CREATE TABLE {_published(table)} ({table.ddl})")
    written = connection.execute(
        f"INSERT INTO {_published(table)} SELECT * FROM (SELECT {columns} FROM {table.name} WHERE as_of = $as_of)"
        f" ORDER BY {', '.join(map(quoted, table.key))}",
        {"as_of": as_of, **(hmac_blocks(hash_key) if hash_key else {})},
    )
    return int(written.fetchall()[0][0])


def _comment(connection: Connection, kind: str, relation: Table | View) -> None:
    """What a table or view and its columns mean, where a client shows it."""
    name = _published(relation)
    connection.execute(f"COMMENT ON {kind} {name} IS {literal(relation.description)}")
    for column in relation.columns:
        connection.execute(f"COMMENT ON COLUMN {name}.{quoted(column.name)} IS {literal(column.description)}")


def _write(connection: Connection, table: Table, cells: Sequence[str], file: Path, options: str) -> None:
    """Writes a table of the database to a file."""
    # By the key as it is in the database: the cells of a csv may differ from it.
    order = ", ".join(f"night.{quoted(column)}" for column in table.key)
    query = f"SELECT {', '.join(cells)} FROM {_published(table)} AS night ORDER BY {order}"
    connection.execute(f"COPY ({query}) TO $file ({options})", {"file": str(file)})


def _published(relation: Table | View) -> str:
    """The table or view in the database, in the schema that a client looks into first.

    A schema `segments` in a file of that name would make `FROM segments.segment_profiles` ambiguous; as it is, that is
    the table under the name that it has in the warehouse.
    """
    return f"{NIGHT}.main.{quoted(relation.name.rpartition('.')[2])}"


def _harmless(column: Column) -> str:
    """The column as a spreadsheet may open it: text that would run as a formula has an apostrophe before it."""
    cell = quoted(column.name)
    if column.type != "VARCHAR":
        return cell
    return f"CASE WHEN regexp_matches({cell}, '{FORMULA}') THEN '''' || {cell} ELSE {cell} END AS {cell}"
