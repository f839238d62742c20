"""Files of every kind become raw_orders, as text, with the row that each line came from."""

import codecs
import csv
import gzip
import io
import os
import subprocess
import sys
from pathlib import Path

import duckdb
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from seg_pipeline.errors import DataError, MachineError, UsageError
from seg_pipeline.raw.columns import ORDER_COLUMNS
from seg_pipeline.raw.ingestion import ingest, sample
from seg_pipeline.raw.sources import deliveries, digest_of_files, find_files
from seg_pipeline.raw.sources.object_storage import ObjectStorage
from seg_pipeline.raw.sources.places import PLACES, Disk, place_of
from seg_pipeline.raw.sources.text import Text
from seg_pipeline.settings import SourceSettings
from seg_pipeline.warehouse import Connection, Warehouse

LINES = "customer_id,date,price\nA,2024-01-01,1.50\nB,2024-01-02,2.50\n"
READ = [("A", "2024-01-01", "1.50", 1), ("B", "2024-01-02", "2.50", 2)]
COLUMNS = "customer_id, ordered_at, unit_price, source_row"
ROOTS = {ObjectStorage: "s3://shop", Disk: "/shop"}


@pytest.mark.parametrize("place", PLACES, ids=lambda place: type(place).__name__)
def test_every_place_keeps_the_contract_of_names(place):
    root = ROOTS[type(place)]
    folder, file = f"{root}/in", f"{root}/in/2024/a.csv"

    assert place_of(file) is place
    assert str(place.path(file)) == file
    assert place.identity(place.path(file)) == file
    for spelling in (folder, f"{folder}/"):
        assert place.is_below(file, spelling)
        assert place.is_below(f"{folder}/2024", spelling)
        assert not place.is_below(folder, spelling)
        assert not place.is_below(f"{root}/in-2024/a.csv", spelling)
        assert not place.is_below(root, spelling)
    assert place.base_folder(file) is None
    assert place.name_in_settings(file, Path("/elsewhere")) == file


@pytest.mark.parametrize(
    ("name", "text", "options"),
    [
        ("a.csv", LINES, []),
        ("a.csv", LINES.replace(",", ";"), []),
        ("a.tsv", LINES.replace(",", "\t"), []),
        ("a.txt", LINES.replace(",", "|"), []),
        ("a.csv", LINES.replace(",", ":"), ["source.delimiter=:"]),
        ("a.csv", LINES.replace(",", "\t"), ["source.delimiter=tab"]),
        ("a.txt", LINES.replace(",", "   ").replace("\n", " \n  "), ["source.delimiter=whitespace"]),
        ("a.txt", LINES.replace(",", "\t").replace("\n", "\n\t"), ["source.delimiter=whitespace"]),
        ("a.csv", LINES.replace("\n", "\r\n"), []),
        ("a.csv", "\ufeff" + LINES, []),
        ("a.csv", LINES.removesuffix("\n"), []),
        ("a.csv", '"customer_id";"price, with tax, in EUR";date\nA;1.50;2024-01-01\nB;2.50;2024-01-02\n',
         ["source.columns.unit_price=price, with tax, in EUR"]),
        ("a.csv", LINES.replace("price", '"price\n(net)"'), ["source.columns.unit_price=price\n(net)"]),
    ],
    ids=["comma", "semicolon", "tab", "bar", "told", "told tab", "blanks", "blanks and tabs", "CRLF", "byte order mark",
         "no last line end", "commas in a quoted name", "line break in a name"],
)  # fmt: skip
def test_delimited_text_of_every_dialect_gives_the_same_rows(load_orders, tmp_path, name, text, options):
    (tmp_path / name).write_bytes(text.encode())
    raw, _ = load_orders(tmp_path / name, settings=options)
    assert raw.raw(COLUMNS) == READ


@pytest.mark.parametrize("encoding", ["utf-8", "latin-1", "utf-16", "windows-1252"])
def test_text_is_read_in_the_encoding_of_the_settings(load_orders, tmp_path, encoding):
    (tmp_path / "a.csv").write_bytes("customer_id,date,amount,country\nJosé,2024-01-01,1,España\n".encode(encoding))
    raw, _ = load_orders(tmp_path / "a.csv", settings=[f"source.encoding={encoding}"])
    assert raw.raw("customer_id, country") == [("José", "España")]


def test_the_characters_that_windows_1252_has_besides_latin_1_are_read(load_orders, tmp_path):
    (tmp_path / "a.csv").write_bytes(
        "customer_id,date,amount,country\nŽ€“1”,2024-01-01,1,Österreich\n".encode("cp1252")
    )
    raw, _ = load_orders(tmp_path / "a.csv", settings=["source.encoding=windows-1252"])
    assert raw.raw("customer_id, country") == [("Ž€“1”", "Österreich")]


def test_text_is_copied_beside_the_warehouse_and_not_into_the_temporary_folder(load_orders, tmp_path, monkeypatch):
    seen = []

    def copy(text, out):
        seen.append(sorted(file.name for file in (tmp_path / "warehouse").iterdir() if file.is_dir()))
        out.write(text.read())

    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "missing"))
    monkeypatch.setattr("shutil.copyfileobj", copy)
    (tmp_path / "a.csv").write_text(LINES, encoding="utf-16")
    raw, _ = load_orders(tmp_path / "a.csv")
    assert raw.raw(COLUMNS) == READ
    assert [name.startswith("0.duckdb.copies-") for [name] in seen] == [True]
    assert [file.name for file in (tmp_path / "warehouse").iterdir() if file.is_dir()] == []


def test_a_copy_that_cannot_be_written_is_an_error_of_the_machine(tmp_path, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "missing"))
    (tmp_path / "a.csv").write_text(LINES, encoding="utf-16")
    with duckdb.connect() as database, pytest.raises(MachineError, match=r"^temporary folder: no copies can be"):
        ingest(Connection(database), SourceSettings(path=(str(tmp_path),)))


