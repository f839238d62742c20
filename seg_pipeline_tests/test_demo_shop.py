"""The demo shop: its files can be made again byte for byte, its nights added one by one, and its dirt is all there."""

import csv
import datetime as dt
import re
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import demo_shop
import duckdb
import pytest

UNTIL = dt.date(2026, 3, 1)
SINCE = UNTIL - dt.timedelta(days=demo_shop.DEFAULT_SPAN_DAYS)

Row = dict[str, str]


def read_rows(contents: dict[str, bytes]) -> list[Row]:
    """The lines of all files as delivered, each with the day of its file."""
    return [
        {**row, "file_day": name.removesuffix(".csv")}
        for name, content in contents.items()
        for row in csv.DictReader(content.decode().splitlines(keepends=True))
    ]


def quantity_of(row: Row) -> int:
    return int(row["quantity"]) if re.fullmatch(r"-?\d+", row["quantity"]) else 0


@pytest.fixture(scope="module")
def shop() -> tuple[dict[str, bytes], demo_shop.Written]:
    return demo_shop.day_files(SINCE, UNTIL)


@pytest.fixture(scope="module")
def rows(shop: tuple[dict[str, bytes], demo_shop.Written]) -> list[Row]:
    return read_rows(shop[0])


def test_the_same_seed_gives_the_same_bytes_and_another_seed_does_not() -> None:
    first, _ = demo_shop.day_files(UNTIL - dt.timedelta(days=5), UNTIL, seed=3)
    again, _ = demo_shop.day_files(UNTIL - dt.timedelta(days=5), UNTIL, seed=3)
    other, _ = demo_shop.day_files(UNTIL - dt.timedelta(days=5), UNTIL, seed=4)
    assert first == again
    assert all(first[name] != other[name] for name in first)


@pytest.mark.parametrize(("before", "after"), [(0, 0), (45, 0), (0, 20), (200, 3)])
def test_the_file_of_a_day_does_not_depend_on_the_span_it_is_made_in(
    shop: tuple[dict[str, bytes], demo_shop.Written], before: int, after: int
) -> None:
    day = dt.date(2025, 12, 6)
    files, _ = demo_shop.day_files(day - dt.timedelta(days=before), day + dt.timedelta(days=after))
    assert len(files) == before + after + 1
    assert all(shop[0][name] == content for name, content in files.items())


def test_until_adds_nights_and_leaves_the_other_files_untouched(tmp_path: Path) -> None:
    demo_shop.write_days(tmp_path, dt.date(2026, 2, 1), dt.date(2026, 2, 10))
    before = {path.name: (path.stat().st_ino, path.stat().st_mtime_ns) for path in tmp_path.iterdir()}
    written = demo_shop.write_days(tmp_path, dt.date(2026, 2, 3), dt.date(2026, 2, 12))
    after = {path.name: (path.stat().st_ino, path.stat().st_mtime_ns) for path in tmp_path.iterdir()}
    assert written.changed == 2
    assert {name: after[name] for name in before} == before
    assert sorted(after.keys() - before.keys()) == ["2026-02-11.csv", "2026-02-12.csv"]


def test_a_damaged_file_is_written_again(tmp_path: Path) -> None:
    demo_shop.write_days(tmp_path, UNTIL, UNTIL)
    path = tmp_path / f"{UNTIL}.csv"
    whole = path.read_bytes()
    path.write_bytes(whole[:100])
    assert demo_shop.write_days(tmp_path, UNTIL, UNTIL).changed == 1
    assert path.read_bytes() == whole


def test_two_years_hold_about_100_000_lines_of_some_thousands_of_customers(
    shop: tuple[dict[str, bytes], demo_shop.Written], rows: list[Row]
) -> None:
    files, written = shop
    assert len(files) == written.files == demo_shop.DEFAULT_SPAN_DAYS + 1
    assert len(rows) == written.lines
    assert 90_000 <= written.lines <= 120_000
    customers = {row["customer_id"].removesuffix(".0") for row in rows} - {"", demo_shop.MANGLED_ID}
    assert len(customers) == written.customers
    assert 3_000 <= written.customers <= 6_000


def test_long_ago_the_shop_was_as_busy_as_today(shop: tuple[dict[str, bytes], demo_shop.Written]) -> None:
    since = demo_shop.FIRST_DAY
    _, written = demo_shop.day_files(since, since + dt.timedelta(days=demo_shop.DEFAULT_SPAN_DAYS))
    assert written.lines == pytest.approx(shop[1].lines, rel=0.2)
    assert written.customers == pytest.approx(shop[1].customers, rel=0.1)


