"""Delimited text (csv and similar), plain or compressed with gzip, in several encodings."""

import codecs
import csv
import errno
import gzip
import io
import os
import re
import shutil
import tempfile
import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, cast

import duckdb

from seg_pipeline.errors import DataError, MachineError
from seg_pipeline.raw.sources.files import FileKind, files_parameter, first_rows, values_of
from seg_pipeline.raw.sources.places import path_of
from seg_pipeline.raw.sources.source import Delivery, Shape
from seg_pipeline.settings import SourceSettings
from seg_pipeline.tables import Table
from seg_pipeline.warehouse import Connection, Relation, literal, sql_name

DELIMITERS = ",;\t|"
# How much is read to find the header; a first line longer than this is not a header.
HEADER_BYTES = 1_000_000
# Encodings that DuckDB cannot read reliably, so it reads copies in UTF-8 without a byte order mark: it reads UTF-16 in
# one byte order only (in the other the file looks empty), miscounts after a byte order mark if the header contains a
# line break, and does not support Windows-1252.
COPIED = ("utf-16-le", "utf-16-be", "utf-8-sig", "windows-1252")
LINE_END = r"\r\n|\n|\r"
MARK = "\ufeff"
# The first bytes of a text with a byte order mark, and those of files that are not text.
MARKS = {codecs.BOM_UTF8: "utf-8-sig", codecs.BOM_UTF16_LE: "utf-16-le", codecs.BOM_UTF16_BE: "utf-16-be"}
OTHER_FILES = {b"PAR1": "parquet", b"\x1f\x8b": "gzip", b"PK\x03\x04": "a zip archive or a spreadsheet"}
# How many small files one statement reads.
MAX_FILES = 1_000
ENCODINGS = "set source.encoding to utf-8, utf-16, latin-1 or windows-1252"
# DuckDB would let folders named COLUMN=VALUE override columns.
OPTIONS = "header = true, auto_detect = false, filename = true, hive_partitioning = false"
# The longest line that DuckDB reads (max_line_size), and its buffer for text.
LONGEST_LINE = 2_000_000
BUFFER = "32 MB"
# How many bytes of the end of a file show whether its last line is too long, and how many are decompressed at once.
END_BYTES = LONGEST_LINE + 1_000
CHUNK_BYTES = 8_000_000
NONE_READ = "{}: none of its lines can be read; its quotes or line ends are of an unknown kind"


@dataclass(frozen=True, slots=True)
class TextShape(Shape):
    """How a text file is read.

    Attributes:
        delimiter: The character between two values, or `whitespace`.
        compression: `none` or `gzip`.
        encoding: `utf-8`, `latin-1` or one of COPIED.
        line_end: The line end, if DuckDB would take a line break within the header for one; otherwise empty.
        closes_quotes: Whether the file is small, and closes each quote that it opens.
    """

    delimiter: str = ","
    compression: str = "none"
    encoding: str = "utf-8"
    line_end: str = ""
    closes_quotes: bool = False

    @property
    def detected(self) -> Mapping[str, str]:
        return {"delimiter": self.delimiter}


