"""Fixtures of whole runs, each made once per session: the tests that look at one run share it."""

import datetime
import shutil
from dataclasses import dataclass
from pathlib import Path

import demo_shop
import pytest

from seg_pipeline.cli import main
from seg_pipeline.publishing.sets import TIMINGS
from seg_pipeline.warehouse import Warehouse

SHARED_DATA = Path(__file__).parents[2] / "shared" / "data"
DEMO_UNTIL = datetime.date(2026, 3, 1)


@dataclass(frozen=True, slots=True)
class Run:
    """A finished `seg-pipeline run`: its exit status, warehouse and published folder."""

    status: int
    warehouse: Warehouse
    output: Path


def real_data(name):
    """A folder of real orders, which the project does not ship."""
    if not SHARED_DATA.exists():
        pytest.skip(f"needs the real orders of {name}, which are not part of the project")
    return SHARED_DATA / name


def run_pipeline(folder, source, *options, bootstraps=3):
    """`seg-pipeline run` with its warehouse and output in `folder`; few bootstraps, which take most of the time."""
    warehouse, output = folder / "warehouse.duckdb", folder / "published"
    status = main(
        [
            *("run", "--source", str(source), "--warehouse", str(warehouse), "--output", str(output)),
            *("--set", f"models.bootstraps={bootstraps}", "--set", "models.gap_references=2", *map(str, options)),
        ]
    )
    return Run(status, Warehouse(database=str(warehouse)), output)


def published_bytes(run):
    """The published files by name, but for the timings, which are never the same twice."""
    return {file.name: file.read_bytes() for file in (run.output / "latest").iterdir() if file.name != TIMINGS}


@pytest.fixture(scope="session")
def online_retail_run(tmp_path_factory):
    """Online Retail with the default settings."""
    source = real_data("online_retail")
    return run_pipeline(tmp_path_factory.mktemp("online_retail"), source, "--preset", "online_retail")


@pytest.fixture(scope="session")
def online_retail_night(online_retail_run):
    return online_retail_run.warehouse, datetime.date(2011, 12, 10)


@pytest.fixture(scope="session")
def shop(tmp_path_factory):
    """Half a year of the demo shop, as files."""
    folder = tmp_path_factory.mktemp("shop")
    demo_shop.main(["--out", str(folder), "--until", DEMO_UNTIL.isoformat(), "--since", "2025-09-01"])
    return folder


@pytest.fixture(scope="session")
def shop_run(shop, tmp_path_factory):
    """That shop with the default settings."""
    return run_pipeline(tmp_path_factory.mktemp("shop_run"), shop)


@pytest.fixture(scope="session")
def week_after(shop, shop_run, tmp_path_factory):
    """That shop eight days later, without an order since: its customers can be compared with those of a week ago."""
    folder = tmp_path_factory.mktemp("week_after")
    shutil.copy(shop_run.warehouse.database, folder / "warehouse.duckdb")
    later = DEMO_UNTIL + datetime.timedelta(days=9)
    return run_pipeline(folder, shop, "--as-of", later.isoformat())
