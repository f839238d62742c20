"""Delivered files: finding them, reading their header, loading them as text. Order lines stay inside the database."""

import codecs
import csv
import errno
import glob
import gzip
import io
import re
import shutil
import tempfile
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import chdir, contextmanager, nullcontext
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import IO, TYPE_CHECKING, TypeVar, cast

import duckdb

from seg_pipeline.errors import DataError, MachineError, SegPipelineError, UsageError
from seg_pipeline.raw.columns import NAME_WIDTH, ORDER_COLUMNS, column_names
from seg_pipeline.raw.object_storage import is_object, object_path, register, told
from seg_pipeline.settings import SourceSettings, read_preset
from seg_pipeline.tables import Table
from seg_pipeline.warehouse import DAMAGE, Connection, Relation, literal, name_of, quoted

if TYPE_CHECKING:
    import pyarrow as pa

TEXT_ENDINGS = (".csv", ".tsv", ".txt", ".csv.gz", ".tsv.gz", ".txt.gz")
PARQUET_ENDINGS = (".parquet", ".pq")
DELIMITERS = ",;\t|"
Result = TypeVar("Result")
# A line may be long; a header longer than this is no header.
HEADER_BYTES = 1_000_000
# Of UTF-16 the database reads one byte order and takes the other for an empty file, of a header with a line break it
# loses the place behind a byte order mark, and Windows-1252 it does not know. It is given copies in UTF-8, unmarked.
COPIED = ("utf-16-le", "utf-16-be", "utf-8-sig", "windows-1252")
LINE_END = r"\r\n|\n|\r"
MARK = "\ufeff"
# What the first bytes of a text say of its encoding, and those of other files of their kind.
MARKS = {codecs.BOM_UTF8: "utf-8-sig", codecs.BOM_UTF16_LE: "utf-16-le", codecs.BOM_UTF16_BE: "utf-16-be"}
KINDS = {b"PAR1": "parquet", b"\x1f\x8b": "gzip", b"PK\x03\x04": "a zip archive or a spreadsheet"}
# Parquet types that hold no value of an order line, and for ids those that do not keep all digits.
NO_VALUE = re.compile(r"(STRUCT|MAP|UNION|VARIANT|BOOLEAN|INTERVAL|BIT)\b|.*\]$")
NO_ID = re.compile(r"FLOAT$|TIME|DATE")
IDS = ("order_id", "customer_id")
WORDS = ("country", "description", "currency", "shop")
# Types and values alike are those of text where a file does not say that its bytes are text.
PARQUET_OPTIONS = "binary_as_string = true"
ENCODINGS = "set source.encoding to utf-8, utf-16, latin-1 or windows-1252"
# The line of a reader's complaint that says what is wrong.
DETAILS = ("Error when", "Expected", "Value with", "Maximum line size")
NONE_READ = "{}: none of its lines can be read; its quotes or line ends are of no known kind"
# Lines that a worker reads of a parquet file at once, and hands on together.
LINES_IN_A_PART = 1_000_000
LINES_AT_ONCE = 50_000
# The machine's or our own faults, which no other file would mend.
NOT_THE_FILES = (
    duckdb.OutOfMemoryException,
    duckdb.FatalException,
    duckdb.InternalException,
    duckdb.TransactionException,
)


@dataclass(frozen=True, slots=True)
class Delivery:
    """Files of one shape, read together: the same header, so the same columns at the same place."""

    files: tuple[Path, ...]
    header: tuple[str, ...]
    delimiter: str | None  # None for parquet
    columns: dict[str, str]  # column of raw_orders -> column of the file
    compression: str = "none"
    encoding: str = "utf-8"  # or one of COPIED, or latin-1
    line_end: str = ""  # where the database would take one within the header for it


@dataclass(frozen=True, slots=True)
class _Shape:
    """What files have in common that are read together. Parquet files of other types would be cast to the first's."""

    header: tuple[str, ...]
    delimiter: str | None
    types: tuple[str, ...] = ()
    compression: str = "none"
    encoding: str = "utf-8"
    line_end: str = ""


