"""customer_rhythm: silence by the customer's own measure, against a few lines of plain Python."""

import datetime
import statistics
from collections import Counter

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from seg_pipeline.errors import UsageError
from seg_pipeline.features.night import FEATURES_QUERY, build_rhythm
from seg_pipeline.features.tables import CUSTOMER_RHYTHM, LIFECYCLES, RFM_FEATURES
from seg_pipeline.prepared.tables import CLEAN_ORDERS
from seg_pipeline.quality.evaluation import evaluate
from seg_pipeline.settings import load_settings
from seg_pipeline.warehouse import Warehouse

AS_OF = datetime.date(2024, 7, 1)


def warehouse_of(path, lines):
    """A warehouse with the features of clean lines (customer_id, days before the night, amount), an order each."""
    clean = pd.DataFrame(
        [
            {
                "order_id": f"{customer}-{row}",
                "customer_id": customer,
                "ordered_at": pd.Timestamp(AS_OF) - pd.Timedelta(days=days) + pd.Timedelta(hours=12),
                "amount": amount,
                "quantity": 1 if amount > 0 else -1,
                "is_return": amount < 0,
                "source_file": "orders.csv",
                "source_row": row,
            }
            for row, (customer, days, amount) in enumerate(lines, 1)
        ]
    )
    warehouse = Warehouse(database=str(path / "warehouse.duckdb"))
    with warehouse.get_connection() as connection:
        connection.create(CLEAN_ORDERS)
        with connection.registered(clean) as frame:
            connection.insert(CLEAN_ORDERS, f"FROM {frame}")
    warehouse.replace_night(RFM_FEATURES, FEATURES_QUERY, AS_OF)
    return warehouse


def rhythm_of(path, lines, *overrides):
    warehouse = warehouse_of(path, lines)
    build_rhythm(warehouse, load_settings(overrides, environment={}), AS_OF)
    assert [outcome for outcome in evaluate(warehouse, CUSTOMER_RHYTHM, load_settings([], environment={}), AS_OF)
            if not outcome.passed] == []  # fmt: skip
    rows = warehouse.night(CUSTOMER_RHYTHM, AS_OF).drop(columns="as_of").sort_values("customer_id")
    return {row.pop("customer_id"): tuple(row.values()) for row in rows.to_dict("records")}


def test_silence_is_measured_by_the_own_gaps_and_by_the_shops_while_there_is_one_order_day(tmp_path):
    found = rhythm_of(
        tmp_path,
        [
            # Gaps of 10, 20 and 30 days: the median is 20.
            *[("often", days, 5.0) for days in (30, 60, 80, 90)],
            # One gap of 100 days; a return is no purchase.
            ("seldom", 150, 5.0), ("seldom", 250, 5.0), ("seldom", 2, -5.0),
            # Two orders on one day are one order day. The shop's gaps are 10, 20, 30 and 100 days.
            ("once", 40, 5.0), ("first", 60, 5.0), ("earlier", 61, 5.0), ("long_ago", 101, 5.0),
        ],
    )  # fmt: skip

    assert found == {
        "earlier": (25.0, 61 / 25, "overdue"),
        "first": (25.0, 60 / 25, "new"),
        "long_ago": (25.0, 101 / 25, "lost"),
        "often": (20.0, 1.5, "active"),
        "once": (25.0, 40 / 25, "new"),
        "seldom": (100.0, 1.5, "active"),
    }


def test_a_shop_in_which_nobody_came_back_knows_new_and_lapsed_customers_alone(tmp_path):
    found = rhythm_of(tmp_path, [("new", 60, 5.0), ("old", 61, 5.0)])

    assert [row[2] for row in found.values()] == ["new", "lapsed"]
    assert all(pd.isna(row[0]) and pd.isna(row[1]) for row in found.values())


def test_two_orders_on_one_day_are_no_rhythm_where_nobody_came_back(tmp_path):
    found = rhythm_of(tmp_path, [("new", 60, 5.0), ("new", 60, 7.0), ("old", 61, 5.0), ("old", 61, 7.0)])

    assert [row[2] for row in found.values()] == ["new", "lapsed"]


def test_the_limits_are_settings(tmp_path):
    lines = [("a", 10, 5.0), ("a", 20, 5.0), ("b", 25, 5.0), ("b", 35, 5.0), ("c", 35, 5.0)]

    assert [row[2] for row in rhythm_of(tmp_path, lines, "rhythm.new_days=34").values()] == [
        "active", "overdue", "lost",
    ]  # fmt: skip
    with pytest.raises(UsageError, match=r"overdue_ratio=1 is below active_ratio=1\.5"):
        load_settings(["rhythm.overdue_ratio=1"], environment={})


def plainly(lines):
    """The rule in plain Python."""
    days, orders = {}, Counter(customer for customer, _, amount in lines if amount > 0)
    for customer, ago, amount in lines:
        if amount > 0:
            days.setdefault(customer, set()).add(ago)
    gaps = {
        customer: [one - other for one, other in zip(ordered[1:], ordered, strict=False)]
        for customer, ordered in ((customer, sorted(of)) for customer, of in days.items())
    }
    all_gaps = sorted(gap for of in gaps.values() for gap in of)
    # The smallest gap that at least 95 % of the gaps do not exceed.
    longest = next((gap for place, gap in enumerate(all_gaps, 1) if place >= 0.95 * len(all_gaps) - 1e-9), None)
    found = {}
    for customer, of in days.items():
        usual = statistics.median(gaps[customer] or all_gaps) if all_gaps else None
        silence, ratio = min(of), None if usual is None else min(of) / usual
        if (orders[customer] == 1 or not all_gaps) and silence <= 60:
            lifecycle = "new"
        elif ratio is None:
            lifecycle = "lapsed"
        elif ratio <= 3:
            lifecycle = "active" if ratio <= 1.5 else "overdue"
        else:
            lifecycle = "lost" if silence > longest else "lapsed"
        found[customer] = (usual, ratio, lifecycle)
    return found


LINES = st.lists(
    st.tuples(st.sampled_from("abcdef"), st.integers(1, 300), st.sampled_from([5.0, 5.0, 5.0, -5.0])),
    min_size=1,
    max_size=30,
).filter(lambda lines: any(amount > 0 for *_, amount in lines))


@hypothesis_settings(max_examples=25, deadline=None)
@given(lines=LINES)
def test_the_sql_says_what_a_few_lines_of_python_say(tmp_path_factory, lines):
    found = rhythm_of(tmp_path_factory.mktemp("shop"), lines)

    expected = plainly(lines)
    assert found.keys() == expected.keys()
    for customer, (usual, ratio, lifecycle) in expected.items():
        assert found[customer] == (
            pytest.approx(usual) if usual else pytest.approx(float("nan"), nan_ok=True),
            pytest.approx(ratio) if usual else pytest.approx(float("nan"), nan_ok=True),
            lifecycle,
        )


def test_the_page_counts_every_lifecycle(tmp_path):
    warehouse = warehouse_of(tmp_path, [("new", 60, 5.0), ("old", 61, 5.0)])

    counted = build_rhythm(warehouse, load_settings([], environment={}), AS_OF)

    assert counted["lifecycle"].to_list() == list(LIFECYCLES)
    assert Counter(dict(counted.to_numpy().tolist())) == Counter(new=1, lapsed=1)
