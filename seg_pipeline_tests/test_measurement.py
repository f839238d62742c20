"""What customers of tonight's segments did in the window before the night."""

import datetime

import numpy as np
import pandas as pd
import pytest

from seg_pipeline.models.champions import Champion
from seg_pipeline.models.coreset import Coreset
from seg_pipeline.models.model import model_from_labels
from seg_pipeline.models.scoring import NO_CLUSTER, Scorer
from seg_pipeline.prepared.tables import CLEAN_ORDERS
from seg_pipeline.segments.measurement import measure, measure_segments
from seg_pipeline.settings import load_settings
from seg_pipeline.warehouse import Warehouse

NIGHT = datetime.date(2024, 7, 1)
BEFORE, WITHIN = "2024-01-{:02}", "2024-05-{:02}"
SETTINGS = load_settings(("value.smallest_customers=2",), environment={})


@pytest.fixture
def warehouse(tmp_path):
    """Two customers with one order before the window, two with four, and one who came in it; one of each comes back."""
    lines = [
        # The first order is so long ago that there is a test.
        ("few, gone", "2023-01-01", 10.0),
        ("few, back", BEFORE.format(1), 10.0),
        *[(customer, BEFORE.format(day), 10.0) for customer in ("many, gone", "many, back") for day in (1, 5, 9, 13)],
        ("few, back", WITHIN.format(2), 30.0),
        *[("many, back", WITHIN.format(day), 50.0) for day in (2, 9)],
        *[("came in the window", WITHIN.format(day), 999.0) for day in (1, 2, 3, 4)],
        ("few, gone", NIGHT.isoformat(), 999.0),
    ]
    orders = pd.DataFrame(lines, columns=["customer_id", "ordered_at", "amount"])
    orders["ordered_at"] = pd.to_datetime(orders["ordered_at"])
    orders = orders.assign(
        order_id=[str(i) for i in range(len(orders))],
        quantity=[4 if customer.startswith("many") else 1 for customer in orders["customer_id"]],
        is_return=False,
        source_file="a",
        source_row=1,
    )
    warehouse = Warehouse(database=str(tmp_path / "warehouse.duckdb"))
    with warehouse.get_connection() as connection:
        connection.create(CLEAN_ORDERS)
        with connection.registered(orders) as frame:
            connection.insert(CLEAN_ORDERS, f"FROM {frame}")
    return warehouse


def champion_by(feature, few, many):
    """A model with centres `few` (segment 7) and `many` (segment 3) of one feature."""
    transforms = pd.DataFrame(
        {"position": [0], "feature": [feature], "fill": [1.0], "transform": ["identity"], "lambda": [np.nan],
         "center": [0.0], "scale": [1.0], "weight": [1.0]}
    )  # fmt: skip
    coreset = Coreset.without_spread(np.array([[few], [many]], dtype=float), np.ones(2), exact=False)
    return Champion(
        model_id="model",
        fitted_as_of=NIGHT,
        in_force_from=NIGHT,
        pinned=False,
        settings_digest="",
        why="",
        scorer=Scorer(model_from_labels("kmeans", coreset, np.array([0, 1])), transforms, coreset),
        segments=pd.DataFrame({"cluster": [NO_CLUSTER, 0, 1], "segment_id": [0, 7, 3]}),
        training=pd.DataFrame(),
        reference_as_of=NIGHT,
        customers=2,
        stability=1.0,
    )


# Units per order are not among the features that the settings name.
@pytest.mark.parametrize("feature", ["frequency", "units_per_order"])
def test_customers_are_measured_in_the_segment_that_their_features_before_the_window_put_them_in(warehouse, feature):
    champion = champion_by(feature, few=1, many=4)

    with warehouse.held():
        found = measure_segments(warehouse, champion, NIGHT, SETTINGS)

    columns = ["segment_id", "measured_customers", "repurchase_rate", "shop_repurchase_rate", "measured_revenue"]
    assert found.unmeasured_because is None
    assert set(found.segments["measured_from"]) == {datetime.date(2024, 4, 2)}
    assert found.segments[columns].to_numpy().tolist() == [[3, 2, 0.5, 0.5, 50.0], [7, 2, 0.5, 0.5, 15.0]]


def test_a_shop_without_a_value_test_is_not_measured_and_says_why(warehouse):
    with warehouse.held():
        found = measure_segments(warehouse, champion_by("frequency", 1, 4), datetime.date(2023, 3, 1), SETTINGS)

    beside = found.beside(pd.Series([3, 0]))
    assert found.segments.empty
    assert beside["repurchase_rate"].isna().all()
    assert beside["unmeasured_because"].str.startswith(("The history is too short", "Customers who have")).all()


def customers_of(*segments):
    """Customers of segments 1, 2 and so on, given how many they are, how many bought, and the revenue of each buyer."""
    return pd.concat(
        [
            pd.DataFrame({"segment_id": i, "orders": [1] * bought + [0] * (customers - bought)}).assign(
                revenue=[amount] * bought + [0.0] * (customers - bought)
            )
            for i, (customers, bought, amount) in enumerate(segments, start=1)
        ],
        ignore_index=True,
    )


def test_a_measured_segment_has_the_wilson_interval_of_its_share_and_a_bootstrap_interval_of_its_revenue():
    found = measure(customers_of((200, 50, 10.0), (20, 0, 0.0)), bootstraps=200, seed=1).round(4)

    assert found.iloc[:, :7].to_dict("list") == {
        "segment_id": [1, 2],
        "measured_customers": [200, 20],
        "repurchase_rate": [0.25, 0.0],
        # As proportion_confint(method="wilson") of statsmodels gives them.
        "repurchase_rate_low": [0.1951, 0.0],
        "repurchase_rate_high": [0.3143, 0.1611],
        "shop_repurchase_rate": [0.2273, 0.2273],
        "measured_revenue": [2.5, 0.0],
    }
    # The standard error of the mean of 200 customers of whom a quarter spend 10 is 0.306.
    low, high = found.loc[0, ["measured_revenue_low", "measured_revenue_high"]]
    assert 1.7 < low < 2.1 and 2.9 < high < 3.3
    # From 20 customers there is no interval of the revenue.
    assert found.loc[1, ["measured_revenue_low", "measured_revenue_high"]].isna().all()
