"""Whole runs: on the demo shop, on real orders, and on orders that are broken."""

import csv
import datetime
import os
import signal
import subprocess
import sys
import time

import dagster as dg
import numpy as np
import pandas as pd
import pytest
from sklearn.cluster import AgglomerativeClustering, KMeans
from sklearn.metrics import adjusted_rand_score, silhouette_score
from sklearn.mixture import GaussianMixture
from sklearn.preprocessing import StandardScaler

from seg_pipeline.evaluation.tables import EVALUATION_REPORT
from seg_pipeline.features.tables import RFM_FEATURES
from seg_pipeline.models.algorithms.gaussian_mixture import MIN_VARIANCE
from seg_pipeline.models.store import read_coreset, read_model
from seg_pipeline.publishing.sets import TIMINGS
from seg_pipeline.segments.tables import SEGMENT_ASSIGNMENTS, SEGMENT_PROFILES
from seg_pipeline.usecases.execution import Progress
from seg_pipeline_tests.test_interrupts import Interrupting
from seg_pipeline_tests.whole_runs import DEMO_UNTIL, published_bytes, real_data

# One algorithm and few clusters, for a run whose models nobody looks at.
FEW = ("--set", "models.algorithms=kmeans", "--set", "models.k_max=4")
DAY_AFTER = DEMO_UNTIL + datetime.timedelta(days=1)
RAW = {"raw.raw_orders", "raw.deliveries", "raw.erased_customers"}
ALL_TABLES = (
    *RAW, "prepared.clean_orders", "prepared.rejected_orders", "features.rfm_features",
    "features.feature_transforms", "models.coreset", "models.kmeans_candidates", "models.hierarchical_candidates",
    "models.gaussian_mixture_candidates", "models.rfm_grid_candidates", "evaluation.evaluation_report",
    "evaluation.choice_sensitivity",
    "segments.segment_assignments", "segments.segment_profiles", "segments.segment_strategies",
)  # fmt: skip


def built(run):
    """The tables that a run left."""
    found = run.warehouse.read(
        "SELECT schema_name || '.' || table_name AS name FROM duckdb_tables() WHERE NOT temporary"
    )
    return set(found["name"])


def published_data(run):
    """The bytes of every published file. DuckDB writes some of its own that differ; the manifest has its content."""
    return published_bytes(run) | {"segments.duckdb": b"a database"}


def test_a_run_of_the_demo_shop_builds_every_table_and_gives_every_customer_one_segment(shop_run):
    assert shop_run.status == 0
    assert built(shop_run) >= set(ALL_TABLES)
    counts = shop_run.warehouse.read(
        "SELECT (SELECT count(*) FROM raw.raw_orders) AS raw, (SELECT count(*) FROM prepared.clean_orders) AS clean,"
        " (SELECT count(*) FROM prepared.rejected_orders) AS rejected"
    ).iloc[0]
    assert counts["raw"] == counts["clean"] + counts["rejected"]
    assigned = shop_run.warehouse.night(SEGMENT_ASSIGNMENTS, DAY_AFTER)
    known = shop_run.warehouse.read("SELECT DISTINCT customer_id FROM prepared.clean_orders")
    assert sorted(assigned["customer_id"]) == sorted(known["customer_id"])
    assert assigned["confidence"].between(0, 1).all()


def test_the_published_files_hold_the_tables_and_the_report_names_every_segment(shop_run):
    folder = shop_run.output / "latest"
    assigned = shop_run.warehouse.night(SEGMENT_ASSIGNMENTS, DAY_AFTER)
    profiles = shop_run.warehouse.night(SEGMENT_PROFILES, DAY_AFTER)

    from_csv = pd.read_csv(folder / "segment_assignments.csv", dtype={"customer_id": str})
    from_parquet = shop_run.warehouse.read(
        "FROM read_parquet($file)", {"file": str(folder / "segment_assignments.parquet")}
    )

    columns = ["customer_id", "segment_id", "segment_name", "confidence", "model_id"]
    pd.testing.assert_frame_equal(from_csv[columns], assigned[columns], check_dtype=False)
    pd.testing.assert_frame_equal(from_parquet[columns], assigned[columns], check_dtype=False)
    report = (folder / "report.html").read_text(encoding="utf-8")
    assert all(name.replace("'", "&#39;") in report for name in profiles["segment_name"])


