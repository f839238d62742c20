"""Drift of features and of segment shares since the champion was fitted, and history that was restated."""

import datetime

import numpy as np
import pandas as pd
import pytest

from seg_pipeline.features.night import FEATURES_QUERY
from seg_pipeline.features.tables import RFM_FEATURES
from seg_pipeline.models.drift import FIGURES, drift_rows, population_stability_index, training_summary
from seg_pipeline.models.tables import FEATURE_DRIFT
from seg_pipeline.prepared.tables import CLEAN_ORDERS
from seg_pipeline.quality.evaluation import evaluate
from seg_pipeline.segments.tables import SEGMENT_ASSIGNMENTS, SHARE_DRIFT
from seg_pipeline.settings import load_settings
from seg_pipeline.warehouse import Warehouse

NIGHT = datetime.date(2024, 3, 1)


@pytest.fixture
def connection(tmp_path):
    with Warehouse(database=str(tmp_path / "w.duckdb")).get_connection() as connection:
        yield connection


def test_the_index_is_the_published_sum_and_zero_without_change(connection):
    shares = [0.2, 0.3, 0.5]

    assert population_stability_index(connection, shares, shares) == 0
    # 0.1 ln 2 - 0.1 ln(2/3), by hand.
    assert population_stability_index(connection, [0.2, 0.2, 0.6], [0.1, 0.3, 0.6]) == pytest.approx(
        0.1 * np.log(2) - 0.1 * np.log(2 / 3)
    )


def test_an_empty_bin_counts_as_a_small_share(connection):
    assert population_stability_index(connection, [1.0, 0.0], [0.5, 0.5]) == pytest.approx(
        0.5 * np.log(2) - 0.4999 * np.log(0.0001 / 0.5), rel=1e-6
    )


@pytest.mark.parametrize(
    ("customers", "fitted_shares", "now", "before"),
    [
        # Each segment a third of 90 buyers at the fit, and 45, 27 and 18 of them now.
        ([45, 27, 18], [1 / 3, 1 / 3, 1 / 3], [0.5, 0.3, 0.2], [1 / 3, 1 / 3, 1 / 3]),
        # Two segments have no customer left: they have no row, and are one bin.
        ([60, 40], [0.5, 0.3], [0.6, 0.4, 0.0], [0.5, 0.3, 0.2]),
    ],
)
def test_the_check_of_segment_shares_computes_the_same_index(connection, customers, fitted_shares, now, before):
    profiles = pd.DataFrame(
        {
            "segment_id": [0, *range(1, len(customers) + 1)],
            "customers": [1000, *customers],
            "fitted_share": [None, *fitted_shares],
            "reference_as_of": NIGHT,
        }
    )
    with connection.temporary(profiles) as batch:
        [(psi, _)] = connection.execute(SHARE_DRIFT.replace("{batch}", str(batch))).fetchall()

    assert psi == pytest.approx(population_stability_index(connection, now, before), rel=1e-12)


def test_the_summary_holds_deciles_once_and_the_share_up_to_each(connection):
    connection.create(RFM_FEATURES, or_replace=False)
    connection.execute(
        "INSERT INTO features.rfm_features BY NAME SELECT $night AS as_of, CAST(i AS VARCHAR) AS customer_id,"
        " CASE WHEN i < 50 THEN 1 ELSE i END AS recency_days, 1 AS frequency FROM range(100) AS numbers(i)",
        {"night": NIGHT},
    )
    transforms = pd.DataFrame({"feature": ["recency_days"], "fill": [0.0]})

    [summary] = training_summary(connection, transforms, NIGHT).to_dict("records")

    assert list(summary["cuts"]) == [1.0, 59.0, 69.0, 79.0, 89.0]
    np.testing.assert_allclose(summary["shares"], [0.5, 0.1, 0.1, 0.1, 0.1, 0.1])