class Text(FileKind):
    """Delimited text."""

    endings = (".csv", ".tsv", ".txt", ".csv.gz", ".tsv.gz", ".txt.gz")

    def shape(self, name: str, source: SourceSettings) -> TextShape:
        encoding, start, is_whole = _read_start(name, source.encoding)
        # DuckDB recognises the ending only in lower case; it would read other files as plain text.
        compression = "gzip" if name.lower().endswith(".gz") else "none"
        delimiter = source.delimiter
        if delimiter == "whitespace":
            header, line_end, closes_quotes = tuple(_first_line(start).split()), "", True
        else:
            # Delimiters and line breaks within quotes belong to a name.
            unquoted = re.sub('"[^"]*"', "", start)
            if delimiter == "auto":
                delimiter = max(DELIMITERS, key=_first_line(unquoted).count)
            header = _header(name, start, delimiter)
            end = re.search(LINE_END, unquoted)
            line_end = end[0] if end and any(re.search(LINE_END, column) for column in header) else ""
            closes_quotes = is_whole and _closes_quotes(start, delimiter)
        if encoding == "utf-8-sig" and not line_end:
            encoding = "utf-8"
        return TextShape(header, (), delimiter, compression, encoding, line_end, closes_quotes)

    def query(self, delivery: Delivery) -> str:
        return f"SELECT *, row_number() OVER () AS source_row FROM ({_lines(delivery)})"

    def parameters(self, delivery: Delivery, names: Iterable[str]) -> dict[str, object]:
        shape = _shape_of(delivery)
        return {
            **files_parameter(names),
            "encoding": "latin-1" if shape.encoding == "latin-1" else "utf-8",
            "compression": "none" if shape.encoding in COPIED else shape.compression,
        }

    def readable_paths(
        self, delivery: Delivery, copies: str | None = None
    ) -> AbstractContextManager[Mapping[str, str]]:
        if _shape_of(delivery).encoding in COPIED:
            return _copies(delivery, copies)
        return super().readable_paths(delivery)

    def append(
        self,
        connection: Connection,
        delivery: Delivery,
        paths: Mapping[str, str],
        into: Table | Relation,
        limit: int | None,
    ) -> None:
        # Rows are numbered after they were inserted (DuckDB keeps their order); until then their source_row is 0.
        # Numbering them while reading would restrict DuckDB to one thread.
        self._insert(connection, delivery, paths, into, limit)
        if _shape_of(delivery).encoding in COPIED:
            _restore_names(connection, paths, into)
        if not limit:
            self._refuse_files_without_lines(connection, delivery, into)
        _number_rows(connection, into)

    def _insert(
        self,
        connection: Connection,
        delivery: Delivery,
        paths: Mapping[str, str],
        into: Table | Relation,
        limit: int | None,
    ) -> None:
        """Appends the lines of a delivery, with source_row 0."""
        lines = 0
        for files in _batches(connection, delivery, list(paths)):
            lines += connection.insert(
                into,
                f"SELECT *, 0 AS source_row FROM ({_lines(delivery)})" + first_rows(limit and limit - lines),
                self.parameters(delivery, files),
            )
            if limit and lines >= limit:
                break

    def _refuse_files_without_lines(self, connection: Connection, delivery: Delivery, table: Table | Relation) -> None:
        """Raises DataError if a file has lines but none of them was inserted."""
        files_with_lines = {name for name, _ in connection.execute(_first_rows_of_files(table)).fetchall()}
        for file in delivery.files:
            if file not in files_with_lines:
                self.refuse_unread(delivery, file)

    def refuse_lost_lines(self, delivery: Delivery, paths: Mapping[str, str]) -> None:
        # DuckDB reads a file as if it had no last line if that is longer than its buffer.
        for path, file in paths.items():
            end = _end_of(path, file).rstrip(b"\r\n")
            if len(end) >= LONGEST_LINE and not re.search(rb"[\r\n]", end):
                raise DataError(f"{file}: its last line is longer than {LONGEST_LINE:,} bytes")

    def refuse_unread(self, delivery: Delivery, file: str) -> None:
        if _has_lines(file, _shape_of(delivery)):
            raise DataError(NONE_READ.format(file))

    def message(self, file: str, error: duckdb.Error) -> str:
        text = str(error)
        if "state machine reached an invalid state" in text:
            return f"{file}: line ends of more than one kind, or a line break outside of quotes; write it with one kind"
        if "does not support a full read" in text:
            return f"{file}: a line, or a value in quotes, is longer than the {BUFFER} that are read at once"
        if "Invalid unicode" in text and (line := re.search(r"CSV Error on Line: (\d+)", text)):
            return f"{file}: not utf-8 text (line {line[1]}); {ENCODINGS}"
        return super().message(file, error)


def _shape_of(delivery: Delivery) -> TextShape:
    return cast(TextShape, delivery.shape)


def _restore_names(connection: Connection, paths: Mapping[str, str], table: Table | Relation) -> None:
    """Replaces the paths of copies in the rows just inserted with the names of the delivered files."""
    connection.execute(
        f"UPDATE {sql_name(table)} SET source_file = delivered"
        " FROM (SELECT unnest($paths) AS path, unnest($delivered) AS delivered)"
        " WHERE source_row = 0 AND source_file = path",
        {"paths": list(paths), "delivered": list(paths.values())},
    )


def _number_rows(connection: Connection, table: Table | Relation) -> None:
    """Numbers the rows just inserted from 1 within each file."""
    connection.execute(
        f"UPDATE {sql_name(table)} AS lines SET source_row = lines.rowid - first_row + 1"
        f" FROM ({_first_rows_of_files(table)}) AS firsts"
        " WHERE source_row = 0 AND lines.source_file = firsts.source_file"
    )


