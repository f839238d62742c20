"""Sources with faults in them, made from a seed: `python -m seg_pipeline_tests.fuzz --inputs 2000 --seed 1`.

Each is a small valid source with a few mutations of its bytes, cells, columns, encoding, delimiter, quotes, line ends
or length. One in three also has files with odd names, in folders, also in folders named COLUMN=VALUE, Parquet with
nested columns, or a compressed file that expands to megabytes in one line.

Loading and cleaning it must end soon: well, with every line accounted for and every value under the name it
was delivered under, or with an error of one line. The delivered files are read a second time by Python's own csv
module. `--command 50` runs as many through the command line.
"""

import argparse
import csv
import datetime
import decimal
import gzip
import io
import json
import random
import re
import subprocess
import sys
import tempfile
import time
import urllib.parse
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal

import duckdb

from seg_pipeline.errors import SegPipelineError
from seg_pipeline.prepared.cleaning import clean
from seg_pipeline.raw.ingestion import ingest
from seg_pipeline.raw.ledger import read_ledger
from seg_pipeline.raw.sources import readable_name
from seg_pipeline.raw.tables import STATUSES
from seg_pipeline.settings import load_settings
from seg_pipeline.warehouse import Connection

# The names that a column of raw_orders goes by here; nothing else may be taken for it.
NAMES = {
    "order_id": ("order_id", "Order ID", "InvoiceNo"),
    "customer_id": ("customer_id", "Customer-ID", "user_id"),
    "ordered_at": ("date", "Order Date", "invoice_date"),
    "product_id": ("sku", "StockCode"),
    "quantity": ("qty", "Quantity"),
    "unit_price": ("price", "Unit Price"),
    "country": ("country",),
    "description": ("description", "Title"),
    "unused": ("note", "filename", "c0", "", "line"),
}
NEEDED = ("customer_id", "ordered_at", "unit_price")
COLUMN_OF = {name: column for column, names in NAMES.items() if column != "unused" for name in names}
LOST_NAMES = ("kundin", "datum", "custmer", "x", "kosten (€)", "price\n(net)", '"', "ＰＲＩＣＥ", "n" * 300)
CUSTOMERS = (
    "1",
    "17850",
    "00017",
    "17850.0",
    "A7",
    "José",
    "客户",
    "ñ-1",
    "5.9E+23",
    "9007199254740993.0",
    "-",
    "",
    " 7 ",
)
DATES = ("2024-01-05", "2024-12-31 08:05:00", "2024-06-06T10:00:00Z", "2023-02-28")
CELLS = (
    "", " ", "-", "NULL", "nan", "0", "-0.0", "1e5", "1e400", "1,5", "1.234,50", "1,234.50", "€12.50", "12.50 EUR",
    "(3)", "0x10", "1_000", "٣", "45000", "1704067200", "1704067200000", "00/00/0000", "0001-01-01", "9999-12-31",
    "31/12/2024", "12/31/2024", "01/02/03", "24-01-31", "2024111", "2024-01-01 00:00:00 Europe/Berlin",
    "2024-01-01 10:00+14:00", "infinity", "5.94773E+23", "=1+1", '="00017"', "a\tb", "two\nlines", "two\r\nlines",
    "a;b,c|d", '"', "'", "\\", "\\N", "\u2028", "\ufeffA", "\u200b", "x" * 5_000, "true", "[1, 2]", "{'a': 1}", "NaN",
    "-1", "99999999999999999999",
)  # fmt: skip
DELIMITERS = ",;\t|"
SETTINGS = (
    "source.encoding=utf-8", "source.encoding=utf-16", "source.encoding=latin-1", "source.encoding=windows-1252",
    "source.date_format=iso",
    "source.date_format=day-first", "source.decimal=,", "source.delimiter=;", "source.delimiter=whitespace",
    "source.columns.customer_id=user_id", "returns=match", "returns=drop", "duplicates=keep", "zero_prices=keep",
)  # fmt: skip
# Of models only what a run needs.
QUICK = ("models.algorithms=kmeans", "models.k_max=4", "models.bootstraps=0", "models.gap_references=0")
ODD_NAMES = (
    "b c", "b'c", 'b"c', "b[1]", "b*", "b?", "b\nc", "b%20c", "b=c", "=b", "-b", "客户", "e\u0301", "b;c", "{b}", "$b",
    "b\\c", "b\udcff", "\udce9", "b" * 200, "b.csv", "b.parquet",
)  # fmt: skip
FOLDERS = (
    "sub", "a b", "orders.parquet", "date=2020-02-02", "customer_id=007", "country=New%20York", "price=9.99", "note=1",
    "sku=__HIVE_DEFAULT_PARTITION__", "qty=", "source_file=x", "DATE=2019-01-01", "c0=x", "filename=x", "line=x", "=",
    "\udcff",
)  # fmt: skip
# What a compressed file expands to after its lines; more than DuckDB's buffer of 32 MB.
BOMBS = (b"x" * 40_000_000, b"\0" * 40_000_000, b"," * 40_000_000, b"\n" * 5_000_000)
NESTED = ", {'customer_id': 'x', 'tags': ['y']} AS nested, [1, 2] AS list, MAP {'date': 'z'} AS map"
MOST_SECONDS = 10.0
LONGEST_LINE = 5_000