def path_of(name: str) -> Path:
    """A file or folder by its name, of the disk or of object storage."""
    return object_path(name) if is_object(name) else Path(name)  # type: ignore[return-value]  # it has Path's methods


def find_files(paths: Iterable[str]) -> list[Path]:
    """The files that paths, folders (with what is below them) and globs stand for, in order of their path.

    Raises:
        UsageError: nothing given, nothing there, or nothing of a kind that can be read.
        MachineError: the object storage cannot be reached.
    """
    given = list(paths)
    if not given:
        raise UsageError("source.path: no order files given; name a file, a folder or a glob")
    found = [file for name in given for file in _told(name, partial(_named, name))]
    # A file that is named twice, in whatever words, is one delivery.
    return sorted({_identity(file): file for file in sorted(found, key=str, reverse=True)}.values(), key=str)


def _told(name: str, work: Callable[[], Result]) -> Result:
    """Does work that touches a file; what object storage complains of becomes one line."""
    return told(name, work) if is_object(name) else work()


def _named(name: str) -> list[Path]:
    """The files that one path, folder or glob stands for."""
    path, endings = path_of(name), ", ".join(TEXT_ENDINGS + PARQUET_ENDINGS)
    if path.is_dir():
        below = [file for file in path.rglob("*") if file.is_file() and _is_order_file(file, path)]
        if not below:
            raise UsageError(f"{name}: no file in this folder ends in {endings}")
        return below
    if path.is_file():
        if not _is_readable_kind(path):
            raise UsageError(f"{name}: not a kind of file that can be read; it must end in {endings}")
        return [path]
    files = [file for file in _matches(name) if file.is_file() and _is_readable_kind(file)]
    if not files:
        raise UsageError(f"{name}: no such file or folder, and no file matches it")
    return files


def _matches(pattern: str) -> list[Path]:
    if not is_object(pattern):
        return [Path(match) for match in glob.glob(pattern, recursive=True)]
    folder = re.split(r"/(?=[^/]*[*?[])", pattern, maxsplit=1)
    return list(path_of(folder[0]).glob(folder[1])) if len(folder) > 1 else []


def _identity(file: Path) -> str:
    return str(file) if is_object(str(file)) else str(file.resolve())


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
            _refuse_types(shape, columns, str(alike[0]))
        except SegPipelineError as error:
            refused |= {file: type(error)(str(error).replace(str(alike[0]), str(file))) for file in alike}
        else:
            found.append(
                Delivery(
                    tuple(alike),
                    shape.header,
                    shape.delimiter,
                    columns,
                    shape.compression,
                    shape.encoding,
                    shape.line_end,
                )
            )
    return Found(found, refused)


def header_of(file: Path, source: SourceSettings) -> tuple[str, ...]:
    """The columns of a file, in their order.

    Raises:
        DataError: it cannot be read as the settings say.
    """
    return _shape(file, source).header


def load(connection: Connection, delivery: Delivery, into: Table | Relation, *, limit: int | None = None) -> None:
    """Appends the lines of a delivery to the table `into`, as text, with the file and the row each came from.

    source_row counts the data rows of a file from 1. `limit` takes the first lines of each shape only.

    Raises:
        DataError: a file cannot be read; the line names it and the row.
    """
    if any(is_object(str(file)) for file in delivery.files):
        register(connection.duckdb)
    if connection.append_in_workers(into, partial(_parts, connection, delivery), read_lines):
        return
    with _as_read(delivery) as read, _refused(delivery, read):
        (_load_text if delivery.delimiter else _load_parquet)(connection, delivery, read, into, limit)


@dataclass(frozen=True, slots=True)
class Part:
    """What is read at once of a delivery of one file: all of it, or some rows where it can be entered anywhere."""

    delivery: Delivery
    folder: str  # that the file's name is relative to
    rows: tuple[int, int] | None = None  # the first and the one after the last, from 0


