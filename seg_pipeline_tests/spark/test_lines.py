"""Spark loads and cleans lines with the same result as DuckDB."""

import gzip
from dataclasses import replace

import duckdb
import pytest
from pandas.testing import assert_frame_equal

from seg_pipeline.errors import UsageError
from seg_pipeline.prepared.day_figures import update_day_figures
from seg_pipeline.raw.erasure import ErasureKey, remember
from seg_pipeline.raw.ingestion import ingest
from seg_pipeline.raw.tables import RAW_ORDERS
from seg_pipeline.tables import Column
from seg_pipeline.usecases.erase import _delete
from seg_pipeline.usecases.retract import retract
from seg_pipeline.wiring import warehouse_of
from seg_pipeline_tests.conftest import write_csv
from seg_pipeline_tests.spark.conftest import ENGINES, assert_same_tables, rows_of

HEADER = ["order_id", "customer_id", "ordered_at", "product_id", "quantity", "unit_price", "country"]
ODD_TIMES = (
    "2024-01-05", "2024-1-5", "2024/01/05 7:08", "2024-01-05T10:11:12Z", "2024-01-05 10:11:12.5 +02:00", "24-01-05",
    "31-12-24", "2024-02-30", "2024", "2024-01", "20240105", "now", "epoch", "infinity", "2024-01-05 24:00:00", " ",
    "2024-01-05 10:11:12.1234567", "0024-01-05", "2024-01-05 (BC)", "2024-01-05\t", "\u00a02024-01-05", "12024-01-05",
)  # fmt: skip
ODD_NUMBERS = (
    "1", "+1", "-2", "1.00005", "0.00005", "1e3", "1E-3", ".5", "5.", "1_000", "1,5", "1.234,50", "0x10", "NaN", "inf",
    "99999999999999", "99999999999999.99999", "123456789012345", "1 000", "--1", "1.2.3", "\u0661", "1e", "e1", "-0",
    "9999999999", "33333.33333", "0.3333", "\t7", "7\u3000", "1/2", "$5", "5e-05", "100000000000000000000e-18", "1d",
    "1f", "true", "1L", "00012",
)  # fmt: skip
ODD_IDS = (
    "17850", "17850.0", "17850.00", "017850", "17850.5", "5.94773E+23", "12E4", "9007199254740993.0",
    "nan", "NaN", "N/A", "null", "None", "x\t", "\u3000x", "x y", "\ufeffx", "-1.5e+10", "1.5e10", ".", "0.0", "a\nb",
    "1e400.0", "12345678901234567890.0", "STRASSE", "stra\u00dfe", "\u0130", "$1", "\\1",
)  # fmt: skip


@pytest.mark.parametrize("options", [(), ("returns=match", "zero_prices=keep", "duplicates=keep", "cancellations=C*")])
def test_odd_values_are_read_alike(both, tmp_path, options):
    rows = [[f"t{n}", "a", time, "p", "1", "2.5", "UK"] for n, time in enumerate(ODD_TIMES)]
    rows += [[f"q{n}", "a", "2024-01-05", "p", number, "2.5", "UK"] for n, number in enumerate(ODD_NUMBERS)]
    rows += [[f"u{n}", "a", "2024-01-05", "p", "3", number, "UK"] for n, number in enumerate(ODD_NUMBERS)]
    rows += [[f"b{n}", "a", "2024-01-05", "p", number, number, "UK"] for n, number in enumerate(ODD_NUMBERS)]
    rows += [[one, one, "2024-01-05", one, "3", "1", "UK"] for one in ODD_IDS]
    rows += [["same", "a", "2024-01-05", "p", "1", "1", "UK"]] * 3 + [["C1", "a", "2024-01-06", "p", "1", "2.5", "UK"]]
    rows += [
        ["r1", "b", f"2024-01-{day:02}", "p", units, "2", "UK"]
        for day, units in enumerate(["1", "1", "-1", "1", "-1", "-1", "-1", "2"], 1)
    ]
    file = write_csv(tmp_path / "orders.csv", HEADER, *rows)

    by_duckdb, by_spark = both.prepare(f"source.path={file}", "source.date_format=iso", *options)

    assert len(by_duckdb["prepared.rejected_orders"]) > 20
    assert_same_tables(by_spark, by_duckdb)