@dataclass(frozen=True, slots=True)
class File:
    """A delivered file as a table and as what it is written with; `damage` is done to its bytes afterwards."""

    header: list[str]
    rows: list[list[str]]
    delimiter: str = ","
    encoding: str = "utf-8"
    line_end: str = "\n"
    quoting: Literal[0, 1] = csv.QUOTE_MINIMAL
    ending: str = ".csv"
    damage: Callable[[bytes], bytes] | None = None
    nested: bool = False
    bomb: bytes = b""

    @property
    def is_parquet(self) -> bool:
        return self.ending.endswith(".parquet")

    def content(self) -> bytes:
        if self.is_parquet:
            whole = _parquet(self.header, self.rows, nested=self.nested)
        else:
            text = io.StringIO(newline="")
            # The module writes a value with a bare line end of another kind without quotes.
            quoting = csv.QUOTE_ALL if self.line_end != "\r\n" else self.quoting
            writer = csv.writer(text, delimiter=self.delimiter, lineterminator=self.line_end, quoting=quoting)
            writer.writerow(self.header)
            writer.writerows(self.rows)
            whole = text.getvalue().encode(self.encoding, errors="replace")
        damaged = (self.damage(whole) if self.damage else whole) + self.bomb
        return gzip.compress(damaged, 1 if self.bomb else 9, mtime=0) if self.ending.endswith(".gz") else damaged

    def read_again(self, content: bytes) -> tuple[list[str], list[list[str]]] | None:
        """Header and rows by another reader; None where the bytes are no text of rows as wide as the header."""
        if self.is_parquet:
            return (self.header, self.rows) if self.damage is None else None
        if self.bomb:
            return None
        try:
            text = (gzip.decompress(content) if self.ending.endswith(".gz") else content).decode(self.encoding)
            lines = list(csv.reader(io.StringIO(text.removeprefix("\ufeff"), newline=""), delimiter=self.delimiter))
        except (UnicodeError, csv.Error, OSError, EOFError):
            return None
        header, *rows = lines or [[]]
        rows = [row for row in rows if row]
        # A delimiter too many at the end of a line adds nothing.
        rows = [row[: len(header)] if not any(row[len(header) :]) else row for row in rows]
        return (header, rows) if all(len(row) == len(header) for row in rows) else None


@dataclass(frozen=True, slots=True)
class Source:
    """Files by their name, the settings they are read with, and what was done to them."""

    files: dict[str, File]
    settings: tuple[str, ...] = ()
    done: tuple[str, ...] = ()


@dataclass(slots=True)
class Endings:
    """How inputs ended: loaded, some files set aside, or refused, these by the line without what varies.

    `values_compared` counts the values that both readers have read.
    """

    kinds: Counter[str] = field(default_factory=Counter)
    lines: Counter[str] = field(default_factory=Counter)
    values_compared: int = 0