def test_the_timings_beside_the_report_name_each_step_from_loading_on_in_the_order_they_began(shop_run):
    timings = pd.read_csv(shop_run.output / "latest" / TIMINGS, parse_dates=["began_at"])

    assert timings["step"].iloc[0] == "delivered_orders"
    assert {"prepared_orders", "models__kmeans_candidates", "labelled_customers"} <= set(timings["step"])
    assert timings["step"].is_unique
    assert timings["began_at"].is_monotonic_increasing
    assert (timings["seconds"] > 0).all()


def test_the_same_command_twice_gives_the_same_bytes(run_pipeline, shop, shop_run, tmp_path):
    again = run_pipeline(tmp_path, shop, "--set", "warehouse.threads=1", pictures=True)

    assert published_data(again) == published_data(shop_run)


def test_an_earlier_night_gives_that_nights_numbers_and_moves_nothing_published(run_pipeline, shop, shop_run, tmp_path):
    early = datetime.date(2025, 12, 1)
    before = published_data(shop_run.copied(tmp_path))
    run = run_pipeline(tmp_path, shop, "--as-of", early)

    assert run.status == 0
    assert published_data(run) == before
    features = run.warehouse.night(RFM_FEATURES, early)
    assert features["last_order_on"].max() < pd.Timestamp(early)
    assert features["recency_days"].min() >= 1
    assert len(run.warehouse.night(SEGMENT_ASSIGNMENTS, early)) == len(features)
    assert run.warehouse.value("SELECT count(DISTINCT as_of) FROM segments.segment_assignments") == 2


def test_a_forced_choice_is_made(run_pipeline, shop, tmp_path):
    run = run_pipeline(
        tmp_path, shop,
        "--set", "models.k_max=5", "--set", "selection.algorithm=hierarchical", "--set", "selection.k=4",
    )  # fmt: skip

    chosen = run.warehouse.night(EVALUATION_REPORT, DAY_AFTER, where="chosen").iloc[0]
    assert (chosen["algorithm"], chosen["k"]) == ("hierarchical", 4)
    assert set(run.warehouse.night(SEGMENT_ASSIGNMENTS, DAY_AFTER)["segment_id"]) - {0} == {1, 2, 3, 4}


def test_without_an_eligible_model_the_grid_is_used_with_a_warning(run_pipeline, shop, tmp_path, capsys):
    run = run_pipeline(tmp_path, shop, "--set", "models.k_max=5", "--set", "selection.largest_share=0.1")

    assert run.status == 0
    assert "a_fitted_model_chosen" in capsys.readouterr().err
    features = run.warehouse.night(RFM_FEATURES, DAY_AFTER)
    assigned = run.warehouse.night(SEGMENT_ASSIGNMENTS, DAY_AFTER)
    # A segment for each part of the grid, under a name that its customers deserve.
    pairs = set(zip(assigned["segment_id"], features["rfm_segment"], strict=True))
    assert len(pairs) == assigned["segment_id"].nunique() == features["rfm_segment"].nunique()


def test_more_features_than_three_are_a_setting(run_pipeline, shop, tmp_path):
    run = run_pipeline(
        tmp_path, shop,
        "--set", "features.columns=recency_days,frequency,monetary,days_between_orders,return_rate",
        "--set", "features.transform=yeo-johnson", "--set", "features.scaling=robust",
        "--set", "features.weights.return_rate=0.5", "--set", "models.k_max=5",
    )  # fmt: skip

    assert run.status == 0
    coreset = read_coreset(run.warehouse, DAY_AFTER)
    assert coreset.points.shape[1] == 5


def orders_file(path, lines):
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["order_id", "customer_id", "order_date", "product_id", "quantity", "unit_price"])
        writer.writerows(lines)
    return path


def some_orders(days=40):
    return [
        (f"o{n}", f"c{n % 17}", f"2024-01-{n % 28 + 1:02}", "p", n % 5 + 1, f"{n % 7 + 1}.50") for n in range(days * 10)
    ]


@pytest.fixture
def failing_run(run_pipeline, tmp_path, capsys):
    """A function: status, the one line on stderr, and the tables built, of a run that fails."""

    def run_of(lines, *options):
        run = run_pipeline(tmp_path, orders_file(tmp_path / "orders.csv", lines), *options)
        lines_said = [line for line in capsys.readouterr().err.splitlines() if not line.startswith("warning")]
        assert len(lines_said) == 1
        assert not (run.output / "latest").exists()
        return run.status, lines_said[0], built(run)

    return run_of