@pytest.mark.parametrize(
    "times",
    [
        ["1/2/2011 8:26", "13/02/11", "3.4.2011 12:01:02", "31/12/2012 11:59 PM", "x"],
        ["20240105", "20240106 10:11", "2024111", "20240230"],
        ["12/31/2011 8:26", "1/2/11 1:05 AM", "02/30/2011"],
        ["2011/3/4", "11/3/14", "2011.03.05"],
    ],
)
def test_dates_are_detected_alike(both, tmp_path, times):
    rows = [[f"o{n}", "a", time, "p", "1", "2", "UK"] for n, time in enumerate(times)]
    file = write_csv(tmp_path / "orders.csv", HEADER, *rows)

    by_duckdb, by_spark = both.prepare(f"source.path={file}", "returns=match")

    assert_same_tables(by_spark, by_duckdb)


def test_files_of_every_kind_are_read_alike(both, tmp_path, monkeypatch):
    monkeypatch.setattr("seg_pipeline.raw.sources.parquet.LINES_IN_A_PART", 1000)
    folder = tmp_path / "orders"
    month = folder / "year=2024" / "month=02"
    month.mkdir(parents=True)
    rows = [
        [f"o{n}", f"c{n % 7}", f"2024-01-{n % 28 + 1:02}", 'a, "b"\nc', "2", "3.5", "Österreich"] for n in range(50)
    ]
    write_csv(folder / "plain.csv", HEADER, *rows)
    write_csv(folder / "other [1].csv", HEADER[::-1], *(row[::-1] for row in rows[:20]))
    text = (folder / "plain.csv").read_text(encoding="utf-8")
    (folder / "marked.csv").write_text(text, encoding="utf-16")
    (folder / "packed.csv.gz").write_bytes(gzip.compress(text.replace("o1", "z1").encode()))
    with duckdb.connect() as connection:
        connection.execute(
            "COPY (SELECT 'p' || n AS order_id, n % 5 AS customer_id, TIMESTAMP '2024-02-03 04:05:06.5' + to_hours(n)"
            " AS ordered_at, 'x' AS product_id, n AS quantity, CAST(n AS DECIMAL(9, 2)) / 3 AS unit_price, NULL AS"
            f" country FROM range(1, 3000) AS t(n)) TO '{month}/table.parquet' (ROW_GROUP_SIZE 2048)"
        )

    by_duckdb, by_spark = both.prepare(f"source.path={folder}")

    assert len(by_duckdb["raw.raw_orders"]) == 50 * 3 + 20 + 2999
    assert_same_tables(by_spark, by_duckdb)


def test_new_changed_and_dropped_files_change_the_same_lines(both, tmp_path):
    folder = tmp_path / "orders"
    folder.mkdir()

    def line(order, customer="a", units="1"):
        return [order, customer, "2024-01-05", "p", units, "2", "UK"]

    def deliver(name, *lines):
        write_csv(folder / name, HEADER, *lines)

    given = (f"source.path={folder}", "source.removed_files=drop", "returns=match")
    deliver("1.csv", line("o1"), line("o1"), line("o2", "b"), line("o3", "c"))
    deliver("2.csv", line("o4", "b"), line("o5", "d"))
    nights = [both.prepare(*given)]
    deliver("3.csv", line("o1"), line("r1", "b", "-1"), line("o6", "e"))
    nights.append(both.prepare(*given))
    deliver("2.csv", line("o4", "b"), line("o4", "b"), line("o7", "f"))
    nights.append(both.prepare(*given))
    (folder / "1.csv").unlink()
    deliver("4.csv", ["order_id;customer_id", "x"])
    nights.append(both.prepare(*given))
    nights.append(both.prepare(*given))

    for by_duckdb, by_spark in nights:
        assert_same_tables(by_spark, by_duckdb)
    assert set(nights[-1][0]["raw.deliveries"]["status"]) == {"loaded", "set_aside"}


