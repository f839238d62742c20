"""Whole runs: with Spark every table and every published file is what it is with DuckDB."""

import json
import subprocess
import sys
import time
from contextlib import contextmanager

import pytest
from pandas.testing import assert_frame_equal

from seg_pipeline_tests.spark.conftest import (
    QUICK,
    SPARK,
    assert_same_tables,
    rows_by_delta,
    run_with,
    tables,
    warehouse,
)
from seg_pipeline_tests.whole_runs import published_bytes, real_data


@contextmanager
def started_run(folder, source, *settings):
    """A run in a process of its own, with Spark."""
    command = [sys.executable, "-m", "seg_pipeline.cli", "run", "--source", source, "--warehouse"]
    command += [folder / "warehouse.duckdb", "--output", folder / "published", *QUICK]
    for setting in ("models.bootstraps=2", "warehouse.engine=spark", *settings):
        command += ["--set", setting]
    run = subprocess.Popen([*map(str, command)], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    with run:
        try:
            yield run
        finally:
            run.kill()


def wait_until(said, run=None, seconds=120):
    deadline = time.monotonic() + seconds
    while not said():
        assert time.monotonic() < deadline
        assert run is None or run.poll() is None
        time.sleep(0.01)


def published(run):
    return {name: content for name, content in published_bytes(run).items() if name.endswith((".csv", ".html"))}


def source_of(shop, name):
    if name == "demo shop":
        return shop, ()
    if name == "cdnow":
        return real_data(name) / "CDNOW_master.txt", ("--preset", name)
    return real_data(name), ("--preset", name)


@pytest.mark.parametrize("name", ["demo shop", "cdnow", "online_retail"])
def test_every_table_of_a_run_is_that_of_duckdb(tmp_path, shop, name):
    source, options = source_of(shop, name)

    runs = {engine: run_with(engine, tmp_path / engine, source, *options) for engine in ("duckdb", "spark")}

    assert [run.status for run in runs.values()] == [0, 0]
    by_duckdb, by_spark = (tables(tmp_path / engine, engine) for engine in runs)
    assert len(by_duckdb["segments.segment_assignments"]) > 1000
    assert_same_tables(by_spark, by_duckdb)
    assert published(runs["spark"]) == published(runs["duckdb"])


def test_a_killed_run_leaves_the_old_tables_and_the_next_one_makes_the_new(tmp_path, small_shop, small_shop_tables):
    delivered, folder, delta = tmp_path / "delivered", tmp_path / "spark", "spark.format=delta"
    delivered.mkdir()

    def deliver(month):
        for file in small_shop.glob(f"*{month}*"):
            (delivered / file.name).symlink_to(file)

    deliver("2026-01")
    assert run_with("spark", folder, delivered, "--set", delta).status == 0
    before = tables(folder, "spark")

    deliver("2026-02")
    with started_run(folder, delivered, *SPARK, delta) as killed:
        # The new lines are loaded, and are being cleaned.
        wait_until((folder / "warehouse.duckdb.spark" / "prepared.clean_orders" / "000002").exists, killed)
        killed.kill()
    left = tables(folder, "spark")

    assert len(left["raw.raw_orders"]) > len(before["raw.raw_orders"])
    made = [name for name in before if not name.startswith("raw.")]
    assert_same_tables({name: left[name] for name in made}, {name: before[name] for name in made})
    found = warehouse(folder, "spark")
    clean = rows_by_delta(found, "prepared.clean_orders")
    assert_frame_equal(clean, before["prepared.clean_orders"], check_exact=True)

    assert run_with("spark", folder, delivered, "--set", delta).status == 0
    after = tables(folder, "spark")
    for name in ("prepared.clean_orders", "prepared.rejected_orders"):
        kept = [column for column in after[name] if column != "source_file"]
        assert_frame_equal(after[name][kept], small_shop_tables[name][kept], check_exact=True)
    large = found.read(
        "SELECT schema_name || '.' || view_name AS name, comment FROM duckdb_views() WHERE comment IS NOT NULL"
    ).set_index("name")["comment"]
    there = (folder / "warehouse.duckdb.spark" / "prepared.clean_orders").glob("[0-9]*")
    named = json.loads(large["prepared.clean_orders"].split(": ", 1)[1])
    assert {f"prepared.clean_orders/{one.name}" for one in there} == set(named)
    assert len(large) == 7
    for name in large.index:
        assert_frame_equal(rows_by_delta(found, name), after[name], check_exact=True)


def test_a_takeover_moves_the_same_customers_for_the_same_reasons(tmp_path, small_shop):
    """The earlier night's customers are labelled with the new model, as they are with DuckDB."""
    for engine in ("duckdb", "spark"):
        for as_of, k in (("2026-02-15", 5), ("2026-02-22", 3)):
            given = ("--as-of", as_of, "--set", f"selection.k={k}", "--set", "champions.margin=-1")
            assert run_with(engine, tmp_path / engine, small_shop, *given).status == 0

    by_duckdb, by_spark = (tables(tmp_path / engine, engine) for engine in ("duckdb", "spark"))
    moves = by_duckdb["segments.segment_moves"]
    assert {"customer", "model", "new"} <= set(moves["moved_by"])
    for name in ("segments.segment_moves", "segments.segment_migration"):
        assert_frame_equal(by_spark[name], by_duckdb[name], check_exact=True, obj=name)
