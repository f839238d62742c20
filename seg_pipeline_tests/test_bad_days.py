"""The generated shops and the injected faults that the bench of bad days judges with."""

import datetime

import pandas as pd
import pytest

from seg_pipeline_tests.bench import faults, shops
from seg_pipeline_tests.bench.faults import FAULTS

DAY = datetime.date(2025, 3, 4)
NEXT_DAY = datetime.date(2025, 3, 5)
IDS = {"order_id", "customer_id"}
# Fault -> the columns that it may change in a file that has as many lines as the right one.
CHANGES = {
    "prices times 100": {"unit_price"},
    "prices times 10": {"unit_price"},
    "prices times 2 from now on": {"unit_price"},
    "quantities negated": {"quantity"},
    "quantities times 1000": {"quantity"},
    "ids shifted": {"customer_id"},
    "ids shifted from now on": {"customer_id"},
    "quantity and price swapped": {"quantity", "unit_price"},
    "dates a day ahead": {"ordered_at"},
    "dates a day back": {"ordered_at"},
    "ids empty": {"customer_id"},
    "prices zero": {"unit_price"},
    "dates unreadable": {"ordered_at"},
    "one id for all lines": {"customer_id"},
}
OTHER_LINES = {
    "twice, other order ids",
    "half of the lines missing",
    "another shop's file",
    "header only",
    "the day before redated",
}


@pytest.fixture(scope="module")
def shop():
    return shops.stationary()


def faulty(shop, name):
    [fault] = [fault for fault in FAULTS if fault.name == name]
    return fault.files(shop, DAY)[DAY]


def all_lines(shop):
    return pd.concat(shop.days.values(), ignore_index=True)


def test_there_are_nineteen_faults():
    assert len(FAULTS) == 19
    assert {fault.name for fault in FAULTS} == CHANGES.keys() | OTHER_LINES


@pytest.mark.parametrize("name", CHANGES)
def test_a_fault_changes_what_it_says_and_nothing_else(shop, name):
    right, wrong = shop.days[DAY], faulty(shop, name)
    assert list(wrong) == list(right) and len(wrong) == len(right)
    assert {column for column in right if list(wrong[column]) != list(right[column])} == CHANGES[name]


@pytest.mark.parametrize("name", [fault.name for fault in FAULTS])
def test_the_next_file_is_right_unless_the_fault_lasts(shop, name):
    [fault] = [fault for fault in FAULTS if fault.name == name]
    files = fault.files(shop, DAY)
    assert list(files) == [DAY, NEXT_DAY]
    assert files[NEXT_DAY].equals(shop.days[NEXT_DAY]) == (not name.endswith("from now on"))


def test_a_day_twice_has_each_line_under_two_orders(shop):
    right, wrong = shop.days[DAY], faulty(shop, "twice, other order ids")
    first, second = wrong.iloc[: len(right)], wrong.iloc[len(right) :].reset_index(drop=True)
    assert first.equals(right)
    assert second.drop(columns="order_id").equals(right.drop(columns="order_id"))
    assert not set(second["order_id"]) & set(all_lines(shop)["order_id"])