def test_an_erased_customer_is_in_no_table_and_no_file_and_does_not_come_back(both, tmp_path):
    folder = tmp_path / "orders"
    folder.mkdir()
    rows = [[f"o{n}", name, "2024-01-05", "p", "1", price, "UK"] for n, name in enumerate("abca") for price in "1x"]
    write_csv(folder / "1.csv", HEADER, *rows)
    both.prepare(f"source.path={folder}")

    for engine in ENGINES:
        warehouse = both.warehouse(engine)
        with warehouse.held(), warehouse.get_connection() as connection, connection.transaction():
            remember(connection, ErasureKey.beside(warehouse.database), ["a"])
            erased = _delete(connection, ["a"])
        warehouse.rewrite()
        assert erased == {"prepared.clean_orders": 2, "prepared.rejected_orders": 2, "raw.raw_orders": 4}
    files = list((both.folder / "spark").rglob("*.parquet"))
    write_csv(folder / "2.csv", HEADER, *rows[:2], *rows[2:4])
    by_duckdb, by_spark = both.prepare(f"source.path={folder}")

    with duckdb.connect() as connection:
        for file in files:
            assert not connection.execute(
                "FROM read_parquet($file) WHERE customer_id = 'a'", {"file": str(file)}
            ).fetchall()
    assert set(by_duckdb["raw.raw_orders"]["customer_id"]) == {"b", "c"}
    assert_same_tables(by_spark, by_duckdb)


def test_days_are_judged_alike(both, tmp_path):
    folder = tmp_path / "orders"
    folder.mkdir()
    rows = [
        [
            f"o{n // 3}",
            f"c{n % 17}",
            f"2024-{n // 270 + 1:02}-{n % 270 // 10 + 1:02}",
            f"p{n % 5}",
            str(n % 4 - 1),
            "2.5",
            "x",
        ]
        for n in range(1000)
    ]
    write_csv(folder / "a.csv", HEADER, *rows[:800])
    given = f"source.path={folder}"
    both.prepare(given)
    figures = [judged_days(both.settings(engine, given)) for engine in ENGINES]
    assert_frame_equal(figures[1], figures[0], check_exact=True)

    write_csv(folder / "b.csv", HEADER, *rows[790:])
    both.prepare(given)
    figures = [judged_days(both.settings(engine, given)) for engine in ENGINES]
    assert_frame_equal(figures[1], figures[0], check_exact=True)
    assert set(figures[0]["load"]) == {1, 2}


def judged_days(settings):
    """The rows of day_figures; digests and paths differ between the engines."""
    warehouse = warehouse_of(settings)
    with warehouse.held(), warehouse.get_connection() as connection:
        update_day_figures(connection, settings.days)
    return warehouse.read("SELECT * EXCLUDE (digest) FROM prepared.day_figures ORDER BY name")


def test_a_retracted_file_stays_out_of_both_warehouses(both, tmp_path):
    folder = tmp_path / "orders"
    folder.mkdir()
    for name in "abc":
        write_csv(folder / f"{name}.csv", HEADER, [f"o{name}", name, "2024-01-05", "p", "1", "2", "UK"])
    given = f"source.path={folder}"
    both.prepare(given)

    for engine in ENGINES:
        retraction = retract(both.settings(engine, given), ["b.csv"])
        assert list(retraction.lines.values()) == [1]
    by_duckdb, by_spark = both.prepare(given)

    assert set(by_duckdb["raw.raw_orders"]["customer_id"]) == {"a", "c"}
    assert_same_tables(by_spark, by_duckdb)


