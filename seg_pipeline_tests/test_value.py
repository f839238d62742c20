"""The value test, on a few customers whose figures can be counted by hand, and on real orders against pandas."""

import datetime

import numpy as np
import pandas as pd
import pytest
from sklearn.cluster import KMeans
from sklearn.metrics import r2_score
from sklearn.preprocessing import StandardScaler

from seg_pipeline.evaluation.night import build_value_test
from seg_pipeline.evaluation.outcomes import read_outcomes
from seg_pipeline.evaluation.tables import CHOICE_TEST, CHOICE_WINDOW, VALUE_BY_SEGMENT, VALUE_TEST, VALUE_WINDOW
from seg_pipeline.evaluation.value import (
    Segmentation,
    best_gini,
    bootstrap_groups,
    bootstrap_weights,
    figures,
    figures_of_chance,
    random_segments,
    reachable_share,
    renumber_by_spend,
    terms_of,
    value_by_segment,
    value_rows,
    with_value,
)
from seg_pipeline.prepared.tables import CLEAN_ORDERS
from seg_pipeline.quality.evaluation import evaluate
from seg_pipeline.settings import load_settings
from seg_pipeline.warehouse import Warehouse
from seg_pipeline_tests.whole_runs import real_data

NIGHT = datetime.date(2024, 7, 1)
CUTOFF = datetime.date(2024, 4, 2)
SMALL = ("value.smallest_customers=2",)


def settings(*overrides):
    return load_settings(overrides, environment={})


def warehouse_of(path, lines):
    """A warehouse with clean lines (order_id, customer_id, ordered_at, amount); a negative amount is a return."""
    clean = pd.DataFrame(lines, columns=["order_id", "customer_id", "ordered_at", "amount"])
    clean["ordered_at"] = pd.to_datetime(clean["ordered_at"], format="ISO8601")
    clean["is_return"] = clean["amount"] < 0
    clean["quantity"] = np.where(clean["is_return"], -1, 1)
    clean["source_file"], clean["source_row"] = "orders.csv", range(1, len(clean) + 1)
    warehouse = Warehouse(database=str(path / "warehouse.duckdb"))
    with warehouse.get_connection() as connection:
        connection.create(CLEAN_ORDERS)
        with connection.registered(clean) as lines:
            connection.insert(CLEAN_ORDERS, f"FROM {lines}")
    return warehouse


def shop_lines(customers=150, seed=1):
    """Orders of a year and a half up to the night; who bought more so far buys more later."""
    rng = np.random.default_rng(seed)
    rates = rng.gamma(1.0, 4.0, customers)
    lines = []
    for customer, rate in enumerate(rates):
        for order, days in enumerate(rng.integers(1, 540, rng.poisson(rate) + 1)):
            day = NIGHT - datetime.timedelta(days=int(days))
            lines.append((f"{customer}-{order}", f"c{customer}", day.isoformat(), round(float(rng.gamma(2, 20)), 2)))
    return lines


def tables_of(warehouse, *overrides, as_of=NIGHT):
    chosen = settings(*overrides)
    with warehouse.held():
        return value_rows(read_outcomes(warehouse, as_of, chosen), chosen)


def store(warehouse, rows, as_of=NIGHT):
    for table, frame in zip((VALUE_WINDOW, VALUE_TEST, VALUE_BY_SEGMENT), rows, strict=True):
        warehouse.replace_night(table, frame, as_of)


FEW = [
    ("0", "anna", "2023-09-01", 5.0),
    ("1", "anna", "2024-01-01", 20.0),
    # The cutoff's day is held back, the day before is known.
    ("2", "anna", "2024-04-02 00:00:00", 10.0),
    ("2", "anna", "2024-04-02 00:00:00", 2.5),
    ("3", "anna", "2024-06-30 23:59:59", 40.0),
    ("4", "anna", "2024-06-30", -1.5),
    ("5", "bert", "2024-04-01 23:59:59", 7.0),
    # A return alone is no purchase, and takes revenue away.
    ("6", "bert", "2024-05-01", -7.0),
    # Nobody knew these at the cutoff: one comes later, one had only returned.
    ("7", "cleo", "2024-05-01", 99.0),
    ("8", "dora", "2024-01-05", -3.0),
    ("9", "dora", "2024-05-05", 50.0),
]


