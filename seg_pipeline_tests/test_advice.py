"""What to do for a customer follows the customer's own rhythm."""

import datetime
import itertools

import pandas as pd
import pytest

from seg_pipeline.features.tables import CUSTOMER_RHYTHM, GRID_CELLS, LIFECYCLES, NO_PURCHASES, RFM_FEATURES
from seg_pipeline.segments.advice import advice_of, advice_rows
from seg_pipeline.segments.assignment import ASSIGNMENTS_SQL, customers_by_advice
from seg_pipeline.segments.strategies import advice_actions, read_actions
from seg_pipeline.segments.tables import ADVICE_ACTIONS, SEGMENT_ASSIGNMENTS
from seg_pipeline.settings import StrategySettings
from seg_pipeline.warehouse import Relation, Warehouse

NIGHT = datetime.date(2024, 3, 1)
NAMES = sorted({*GRID_CELLS, "Lost"})
# What each kind of action takes for granted about the customer.
FOR_SOMEONE_WHO_STAYS = {"Champions", "Loyal Customers", "Potential Loyalists", "New Customers", "Promising"}
FOR_SOMEONE_LATE = {"Need Attention", "About to Sleep"}
FOR_SOMEONE_LEAVING = {"Can't Lose", "At Risk", "Hibernating", "Lost"}
FOR_ONE_ORDER = {"New Customers", "Promising"}
ALLOWED = {
    "new": {"New Customers"},
    "active": FOR_SOMEONE_WHO_STAYS,
    "overdue": FOR_SOMEONE_LATE,
    "lapsed": FOR_SOMEONE_LEAVING,
    "lost": FOR_SOMEONE_LEAVING - {"At Risk"},
}


@pytest.mark.parametrize(("name", "lifecycle"), [*itertools.product(NAMES, LIFECYCLES)])
def test_no_advice_contradicts_the_customers_own_history(name, lifecycle):
    for bought_again in (False, True):
        # A customer with more than one order is not new.
        if lifecycle == "new" and bought_again:
            continue
        advice = advice_of(name, lifecycle, bought_again=bought_again)

        assert advice in ALLOWED[lifecycle]
        assert not (bought_again and advice in FOR_ONE_ORDER)


def test_every_kind_of_action_is_for_someone():
    assert {*FOR_SOMEONE_WHO_STAYS, *FOR_SOMEONE_LATE, *FOR_SOMEONE_LEAVING} == set(NAMES)
    assert set(advice_rows()["advice"]) == set(NAMES)
    assert set(advice_rows()["advice"]) <= set(read_actions(None))


@pytest.mark.parametrize(
    ("name", "lifecycle", "advice"),
    [
        ("Champions", "active", "Champions"),
        ("Champions", "overdue", "Need Attention"),
        ("Champions", "lapsed", "Can't Lose"),
        ("Loyal Customers", "lapsed", "At Risk"),
        ("Can't Lose", "active", "Loyal Customers"),
        ("Hibernating", "active", "Potential Loyalists"),
        ("Hibernating", "new", "New Customers"),
        # What nobody has a rule for keeps its own actions.
        ("Resellers", "lapsed", "Resellers"),
    ],
)
def test_a_customer_gets_the_actions_that_the_own_rhythm_allows(name, lifecycle, advice):
    assert advice_of(name, lifecycle, bought_again=lifecycle != "new") == advice


