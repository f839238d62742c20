"""Suites made from what is known of a table, evaluated in DuckDB, and what they do to a run."""

import datetime
from dataclasses import replace

import dagster as dg
import pandas as pd
import pytest

from seg_pipeline.models.tables import CHAMPIONS
from seg_pipeline.quality.evaluation import evaluate
from seg_pipeline.quality.judging import validate
from seg_pipeline.quality.suites import PLACEHOLDER, query_of, suite_of
from seg_pipeline.settings import load_settings
from seg_pipeline.tables import Column, Rule, Table
from seg_pipeline.ui import WHAT_NEXT
from seg_pipeline.warehouse import Relation, Warehouse
from seg_pipeline.wiring import Shop, resources_of

NIGHT = datetime.date(2024, 3, 1)
SETTINGS = load_settings((), environment={})

TABLE = Table(
    "shop.scores",
    "Scores of customers.",
    nightly=True,
    key=("customer_id",),
    columns=(
        Column("as_of", "DATE", "The night"),
        Column("customer_id", "VARCHAR", "Customer"),
        Column("score", "INTEGER", "Score", min_value=1, max_value=5),
        Column("note", "VARCHAR", "Note", nullable=True, values=("good", "bad")),
    ),
    rules=(
        Rule("bad_score_low", "A bad note goes with a low score.",
             "SELECT customer_id, score FROM {batch} WHERE note = 'bad' AND score > 2", "warning"),
        Rule("few_rejected", "The rule reads settings and the night.",
             "SELECT * FROM {batch} WHERE as_of != :as_of OR score > 100 * :quality.rejected_share_critical"),
    ),
)  # fmt: skip


def failures(tmp_path, rows, table=TABLE, as_of=NIGHT, settings=SETTINGS):
    """Returns the message of each check that fails on rows (customer_id, score, note), by its name."""
    warehouse = Warehouse(database=str(tmp_path / "warehouse.duckdb"))
    frame = pd.DataFrame(rows, columns=["customer_id", "score", "note"])
    warehouse.replace_night(TABLE, frame, as_of)
    outcomes = evaluate(warehouse, table, settings, NIGHT)
    return {outcome.check.name: outcome.message for outcome in outcomes if not outcome.passed}


def test_good_rows_pass_every_expectation(tmp_path):
    assert failures(tmp_path, [("a", 1, "bad"), ("b", 5, None)]) == {}


def test_each_fault_is_named_with_its_count_and_an_example(tmp_path):
    rows = [
        ("a", 1, "good"),
        ("a", 2, "good"),
        ("c", 6, "good"),
        (None, 3, "good"),
        ("e", None, "good"),
        ("f", 3, "ugly"),
    ]

    found = failures(tmp_path, [*rows, ("g", 4, "bad")])

    assert found == {
        "key_unique": "customer_id is unique. Violations: 2, for example customer_id ***",
        "no_missing_values": (
            "No values are missing in as_of, customer_id, score. Violations: 2, for example customer_id missing; score"
            " missing"
        ),
        "values_in_range": "In range: score 1 to 5. Violations: 1, for example score 6",
        "values_known": "Known values: note is one of good, bad. Violations: 1, for example note ugly",
        "bad_score_low": "A bad note goes with a low score. Violations: 1, for example customer_id ***, score 4",
    }


def test_customer_ids_of_examples_are_shown_if_a_setting_asks_for_them(tmp_path):
    wrong = Rule("odd", "Odd.", "SELECT * FROM {batch} WHERE CAST(customer_id AS INTEGER) < 0", "warning")
    table, shown = (
        replace(TABLE, rules=(wrong, *TABLE.rules)),
        load_settings(("quality.show_customer_ids=true",), environment={}),
    )

    masked = failures(tmp_path, [("kd-93f1", 4, "bad")], table)
    asked_for = failures(tmp_path, [("kd-93f1", 4, "bad")], table, settings=shown)

    assert "kd-93f1" not in str(masked)
    assert "customer_id kd-93f1, score 4" in asked_for["bad_score_low"]
    assert "string 'kd-93f1' to INT32" in asked_for["odd"]