def test_the_window_runs_from_the_cutoff_to_the_night_and_the_features_know_only_what_was_before(tmp_path):
    outcomes = read_outcomes(warehouse_of(tmp_path, FEW), NIGHT, settings(*SMALL))

    assert (outcomes.cutoff, outcomes.untested_because) == (CUTOFF, None)
    expected = pd.DataFrame(
        {
            "recency_days": [92, 1],
            "frequency": [2, 1],
            "monetary": [25.0, 7.0],
            "grid_place": [5, 3],
            "orders": [2, 0],
            "revenue": [51.0, -7.0],
        }
    )
    pd.testing.assert_frame_equal(outcomes.customers, expected, check_dtype=False)


def test_if_there_are_more_customers_than_python_may_hold_a_sample_is_tested_and_called_one(tmp_path):
    warehouse = warehouse_of(tmp_path, shop_lines())
    few = Warehouse(database=warehouse.database, most_customers=120)

    everyone, some = (read_outcomes(one, NIGHT, settings(*SMALL)) for one in (warehouse, few))

    assert (len(everyone.customers), everyone.sampled) == (144, False)
    assert (len(some.customers), some.sampled) == (120, True)
    columns = list(everyone.customers)
    assert len(some.customers.merge(everyone.customers.drop_duplicates(), on=columns)) == 120
    rows = value_rows(some, settings(*SMALL))
    assert rows[0]["sampled"].item() is True
    store(few, rows)
    for outcome in evaluate(few, VALUE_WINDOW, settings(*SMALL), NIGHT):
        assert outcome.passed, outcome


@pytest.mark.parametrize("later", ["2024-07-01 00:00:00", "2024-07-01 12:00:00", "2024-08-15"])
def test_no_order_on_or_after_the_night_changes_anything(tmp_path, later):
    lines = shop_lines()
    planted = [(f"x{n}", f"c{n}", later, 5000.0) for n in range(100)]

    before = tables_of(warehouse_of(tmp_path, lines))
    after = tables_of(warehouse_of(tmp_path, [*lines, *planted]))

    assert len(before[1]) == 3 * 6 + 2
    for one, other in zip(before, after, strict=True):
        pd.testing.assert_frame_equal(one, other, check_exact=True)


def test_what_happens_in_the_window_moves_no_segment(tmp_path):
    lines = shop_lines()
    known = ["algorithm", "k", "segment", "customers", "median_recency_days", "median_frequency", "median_monetary"]

    before = tables_of(warehouse_of(tmp_path, lines))[2]
    after = tables_of(warehouse_of(tmp_path, [*lines, *((f"x{n}", f"c{n}", "2024-05-05", 900.0) for n in range(150))]))[
        2
    ]

    pd.testing.assert_frame_equal(before[known], after[known], check_exact=True)
    assert (after.query("algorithm != 'random'")["revenue"] > before.query("algorithm != 'random'")["revenue"]).all()


def test_the_same_orders_delivered_in_another_order_give_the_same_bytes(tmp_path):
    lines = shop_lines()

    one = tables_of(warehouse_of(tmp_path, lines))
    other = tables_of(warehouse_of(tmp_path, lines[::-1]))

    assert [frame.to_csv() for frame in one] == [frame.to_csv() for frame in other]


def test_the_tables_keep_their_rules_and_a_lost_customer_breaks_one(tmp_path):
    warehouse = warehouse_of(tmp_path, shop_lines())
    rows = tables_of(warehouse)
    store(warehouse, rows)

    for table in (VALUE_WINDOW, VALUE_TEST, VALUE_BY_SEGMENT):
        assert [outcome for outcome in evaluate(warehouse, table, settings(), NIGHT) if not outcome.passed] == []
    store(warehouse, (rows[0].assign(revenue=rows[0]["revenue"] + 1), rows[1], rows[2].assign(customers=1)))
    broken = {
        outcome.check.name
        for table in (VALUE_WINDOW, VALUE_BY_SEGMENT)
        for outcome in evaluate(warehouse, table, settings(), NIGHT)
        if not outcome.passed
    }
    assert broken == {"revenue_conserved", "segments_add_up"}