def _first_rows_of_files(table: Table | Relation) -> str:
    """Returns a query of each file just inserted, with the id of its first row."""
    return (
        f"SELECT source_file, min(rowid) AS first_row FROM {sql_name(table)} WHERE source_row = 0 GROUP BY source_file"
    )


def _batches(connection: Connection, delivery: Delivery, files: Sequence[str]) -> Iterator[Sequence[str]]:
    """Yields the files in batches that are small enough for DuckDB to detect a quote that is never closed.

    With more than two files per thread, DuckDB reads each file in one piece, and silently drops everything that follows
    such a quote.
    """
    if _shape_of(delivery).closes_quotes:
        size = MAX_FILES
    else:
        size = 2 * connection.execute("SELECT current_setting('threads')").fetchall()[0][0]
    for first in range(0, len(files), size):
        yield files[first : first + size]


def _has_lines(file: str, shape: TextShape) -> bool:
    """Returns whether anything but blank lines follows the header."""
    _, start, _ = _read_start(file, shape.encoding)
    if shape.delimiter == "whitespace":
        return any(line.strip() for line in start.splitlines()[1:])
    lines = csv.reader(io.StringIO(start, newline=""), delimiter=shape.delimiter)
    next(lines)
    try:
        return any(lines)
    except csv.Error:
        return True  # a line that csv cannot read is not blank


@contextmanager
def _copies(delivery: Delivery, beginning: str | None) -> Iterator[Mapping[str, str]]:
    """Yields the paths of copies in UTF-8, each mapped to the delivered file it came from; see `readable_paths`."""
    encoding = _shape_of(delivery).encoding
    with _temporary_folder(beginning) as folder:
        paths = {}
        for number, file in enumerate(delivery.files):
            copy = Path(folder) / f"{number}.csv"
            try:
                with (
                    _opened(file) as content,
                    io.TextIOWrapper(content, encoding=encoding, newline="") as text,
                    copy.open("w", encoding="utf-8", newline="") as out,
                ):
                    out.write(text.read(1).removeprefix(MARK))
                    shutil.copyfileobj(text, out)
            except UnicodeError:
                raise DataError(f"{file}: not {encoding.removesuffix('-sig')} text; {ENCODINGS}") from None
            except (OSError, EOFError, zlib.error) as error:
                if isinstance(error, OSError) and error.errno == errno.ENOSPC:
                    raise MachineError(f"{folder}: {error.strerror}") from None
                raise DataError(f"{file}: cannot be read: {error}") from None
            paths[str(copy)] = file
        yield paths


def _temporary_folder(beginning: str | None) -> "tempfile.TemporaryDirectory[str]":
    """Returns a new folder that only this user may read, below a path that begins like this."""
    parent, name = os.path.split(beginning) if beginning else (None, None)
    try:
        return tempfile.TemporaryDirectory(dir=parent, prefix=name)
    except OSError as error:
        raise MachineError(f"{parent or 'temporary folder'}: no copies can be written: {error.strerror}") from None


def _lines(delivery: Delivery) -> str:
    """Returns a query of the lines of `$files` as text, with their file; empty values are NULL.

    Columns are read by position, so names in the rest of the header may be missing or repeated.
    """
    shape = _shape_of(delivery)
    if shape.delimiter == "whitespace":
        # No CSV dialect has runs of blanks as a delimiter, so each line is split here.
        width = len(shape.header)
        values = values_of(delivery, lambda name: f"part[{shape.header.index(name) + 1}]")
        # The line may name a customer, so it is not quoted.
        message = f"' values, and its header {width}'"
        return (
            f"SELECT {values}, source_file FROM ("
            "SELECT string_split_regex(trim(line, ' \t\r'), '\\s+') AS part, filename AS source_file, line"
            " FROM read_csv($files, columns = {'line': 'VARCHAR'}, delim = '\x01', quote = '', escape = '',"
            f" {OPTIONS}, encoding = $encoding, compression = $compression)"
            " WHERE trim(line, ' \t\r') != '')"
            f" WHERE CASE WHEN len(part) = {width} THEN true ELSE error('a line has ' || len(part) || {message}) END"
        )
    types = ", ".join(f"'c{place}': 'VARCHAR'" for place in range(len(shape.header)))
    values = values_of(delivery, lambda name: f"c{shape.header.index(name)}")
    line_end = f", new_line = {literal(shape.line_end.encode('unicode_escape').decode())}" if shape.line_end else ""
    return (
        f"SELECT {values}, filename AS source_file"
        f" FROM read_csv($files, columns = {{{types}}}, delim = {literal(shape.delimiter)}, quote = '\"',"
        f" escape = '\"', {OPTIONS},"
        f" encoding = $encoding, compression = $compression{line_end})"
    )


