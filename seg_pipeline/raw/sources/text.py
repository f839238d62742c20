"""Delimited text: csv and its relatives, plain or compressed with gzip, in several encodings."""

import codecs
import csv
import errno
import gzip
import io
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
from seg_pipeline.raw.columns import NAME_WIDTH
from seg_pipeline.raw.sources.files import FileKind, files_parameter, first_rows, values_of
from seg_pipeline.raw.sources.places import path_of
from seg_pipeline.raw.sources.source import Delivery, Shape
from seg_pipeline.settings import SourceSettings
from seg_pipeline.tables import Table
from seg_pipeline.warehouse import Connection, Relation, literal, sql_name

DELIMITERS = ",;\t|"
# A line may be long; a header longer than this is no header.
HEADER_BYTES = 1_000_000
# Of UTF-16 DuckDB reads one byte order and takes the other for an empty file, in a header with a line break it loses
# its place after a byte order mark, and Windows-1252 it does not know. It is given copies in UTF-8 without a mark.
COPIED = ("utf-16-le", "utf-16-be", "utf-8-sig", "windows-1252")
LINE_END = r"\r\n|\n|\r"
MARK = "\ufeff"
# What the first bytes of a text say of its encoding, and those of files that are no text.
MARKS = {codecs.BOM_UTF8: "utf-8-sig", codecs.BOM_UTF16_LE: "utf-16-le", codecs.BOM_UTF16_BE: "utf-16-be"}
OTHER_FILES = {b"PAR1": "parquet", b"\x1f\x8b": "gzip", b"PK\x03\x04": "a zip archive or a spreadsheet"}
ENCODINGS = "set source.encoding to utf-8, utf-16, latin-1 or windows-1252"
NONE_READ = "{}: none of its lines can be read; its quotes or line ends are of no known kind"


@dataclass(frozen=True, slots=True)
class TextShape(Shape):
    """How text is read.

    Attributes:
        delimiter: The character between two values, or `whitespace`.
        compression: `none` or `gzip`.
        encoding: `utf-8`, `latin-1` or one of COPIED.
        line_end: How lines end, if DuckDB would mistake a line break within the header for a line end; else empty.
    """

    delimiter: str = ","
    compression: str = "none"
    encoding: str = "utf-8"
    line_end: str = ""

    @property
    def detected(self) -> Mapping[str, str]:
        return {"delimiter": self.delimiter}


