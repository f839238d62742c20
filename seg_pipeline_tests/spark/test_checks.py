"""Expectation suites on Spark find the same in a large table as with DuckDB."""

import datetime

import pandas as pd
import pytest

from seg_pipeline.features.tables import RFM_FEATURES
from seg_pipeline.prepared.tables import CLEAN_ORDERS, REJECTED_ORDERS
from seg_pipeline.quality.evaluation import evaluate
from seg_pipeline.raw.tables import RAW_ORDERS
from seg_pipeline_tests.spark.conftest import ENGINES

AS_OF = datetime.date(2024, 3, 1)
LINES = """order_id,customer_id,ordered_at,product_id,quantity,unit_price
1,a,2024-01-05,p,1,2.50
2,,2024-01-06,p,1,2.50
3,,2024-01-06,p,1,2.50
4,b,2024-02-20,p,x,2.50
5,c,2024-02-25,p,2,1.00
"""
STRICT = ("quality.last_day_gap_days=4", "quality.rejected_share_critical=0.5")


def found(both, engine, table, *given):
    """What a suite says of a table: name, whether it passed, rows, how many broke it, examples, error."""
    outcomes = evaluate(both.warehouse(engine), table, both.settings(engine, *given), AS_OF)
    return [
        (one.check.name, one.passed, one.rows_checked, one.violations, sorted(one.examples.split("; ")), one.error)
        for one in outcomes
    ]


@pytest.mark.parametrize(
    ("table", "broken"),
    [
        (RAW_ORDERS, set()),
        (CLEAN_ORDERS, {"no_order_day_far_ahead", "rejected_share_bearable", "rejected_share_usual"}),
        (REJECTED_ORDERS, set()),
    ],
    ids=lambda one: getattr(one, "name", None),
)
def test_suites_of_lines_find_the_same(both, tmp_path, table, broken):
    file = tmp_path / "orders.csv"
    file.write_text(LINES, encoding="utf-8")
    both.prepare(f"source.path={file}")

    by_duckdb, by_spark = (found(both, engine, table, *STRICT) for engine in ENGINES)

    assert by_spark == by_duckdb
    assert {name for name, passed, *_ in by_spark if not passed} == broken


def test_values_that_break_a_column_are_counted_and_shown(both):
    filled = {column.name: 1 for column in RFM_FEATURES.columns if not column.nullable and column.type != "DATE"}
    rows = pd.DataFrame([filled, filled, filled]).assign(
        customer_id=["a", "a", "b"], frequency=[1, -2, -3], rfm_segment=["Champions", "Nobody", "Champions"]
    )
    dates = {column.name: AS_OF for column in RFM_FEATURES.columns if column.type == "DATE" and column.name != "as_of"}
    for engine in ENGINES:
        # The rules look at the lines, too.
        both.warehouse(engine).replace_night(RFM_FEATURES, rows.assign(**dates), AS_OF)
        both.create_lines(engine)

    by_duckdb, by_spark = (found(both, engine, RFM_FEATURES) for engine in ENGINES)

    assert by_spark == by_duckdb
    broken = {name: (count, examples) for name, passed, _, count, examples, _ in by_spark if not passed}
    assert broken["key_unique"] == (2, ["customer_id ***"])
    assert broken["values_in_range"][1] == ["frequency -2", "frequency -3"]
    assert broken["values_known"] == (1, ["rfm_segment Nobody"])
