"""Order days and deliveries: their figures, the verdicts on them by the shop's own history, and stops that stand."""

import datetime
import random
import shutil

import numpy as np
import pandas as pd
import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as example_settings
from hypothesis import strategies as st

from seg_pipeline.cli import main
from seg_pipeline.errors import UsageError
from seg_pipeline.features.night import build_features
from seg_pipeline.features.tables import RFM_FEATURES
from seg_pipeline.prepared.cleaning import clean
from seg_pipeline.prepared.day_figures import new_findings, no_new_day, update_day_figures
from seg_pipeline.prepared.day_verdicts import JUDGED, judge_days, judge_deliveries, usually_trades
from seg_pipeline.quality.evaluation import evaluate
from seg_pipeline.raw.erasure import ErasureKey
from seg_pipeline.raw.ingestion import ingest
from seg_pipeline.settings import DaySettings, load_settings
from seg_pipeline.usecases.accept import accept
from seg_pipeline.usecases.retract import retract
from seg_pipeline.warehouse import Warehouse
from seg_pipeline_tests.conftest import write_csv

HEADER = ["order_id", "customer_id", "date", "product", "quantity", "price"]
FIRST = datetime.date(2024, 1, 1)
LIMITS = DaySettings()


def day(number):
    return FIRST + datetime.timedelta(days=number)


class Shop:
    """A folder that gets a file a day, and the warehouse that it is loaded into."""

    def __init__(self, folder, *other_folders):
        self.folder = folder / "orders"
        self.folder.mkdir()
        self.warehouse = Warehouse(database=str(folder / "w.duckdb"))
        paths = ", ".join(f'"{path}"' for path in (self.folder, *other_folders))
        self.options = [f"source.path=[{paths}]", f"warehouse.path={folder / 'w.duckdb'}", "source.date_format=iso"]

    def deliver(self, name, rows):
        return write_csv(self.folder / f"{name}.csv", HEADER, *rows)

    def load(self, *options):
        settings = load_settings([*self.options, *options], environment={})
        with self.warehouse.get_connection() as connection:
            ingest(connection, settings.source, key=ErasureKey.beside(self.warehouse.database))
            clean(connection, settings)
            update_day_figures(connection, settings.days)

    def score(self, as_of):
        """Stands for a night with segments, of which only the date matters here."""
        with self.warehouse.transaction() as connection:
            connection.duckdb.execute("CREATE SCHEMA IF NOT EXISTS segments")
            connection.duckdb.execute("CREATE TABLE IF NOT EXISTS segments.segment_assignments (as_of DATE)")
            connection.duckdb.execute("INSERT INTO segments.segment_assignments VALUES ($as_of)", {"as_of": as_of})

    def read(self, columns, where="true"):
        days = "SELECT * FROM prepared.day_figures ORDER BY source_file NULLS FIRST, order_day"
        query = f"SELECT {columns} FROM ({days}) WHERE {where}"
        with self.warehouse.get_connection() as connection:
            return connection.duckdb.execute(query).fetchall()

    def found(self, as_of):
        """Returns reasons by verdict of what is new to a night and not as usual."""
        found = new_findings(self.warehouse, as_of)
        return {verdict: "; ".join(rows["name"] + ": " + rows["reason"]) for verdict, rows in found.groupby("verdict")}


def orders_of(number, *, lines=40, price=1.0, quantity=1):
    """Returns the lines of a usual day: some forty lines of some thirty of two hundred customers."""
    chance = random.Random(number)
    return [
        [
            f"o{number}-{line * 3 // 4}",
            f"c{(number * 7 + line * 3 // 4 * 5) % 200}",
            day(number),
            f"p{chance.randrange(60)}",
            chance.choice([1, 1, 2, 3]) * quantity,
            round(chance.uniform(4, 12) * price, 2),
        ]
        for line in range(lines + chance.randrange(-6, 7))
    ]  # fmt: skip


