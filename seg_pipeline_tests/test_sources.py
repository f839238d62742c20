"""Files of every delivered form become raw_orders, as text, with the row each line came from."""

import csv
import gzip
import io

import duckdb
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from seg_pipeline.errors import DataError, UsageError
from seg_pipeline.raw.columns import ORDER_COLUMNS
from seg_pipeline.raw.ingestion import ingest
from seg_pipeline.raw.sources import find_files
from seg_pipeline.settings import SourceSettings
from seg_pipeline.warehouse import Warehouse

LINES = "customer_id,date,price\nA,2024-01-01,1.50\nB,2024-01-02,2.50\n"
READ = [("A", "2024-01-01", "1.50", 1), ("B", "2024-01-02", "2.50", 2)]
COLUMNS = "customer_id, ordered_at, unit_price, source_row"


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


@pytest.mark.parametrize("encoding", ["utf-8", "latin-1", "utf-16"])
def test_text_is_read_in_the_encoding_of_the_settings(load_orders, tmp_path, encoding):
    (tmp_path / "a.csv").write_bytes("customer_id,date,amount,country\nJosé,2024-01-01,1,España\n".encode(encoding))
    raw, _ = load_orders(tmp_path / "a.csv", settings=[f"source.encoding={encoding}"])
    assert raw.raw("customer_id, country") == [("José", "España")]


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


def test_a_file_that_only_claims_to_be_parquet_is_one_line(load_orders, tmp_path):
    (tmp_path / "a.parquet").write_text(LINES)
    with pytest.raises(DataError, match=r"a\.parquet: not a parquet file") as failure:
        load_orders(tmp_path)
    assert "\n" not in str(failure.value)


def test_a_folder_gives_its_files_in_order_and_none_that_are_hidden_or_of_another_kind(tmp_path):
    for name in ("b.csv", "sub/a.csv", "a.csv.gz", "c.parquet", ".hidden.csv", ".cache/x.csv", "notes.md"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    found = [str(file.relative_to(tmp_path)) for file in find_files([str(tmp_path)])]
    assert found == ["a.csv.gz", "b.csv", "c.parquet", "sub/a.csv"]


def test_a_glob_and_several_paths_name_each_file_once(tmp_path):
    for name in ("a.csv", "b.csv", "c.txt"):
        (tmp_path / name).touch()
    (tmp_path / "link.csv").symlink_to(tmp_path / "a.csv")
    given = [f"{tmp_path}/*.csv", str(tmp_path / "a.csv"), f"{tmp_path}/../{tmp_path.name}/b.csv"]
    assert sorted(file.name for file in find_files(given)) == ["a.csv", "b.csv"]


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
        ",customer_id,note,note,filename,Date,DATE,amount,it's,\n0,A,n,m,f,2024-01-01,x,1.50,q,\n"
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


def test_a_file_with_a_header_only_has_no_lines(load_orders, tmp_path):
    (tmp_path / "a.csv").write_text("customer_id,date,amount\n")
    (tmp_path / "b.txt").write_text("customer_id,date,amount")
    raw, _ = load_orders(tmp_path)
    assert raw.raw("customer_id") == []


@pytest.mark.parametrize("text", ["", "\n", " \n\n"])
def test_an_empty_file_is_told(load_orders, tmp_path, text):
    (tmp_path / "a.csv").write_text(text)
    with pytest.raises(DataError, match=r"a\.csv: empty"):
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
    with duckdb.connect() as connection:
        ingest(connection, SourceSettings(path=str(tmp_path / "a.csv")))
        read = connection.execute(
            f"SELECT {', '.join(ORDER_COLUMNS)} FROM raw.raw_orders ORDER BY source_row"
        ).fetchall()
    assert read == [tuple(value or None for value in row) for row in rows]