class Text(FileKind):
    """Delimited text."""

    endings = (".csv", ".tsv", ".txt", ".csv.gz", ".tsv.gz", ".txt.gz")

    def shape(self, name: str, source: SourceSettings) -> TextShape:
        encoding, start = _start(name, source.encoding)
        # DuckDB recognises the ending in small letters only and takes other files for plain text.
        compression = "gzip" if name.lower().endswith(".gz") else "none"
        delimiter = source.delimiter
        if delimiter == "whitespace":
            header, line_end = tuple(_first_line(start).split()), ""
        else:
            # What is quoted is part of a name.
            unquoted = re.sub('"[^"]*"', "", start)
            if delimiter == "auto":
                delimiter = max(DELIMITERS, key=_first_line(unquoted).count)
            header = _header(name, start, delimiter)
            end = re.search(LINE_END, unquoted)
            line_end = end[0] if end and any(re.search(LINE_END, column) for column in header) else ""
        if encoding == "utf-8-sig" and not line_end:
            encoding = "utf-8"
        return TextShape(header, (), delimiter, compression, encoding, line_end)

    def query(self, delivery: Delivery) -> str:
        return f"SELECT *, row_number() OVER () AS source_row FROM ({_lines(delivery)})"

    def parameters(self, delivery: Delivery, names: Iterable[str]) -> dict[str, object]:
        shape = _shape_of(delivery)
        return {
            **files_parameter(names),
            "encoding": "latin-1" if shape.encoding == "latin-1" else "utf-8",
            "compression": "none" if shape.encoding in COPIED else shape.compression,
        }

    def readable(self, delivery: Delivery) -> AbstractContextManager[Mapping[str, str]]:
        return _copies(delivery) if _shape_of(delivery).encoding in COPIED else super().readable(delivery)

    def append(
        self,
        connection: Connection,
        delivery: Delivery,
        read: Mapping[str, str],
        into: Table | Relation,
        limit: int | None,
    ) -> None:
        # Rows are numbered once they are in the table: DuckDB keeps their order, and numbering them while it reads
        # would hold it to one thread. Until then their source_row is 0.
        table, lines = sql_name(into), 0
        for files in _at_once(connection, list(read)):
            lines += connection.insert(
                into,
                f"SELECT *, 0 AS source_row FROM ({_lines(delivery)})" + first_rows(limit and limit - lines),
                self.parameters(delivery, files),
            )
            if limit and lines >= limit:
                break
        if _shape_of(delivery).encoding in COPIED:
            connection.execute(
                f"UPDATE {table} SET source_file = delivered"
                " FROM (SELECT unnest($read) AS read, unnest($delivered) AS delivered)"
                " WHERE source_row = 0 AND source_file = read",
                {"read": list(read), "delivered": list(read.values())},
            )
        firsts = f"SELECT source_file, min(rowid) AS first_row FROM {table} WHERE source_row = 0 GROUP BY source_file"
        with_lines = {name for name, _ in connection.execute(firsts).fetchall()}
        for file in () if limit else delivery.files:
            if file not in with_lines:
                self.refuse_unread(delivery, file)
        connection.execute(
            f"UPDATE {table} AS lines SET source_row = lines.rowid - first_row + 1 FROM ({firsts}) AS firsts"
            " WHERE source_row = 0 AND lines.source_file = firsts.source_file"
        )

    def refuse_unread(self, delivery: Delivery, file: str) -> None:
        if _has_lines(file, _shape_of(delivery)):
            raise DataError(NONE_READ.format(file))

    def message(self, file: str, error: duckdb.Error) -> str:
        said = str(error)
        if "state machine reached an invalid state" in said:
            return f"{file}: line ends of more than one kind, or a line break outside of quotes; write it with one kind"
        if "Invalid unicode" in said and (line := re.search(r"CSV Error on Line: (\d+)", said)):
            return f"{file}: not utf-8 text (line {line[1]}); {ENCODINGS}"
        return super().message(file, error)


def _shape_of(delivery: Delivery) -> TextShape:
    return cast(TextShape, delivery.shape)


def _at_once(connection: Connection, files: Sequence[str]) -> Iterator[Sequence[str]]:
    """Yields the files, so many together that each is read with care.

    Given more than two for each of its threads, DuckDB reads every file in one go, and then drops without a word all
    that follows a quote that is never closed.
    """
    size = 2 * connection.execute("SELECT current_setting('threads')").fetchall()[0][0]
    for first in range(0, len(files), size):
        yield files[first : first + size]


def _has_lines(file: str, shape: TextShape) -> bool:
    """Returns whether anything but blank lines follows the header."""
    _, start = _start(file, shape.encoding)
    if shape.delimiter == "whitespace":
        return any(line.strip() for line in start.splitlines()[1:])
    lines = csv.reader(io.StringIO(start, newline=""), delimiter=shape.delimiter)
    next(lines)
    return any(lines)


@contextmanager
def _copies(delivery: Delivery) -> Iterator[Mapping[str, str]]:
    """Yields the paths of copies in UTF-8, each with the delivered file it came from."""
    encoding = _shape_of(delivery).encoding
    with tempfile.TemporaryDirectory() as folder:
        read = {}
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
            read[str(copy)] = file
        yield read