@pytest.fixture
def shop(tmp_path):
    return Shop(tmp_path)


@pytest.fixture(scope="module")
def history(tmp_path_factory):
    """A shop that has had orders on a hundred days, the last of which a night has scored."""
    shop = Shop(tmp_path_factory.mktemp("history"))
    for number in range(100):
        shop.deliver(day(number), orders_of(number))
    shop.load()
    shop.score(day(100))
    return shop


@pytest.fixture
def old_shop(history, tmp_path):
    """A shop with a copy of that warehouse, and a folder of its own for new files."""
    shutil.copy(history.warehouse.database, tmp_path / "w.duckdb")
    return Shop(tmp_path, history.folder)


def test_the_figures_of_a_day_and_a_delivery(shop):
    shop.deliver("a", [
        ["1", "A", "2024-01-01", "p", 1, 10], ["1", "A", "2024-01-01", "q", 3, 2], ["2", "B", "2024-01-01", "p", 2, 10],
    ])  # fmt: skip
    shop.deliver("b", [
        ["1", "A", "2024-01-02", "r", 1, 4],       # a late line of an order that is known
        ["3", "B", "2024-01-02", "p", 2, 10],      # as on the day before
        ["4", "C", "2024-01-02", "p", 1, 10], ["5", "C", "2024-01-02", "p", 1, 10],
        ["6", "D", "2024-01-02", "p", -1, 10],
        ["7", "", "2024-01-02", "p", 1, 10],
    ])  # fmt: skip
    shop.load()

    columns = "lines, orders, customers, revenue, median_quantity, median_unit_price, lines_per_customer"
    assert [(*map(float, row),) for row in shop.read(columns, "source_file IS NULL")] == [
        (3, 2, 2, 36, 2, 10, 1.5),
        (5, 5, 4, 34, 1, 10, 1.25),
    ]
    columns = "share_returned, share_new_customers, share_known_orders, share_repeated, share_rejected"
    assert shop.read(columns, "source_file IS NULL") == [
        (0.0, 1.0, 0.0, 0.0, 0.0),
        (0.2, 0.5, 0.2, 0.5, pytest.approx(1 / 6)),
    ]
    assert shop.read("lines, CAST(revenue AS INTEGER), share_rejected, order_day", "source_file IS NOT NULL") == [
        (3, 36, 0.0, day(0)),
        (5, 34, pytest.approx(1 / 6), day(1)),
    ]


def test_a_usual_day_is_ok_and_its_figures_come_with_ratios(old_shop):
    old_shop.deliver("new", orders_of(100))
    old_shop.load()

    assert old_shop.read("verdict, reason", f"name = '{day(100)}'") == [("ok", None)]
    [ratios] = old_shop.read("lines_ratio, revenue_ratio, median_unit_price_ratio", f"name = '{day(100)}'")
    assert all(0.5 < ratio < 2 for ratio in ratios)
    assert old_shop.read("count(*)", "verdict != 'ok'") == [(0,)]


def changed(rows, **changes):
    """Returns rows with some columns changed by functions."""
    return [
        [changes[name](value) if name in changes else value for name, value in zip(HEADER, row, strict=True)]
        for row in rows
    ]


