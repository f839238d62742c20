"""The comparison of two checkouts finds what differs, and lets wording pass."""

import json

import duckdb
import pytest

from seg_pipeline_tests.bench.compare import main

ROWS = "('Champions', 0.5, 'Stability 0.42 is below 0.5.', 1.0), ('At Risk', 0.25, 'Chosen.', 2.0)"


@pytest.fixture
def results(tmp_path):
    """Makes the results of a demo shop: one table, published as CSV and in a report."""

    def make(name, rows=ROWS, page="<td>0.5</td>", word="Share"):
        folder = tmp_path / name / "demo"
        published = folder / "published" / "latest"
        published.mkdir(parents=True)
        with duckdb.connect(folder / "w.duckdb") as connection:
            connection.execute("CREATE SCHEMA segments")
            connection.execute(
                "CREATE TABLE segments.profiles (name VARCHAR, share DOUBLE, reason VARCHAR, fit_seconds DOUBLE)"
            )
            connection.execute(f"INSERT INTO segments.profiles VALUES {rows}")
            connection.sql("SELECT name, share, reason FROM segments.profiles").write_csv(
                str(published / "profiles.csv")
            )
        (published / "report.html").write_text(f"<p>{word}</p><table><tr>{page}</tr></table>")
        (published / "manifest.json").write_text(json.dumps({"files": {"profiles.csv": {"rows": 2, "sha256": name}}}))
        return tmp_path / name

    return make


def compared(base, this, capsys):
    status = main([str(base), str(this), "--shops", "demo"])
    return status, capsys.readouterr().out.splitlines()


def test_wording_and_times_may_differ_and_are_shown(results, capsys):
    reworded = ROWS.replace("Stability 0.42 is below 0.5.", "Below 0.5: 0.42.").replace("1.0)", "9.0)")
    status, lines = compared(results("a"), results("b", reworded, word="Part"), capsys)

    assert status == 0
    assert [line.split()[:2] for line in lines[1:]] == [
        ["wording", "segments.profiles.reason:"],
        ["wording", "published/profiles.csv:"],
        ["wording", "published/report.html:"],
    ]


@pytest.mark.parametrize(
    ("before", "after", "expected"),
    [
        ("0.25", "0.26", "share: for example (0.25,) -> (0.26,)"),
        ("0.42", "0.43", "reason: for example (['0.42', '0.5'],) -> (['0.43', '0.5'],)"),
        ("At Risk", "Lost", "name: for example ('At Risk',) -> ('Lost',)"),
        (", ('At Risk', 0.25, 'Chosen.', 2.0)", "", "name, share, reason: for example ('At Risk',"),
    ],
)
def test_a_number_a_name_or_a_row_that_differs_is_shown_and_fails(results, capsys, before, after, expected):
    status, lines = compared(results("a"), results("b", ROWS.replace(before, after)), capsys)

    assert status == 1
    assert lines[1].startswith(f"  DIFFERS  segments.profiles: {expected}")
    assert any("DIFFERS  published/profiles.csv" in line for line in lines)


@pytest.mark.parametrize(("column", "status"), [("pulled_rows", 0), ("share_2", 1)])
def test_a_column_on_one_side_alone_fails_unless_it_is_listed(results, capsys, column, status):
    this = results("b")
    with duckdb.connect(this / "demo" / "w.duckdb") as connection:
        connection.execute(f"ALTER TABLE segments.profiles ADD COLUMN {column} DOUBLE")

    assert compared(results("a"), this, capsys)[0] == status


@pytest.mark.parametrize(
    ("page", "expected"),
    [
        ('<td data-value="0.51">0.5</td>', "cells: for example 0.5 -> 0.51"),
        ('<td data-value="0.5">0.6</td>', "numbers that are gone: 0.5; that are new: 0.6"),
    ],
)
def test_a_figure_of_the_report_that_differs_is_shown_and_fails(results, capsys, page, expected):
    base = results("a", page='<td data-value="0.5">0.5</td>')
    status, lines = compared(base, results("b", page=page), capsys)

    assert status == 1
    assert lines[1:] == [f"  DIFFERS  published/report.html: {expected}"]


def test_the_same_results_are_the_same_and_none_at_all_fail(results, tmp_path, capsys):
    assert compared(results("a"), results("b"), capsys) == (0, ["demo: the same, byte for byte"])
    assert compared(tmp_path, tmp_path, capsys) == (1, ["demo: skipped, no orders or no results"])
