"""Fixtures that several test modules share: a few lines in, the whole small tables out."""

import csv
import os
import signal
import subprocess
from contextlib import ExitStack
from dataclasses import dataclass
from itertools import count

import pytest

from seg_pipeline.preloading import without_collections
from seg_pipeline.prepared.cleaning import clean
from seg_pipeline.raw.ingestion import ingest
from seg_pipeline.settings import load_settings
from seg_pipeline.warehouse import Connection, Warehouse
from seg_pipeline_tests.whole_runs import (
    made_once,
    online_retail_night,
    online_retail_run,
    run_once,
    run_pipeline_fixture,
    scored_nights,
    shop,
    shop_run,
    week_after,
)

# A shell without job control starts what is to run in the background with Ctrl-C ignored, and so would be all that the
# tests start.
signal.signal(signal.SIGINT, signal.default_int_handler)

__all__ = [
    "made_once",
    "online_retail_night",
    "online_retail_run",
    "run_once",
    "run_pipeline_fixture",
    "scored_nights",
    "shop",
    "shop_run",
    "week_after",
]  # fmt: skip


@pytest.hookimpl(wrapper=True)
def pytest_collection():
    """Imports the tests without garbage collections, and spares later ones what the modules define."""
    with without_collections():
        return (yield)


def pytest_itemcollected(item):
    """Marks a test that makes or reads a whole run, and keeps the others of a module together in one worker.

    So what a module's quick tests share is made once, while whole runs go to whichever worker is free.
    """
    if "run_pipeline" in item.fixturenames:
        item.add_marker("whole_run")
    if item.get_closest_marker("whole_run") is None and item.get_closest_marker("xdist_group") is None:
        item.add_marker(pytest.mark.xdist_group(item.path.stem.removeprefix("test_")))


@dataclass(frozen=True)
class Cleaned:
    """What a source became."""

    connection: Connection

    def rows(self, columns, table="clean_orders"):
        """Rows of a prepared table in delivered order; a single column as plain values."""
        schema = "raw" if table == "raw_orders" else "prepared"
        rows = self.connection.execute(
            f"SELECT {columns} FROM {schema}.{table} ORDER BY source_file, source_row"
        ).fetchall()
        return [row[0] for row in rows] if rows and len(rows[0]) == 1 else rows

    def raw(self, columns):
        return self.rows(columns, "raw_orders")

    def rejected(self, columns="source_row, reason"):
        return self.rows(columns, "rejected_orders")


@pytest.fixture
def load_orders(tmp_path):
    """A function: loads sources into raw_orders of a warehouse in a temporary folder."""
    opened = ExitStack()
    files = count()

    def load_source(*paths, settings=()):
        given = load_settings([*(f"source.path={path}" for path in paths[:1]), *settings], environment={})
        if len(paths) > 1:
            given = given.model_copy(
                update={"source": given.source.model_copy(update={"path": tuple(map(str, paths))})}
            )
        warehouse = Warehouse(database=str(tmp_path / "warehouse" / f"{next(files)}.duckdb"))
        connection = opened.enter_context(warehouse.get_connection())
        ingest(connection, given.source)
        return Cleaned(connection), given

    with opened:
        yield load_source


@pytest.fixture
def clean_source(load_orders):
    """A function: loads and cleans sources, and gives the tables back."""

    def clean_paths(*paths, settings=()):
        cleaned, given = load_orders(*paths, settings=settings)
        clean(cleaned.connection, given)
        return cleaned

    return clean_paths


@pytest.fixture
def clean_lines(clean_source, tmp_path):
    """A function: cleans lines given under a header of raw_orders' own names, the parts of both between blanks."""

    def clean_given(header, *lines, settings=()):
        file = tmp_path / "orders.csv"
        write_csv(file, header.split(), *(line.split() if isinstance(line, str) else line for line in lines))
        return clean_source(file, settings=settings)

    return clean_given


def write_csv(file, header, *rows):
    """A file as the csv module writes it; `-` stands for an empty value."""
    with file.open("w", newline="", encoding="utf-8") as out:
        writer = csv.writer(out)
        writer.writerow(header)
        writer.writerows([["" if value == "-" else value for value in row] for row in rows])
    return file


@pytest.fixture(scope="session")
def postgres():
    """A real server, started for the tests of the session that need one."""
    from seg_pipeline_tests.postgres import postgres_server

    with postgres_server() as server:
        yield server


@pytest.fixture
def held():
    """Keeps warehouses open, as a run does, until the test ends or closes it: opening one takes 20 ms."""
    with ExitStack() as warehouses:
        yield warehouses


@pytest.fixture
def empty_warehouse(tmp_path):
    return Warehouse(database=str(tmp_path / "warehouse.duckdb"), wait_seconds=0)


@pytest.fixture(scope="module")
def browser():
    """Chromium, for one module: while it is there no other event loop can run."""
    from seg_pipeline_tests import ui

    if ui.chromium() is None:
        reason = "no Chromium: `apt-get install chromium` brings it"
        if os.environ.get("CI") == "true":
            pytest.fail(reason)
        pytest.skip(reason)
    with ui.browser() as started:
        yield started


@pytest.fixture
def small_disk(tmp_path):
    """A folder on a separate file system of 12 MB."""
    folder = tmp_path / "small"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=12m", "tmpfs", folder]
    if subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("only root can mount a small disk")
    yield folder
    subprocess.run(["umount", "--lazy", folder], check=True)
