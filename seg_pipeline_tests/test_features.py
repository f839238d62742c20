"""RFM features and scores on small tables, against pandas on a real one, and the transforms against scikit-learn."""

import datetime
from decimal import Decimal

import numpy as np
import pandas as pd
import pytest
from sklearn.preprocessing import PowerTransformer, RobustScaler, StandardScaler

from seg_pipeline.features.night import FEATURES_QUERY
from seg_pipeline.features.tables import FEATURES, GRID_CELLS, RFM_FEATURES
from seg_pipeline.features.transforms import apply_transforms, fit_transforms, invert_transforms
from seg_pipeline.prepared.tables import CLEAN_ORDERS
from seg_pipeline.settings import FeatureSettings
from seg_pipeline.warehouse import Warehouse

AS_OF = datetime.date(2024, 3, 1)


def features_of(tmp_path, lines, as_of=AS_OF):
    """rfm_features of clean lines (order_id, customer_id, ordered_at, amount); a negative amount is a return."""
    warehouse = Warehouse(database=str(tmp_path / "warehouse.duckdb"))
    clean = pd.DataFrame(lines, columns=["order_id", "customer_id", "ordered_at", "amount"])
    clean["ordered_at"] = pd.to_datetime(clean["ordered_at"], format="ISO8601")
    clean["is_return"] = clean["amount"] < 0
    clean["quantity"] = np.where(clean["is_return"], -1, 1)
    clean["unit_price"] = clean["amount"].abs()
    clean["source_file"], clean["source_row"] = "orders.csv", range(1, len(clean) + 1)
    with warehouse.get_connection() as connection:
        connection.create(CLEAN_ORDERS)
        with connection.registered(clean) as lines:
            connection.insert(CLEAN_ORDERS, f"FROM {lines}")
    warehouse.replace_night(RFM_FEATURES, FEATURES_QUERY, as_of)
    return warehouse.night(RFM_FEATURES, as_of).set_index("customer_id")


def test_recency_counts_calendar_days_and_frequency_counts_orders_not_lines(tmp_path):
    found = features_of(
        tmp_path,
        [
            ("1", "anna", "2024-02-29 23:59:00", 10.0),
            ("1", "anna", "2024-02-29 23:59:00", 5.5),
            ("2", "anna", "2024-02-20 00:01:00", 4.5),
            ("3", "bert", "2024-01-01", 7.25),
        ],
    )

    expected = pd.DataFrame(
        {
            "recency_days": [1, 60],
            "frequency": [2, 1],
            "monetary": [20.0, 7.25],
            "avg_order_value": [10.0, 7.25],
            "tenure_days": [10, 60],
            "days_between_orders": [9.0, np.nan],
            "lines_per_order": [1.5, 1.0],
            "recent_share": [1.0, 1.0],
        },
        index=pd.Index(["anna", "bert"], name="customer_id"),
    )
    pd.testing.assert_frame_equal(found[expected.columns], expected, check_dtype=False)


def test_orders_on_the_as_of_day_are_left_out(tmp_path):
    found = features_of(tmp_path, [("1", "anna", "2024-02-28", 10.0), ("2", "anna", "2024-03-01 00:00:00", 90.0)])

    assert found.loc["anna", ["recency_days", "frequency", "monetary"]].to_list() == [2, 1, 10.0]


def test_returns_reduce_monetary_and_are_not_orders(tmp_path):
    found = features_of(
        tmp_path,
        [("1", "anna", "2024-02-01", 10.0), ("C1", "anna", "2024-02-05", -4.0), ("2", "bert", "2024-02-01", 1)],
    )

    anna = found.loc["anna"]
    assert (anna["frequency"], anna["monetary"], anna["return_rate"]) == (1, 6.0, 0.4)
    assert anna["last_order_on"] == pd.Timestamp("2024-02-01")


def test_a_customer_with_returns_alone_has_no_purchases_and_no_scores(tmp_path):
    found = features_of(tmp_path, [("C1", "anna", "2024-02-05", -4.0), ("1", "bert", "2024-02-01", 1.0)])

    anna = found.loc["anna"]
    assert (anna["frequency"], anna["monetary"], anna["rfm_segment"]) == (0, -4.0, "No purchases")
    assert anna[["recency_days", "r_score", "f_score", "m_score", "first_order_on"]].isna().all()


def test_the_newest_buyers_score_best_even_when_most_share_one_day(tmp_path):
    lines = [(str(number), f"new{number}", "2024-02-29", 1.0) for number in range(8)]
    lines += [("8", "older", "2024-02-01", 1.0), ("9", "oldest", "2023-02-01", 1.0)]

    scores = features_of(tmp_path, lines)["r_score"]

    assert set(scores.filter(like="new")) == {5}
    assert scores["oldest"] < 5