def test_an_empty_table_fails_unless_it_may_be_empty(tmp_path):
    assert failures(tmp_path, []) == {"has_rows": "The table has rows. It is empty."}


def test_only_the_rows_of_the_night_are_checked(tmp_path):
    failures(tmp_path, [("a", 99, "ugly")], as_of=NIGHT - datetime.timedelta(days=1))

    assert failures(tmp_path, [("a", 1, "good")]) == {}


def test_a_missing_column_fails_with_the_reason_instead_of_passing(tmp_path):
    wider = Table("shop.scores", "", columns=(*TABLE.columns, Column("gone", "VARCHAR", "")), nightly=True)

    found = failures(tmp_path, [("a", 1, "good")], table=wider)

    assert list(found) == ["no_missing_values"]
    assert "Could not be evaluated" in found["no_missing_values"]
    assert "gone" in found["no_missing_values"]


def test_a_query_of_a_rule_may_be_a_sql_file(tmp_path):
    file = tmp_path / "high_score.sql"
    file.write_text("-- Scores above three.\nSELECT customer_id FROM {batch} WHERE score > 3\n")
    table = Table("shop.scores", "", columns=TABLE.columns, nightly=True,
                  rules=(Rule("high_score", "No score is above three.", file),))  # fmt: skip

    assert failures(tmp_path, [("a", 3, None), ("b", 4, None)], table=table) == {
        "high_score": "No score is above three. Violations: 1, for example customer_id ***"
    }


def test_only_numbers_and_dates_of_the_settings_reach_a_query(tmp_path):
    table = Table("shop.scores", "", columns=TABLE.columns, nightly=True,
                  rules=(Rule("odd", "", "SELECT * FROM {batch} WHERE note = :returns"),))  # fmt: skip

    with pytest.raises(TypeError, match="neither a number nor a date"):
        failures(tmp_path, [("a", 1, "good")], table=table)


def test_a_query_may_cast_and_name_settings_with_digits():
    rule = Rule("odd", "", "SELECT x::date FROM {batch} WHERE d < :as_of AND k > :models.k2_min")

    assert PLACEHOLDER.findall(rule.query) == ["as_of", "models.k2_min"]
    assert query_of(Rule("good", "", "SELECT x::date WHERE d < :as_of"), SETTINGS, NIGHT) == (
        "SELECT x::date WHERE d < DATE '2024-03-01'"
    )


def test_a_setting_that_does_not_exist_is_an_error_that_names_the_rule():
    with pytest.raises(ValueError, match=r"^rule odd: there is no setting models\.k2_min$"):
        query_of(Rule("odd", "", "SELECT :models.k2_min"), SETTINGS, NIGHT)


def test_a_nightly_table_is_never_checked_without_a_night(tmp_path):
    with pytest.raises(ValueError, match=r"^shop\.scores is nightly, and no night to check is given$"):
        evaluate(Warehouse(database=str(tmp_path / "warehouse.duckdb")), TABLE, SETTINGS, None)


def test_a_key_of_several_columns_is_unique_as_a_combination():
    table = Table("shop.scores", "", columns=TABLE.columns, key=("customer_id", "score"))

    assert suite_of(table)[1].description == "The combination of customer_id and score is unique."


def test_a_check_that_runs_alone_on_an_empty_table_says_so(tmp_path):
    shop = Shop(load_settings([f"warehouse.path={tmp_path / 'warehouse.duckdb'}"], environment={}))
    with Warehouse(database=str(tmp_path / "warehouse.duckdb")).transaction() as connection:
        connection.create(TABLE)
    room = shop.room("shop", nightly=True)
    room.asset(TABLE, kinds={"sql"})(lambda context: None)

    result = dg.materialize(
        [*room.checks],
        resources=resources_of(shop, lambda settings: None),
        selection=dg.AssetSelection.checks(*room.checks),
        raise_on_error=False,
    )

    assert {one.check_name for one in result.get_asset_check_evaluations() if not one.passed} == {"has_rows"}