def _parts(connection: Connection, delivery: Delivery) -> list[Part]:
    """A delivery in parts; of text a file is one, since only who reads it from its start knows what is quoted."""
    here = str(Path.cwd())
    if delivery.delimiter:
        return [Part(replace(delivery, files=(file,)), here) for file in delivery.files]
    names = {str(file): str(file) for file in delivery.files}
    with _refused(delivery, names):
        query = "SELECT file_name, num_rows FROM parquet_file_metadata($files)"
        rows = dict(connection.execute(query, _files(names)).fetchall())
    return [
        Part(replace(delivery, files=(file,)), here, (first, first + LINES_IN_A_PART))
        for file in delivery.files
        for first in range(0, rows[str(file)], LINES_IN_A_PART)
    ]


def read_lines(part: Part) -> "Iterator[pa.RecordBatch]":
    """The lines of a part of a delivery as `load` appends them, some at a time: what a worker of Spark does.

    Raises:
        DataError: as `load`.
    """
    delivery = part.delivery
    [file] = delivery.files
    if delivery.delimiter:
        # In one thread rows come in the order of the file.
        lines, row = _text_lines(delivery), "row_number() OVER ()"
    else:
        lines, row = _parquet_lines(delivery), "source_row"
    if part.rows:
        lines += f" WHERE file_row_number >= {part.rows[0]} AND file_row_number < {part.rows[1]}"
    values = ", ".join(f"CAST({column} AS VARCHAR) AS {column}" for column in ORDER_COLUMNS)
    with (
        # Lines name their file as the run does, and a worker starts elsewhere.
        nullcontext() if is_object(str(file)) or file.is_absolute() else chdir(part.folder),
        _as_read(delivery) as read,
        _refused(delivery, read),
        duckdb.connect(config={"threads": 1}) as connection,
    ):
        if is_object(str(file)):
            register(connection)
        found = connection.execute(
            f"SELECT {values}, $delivered AS source_file, {row} AS source_row FROM ({lines})",
            {"delivered": str(file), **(_text_files(delivery, read) if delivery.delimiter else _files(read))},
        ).to_arrow_reader(LINES_AT_ONCE)
        empty = True
        for batch in found:
            empty = False
            yield batch
    if empty and delivery.delimiter and _has_lines(file, delivery):
        raise DataError(NONE_READ.format(file))


@contextmanager
def _refused(delivery: Delivery, read: Mapping[str, str]) -> Iterator[None]:
    """What the database says of a file within becomes the one line that names it."""
    try:
        yield
    except duckdb.Error as error:
        damage = DAMAGE.search(str(error))
        of_warehouse = damage and damage["file"] not in read
        if isinstance(error, NOT_THE_FILES) or of_warehouse or "No space left" in str(error):
            raise
        raise DataError(_readable(error, read, "" if delivery.delimiter else "damaged: ")) from None


def _load_parquet(
    connection: Connection,
    delivery: Delivery,
    read: Mapping[str, str],
    into: Table | Relation,
    limit: int | None,
) -> None:
    lines = _parquet_lines(delivery) + _first_rows(limit)
    connection.insert(into, lines, _files(read))


def _parquet_lines(delivery: Delivery) -> str:
    """A query of the lines of parquet files as text, with their file and row."""
    values = _values(delivery, lambda name: f"nullif(CAST({quoted(name)} AS VARCHAR), '')")
    return (
        f"SELECT {values}, source_file, file_row_number + 1 AS source_row"
        f" FROM read_parquet($files, filename = 'source_file', file_row_number = true, {PARQUET_OPTIONS})"
    )


def _files(names: Iterable[str]) -> dict[str, object]:
    # Within a pattern of the database's own, [, * and ? in a file's name stand for themselves.
    return {"files": [glob.escape(name) for name in names]}


