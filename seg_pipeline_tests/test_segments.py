"""Names of segments, their strategies and the split of the budget."""

import datetime
from decimal import ROUND_HALF_UP, Decimal
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import seg_pipeline.segments
from seg_pipeline.champions.new_segments import PROFILES_SQL
from seg_pipeline.errors import UsageError
from seg_pipeline.features.night import FEATURES_QUERY
from seg_pipeline.features.tables import CUSTOMER_RHYTHM, GRID_CELLS, RFM_FEATURES
from seg_pipeline.models.tables import CHAMPIONS
from seg_pipeline.prepared.tables import CLEAN_ORDERS
from seg_pipeline.segments.assignment import NAMED_PROFILES_SQL
from seg_pipeline.segments.measurement import Measurement, measure
from seg_pipeline.segments.strategies import (
    BUDGET_COLUMNS,
    FEWER_THAN_EXPECTED,
    MORE_THAN_EXPECTED,
    plan_strategies,
    read_actions,
)
from seg_pipeline.segments.tables import SEGMENT_PROFILES, SEGMENT_STRATEGIES
from seg_pipeline.settings import StrategySettings
from seg_pipeline.warehouse import Relation, Warehouse

AS_OF = datetime.date(2024, 3, 1)
SQL = Path(seg_pipeline.segments.__file__).parent


MINE = """
["At Risk"]
effort = 2
objective = "Call"
marketing = "m"
sales = "s"
service = "v"
"""


def test_a_shops_own_actions_override_the_packages(tmp_path):
    (tmp_path / "mine.toml").write_text(MINE)

    found = plan([50.0, 50.0], [0.0, 0.0], ["At Risk", "Champions"], actions=tmp_path / "mine.toml")

    assert found["objective"].to_list() == ["Call", read_actions(None)["Champions"].objective]
    np.testing.assert_allclose(found["budget_share"], [2 / 3, 1 / 3])


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("At Risk", "At risks", "At risks: no such segment; did you mean At Risk?"),
        ("effort = 2\n", "", "At Risk.effort: is missing"),
        ("effort = 2", "effort = 2\neffrt = 2", "At Risk.effrt: no such key; did you mean effort?"),
        ("effort = 2", "effort = -1", "At Risk.effort: Input should be greater than or equal to 0 (got -1)"),
        ("effort = 2", "effort = inf", "At Risk.effort: Input should be a finite number (got inf)"),
        ('"Call"', '""', "At Risk.objective: String should have at least 1 character (got '')"),
        (
            '["At Risk"]',
            "",
            "effort: must be a table with the keys effort, objective, marketing, sales, service (got 2)",
        ),
        ("effort = 2", "effort = ", "not a TOML file: "),
    ],
)
def test_a_wrong_file_of_actions_is_one_line_with_the_file_and_the_key(tmp_path, old, new, message):
    file = tmp_path / "mine.toml"
    file.write_text(MINE.replace(old, new))

    with pytest.raises(UsageError) as failure:
        read_actions(file)

    assert str(failure.value).startswith(f"{file}: {message}")
    assert "\n" not in str(failure.value)


def test_a_file_of_actions_that_is_not_there_is_one_line(tmp_path):
    with pytest.raises(UsageError, match=r"none\.toml: No such file"):
        read_actions(tmp_path / "none.toml")


UNMEASURED = Measurement(pd.DataFrame(columns=["segment_id"]), "Too young.")


def plan(
    revenue,
    headroom,
    grid_names="Champions",
    customers=1000,
    active_share=0.5,
    measurement=UNMEASURED,
    **settings,
):
    table = pd.DataFrame(
        {
            "segment_id": range(1, len(revenue) + 1),
            "segment_name": "x",
            "grid_name": grid_names,
            "customers": customers,
            "revenue": revenue,
            "headroom": headroom,
            "active_share": active_share,
        }
    )
    table.loc[table["grid_name"] == "No purchases", "segment_id"] = 0
    return plan_strategies(table, StrategySettings(**{"budget": 1000, **settings}), measurement)


def amounts(column):
    """Decimals as floats, missing ones as NaN."""
    return column.astype(float).to_numpy()