def run_with(tmp_path, score):
    """Materializes the table with one score, and an asset after it; what was built, and what failed checks say."""
    shop = Shop(load_settings([f"warehouse.path={tmp_path / 'warehouse.duckdb'}"], environment={}))
    room = shop.room("shop", nightly=True)

    @room.asset(TABLE, kinds={"sql"})
    def scores(context: dg.AssetExecutionContext):
        note = "bad" if score == 3 else "good"
        rows = pd.DataFrame([("a", score, note)], columns=["customer_id", "score", "note"])
        shop.warehouse(context).replace_night(TABLE, rows, NIGHT)

    @dg.asset(deps=[shop.key(TABLE)], partitions_def=shop.partitions)
    def after():
        return None

    definitions = dg.Definitions(
        assets=[*room.assets, after],
        asset_checks=room.checks,
        resources=resources_of(shop, lambda settings: None),
        executor=dg.in_process_executor,
        jobs=[dg.define_asset_job("all")],
    )
    result = definitions.resolve_job_def("all").execute_in_process(partition_key="2024-02-29", raise_on_error=False)
    built = [event.asset_key.to_user_string() for event in result.get_asset_materialization_events()]
    failed = {
        one.check_name: (one.severity.value, one.metadata["what_next"].value)
        for one in result.get_asset_check_evaluations()
        if not one.passed
    }
    return result.success, built, failed


def test_a_failed_critical_check_stops_what_comes_after(tmp_path):
    assert run_with(tmp_path, score=9) == (
        False,
        ["shop/scores"],
        {"values_in_range": ("ERROR", WHAT_NEXT["critical"])},
    )


def test_a_failed_warning_is_shown_and_stops_nothing(tmp_path):
    assert run_with(tmp_path, score=3) == (
        True,
        ["shop/scores", "after"],
        {"bad_score_low": ("WARN", WHAT_NEXT["warning"])},
    )


def test_every_expectation_of_a_table_is_a_check_with_its_severity():
    suite = {check.name: check.severity for check in suite_of(TABLE)}
    room = Shop(SETTINGS).room("shop", nightly=True)
    room.asset(TABLE, kinds={"sql"})(lambda context: None)
    specs = {spec.name: spec for spec in room.checks[0].check_specs}

    assert set(specs) == set(suite)
    assert {name for name, spec in specs.items() if not spec.blocking} == {"bad_score_low"}


@pytest.mark.parametrize(
    ("segments", "numbers"),
    [
        ([(1, "gold"), (2, "silver"), (1, "gold")], []),
        # Both pairs read 11 gold if they are joined without a separator.
        ([(1, "1 gold"), (11, " gold")], []),
        ([(1, "gold"), (1, "silver")], [(7,)]),
        ([(1, "gold"), (2, "gold")], [(7,)]),
    ],
)
def test_a_segment_id_has_one_name_and_a_name_has_one_id(empty_warehouse, segments, numbers):
    (rule,) = CHAMPIONS.rules
    pairs = ", ".join(f"{{'segment_id': {number}, 'segment_name': '{name}'}}" for number, name in segments)
    champions = Relation(f"(SELECT 7 AS number, [{pairs}] AS segments)")
    with empty_warehouse.get_connection() as connection:
        assert connection.execute(rule.query, {"batch": champions}).fetchall() == numbers


def test_a_rule_that_fails_while_it_runs_fails_alone(tmp_path):
    wrong = Rule(
        "odd", "Customers are numbers.", "SELECT * FROM {batch} WHERE CAST(customer_id AS INTEGER) < 0", "warning"
    )
    table = replace(TABLE, rules=(wrong, *TABLE.rules))

    found = failures(tmp_path, [("a", 1, "good"), ("b", 9, "bad")], table=table)

    assert found == {
        "values_in_range": "In range: score 1 to 5. Violations: 1, for example score 9",
        "bad_score_low": "A bad note goes with a low score. Violations: 1, for example customer_id ***, score 9",
        "odd": (
            "Customers are numbers. Could not be evaluated: Could not convert string '***' to INT32 when casting from"
            " source column customer_id"
        ),
    }