def _text_files(delivery: Delivery, names: Iterable[str]) -> dict[str, object]:
    """What the query of the lines of text files binds."""
    return {
        **_files(names),
        "encoding": "latin-1" if delivery.encoding == "latin-1" else "utf-8",
        "compression": "none" if delivery.encoding in COPIED else delivery.compression,
    }


def _load_text(
    connection: Connection,
    delivery: Delivery,
    read: Mapping[str, str],
    into: Table | Relation,
    limit: int | None,
) -> None:
    # Rows are numbered when they are there: the database keeps their order, and numbering them while it reads would
    # hold it to one thread. Until then their source_row is 0.
    table, lines = name_of(into), 0
    for files in _at_once(connection, list(read)):
        lines += connection.insert(
            into,
            f"SELECT *, 0 AS source_row FROM ({_text_lines(delivery)})" + _first_rows(limit and limit - lines),
            _text_files(delivery, files),
        )
        if limit and lines >= limit:
            break
    if delivery.encoding in COPIED:
        connection.execute(
            f"UPDATE {table} SET source_file = delivered"
            " FROM (SELECT unnest($read) AS read, unnest($delivered) AS delivered)"
            " WHERE source_row = 0 AND source_file = read",
            {"read": list(read), "delivered": list(read.values())},
        )
    firsts = f"SELECT source_file, min(rowid) AS first_row FROM {table} WHERE source_row = 0 GROUP BY source_file"
    brought = {name for name, _ in connection.execute(firsts).fetchall()}
    for file in () if limit else delivery.files:
        if str(file) not in brought and _has_lines(file, delivery):
            raise DataError(NONE_READ.format(file))
    connection.execute(
        f"UPDATE {table} AS lines SET source_row = lines.rowid - first_row + 1 FROM ({firsts}) AS firsts"
        " WHERE source_row = 0 AND lines.source_file = firsts.source_file"
    )


def _first_rows(limit: int | None) -> str:
    return f" LIMIT {int(limit)}" if limit else ""


def _at_once(connection: Connection, files: Sequence[str]) -> Iterator[Sequence[str]]:
    """The files, as many together as are read with care.

    Given more than two for each of its threads, the database reads every file in one go, and then drops without a word
    all that follows a quote that is never closed.
    """
    size = 2 * connection.execute("SELECT current_setting('threads')").fetchall()[0][0]
    for first in range(0, len(files), size):
        yield files[first : first + size]


def _has_lines(file: Path, delivery: Delivery) -> bool:
    """Whether anything but blank lines follows the header of a text file."""
    _, start = _start(file, delivery.encoding)
    if delivery.delimiter == "whitespace":
        return any(line.strip() for line in start.splitlines()[1:])
    lines = csv.reader(io.StringIO(start, newline=""), delimiter=delivery.delimiter or ",")
    next(lines)
    return any(lines)


@contextmanager
def _as_read(delivery: Delivery) -> Iterator[Mapping[str, str]]:
    """The files that the database reads, each with the delivered one that it stands for."""
    if delivery.encoding not in COPIED:
        yield {str(file): str(file) for file in delivery.files}
        return
    with tempfile.TemporaryDirectory() as folder:
        read = {}
        for number, file in enumerate(delivery.files):
            copy = Path(folder) / f"{number}.csv"
            try:
                with (
                    _opened(file) as content,
                    io.TextIOWrapper(content, encoding=delivery.encoding, newline="") as text,
                    copy.open("w", encoding="utf-8", newline="") as out,
                ):
                    out.write(text.read(1).removeprefix(MARK))
                    shutil.copyfileobj(text, out)
            except UnicodeError:
                raise DataError(f"{file}: not {delivery.encoding.removesuffix('-sig')} text; {ENCODINGS}") from None
            except (OSError, EOFError, zlib.error) as error:
                if isinstance(error, OSError) and error.errno == errno.ENOSPC:
                    raise MachineError(f"{folder}: {error.strerror}") from None
                raise DataError(f"{file}: cannot be read: {error}") from None
            read[str(copy)] = str(file)
        yield read