def test_customers_join_and_lapse_all_the_time(rows: list[Row]) -> None:
    first: dict[str, str] = {}
    last: dict[str, str] = {}
    for row in rows:
        first.setdefault(row["customer_id"], row["file_day"][:7])
        last[row["customer_id"]] = row["file_day"][:7]
    months = sorted(set(first.values()))[1:-1]
    joined, lapsed = Counter(first.values()), Counter(last.values())
    assert min(joined[month] for month in months) > 50
    assert min(lapsed[month] for month in months) > 50


@pytest.mark.parametrize(
    ("dirt", "shares"),
    [
        (lambda row: row["customer_id"] == "", (0.02, 0.06)),
        (lambda row: re.fullmatch(r"\d+\.0", row["customer_id"]), (0.003, 0.02)),
        (lambda row: row["customer_id"] == demo_shop.MANGLED_ID, (0, 0.001)),
        (lambda row: row["order_id"].startswith("C") and quantity_of(row) < 0, (0.01, 0.03)),
        (lambda row: row["unit_price"] == "0.00", (0.001, 0.005)),
        (lambda row: row["unit_price"] == "0.00" and row["description"] == "", (0.0005, 0.002)),
        (lambda row: row["unit_price"].startswith("-"), (0, 0.001)),
        (lambda row: row["order_date"] == "0000-00-00", (0, 0.001)),
        (lambda row: row["order_date"].endswith("-13-45"), (0, 0.001)),
        (lambda row: row["order_date"].startswith("1899-12-30"), (0, 0.001)),
        (lambda row: row["quantity"] in demo_shop.BAD_QUANTITIES, (0, 0.001)),
        (lambda row: row["unit_price"] in demo_shop.BAD_PRICES, (0, 0.001)),
        (lambda row: row["product_id"] == "POST", (0.003, 0.02)),
        (lambda row: row["product_id"] in ("M", "D", "BANK CHARGES"), (0.0005, 0.005)),
        (lambda row: not row["description"].isascii(), (0.005, 0.05)),
        (lambda row: not row["country"].isascii(), (0.03, 0.2)),
        (lambda row: "\n" in row["description"] and '"' in row["description"], (0.0005, 0.01)),
    ],
    ids=[
        *("missing id", "spreadsheet id", "mangled id", "cancellation", "zero price", "missing description"),
        *("negative price", "zero date", "month 13", "date of 1899", "bad quantity", "bad price", "postage"),
        *("other service codes", "non-ASCII description", "non-ASCII country", "quoted newline"),
    ],
)
def test_each_kind_of_dirt_is_there_at_its_rate(
    rows: list[Row], dirt: Callable[[Row], object], shares: tuple[float, float]
) -> None:
    lowest, highest = shares
    assert lowest < sum(1 for row in rows if dirt(row)) / len(rows) < highest


def test_some_lines_are_there_twice_and_none_by_accident(rows: list[Row]) -> None:
    times = Counter(tuple(row.values()) for row in rows)
    assert set(times.values()) == {1, 2}
    assert 0.003 < sum(1 for count in times.values() if count == 2) / len(rows) < 0.007


def test_every_readable_date_is_the_day_of_its_file(rows: list[Row]) -> None:
    elsewhere = [row["order_date"] for row in rows if not row["order_date"].startswith(row["file_day"])]
    assert all(date == "0000-00-00" or date.endswith("-13-45") or date.startswith("1899") for date in elsewhere)


def test_an_order_has_one_customer_and_one_time(rows: list[Row]) -> None:
    times: dict[str, set[str]] = {}
    customers: dict[str, set[str]] = {}
    for row in rows:
        if row["order_date"].startswith(row["file_day"]):
            times.setdefault(row["order_id"], set()).add(row["order_date"])
        if row["customer_id"] not in ("", demo_shop.MANGLED_ID):
            customers.setdefault(row["order_id"], set()).add(row["customer_id"].removesuffix(".0"))
    assert max(len(values) for values in times.values()) == 1
    assert max(len(values) for values in customers.values()) == 1


def test_returned_goods_were_bought_shortly_before() -> None:
    lines = demo_shop.order_lines(demo_shop.Dice(1), dt.date(2025, 1, 1), dt.date(2025, 6, 30))
    quantities: dict[tuple[int, int, int], int] = {}
    returns = 0
    columns = (lines.document, lines.customer, lines.bought_on, lines.day, lines.product, lines.quantity)
    first_known = int(lines.day[0]) + demo_shop.RETURN_WINDOW_DAYS
    for document, customer, bought_on, day, product, quantity in zip(*(c.tolist() for c in columns), strict=True):
        if document == demo_shop.PURCHASE:
            quantities[customer, bought_on, product] = quantity
        elif document == demo_shop.RETURN and day >= first_known:
            assert 0 < day - bought_on <= demo_shop.RETURN_WINDOW_DAYS
            assert 0 < -quantity <= quantities[customer, bought_on, product]
            returns += 1
    assert returns > 100