def test_one_time_buyers_score_lowest_on_frequency_however_many_they_are(tmp_path):
    lines = [(str(number), f"once{number}", "2024-02-01", 1.0) for number in range(9)]
    lines += [(f"r{number}", "often", f"2024-02-{number:02}", 1.0) for number in range(1, 8)]

    scores = features_of(tmp_path, lines)["f_score"]

    assert set(scores.filter(like="once")) == {1}
    assert scores["often"] == 5


def test_the_highest_frequency_scores_best_if_most_share_it_and_nothing_else_changes(tmp_path):
    def scores(*orders_of):
        lines = [
            (f"{customer}-{order}", customer, f"2024-01-{order + 1:02}", 1.0)
            for customer, orders in enumerate(orders_of)
            for order in range(orders)
        ]
        folder = tmp_path / str(orders_of)
        folder.mkdir()
        return features_of(folder, lines)["f_score"].to_list()

    # Six of eight are subscribers with twelve payments.
    assert scores(12, 12, 12, 12, 12, 12, 6, 1) == [5, 5, 5, 5, 5, 5, 1, 1]
    # Half is not most: all values are cut as before.
    assert scores(4, 4, 3, 2) == [3, 3, 2, 1]
    # One purchase always scores 1.
    assert scores(1, 1, 1, 1) == [1, 1, 1, 1]


def test_equal_customers_get_equal_scores(tmp_path):
    lines = [(f"{name}{n}", name, f"2024-01-{n + 1:02}", 3.0) for name in "abcdefghij" for n in range(3)]

    scores = features_of(tmp_path, lines)[["r_score", "f_score", "m_score"]].drop_duplicates()

    assert len(scores) == 1


def test_the_grid_covers_the_25_cells_once_each_and_the_sql_says_the_same(tmp_path):
    cells = [cell for cells in GRID_CELLS.values() for cell in cells]
    assert sorted(cells) == [(r, f) for r in range(1, 6) for f in range(1, 6)]

    # Recency and frequency as in a full 5 x 5 layout: every pair of scores occurs.
    days = ["2023-05-01", "2023-08-01", "2023-11-01", "2024-01-15", "2024-02-29"]
    lines = [
        (f"{r}-{f}-{number}", f"{r}-{f}", days[r], 1.0) for r in range(5) for f in range(5) for number in range(f + 1)
    ]
    found = features_of(tmp_path, lines)

    by_table = {
        customer: next(name for name, cells in GRID_CELLS.items() if (row["r_score"], row["f_score"]) in cells)
        for customer, row in found.iterrows()
    }
    assert len(set(zip(found["r_score"], found["f_score"], strict=True))) == 25
    assert found["rfm_segment"].to_dict() == by_table


def test_every_column_of_numbers_is_a_feature_with_a_title():
    numbers = [
        column.name for column in RFM_FEATURES.columns if column.type.startswith(("INTEGER", "DOUBLE", "DECIMAL"))
    ]

    assert list(FEATURES) == numbers


def test_features_and_scores_equal_pandas_on_online_retail(online_retail_night):
    warehouse, as_of = online_retail_night
    lines = warehouse.read(
        "SELECT order_id, customer_id, ordered_at, is_return, CAST(amount AS VARCHAR) AS amount"
        " FROM prepared.clean_orders"
    )
    lines["amount"] = lines["amount"].map(Decimal)
    found = warehouse.night(RFM_FEATURES, as_of).set_index("customer_id")
    bought = lines[~lines["is_return"]].groupby("customer_id")
    expected = pd.DataFrame(
        {
            "recency_days": (pd.Timestamp(as_of) - bought["ordered_at"].max().dt.normalize()).dt.days,
            "frequency": bought["order_id"].nunique(),
        }
    )
    expected["monetary"] = lines.groupby("customer_id")["amount"].sum().astype(float)
    for score, feature, sign in (
        ("r_score", "recency_days", -1),
        ("f_score", "frequency", 1),
        ("m_score", "monetary", 1),
    ):
        cuts = np.quantile(expected[feature], [0.2, 0.4, 0.6, 0.8], method="inverted_cdf")
        below = (cuts[None, :] < expected[feature].to_numpy()[:, None]).sum(axis=1)
        expected[score] = 5 - below if sign < 0 else 1 + below

    buyers = found[found["frequency"] > 0]
    assert len(found) == 4371
    pd.testing.assert_frame_equal(buyers[expected.columns], expected.sort_index(), check_dtype=False, check_names=False)


