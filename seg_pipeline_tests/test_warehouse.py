"""Tables are old or new, never between; and what the machine refuses is one line."""

import signal
import subprocess
import sys
import threading
import time

import pandas as pd
import pytest

from seg_pipeline.errors import MachineError, UsageError
from seg_pipeline.tables import Column, Table
from seg_pipeline.warehouse import Warehouse, replace_table, transaction

NUMBERS = Table("raw.numbers", "Numbers.", (Column("a", "INTEGER", "A"), Column("b", "INTEGER", "B")), key=("a",))
NIGHTLY = Table(
    "raw.nightly", "Nights.", (Column("as_of", "DATE", "Night"), Column("a", "INTEGER", "A")), key=("a",), nightly=True
)
HOLDER = """
import sys, time, duckdb
connection = duckdb.connect(sys.argv[1])
connection.begin()
connection.execute("CREATE OR REPLACE TABLE raw.numbers AS SELECT 7 AS a, 7 AS b")
print("holding", flush=True)
time.sleep(60)
"""


@pytest.fixture
def holder(empty_warehouse):
    """A process that is in the middle of replacing a table."""
    replace(empty_warehouse, "SELECT 1 AS a, 2 AS b")
    process = subprocess.Popen([sys.executable, "-c", HOLDER, empty_warehouse.database], stdout=subprocess.PIPE)
    assert process.stdout is not None
    process.stdout.readline()
    yield process
    process.kill()
    process.wait()
    process.stdout.close()


def replace(warehouse, query):
    with warehouse.get_connection() as connection, transaction(connection):
        replace_table(connection, NUMBERS, query)


def numbers(warehouse):
    return warehouse.read("FROM raw.numbers").to_dict("records")


def test_columns_are_matched_by_name(empty_warehouse):
    replace(empty_warehouse, "SELECT 2 AS b, 1 AS a")
    assert numbers(empty_warehouse) == [{"a": 1, "b": 2}]


def test_a_failed_replacement_leaves_the_old_table(empty_warehouse):
    replace(empty_warehouse, "SELECT 1 AS a, 2 AS b")
    with pytest.raises(Exception, match="Conversion Error"):
        replace(empty_warehouse, "SELECT 1 AS a, CAST('x' AS INTEGER) AS b")
    assert numbers(empty_warehouse) == [{"a": 1, "b": 2}]


def test_a_killed_replacement_leaves_the_old_table(empty_warehouse, holder):
    holder.send_signal(signal.SIGKILL)
    holder.wait()
    assert numbers(empty_warehouse) == [{"a": 1, "b": 2}]


def test_a_night_replaces_its_own_rows_only(empty_warehouse):
    nights = [pd.Timestamp(f"2024-01-0{day}").date() for day in (1, 2)]
    for night in nights:
        empty_warehouse.replace_night(NIGHTLY, pd.DataFrame({"a": [1, 2]}), night)
    empty_warehouse.replace_night(NIGHTLY, "SELECT $as_of AS as_of, 9 AS a", nights[1])
    assert list(empty_warehouse.night(NIGHTLY, nights[0])["a"]) == [1, 2]
    assert list(empty_warehouse.night(NIGHTLY, nights[1])["a"]) == [9]
    assert empty_warehouse.count(NIGHTLY, nights[1]) == 1


def test_a_busy_warehouse_is_waited_for_and_then_names_the_process(empty_warehouse, holder):
    warehouse = Warehouse(database=empty_warehouse.database, wait_seconds=0.5)
    began = time.monotonic()
    with pytest.raises(MachineError, match=f"is busy: process {holder.pid} has it open"):
        warehouse.read("SELECT 1")
    assert 0.5 <= time.monotonic() - began < 5


def test_a_warehouse_that_is_freed_in_time_is_used(empty_warehouse, holder):
    threading.Timer(0.5, holder.kill).start()
    assert numbers(Warehouse(database=empty_warehouse.database, wait_seconds=20)) == [{"a": 1, "b": 2}]


def test_a_file_that_is_no_database_is_one_line(tmp_path):
    (tmp_path / "notes.duckdb").write_text("not a database, though long enough to be looked at as one\n" * 100)
    with pytest.raises(MachineError, match=r"notes\.duckdb") as failure:
        Warehouse(database=str(tmp_path / "notes.duckdb")).read("SELECT 1")
    assert "\n" not in str(failure.value)


def test_a_folder_that_cannot_be_made_is_one_line(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(MachineError, match=r"warehouse .*: (Not a directory|File exists)"):
        Warehouse(database=str(tmp_path / "file" / "below" / "w.duckdb")).read("SELECT 1")


def test_a_connection_closes_when_the_work_in_it_fails(empty_warehouse):
    with pytest.raises(RuntimeError, match="work"), empty_warehouse.get_connection():
        raise RuntimeError("work")
    other = subprocess.run(
        [sys.executable, "-c", f"import duckdb; duckdb.connect({empty_warehouse.database!r})"], check=False
    )
    assert other.returncode == 0


def test_a_setting_that_the_database_refuses_is_wrong_usage(tmp_path):
    warehouse = Warehouse(database=str(tmp_path / "w.duckdb"), connection_config={"memory_limit": "much"})

    with pytest.raises(UsageError, match="Memory must have a number"), warehouse.get_connection():
        pass
