"""Nights of deliveries with Spark: the tests of ingestion hold for Spark too."""

import pytest

from seg_pipeline.settings import load_settings
from seg_pipeline.wiring import warehouse_of
from seg_pipeline_tests.spark.conftest import SPARK
from seg_pipeline_tests.test_ingestion import (  # noqa: F401  # fixtures, and tests to be run here as well
    Shop,
    pulls,
    shop,
    test_a_night_pulls_the_rows_of_a_table_that_are_new,
    test_another_cursor_pulls_all_rows_anew,
    test_deliveries_older_than_the_retention_leave_every_table_and_do_not_come_back,
    test_files_and_a_table_load_side_by_side,
    test_rows_behind_the_cursor_are_reported,
)


@pytest.fixture
def new_shop(tmp_path):
    """As there, with the lines in Spark."""

    def make(name):
        (tmp_path / name).mkdir()
        made = Shop(tmp_path / name, tmp_path / f"{name}.duckdb")
        given = [*SPARK, "warehouse.engine=spark", f"warehouse.path={tmp_path / name}.duckdb"]
        made.warehouse = warehouse_of(load_settings(given, environment={}))
        return made

    return make