@pytest.mark.parametrize(("made_with", "then"), [ENGINES, ENGINES[::-1]])
def test_a_warehouse_of_the_other_engine_is_refused(both, tmp_path, made_with, then):
    file = write_csv(tmp_path / "orders.csv", HEADER, ["o1", "a", "2024-01-05", "p", "1", "2", "UK"])
    both.prepare(f"source.path={file}")
    settings = both.settings(then, f"source.path={file}")
    other = settings.warehouse.model_copy(update={"path": both.settings(made_with).warehouse.path})
    warehouse = warehouse_of(settings.model_copy(update={"warehouse": other}))

    with (
        pytest.raises(UsageError, match=rf"engine={then}: raw.raw_orders was made with {made_with}"),
        warehouse.held(),
        warehouse.get_connection() as connection,
    ):
        ingest(connection, settings.source)


def test_columns_that_came_later_are_empty_in_what_an_older_version_made(both):
    line = ["o1", "a", "2024-01-05", "p", "1", "2", "UK"]
    file = write_csv(both.folder / "orders.csv", HEADER, line)
    both.prepare(f"source.path={file}")
    longer = replace(RAW_ORDERS, columns=(*RAW_ORDERS.columns, Column("note", "VARCHAR", "Came later")))

    for engine in ENGINES:
        with both.warehouse(engine).held(), both.warehouse(engine).get_connection() as connection:
            connection.create(longer, or_replace=False)

    by_duckdb, by_spark = (rows_of(both.warehouse(engine), RAW_ORDERS.name) for engine in ENGINES)
    assert by_spark["order_id"].to_list() == ["o1"]
    assert by_spark["note"].isna().all()
    assert_frame_equal(by_spark, by_duckdb, check_exact=True)


@pytest.mark.parametrize(("given", "limit"), [((), "953.6 MiB"), (("warehouse.memory_limit=3GB",), "2.7 GiB")])
def test_beside_spark_duckdb_takes_one_gigabyte_unless_told_otherwise(both, given, limit):
    warehouse = warehouse_of(both.settings("spark", *given))

    assert warehouse.value("SELECT current_setting('memory_limit')") == limit


LINE = b"order_id,customer_id,ordered_at,quantity,unit_price\n1,a,2024-01-05,1,2\n"
DATES = b"order_id,customer_id,ordered_at,quantity,unit_price\n"
BAD = {
    "quotes": LINE + b'2,"a,2024-01-05,1,2\n3,a,2024-01-05,1,2\n',
    "width": LINE + b"2,a,2024-01-05\n",
    "wider": LINE + b"2,a,2024-01-05,1,2,3,4\n",
    "latin": LINE + "2,é,2024-01-05,1,2\n".encode("latin-1"),
    "nul": LINE + b"1,a\x00b,2024-01-05,1,2\n",
    "line ends": LINE.replace(b"\n", b"\r\n") + b"2,b,2024-01-05,1,2\r3,c,2024-01-05,1,2\n",
    "empty": b"",
    "no column": b"order,when,quantity\n1,2024-01-05,1\n",
    "ambiguous dates": DATES + b"1,a,01/02/2024,1,2\n",
    "no dates": DATES + b"1,a,soon,1,2\n",
    "both orders": DATES + b"1,a,13/02/2024,1,2\n" * 3 + b"1,a,02/13/2024,1,2\n",
    "currencies": b"customer_id,ordered_at,unit_price,currency\na,2024-01-05,2,EUR\na,2024-01-05,2,usd\n",
    "commas": b"customer_id;ordered_at;unit_price\na;2024-01-05;2,50\na;2024-01-05;3,50\n",
}


@pytest.mark.parametrize("content", BAD.values(), ids=BAD)
def test_bad_input_ends_in_the_same_line(both, tmp_path, content):
    file = tmp_path / "orders.csv"
    file.write_bytes(content)

    by_duckdb, by_spark = both.prepare(f"source.path={file}")

    assert isinstance(by_duckdb, tuple)
    assert by_spark == by_duckdb
