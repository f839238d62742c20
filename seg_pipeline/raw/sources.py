"""Delivered files: finding them, reading their header, loading them as text. Order lines stay inside the database."""

import csv
import glob
import gzip
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import duckdb

from seg_pipeline.errors import DataError, UsageError
from seg_pipeline.raw.columns import ORDER_COLUMNS, ColumnNames, column_names
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


def find_files(paths: Iterable[str]) -> list[Path]:
    """The files that paths, folders (with what is below them) and globs stand for, in order of their path.

    Raises:
        UsageError: nothing given, nothing there, or nothing of a kind that can be read.
    """
    found: set[Path] = set()
    given = list(paths)
    if not given:
        raise UsageError("source.path: no order files given; name a file, a folder or a glob")
    for text in given:
        path = Path(text)
        if path.is_dir():
            below = [file for file in path.rglob("*") if file.is_file() and _is_readable_kind(file)]
            if not below:
                raise UsageError(f"{path}: no file in this folder ends in {', '.join(TEXT_ENDINGS + PARQUET_ENDINGS)}")
            found.update(below)
        elif path.is_file():
            if not _is_readable_kind(path):
                raise UsageError(
                    f"{path}: not a kind of file that can be read; it must end in "
                    f"{', '.join(TEXT_ENDINGS + PARQUET_ENDINGS)}"
                )
            found.add(path)
        else:
            matches = [Path(match) for match in glob.glob(text, recursive=True)]
            files = [file for file in matches if file.is_file() and _is_readable_kind(file)]
            if not files:
                raise UsageError(f"{text}: no such file or folder, and no file matches it")
            found.update(files)
    return sorted(found)


def deliveries(source: SourceSettings) -> list[Delivery]:
    """The files of the source, those of one shape together.

    Raises:
        UsageError: no such path or preset.
        DataError: a file is empty or unreadable, or a needed column is not found in it.
    """
    names = column_names(source.preset, read_preset(source.preset), source.columns)
    shapes: dict[tuple[tuple[str, ...], str | None], list[Path]] = {}
    for file in find_files(source.path):
        shapes.setdefault(_shape(file, source), []).append(file)
    return [
        Delivery(tuple(files), header, delimiter, _found(names, header, files))
        for (header, delimiter), files in shapes.items()
    ]


def load(
    connection: duckdb.DuckDBPyConnection, delivery: Delivery, encoding: str, into: str, *, limit: int | None = None
) -> None:
    """Appends the lines of a delivery to the table `into`, as text, with the file and the row each came from.

    source_row counts the data rows of a file from 1. `limit` takes the first lines of each shape only.

    Raises:
        DataError: a file cannot be read; the line names it and the row.
    """
    first_rows = f" LIMIT {int(limit)}" if limit else ""
    values = ", ".join(
        f"{_quoted(delivery.columns[column]) if column in delivery.columns else 'NULL'} AS {column}"
        for column in ORDER_COLUMNS
    )
    files = [str(file) for file in delivery.files]
    try:
        if delivery.delimiter is None:
            as_text = ", ".join(
                f"CAST({_quoted(delivery.columns[column])} AS VARCHAR) AS {column}"
                if column in delivery.columns
                else f"NULL AS {column}"
                for column in ORDER_COLUMNS
            )
            connection.execute(
                f"INSERT INTO {into} BY NAME SELECT {as_text}, filename AS source_file, file_row_number + 1 AS source_row"
                f" FROM read_parquet($files, filename = true, file_row_number = true){first_rows}",
                {"files": files},
            )
            return
        # Rows are numbered over all files in one pass, in the order of the files, then counted from each file's first.
        connection.execute(
            f"CREATE OR REPLACE TEMP TABLE delivered_lines AS SELECT {values}, source_file, row_number() OVER () AS row"
            f" FROM ({_text_lines(delivery)}){first_rows}",
            {"files": files, "encoding": encoding},
        )
        connection.execute(
            f"INSERT INTO {into} BY NAME"
            f" SELECT {', '.join(ORDER_COLUMNS)}, source_file, row - first_row + 1 AS source_row"
            " FROM delivered_lines JOIN (SELECT source_file, min(row) AS first_row FROM delivered_lines GROUP BY ALL)"
            " USING (source_file)"
        )
        connection.execute("DROP TABLE delivered_lines")
    except (duckdb.InvalidInputException, duckdb.ConversionException) as error:
        raise DataError(_readable(error, files)) from None
    except duckdb.IOException as error:
        if "No space left" in str(error):
            raise
        raise DataError(_readable(error, files)) from None


