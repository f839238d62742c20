"""Large tables with a Delta Lake log: a reader of Delta sees the same rows as the warehouse."""

import sys
from dataclasses import replace

import duckdb
import pytest
from deltalake import DeltaTable
from pandas.testing import assert_frame_equal

from seg_pipeline.errors import MachineError, UsageError
from seg_pipeline.prepared.tables import CLEAN_ORDERS
from seg_pipeline.settings import load_settings
from seg_pipeline.tables import Column
from seg_pipeline.warehouse.spark_tables import LargeTables
from seg_pipeline.wiring import warehouse_of
from seg_pipeline_tests.spark.conftest import rows_by_delta, rows_of

LINES = (
    "SELECT 'o' || n AS order_id, 'a b' AS customer_id, TIMESTAMP '2024-01-05 10:11:12.5' AS ordered_at,"
    " n AS quantity, 2.5 AS unit_price, 2.5 * n AS amount, false AS is_return, '1.csv' AS source_file, n AS source_row"
    " FROM range($first, $last) AS t(n)"
)


@pytest.fixture
def warehouse(tmp_path):
    """A folder whose name is no word, and who opens the warehouse in it."""
    folder = tmp_path / "orders of 100% é"
    folder.mkdir()

    def opened(table_format="delta"):
        given = ("warehouse.engine=spark", f"warehouse.path={folder / 'w.duckdb'}", f"spark.format={table_format}")
        return warehouse_of(load_settings(given, environment={}))

    return opened


def table_of(warehouse):
    return warehouse.folder / CLEAN_ORDERS.name


def log_of(warehouse):
    return DeltaTable(table_of(warehouse))


def versions_of(warehouse):
    return sorted((table_of(warehouse) / "_delta_log").glob("*.json"))


def by_delta(warehouse, version=None):
    return rows_by_delta(warehouse, CLEAN_ORDERS.name, version)


def append(warehouse, first, last, then="SELECT 1"):
    with warehouse.held(), warehouse.get_connection() as connection, connection.transaction():
        connection.create(CLEAN_ORDERS, or_replace=False)
        connection.insert(CLEAN_ORDERS, LINES, {"first": first, "last": last})
        connection.execute(then)


def test_each_change_of_a_table_is_a_version_of_it(warehouse):
    delta = warehouse()
    with delta.get_connection() as connection:
        connection.create(CLEAN_ORDERS)
    append(delta, 0, 3)
    append(delta, 3, 5)

    assert [len(by_delta(delta, version)) for version in (0, 1, 2)] == [0, 3, 5]
    assert_frame_equal(by_delta(delta), rows_of(delta, CLEAN_ORDERS.name), check_exact=True)
    with delta.held():  # a night without news
        pass
    assert log_of(delta).version() == 2


def test_a_table_made_anew_leaves_the_log_with_its_new_files_alone(warehouse):
    delta = warehouse()
    append(delta, 0, 3)
    with delta.transaction() as connection:
        connection.create(CLEAN_ORDERS)
        connection.insert(CLEAN_ORDERS, LINES, {"first": 7, "last": 8})

    assert list(by_delta(delta)["order_id"]) == ["o7"]
    assert len(by_delta(delta, 0)) == 3  # until the next run deletes its files
    with delta.held():
        pass
    assert_frame_equal(by_delta(delta), rows_of(delta, CLEAN_ORDERS.name), check_exact=True)


def test_a_change_that_is_taken_back_is_no_version(warehouse):
    delta = warehouse()
    append(delta, 0, 3)

    with pytest.raises(duckdb.CatalogException):
        append(delta, 3, 5, then="FROM nowhere")
    assert log_of(delta).version() == 0
    append(delta, 3, 4)
    assert_frame_equal(by_delta(delta), rows_of(delta, CLEAN_ORDERS.name), check_exact=True)


def test_the_next_run_brings_a_log_up_to_date_that_a_killed_one_left_behind(warehouse, monkeypatch):
    delta = warehouse()
    append(delta, 0, 3)
    with monkeypatch.context() as killed:
        killed.setattr(LargeTables, "update_delta_logs", lambda *_: None)
        append(delta, 3, 5)
    assert len(by_delta(delta)) == 3

    with delta.held():
        assert_frame_equal(by_delta(delta), rows_of(delta, CLEAN_ORDERS.name), check_exact=True)


def test_columns_that_came_later_are_in_the_log(warehouse):
    delta = warehouse()
    longer = replace(CLEAN_ORDERS, columns=(*CLEAN_ORDERS.columns, Column("note", "VARCHAR", "Came later")))

    for table in (CLEAN_ORDERS, longer):
        with delta.held(), delta.get_connection() as connection:
            connection.create(table, or_replace=False)

    assert_frame_equal(by_delta(delta), rows_of(delta, CLEAN_ORDERS.name), check_exact=True)


def test_a_warehouse_of_plain_parquet_gets_its_logs_with_the_setting_and_loses_them_with_it(warehouse):
    plain, delta = warehouse("parquet"), warehouse("delta")
    append(plain, 0, 3)
    assert not DeltaTable.is_deltatable(str(table_of(plain)))

    with delta.held():
        assert_frame_equal(by_delta(delta), rows_of(delta, CLEAN_ORDERS.name), check_exact=True)
    with plain.held():
        assert not DeltaTable.is_deltatable(str(table_of(plain)))


def test_the_log_holds_no_value_of_a_customer(warehouse):
    delta = warehouse()
    append(delta, 0, 3)

    [version] = versions_of(delta)
    assert r"\"numRecords\":3" in version.read_text()
    assert "a b" not in version.read_text()


def test_without_deltalake_the_setting_is_refused(warehouse, monkeypatch):
    monkeypatch.setitem(sys.modules, "deltalake", None)

    with pytest.raises(UsageError, match=r"^spark\.format=delta needs deltalake: install seg-pipeline with its extra"):
        append(warehouse(), 0, 3)


def test_a_log_that_cannot_be_read_ends_in_one_line(warehouse):
    delta = warehouse()
    append(delta, 0, 3)
    versions_of(delta)[0].write_text("{")

    with pytest.raises(MachineError, match=r"^spark\.format=delta: the log of .*clean_orders cannot be"):
        append(delta, 3, 5)