@pytest.mark.parametrize(
    "query", ["SELECT number FROM {batch}", "SELECT rows FROM {batch}", "SELECT value FROM {batch}"]
)
def test_a_rule_sees_no_column_but_its_own(tmp_path, query):
    table = replace(TABLE, rules=(Rule("odd", "Odd.", query),))

    assert list(failures(tmp_path, [("a", 1, "good")], table=table)) == ["odd"]


def test_a_rule_whose_examples_fail_fails_alone(tmp_path):
    wrong = Rule("odd", "Customers are numbers.", "SELECT CAST(customer_id AS INTEGER) AS number FROM {batch}")

    found = failures(tmp_path, [("a", 9, "good")], table=replace(TABLE, rules=(wrong, *TABLE.rules)))

    assert list(found) == ["values_in_range", "odd"]
    assert "Could not be evaluated: Could not convert string '***' to INT32" in found["odd"]


def test_a_kind_of_expectation_of_which_nothing_is_counted_is_an_error(empty_warehouse):
    from great_expectations.expectations import ExpectColumnValuesToBeNull

    with empty_warehouse.get_connection() as connection, pytest.raises(TypeError, match="ExpectColumnValuesToBeNull"):
        validate(connection, "SELECT 1 AS a", [ExpectColumnValuesToBeNull(column="a")], max_examples=1)


A_FRAME = pd.DataFrame(
    {"id": ["a", "a", "b", None, None], "number": [1, 1, 7, None, 3], "word": ["x", "x", "y", "z", None]}
)
EVERY_KIND = [
    ("ExpectTableRowCountToBeBetween", {"min_value": 1}),
    ("ExpectTableRowCountToBeBetween", {"min_value": 9}),
    *(("ExpectColumnValuesToNotBeNull", {"column": column}) for column in ("id", "number")),
    *(("ExpectColumnValuesToBeUnique", {"column": column}) for column in ("id", "number", "word")),
    *(("ExpectColumnValuesToBeBetween", {"column": "number", "min_value": low, "max_value": high})
      for low, high in ((0, None), (None, 2), (2, 5), (1, 7))),
    *(("ExpectColumnValuesToBeInSet", {"column": "word", "value_set": words})
      for words in (["x"], ["x", "y", "z"], ["it's"])),
    *(("ExpectCompoundColumnsToBeUnique", {"column_list": columns, "ignore_row_if": "any_value_is_missing"})
      for columns in (["id", "number"], ["number", "word"])),
]  # fmt: skip


@pytest.mark.parametrize(("kind", "given"), EVERY_KIND, ids=str)
@pytest.mark.parametrize("rows", [5, 3, 0])
def test_every_kind_is_judged_as_by_the_librarys_own_engine(empty_warehouse, kind, given, rows):
    import great_expectations as gx

    frame = A_FRAME.head(rows)
    context = gx.get_context(mode="ephemeral")
    context.variables.progress_bars = {"globally": False}
    source = context.data_sources.add_pandas("pandas")
    batch = (
        source.add_dataframe_asset("rows").add_batch_definition_whole_dataframe("all").get_batch({"dataframe": frame})
    )
    expectation = getattr(gx.expectations, kind)(**given)
    theirs = batch.validate(expectation)

    with empty_warehouse.get_connection() as connection, connection.registered(frame) as batch_rows:
        row_count, [ours] = validate(connection, f"SELECT * FROM {batch_rows}", [expectation], max_examples=20)

    assert (row_count, ours.success) == (rows, theirs.success)
    if not ours.success:
        same = ("element_count", "missing_count", "unexpected_count", "unexpected_percent", "observed_value")
        assert {name: ours.result.get(name) for name in same} == {name: theirs.result.get(name) for name in same}
        ours_shown, theirs_shown = (
            ours.result.get("unexpected_list", ()),
            theirs.result.get("partial_unexpected_list", ()),
        )
        assert {str(one) for one in ours_shown if one} == {str(one) for one in theirs_shown if not pd.isna(one)}