def test_text_in_another_encoding_is_told_with_the_setting(load_orders, tmp_path):
    (tmp_path / "a.csv").write_bytes("customer_id,date,amount\nJosé,2024-01-01,1\n".encode("latin-1"))
    with pytest.raises(DataError, match=r"a\.csv: not utf-8 text .* set source\.encoding"):
        load_orders(tmp_path / "a.csv")


def test_an_encoding_fault_far_down_is_told_as_well(load_orders, tmp_path):
    (tmp_path / "a.csv").write_bytes(
        LINES.encode() + b"C,2024-01-01,1\n" * 100_000 + "é,2024-01-01,1\n".encode("latin-1")
    )
    with pytest.raises(DataError, match=r"a\.csv: .* set source\.encoding") as failure:
        load_orders(tmp_path / "a.csv")
    assert "\n" not in str(failure.value)


def test_quoted_values_keep_line_breaks_quotes_and_delimiters(load_orders, tmp_path):
    (tmp_path / "a.csv").write_text(
        'customer_id,date,amount,description\n"A","2024-01-01",1,"two\nlines, ""quoted"""\nB,2024-01-02,2,3" nail\n'
    )
    raw, _ = load_orders(tmp_path / "a.csv")
    assert raw.raw("customer_id, description, source_row") == [("A", 'two\nlines, "quoted"', 1), ("B", '3" nail', 2)]


@pytest.mark.parametrize("name", ["a.csv.gz", "A.CSV.GZ"])
def test_compressed_text_is_read(load_orders, tmp_path, name):
    (tmp_path / name).write_bytes(gzip.compress(LINES.encode()))
    raw, _ = load_orders(tmp_path / name)
    assert raw.raw(COLUMNS) == READ


@pytest.mark.parametrize(
    "damage", [lambda packed: packed[:-9], lambda packed: packed[:14] + b"\xff" * 20, lambda _: b"no gz"]
)
def test_a_damaged_compressed_file_is_one_line(load_orders, tmp_path, damage):
    (tmp_path / "a.csv.gz").write_bytes(damage(gzip.compress(LINES.encode())))
    with pytest.raises(DataError, match=r"a\.csv\.gz: cannot be read"):
        load_orders(tmp_path / "a.csv.gz")


def test_parquet_of_any_types_becomes_text(load_orders, tmp_path):
    duckdb.execute(
        "COPY (SELECT 17850.0::DOUBLE AS customer_id, DATE '2024-01-01' AS date,"
        " 2.50::DECIMAL(9,2) AS price, 6 AS qty, '' AS sku)"
        f" TO '{tmp_path / 'a.parquet'}'"
    )
    raw, _ = load_orders(tmp_path / "a.parquet")
    assert raw.raw(f"{COLUMNS}, quantity, product_id") == [("17850.0", "2024-01-01", "2.50", 1, "6", None)]


def test_parquet_files_of_other_types_are_not_cast_to_the_first_ones(load_orders, tmp_path):
    for name, customer in (("a", "12"), ("b", "'012'"), ("c", "'X1'")):
        duckdb.execute(
            f"COPY (SELECT {customer} AS customer_id, '2024-01-01' AS date, 1 AS amount) TO '{tmp_path / name}.parquet'"
        )
    raw, _ = load_orders(tmp_path)
    assert raw.raw("customer_id") == ["12", "012", "X1"]


def test_a_parquet_instant_reads_the_same_wherever_the_machine_stands(tmp_path, monkeypatch):
    file = tmp_path / "a.parquet"
    duckdb.execute(
        f"COPY (SELECT 'A' AS customer_id, TIMESTAMPTZ '2024-01-01 23:30:00+00' AS date, 1 AS amount) TO '{file}'"
    )
    read = []
    for zone in ("UTC", "Asia/Tokyo"):
        monkeypatch.setenv("TZ", zone)
        with Warehouse(database=str(tmp_path / f"{zone[:3]}.duckdb")).get_connection() as connection:
            ingest(connection, SourceSettings(path=str(file)))
            read += connection.execute("SELECT ordered_at FROM raw.raw_orders").fetchall()
    assert read == [("2024-01-01 23:30:00+00",)] * 2


def write_parquet(file, **columns):
    """Writes one row of the values, which are SQL expressions."""
    file.parent.mkdir(parents=True, exist_ok=True)
    values = ", ".join(f"{value} AS {name}" for name, value in columns.items())
    duckdb.sql(f"SELECT {values}").write_parquet(str(file))


ORDER = {"order_id": "'1'", "customer_id": "'A'", "date": "DATE '2024-01-01'", "price": "1.5"}


def test_folders_named_column_and_value_never_override_a_column_of_the_file(load_orders, tmp_path):
    write_parquet(tmp_path / "date=2020-02-02" / "a.parquet", **ORDER)
    write_parquet(tmp_path / "customer_id=77" / "DATE=2020-02-02" / "b.parquet", **(ORDER | {"order_id": "'2'"}))
    raw, _ = load_orders(tmp_path)
    assert raw.raw("order_id, customer_id, ordered_at") == [("2", "A", "2024-01-01"), ("1", "A", "2024-01-01")]


@pytest.mark.parametrize(("delimiter", "options"), [(",", []), (" ", ["source.delimiter=whitespace"])])
@pytest.mark.parametrize("folder", ["c0=x", "C1=x", "filename=x", "line=x", "customer_id=x"])
def test_folders_named_column_and_value_change_no_text(load_orders, tmp_path, folder, delimiter, options):
    (tmp_path / folder).mkdir()
    (tmp_path / folder / "a.csv").write_text(LINES.replace(",", delimiter))
    raw, _ = load_orders(tmp_path, settings=options)
    assert raw.raw(f"{COLUMNS}, source_file") == [(*row, str(tmp_path / folder / "a.csv")) for row in READ]