def _first_line(text: str) -> str:
    return re.split(LINE_END, text, maxsplit=1)[0]


def _header(file: str, start: str, delimiter: str) -> tuple[str, ...]:
    # A quoted name may contain line breaks. If a name is quoted wrongly, DuckDB would skip all lines.
    try:
        return tuple(next(csv.reader(io.StringIO(start, newline=""), delimiter=delimiter, strict=True)))
    except csv.Error as error:
        raise DataError(f"{file}: its first line is not a header: {error}") from None


def _closes_quotes(text: str, delimiter: str) -> bool:
    """Returns whether a text of delimited lines closes each quote that it opens, however quotes within values count."""
    if text.count('"') % 2:
        return False
    try:
        for _ in csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True) if '"' in text else ():
            pass
    except csv.Error:
        return False
    return True


def _read_start(file: str, setting: str) -> tuple[str, str, bool]:
    """Returns the encoding of a text file, its first lines without the byte order mark, and whether these are all.

    Raises:
        DataError: The file cannot be read, is not text, has another encoding, or begins with an empty line.
    """
    try:
        with _opened(file) as lines:
            start = lines.read(HEADER_BYTES)
    except (OSError, EOFError, zlib.error) as error:
        raise DataError(f"{file}: cannot be read: {error}") from None
    for mark, kind in OTHER_FILES.items():
        if start.startswith(mark):
            raise DataError(f"{file}: not text but {kind}; give the file the right ending, or export it as csv")
    encoding = _encoding(start, setting)
    try:
        # If more bytes follow, the last character may be incomplete.
        text = codecs.getincrementaldecoder(encoding)().decode(start, final=len(start) < HEADER_BYTES)
    except UnicodeDecodeError as error:
        raise DataError(f"{file}: not {encoding.removesuffix('-sig')} text (byte {error.start}); {ENCODINGS}") from None
    text = text.removeprefix(MARK)
    if "\0" in text:
        unmarked = "" if encoding in COPIED else "; if it is UTF-16, set source.encoding=utf-16"
        raise DataError(f"{file}: a NUL byte in line {text[: text.index(chr(0))].count(chr(10)) + 1}{unmarked}")
    if not _first_line(text).strip():
        raise DataError(f"{file}: the file or its first line is empty: a header line is needed")
    return encoding, text, len(start) < HEADER_BYTES


def _encoding(start: bytes, setting: str) -> str:
    """Returns the encoding, from the byte order mark and the setting; it is never guessed from the content."""
    marked = next((encoding for mark, encoding in MARKS.items() if start.startswith(mark)), None)
    if setting == "auto":
        return marked or "utf-8"
    if setting == "utf-8" and marked == "utf-8-sig":
        return marked
    if setting != "utf-16":
        return setting
    # Without a byte order mark, assume an ASCII first character: its high byte is zero.
    return marked or ("utf-16-be" if start.startswith(b"\0") else "utf-16-le")


def _end_of(path: str, file: str) -> bytes:
    """Returns the last bytes of a text file or of its copy, enough for the longest line.

    Raises:
        DataError: The file cannot be read.
    """
    try:
        with _opened(path) as content:
            if not path.lower().endswith(".gz"):
                content.seek(max(0, content.seek(0, os.SEEK_END) - END_BYTES))
                return content.read()
            end = b""
            while chunk := content.read(CHUNK_BYTES):
                end = (end + chunk)[-END_BYTES:]
            return end
    except (OSError, EOFError, zlib.error) as error:
        raise DataError(f"{file}: cannot be read: {error}") from None


@contextmanager
def _opened(file: str) -> Iterator[IO[bytes]]:
    """Yields the bytes of a text file, decompressed."""
    with path_of(file).open("rb") as content:
        if not file.lower().endswith(".gz"):
            yield content
        else:
            with gzip.GzipFile(fileobj=content) as decompressed:
                yield cast(IO[bytes], decompressed)
