"""Delivered files: finding them, reading their header, loading them as text. Order lines stay inside the database."""

import csv
import glob
import gzip
import io
import re
import zlib
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import duckdb

from seg_pipeline.errors import DataError, SegPipelineError, UsageError
from seg_pipeline.raw.columns import ORDER_COLUMNS, column_names
from seg_pipeline.settings import SourceSettings, read_preset

TEXT_ENDINGS = (".csv", ".tsv", ".txt", ".csv.gz", ".tsv.gz", ".txt.gz")
PARQUET_ENDINGS = (".parquet", ".pq")
DELIMITERS = ",;\t|"
# A line may be long; a header longer than this is no header.
HEADER_BYTES = 1_000_000


@dataclass(frozen=True, slots=True)
class Delivery:
    """Files of one shape, read together: the same header, so the same columns at the same place."""

    files: tuple[Path, ...]
    header: tuple[str, ...]
    delimiter: str | None  # None for parquet
    columns: dict[str, str]  # column of raw_orders -> column of the file
    compression: str = "none"


@dataclass(frozen=True, slots=True)
class _Shape:
    """What files have in common that are read together. Parquet files of other types would be cast to the first's."""

    header: tuple[str, ...]
    delimiter: str | None
    types: tuple[str, ...] = ()
    compression: str = "none"


def find_files(paths: Iterable[str]) -> list[Path]:
    """The files that paths, folders (with what is below them) and globs stand for, in order of their path.

    Raises:
        UsageError: nothing given, nothing there, or nothing of a kind that can be read.
    """
    found: list[Path] = []
    given = list(paths)
    if not given:
        raise UsageError("source.path: no order files given; name a file, a folder or a glob")
    for text in given:
        path = Path(text)
        if path.is_dir():
            below = [file for file in path.rglob("*") if file.is_file() and _is_order_file(file.relative_to(path))]
            if not below:
                raise UsageError(f"{path}: no file in this folder ends in {', '.join(TEXT_ENDINGS + PARQUET_ENDINGS)}")
            found += below
        elif path.is_file():
            if not _is_readable_kind(path):
                raise UsageError(
                    f"{path}: not a kind of file that can be read; it must end in "
                    f"{', '.join(TEXT_ENDINGS + PARQUET_ENDINGS)}"
                )
            found.append(path)
        else:
            matches = [Path(match) for match in glob.glob(text, recursive=True)]
            files = [file for file in matches if file.is_file() and _is_readable_kind(file)]
            if not files:
                raise UsageError(f"{text}: no such file or folder, and no file matches it")
            found += files
    # A file that is named twice, in whatever words, is one delivery.
    return sorted({file.resolve(): file for file in sorted(found, reverse=True)}.values())


@dataclass(frozen=True, slots=True)
class Found:
    """What there is to load of some files, and what cannot be read, with the error that says why."""

    deliveries: list[Delivery]
    refused: dict[Path, SegPipelineError]


def deliveries(files: Iterable[Path], source: SourceSettings) -> Found:
    """The files, those of one shape together.

    Raises:
        UsageError: no such preset.
    """
    names = column_names(source.preset, read_preset(source.preset), source.columns)
    shapes: dict[_Shape, list[Path]] = {}
    refused: dict[Path, SegPipelineError] = {}
    for file in files:
        try:
            shapes.setdefault(_shape(file, source), []).append(file)
        except SegPipelineError as error:
            refused[file] = error
    found = []
    for shape, alike in shapes.items():
        try:
            columns = names.find_in(shape.header, str(alike[0]))
        except SegPipelineError as error:
            refused |= {file: type(error)(str(error).replace(str(alike[0]), str(file))) for file in alike}
        else:
            found.append(Delivery(tuple(alike), shape.header, shape.delimiter, columns, shape.compression))
    return Found(found, refused)


def load(
    connection: duckdb.DuckDBPyConnection, delivery: Delivery, encoding: str, into: str, *, limit: int | None = None
) -> None:
    """Appends the lines of a delivery to the table `into`, as text, with the file and the row each came from.

    source_row counts the data rows of a file from 1. `limit` takes the first lines of each shape only.

    Raises:
        DataError: a file cannot be read; the line names it and the row.
    """
    first_rows = f" LIMIT {int(limit)}" if limit else ""
    # Within a pattern of the database's own, [, * and ? in a file's name stand for themselves.
    files = [glob.escape(str(file)) for file in delivery.files]
    try:
        if delivery.delimiter is None:
            values = _values(delivery, lambda name: f"nullif(CAST({_quoted(name)} AS VARCHAR), '')")
            connection.execute(
                f"INSERT INTO {into} BY NAME SELECT {values}, filename AS source_file,"
                " file_row_number + 1 AS source_row"
                f" FROM read_parquet($files, filename = true, file_row_number = true){first_rows}",
                {"files": files},
            )
            return
        # The database keeps the order of the lines, so the place in this table, counted from each file's first, is the
        # row in the file.
        connection.execute(
            f"CREATE OR REPLACE TEMP TABLE delivered_lines AS {_text_lines(delivery)}{first_rows}",
            {"files": files, "encoding": encoding, "compression": delivery.compression},
        )
        connection.execute(
            f"INSERT INTO {into} BY NAME"
            f" SELECT {', '.join(ORDER_COLUMNS)}, source_file, delivered_lines.rowid - first_row + 1 AS source_row"
            " FROM delivered_lines JOIN (SELECT source_file, min(rowid) AS first_row FROM delivered_lines GROUP BY ALL)"
            " USING (source_file)"
        )
        connection.execute("DROP TABLE delivered_lines")
    except (duckdb.InvalidInputException, duckdb.ConversionException) as error:
        raise DataError(_readable(error, delivery.files)) from None
    except duckdb.IOException as error:
        if "No space left" in str(error):
            raise
        raise DataError(_readable(error, delivery.files)) from None