def _text_lines(delivery: Delivery) -> str:
    """A query of the lines of text files, every column VARCHAR under its name in the file; empty values are NULL."""
    if delivery.delimiter == "whitespace":
        # No CSV dialect takes runs of blanks, so each line is split here.
        columns = ", ".join(
            f"NULLIF(part[{place}], '') AS {_quoted(name)}" for place, name in enumerate(delivery.header, 1)
        )
        return (
            f"SELECT {columns}, source_file FROM ("
            "SELECT regexp_split_to_array(trim(line), '\\s+') AS part, filename AS source_file"
            " FROM read_csv($files, columns = {'line': 'VARCHAR'}, delim = '\x01', quote = '', escape = '', header = true,"
            " auto_detect = false, filename = true, encoding = $encoding))"
        )
    types = ", ".join(f"{_literal(name)}: 'VARCHAR'" for name in delivery.header)
    return (
        "SELECT * RENAME (filename AS source_file)"
        f" FROM read_csv($files, columns = {{{types}}}, delim = {_literal(delivery.delimiter or ',')}, quote = '\"',"
        " escape = '\"', header = true, auto_detect = false, filename = true, encoding = $encoding)"
    )


def _shape(file: Path, source: SourceSettings) -> tuple[tuple[str, ...], str | None]:
    if file.name.lower().endswith(PARQUET_ENDINGS):
        return _parquet_header(file), None
    line = _first_line(file, source.encoding)
    delimiter = source.delimiter
    if delimiter == "whitespace":
        return tuple(line.split()), delimiter
    if delimiter == "auto":
        delimiter = max(DELIMITERS, key=line.count)
    header = tuple(next(csv.reader([line], delimiter=delimiter)))
    repeated = [name for name in header if header.count(name) > 1]
    if repeated:
        raise DataError(f"{file}: two columns are named {repeated[0]!r}")
    return header, delimiter


def _first_line(file: Path, encoding: str) -> str:
    """The header line. A byte order mark is no part of the first name."""
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
    except (OSError, EOFError) as error:
        raise DataError(f"{file}: cannot be read: {error}") from None
    line = text.split("\n", 1)[0].rstrip("\r")
    if not line.strip():
        raise DataError(f"{file}: empty, or its first line is: a header line is needed")
    return line


def _parquet_header(file: Path) -> tuple[str, ...]:
    try:
        rows = duckdb.execute("SELECT name FROM parquet_schema($file) WHERE num_children IS NULL", {"file": str(file)})
        return tuple(name for (name,) in rows.fetchall())
    except duckdb.Error as error:
        raise DataError(f"{file}: not a parquet file: {str(error).splitlines()[0]}") from None


def _found(names: ColumnNames, header: Sequence[str], files: Sequence[Path]) -> dict[str, str]:
    more = f" and {len(files) - 1} more" if len(files) > 1 else ""
    return names.find_in(header, f"{files[0]}{more}")


def _is_readable_kind(file: Path) -> bool:
    return file.name.lower().endswith(TEXT_ENDINGS + PARQUET_ENDINGS) and not file.name.startswith(".")


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


def _literal(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"


def _readable(error: duckdb.Error, files: Sequence[str]) -> str:
    """The reader's complaint on one line, with the file it is about."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    file = next((name for name in files if name in str(error)), files[0])
    said = lines[0].removeprefix("Invalid Input Error: ")
    detail = next((line for line in lines[1:] if line.startswith(("Error when", "Expected", "Value with"))), "")
    hint = (
        "; set source.encoding to utf-8, utf-16 or latin-1"
        if "unicode" in str(error).lower() or "utf-8" in str(error)
        else ""
    )
    return f"{file}: {said}{' ' + detail if detail else ''}{hint}"