class Shop:
    """A warehouse whose nights are built from orders, up to feature_drift and the segments that make a night count."""

    def __init__(self, folder):
        self.warehouse = Warehouse(database=str(folder / "warehouse.duckdb"))
        self.settings = load_settings(environment={})

    def build(self, as_of, orders, *, segments=True, **settings):
        """Builds a night from orders (customer, day, amount; negative for a return); returns its feature_drift."""
        given = self.settings.model_copy(update=settings)
        lines = pd.DataFrame(orders, columns=["customer_id", "ordered_at", "amount"])
        lines = lines.assign(
            order_id=lines["customer_id"] + lines["ordered_at"] + (lines["amount"] < 0).map(str),
            ordered_at=pd.to_datetime(lines["ordered_at"]),
            is_return=lines["amount"] < 0,
            quantity=1,
            source_file="orders.csv",
            source_row=range(1, len(lines) + 1),
        )
        with self.warehouse.get_connection() as connection, connection.registered(lines) as frame:
            connection.replace_table(CLEAN_ORDERS, f"FROM {frame}")
        self.warehouse.replace_night(RFM_FEATURES, FEATURES_QUERY, as_of)
        self.warehouse.replace_night(FEATURE_DRIFT, drift_rows(self.warehouse, given, None, as_of), as_of)
        if segments:
            self.warehouse.replace_night(
                SEGMENT_ASSIGNMENTS,
                f"SELECT as_of, customer_id, 1 AS segment_id FROM {RFM_FEATURES.name} WHERE as_of = $as_of",
                as_of,
            )
        return self.warehouse.night(FEATURE_DRIFT, as_of).set_index("feature")

    def failed_checks(self, as_of):
        outcomes = evaluate(self.warehouse, FEATURE_DRIFT, self.settings, as_of)
        return {outcome.check.name for outcome in outcomes if not outcome.passed}


@pytest.fixture
def shop_of_nights(tmp_path, held):
    shop = Shop(tmp_path)
    held.enter_context(shop.warehouse.held())
    return shop


# What the first night says: an old customer, one of last month, one who returns something, one without a purchase.
KNOWN = [
    ("anna", "2023-06-01", 20.0),
    ("anna", "2023-08-01", 30.0),
    ("bert", "2024-02-10", 50.0),
    ("cleo", "2023-11-01", 40.0),
    ("cleo", "2023-11-09", -10.0),
    ("dora", "2024-01-01", -5.0),
]


@pytest.mark.parametrize(
    "since",
    [
        pytest.param([], id="only time"),
        pytest.param([("anna", "2024-03-01", 5.0), ("bert", "2024-03-01", 5.0)], id="orders"),
        pytest.param([("emil", "2024-03-01", 5.0)], id="a new customer"),
        pytest.param([("dora", "2024-03-01", 5.0)], id="a first purchase"),
        pytest.param([("anna", "2024-03-01", -10.0), ("cleo", "2024-03-01", -2.5)], id="returns of old orders"),
        pytest.param([("bert", "2024-03-01", -50.0)], id="a return of everything"),
        pytest.param([("bert", "2024-02-29", 70.0), ("emil", "2024-02-28", 70.0)], id="a file that comes late"),
    ],
)
def test_time_orders_returns_and_late_files_restate_nothing(shop_of_nights, since):
    shop_of_nights.build(NIGHT, KNOWN)

    for days in (1, 400):
        as_of = NIGHT + datetime.timedelta(days=days)
        drift = shop_of_nights.build(as_of, [*KNOWN, *since], segments=False)

        assert set(drift["since"]) == {pd.Timestamp(NIGHT)}
        assert set(drift["known_customers"]) == {3}
        assert drift["restated_customers"].to_dict() == dict.fromkeys(FIGURES, 0)
        assert set(drift["restated_share"]) == {0.0}


def test_an_order_of_last_month_may_be_cancelled_or_refunded_and_an_old_one_may_not(shop_of_nights):
    shop_of_nights.build(NIGHT, [*KNOWN, ("bert", "2024-02-20", 10.0)])

    refunded = shop_of_nights.build(
        NIGHT + datetime.timedelta(days=1), [(*line[:2], 1.0 if line[0] == "bert" else line[2]) for line in KNOWN]
    )
    assert refunded["restated_customers"].to_dict() == dict.fromkeys(FIGURES, 0)

    shop_of_nights.build(NIGHT, KNOWN)
    lost = shop_of_nights.build(NIGHT + datetime.timedelta(days=1), KNOWN[:1] + KNOWN[2:])
    # Of 20 + 30 + 50 + 40 known, anna's 30 are gone; her last order is now the one that was her first.
    assert lost["restated_customers"].to_dict() == {
        "recency_days": 1,
        "tenure_days": 0,
        "frequency": 1,
        "monetary": 1,
    }
    assert lost["restated_share"].to_dict() == pytest.approx(
        {"recency_days": 1 / 3, "tenure_days": 0, "frequency": 1 / 3, "monetary": 30 / 140}
    )


