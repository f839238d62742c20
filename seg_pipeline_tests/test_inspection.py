"""`inspect`: how a run would read a source."""

import pytest

from seg_pipeline.cli import main
from seg_pipeline.errors import UsageError
from seg_pipeline.settings import load_settings
from seg_pipeline.usecases.inspect import inspect


def inspected(path, *options):
    return inspect(load_settings([f"source.path={path}", *options], environment={}))


def test_columns_dates_and_the_first_problems_are_shown(tmp_path):
    (tmp_path / "a.csv").write_text("who,date,total\nA,31/12/2024,5\n,31/12/2024,6\nB,31/12/2024,x\n,30/12/2024,7\n")
    found = inspected(tmp_path / "a.csv", "source.columns.customer_id=who")
    assert found.deliveries[0].columns == {"customer_id": "who", "ordered_at": "date", "amount": "total"}
    assert (found.examples[0]["customer_id"], found.examples[0]["amount"], found.examples[0]["order_id"]) == (
        "A",
        "5",
        None,
    )
    assert (found.dates, found.lines, found.clean) == ("day-first", 4, 1)
    assert [(reason, lines) for reason, _, lines, _ in found.problems] == [
        ("missing_customer_id", 2), ("unparseable_price", 1),
    ]  # fmt: skip
    assert found.problems[0][3] == f"{tmp_path / 'a.csv'} row 2: 31/12/2024, 6"


def test_a_source_without_lines_can_be_inspected(tmp_path):
    (tmp_path / "a.csv").write_text("customer_id,date,total\n")
    found = inspected(tmp_path)
    assert (found.lines, found.clean, found.problems) == (0, 0, [])


def test_an_error_that_would_stop_a_run_stops_an_inspection(tmp_path):
    (tmp_path / "a.csv").write_text("customer_id,date,total\nA,1/2/2024,1\n")
    with pytest.raises(UsageError, match="day-first or month-first"):
        inspected(tmp_path)


def test_each_shape_of_file_shows_its_own_first_line(tmp_path, capsys):
    (tmp_path / "a.csv").write_text("customer_id,order_date,amount\n[/x],2024-01-02,5\n")
    (tmp_path / "b.csv").write_text("user_id,ts,revenue,[/y]\nB,2024-01-03,7,\n")

    assert main(["inspect", str(tmp_path)]) == 0

    shown = capsys.readouterr().out
    assert "[/x]" in shown
    assert "not used: [/y]" in shown
    assert "2024-01-03" in shown
