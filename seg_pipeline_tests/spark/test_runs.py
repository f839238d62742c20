"""Whole runs: with Spark every table and every published file is what it is with DuckDB."""

import signal
import subprocess
import sys
import time

import pytest

from seg_pipeline.definitions import warehouse_of
from seg_pipeline.settings import load_settings
from seg_pipeline_tests.spark.conftest import SPARK, assert_same_tables, tables_of
from seg_pipeline_tests.whole_runs import real_data, run_pipeline

WITH_SPARK = [word for given in ("warehouse.engine=spark", *SPARK) for word in ("--set", given)]
QUICK = ("--set", "models.gap_references=0", "--set", "value.bootstraps=20")


def run_with(engine, folder, source, *options):
    folder.mkdir(exist_ok=True)
    spark = WITH_SPARK if engine == "spark" else ()
    return run_pipeline(folder, source, *QUICK, *spark, *options, bootstraps=2)


def tables(folder, engine):
    given = [f"warehouse.path={folder / 'warehouse.duckdb'}", f"warehouse.engine={engine}"]
    return tables_of(warehouse_of(load_settings(given, environment={})))


def published(run):
    texts = {file.name: file.read_bytes() for file in (run.output / "latest").glob("*.csv")}
    return texts | {"report.html": (run.output / "latest" / "report.html").read_bytes()}


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


def test_a_killed_run_leaves_the_old_tables_or_the_new_ones(tmp_path, shop):
    old, new, folder = tmp_path / "old", tmp_path / "new", tmp_path / "spark"
    for source, months in ((old, ("2025-09", "2025-10")), (new, ("2025-09", "2025-10", "2025-11"))):
        source.mkdir()
        for file in shop.iterdir():
            if any(month in file.name for month in months):
                (source / file.name).symlink_to(file)
    assert run_with("spark", folder, old).status == 0
    before = tables(folder, "spark")
    tables_folder = folder / "warehouse.duckdb.spark"
    command = [
        sys.executable,
        "-m",
        "seg_pipeline.cli",
        "run",
        "--source",
        old,
        "--warehouse",
        folder / "warehouse.duckdb",
    ]
    command += ["--output", folder / "published", *QUICK, "--set", "models.bootstraps=2", *WITH_SPARK]

    for file in new.iterdir():
        (old / file.name).exists() or (old / file.name).symlink_to(file)
    killed = subprocess.Popen([*map(str, command)], stdout=subprocess.DEVNULL)
    try:
        while not (tables_folder / "prepared.clean_orders" / "000002").exists():
            assert killed.poll() is None
            time.sleep(0.01)
    finally:
        killed.send_signal(signal.SIGKILL)
        killed.wait()
    left = tables(folder, "spark")
    for name in (
        "prepared.clean_orders",
        "prepared.rejected_orders",
        "prepared.cleaned_files",
        "features.rfm_features",
    ):
        assert left[name].equals(before[name])
    assert len(left["raw.raw_orders"]) > len(before["raw.raw_orders"])

    assert run_with("spark", folder, old).status == 0
    assert run_with("duckdb", tmp_path / "duckdb", old).status == 0
    after, expected = tables(folder, "spark"), tables(tmp_path / "duckdb", "duckdb")
    for name in ("raw.raw_orders", "prepared.clean_orders", "prepared.rejected_orders"):
        assert after[name].equals(expected[name])
    named = {one.name for one in (tables_folder / "prepared.clean_orders").iterdir()}
    assert "000002" not in named or len(named) > 1