@pytest.fixture
def shop(tmp_path):
    """A night of Champions in each lifecycle, two of Promising, and one customer without a purchase."""
    warehouse = Warehouse(database=str(tmp_path / "warehouse.duckdb"))
    customers = pd.DataFrame(
        [
            ("a", 0, 9, "active"), ("b", 0, 9, "overdue"), ("c", 0, 9, "lapsed"), ("d", 0, 9, "lost"),
            ("e", 0, 1, "new"), ("f", 1, 1, "active"), ("g", 1, 2, "active"), ("h", -1, 0, None),
        ],
        columns=["customer_id", "cluster", "frequency", "lifecycle"],
    )  # fmt: skip
    names = pd.DataFrame({"cluster": [-1, 0, 1], "segment_id": [0, 1, 2]})
    names["grid_name"] = [NO_PURCHASES, "Champions", "Promising"]
    names["segment_name"] = [NO_PURCHASES, "Champions, high spend", "Promising"]
    of_champion = {"as_of": NIGHT, "model_id": "model", "fitted_as_of": NIGHT}
    with warehouse.held():
        warehouse.replace_night(RFM_FEATURES, customers[["customer_id", "frequency"]], NIGHT)
        warehouse.replace_night(CUSTOMER_RHYTHM, customers[["customer_id", "lifecycle"]].dropna(), NIGHT)
        with (
            warehouse.get_connection() as connection,
            connection.temporary(customers[["customer_id", "cluster"]].assign(confidence=1.0)) as labelled,
            connection.temporary(names) as numbered,
            connection.temporary(advice_rows()) as advised,
            connection.transaction(),
        ):
            relations = {"labelled": labelled, "numbered": numbered, "advised": advised}
            connection.replace_night(SEGMENT_ASSIGNMENTS, ASSIGNMENTS_SQL, NIGHT, {**of_champion, **relations})
        yield warehouse


def test_each_customer_of_a_night_has_the_advice_of_name_rhythm_and_orders(shop):
    found = shop.night(SEGMENT_ASSIGNMENTS, NIGHT)

    columns = ["customer_id", "segment_id", "lifecycle", "advice"]
    assert found[columns].fillna({"lifecycle": "-"}).to_numpy().tolist() == [
        ["a", 1, "active", "Champions"],
        ["b", 1, "overdue", "Need Attention"],
        ["c", 1, "lapsed", "Can't Lose"],
        ["d", 1, "lost", "Can't Lose"],
        ["e", 1, "new", "New Customers"],
        ["f", 2, "active", "Promising"],
        ["g", 2, "active", "Potential Loyalists"],
        ["h", 0, "-", "No purchases"],
    ]


def test_the_actions_of_every_name_stand_beside_how_many_customers_get_them(shop):
    actions = advice_actions(StrategySettings(), customers_by_advice(shop, NIGHT))

    assert actions["advice"].to_list() == list(read_actions(None))
    assert actions[actions["customers"] > 0].set_index("advice")["customers"].to_dict() == {
        "Champions": 1, "Need Attention": 1, "Can't Lose": 2, "New Customers": 1, "Promising": 1,
        "Potential Loyalists": 1, "No purchases": 1,
    }  # fmt: skip
    shop.replace_night(ADVICE_ACTIONS, actions, NIGHT)
    assert broken(shop, ADVICE_ACTIONS) == {}
    shop.replace_night(ADVICE_ACTIONS, actions[1:], NIGHT)
    assert set(broken(shop, ADVICE_ACTIONS)) == {"all_are_advised"}


def broken(warehouse, table):
    """The rows that break each rule of a table on the night."""
    batch = Relation(f"(SELECT * FROM {table.name} WHERE as_of = DATE '{NIGHT}')")
    found = {
        rule.name: warehouse.read(rule.query.replace(":as_of", f"DATE '{NIGHT}'").format(batch=batch))
        for rule in table.rules
    }
    return {name: rows for name, rows in found.items() if len(rows)}


@pytest.mark.parametrize(
    ("change", "rule"),
    [
        ("advice = 'Champions' WHERE customer_id = 'c'", "advice_as_rhythm"),
        ("advice = 'Lost' WHERE customer_id = 'a'", "advice_as_rhythm"),
        ("lifecycle = 'active', advice = 'Champions' WHERE customer_id = 'c'", "lifecycles_as_rhythm"),
        ("lifecycle = NULL WHERE customer_id = 'a'", "lifecycles_as_rhythm"),
    ],
)
def test_an_advice_against_the_rhythm_breaks_a_rule(shop, change, rule):
    assert broken(shop, SEGMENT_ASSIGNMENTS) == {}

    with shop.get_connection() as connection:
        connection.duckdb.execute(f"UPDATE {SEGMENT_ASSIGNMENTS.name} SET {change}")

    assert set(broken(shop, SEGMENT_ASSIGNMENTS)) == {rule}
