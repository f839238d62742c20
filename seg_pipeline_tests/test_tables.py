"""What the UI is told of a table's rows."""

import datetime

import pandas as pd

from seg_pipeline.raw.profile import profile_query
from seg_pipeline.tables import Column, Table
from seg_pipeline.ui import markdown, preview, rows_built
from seg_pipeline.warehouse import execute
from seg_pipeline_tests.conftest import write_csv

NIGHT = datetime.date(2024, 3, 1)
DAY = datetime.timedelta(days=1)

TABLE = Table(
    "shop.spend",
    "What customers spend.",
    nightly=True,
    key=("customer_id",),
    columns=(
        Column("as_of", "DATE", "The night"),
        Column("customer_id", "VARCHAR", "Customer"),
        Column("monetary", "DECIMAL(18, 4)", "Spend, in the shop's currency"),
    ),
)


def spend(warehouse, as_of, *amounts):
    rows = pd.DataFrame({"customer_id": [f"c{n}" for n in range(len(amounts))], "monetary": amounts})
    warehouse.replace_night(TABLE, rows, as_of)


def test_a_night_is_compared_with_the_one_before_it_that_is_there_exact_to_the_cent(empty_warehouse):
    spend(empty_warehouse, NIGHT - 3 * DAY, 0.1)
    spend(empty_warehouse, NIGHT, 0.1, 0.1, 0.2)
    spend(empty_warehouse, NIGHT + DAY, 9)

    assert rows_built(empty_warehouse, TABLE, NIGHT, revenue="monetary") == {
        "as_of": "2024-03-01",
        "dagster/row_count": 3,
        "dagster/partition_row_count": 3,
        "night_before": "2024-02-27",
        "rows_since_night_before": 2,
        "revenue": 0.4,
        "revenue_since_night_before": 0.3,
    }


def test_the_first_night_is_compared_with_none(empty_warehouse):
    spend(empty_warehouse, NIGHT, 1)

    assert rows_built(empty_warehouse, TABLE, NIGHT, revenue="monetary") == {
        "as_of": "2024-03-01",
        "dagster/row_count": 1,
        "dagster/partition_row_count": 1,
        "revenue": 1,
    }


def test_a_preview_shows_the_first_rows_and_not_whose_they_are(empty_warehouse):
    spend(empty_warehouse, NIGHT, *range(9))

    shown = preview(empty_warehouse, TABLE, NIGHT)

    assert [record.data for record in shown.records] == [{"monetary": str(n)} for n in range(5)]
    assert [(column.name, column.description) for column in shown.schema.columns] == [
        ("monetary", "Spend, in the shop's currency")
    ]


def test_markdown_shows_days_without_hours_and_what_is_missing_as_nothing():
    frame = pd.DataFrame({"day": [pd.Timestamp("2024-02-29"), pd.NaT], "share": [0.25, None], "note": ["a|b", None]})

    assert markdown(frame).splitlines()[2:] == ["| 2024-02-29 | 0.25 | a\\|b |", "|  |  |  |"]


def test_the_profile_of_what_was_delivered_names_no_customer(load_orders, tmp_path):
    orders = write_csv(tmp_path / "a.csv", ("customer_id", "date", "price"), ("Erika", "2024-01-01", 1), ("", "x", 2))
    raw, _ = load_orders(orders)

    rows = execute(raw.connection, profile_query(), {"files": [str(orders)]}).fetchall()

    assert [row for row in rows if row[1]] == [
        ("customer_id", 1, 1, 1, None, None),
        ("ordered_at", 2, 0, 2, "2024-01-01", "x"),
        ("unit_price", 2, 0, 2, "1", "2"),
    ]