def test_half_a_file_is_its_first_half(shop):
    right = shop.days[DAY]
    assert faulty(shop, "half of the lines missing").equals(right.iloc[: len(right) // 2])


def test_another_shops_file_has_no_customer_and_no_order_of_the_shop(shop):
    lines = faulty(shop, "another shop's file")
    for column in IDS:
        assert not set(lines[column]) & set(all_lines(shop)[column]) - {""}
    assert set(lines["ordered_at"].dt.date) == {DAY}


def test_shifted_ids_are_new_and_the_same_for_the_same_customer(shop):
    right, wrong = shop.days[DAY]["customer_id"], faulty(shop, "ids shifted")["customer_id"]
    assert not set(wrong) & set(all_lines(shop)["customer_id"]) - {""}
    assert right.groupby(right.to_numpy()).ngroups == wrong.groupby(wrong.to_numpy()).ngroups
    assert list(wrong == "") == list(right == "")


def test_the_day_before_comes_again_under_this_date(shop):
    before, lines = shop.days[DAY - faults.DAY], faulty(shop, "the day before redated")
    assert lines.drop(columns="ordered_at").equals(before.drop(columns="ordered_at"))
    assert list(lines["ordered_at"] - before["ordered_at"]) == [faults.DAY] * len(before)


def test_a_shop_without_prices_has_every_fault_in_its_amounts(shop):
    lines = {
        day: shops.as_lines_of(shops.Shop("", (), dict.fromkeys(CDNOW), {}, DAY), day_lines)
        for day, day_lines in shop.days.items()
    }
    without = shops.Shop("amounts", (), {column: column for column in CDNOW}, lines, DAY)
    right = without.days[DAY]
    for fault in FAULTS:
        wrong = fault.files(without, DAY)[DAY]
        assert list(wrong) == list(CDNOW)
        assert not wrong.equals(right), fault.name
    [negated] = [fault for fault in FAULTS if fault.name == "quantities negated"]
    assert (negated.files(without, DAY)[DAY]["amount"] == -right["amount"]).all()


CDNOW = ("customer_id", "ordered_at", "quantity", "amount")


def test_a_generated_shop_is_the_same_each_time(shop):
    assert all_lines(shop).equals(all_lines(shops.stationary()))


@pytest.mark.parametrize("name", shops.KINDS)
def test_a_kind_of_shop_has_returns_and_dirt_and_no_days_without_lines(name):
    made = shops.KINDS[name]()
    lines = all_lines(made)
    assert 0.01 < (lines["quantity"] < 0).mean() < 0.05
    assert 0.01 < (lines["customer_id"] == "").mean() < 0.05
    assert 0 < (lines["unit_price"] == 0).mean() < 0.01
    assert all(len(day) for day in made.days.values())
    assert all(set(day_lines["ordered_at"].dt.date) == {day} for day, day_lines in made.days.items())


def test_what_makes_each_kind_of_shop(shop):
    made = {name: make() for name, make in shops.KINDS.items()}
    orders = {
        name: pd.Series({pd.Timestamp(day): lines["order_id"].nunique() for day, lines in kind.days.items()})
        for name, kind in made.items()
    }
    monthly = {name: counts.resample("MS").sum() for name, counts in orders.items()}
    assert monthly["stationary"]["2025"].max() < 1.5 * monthly["stationary"]["2025"].min()
    assert monthly["growing"]["2025-12-01"] > 2 * monthly["growing"]["2025-01-01"]
    cohort = all_lines(made["cohort"])
    joined = cohort[cohort["customer_id"] != ""].groupby("customer_id")["ordered_at"].min()
    assert (joined < pd.Timestamp("2024-04-01")).mean() > 0.98
    week = orders["seasonal"]["2025-11-24":"2025-11-30"].mean()
    assert 9 < week / orders["seasonal"]["2025-10"].mean() < 15
    assert "2025-08-01" not in monthly["closed"][monthly["closed"] > 0].index.astype(str)
    assert orders["young"].iloc[:7].mean() < 10 < 40 < orders["young"]["2025"].mean()
    is_first = orders["subscription"].index.day == 1
    assert orders["subscription"][is_first].mean() > 4 * orders["subscription"][~is_first].mean()
    assert set(orders["b2b"].index.day_of_week) == set(range(5)) and orders["b2b"].mean() < 12


def test_a_file_has_the_shops_columns_and_reads_back(shop, tmp_path):
    file = shop.write(tmp_path, DAY)
    read = pd.read_csv(file, dtype={"order_id": "str", "customer_id": "str"}, keep_default_na=False)
    assert file.name == "2025-03-04.csv"
    assert list(read) == ["order_id", "customer_id", "order_date", "sku", "quantity", "unit_price"]
    assert list(read["unit_price"]) == list(shop.days[DAY]["unit_price"])
    assert shop.write(tmp_path, DAY, faulty(shop, "dates unreadable")).read_text().count(",unknown,") == len(read)