def source(seed: int, number: int, lines: int = 25, mutations: int = 3) -> Source:
    """The input of a seed and a number: up to so many lines a file and so many mutations."""
    dice = random.Random(f"{seed}/{number}")
    columns = [*NEEDED, *dice.sample([name for name in NAMES if name not in NEEDED], dice.randint(0, len(NAMES) - 3))]
    files = {}
    count = dice.choice((1, 1, 2, 3, 7))
    for place in range(count):
        # Many files are of one shape, so that they are read together.
        if place == 0 or count < 7:
            dice.shuffle(columns)
            header = [dice.choice(NAMES[column]) for column in columns]
            ending = dice.choice((".csv", ".csv", ".CSV", ".tsv", ".txt", ".csv.gz", ".parquet"))
            delimiter = "\t" if ending == ".tsv" else dice.choice(DELIMITERS)
        rows = [
            [_value(dice, column, place * 1000 + row) for column in columns] for row in range(dice.randint(0, lines))
        ]
        files[f"d{place}{ending}"] = File(
            header, rows, delimiter, line_end=dice.choice(("\n", "\r\n")), ending=ending.lower()
        )
    made = Source(files)
    for _ in range(dice.randint(0, mutations)):
        name = dice.choice(list(made.files))
        mutation = dice.choice(MUTATIONS)
        made = replace(
            made,
            files={**made.files, name: mutation(dice, made.files[name])},
            done=(*made.done, f"{name}: {mutation.__name__.strip('_')}"),
        )
    if dice.random() < 0.15:
        made = replace(made, settings=(dice.choice(SETTINGS),))
    # Other dice, so that the rest of an input stays as it is.
    places = random.Random(f"{seed}/{number}/places")
    return _elsewhere(places, made) if places.random() < 0.33 else made


def _elsewhere(dice: random.Random, made: Source) -> Source:
    """Returns a source with some files in folders, under odd names, nested or with what expands."""
    files, done = {}, list(made.done)
    for name, file in made.files.items():
        folders = [dice.choice(FOLDERS) for _ in range(dice.choice((0, 0, 1, 2, 3)))]
        odd = f"{dice.choice(ODD_NAMES)}_{name}" if dice.random() < 0.3 else name
        changed = replace(file, nested=dice.random() < 0.3)
        if dice.random() < 0.03 and not file.is_parquet:
            changed = replace(file, ending=".csv.gz", bomb=dice.choice(BOMBS))
            odd = f"{odd.removesuffix('.gz')}.csv.gz"
        path = "/".join([*folders, odd])
        files[path] = changed
        done.append(f"{name}: {path!a}{' nested' * changed.nested}{' bomb' * bool(changed.bomb)}")
    return replace(made, files=files, done=tuple(done))


def _in_folders(path: str, read: tuple[list[str], list[list[str]]]) -> tuple[list[str], list[list[str]]]:
    """Returns the columns and rows of a Parquet file with those that only its folders have."""
    header, rows = read
    values = {}
    for folder in path.split("/")[:-1]:
        column, equals, value = folder.partition("=")
        if column and equals:
            values[column] = "" if value == "__HIVE_DEFAULT_PARTITION__" else urllib.parse.unquote(value)
    taken = {name.lower() for name in header}
    values = {name: value for name, value in values.items() if name.lower() not in taken}
    return [*header, *values], [[*row, *[""] * (len(header) - len(row)), *values.values()] for row in rows]