@pytest.mark.parametrize(
    ("lines", "overrides", "because"),
    [
        (
            [line for line in FEW if line[2] > "2024-01-04"],
            SMALL,
            "The history is too short: a window of 90 days needs as many days of orders before it, but the first order"
            " was on 2024-01-05. The night of 2024-07-03 will have enough.",
        ),
        (FEW, (), "There are too few customers: 2 had bought before 2024-04-02, and value.smallest_customers is 100."),
        (
            [*FEW, ("10", "emil", "2024-02-01", 5.0)],
            (*SMALL, "value.smallest_repeat_share=0.5"),
            "Nearly all customers bought once: 33.3% of those who had bought before 2024-04-02 had a second order, and"
            " value.smallest_repeat_share is 0.5. What such customers will bring cannot be predicted from what they"
            " bought, so no worth is claimed.",
        ),
        (
            FEW[:2] + FEW[6:],
            SMALL,
            "The customers who had bought before 2024-04-02 brought no revenue in the 90 days from that day on.",
        ),
    ],
)
def test_without_a_test_there_is_a_reason_and_no_figure(tmp_path, lines, overrides, because):
    warehouse = warehouse_of(tmp_path, lines)

    window, test, by_segment = rows = tables_of(warehouse, *overrides)

    assert window.to_dict("records") == [
        {
            "cutoff": CUTOFF,
            "window_days": 90,
            "few_repeat": because.startswith("Nearly all"),
            "untested_because": because,
        }
    ]
    assert len(test) == len(by_segment) == 0
    store(warehouse, rows)
    for table in (VALUE_WINDOW, VALUE_TEST, VALUE_BY_SEGMENT):
        assert all(outcome.passed for outcome in evaluate(warehouse, table, settings(), NIGHT))
    candidates = pd.DataFrame({"algorithm": ["kmeans", "rfm_grid"], "k": [3, 10]})
    found = with_value(candidates, warehouse.night(VALUE_TEST, NIGHT), float("nan"))
    assert found[["value", "value_share", "value_error", "above_grid"]].isna().all(axis=None)


def test_the_first_night_with_enough_history_has_a_test(tmp_path):
    lines = [line for line in FEW if line[2] > "2024-01-04"]
    warehouse = warehouse_of(tmp_path, [*lines, ("n", "bert", "2024-05-02", 80.0), ("a", "anna", "2024-01-06", 1.0)])

    assert read_outcomes(warehouse, datetime.date(2024, 7, 2), settings(*SMALL)).untested_because is not None
    assert read_outcomes(warehouse, datetime.date(2024, 7, 3), settings(*SMALL)).untested_because is None


def test_a_candidate_has_the_value_of_its_own_k_and_the_only_one_of_its_algorithm_that_of_any_k():
    tested = pd.DataFrame(
        [("kmeans", 3, 0.2), ("kmeans", 4, 0.3), ("hdbscan", 6, 0.4), ("rfm_grid", 9, 0.1), ("random", 9, 0.0)],
        columns=["algorithm", "k", "explained_share"],
    )
    tested = tested.assign(
        explained_share_low=tested["explained_share"] - 0.0196,
        explained_share_high=tested["explained_share"] + 0.0196,
        explained_share_over_grid_low=[0.1, 0.1, 0.1, 0.0, 0.0],
        gini_over_grid_low=[0.1, 0.1, -0.1, 0.0, 0.0],
    )
    candidates = pd.DataFrame(
        [("kmeans", 2), ("kmeans", 4), ("hdbscan", 5), ("rfm_grid", 10), ("k_medoids", 4)], columns=["algorithm", "k"]
    )

    found = with_value(candidates, tested, 0.35)

    assert found["value"].fillna(-1).to_list() == [-1, 0.3, 0.4, 0.1, -1]
    # What can be reached at all was an estimate; nothing is worth more than that.
    assert found["value_share"].fillna(-1).to_list() == pytest.approx([-1, 0.3 / 0.35, 1, 0.1 / 0.35, -1])
    assert found["value_error"].dropna().to_list() == pytest.approx([0.01 / 0.35] * 3)
    assert found["above_grid"].to_list() == [pd.NA, True, False, False, pd.NA]
    assert list(found.columns) == ["algorithm", "k", "value", "value_share", "value_error", "above_grid"]
    # If the features say nothing about the revenue, there is no share of what can be reached.
    assert with_value(candidates, tested, -0.1)["value_share"].isna().all()


def test_the_yardstick_finds_what_the_features_say_and_nothing_where_they_say_nothing():
    rng = np.random.default_rng(1)
    customers = pd.DataFrame({name: rng.normal(size=3000) for name in ("recency_days", "frequency", "monetary")})
    explained = np.expm1(np.maximum(2 * customers["recency_days"] + 5, 0))
    noise = np.expm1(rng.normal(5, 1, 3000))

    # A smooth function is reached but for the steps of the trees; noise is not reached at all.
    assert reachable_share(customers.assign(revenue=explained), 7) > 0.97
    assert reachable_share(customers.assign(revenue=noise), 7) < 0.02
    assert reachable_share(customers.assign(revenue=0.0), 7) == 0.0
    assert reachable_share(customers.assign(revenue=explained), 7) == reachable_share(
        customers.assign(revenue=explained), 7
    )