def test_one_mistyped_year_stops_the_run_before_features(failing_run):
    status, line, tables = failing_run([*some_orders(), ("x", "c1", "2099-01-01", "p", 1, "1.00")])

    assert status == 1
    assert "critical check failed: prepared.clean_orders: no_order_day_far_ahead" in line
    assert "2099" in line
    assert tables == {*RAW, "prepared.clean_orders", "prepared.rejected_orders", "prepared.cleaned_files"}


def test_orders_without_any_customer_stop_the_run_before_cleaning(failing_run):
    status, line, tables = failing_run([(o, "", *rest) for o, _, *rest in some_orders()])

    assert status == 1
    assert "raw.raw_orders: customers_named" in line
    assert tables == RAW


def test_returns_alone_stop_the_run_before_models(failing_run):
    status, line, tables = failing_run([(o, c, d, p, -q, u) for o, c, d, p, q, u in some_orders()])

    assert status == 1
    assert "features.rfm_features: some_buyers" in line
    assert "models.coreset" not in tables


def test_a_night_before_the_first_order_is_refused(failing_run):
    status, line, _ = failing_run(some_orders(), "--as-of", "2024-01-01")

    assert status == 1
    assert line == "seg-pipeline: no orders before 2024-01-01: the first clean one is on 2024-01-01"


def test_prices_that_cannot_be_read_name_the_reason_and_the_first_line(failing_run):
    status, line, tables = failing_run([(o, c, d, p, q, f"${u}") for o, c, d, p, q, u in some_orders()])

    assert status == 1
    assert "rejected_share_bearable" in line
    assert "reason unparseable_price, lines 400, first_line" in line
    assert "orders.csv row 1: 2024-01-01, 1, $1.50" in line
    assert "features.rfm_features" not in tables


def at(monkeypatch, moment):
    """Sets the clock that nights go by: the package's, and Dagster's for its partitions."""
    monkeypatch.setattr("seg_pipeline.nights.today", moment.date)
    monkeypatch.setattr("dagster._time._mockable_get_current_datetime", lambda: moment)
    monkeypatch.setattr("dagster._time._mockable_get_current_timestamp", moment.timestamp)


def test_a_clock_that_was_set_back_is_one_line_and_costs_nothing_once_it_is_right(
    run_pipeline, failing_run, tmp_path, monkeypatch
):
    with monkeypatch.context() as wrong:
        at(wrong, datetime.datetime(2020, 1, 1, tzinfo=datetime.UTC))
        status, line, tables = failing_run(some_orders())
        assert status == 1
        assert ": the last order is dated 2024-" in line
        assert ", but nights go from 1990-01-01 to tomorrow (UTC);" in line
        assert "features.rfm_features" not in tables
        status, line, _ = failing_run(some_orders(), "--as-of", "2024-12-01")
        assert status == 2
        assert line.endswith("as_of: 2024-12-01 is no night: nights go from 1990-01-01 to tomorrow (UTC)")
    at(monkeypatch, datetime.datetime(2034, 1, 1, tzinfo=datetime.UTC))
    assert run_pipeline(tmp_path, tmp_path / "orders.csv", *FEW).status == 0


def test_a_night_that_does_not_exist_is_refused_before_anything_is_loaded(failing_run):
    status, line, tables = failing_run(some_orders(), "--as-of", "2199-01-01")

    assert (status, tables) == (2, set())
    assert line == "seg-pipeline: as_of: 2199-01-01 is no night: nights go from 1990-01-01 to tomorrow (UTC)"


def test_two_mistyped_years_are_named_with_their_row(failing_run):
    typos = [("x", "c1", "2099-01-01", "p", 1, "1.00"), ("y", "c2", "2099-02-01", "p", 1, "1.00")]

    status, line, _ = failing_run([*some_orders(), *typos])

    assert status == 1
    assert "orders.csv row 402: the last order is dated 2099-02-01" in line


@pytest.mark.whole_run
def test_two_runs_on_one_warehouse_never_mix_their_orders(tmp_path):
    source = orders_file(tmp_path / "orders.csv", some_orders())
    command = [
        sys.executable, "-m", "seg_pipeline.cli", "run", "--warehouse", str(tmp_path / "w.duckdb"),
        *FEW, "--set", "models.bootstraps=0", "--set", "models.gap_references=0",
    ]  # fmt: skip
    first = subprocess.Popen(
        [*command, "--source", str(source), "--output", str(tmp_path / "a")], stdout=subprocess.PIPE
    )
    with first:
        while not (tmp_path / "w.duckdb.lock").exists():
            assert first.poll() is None
            time.sleep(0.05)
        second = subprocess.run(
            [*command, "--source", str(source), "--output", str(tmp_path / "b"), "--set", "warehouse.wait_seconds=0"],
            capture_output=True, text=True, check=False,
        )  # fmt: skip
        first.communicate()

    assert first.returncode == 0
    assert second.returncode == 3
    assert (
        second.stderr.strip()
        == f"seg-pipeline: warehouse {tmp_path / 'w.duckdb'} is busy: process {first.pid} runs on it"
    )