def test_a_column_that_only_the_folders_have_is_read_from_them_as_text(load_orders, tmp_path):
    days = ("2024-01-02", "2024-01-03", "__HIVE_DEFAULT_PARTITION__")
    for number, day in enumerate(days):
        without_date = {name: value for name, value in ORDER.items() if name != "date"} | {"order_id": str(number)}
        write_parquet(tmp_path / f"date={day}" / "customer=007" / "country=New%20York" / "a.parquet", **without_date)
    raw, _ = load_orders(tmp_path)
    assert raw.raw("order_id, customer_id, ordered_at, country") == [
        ("0", "A", "2024-01-02", "New York"),
        ("1", "A", "2024-01-03", "New York"),
        ("2", "A", None, "New York"),
    ]


@pytest.mark.parametrize("name", ["source_file", "SOURCE_FILE", "filename", "source_row", "c0"])
def test_a_parquet_file_may_have_a_column_of_any_name_that_is_used_within(load_orders, tmp_path, name):
    write_parquet(tmp_path / "a.parquet", **{name: "'x'"}, **ORDER, source_file_="'y'")
    raw, _ = load_orders(tmp_path)
    assert raw.raw("customer_id, ordered_at, source_file, source_row") == [
        ("A", "2024-01-01", str(tmp_path / "a.parquet"), 1)
    ]


def test_a_parquet_file_with_a_column_named_as_duckdb_numbers_rows_is_set_aside_with_that_reason(load_orders, tmp_path):
    write_parquet(tmp_path / "a.parquet", **ORDER, File_Row_Number="1")
    with pytest.raises(
        DataError, match=r"a\.parquet: column 'file_row_number' has the name under which DuckDB numbers"
    ):
        load_orders(tmp_path)


@pytest.mark.parametrize(
    ("first", "second", "line"),
    [
        ("customer_id", "customer_id", "two columns are named 'customer_id'"),
        ("customer_id", "CUSTOMER_ID", "customer_id can be 'customer_id' or 'CUSTOMER_ID'; name it with"),
        ("CUSTOMER_ID", "customer_id", "customer_id can be 'CUSTOMER_ID' or 'customer_id'; name it with"),
        ("note", "note", None),
        ("note", "NOTE", None),
    ],
)
def test_of_two_parquet_columns_of_one_name_none_is_read_by_chance(load_orders, tmp_path, first, second, line):
    # DuckDB writes no such file, so the names are changed in the file, where they are plain text.
    file, order = tmp_path / "a.parquet", {name: value for name, value in ORDER.items() if name != first.lower()}
    write_parquet(file, **{"x" * len(first): "'A'"}, **order, **{"y" * len(first): "'B'"})
    content = file.read_bytes()
    file.write_bytes(content.replace(b"x" * len(first), first.encode()).replace(b"y" * len(first), second.encode()))
    if line:
        with pytest.raises(DataError, match=rf"a\.parquet: {line}"):
            load_orders(tmp_path)
    else:
        raw, _ = load_orders(tmp_path)
        assert raw.raw("order_id, customer_id, ordered_at, unit_price") == [("1", "A", "2024-01-01", "1.5")]


def test_columns_within_columns_are_not_taken_for_columns(load_orders, tmp_path):
    write_parquet(
        tmp_path / "a.parquet", buyer="{'customer_id': 'X', 'tags': ['y']}", notes="MAP {'date': '2020-01-01'}", **ORDER
    )
    raw, _ = load_orders(tmp_path)
    assert raw.raw("order_id, customer_id, ordered_at, unit_price") == [("1", "A", "2024-01-01", "1.5")]


def test_a_file_that_only_claims_to_be_parquet_is_one_line(load_orders, tmp_path):
    (tmp_path / "a.parquet").write_text(LINES)
    with pytest.raises(DataError, match=r"a\.parquet: not a Parquet file") as failure:
        load_orders(tmp_path)
    assert "\n" not in str(failure.value)