def _values(delivery: Delivery, value_of: Callable[[str], str]) -> str:
    """The columns of raw_orders as expressions on a file's columns; NULL where it has none."""

    def value(column: str) -> str:
        if column not in delivery.columns:
            return "NULL"
        name = value_of(delivery.columns[column])
        if column not in IDS:
            return name
        # An id with a NUL byte in it looks like the one without, and is another.
        return f"CASE WHEN contains({name}, chr(0)) THEN error({literal(f'a NUL byte in {column}')}) ELSE {name} END"

    return ", ".join(f"{value(column)} AS {column}" for column in ORDER_COLUMNS)


def _text_lines(delivery: Delivery) -> str:
    """A query of the lines of text files as text, with their file; empty values are NULL.

    Columns are taken by their place, so that the rest of a header may be anything, names twice and no names included.
    """
    if delivery.delimiter == "whitespace":
        # No CSV dialect takes runs of blanks, so each line is split here.
        width = len(delivery.header)
        values = _values(delivery, lambda name: f"part[{delivery.header.index(name) + 1}]")
        told = f"' values, and its header {width}: ' || left(line, {NAME_WIDTH})"
        return (
            f"SELECT {values}, source_file FROM ("
            "SELECT string_split_regex(trim(line, ' \t\r'), '\\s+') AS part, filename AS source_file, line"
            " FROM read_csv($files, columns = {'line': 'VARCHAR'}, delim = '\x01', quote = '', escape = '',"
            " header = true, auto_detect = false, filename = true, encoding = $encoding, compression = $compression)"
            " WHERE trim(line, ' \t\r') != '')"
            f" WHERE CASE WHEN len(part) = {width} THEN true ELSE error('a line has ' || len(part) || {told}) END"
        )
    types = ", ".join(f"'c{place}': 'VARCHAR'" for place in range(len(delivery.header)))
    values = _values(delivery, lambda name: f"c{delivery.header.index(name)}")
    line_end = (
        f", new_line = {literal(delivery.line_end.encode('unicode_escape').decode())}" if delivery.line_end else ""
    )
    return (
        f"SELECT {values}, filename AS source_file"
        f" FROM read_csv($files, columns = {{{types}}}, delim = {literal(delivery.delimiter or ',')}, quote = '\"',"
        " escape = '\"', header = true, auto_detect = false, filename = true,"
        f" encoding = $encoding, compression = $compression{line_end})"
    )


def _shape(file: Path, source: SourceSettings) -> _Shape:
    if file.name.lower().endswith(PARQUET_ENDINGS):
        return _parquet_shape(file)
    encoding, start = _start(file, source.encoding)
    # Told, since the database knows the ending in small letters only and takes the rest for text.
    compression = "gzip" if file.suffix.lower() == ".gz" else "none"
    delimiter = source.delimiter
    if delimiter == "whitespace":
        header, line_end = tuple(_first_line(start).split()), ""
    else:
        # What is quoted is part of a name.
        unquoted = re.sub('"[^"]*"', "", start)
        if delimiter == "auto":
            delimiter = max(DELIMITERS, key=_first_line(unquoted).count)
        header = _header(file, start, delimiter)
        end = re.search(LINE_END, unquoted)
        line_end = end[0] if end and any(re.search(LINE_END, name) for name in header) else ""
    if encoding == "utf-8-sig" and not line_end:
        encoding = "utf-8"
    return _Shape(header, delimiter, (), compression, encoding, line_end)


def _first_line(text: str) -> str:
    return re.split(LINE_END, text, maxsplit=1)[0]


def _header(file: Path, start: str, delimiter: str) -> tuple[str, ...]:
    # A name may be quoted, and a quoted one go over lines. Where one is quoted wrongly, the database skips all lines.
    try:
        return tuple(next(csv.reader(io.StringIO(start, newline=""), delimiter=delimiter, strict=True)))
    except csv.Error as error:
        raise DataError(f"{file}: its first line is no header: {error}") from None