def test_the_command_says_in_one_line_what_it_wrote(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert demo_shop.main(["--out", str(tmp_path / "shop"), "--since", "2026-02-28", "--until", "2026-03-01"]) == 0
    output = capsys.readouterr().out
    assert output.count("\n") == 1
    assert re.search(r"2 file\(s\), 2 new or changed, .* [\d,]+ lines, [\d,]+ customers", output)
    assert sorted(path.name for path in (tmp_path / "shop").iterdir()) == ["2026-02-28.csv", "2026-03-01.csv"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--since", "2026-03-02", "--until", "2026-03-01"], "is after until"),
        (["--until", "1995-01-01"], "the first day of the demo shop"),
        (["--customers", "10"], "--customers needs --lines"),
        (["--lines", "1000"], "--lines needs --out"),
        (["--lines", "1000", "--out", "orders.xlsx"], "neither with .parquet nor with .csv"),
        (["--lines", "10", "--customers", "10", "--out", "orders.csv"], "too few"),
    ],
)
def test_wrong_usage_is_refused(
    arguments: list[str],
    message: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit) as stopped:
        demo_shop.main(arguments)
    assert stopped.value.code == 2
    assert message in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("suffix", [".csv", ".parquet"])
def test_bulk_lines_are_the_same_for_any_number_of_threads(suffix: str, tmp_path: Path) -> None:
    paths = [tmp_path / f"{threads}{suffix}" for threads in (1, 2)]
    for threads, path in enumerate(paths, start=1):
        # More lines than a row group holds, so that two threads would have something to share.
        demo_shop.write_bulk(path, 130_003, 10_000, SINCE, UNTIL, threads=threads)
    if suffix == ".csv":
        one, two = (path.read_bytes() for path in paths)
        assert one == two
    else:
        rows_of_one, rows_of_two = (duckdb.execute(f"SELECT * FROM '{path}'").fetchall() for path in paths)
        assert rows_of_one == rows_of_two
    assert sorted(path.name for path in tmp_path.iterdir()) == [path.name for path in paths]


def test_bulk_lines_depend_on_the_seed(tmp_path: Path) -> None:
    for seed in (1, 2):
        demo_shop.write_bulk(tmp_path / f"{seed}.csv", 1_000, 50, SINCE, UNTIL, seed)
    assert (tmp_path / "1.csv").read_bytes() != (tmp_path / "2.csv").read_bytes()


@pytest.mark.parametrize(("lines", "customers"), [(200_000, 10_000), (99_999, 19_999), (50_000, 1)])
def test_bulk_has_the_lines_and_customers_asked_for(lines: int, customers: int, tmp_path: Path) -> None:
    path = tmp_path / "orders.parquet"
    demo_shop.write_bulk(path, lines, customers, SINCE, UNTIL)
    columns = [name for name, *_ in duckdb.execute(f"DESCRIBE SELECT * FROM '{path}'").fetchall()]
    assert columns == list(demo_shop.COLUMNS)
    found = duckdb.execute(
        f"SELECT count(*), count(DISTINCT customer_id), min(order_date)::DATE, max(order_date)::DATE FROM '{path}'"
    ).fetchall()[0]
    assert found == (lines, customers, SINCE, UNTIL)


def test_bulk_has_dirt_and_customers_who_differ(tmp_path: Path) -> None:
    path = tmp_path / "orders.parquet"
    demo_shop.write_bulk(path, 200_000, 10_000, SINCE, UNTIL)
    missing, returned, free, copies = duckdb.execute(
        f"""
        WITH lines AS (FROM '{path}')
        SELECT avg((customer_id IS NULL)::INTEGER), avg((order_id LIKE 'C%' AND quantity < 0)::INTEGER),
            avg((unit_price = 0)::INTEGER), 1 - (SELECT count(*) FROM (SELECT DISTINCT * FROM lines)) / count(*)
        FROM lines
        """
    ).fetchall()[0] or (0, 0, 0, 0)
    assert 0.02 < missing < 0.06
    assert 0.01 < returned < 0.03
    assert 0.001 < free < 0.005
    assert 0.003 < copies < 0.01
    typical, heavy, lapsed = duckdb.execute(
        f"""
        SELECT quantile_disc(orders, 0.5), quantile_disc(orders, 0.99), avg((last_day < DATE '{UNTIL}' - 180)::INTEGER)
        FROM (
            SELECT count(DISTINCT order_id) AS orders, max(order_date) AS last_day
            FROM '{path}' WHERE customer_id IS NOT NULL GROUP BY customer_id
        )
        """
    ).fetchall()[0] or (0, 0, 0)
    assert heavy >= 5 * typical
    assert 0.2 < lapsed < 0.7