def test_the_window_that_chooses_ends_where_the_reported_one_begins(tmp_path):
    warehouse, chosen = warehouse_of(tmp_path, shop_lines()), settings("value.bootstraps=20")

    rows = build_value_test(warehouse, chosen, NIGHT)

    assert rows[CHOICE_WINDOW]["cutoff"].to_list() == [CUTOFF - datetime.timedelta(days=90)]
    expected = tables_of(warehouse, "value.bootstraps=20", as_of=CUTOFF)
    pd.testing.assert_frame_equal(rows[CHOICE_WINDOW], expected[0])
    pd.testing.assert_frame_equal(rows[CHOICE_TEST], expected[1])
    for table in rows:
        assert [outcome for outcome in evaluate(warehouse, table, settings(), NIGHT) if not outcome.passed] == []


def test_with_one_window_of_history_nothing_else_chooses(tmp_path):
    recent = [line for line in shop_lines() if line[2] > "2023-12-01"]

    rows = build_value_test(warehouse_of(tmp_path, recent), settings("value.bootstraps=20", *SMALL), NIGHT)

    assert len(rows[VALUE_TEST]) > 0
    assert (len(rows[CHOICE_TEST]), rows[CHOICE_WINDOW]["untested_because"].iloc[0][:27]) == (
        0,
        "The history is too short: a",
    )


def as_they_are(labels, revenue):
    revenue = np.asarray(revenue, dtype=float)
    groups = np.arange(len(revenue))
    found = figures(
        np.asarray(labels, dtype=np.int16), terms_of(revenue), groups, bootstrap_weights(len(revenue), 0, 0)
    )
    return tuple(float(values[0]) for values in found)


def test_figures_of_a_few_customers_can_be_counted():
    # Two of ten customers bring 90 of 100: the first segment is the first 20 %.
    explained, gini, lift = as_they_are([0] * 2 + [1] * 8, [45.0] * 2 + [1.25] * 8)

    assert explained == pytest.approx(1.0)
    assert lift == pytest.approx(0.9 / 0.2)
    # Corners (0, 0), (.2, .9), (1, 1): area .09 + .76.
    assert gini == pytest.approx(2 * 0.85 - 1)


def test_the_border_of_the_first_fifth_may_lie_within_a_segment():
    lift = as_they_are([0] * 1 + [1] * 9, [10.0] + [10.0] * 9)[2]
    assert lift == pytest.approx(1.0)
    # One customer with half of the revenue, and a ninth of the next segment's half.
    assert as_they_are([0] + [1] * 9, [90.0] + [10.0] * 9)[2] == pytest.approx((0.5 + 0.5 / 9) / 0.2)


def test_targeting_the_worst_first_has_a_gini_below_zero_and_one_segment_none():
    assert as_they_are([1] * 2 + [0] * 8, [45.0] * 2 + [1.25] * 8)[1] < 0
    assert as_they_are([0] * 10, range(10)) == pytest.approx((0.0, 0.0, 1.0))


def test_each_customer_a_segment_in_the_best_order_reaches_the_best_gini():
    revenue = np.array([0.0, 3.0, 1.0, 9.0, 0.0, -2.0])

    labels = np.argsort(np.argsort(-revenue, kind="stable"))

    assert as_they_are(labels, revenue)[1] == pytest.approx(best_gini(revenue))


def test_segments_are_in_the_order_of_spend_known_at_the_cutoff_and_an_empty_cluster_is_dropped():
    labels = renumber_by_spend(np.array([0, 0, 3, 3, 1]), np.array([1.0, 2.0, 50.0, 70.0, 10.0]))

    assert labels.tolist() == [2, 2, 0, 0, 1]