@pytest.mark.parametrize(
    ("orders", "restated"),
    [
        pytest.param([(*line[:2], line[2] * 100) for line in KNOWN], {"monetary": 99.0}, id="prices times 100"),
        pytest.param(
            [(line[0], line[1].replace("2023-", "2022-"), line[2]) for line in KNOWN],
            {"recency_days": 2 / 3, "tenure_days": 2 / 3},
            id="dates a year back",
        ),
        pytest.param(
            [*KNOWN, ("anna", "2023-07-01", 14.0)], {"frequency": 1 / 3, "monetary": 0.1}, id="an old order more"
        ),
        pytest.param(
            [({"anna": "cleo", "cleo": "anna"}.get(line[0], line[0]), *line[1:]) for line in KNOWN],
            {"recency_days": 2 / 3, "tenure_days": 2 / 3, "frequency": 2 / 3, "monetary": 20 / 140},
            id="ids exchanged",
        ),
        pytest.param(
            [line for line in KNOWN if line[0] != "anna"] + [("anna", "2024-01-01", -5.0)],
            {"recency_days": 1 / 3, "tenure_days": 1 / 3, "frequency": 1 / 3, "monetary": 50 / 140},
            id="no purchase left",
        ),
    ],
)
def test_what_was_known_and_changed_is_restated(shop_of_nights, orders, restated):
    shop_of_nights.build(NIGHT, KNOWN)

    drift = shop_of_nights.build(NIGHT + datetime.timedelta(days=1), orders)

    assert drift["restated_share"].to_dict() == pytest.approx(dict.fromkeys(FIGURES, 0.0) | restated)


def test_a_night_is_compared_with_the_last_one_that_has_segments_and_counts_the_same_lines(shop_of_nights):
    first, stopped, tonight = (NIGHT + datetime.timedelta(days=day) for day in range(3))

    assert shop_of_nights.build(first, KNOWN)["since"].isna().all()
    broken = [(*line[:2], line[2] * 100) for line in KNOWN]
    assert set(shop_of_nights.build(stopped, broken, segments=False)["restated_share"]) == {0.0, 99.0}
    # As bad as the night before it, which does not count because it was stopped.
    again = shop_of_nights.build(tonight, broken, segments=False)
    assert (again["since"].unique().tolist(), again["restated_share"].max()) == ([pd.Timestamp(first)], 99.0)
    with_returns_dropped = shop_of_nights.build(tonight, broken, returns="drop")
    assert with_returns_dropped[["since", "known_customers", "restated_share"]].isna().all(axis=None)


def test_restated_history_stops_the_night_and_a_few_customers_do_not(shop_of_nights):
    shop = [(f"{number}", "2023-06-01", 10.0) for number in range(100)]
    tonight = NIGHT + datetime.timedelta(days=1)
    shop_of_nights.build(NIGHT, shop)

    def failed(customers, **drift):
        changed = [(*line[:2], 10.0 if int(line[0]) >= customers else 1000.0) for line in shop]
        limits = shop_of_nights.settings.drift.model_copy(update=drift)
        shop_of_nights.build(tonight, changed, segments=False, drift=limits)
        return shop_of_nights.failed_checks(tonight)

    assert failed(0) == failed(4) == set()
    assert failed(5) == {"figures_as_known", "features_credible"}
    assert failed(5, restated_critical=5) == {"figures_as_known"}


def test_a_good_night_that_is_run_again_on_restated_orders_is_no_longer_compared_with(shop_of_nights):
    first, second, third = (NIGHT + datetime.timedelta(days=day) for day in range(3))
    good, broken = ([(f"{number}", "2023-06-01", amount) for number in range(100)] for amount in (10.0, 1000.0))
    shop_of_nights.build(first, good)
    shop_of_nights.build(second, good)

    # The segments of the second night stay, its features do not.
    shop_of_nights.build(second, broken, segments=False)
    stopped = shop_of_nights.build(third, broken, segments=False)
    assert (set(stopped["since"]), stopped["stops"].to_dict()) == (
        {pd.Timestamp(first)},
        dict.fromkeys(FIGURES, False) | {"monetary": True},
    )

    # Meant after all: the limit is raised for one run, and the next night is compared with that one.
    limits = shop_of_nights.settings.drift.model_copy(update={"restated_critical": 1_000})
    shop_of_nights.build(second, broken, drift=limits)
    accepted = shop_of_nights.build(third, broken)
    assert (set(accepted["since"]), accepted["stops"].any()) == ({pd.Timestamp(second)}, False)


@pytest.mark.parametrize(("days", "warned"), [(37, set()), (38, {"features_as_when_fitted"})])
def test_drift_from_the_fit_warns_only_if_no_refit_came_and_never_stops(shop_of_nights, days, warned):
    tonight = NIGHT + datetime.timedelta(days=days)
    rows = pd.DataFrame(
        {"feature": ["recency_days"], "psi": [50.0], "model_id": "kmeans-3", "fitted_as_of": NIGHT}
    ).assign(reference_as_of=NIGHT)
    shop_of_nights.warehouse.replace_night(FEATURE_DRIFT, rows, tonight)

    assert shop_of_nights.failed_checks(tonight) == warned