def _start(file: Path, setting: str) -> tuple[str, str]:
    """The encoding of a text file, and its first lines; a byte order mark is no part of the first name."""
    try:
        with _opened(file) as lines:
            start = lines.read(HEADER_BYTES)
    except (OSError, EOFError, zlib.error) as error:
        raise DataError(f"{file}: cannot be read: {error}") from None
    for mark, kind in KINDS.items():
        if start.startswith(mark):
            raise DataError(f"{file}: no text but {kind}; give it the name of what it is, or export it as csv")
    encoding = _encoding(start, setting)
    try:
        # More bytes may come: the last character may be cut.
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
    """The encoding that a text's first bytes and the settings name; it is never guessed from the rest."""
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
def _opened(file: Path) -> Iterator[IO[bytes]]:
    """The bytes of a text file, unpacked."""
    with file.open("rb") as content:
        if file.suffix.lower() != ".gz":
            yield content
        else:
            with gzip.GzipFile(fileobj=content) as unpacked:
                yield cast(IO[bytes], unpacked)


def _parquet_shape(file: Path) -> _Shape:
    try:
        with duckdb.connect() as connection:
            if is_object(str(file)):
                register(connection)
            columns = connection.execute(
                f"DESCRIBE SELECT * FROM read_parquet($file, {PARQUET_OPTIONS})", {"file": glob.escape(str(file))}
            ).fetchall()
    except duckdb.Error as error:
        raise DataError(f"{file}: not a parquet file, or a damaged one: {_said(error)}") from None
    return _Shape(tuple(column[0] for column in columns), None, tuple(column[1] for column in columns))


def _is_readable_kind(file: Path) -> bool:
    return file.name.lower().endswith(TEXT_ENDINGS + PARQUET_ENDINGS)


def _is_order_file(file: Path, folder: Path) -> bool:
    """Whether a file found in a folder is meant: hidden files and folders are some program's own."""
    below = str(file).removeprefix(str(folder)).split("/")
    return _is_readable_kind(file) and not any(part.startswith(".") for part in below)


def _refuse_types(shape: _Shape, columns: Mapping[str, str], where: str) -> None:
    """Raises DataError where a column of a parquet file holds what is no text, number or date."""
    for column, name in columns.items():
        type_ = shape.types[shape.header.index(name)] if shape.types else ""
        if column not in WORDS and NO_VALUE.match(type_):
            raise DataError(f"{where}: its column {name!r} for {column} is {type_}, which is no value")
        if column in IDS and NO_ID.match(type_):
            raise DataError(
                f"{where}: its column {name!r} for {column} is {type_}, which is no id; write whole numbers or text"
            )


def _readable(error: duckdb.Error, read: Mapping[str, str], fault: str = "") -> str:
    """The reader's complaint on one line, with the file it is about."""
    said = str(error)
    file = next((file for name, file in read.items() if name in said), next(iter(read.values())))
    if "state machine reached an invalid state" in said:
        return f"{file}: line ends of more than one kind, or a line break outside of quotes; write it with one kind"
    if "Invalid unicode" in said and (line := re.search(r"CSV Error on Line: (\d+)", said)):
        return f"{file}: not utf-8 text (line {line[1]}); {ENCODINGS}"
    detail = next((line.strip() for line in said.splitlines() if line.strip().startswith(DETAILS)), "")
    return " ".join(f"{file}: {fault}{_said(error)} {detail}".split())


def _said(error: duckdb.Error) -> str:
    """The first line of a reader's complaint, without its kind."""
    first = "".join(letter for letter in str(error).strip().split("\n", 1)[0] if letter.isprintable())
    return re.sub(r"^(\w[\w ]* Error: )+", "", first).rstrip(": ")