def test_the_budget_goes_by_revenue_and_headroom_and_shows_its_arithmetic():
    found = plan([-50.0, 100.0, 300.0], [0.0, 30.0, 10.0], headroom_weight=0.4)

    np.testing.assert_allclose(found["budget_share"], [0.0, 0.6 * 0.25 + 0.4 * 0.75, 0.6 * 0.75 + 0.4 * 0.25])
    np.testing.assert_allclose(amounts(found["budget"]), [0.0, 450.0, 550.0])
    assert found["arithmetic"].to_list()[:2] == [
        "Effort 1 x (0.60 x 0.00% of revenue + 0.40 x 0.00% of headroom) = 0.00 points, so it gets no budget.",
        "Effort 1 x (0.60 x 25.00% of revenue + 0.40 x 75.00% of headroom) = 45.00 points"
        " x 10.0000 per point (1,000.00 / 100.00 points in total) = 450.00.",
    ]


def test_the_budget_follows_the_effort_that_the_actions_take():
    found = plan([100.0, 100.0, 100.0], [0.0, 0.0, 0.0], ["Champions", "Hibernating", "No purchases"])

    np.testing.assert_allclose(found["budget_share"], [1 / 1.2, 0.2 / 1.2, 0.0])
    # What effort earns, its contacts cost.
    np.testing.assert_allclose(amounts(found["contact_cost"]), [0.5, 0.1, 0.0])
    assert found["contacts"].to_list() == [1666, 1666, 0]


def test_the_budget_is_split_whole_even_without_headroom_or_revenue():
    np.testing.assert_allclose(plan([100.0, 300.0], [0.0, 0.0])["budget_share"], [0.25, 0.75])
    np.testing.assert_allclose(plan([0.0, -1.0], [0.0, 0.0])["budget_share"], [0.5, 0.5])


def test_what_a_segment_cannot_spend_on_contacts_goes_to_the_others_by_their_claims():
    found = plan([70.0, 20.0, 10.0], [0.0] * 3, customers=[100, 600, 600], contact_cost=0.5, contacts=2)

    # The first takes 100 x 2 x 0.5; by 2 to 1 the second would get 600 of the other 900, as much as it takes.
    np.testing.assert_allclose(amounts(found["spendable"]), [100.0, 600.0, 600.0])
    np.testing.assert_allclose(amounts(found["budget"]), [100.0, 600.0, 300.0])
    assert found["contacts"].to_list() == [200, 1200, 600]
    np.testing.assert_allclose(found["reached_share"], [1.0, 1.0, 1.0])
    assert [text.partition(" points")[2] for text in found["arithmetic"]] == [
        ", which covers the cost of all its contacts: 100 customers x 2 contacts in 90 days x 0.5 = 100.00.",
        ", which covers the cost of all its contacts: 600 customers x 2 contacts in 90 days x 0.5 = 600.00.",
        " x 30.0000 per point (300.00 left after the fully funded segments / 10.00 points of the others) = 300.00.",
    ]


def test_a_budget_beyond_what_all_contacts_cost_is_left_unspent_and_says_so():
    found = plan([70.0, 30.0], [0.0, 0.0], customers=[100, 200], contact_cost=0.5, contacts=2)

    np.testing.assert_allclose(amounts(found["budget"]), [100.0, 200.0])
    np.testing.assert_allclose(found["budget_share"], [0.1, 0.2])
    assert found["arithmetic"].str.endswith(" 700.00 of the whole budget remains unspent.").all()


def test_a_budget_that_pays_fewer_contacts_than_customers_says_whom_it_reaches():
    found = plan([50.0, 50.0], [0.0, 0.0], customers=[4000, 1000])

    assert found["contacts"].to_list() == [1000, 1000]
    assert found["contacts_per_customer"].to_list() == [0.25, 1.0]
    np.testing.assert_allclose(found["reached_share"], [0.25, 1.0])


def test_contacts_that_cost_nothing_are_not_counted_and_cap_nothing():
    found = plan([50.0, 50.0], [0.0, 0.0], ["Champions", "No purchases"], customers=1, contact_cost=0)

    np.testing.assert_allclose(amounts(found["budget"]), [1000.0, 0.0])
    assert found["spendable"].isna().to_list() == [True, False]
    assert found["contacts"].to_list() == [pd.NA, 0]
    assert found["reached_share"].isna().to_list() == [True, False]