def test_each_segment_shows_who_was_in_it_and_what_they_did():
    customers = pd.DataFrame(
        {
            "recency_days": [1, 5, 30, 60],
            "frequency": [9, 4, 1, 1],
            "monetary": [90.0, 50.0, 3.0, 1.0],
            "orders": [3, 0, 1, 0],
            "revenue": [60.0, 0.0, 5.0, -1.0],
        }
    )

    found = value_by_segment([Segmentation("kmeans", 3, np.array([0, 0, 1, 0], dtype=np.int16))], customers)

    expected = pd.DataFrame(
        {
            "algorithm": "kmeans",
            "k": 3,
            "segment": [1, 2],
            "customers": [3, 1],
            "median_recency_days": [5.0, 30.0],
            "median_frequency": [4.0, 1.0],
            "median_monetary": [50.0, 3.0],
            "repurchase_rate": [1 / 3, 1.0],
            "orders": [3, 1],
            "revenue": [59.0, 5.0],
            "revenue_per_customer": [59 / 3, 5.0],
        }
    )
    pd.testing.assert_frame_equal(found, expected, check_dtype=False)


def plainly(labels, revenue):
    """Explained share, Gini and lift, customer by customer; labels are in the order of targeting."""
    log_revenue = pd.Series(np.log1p(np.maximum(revenue, 0)))
    explained = r2_score(log_revenue, log_revenue.groupby(labels).transform("mean"))
    # Within a segment every customer stands for its mean, so the curve is straight there.
    reached = pd.Series(revenue).groupby(labels).transform("mean").iloc[np.argsort(labels, kind="stable")].cumsum()
    x = np.linspace(0, 1, len(labels) + 1)
    y = np.concatenate([[0], reached]) / reached.iloc[-1]
    return explained, 2 * np.trapezoid(y, x) - 1, np.interp(0.2, x, y) / 0.2


def test_random_segments_explain_and_reach_what_chance_does():
    rng = np.random.default_rng(5)
    revenue = rng.gamma(0.3, 50.0, 5000)
    groups = bootstrap_groups(len(revenue), seed=1)

    found = np.array(figures_of_chance(10, terms_of(revenue), groups, bootstrap_weights(500, 400, seed=1), seed=1))

    explained, gini, lift = found.mean(axis=1)
    # (k - 1) / (n - 1) of the variance each time, once from dealing and once from drawing.
    assert explained == pytest.approx(2 * 9 / 4999, rel=0.1)
    assert gini == pytest.approx(0, abs=0.01)
    assert lift == pytest.approx(1, abs=0.01)
    labels = random_segments(500, 10)[groups]
    assert found[:, 0] == pytest.approx(as_they_are(labels, revenue))


@pytest.mark.parametrize("customers", [300, 20_000])
def test_intervals_are_those_of_drawing_customers_one_by_one(customers):
    rng = np.random.default_rng(3)
    labels = rng.integers(0, 5, customers).astype(np.int16)
    revenue = rng.gamma(1.0, 50.0, customers) * (5 - labels) * (rng.random(customers) < 0.5)
    groups = bootstrap_groups(customers, seed=1)

    by_groups = np.array(figures(labels, terms_of(revenue), groups, bootstrap_weights(groups.max() + 1, 800, seed=2)))
    draws = [rng.integers(0, customers, customers) for _ in range(400)]
    one_by_one = np.array([plainly(labels[draw], revenue[draw]) for draw in draws]).T

    assert by_groups[:, 0] == pytest.approx(plainly(labels, revenue))
    assert by_groups[:, 1:].std(axis=1) == pytest.approx(one_by_one.std(axis=1), rel=0.15)
    assert by_groups[:, 1:].mean(axis=1) == pytest.approx(
        one_by_one.mean(axis=1), abs=0.2 * one_by_one.std(axis=1).max()
    )


def recomputed(purchases, cutoff, night):
    """Grid and KMeans labels by spend and the revenue that followed, from (customer, order, day, amount) in pandas."""
    history, window = purchases[purchases["day"] < cutoff], purchases[purchases["day"].between(cutoff, night, "left")]
    known = history.groupby("customer").agg(last=("day", "max"), f=("order", "nunique"), m=("amount", "sum"))
    known["r"] = (cutoff - known["last"]).dt.days
    revenue = window.groupby("customer")["amount"].sum().reindex(known.index, fill_value=0.0)
    fifths = {name: np.quantile(known[name], [0.2, 0.4, 0.6, 0.8], method="inverted_cdf") for name in ("r", "f")}
    r = 5 - (known["r"].to_numpy()[:, None] > fifths["r"]).sum(axis=1)
    f = 1 + (known["f"].to_numpy()[:, None] > fifths["f"]).sum(axis=1)
    grid = np.select(
        [(r == 5) & (f >= 4), (r >= 3) & (f >= 4), (r >= 4) & (f >= 2), r == 5, r == 4, (r == 3) & (f == 3), r == 3,
         f == 5, f >= 3], range(9), 9,
    )  # fmt: skip
    matrix = StandardScaler().fit_transform(np.log1p(known[["r", "f", "m"]].to_numpy(dtype=float)))
    kmeans = KMeans(5, n_init=10, random_state=0).fit_predict(np.clip(matrix, -3, 3))

    def ranked(labels):
        spend = known["m"].groupby(labels).mean().rank(ascending=False) - 1
        return spend.loc[labels].to_numpy().astype(int)

    return {("rfm_grid", len(set(grid))): ranked(grid), ("kmeans", 5): ranked(kmeans)}, revenue.to_numpy()