def group_is_gone(group):
    """Whether every process of a group ends within a while."""
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        try:
            os.killpg(group, 0)
        except ProcessLookupError:
            return True
        time.sleep(0.1)
    return False


@pytest.mark.whole_run
@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
@pytest.mark.parametrize("receives", ["process", "group"])
def test_an_interrupted_run_says_so_in_one_line_and_leaves_no_process(tmp_path, number, status, receives):
    source = orders_file(tmp_path / "orders.csv", some_orders())
    run = subprocess.Popen(
        [sys.executable, "-m", "seg_pipeline.cli", "run", "--source", str(source),
         "--warehouse", str(tmp_path / "w.duckdb"),
         "--output", str(tmp_path / "out")],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True,
    )  # fmt: skip
    with run:
        # The first stage is done: Dagster is at work, and the processes of the pool have started.
        assert run.stdout.readline().startswith("raw")
        if receives == "group":
            os.killpg(run.pid, number)
        else:
            run.send_signal(number)
        _, said = run.communicate()

    assert said.strip() == "seg-pipeline: interrupted; the next run repairs what was unfinished"
    assert run.returncode == status
    assert group_is_gone(run.pid)


def interrupt_at(monkeypatch, event_type, step):
    """Makes a signal arrive at an event of a step, in a clean-up, where Python drops the exception of its handler."""
    report = Progress.on_event

    def interrupting(progress, event):
        report(progress, event)
        if event.event_type == event_type and event.step_key == step:
            Interrupting()

    monkeypatch.setattr(Progress, "on_event", interrupting)


@pytest.mark.parametrize("in_step", ["features__rfm_features", "models__coreset"])
def test_an_interrupt_that_was_dropped_ends_the_run_at_the_next_step(
    run_pipeline, tmp_path, monkeypatch, capsys, in_step
):
    interrupt_at(monkeypatch, dg.DagsterEventType.STEP_START, in_step)
    run = run_pipeline(tmp_path, orders_file(tmp_path / "orders.csv", some_orders()), *FEW)

    assert run.status == 130
    assert capsys.readouterr().err.splitlines()[-1:] == [
        "seg-pipeline: interrupted; the next run repairs what was unfinished"
    ]


def test_an_interrupt_after_the_night_was_published_is_too_late(run_pipeline, tmp_path, monkeypatch, capsys):
    interrupt_at(monkeypatch, dg.DagsterEventType.ASSET_MATERIALIZATION, "published_files")
    run = run_pipeline(tmp_path, orders_file(tmp_path / "orders.csv", some_orders()), *FEW)

    assert run.status == 0
    shown = capsys.readouterr()
    assert f"published: {tmp_path / 'published' / 'latest'}" in shown.out
    assert "interrupted" not in shown.err


@pytest.mark.parametrize("customers", [1, 2, 3, 9])
def test_a_handful_of_customers_still_gets_segments(run_pipeline, tmp_path, customers):
    lines = [(f"o{n}", f"c{n % customers}", f"2024-01-{n + 1:02}", "p", 1, n + 1) for n in range(20)]

    run = run_pipeline(tmp_path, orders_file(tmp_path / "orders.csv", lines), pictures=True)

    assert run.status == 0
    assert len(run.warehouse.night(SEGMENT_ASSIGNMENTS, datetime.date(2024, 1, 21))) == customers


def test_a_busy_warehouse_is_one_clear_line_and_status_3(run_pipeline, tmp_path, capsys):
    source = orders_file(tmp_path / "orders.csv", some_orders())
    # A process that has written nothing for a second would be left its file, and the run would go on with a copy.
    program = """if True:
        import duckdb, sys, time
        connection = duckdb.connect(sys.argv[1])
        connection.execute("CREATE TABLE numbers (number INTEGER)")
        print("open", flush=True)
        while True:
            connection.execute("INSERT INTO numbers VALUES (1)")
            time.sleep(0.05)"""
    command = [sys.executable, "-c", program, str(tmp_path / "warehouse.duckdb")]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as holder:
        holder.stdout.readline()
        run = run_pipeline(tmp_path, source, "--set", "warehouse.wait_seconds=0")
        holder.kill()

    assert run.status == 3
    assert f"is busy: process {holder.pid} has it open" in capsys.readouterr().err