FAULTS = {
    "prices times 100": (
        lambda rows: changed(rows, price=lambda price: price * 100),
        "the median unit price is",
    ),
    "prices times 2": (
        lambda rows: changed(rows, price=lambda price: price * 2),
        "the median unit price is",
    ),
    "quantities times 1000": (
        lambda rows: changed(rows, quantity=lambda units: units * 1000),
        "the median of units is",
    ),
    "quantities negated": (
        lambda rows: changed(rows, quantity=lambda units: -units),
        "the share of returned lines is 100%",
    ),
    "one customer": (
        lambda rows: changed(rows, customer_id=lambda _: "c1"),
        "the number of lines per customer is",
    ),
    "unknown customers": (
        lambda rows: changed(rows, customer_id=lambda name: f"x{name}"),
        "the share of new customers is 100%",
    ),
    "twice under other order ids": (
        lambda rows: rows + changed(rows, order_id=lambda name: f"x{name}"),
        "the share of lines that repeat another order's is",
    ),
    "the day before under another date": (
        lambda _: changed(orders_of(99), date=lambda _: day(100)),
        "the share of orders with lines on an earlier day is 100%",
    ),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_bad_day_is_impossible_and_stays_so_when_a_clean_day_follows(old_shop, fault):
    change, reason = FAULTS[fault]
    old_shop.deliver("bad", change(orders_of(100)))
    old_shop.load()

    assert reason in old_shop.found(day(101))["impossible"]

    old_shop.deliver("next", orders_of(101))
    old_shop.load()
    assert reason in old_shop.found(day(102))["impossible"]
    assert old_shop.read("verdict", f"name = '{day(101)}'") == [("ok",)]


@pytest.mark.parametrize(
    ("rows", "reason"),
    [
        ([], "none of its lines count, and no order is on"),
        (changed(orders_of(100), customer_id=lambda _: ""), "the share of rejected lines is 100%"),
        (changed(orders_of(100), date=lambda _: "soon"), "none of its lines count, and no order is on"),
        (changed(orders_of(100), date=lambda _: day(99)), "its lines count, and no order is on"),
    ],
    ids=["header only", "no customers", "unreadable dates", "dates a day back"],
)
def test_a_delivery_that_brings_no_new_day_is_impossible_where_the_shop_usually_trades(old_shop, rows, reason):
    old_shop.deliver("bad", rows)
    old_shop.load()
    assert reason in old_shop.found(day(100))["impossible"]

    old_shop.deliver("next", orders_of(101))
    old_shop.load()
    assert reason in old_shop.found(day(102))["impossible"]


def test_a_delivery_without_a_new_day_is_odd_on_a_day_on_which_the_shop_seldom_trades(shop):
    weekdays = [number for number in range(100) if day(number).weekday() < 5]
    for number in weekdays:
        shop.deliver(day(number), orders_of(number))
    shop.load()
    shop.score(day(weekdays[-1] + 1))
    assert day(weekdays[-1] + 1).weekday() != 5 or not usually_trades(day(weekdays[-1] + 1), set(map(day, weekdays)))
    while day(weekdays[-1]).weekday() != 4:
        weekdays.append(weekdays[-1] + 1)
        shop.deliver(day(weekdays[-1]), orders_of(weekdays[-1]))
        shop.load()
        shop.score(day(weekdays[-1] + 1))

    shop.deliver("empty", [])
    shop.load()

    assert list(shop.found(day(weekdays[-1] + 2))) == ["odd"]


def test_a_second_delivery_of_a_day_is_only_odd_in_a_shop_that_often_gets_two(shop):
    for number in range(100):
        rows = orders_of(number)
        shop.deliver(f"{day(number)}-a", rows[:20])
        shop.deliver(f"{day(number)}-b", rows[20:])
    shop.load()
    shop.score(day(100))
    shop.deliver("late", [["late", "c1", day(99), "p1", 1, 5]])
    shop.load()
    assert list(shop.found(day(100))) == ["odd"]


def test_a_day_without_orders_is_odd_where_the_shop_usually_trades(old_shop):
    old_shop.deliver("later", orders_of(102))
    old_shop.load()

    found = old_shop.found(day(103))["odd"]
    assert all(f"{day(number):%A}" in found and str(day(number)) in found for number in (100, 101))
    assert old_shop.read("lines, verdict", f"order_day IN ('{day(100)}', '{day(101)}')") == [(0, "odd"), (0, "odd")]

    old_shop.deliver("late", orders_of(100))
    old_shop.load()
    assert old_shop.read("verdict", f"name = '{day(100)}'") == [("ok",)]


def test_orders_that_no_longer_arrive_are_reported_at_first_and_then_every_week(old_shop):
    nights = (0, 1, 2, 3, 6, 7, 8, 14, 42)
    reported = []
    for night in nights:
        build_features(old_shop.warehouse, day(100 + night))
        outcomes = evaluate(old_shop.warehouse, RFM_FEATURES, load_settings(environment={}), day(100 + night))
        [arrive] = [outcome for outcome in outcomes if outcome.check.name == "orders_still_arrive"]
        reported += [] if arrive.passed else [night]
    assert reported == [1, 2, 7, 14, 42]


def test_a_corrected_file_ends_the_stop(old_shop):
    old_shop.deliver("bad", orders_of(100, price=100))
    old_shop.load()
    assert "impossible" in old_shop.found(day(101))
    old_shop.deliver("bad", orders_of(100))
    old_shop.load()
    assert old_shop.found(day(101)) == {}


def test_a_retracted_file_ends_the_stop(old_shop):
    file = old_shop.deliver("bad", orders_of(100, price=100))
    old_shop.load()
    retract(load_settings(old_shop.options, environment={}), [str(file)])
    old_shop.deliver("next", orders_of(101))
    old_shop.load()
    assert "impossible" not in old_shop.found(day(102))
    assert old_shop.read("name", f"name = '{day(100)}' AND lines > 0") == []


def test_an_accepted_day_counts_and_teaches_and_is_on_record(old_shop, monkeypatch, capsys):
    monkeypatch.setenv("LOGNAME", "kim")
    old_shop.deliver("dear", orders_of(100, price=2))
    old_shop.load()
    database = old_shop.warehouse.database

    assert main(["accept", str(day(100)), "--reason", "prices were raised", "--warehouse", database]) == 0

    assert f"accepted: {day(100)}: the median unit price is" in capsys.readouterr().out
    old_shop.load()
    assert old_shop.found(day(101)) == {}
    assert old_shop.read("verdict", f"name = '{day(100)}'") == [("accepted",)]
    [(who, why, night)] = old_shop.warehouse.read(
        "SELECT accepted_by, reason, after_night FROM prepared.accepted_figures"
    ).itertuples(index=False)
    assert (who.partition("@")[0], why, night.date()) == ("kim", "prices were raised", day(100))
    # The price level is known now.
    old_shop.score(day(101))
    old_shop.deliver("dear too", orders_of(101, price=2))
    old_shop.load()
    assert old_shop.found(day(102)) == {}


def test_an_accepted_day_whose_lines_change_is_judged_again(old_shop):
    old_shop.deliver("dear", orders_of(100, price=2))
    old_shop.load()
    accept(load_settings(old_shop.options, environment={}), [str(day(100))], None)
    old_shop.deliver("dear", orders_of(100, price=50))
    old_shop.load()
    assert "impossible" in old_shop.found(day(101))


def test_a_delivery_is_accepted_by_the_name_of_its_file(old_shop):
    old_shop.deliver("empty", [])
    old_shop.load()
    assert list(accept(load_settings(old_shop.options, environment={}), ["empty.csv"], "a fair")) == [
        str(old_shop.folder / "empty.csv")
    ]
    old_shop.load()
    assert old_shop.found(day(100)) == {}


@pytest.mark.parametrize(
    ("name", "line"),
    [
        (str(day(7)), f"{day(7)}: nothing to accept; it is ok"),
        ("no.csv", "no.csv: no such delivery"),
        ("2031-01-01", "2031-01-01: no such delivery"),
    ],
)
def test_what_is_not_odd_cannot_be_accepted(old_shop, name, line):
    with pytest.raises(UsageError) as refused:
        accept(load_settings(old_shop.options, environment={}), [name], None)
    assert str(refused.value).startswith(line)


def test_two_days_that_come_together_are_judged_one_by_one(old_shop):
    old_shop.deliver("good", orders_of(100))
    old_shop.deliver("bad", orders_of(101, price=100))
    old_shop.deliver("good too", orders_of(102))
    old_shop.load()
    verdicts = old_shop.read("verdict", f"source_file IS NULL AND order_day >= '{day(100)}'")
    assert verdicts == [("ok",), ("impossible",), ("ok",)]
    # A night before the bad day can be built.
    assert "impossible" not in old_shop.found(day(101))


def test_an_old_day_that_changes_is_judged_again(old_shop):
    old_shop.deliver(
        "more of an old day", changed(orders_of(50, lines=80, price=100), order_id=lambda name: f"x{name}")
    )
    old_shop.deliver("new", orders_of(100))
    old_shop.load()
    assert str(day(50)) in old_shop.found(day(100))["impossible"]


def test_the_history_of_a_first_load_stops_nothing_but_its_last_day_does(shop):
    for number in range(100):
        shop.deliver(day(number), orders_of(number, price=100 if number in (60, 99) else 1))
    shop.load()
    assert shop.read("name", "verdict = 'impossible'") == [(str(day(60)),), (str(day(99)),)]
    assert str(day(60)) not in shop.found(day(100))["impossible"]
    assert str(day(99)) in shop.found(day(100))["impossible"]


def test_the_first_load_after_an_upgrade_takes_scored_days_as_history(old_shop):
    with old_shop.warehouse.transaction() as connection:
        connection.duckdb.execute("DROP TABLE prepared.day_figures")
    old_shop.deliver("bad", orders_of(100, price=100))
    old_shop.load()
    assert list(old_shop.found(day(101))) == ["impossible"]
    assert str(day(100)) in old_shop.found(day(101))["impossible"]


def test_files_in_place_of_others_need_not_bring_a_new_day(shop):
    for number in range(100):
        shop.deliver(day(number), orders_of(number))
    shop.load()
    shop.score(day(100))
    for number in range(90, 100):
        (shop.folder / f"{day(number)}.csv").unlink()
        shop.deliver(f"{day(number)} again", orders_of(number)[1:])
    shop.load("source.removed_files=drop")
    assert shop.found(day(100)) == {}


def test_a_night_that_is_scored_again_is_put_in_words(old_shop):
    assert no_new_day(old_shop.warehouse, day(100)) == (
        f"the night {day(100)} was scored before: the last order is still of {day(99)} (no new delivery since)"
    )
    old_shop.deliver("more", [["x", "c1", day(99), "p", 1, 5], ["y", "", day(100), "p", 1, 5]])
    old_shop.load()
    assert "(1 new deliveries, 1 clean lines since)" in no_new_day(old_shop.warehouse, day(100))


@example_settings(max_examples=4, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(parts=st.permutations(range(12)), loads=st.lists(st.integers(1, 11), max_size=3))
def test_the_figures_do_not_depend_on_the_loads_in_which_the_lines_came(tmp_path_factory, parts, loads):
    figures = []
    for cuts in ([], sorted(set(loads))):
        shop = Shop(tmp_path_factory.mktemp("shop"))
        for start, end in zip([0, *cuts], [*cuts, 12], strict=True):
            for part in parts[start:end]:
                rows = [row for number in range(8) for row in orders_of(number)[part::12]]
                shop.deliver(f"part{part}", rows)
            shop.load()
        figures.append(shop.read("* EXCLUDE (name, source_file, load, came_after, seen_after)", "source_file IS NULL"))
    assert figures[0] == figures[1]


def frame_of(numbers, **changes):
    """Returns the figures of usual days, some of them changed."""
    chance = np.random.default_rng(3)
    count = len(numbers)
    rows = pd.DataFrame(
        {
            "order_day": [day(number) for number in numbers],
            "lines": chance.poisson(200, count),
            "orders": chance.poisson(80, count),
            "customers": chance.poisson(75, count),
            "revenue": chance.lognormal(8, 0.2, count),
            "median_quantity": chance.lognormal(1, 0.05, count),
            "median_unit_price": chance.lognormal(1, 0.05, count),
            "lines_per_customer": chance.lognormal(1, 0.05, count),
            "share_returned": chance.beta(5, 200, count),
            "share_new_customers": chance.beta(20, 200, count),
            "share_known_orders": 0.0,
            "share_repeated": chance.beta(3, 200, count),
            "share_repriced": chance.beta(3, 200, count),
        }
    )
    for name, change in changes.items():
        rows[name] = [change(day_, value) for day_, value in zip(rows["order_day"], rows[name], strict=True)]
    return rows


def verdicts(rows, accepted=()):
    return [verdict.verdict for verdict in judge_days(rows, set(accepted), LIMITS)]


def test_usual_days_are_ok():
    assert set(verdicts(frame_of(range(400)))) == {"ok"}


def test_a_week_with_twelve_times_the_orders_is_no_stop_and_next_year_it_is_usual():
    def season(date, value):
        return value * (12 if date.month == 11 and 20 <= date.day < 27 else 1)

    found = verdicts(frame_of(range(800), lines=season, orders=season, customers=season, revenue=season))
    assert "impossible" not in found
    places = [place for place, verdict in enumerate(found) if verdict == "odd"]
    assert places and {day(place).year for place in places} == {2024}


def test_a_pause_of_a_month_changes_no_verdict():
    assert set(verdicts(frame_of([*range(200), *range(230, 300)]))) == {"ok"}


def test_a_young_shop_is_not_judged_and_a_growing_one_is_not_odd():
    wild = verdicts(frame_of(range(10), revenue=lambda date, value: value * 40 ** (date.day % 3)))
    assert set(wild) == {"ok"}
    growth = {
        name: lambda date, value: value * 1.03 ** ((date - FIRST).days / 7)
        for name in ("lines", "orders", "customers", "revenue")
    }
    assert set(verdicts(frame_of(range(700), **growth))) == {"ok"}


def test_peaks_on_the_first_of_the_month_are_usual_once_they_have_been_seen():
    def peak(date, value):
        return value * (15 if date.day == 1 else 1)

    found = verdicts(frame_of(range(500), lines=peak, orders=peak, customers=peak, revenue=peak))
    odd = [day(place) for place, verdict in enumerate(found) if verdict == "odd"]
    assert len(odd) <= 2 and "impossible" not in found


def test_an_impossible_day_teaches_nothing_so_that_a_second_one_is_impossible_too():
    def dear(date, value):
        return value * (10 if date >= day(100) else 1)

    assert verdicts(frame_of(range(130), median_unit_price=dear))[100:] == ["impossible"] * 30


def test_the_verdict_of_a_day_does_not_depend_on_later_days():
    rows = frame_of(range(300), median_unit_price=lambda date, value: value * (3 if date.day == 7 else 1))
    assert verdicts(rows.iloc[:200]) == verdicts(rows)[:200]


def test_a_delivery_with_many_rejected_lines_is_judged_by_the_deliveries_before():
    shares = [0.2, 0.25, 0.22, 0.18, 0.3, 0.21, 0.24, 0.2, 0.27, 0.22, 0.2, 0.95, 0.24]
    rows = pd.DataFrame({"source_file": list("abcdefghijklm"), "delivered_lines": 1000, "share_rejected": shares})
    found = [verdict.verdict for verdict in judge_deliveries(rows, set(), LIMITS)]
    assert found == ["ok"] * 11 + ["impossible", "ok"]


def test_every_judged_figure_is_a_column_with_a_ratio():
    from seg_pipeline.prepared.tables import DAY_FIGURES

    names = {column.name for column in DAY_FIGURES.columns}
    assert all({figure.name, f"{figure.name}_ratio"} <= names for figure in JUDGED)