def test_a_folder_gives_its_files_in_order_and_none_that_are_hidden_or_of_another_kind(tmp_path):
    for name in ("b.csv", "sub/a.csv", "a.csv.gz", "c.parquet", ".hidden.csv", ".cache/x.csv", "notes.md"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    found = [os.path.relpath(file, tmp_path) for file in find_files([str(tmp_path)])]
    assert found == ["a.csv.gz", "b.csv", "c.parquet", "sub/a.csv"]


def test_a_glob_and_several_paths_name_each_file_once(tmp_path):
    for name in ("a.csv", "b.csv", "c.txt"):
        (tmp_path / name).touch()
    (tmp_path / "link.csv").symlink_to(tmp_path / "a.csv")
    given = [f"{tmp_path}/*.csv", str(tmp_path / "a.csv"), f"{tmp_path}/../{tmp_path.name}/b.csv"]
    assert sorted(map(os.path.basename, find_files(given))) == ["a.csv", "b.csv"]


def test_brackets_in_a_file_name_are_no_pattern(load_orders, tmp_path):
    (tmp_path / "orders[1].csv").write_text(LINES)
    (tmp_path / "orders1.csv").write_text("customer_id,date,price\nwrong,2024-01-01,1\n")
    raw, _ = load_orders(tmp_path / "orders[1].csv")
    assert raw.raw("customer_id, source_file") == [
        ("A", str(tmp_path / "orders[1].csv")), ("B", str(tmp_path / "orders[1].csv")),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("path", "message"),
    [("no_such.csv", "no such file or folder"), ("*.csv", "no file matches"), ("", "no file in this folder ends in"),
     ("a.xlsx", "not a kind of file that can be read")],
)  # fmt: skip
def test_a_path_without_orders_is_wrong_usage(tmp_path, path, message):
    (tmp_path / "a.xlsx").touch()
    with pytest.raises(UsageError, match=message):
        find_files([str(tmp_path / path)])


@pytest.mark.parametrize("name", [b"b\xff.csv", b"b\xff.parquet", b"sub\xe9/b.csv"])
def test_a_file_whose_name_is_not_utf_8_is_set_aside_and_the_others_load(load_orders, tmp_path, name):
    (tmp_path / "a.csv").write_text(LINES)
    odd = os.fsencode(tmp_path) + b"/" + name
    os.makedirs(os.path.dirname(odd), exist_ok=True)
    Path(os.fsdecode(odd)).write_text(LINES.replace("A", "C"))
    raw, source = load_orders(tmp_path)
    shown = odd.decode(errors="backslashreplace")
    assert ledger_of(raw) == [
        (str(tmp_path / "a.csv"), "loaded", 2, None),
        (shown, "set_aside", 0, f"{shown}: its name is not UTF-8; rename it"),
    ]
    assert raw.raw(COLUMNS) == READ
    with duckdb.connect() as database:
        assert list(sample(Connection(database), source.source, 1).refused) == [shown]
    assert digest_of_files(source.source)


def ledger_of(raw):
    return raw.connection.execute(
        "SELECT source_file, status, lines, reason FROM raw.deliveries ORDER BY ALL"
    ).fetchall()


@pytest.mark.parametrize("is_folder", [False, True])
def test_a_file_or_folder_whose_path_is_too_long_is_set_aside_and_the_others_load(
    load_orders, tmp_path, monkeypatch, is_folder
):
    (tmp_path / "a.csv").write_text(LINES)
    monkeypatch.chdir(tmp_path)
    folder, end = tmp_path, "z.csv"
    while len(str(folder)) < (4096 if is_folder else 3900):
        os.mkdir("d" * 190)
        os.chdir("d" * 190)
        folder /= "d" * 190
    if not is_folder:
        end = f"{'z' * 240}.csv"
    Path(end).write_text(LINES)
    raw, _ = load_orders(tmp_path)
    unread = folder if is_folder else folder / end
    assert ledger_of(raw) == [
        (str(tmp_path / "a.csv"), "loaded", 2, None),
        (
            str(unread),
            "set_aside",
            0,
            f"{str(unread)[:100]}...{str(unread)[-100:]}: its path has {len(str(unread)):,} bytes, the most is 4,095",
        ),
    ]


@pytest.mark.parametrize("path", ["", "*/*.csv", "**/*.csv", "closed/*.csv", "closed", "closed/a.csv"])
def test_a_folder_that_may_not_be_read_is_an_error_that_names_it(tmp_path, path):
    closed = tmp_path / "closed"
    for name in (tmp_path / "open" / "a.csv", closed / "a.csv", tmp_path / ".hidden" / "a.csv"):
        name.parent.mkdir()
        name.write_text(LINES)
    for parent in (tmp_path, *tmp_path.parents):
        if parent.stat().st_uid == os.getuid():
            parent.chmod(parent.stat().st_mode | 0o055)
    (tmp_path / ".hidden").chmod(0)
    closed.chmod(0)
    code = (
        "import os, sys\n"
        "from seg_pipeline.errors import MachineError\n"
        "from seg_pipeline.raw.ingestion import sample\n"
        "from seg_pipeline.raw.sources.finding import files_there\n"
        "if os.getuid() == 0: os.setuid(65534)\n"
        "try:\n"
        f"    print(files_there(sys.argv[1:], [{str(closed / 'a.csv')!r}]))\n"
        "except MachineError as error:\n"
        "    print(error)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path / path)], capture_output=True, text=True, check=False
    )
    named = tmp_path / path if path.startswith("closed/") else closed
    assert (done.stdout, done.stderr) == (f"{named}: Permission denied\n", "")


def test_no_path_at_all_is_wrong_usage():
    with pytest.raises(UsageError, match=r"source\.path: no order files given"):
        find_files([])


def test_columns_in_another_order_in_another_file_are_matched_by_name(load_orders, tmp_path):
    (tmp_path / "a.csv").write_text(LINES)
    (tmp_path / "b.csv").write_text("price,extra,customer_id,date\n3.50,x,C,2024-01-03\n4.50,y,D,2024-01-04\n")
    (tmp_path / "c.csv").write_text(LINES.replace(",", ";"))
    raw, _ = load_orders(tmp_path)
    assert raw.raw(COLUMNS) == [*READ, ("C", "2024-01-03", "3.50", 1), ("D", "2024-01-04", "4.50", 2), *READ]


def test_rows_are_counted_within_each_file(load_orders, tmp_path):
    for day, lines in enumerate((3, 0, 5000), 1):
        text = "".join(f"{row},2024-01-0{day},1\n" for row in range(1, lines + 1))
        (tmp_path / f"{day}.csv").write_text("customer_id,date,amount\n" + text)
    raw, _ = load_orders(tmp_path)
    assert all(customer == str(row) for customer, row in raw.raw("customer_id, source_row"))
    assert len(raw.raw("source_row")) == 5003


def test_columns_that_are_not_needed_may_have_any_name_or_none(load_orders, tmp_path):
    (tmp_path / "a.csv").write_text(
        ",customer_id,note,note,filename,Date,D,amount,it's,\n0,A,n,m,f,2024-01-01,x,1.50,q,\n"
    )
    raw, _ = load_orders(tmp_path / "a.csv")
    assert raw.raw("customer_id, ordered_at, amount") == [("A", "2024-01-01", "1.50")]


def test_a_name_with_a_line_break_leaves_the_error_one_line(load_orders, tmp_path):
    (tmp_path / "a.csv").write_text('"cli\nend",date,amount\nA,2024-01-01,1\n')
    with pytest.raises(DataError, match="the file has cli end, date, amount") as failure:
        load_orders(tmp_path / "a.csv")
    assert "\n" not in str(failure.value)


def test_a_needed_column_that_comes_twice_is_an_error(load_orders, tmp_path):
    (tmp_path / "a.csv").write_text("customer_id,date,amount,amount\nA,2024-01-01,1,2\n")
    with pytest.raises(DataError, match=r"a\.csv: two columns are named 'amount'"):
        load_orders(tmp_path / "a.csv")


@pytest.mark.parametrize("end", ['"', '"C,2024-01-03,1\n', '"C,2024-01-03,1\nD,2024-01-03,1\n' + LINES])
@pytest.mark.parametrize("files", [1, 3, 40])
def test_an_open_quote_is_told_however_many_files_are_read_together(load_orders, tmp_path, end, files):
    for number in range(files):
        (tmp_path / f"{number}.csv").write_text(LINES)
    (tmp_path / "bad.csv").write_text(LINES + end)
    raw, _ = load_orders(tmp_path)
    assert set(raw.raw("source_file")) == {str(tmp_path / "0.csv")}
    reasons = raw.connection.execute("SELECT reason FROM raw.deliveries WHERE status = 'set_aside'").fetchall()
    assert reasons == [(f"{tmp_path / 'bad.csv'}: CSV Error on Line: 4 Value with unterminated quote found.",)]


def test_a_file_from_which_no_line_was_read_is_refused_even_if_its_first_value_is_very_long(tmp_path):
    (tmp_path / "a.csv").write_text("customer_id,date,price\n" + "A" * 2 * csv.field_size_limit() + ",2024-01-01,1\n")
    [delivery] = deliveries([str(tmp_path / "a.csv")], SourceSettings()).deliveries
    with pytest.raises(DataError, match="none of its lines can be read"):
        Text().refuse_unread(delivery, str(tmp_path / "a.csv"))


@pytest.mark.parametrize("options", [[], ["source.encoding=utf-16"]])
@pytest.mark.parametrize("name", ["b.csv", "b.csv.gz"])
@pytest.mark.parametrize("end", ["", "\n", "\r\n"])
def test_a_last_line_longer_than_the_buffer_is_never_lost(load_orders, tmp_path, options, name, end):
    encoding = "utf-16" if options else "utf-8"
    (tmp_path / "a.csv").write_text(LINES, encoding=encoding)
    content = (LINES + "x" * 33_000_000 + end).encode(encoding)
    (tmp_path / name).write_bytes(gzip.compress(content, 1) if name.endswith(".gz") else content)
    raw, _ = load_orders(tmp_path, settings=options)
    reason = f"{tmp_path / name}: its last line is longer than 2,000,000 bytes"
    assert ledger_of(raw)[1] == (str(tmp_path / name), "set_aside", 0, reason)
    assert raw.raw(COLUMNS) == READ


def test_a_line_longer_than_the_buffer_is_set_aside_with_that_reason(load_orders, tmp_path):
    (tmp_path / "a.csv").write_text(LINES)
    (tmp_path / "b.csv").write_text(LINES + "x" * 33_000_000 + "\n" + LINES)
    raw, _ = load_orders(tmp_path)
    [reason] = [reason for _, status, _, reason in ledger_of(raw) if status == "set_aside"]
    assert (
        reason == f"{tmp_path / 'b.csv'}: a line, or a value in quotes, is longer than the 32 MB that are read at once"
    )
    assert raw.raw(COLUMNS) == READ


def test_a_file_with_a_header_only_has_no_lines(load_orders, tmp_path):
    (tmp_path / "a.csv").write_text("customer_id,date,amount\n")
    (tmp_path / "b.txt").write_text("customer_id,date,amount")
    raw, _ = load_orders(tmp_path)
    assert raw.raw("customer_id") == []


@pytest.mark.parametrize("text", ["", "\n", " \n\n"])
def test_an_empty_file_is_an_error(load_orders, tmp_path, text):
    (tmp_path / "a.csv").write_text(text)
    with pytest.raises(DataError, match=r"a\.csv: the file or its first line is empty"):
        load_orders(tmp_path / "a.csv")


@pytest.mark.parametrize("line", ["C,2024-01-03", "C,2024-01-03,1,2,3", 'C,"2024-01-03,1'])
def test_a_line_that_does_not_fit_the_header_names_file_and_line(load_orders, tmp_path, line):
    (tmp_path / "a.csv").write_text(LINES + line + "\n" + LINES.split("\n", 1)[1])
    with pytest.raises(DataError, match=r"a\.csv: .*[Ll]ine: ?4") as failure:
        load_orders(tmp_path / "a.csv")
    assert "\n" not in str(failure.value)


def test_no_line_survives_of_a_file_that_cannot_be_read_and_the_others_load(load_orders, tmp_path):
    (tmp_path / "a.csv").write_text(LINES)
    (tmp_path / "b.csv").write_text(LINES + "C\n")
    raw, _ = load_orders(tmp_path)
    assert raw.raw(COLUMNS) == READ


ENCODINGS = "set source.encoding to utf-8, utf-16, latin-1 or windows-1252"
MIXED = "line ends of more than one kind, or a line break outside of quotes; write it with one kind"
HEADER_NEEDED = "the file or its first line is empty: a header line is needed"


def parquet(tmp_path, sql="SELECT 'A' AS customer_id, DATE '2024-01-01' AS date, 1.50 AS price"):
    duckdb.execute(f"COPY ({sql}) TO '{tmp_path / 'made.parquet'}'")
    return (tmp_path / "made.parquet").read_bytes()


@pytest.mark.parametrize(
    ("name", "content", "options", "line"),
    [
        ("a.csv", LINES.replace("A", "é").encode("latin-1"), [], f"not utf-8 text (byte 23); {ENCODINGS}"),
        ("a.csv", LINES.encode() + b"C,2024-01-01,1\n" * 99_999 + b"\xe9,2024-01-01,1\n", [],
         f"not utf-8 text (line 100003); {ENCODINGS}"),
        ("a.csv", LINES.encode("utf-16"), ["source.encoding=utf-8"], f"not utf-8 text (byte 0); {ENCODINGS}"),
        ("a.csv", LINES.encode("utf-16")[:-1], [], f"not utf-16-le text (byte 118); {ENCODINGS}"),
        ("a.csv", LINES.encode() + b"\x81,2024-01-01,1\n", ["source.encoding=windows-1252"],
         f"not windows-1252 text (byte 59); {ENCODINGS}"),
        ("a.csv", LINES.encode("utf-16-le"), [], "a NUL byte in line 1; if it is UTF-16, set source.encoding=utf-16"),
        ("a.csv", LINES.encode("utf-16-be"), [], "a NUL byte in line 1; if it is UTF-16, set source.encoding=utf-16"),
        ("a.csv", LINES.encode("utf-32"), [], "a NUL byte in line 1"),
        ("a.csv", LINES.replace("B", "B\0").encode(), [],
         "a NUL byte in line 3; if it is UTF-16, set source.encoding=utf-16"),
        ("a.csv", LINES.encode() + b"C,2024-01-01,1\n" * 99_999 + b"D\0,2024-01-01,1\n", [],
         "a NUL byte in customer_id"),
        ("a.csv", b"", [], HEADER_NEEDED), ("a.csv", b"\r\n" + LINES.encode(), [], HEADER_NEEDED),
        ("a.csv", LINES.split("\n", 1)[1].encode(), [],
         "its first line holds values, not names; a header line is needed"),
        ("a.csv", b'"customer_id,date,price\nA,2024-01-01,1\n', [],
         "its first line is not a header: unexpected end of data"),
        ("a.csv", b'"customer_id" ,date,price\nA,2024-01-01,1\n', [],
         "its first line is not a header: ',' expected after '\"'"),
        ("a.csv", b"customer_id,date,price,price\nA,2024-01-01,1,2\n", [], "two columns are named 'price'"),
        ("a.csv", b"customer_id,date,price,Price\nA,2024-01-01,1,2\n", [],
         "unit_price can be 'price' or 'Price'; name it with --set source.columns.unit_price=COLUMN"),
        ("a.csv", (LINES + "C,2024-01-03\n").encode(), [],
         "CSV Error on Line: 4 Expected Number of Columns: 3 Found: 2"),
        ("a.csv", (LINES + "C,2024-01-03,1,2\n").encode(), [],
         "CSV Error on Line: 4 Expected Number of Columns: 3 Found: 4"),
        ("a.csv", (LINES + "C;2024-01-03;1\n").encode(), [],
         "CSV Error on Line: 4 Expected Number of Columns: 3 Found: 1"),
        ("a.csv", LINES.replace("1.50", "1,50").encode(), [],
         "CSV Error on Line: 2 Expected Number of Columns: 3 Found: 4"),
        ("a.csv", (LINES + '"C,2024-01-03,1\n').encode(), [],
         "CSV Error on Line: 4 Value with unterminated quote found."),
        ("a.csv", (LINES + '"C"x,2024-01-03,1\n').encode(), [],
         "CSV Error on Line: 4 Value with unterminated quote found."),
        ("a.csv", (LINES + "x" * 10_000_000 + ",2024-01-03,1\n").encode(), [],
         "its last line is longer than 2,000,000 bytes"),
        ("a.csv", LINES.replace("1.50\n", "1.50\r\n").encode(), [], MIXED),
        ("a.csv", LINES.replace("price\n", "price\r\n").encode(), [], MIXED),
        ("a.csv", (LINES + "C\rD,2024-01-03,1\n").encode(), [], MIXED),
        ("a.txt", LINES.replace(",", " ").replace("2.50", "2.50 EUR").encode(), ["source.delimiter=whitespace"],
         "a line has 4 values, and its header 3"),
        ("a.txt", LINES.replace(",", " ").replace(" 2.50", "").encode(), ["source.delimiter=whitespace"],
         "a line has 2 values, and its header 3"),
        ("a.parquet", LINES.encode(), [],
         "not a Parquet file, or a damaged one: No magic bytes found at end of file 'a.parquet'"),
        ("a.parquet", b"", [],
         "not a Parquet file, or a damaged one: File 'a.parquet' too small to be a Parquet file"),
        ("a.csv", gzip.compress(LINES.encode()), [],
         "not text but gzip; give the file the right ending, or export it as csv"),
        ("a.csv", b"PK\x03\x04" + bytes(99), [],
         "not text but a zip archive or a spreadsheet; give the file the right ending, or export it as csv"),
        ("a.csv.gz", LINES.encode(), [], "cannot be read: Not a gzipped file (b'cu')"),
        ("a.csv.gz", gzip.compress(LINES.encode())[:-9], [],
         "cannot be read: Compressed file ended before the end-of-stream marker was reached"),
    ],
    ids=["Latin-1", "Latin-1 far down", "UTF-16 where UTF-8 is set", "half a letter of UTF-16", "no Windows-1252",
         "UTF-16 without a mark",
         "big-endian without a mark", "UTF-32", "NUL byte", "NUL byte far down", "empty", "blank first line",
         "no header", "header of an open quote", "text behind a quoted name", "a column twice",
         "two spellings of a column", "value missing", "value too many", "other delimiter", "decimal comma, unquoted",
         "open quote", "text behind a quote", "line of 10 MB", "other line end from a line on",
         "other line end of the header", "line break outside of quotes", "blanks within a value", "too few parts",
         "csv named parquet", "empty parquet", "gzip named csv", "spreadsheet named csv", "csv named gzip",
         "gzip cut off"],
)  # fmt: skip
def test_a_bad_file_is_told_in_one_clear_line(load_orders, tmp_path, name, content, options, line):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(DataError) as failure:
        load_orders(tmp_path / name, settings=options)
    assert str(failure.value).replace(f"{tmp_path}/", "") == f"{name}: {line}"


@pytest.mark.parametrize(
    ("column", "line"),
    [
        ("['A'] AS customer_id",
         "column 'customer_id', used as customer_id, has type VARCHAR[]; it needs a single value"),
        ("{'id': 1} AS customer_id",
         "column 'customer_id', used as customer_id, has type STRUCT(id INTEGER); it needs a single value"),
        ("map(['a'], [1]) AS quantity",
         "column 'quantity', used as quantity, has type MAP(VARCHAR, INTEGER); it needs a single value"),
        ("true AS customer_id", "column 'customer_id', used as customer_id, has type BOOLEAN; it needs a single value"),
        ("16777217::FLOAT AS customer_id",
         "column 'customer_id', used as customer_id, has type FLOAT, which cannot hold an id; write whole numbers or"
         " text"),
        ("DATE '2024-01-01' AS customer_id",
         "column 'customer_id', used as customer_id, has type DATE, which cannot hold an id; write whole numbers or"
         " text"),
        ("'A' || chr(0) AS customer_id", "damaged: a NUL byte in customer_id"),
        ("7 AS file_row_number, 'A' AS customer_id",
         "column 'file_row_number' has the name under which DuckDB numbers rows; rename it"),
        ("'\\xFF'::BLOB AS customer_id",
         "damaged: Invalid string encoding found in Parquet file \"a.parquet\": value \"\\xFF\" is not valid UTF8!"),
    ],
    ids=["list", "struct", "map", "boolean", "float that loses digits", "date", "NUL byte", "reserved name",
         "bytes that are no text"],
)  # fmt: skip
def test_a_parquet_column_that_holds_no_value_is_told_in_one_clear_line(load_orders, tmp_path, column, line):
    columns = (
        f"{column}{'' if 'customer_id' in column else ', 1 AS customer_id'}, DATE '2024-01-01' AS date, 1 AS price"
    )
    (tmp_path / "a.parquet").write_bytes(parquet(tmp_path, f"SELECT {columns}"))
    with pytest.raises(DataError) as failure:
        load_orders(tmp_path / "a.parquet")
    assert str(failure.value).replace(f"{tmp_path}/", "") == f"a.parquet: {line}"


@pytest.mark.parametrize(
    ("change", "line"),
    [
        (lambda whole: whole[:-20],
         "not a Parquet file, or a damaged one: No magic bytes found at end of file 'a.parquet'"),
        (lambda whole: whole[:60] + b"\xff" * 4 + whole[64:], "damaged: don't know what type"),
    ],
    ids=["cut off", "overwritten"],
)  # fmt: skip
def test_a_damaged_parquet_file_is_told_in_one_clear_line(load_orders, tmp_path, change, line):
    (tmp_path / "a.parquet").write_bytes(change(parquet(tmp_path)))
    with pytest.raises(DataError) as failure:
        load_orders(tmp_path / "a.parquet")
    assert str(failure.value).replace(f"{tmp_path}/", "") == f"a.parquet: {line}"


def test_a_parquet_file_named_csv_is_told_in_one_clear_line(load_orders, tmp_path):
    (tmp_path / "a.csv").write_bytes(parquet(tmp_path))
    with pytest.raises(DataError, match=r"a\.csv: not text but parquet; give the file the right ending, or export"):
        load_orders(tmp_path / "a.csv")


@pytest.mark.parametrize(
    ("value", "text"),
    [("12::DECIMAL(9, 2)", "12.00"), ("'A'::ENUM('A', 'B')", "A"), ("'A'::BLOB", "A"), ("encode('José')", "José"),
     ("12::BIGINT", "12"), ("NULL", None)],
)  # fmt: skip
def test_a_parquet_id_of_any_other_type_is_its_text(load_orders, tmp_path, value, text):
    (tmp_path / "a.parquet").write_bytes(
        parquet(
            tmp_path,
            f"SELECT {value} AS customer_id, TIMESTAMP_NS '2024-01-01 10:00:00.123456789' AS date, 1 AS price,"
            " ['x'] AS tags, {'a': 1} AS more",
        )
    )
    raw, _ = load_orders(tmp_path / "a.parquet")
    assert raw.raw("customer_id, ordered_at") == [(text, "2024-01-01 10:00:00.123456789")]


def test_a_parquet_file_without_rows_brings_none(load_orders, tmp_path):
    (tmp_path / "a.parquet").write_bytes(
        parquet(tmp_path, "SELECT 1 AS customer_id, 1 AS date, 1 AS price WHERE false")
    )
    raw, _ = load_orders(tmp_path / "a.parquet")
    assert raw.raw("customer_id") == []


@pytest.mark.parametrize("ending", ["csv", "csv.gz"])
@pytest.mark.parametrize(
    ("content", "options"),
    [
        (codecs.BOM_UTF16_LE + LINES.encode("utf-16-le"), []),
        (codecs.BOM_UTF16_BE + LINES.encode("utf-16-be"), []),
        (codecs.BOM_UTF16_BE + LINES.encode("utf-16-be"), ["source.encoding=utf-16"]),
        (LINES.encode("utf-16-le"), ["source.encoding=utf-16"]),
        (LINES.encode("utf-16-be"), ["source.encoding=utf-16"]),
        (codecs.BOM_UTF8 + LINES.encode(), []),
        (codecs.BOM_UTF8 + LINES.encode(), ["source.encoding=utf-8"]),
    ],
)
def test_a_byte_order_mark_decides_the_encoding_and_the_settings_do_where_there_is_none(
    load_orders, tmp_path, ending, content, options
):
    (tmp_path / f"a.{ending}").write_bytes(gzip.compress(content) if ending == "csv.gz" else content)
    raw, _ = load_orders(tmp_path / f"a.{ending}", settings=options)
    assert raw.raw(COLUMNS) == READ
    assert set(raw.raw("source_file")) == {str(tmp_path / f"a.{ending}")}


def test_files_of_several_encodings_delimiters_and_line_ends_load_side_by_side(load_orders, tmp_path):
    text = LINES.replace("A", "José")
    for place, content in enumerate(
        [text.encode(), text.encode("utf-8-sig"), text.encode("utf-16"), text.replace(",", ";").encode("utf-16"),
         text.replace("\n", "\r").encode(), text.replace(",", "\t").replace("\n", "\r\n").encode()]
    ):  # fmt: skip
        (tmp_path / f"{place}.csv").write_bytes(content)
    raw, _ = load_orders(tmp_path)
    assert raw.raw(COLUMNS) == [("José", *READ[0][1:]), READ[1]] * 6


@pytest.mark.parametrize("line_end", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize("within", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
def test_line_breaks_in_a_quoted_header_are_no_line_ends(load_orders, tmp_path, line_end, within, encoding):
    text = LINES.replace("\n", line_end).replace("price", f'"price{within}(net)"')
    (tmp_path / "a.csv").write_bytes(text.encode(encoding))
    raw, _ = load_orders(tmp_path / "a.csv", settings=[f"source.columns.unit_price=price{within}(net)"])
    assert raw.raw(COLUMNS) == READ


@pytest.mark.parametrize(
    "text",
    [LINES.replace("\n", "\r"), LINES.replace("\n", "\n\n"), LINES.replace("\n", "\r\n\r\n"),
     LINES.replace("\n", ",,\n"), LINES.replace("0\n", "0,\n"), LINES.replace("customer_id", '"customer_id"'),
     LINES.replace("customer_id", " customer_id ")],
    ids=["CR alone", "blank lines", "blank lines of CRLF", "columns without a name", "delimiter at the end of lines",
         "quoted name", "blanks around a name"],
)  # fmt: skip
def test_harmless_oddities_of_a_text_change_nothing(load_orders, tmp_path, text):
    (tmp_path / "a.csv").write_bytes(text.encode())
    raw, _ = load_orders(tmp_path / "a.csv")
    assert raw.raw(COLUMNS) == READ


@pytest.mark.parametrize(
    ("column", "value", "reason"),
    [(column, value, f"unparseable_{column}") for column in ("quantity", "price") for value in
     ["1,234.50", "1,5", "€12.50", "12.50 EUR", "$5", "(3)", "3-", "0x10", "1 000", "1'000", "٣", "true", "1e400",
      "NaN", "=1+1", "1.2.3", "--1"]]
    + [("quantity", "-0.0", "zero_quantity"), ("price", "-0.0", "non_positive_price")],
)  # fmt: skip
def test_what_is_no_plain_number_is_rejected_and_never_half_read(clean_lines, column, value, reason):
    line = {"quantity": "2", "price": "1.50"} | {column: value}
    cleaned = clean_lines(
        "customer_id date quantity price",
        ["A", "2024-01-01", line["quantity"], line["price"]], *["B 2024-01-01 2 1.50"] * 3,
    )  # fmt: skip
    assert cleaned.rejected() == [(1, reason)]


@pytest.mark.parametrize(
    ("value", "number"), [("1e5", 100_000), ("1E3", 1_000), ("+2", 2), ("2.0", 2), ("1_000", 1_000)]
)
def test_a_number_in_scientific_notation_or_with_a_sign_is_that_number(clean_lines, value, number):
    assert clean_lines("customer_id date quantity price", f"A 2024-01-01 {value} 1").rows("quantity") == [number]


@pytest.mark.parametrize(
    ("delivered", "reason"),
    [("9007199254740992.0", "mangled_customer_id"), ("12345678901234567890.00", "mangled_customer_id"),
     ("9007199254740991.0", None), ("9007199254740993", None), ("0000000000000000017.0", None)],
)  # fmt: skip
def test_an_id_that_is_the_nearest_of_several_numbers_is_mangled(clean_lines, delivered, reason):
    cleaned = clean_lines("customer_id date price", f"{delivered} 2024-01-01 1")
    assert cleaned.rejected("reason") == ([reason] if reason else [])
    assert cleaned.rows("customer_id") == ([] if reason else [delivered.removesuffix(".0")])


texts = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\x00"), max_size=12) | st.sampled_from(
    ["", " ", '"', '""', ",", "\n", "\r\n", "\r", "é", "\ufeff", "'", "\\", "NULL", "1e5", "#", "\u2028"]
)


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(rows=st.lists(st.tuples(*[texts] * len(ORDER_COLUMNS)), max_size=6), line_end=st.sampled_from(["\n", "\r\n"]))
def test_whatever_is_written_is_what_is_read(tmp_path, rows, line_end):
    text = io.StringIO(newline="")
    # The module leaves a lone carriage return bare where that is not in its line end.
    quoting = csv.QUOTE_ALL if line_end == "\n" else csv.QUOTE_MINIMAL
    writer = csv.writer(text, lineterminator=line_end, quoting=quoting)
    writer.writerow(ORDER_COLUMNS)
    writer.writerows(rows)
    (tmp_path / "a.csv").write_bytes(text.getvalue().encode())
    with Warehouse(database=":memory:").get_connection() as connection:
        ingest(connection, SourceSettings(path=str(tmp_path / "a.csv")))
        read = connection.execute(
            f"SELECT {', '.join(ORDER_COLUMNS)} FROM raw.raw_orders ORDER BY source_row"
        ).fetchall()
    assert read == [tuple(value or None for value in row) for row in rows]


@pytest.mark.parametrize("files", [1, 40])
@pytest.mark.parametrize("last", ['2,"b,2024-01-02,1\n', '2,b",2024-01-02,1\n3,c"",2024-01-02,1\n4,"d,2024-01-02,1\n'])
def test_a_quote_that_is_never_closed_is_told_however_many_files_there_are(load_orders, tmp_path, files, last):
    header = "order_id,customer_id,ordered_at,amount\n"
    for number in range(files):
        (tmp_path / f"{number:02}.csv").write_text(f'{header}{number},"a",2024-01-01,1\n')
    (tmp_path / "broken.csv").write_text(header + last)

    with pytest.raises(DataError, match=r"broken\.csv"):
        load_orders(tmp_path / "broken.csv")
    cleaned, _ = load_orders(tmp_path)

    assert cleaned.raw("customer_id") == ["a"] * files
    assert cleaned.connection.execute(
        "SELECT parse_filename(source_file) FROM raw.deliveries WHERE status != 'loaded'"
    ).fetchall() == [("broken.csv",)]


def test_an_error_about_a_file_with_a_line_break_in_its_name_is_one_line(tmp_path):
    file = tmp_path / "a\nb.csv"
    file.write_bytes(b"")
    [error] = deliveries([str(file)], SourceSettings()).refused.values()
    assert "\n" not in str(error) and "a b.csv" in str(error)