@pytest.fixture(scope="module")
def online_retail_dropping_returns(run_once):
    return run_once(
        "published_figures", real_data("online_retail"), "--preset", "online_retail",
        "--set", "returns=drop", "--set", "duplicates=keep",
    )  # fmt: skip


ONLINE_RETAIL_NIGHT = datetime.date(2011, 12, 10)


def test_online_retail_gives_the_published_figures_to_the_last_digit(online_retail_dropping_returns):
    found = online_retail_dropping_returns.warehouse.read(
        "SELECT (SELECT count(*) FROM raw.raw_orders) AS raw, count(*) AS clean,"
        " count(DISTINCT customer_id) AS customers, count(DISTINCT order_id) AS orders,"
        " CAST(sum(amount) AS VARCHAR) AS revenue,"
        " (SELECT count(*) FROM segments.segment_assignments) AS assigned FROM prepared.clean_orders"
    ).iloc[0]

    assert found.to_dict() == {
        "raw": 541909,
        "clean": 397884,
        "customers": 4338,
        "orders": 18532,
        "revenue": "8911407.9040",
        "assigned": 4338,
    }


def test_models_of_online_retail_equal_scikit_learn_on_the_same_matrix(online_retail_dropping_returns):
    warehouse = online_retail_dropping_returns.warehouse
    features = warehouse.night(RFM_FEATURES, ONLINE_RETAIL_NIGHT)
    raw = features[["recency_days", "frequency", "monetary"]].to_numpy(dtype=float)
    matrix = np.clip(StandardScaler().fit_transform(np.log1p(raw)), -3, 3)
    coreset = read_coreset(warehouse, ONLINE_RETAIL_NIGHT)
    assert coreset.exact
    cell_of = {tuple(point): cell for cell, point in enumerate(np.round(coreset.points, 9))}
    cells = np.array([cell_of[tuple(row)] for row in np.round(matrix, 9)])
    report = warehouse.night(EVALUATION_REPORT, ONLINE_RETAIL_NIGHT).set_index(["algorithm", "k"])
    k = int(report.index[report["chosen"]][0][1])
    labels = {
        name: read_model(warehouse, name, k, ONLINE_RETAIL_NIGHT).cell_labels[cells]
        for name in ("kmeans", "hierarchical", "gaussian_mixture")
    }

    kmeans = KMeans(k, n_init=10, random_state=0).fit(matrix)
    assert report.loc[("kmeans", k), "inertia"] == pytest.approx(kmeans.inertia_, rel=0.001)
    assert adjusted_rand_score(labels["hierarchical"], AgglomerativeClustering(k).fit_predict(matrix)) == 1.0
    # The floor of the variance is not the same as scikit-learn's, which widens every component.
    mixture = GaussianMixture(k, n_init=5, random_state=0, tol=1e-5, max_iter=500, reg_covar=MIN_VARIANCE).fit(matrix)
    ours = read_model(warehouse, "gaussian_mixture", k, ONLINE_RETAIL_NIGHT).log_likelihood
    assert ours > mixture.score(matrix) - 0.01
    for name, found in labels.items():
        assert report.loc[(name, k), "silhouette"] == pytest.approx(silhouette_score(matrix, found), abs=1e-9)


def test_online_retail_with_default_settings_conserves_rows_and_customers(online_retail_run):
    found = online_retail_run.warehouse.read(
        "SELECT (SELECT count(*) FROM raw.raw_orders) AS raw, (SELECT count(*) FROM prepared.clean_orders) AS clean,"
        " (SELECT count(*) FROM prepared.rejected_orders) AS rejected,"
        " (SELECT count(*) FROM segments.segment_assignments) AS assigned"
    ).iloc[0]

    assert found["raw"] == found["clean"] + found["rejected"] == 541909
    assert found["assigned"] == 4371


def test_cdnow_runs_without_order_ids_prices_or_products(run_pipeline, tmp_path):
    run = run_pipeline(tmp_path, real_data("cdnow") / "CDNOW_master.txt", "--preset", "cdnow")

    assert run.status == 0
    assigned = run.warehouse.night(SEGMENT_ASSIGNMENTS, datetime.date(1998, 7, 1))
    assert len(assigned) == 23570