def online_retail():
    files = sorted(real_data("online_retail").glob("*.csv"))
    lines = pd.concat(
        pd.read_csv(
            file, usecols=["InvoiceNo", "InvoiceDate", "Quantity", "UnitPrice", "CustomerID"], dtype={"InvoiceNo": str}
        )
        for file in files
    )
    lines = lines.query("CustomerID.notna() and Quantity > 0 and UnitPrice > 0")
    days = pd.to_datetime(lines["InvoiceDate"]).dt.normalize()
    return pd.DataFrame({"customer": lines["CustomerID"], "order": lines["InvoiceNo"], "day": days}).assign(
        amount=lines["Quantity"] * lines["UnitPrice"]
    )


def cdnow():
    names = ["customer", "order", "units", "amount"]
    lines = pd.read_csv(real_data("cdnow") / "CDNOW_master.txt", sep=r"\s+", header=0, names=names)
    return lines.assign(day=pd.to_datetime(lines["order"].astype(str)))


AS_PUBLISHED = ("source.preset=online_retail", "returns=drop", "duplicates=keep")


@pytest.mark.parametrize(
    ("folder", "purchases", "night", "overrides", "tolerance"),
    [
        # The fit is on the very rows, from other starts.
        ("online_retail", online_retail, "2011-12-10", AS_PUBLISHED, 0.005),
        # The fit is on 6,000 cells of 23,570 customers.
        ("cdnow/CDNOW_master.txt", cdnow, "1998-07-01", ("source.preset=cdnow",), 0.01),
    ],
)
def test_figures_and_intervals_of_real_orders_equal_a_few_lines_of_pandas(
    clean_source, tmp_path, folder, purchases, night, overrides, tolerance
):
    orders = purchases()
    clean_source(real_data("online_retail").parent / folder, settings=overrides)
    warehouse = Warehouse(database=str(tmp_path / "warehouse" / "0.duckdb"))
    window, test, by_segment = tables_of(
        warehouse, *overrides, "models.algorithms=kmeans", "selection.k_min=5", "selection.k_max=5",
        "value.bootstraps=1000",
        as_of=datetime.date.fromisoformat(night),
    )  # fmt: skip

    cutoff = pd.Timestamp(night) - pd.Timedelta(days=90)
    segmentations, revenue = recomputed(orders, cutoff, pd.Timestamp(night))
    assert window.loc[0, ["customers", "revenue", "repurchase_rate"]].to_list() == pytest.approx(
        [len(revenue), revenue.sum(), (revenue > 0).mean()], abs=0.001 if folder == "online_retail" else 0.002
    )
    rng = np.random.default_rng(0)
    draws = [rng.integers(0, len(revenue), len(revenue)) for _ in range(200)]
    for (algorithm, k), labels in segmentations.items():
        found = test.set_index(["algorithm", "k"]).loc[(algorithm, k)]
        exactly = 1e-9 if algorithm == "rfm_grid" else tolerance
        drawn = np.array([plainly(labels[draw], revenue[draw]) for draw in draws])
        for name, value, low, high in zip(
            ("explained_share", "gini", "lift"),
            plainly(labels, revenue),
            *np.quantile(drawn, [0.025, 0.975], axis=0),
            strict=True,
        ):
            assert found[name] == pytest.approx(value, abs=exactly, rel=exactly)
            assert [found[f"{name}_low"], found[f"{name}_high"]] == pytest.approx(
                [low, high], abs=0.2 * (high - low) + exactly
            )
        segments = by_segment.query(f"algorithm == '{algorithm}'")
        if algorithm == "rfm_grid":
            assert segments["customers"].to_list() == np.bincount(labels).tolist()
            assert segments["revenue"].to_list() == pytest.approx(np.bincount(labels, revenue).tolist(), abs=0.001)