VALUES = pd.DataFrame({"monetary": [-50.0, 0.0, 3.5, 20.0, 400.0, 12000.0], "frequency": [1, 1, 2, 3, 8, 40]})


def transformed(**settings):
    fitted = fit_transforms(VALUES, FeatureSettings(columns=("monetary", "frequency"), **settings))
    return apply_transforms(VALUES, fitted)


def test_log1p_keeps_the_sign():
    np.testing.assert_allclose(
        transformed(transform="log1p", scaling="none"), np.sign(VALUES) * np.log1p(np.abs(VALUES)), rtol=1e-15
    )


@pytest.mark.parametrize(("scaling", "scaler"), [("standard", StandardScaler()), ("robust", RobustScaler())])
def test_scaling_equals_scikit_learn(scaling, scaler):
    np.testing.assert_allclose(
        transformed(transform="identity", scaling=scaling), scaler.fit_transform(VALUES.astype(float)), rtol=1e-12
    )


def test_yeo_johnson_equals_scikit_learn():
    expected = PowerTransformer("yeo-johnson").fit_transform(VALUES.astype(float))

    np.testing.assert_allclose(transformed(transform="yeo-johnson"), expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("scaling", ["standard", "robust", "none"])
def test_values_beyond_the_clip_count_as_if_they_lay_there(scaling):
    table = pd.DataFrame({"monetary": [0.0] * 99 + [1000.0]})
    mean, deviation = 10.0, np.std(table["monetary"])

    clipped, unclipped = (
        fit_transforms(table, FeatureSettings(columns=("monetary",), transform="identity", scaling=scaling, clip=clip))
        for clip in (3, 0)
    )
    center, scale = clipped.loc[0, ["center", "scale"]]

    assert apply_transforms(table, clipped).max() == pytest.approx((mean + 3 * deviation - center) / scale)
    assert apply_transforms(table, unclipped).max() == pytest.approx((1000.0 - center) / scale)
    # The models of older versions have no limits.
    np.testing.assert_array_equal(
        apply_transforms(table, unclipped.drop(columns=["low", "high"])), apply_transforms(table, unclipped)
    )


def test_each_feature_has_its_own_transform_and_weight():
    matrix = transformed(
        transform={"default": "identity", "monetary": "log1p"}, scaling="none", weights={"frequency": 2}
    )

    np.testing.assert_allclose(matrix[:, 1], 2.0 * VALUES["frequency"])
    np.testing.assert_allclose(matrix[3, 0], np.log1p(20.0))


def test_a_missing_value_counts_as_the_median_of_the_others():
    table = pd.DataFrame({"days_between_orders": [1.0, 3.0, np.nan, 9.0]})
    fitted = fit_transforms(
        table, FeatureSettings(columns=("days_between_orders",), transform="identity", scaling="none")
    )

    assert apply_transforms(table, fitted).ravel().tolist() == [1.0, 3.0, 3.0, 9.0]


@pytest.mark.parametrize("transform", ["identity", "log1p", "yeo-johnson"])
@pytest.mark.parametrize("scaling", ["standard", "robust", "none"])
def test_a_feature_without_spread_stays_finite(transform, scaling):
    table = pd.DataFrame({"frequency": [2, 2, 2]})
    fitted = fit_transforms(table, FeatureSettings(columns=("frequency",), transform=transform, scaling=scaling))

    assert np.ptp(apply_transforms(table, fitted)) == 0


@pytest.mark.parametrize("transform", ["identity", "log1p", "yeo-johnson"])
def test_transforms_can_be_inverted(transform):
    table = pd.DataFrame({"monetary": [-250.0, -1.0, 0.0, 0.5, 3.0, 9000.0], "recency_days": [1.0, 2, 3, 5, 8, 700]})
    settings = FeatureSettings(
        columns=("recency_days", "monetary"), transform={"default": transform}, weights={"monetary": 2.0}
    )
    transforms = fit_transforms(table, settings)

    back = invert_transforms(apply_transforms(table, transforms), transforms)

    pd.testing.assert_frame_equal(back[["monetary", "recency_days"]], table, rtol=1e-6, atol=1e-6)


def test_if_yeo_johnson_levels_off_its_inverse_stays_finite():
    transforms = pd.DataFrame(
        [{"position": 0, "feature": "return_rate", "fill": 0.0, "transform": "yeo-johnson", "lambda": -20.0,
          "center": 0.0, "scale": 1.0, "weight": 1.0}]
    )  # fmt: skip

    assert np.isfinite(invert_transforms(np.array([[0.04], [0.05], [0.06]]), transforms)).all().all()