def test_a_budget_of_zero_is_still_split():
    found = plan([25.0, 75.0], [0.0, 0.0], budget=0)

    np.testing.assert_allclose(found["budget_share"], [0.25, 0.75])
    np.testing.assert_allclose(amounts(found["budget"]), [0.0, 0.0])


AMOUNTS = st.floats(0, 1e6, allow_nan=False).map(lambda amount: round(amount, 2))


@settings(deadline=None, max_examples=50)
@given(
    claims=st.lists(st.tuples(AMOUNTS, st.integers(1, 5000), st.sampled_from([*GRID_CELLS])), min_size=1, max_size=8),
    budget=st.one_of(AMOUNTS, st.sampled_from([0.0, 0.01, 0.05, 100.005, 1e15])),
    contact_cost=st.sampled_from([0.0, 1e-7, 0.0005, 0.003, 0.5, 3.33]),
)
def test_budgets_are_whole_cents_that_add_up_to_the_budget_or_to_all_that_can_be_spent(claims, budget, contact_cost):
    revenue, customers, names = map(list, zip(*claims, strict=True))

    found = plan(revenue, revenue, names, customers=customers, budget=budget, contact_cost=contact_cost)

    whole = Decimal(repr(budget)).quantize(Decimal("0.01"), ROUND_HALF_UP)
    assert all(amount == round(amount, 2) >= 0 for amount in found["budget"])
    full = all(
        most is not None and paid == most for paid, most in zip(found["budget"], found["spendable"], strict=True)
    )
    assert sum(found["budget"]) == whole or (full and sum(found["budget"]) < whole)
    assert all(most is None or paid <= most for paid, most in zip(found["budget"], found["spendable"], strict=True))
    for paid, share, text in zip(found["budget"], found["budget_share"], found["arithmetic"], strict=True):
        assert float(paid) == pytest.approx(share * float(whole), rel=1e-9, abs=0.01)
        assert f"= {paid:,.2f}" in text or ("so it gets no budget" in text and paid == 0)
    # A full budget pays for every contact, and no budget for more.
    for paid, most, contacts, number in zip(
        found["budget"], found["spendable"], found["contacts"], customers, strict=True
    ):
        assert (
            most is None
            or pd.isna(contacts)
            or (contacts == 12 * number if 0 < paid == most else contacts <= 12 * number)
        )


def test_cents_go_to_the_largest_fractions():
    found = plan([1.0, 1.0, 1.0], [0.0] * 3, budget=100)

    assert found["budget"].to_list() == [Decimal("33.34"), Decimal("33.33"), Decimal("33.33")]
    assert found["arithmetic"].iloc[0].endswith(" = 33.34.")
    np.testing.assert_allclose(found["budget_share"], 1 / 3)


def test_a_cap_with_fractions_of_a_cent_is_rounded_up_and_says_so():
    found = plan([1.0], [0.0], customers=3, contacts=1, contact_cost=0.0037)

    assert found["budget"].to_list() == [Decimal("0.02")]
    assert found["contacts"].to_list() == [3]
    assert (
        "3 customers x 1 contacts in 90 days x 0.0037 = 0.02, rounded up to whole cents." in found["arithmetic"].iloc[0]
    )


def test_a_segment_without_contacts_gets_no_holdout():
    found = plan([99.9, 0.0, 0.1], [0.0] * 3, ["Champions"] * 3, customers=100_000, budget=100)

    assert found["contacts"].to_list() == [199, 0, 0]
    assert found["holdout_customers"].isna().to_list() == [False, True, True]
    assert found["base_rate"].isna().to_list() == found["smallest_effect"].isna().to_list() == [False, True, True]
    # Free contacts are not counted, and are made.
    assert plan([1.0], [0.0], customers=100_000, contact_cost=0)["holdout_customers"].notna().all()


def test_without_a_budget_nothing_is_split_and_every_segment_with_effort_still_gets_a_holdout(tmp_path):
    found = plan([1.0, 2.0], [0.0, 0.0], ["Champions", "No purchases"], customers=100_000, budget=None)

    assert found[list(BUDGET_COLUMNS)].isna().all(axis=None)
    assert found["holdout_customers"].isna().to_list() == [False, True]
    assert failed_rules(tmp_path, found, customers=100_000) == []