def _values(delivery: Delivery, value_of: Callable[[str], str]) -> str:
    """The columns of raw_orders as expressions on a file's columns; NULL where it has none."""
    return ", ".join(
        f"{value_of(delivery.columns[column]) if column in delivery.columns else 'NULL'} AS {column}"
        for column in ORDER_COLUMNS
    )


def _text_lines(delivery: Delivery) -> str:
    """A query of the lines of text files as text, with their file; empty values are NULL.

    Columns are taken by their place, so that the rest of a header may be anything, names twice and no names included.
    """
    if delivery.delimiter == "whitespace":
        # No CSV dialect takes runs of blanks, so each line is split here.
        values = _values(delivery, lambda name: f"part[{delivery.header.index(name) + 1}]")
        return (
            f"SELECT {values}, source_file FROM ("
            "SELECT string_split_regex(trim(line, ' \t\r'), '\\s+') AS part, filename AS source_file"
            " FROM read_csv($files, columns = {'line': 'VARCHAR'}, delim = '\x01', quote = '', escape = '',"
            " header = true, auto_detect = false, filename = true, encoding = $encoding, compression = $compression)"
            " WHERE trim(line, ' \t\r') != '')"
        )
    types = ", ".join(f"'c{place}': 'VARCHAR'" for place in range(len(delivery.header)))
    values = _values(delivery, lambda name: f"c{delivery.header.index(name)}")
    return (
        f"SELECT {values}, filename AS source_file"
        f" FROM read_csv($files, columns = {{{types}}}, delim = {_literal(delivery.delimiter or ',')}, quote = '\"',"
        " escape = '\"', header = true, auto_detect = false, filename = true,"
        " encoding = $encoding, compression = $compression)"
    )


def _shape(file: Path, source: SourceSettings) -> _Shape:
    if file.name.lower().endswith(PARQUET_ENDINGS):
        return _parquet_shape(file)
    start = _start(file, source.encoding)
    # Told, since the database knows the ending in small letters only and takes the rest for text.
    compression = "gzip" if file.suffix.lower() == ".gz" else "none"
    delimiter = source.delimiter
    if delimiter == "whitespace":
        return _Shape(tuple(start.split("\n", 1)[0].split()), delimiter, compression=compression)
    if delimiter == "auto":
        # What is quoted is part of a name.
        delimiter = max(DELIMITERS, key=re.sub('"[^"]*"', "", start).split("\n", 1)[0].count)
    return _Shape(_header(file, start, delimiter), delimiter, compression=compression)


def _header(file: Path, start: str, delimiter: str) -> tuple[str, ...]:
    # A name may be quoted, and a quoted one go over lines.
    try:
        return tuple(next(csv.reader(io.StringIO(start, newline=""), delimiter=delimiter)))
    except csv.Error as error:
        raise DataError(f"{file}: its first line is no header: {error}") from None


def _start(file: Path, encoding: str) -> str:
    """The first lines. A byte order mark is no part of the first name."""
    try:
        with gzip.open(file, "rb") if file.suffix.lower() == ".gz" else file.open("rb") as lines:
            start = lines.read(HEADER_BYTES)
        text = start.decode(
            "utf-8-sig" if encoding == "utf-8" else encoding, errors="strict" if len(start) < HEADER_BYTES else "ignore"
        )
    except UnicodeDecodeError as error:
        raise DataError(
            f"{file}: not {encoding} text (byte {error.start}); set source.encoding to utf-8, utf-16 or latin-1"
        ) from None
    except (OSError, EOFError, zlib.error) as error:
        raise DataError(f"{file}: cannot be read: {error}") from None
    if not text.split("\n", 1)[0].strip():
        raise DataError(f"{file}: empty, or its first line is: a header line is needed")
    return text


def _parquet_shape(file: Path) -> _Shape:
    try:
        with duckdb.connect() as connection:
            columns = connection.execute(
                "DESCRIBE SELECT * FROM read_parquet($file)", {"file": glob.escape(str(file))}
            ).fetchall()
    except duckdb.Error as error:
        raise DataError(f"{file}: not a parquet file: {str(error).splitlines()[0]}") from None
    return _Shape(tuple(column[0] for column in columns), None, tuple(column[1] for column in columns))


def _is_readable_kind(file: Path) -> bool:
    return file.name.lower().endswith(TEXT_ENDINGS + PARQUET_ENDINGS)


def _is_order_file(below: Path) -> bool:
    """Whether a file found in a folder is meant: hidden files and folders are some program's own."""
    return _is_readable_kind(below) and not any(part.startswith(".") for part in below.parts)


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


def _literal(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"


def _readable(error: duckdb.Error, files: Sequence[Path]) -> str:
    """The reader's complaint on one line, with the file it is about."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    file = next((file for file in files if str(file) in str(error)), files[0])
    said = lines[0].removeprefix("Invalid Input Error: ")
    detail = next((line for line in lines[1:] if line.startswith(("Error when", "Expected", "Value with"))), "")
    hint = (
        "; set source.encoding to utf-8, utf-16 or latin-1"
        if "unicode" in str(error).lower() or "utf-8" in str(error)
        else ""
    )
    return f"{file}: {said}{' ' + detail if detail else ''}{hint}"