def _lines(delivery: Delivery) -> str:
    """Returns a query of the lines of `$files` as text, with their file; empty values are NULL.

    Columns are taken by their place, so that the rest of a header may be anything: a name twice, or none.
    """
    shape = _shape_of(delivery)
    if shape.delimiter == "whitespace":
        # No CSV dialect takes runs of blanks, so each line is split here.
        width = len(shape.header)
        values = values_of(delivery, lambda name: f"part[{shape.header.index(name) + 1}]")
        message = f"' values, and its header {width}: ' || left(line, {NAME_WIDTH})"
        return (
            f"SELECT {values}, source_file FROM ("
            "SELECT string_split_regex(trim(line, ' \t\r'), '\\s+') AS part, filename AS source_file, line"
            " FROM read_csv($files, columns = {'line': 'VARCHAR'}, delim = '\x01', quote = '', escape = '',"
            " header = true, auto_detect = false, filename = true, encoding = $encoding, compression = $compression)"
            " WHERE trim(line, ' \t\r') != '')"
            f" WHERE CASE WHEN len(part) = {width} THEN true ELSE error('a line has ' || len(part) || {message}) END"
        )
    types = ", ".join(f"'c{place}': 'VARCHAR'" for place in range(len(shape.header)))
    values = values_of(delivery, lambda name: f"c{shape.header.index(name)}")
    line_end = f", new_line = {literal(shape.line_end.encode('unicode_escape').decode())}" if shape.line_end else ""
    return (
        f"SELECT {values}, filename AS source_file"
        f" FROM read_csv($files, columns = {{{types}}}, delim = {literal(shape.delimiter)}, quote = '\"',"
        " escape = '\"', header = true, auto_detect = false, filename = true,"
        f" encoding = $encoding, compression = $compression{line_end})"
    )


def _first_line(text: str) -> str:
    return re.split(LINE_END, text, maxsplit=1)[0]


def _header(file: str, start: str, delimiter: str) -> tuple[str, ...]:
    # A quoted name may have line breaks. If a name is quoted wrongly, DuckDB skips all lines.
    try:
        return tuple(next(csv.reader(io.StringIO(start, newline=""), delimiter=delimiter, strict=True)))
    except csv.Error as error:
        raise DataError(f"{file}: its first line is no header: {error}") from None


def _start(file: str, setting: str) -> tuple[str, str]:
    """Returns the encoding of a text file and its first lines, without the byte order mark."""
    try:
        with _opened(file) as lines:
            start = lines.read(HEADER_BYTES)
    except (OSError, EOFError, zlib.error) as error:
        raise DataError(f"{file}: cannot be read: {error}") from None
    for mark, kind in OTHER_FILES.items():
        if start.startswith(mark):
            raise DataError(f"{file}: no text but {kind}; give it the name of what it is, or export it as csv")
    encoding = _encoding(start, setting)
    try:
        # If more bytes follow, the last character may be cut.
        text = codecs.getincrementaldecoder(encoding)().decode(start, final=len(start) < HEADER_BYTES)
    except UnicodeDecodeError as error:
        raise DataError(f"{file}: not {encoding.removesuffix('-sig')} text (byte {error.start}); {ENCODINGS}") from None
    text = text.removeprefix(MARK)
    if "\0" in text:
        unmarked = "" if encoding in COPIED else "; if it is UTF-16, set source.encoding=utf-16"
        raise DataError(f"{file}: a NUL byte in line {text[: text.index(chr(0))].count(chr(10)) + 1}{unmarked}")
    if not _first_line(text).strip():
        raise DataError(f"{file}: empty, or its first line is: a header line is needed")
    return encoding, text


def _encoding(start: bytes, setting: str) -> str:
    """Returns the encoding that the first bytes and the setting name; it is never guessed from the rest."""
    marked = next((encoding for mark, encoding in MARKS.items() if start.startswith(mark)), None)
    if setting == "auto":
        return marked or "utf-8"
    if setting == "utf-8" and marked == "utf-8-sig":
        return marked
    if setting != "utf-16":
        return setting
    # A header begins with a letter of one byte.
    return marked or ("utf-16-be" if start.startswith(b"\0") else "utf-16-le")


@contextmanager
def _opened(file: str) -> Iterator[IO[bytes]]:
    """Yields the bytes of a text file, unpacked."""
    with path_of(file).open("rb") as content:
        if not file.lower().endswith(".gz"):
            yield content
        else:
            with gzip.GzipFile(fileobj=content) as unpacked:
                yield cast(IO[bytes], unpacked)