def measurement_of(*segments):
    """What was measured of segments 1, 2 and so on, given how many customers they had and how many bought."""
    customers = pd.concat(
        pd.DataFrame({"segment_id": i, "orders": [1] * bought + [0] * (customers - bought), "revenue": 1.0})
        for i, (customers, bought) in enumerate(segments, start=1)
    )
    return Measurement(measure(customers, bootstraps=0, seed=1).assign(measured_from=AS_OF), None)


def test_actions_that_the_measured_repurchase_rate_contradicts_are_reported():
    everyone = [(1000, 900), (1000, 500), (1000, 100)]
    names = ["Hibernating", "New Customers", "Champions"]

    found = plan([1.0] * 3, [0.0] * 3, names, measurement=measurement_of(*everyone))
    agreeing = plan([1.0] * 3, [0.0] * 3, names[::-1], measurement=measurement_of(*everyone))
    few = plan([1.0] * 3, [0.0] * 3, names, measurement=measurement_of((10, 6), (1000, 500), (10, 4)))

    assert found["disagreement"].to_list() == [MORE_THAN_EXPECTED, None, FEWER_THAN_EXPECTED]
    assert agreeing["disagreement"].to_list() == [None, None, None]
    # An interval that reaches the rate of all contradicts nothing.
    assert few["disagreement"].to_list() == [None, None, None]


def test_a_segment_that_was_not_measured_says_why(tmp_path):
    names = ["Champions", "No purchases", "Promising"]

    young = plan([1.0] * 3, [0.0] * 3, names)
    gap = plan([1.0] * 3, [0.0] * 3, names, measurement=measurement_of((100, 50)))

    never = "Customers who have bought nothing cannot buy again."
    assert young["unmeasured_because"].to_list() == ["Too young.", never, "Too young."]
    assert gap["unmeasured_because"].to_list() == [
        None, never, "No customer was in this segment at the beginning of the window.",
    ]  # fmt: skip
    assert failed_rules(tmp_path, young) == failed_rules(tmp_path, gap) == []
    broken = gap.assign(unmeasured_because=None)
    assert failed_rules(tmp_path, broken) == ["measured_or_explained"]


def test_money_of_a_strategy_is_decimal_in_its_table(tmp_path):
    warehouse = Warehouse(database=str(tmp_path / "warehouse.duckdb"))
    free = plan([1.0, 2.0], [0.0, 0.0], ["Champions", "No purchases"], contact_cost=0)
    with warehouse.held():
        warehouse.replace_night(SEGMENT_STRATEGIES, plan([1.0, 2.0], [0.0, 0.0], budget=100), AS_OF)
        warehouse.replace_night(SEGMENT_STRATEGIES, free, AS_OF + datetime.timedelta(days=1))
        with warehouse.get_connection() as connection:
            columns = "contact_cost, spendable, budget"
            rows = connection.execute(f"SELECT {columns} FROM {SEGMENT_STRATEGIES.name} ORDER BY ALL").fetchall()

    assert [tuple(map(str, row)) for row in rows] == [
        ("0.0000", "0.00", "0.00"),
        ("0.0000", "None", "1000.00"),
        ("0.5000", "6000.00", "33.33"),
        ("0.5000", "6000.00", "66.67"),
    ]


def failed_rules(tmp_path, found, customers=1000):
    warehouse = Warehouse(database=str(tmp_path / "warehouse.duckdb"))
    rows = f"(SELECT * FROM {SEGMENT_STRATEGIES.name})"
    with warehouse.held():
        warehouse.replace_night(SEGMENT_STRATEGIES, found, AS_OF)
        warehouse.replace_night(SEGMENT_PROFILES, found[["segment_id"]].assign(customers=customers), AS_OF)
        return [rule.name for rule in SEGMENT_STRATEGIES.rules if len(warehouse.read(rule.query.format(batch=rows)))]


@pytest.mark.parametrize("settings", [{}, {"contacts": 1}, {"contact_cost": 0}, {"budget": 0}, {"budget": 123_456_789}])
def test_every_split_keeps_the_rules_of_its_table(tmp_path, settings):
    found = plan([70.0, 20.0, 10.0, -1.0], [0.0, 0.0, 5.0, 0.0], [*[*GRID_CELLS][:3], "No purchases"], **settings)

    assert failed_rules(tmp_path, found) == []


