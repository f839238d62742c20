"""Whole runs beside analysts, readers and other runs, all of them processes; and runs on what the machine left."""

import subprocess
import sys

import pytest

from seg_pipeline.cli import main
from seg_pipeline.settings import load_settings
from seg_pipeline.usecases.explain import explain
from seg_pipeline.warehouse import GRACE_SECONDS
from seg_pipeline_tests.bench.concurrency import watch
from seg_pipeline_tests.conftest import write_csv
from seg_pipeline_tests.whole_runs import Run

SECONDS = 20
ANALYST = """
import sys, duckdb
with duckdb.connect(sys.argv[1], read_only=sys.argv[2] == "read") as connection:
    for _ in range(2):
        print(connection.execute("SELECT count(*) FROM features.rfm_features").fetchall(), flush=True)
        input()
"""
FEW = ("--set", "models.algorithms=kmeans", "--set", "models.k_max=4")


@pytest.fixture(scope="module")
def orders(made_once):
    """400 order lines of 40 customers."""
    lines = [(f"o{n}", f"c{n % 40}", f"2024-{n % 6 + 1:02}-{n % 28 + 1:02}", "p", 1, n % 17 + 1) for n in range(400)]
    header = ("order_id", "customer_id", "order_date", "product", "quantity", "unit_price")
    return made_once("orders", lambda folder: write_csv(folder / "orders.csv", header, *lines)) / "orders.csv"


@pytest.fixture(scope="module")
def run_night(run_pipeline, orders):
    """A function: runs the pipeline on these orders for a day of June."""

    def run_of(folder, day, *options):
        return run_pipeline(folder, orders, "--as-of", f"2024-06-{day:02}", *FEW, *options, bootstraps=0)

    return run_of


@pytest.fixture(scope="module")
def first_night(run_night, made_once):
    def make(folder):
        assert run_night(folder, 1).status == 0

    return Run.in_folder(made_once("first_night", make))


@pytest.fixture
def ran(first_night, tmp_path):
    """The warehouse of a first night, to do harm to."""
    return first_night.copied(tmp_path).warehouse


def warnings_of(capsys):
    return [line for line in capsys.readouterr().err.splitlines() if "warning: warehouse" in line]


@pytest.mark.whole_run
def test_readers_see_whole_nights_while_two_writers_run_in_turns(tmp_path):
    seen = watch(tmp_path, SECONDS, read_seconds=(GRACE_SECONDS + 2,))

    assert seen.errors == {}
    assert seen.torn == 0
    assert seen.runs.keys() == {0}
    assert seen.runs[0] >= 2
    assert seen.published_reads > 0
    assert seen.warehouse_reads + seen.busy > 0


@pytest.mark.parametrize(("mode", "keeps"), [("read", "the file as it is now"), ("write", "it as {}.1")])
def test_a_run_beside_an_analyst_warns_and_neither_disturbs_the_other(ran, run_night, tmp_path, capsys, mode, keeps):
    warehouse = ran.database
    capsys.readouterr()
    analyst = subprocess.Popen(
        [sys.executable, "-c", ANALYST, warehouse, mode], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    with analyst:
        assert analyst.stdout.readline() == "[(40,)]\n"
        status = run_night(tmp_path, 2, "--set", "warehouse.wait_seconds=3").status
        analyst.stdin.write("\n")
        analyst.stdin.flush()
        assert analyst.stdout.readline() == "[(40,)]\n"
        analyst.stdin.write("\n")

    assert (status, analyst.returncode) == (0, 0)
    assert warnings_of(capsys) == [
        f"warning: warehouse {warehouse}: process {analyst.pid} has it open to {mode}, and keeps"
        f" {keeps.format(warehouse)}; the run goes on with a copy in its place"
    ]
    assert ran.value("SELECT count(DISTINCT as_of) FROM features.rfm_features") == 2


def test_a_customer_is_explained_beside_an_analyst(ran):
    analyst = subprocess.Popen(
        [sys.executable, "-c", ANALYST, ran.database, "read"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    with analyst:
        analyst.stdout.readline()
        settings = load_settings([f"warehouse.path={ran.database}"], environment={})
        assert explain(settings, "c1", max_lines=10).decision is not None
        analyst.communicate("\n\n")

    assert analyst.returncode == 0


def test_a_run_on_a_damaged_warehouse_rebuilds_it(ran, run_night, tmp_path, capsys):
    warehouse = tmp_path / "warehouse.duckdb"
    warehouse.write_bytes(warehouse.read_bytes()[:100_000])
    capsys.readouterr()

    assert run_night(tmp_path, 2).status == 0

    (said,) = warnings_of(capsys)
    assert said.startswith(f"warning: warehouse {warehouse} is damaged: Could not read enough bytes")
    assert said.endswith(
        f"; it is set aside as {warehouse}.damaged; this run rebuilds from the source, and seg-pipeline backfill FIRST"
        " LAST brings past nights back"
    )
    assert main(["backfill", "2024-05-31", "--warehouse", str(warehouse), "--output", str(tmp_path / "published")]) == 0
    assert ran.value("SELECT count(DISTINCT as_of) FROM features.rfm_features") == 2


@pytest.mark.parametrize("table", ["prepared.clean_orders", "features.rfm_features", "models.champions"])
def test_a_run_that_meets_damage_ends_in_one_line_and_the_next_one_rebuilds(ran, run_night, tmp_path, capsys, table):
    warehouse = tmp_path / "warehouse.duckdb"
    block = ran.value(f"SELECT min(block_id) FROM pragma_storage_info('{table}') WHERE block_id >= 0")
    content = bytearray(warehouse.read_bytes())
    content[3 * 4096 + block * 2**18 + 5000] ^= 255
    warehouse.write_bytes(content)
    capsys.readouterr()

    status = run_night(tmp_path, 2).status

    said = [line for line in capsys.readouterr().err.splitlines() if not line.startswith("warning: ")]
    assert status == 3
    assert len(said) == 1
    assert said[0].startswith(f"seg-pipeline: warehouse {warehouse} is damaged: ")
    assert f"; it is set aside as {warehouse}.damaged; running again rebuilds from the source, and " in said[0]
    assert run_night(tmp_path, 2).status == 0


def test_a_run_with_too_little_memory_is_one_line_and_status_3(run_night, tmp_path, capsys):
    run = run_night(tmp_path, 1, "--set", "warehouse.memory_limit=1MB")

    (said,) = capsys.readouterr().err.splitlines()
    assert run.status == 3
    assert said.startswith(f"seg-pipeline: warehouse {tmp_path / 'warehouse.duckdb'}: ")
    assert said.endswith("; raise warehouse.memory_limit")