def _value(dice: random.Random, column: str, row: int) -> str:
    match column:
        case "order_id":
            return str(dice.choice((row, row // 2, "C7", "5.9E+23")) if dice.random() < 0.1 else row // 2)
        case "customer_id":
            return dice.choice(CUSTOMERS) if dice.random() < 0.2 else str(100 + row % 60)
        case "ordered_at":
            day = datetime.date(2024, 1, 1) + datetime.timedelta(days=dice.randint(0, 300))
            return dice.choice(DATES) if dice.random() < 0.2 else str(day)
        case "quantity":
            return str(dice.randint(-1, 5))
        case "unit_price":
            return f"{dice.randint(0, 5000) / 100:.2f}"
        case "country":
            return dice.choice(("GB", "España", "UK; GB"))
        case "description":
            return dice.choice(("plain", 'with "quotes"', "a, b", "two\nlines", "café", ""))
        case _:
            return f"{column}-{row % 5}"


def _cell(dice: random.Random, file: File) -> File:
    return _with_cell(dice, file, dice.choice(CELLS))


def _with_cell(dice: random.Random, file: File, value: str) -> File:
    rows = [list(row) for row in file.rows]
    if filled := [row for row in rows if row]:
        row = dice.choice(filled)
        row[dice.randrange(len(row))] = value
    return replace(file, rows=rows)


def _column_of_cells(dice: random.Random, file: File) -> File:
    place, value = dice.randrange(len(file.header)), dice.choice(CELLS)
    return replace(file, rows=[[*row[:place], value, *row[place + 1 :]] if row else [] for row in file.rows])


def _renamed(dice: random.Random, file: File) -> File:
    place = dice.randrange(len(file.header))
    return replace(file, header=[*file.header[:place], dice.choice(LOST_NAMES), *file.header[place + 1 :]])


def _dropped(dice: random.Random, file: File) -> File:
    if len(file.header) == 1:
        return file
    place = dice.randrange(len(file.header))
    return replace(
        file,
        header=[*file.header[:place], *file.header[place + 1 :]],
        rows=[[*row[:place], *row[place + 1 :]] for row in file.rows],
    )


def _doubled(dice: random.Random, file: File) -> File:
    place = dice.randrange(len(file.header))
    name = dice.choice((file.header[place], file.header[place].upper(), f"{file.header[place]} "))
    return replace(
        file, header=[*file.header, name], rows=[[*row, dice.choice(row)] if row else [] for row in file.rows]
    )


def _moved(dice: random.Random, file: File) -> File:
    order = dice.sample(range(len(file.header)), len(file.header))

    def moved(row: list[str]) -> list[str]:
        return [row[place] for place in order] if len(row) == len(order) else row

    return replace(file, header=moved(file.header), rows=[moved(row) for row in file.rows])


def _headers_moved(dice: random.Random, file: File) -> File:
    return replace(file, header=dice.sample(file.header, len(file.header)))


def _no_header(dice: random.Random, file: File) -> File:
    return replace(file, header=file.rows[0], rows=file.rows[1:]) if file.rows and file.rows[0] else file


def _other_encoding(dice: random.Random, file: File) -> File:
    return replace(file, encoding=dice.choice(("utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "latin-1", "cp1252")))


def _marked_big_endian(dice: random.Random, file: File) -> File:
    return replace(file, encoding="utf-16-be", header=[f"\ufeff{file.header[0]}", *file.header[1:]])


def _other_delimiter(dice: random.Random, file: File) -> File:
    return replace(file, delimiter=dice.choice((*DELIMITERS, ":", " ", "\x01")))


def _other_line_end(dice: random.Random, file: File) -> File:
    return replace(file, line_end=dice.choice(("\n", "\r\n", "\r")))


def _quoted(dice: random.Random, file: File) -> File:
    return replace(file, quoting=csv.QUOTE_ALL)


def _ragged(dice: random.Random, file: File) -> File:
    if not file.rows or file.is_parquet:
        return file
    rows = [list(row) for row in file.rows]
    row = dice.choice(rows)
    row[len(row) :] = dice.choice(([""], ["more"], ["", ""]))
    if dice.random() < 0.5:
        del row[dice.randrange(len(row)) :]
    return replace(file, rows=rows)


def _blank_lines(dice: random.Random, file: File) -> File:
    return file if file.is_parquet else replace(file, rows=[one for row in file.rows for one in (row, [])])


def _empty(dice: random.Random, file: File) -> File:
    return replace(file, rows=[])


def _many(dice: random.Random, file: File) -> File:
    long = len(file.rows) > 100 or sum(len(value) for row in file.rows for value in row) > 100_000
    return replace(file, rows=file.rows * (2 if long else dice.choice((2, 300))))


def _damaged(change: Callable[[random.Random, bytes], bytes], dice: random.Random, file: File) -> File:
    seed, before = dice.random(), file.damage

    def damage(content: bytes) -> bytes:
        return change(random.Random(seed), before(content) if before else content)

    return replace(file, damage=damage)


def _bytes(dice: random.Random, file: File) -> File:
    def change(dice: random.Random, content: bytes) -> bytes:
        out = bytearray(content)
        for _ in range(dice.choice((1, 3, 20))):
            place = dice.randrange(len(out) + 1)
            out[place : place + dice.choice((0, 1, 1, 4))] = dice.randbytes(dice.choice((0, 1, 1, 4)))
        return bytes(out)

    return _damaged(change, dice, file)


def _marks(dice: random.Random, file: File) -> File:
    """Characters that a dialect gives a meaning, where they do not belong."""

    def change(dice: random.Random, content: bytes) -> bytes:
        place = dice.randrange(len(content) + 1)
        mark = dice.choice((b'"', b'""', b",", b";", b"\n", b"\r", b"\r\n", b"\0", b"\\", b"\xe9", b"\xff\xfe", b"#"))
        return content[:place] + mark + content[place + dice.randint(0, 1) :]

    return _damaged(change, dice, file)


def _truncated(dice: random.Random, file: File) -> File:
    return _damaged(lambda dice, content: content[: dice.randrange(len(content) + 1)], dice, file)


def _mixed_line_ends(dice: random.Random, file: File) -> File:
    if file.is_parquet:
        return file

    def change(dice: random.Random, content: bytes) -> bytes:
        lines = re.split(rb"\r\n|\n|\r", content)
        return b"".join(line + dice.choice((b"\n", b"\n", b"\r\n", b"\r")) for line in lines)

    return _damaged(change, dice, file)


def _before_the_header(dice: random.Random, file: File) -> File:
    def change(dice: random.Random, content: bytes) -> bytes:
        return (
            dice.choice((b"\n", b"sep=;\n", b"# orders of 2024\n", b"\xef\xbb\xbf", b"PK\x03\x04", b"PAR1")) + content
        )

    return _damaged(change, dice, file)


def _long_line(dice: random.Random, file: File) -> File:
    return _with_cell(dice, file, "x" * dice.choice((70_000, 140_000, 3_000_000)))


MUTATIONS: tuple[Callable[[random.Random, File], File], ...] = (
    _cell, _cell, _cell, _column_of_cells, _renamed, _dropped, _doubled, _moved, _headers_moved, _no_header,
    _other_encoding, _other_encoding, _marked_big_endian, _other_delimiter, _other_line_end, _quoted, _ragged,
    _blank_lines, _empty, _many, _bytes, _bytes, _marks, _marks, _truncated, _mixed_line_ends, _before_the_header,
    _long_line,
)  # fmt: skip


def _parquet(header: Sequence[str], rows: Sequence[Sequence[str]], *, nested: bool) -> bytes:
    """A parquet file of text, a column without a name or with another's left out as no file can have it."""
    names = list(dict.fromkeys(name for name in header if name))
    folded = {name.casefold(): name for name in reversed(names)}
    names = [name for name in names if folded[name.casefold()] == name]
    with tempfile.TemporaryDirectory() as folder, duckdb.connect() as connection:
        columns = ", ".join(f'"{name.replace(chr(34), chr(34) * 2)}" VARCHAR' for name in names) or "a VARCHAR"
        connection.execute(f"CREATE TABLE lines ({columns})")
        if rows and names:
            values = [[row[header.index(name)] or None if header.index(name) < len(row) else None for name in names]
                      for row in rows]  # fmt: skip
            connection.execute(
                f"INSERT INTO lines SELECT {', '.join(f'row[{place + 1}]' for place in range(len(names)))}"
                " FROM (SELECT unnest($rows::VARCHAR[][]) AS row)",
                {"rows": values},
            )
        # A name that the lines have already gets another by DuckDB.
        connection.execute(f"COPY (SELECT *{NESTED if nested else ''} FROM lines) TO '{folder}/a.parquet'")
        return (Path(folder) / "a.parquet").read_bytes()


def deliver(made: Source, folder: Path) -> dict[str, bytes]:
    """Writes the files of a source; their bytes by path."""
    folder.mkdir(parents=True, exist_ok=True)
    contents = {str(folder / name): file.content() for name, file in made.files.items()}
    for path, content in contents.items():
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        Path(path).write_bytes(content)
    return contents


def run(made: Source, endings: Endings) -> None:
    """Loads and cleans a source in a database of its own, and counts how that ended.

    Raises:
        AssertionError: something was lost, or stands under another name than it was delivered under.
    """
    began = time.monotonic()
    with tempfile.TemporaryDirectory() as folder, duckdb.connect() as database:
        connection = Connection(database)
        contents = deliver(made, Path(folder) / "orders")
        kind = "loaded"
        try:
            settings = load_settings([f"source.path={Path(folder) / 'orders'}", *made.settings], environment={})
            ingest(connection, settings.source)
            files = dict(zip(map(readable_name, contents), made.files.values(), strict=True))
            shown = {readable_name(path): content for path, content in contents.items()}
            reasons = _check_loaded(connection, replace(made, files=files), shown, endings)
            endings.lines.update(_without_what_varies(reason) for reason in reasons)
            kind = "some files set aside" if reasons else "loaded"
            clean(connection, settings)
            _check_cleaned(connection)
        except SegPipelineError as error:
            kind = "refused"
            _check_line(str(error))
            endings.lines[_without_what_varies(str(error))] += 1
    endings.kinds[kind] += 1
    seconds = time.monotonic() - began
    assert seconds < MOST_SECONDS, f"took {seconds:.0f} s"


def _check_line(text: str) -> None:
    assert len(text.splitlines()) == 1, f"not one line: {text!r}"
    assert len(text) < LONGEST_LINE, f"{len(text):,} characters: {text[:200]!r}"


def _check_loaded(connection: Connection, made: Source, contents: Mapping[str, bytes], endings: Endings) -> list[str]:
    """Every file is in the ledger, with its lines, and every value under its name; why files were set aside."""
    ledger = {entry.source_file: entry for entry in read_ledger(connection)}
    assert ledger.keys() == contents.keys(), "not every file is in the ledger"
    reasons = []
    for path, entry in ledger.items():
        assert entry.status in STATUSES
        rows = connection.execute(
            f"SELECT source_row, {', '.join(name for name in NAMES if name != 'unused')}, amount FROM raw.raw_orders"
            " WHERE source_file = $file ORDER BY source_row",
            {"file": path},
        ).fetchall()
        assert [row[0] for row in rows] == list(range(1, entry.lines + 1)), f"{path}: lines are lost or doubled"
        if entry.status != "loaded":
            assert entry.reason, f"{path}: {entry.status} for no reason"
            assert not rows, f"{path}: {entry.status}, with lines"
            _check_line(entry.reason)
            reasons += [entry.reason] if entry.status == "set_aside" else []
            continue
        file = made.files[path]
        told = dict(
            setting.removeprefix("source.columns.").split("=") for setting in made.settings if "columns" in setting
        )
        if any(setting.startswith(("source.encoding", "source.delimiter")) for setting in made.settings):
            continue
        read = file.read_again(contents[path])
        if read is not None:
            read = _in_folders(path, read) if file.is_parquet else read
            _check_values(path, entry.columns or "{}", read, rows, told)
            endings.values_compared += len(rows) * len(read[0])
    return reasons


def _check_values(
    path: str,
    columns: str,
    read: tuple[list[str], list[list[str]]],
    rows: list[tuple[str | None, ...]],
    told: Mapping[str, str],
) -> None:
    header, delivered = read
    plain_names = {re.sub(r"[\W_]+", "", name.casefold()): column for name, column in COLUMN_OF.items()}
    places: list[int | None] = [None] * (len(NAMES) - 1)
    named = [name for name in NAMES if name != "unused"]
    for column, name in json.loads(columns).items():
        meant = plain_names.get(re.sub(r"[\W_]+", "", name.casefold()))
        assert column == meant or told.get(column) == name, f"{path}: {name!r} was taken for {column}"
        places[named.index(column)] = header.index(name)
    expected = [tuple((row[place] or None) if place is not None else None for place in places) for row in delivered]
    found = [row[1 : len(NAMES)] for row in rows]
    assert len(found) == len(expected), f"{path}: {len(found)} lines of {len(expected)}"
    for number, (one, other) in enumerate(zip(found, expected, strict=True), 1):
        assert one == other, f"{path} row {number}: {one!r} was delivered as {other!r}"


def _check_cleaned(connection: Connection) -> None:
    """Every raw line is clean or rejected, and a clean number or day is what was delivered."""
    lost = connection.execute(
        "SELECT source_file, source_row FROM (SELECT source_file, source_row, 1 AS place FROM raw.raw_orders UNION ALL"
        " SELECT source_file, source_row, -1 FROM prepared.clean_orders UNION ALL"
        " SELECT source_file, source_row, -1 FROM prepared.rejected_orders) GROUP BY ALL HAVING sum(place) != 0"
    ).fetchall()
    assert not lost, f"lines lost or doubled in cleaning: {lost[:3]}"
    for delivered, price, text, day in connection.execute(
        "SELECT raw.unit_price, clean.unit_price, raw.ordered_at, CAST(CAST(clean.ordered_at AS DATE) AS VARCHAR)"
        " FROM prepared.clean_orders AS clean JOIN raw.raw_orders AS raw USING (source_file, source_row)"
    ).fetchall():
        if re.fullmatch(r"[-+]?[0-9]{1,9}(\.[0-9]{1,4})?", delivered or ""):
            assert price == decimal.Decimal(delivered), f"price {delivered!r} became {price}"
        if re.match(r"[12][0-9]{3}-[0-9]{2}-[0-9]{2}(?!.*24:00)", text):
            assert text.startswith(day), f"date {text!r} became {day}"


def _without_what_varies(line: str) -> str:
    """A line without paths, numbers and quoted values: those of one kind are equal."""
    line = re.sub(r"(/[^ :]+)+", "FILE", line)
    line = re.sub(r"'[^']*'|\"[^\"]*\"", "'...'", line)
    line = re.sub(r"the file has .*?; nearest: .*?; name", "the file has ...; nearest: ...; name", line)
    line = re.sub(r"(looked for|values, not names:|no column for) .*?(;|$)", r"\1 ...\2", line)
    return re.sub(r"[0-9][0-9,.]*", "N", line)[:160]


def run_command(made: Source, folder: Path) -> tuple[int, str]:
    """Runs a source through the command line: the exit status, and what it said on stderr beside warnings.

    Raises:
        AssertionError: another end than 0, or 1 or 2 with one line on stderr.
    """
    deliver(made, folder / "orders")
    words = [Path(sys.executable).with_name("seg-pipeline"), "run", "--source", folder / "orders"]
    words += ["--warehouse", folder / "warehouse.duckdb", "--output", folder / "published"]
    for setting in (*QUICK, *made.settings):
        words += ["--set", setting]
    done = subprocess.run(
        [str(word) for word in words], check=False, capture_output=True, text=True, cwd=folder, timeout=120
    )
    # Warnings come before the line that says why it ended.
    said = "\n".join(line for line in done.stderr.splitlines() if not line.startswith("warning: "))
    assert done.returncode in (0, 1, 2), f"exit status {done.returncode}: {said}"
    assert "Traceback" not in done.stderr + done.stdout, said
    assert done.returncode == 0 or len(said.splitlines()) == 1, f"not one line: {said!r}"
    return done.returncode, said


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the inputs and prints how they ended; 1 where one of them ended as none may."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--inputs", type=int, default=2000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--command", type=int, default=0, help="inputs that go through the command line as well")
    parser.add_argument("--only", type=int, help="the one input to run, with what is done to it")
    given = parser.parse_args(arguments)
    endings, failed, began = Endings(), 0, time.monotonic()
    numbers = range(given.inputs) if given.only is None else [given.only]
    for number in numbers:
        made = source(given.seed, number)
        try:
            run(made, endings)
        except Exception as error:  # whatever it is, the input is told and the others go on
            failed += 1
            print(f"input {number} {made.done} {made.settings}: {type(error).__name__}: {str(error)[:400]}", flush=True)
    seconds = time.monotonic() - began
    print(f"{len(numbers):,} inputs of seed {given.seed} in {seconds:.0f} s, {len(numbers) / seconds:.1f} per second")
    for kind, count in endings.kinds.most_common():
        print(f"  {count:6,} {kind}")
    print(f"{endings.values_compared:,} values are what the other reader reads under their name")
    print(f"lines said of files set aside and of sources refused, of {len(endings.lines)} kinds:")
    for line, count in endings.lines.most_common(40):
        print(f"  {count:6,} {line}")
    statuses: Counter[int] = Counter()
    for number in range(given.command):
        made = source(given.seed, number, lines=400)
        with tempfile.TemporaryDirectory() as folder:
            try:
                statuses[run_command(made, Path(folder))[0]] += 1
            except (AssertionError, subprocess.TimeoutExpired) as error:
                failed += 1
                print(f"command {number} {made.done} {made.settings}: {str(error)[:2000]}", flush=True)
    if given.command:
        print(f"{given.command} runs of the command by exit status: {dict(sorted(statuses.items()))}")
    print(f"ended as none may: {failed}")
    return 1 if failed else 0


if __name__ == "__main__":
    raise SystemExit(main())