def test_a_split_that_loses_budget_overspends_or_holds_out_too_many_breaks_a_rule(tmp_path):
    found = plan([70.0, 30.0], [0.0, 0.0])

    assert failed_rules(tmp_path, found.assign(budget_share=[0.7, 0.2], budget=[700.0, 200.0])) == ["budget_is_split"]
    assert failed_rules(tmp_path, found.assign(budget_share=[0.7, 0.4])) == ["budget_is_split"]
    free = found.assign(budget_share=[0.7, 0.2], spendable=np.nan)
    assert failed_rules(tmp_path, free) == ["budget_is_split"]
    assert failed_rules(tmp_path, found.assign(spendable=[700.0, 200.0])) == ["budget_can_be_spent"]
    assert failed_rules(tmp_path, found.assign(arithmetic=[None, "x"])) == ["budget_is_whole_or_absent"]
    assert failed_rules(tmp_path, found.assign(holdout_customers=[500, 501])) == ["holdouts_leave_half"]


def test_the_base_rate_of_a_holdout_lies_between_the_segments_and_all_buyers_nearest_to_one_half():
    found = plan(
        [40.0, 30.0, 20.0, 10.0],
        [0.0] * 4,
        ["Champions", "Loyal Customers", "Hibernating", "No purchases"],
        customers=[1000, 1000, 8000, 50],
        active_share=[1.0, 0.6, 0.2, 0.0],
    )

    # Of the 10,000 buyers 32 % bought lately.
    np.testing.assert_allclose(found["base_rate"], [0.5, 0.5, 0.32, np.nan])
    assert found["holdout_customers"].isna().to_list() == [True, True, False, True]
    assert found["smallest_effect"].isna().to_list() == [False, False, False, True]


def test_the_share_who_bought_lately_counts_customers_whose_last_purchase_is_at_most_90_days_ago(tmp_path):
    warehouse = Warehouse(database=str(tmp_path / "warehouse.duckdb"))
    buyers = pd.DataFrame(
        {"customer_id": ["a", "b", "c", "d"], "recency_days": pd.array([90, 91, 1, None], dtype="Int64"), "monetary": 1}
    )
    warehouse.replace_night(RFM_FEATURES, buyers, AS_OF)
    with warehouse.get_connection() as connection:
        labelled = Relation(
            "(SELECT unnest(['a', 'b', 'c', 'd']) AS customer_id, unnest([0, 0, 0, -1]) AS cluster, 1.0 AS confidence)"
        )
        numbered = Relation("(SELECT unnest([0, -1]) AS cluster, unnest([1, 0]) AS segment_id)")
        relations = {"labelled": labelled, "numbered": numbered, "rhythm": CUSTOMER_RHYTHM}
        found = connection.execute(PROFILES_SQL, {"as_of": AS_OF, **relations}).df()

    np.testing.assert_array_equal(found["active_share"], [0.0, 2 / 3])


def test_the_queries_of_features_and_profiles_give_every_column_of_their_tables(empty_warehouse):
    with empty_warehouse.get_connection() as connection:
        for table in (CLEAN_ORDERS, RFM_FEATURES, CUSTOMER_RHYTHM, CHAMPIONS):
            connection.create(table)

        def columns_of(query, **parameters):
            with connection.temporary(query, {"as_of": AS_OF, **parameters}) as rows:
                return {name for name, *_ in connection.execute(f"DESCRIBE {rows}").fetchall()}

        empty = "WHERE false)"
        labelled = Relation(f"(SELECT '' AS customer_id, 0 AS cluster, 1.0 AS confidence {empty}")
        segments = Relation(f"(SELECT unnest(segments, max_depth := 2) FROM {CHAMPIONS.name} {empty}")
        with connection.temporary(
            PROFILES_SQL, {"as_of": AS_OF, "labelled": labelled, "numbered": segments, "rhythm": CUSTOMER_RHYTHM}
        ) as profiled:
            profiles = columns_of(
                NAMED_PROFILES_SQL,
                profiled=profiled,
                labelled=labelled,
                numbered=segments,
                fitted_as_of=AS_OF,
                reference_as_of=AS_OF,
            )
        assert columns_of(FEATURES_QUERY) == {column.name for column in RFM_FEATURES.columns}
        assert profiles == {column.name for column in SEGMENT_PROFILES.columns}
