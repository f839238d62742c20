"""A retracted delivery counts nowhere and does not come back, until it is corrected or the retraction is taken back."""

import pytest

from seg_pipeline.cli import main
from seg_pipeline.errors import MachineError
from seg_pipeline.usecases import retract as retracting
from seg_pipeline_tests.test_ingestion import LINE, Shop
from seg_pipeline_tests.test_pipeline import orders_file, some_orders

BAD = "9,B,2024-01-02,P,1,99.00\n"


@pytest.fixture
def orders(tmp_path):
    folder = tmp_path / "source"
    folder.mkdir()
    orders = Shop(folder, tmp_path / "w.duckdb")
    orders.deliver("good.csv", LINE)
    # Its first line repeats the good file's, its second is its own.
    orders.deliver("bad.csv", LINE + BAD)
    orders.night()
    return orders


def retract(orders, *words):
    return main(["retract", *map(str, words), "--warehouse", orders.warehouse.database])


def customers(orders):
    lines = orders.read("SELECT customer_id FROM prepared.clean_orders ORDER BY ALL")
    [(raw, cleaned)] = orders.read(
        "SELECT (SELECT count(*) FROM raw.raw_orders), (SELECT count(*) FROM prepared.clean_orders)"
        " + (SELECT count(*) FROM prepared.rejected_orders)"
    )
    assert raw == cleaned
    return [customer for (customer,) in lines]


def test_a_retracted_file_counts_nowhere_although_it_is_still_there(orders, capsys):
    assert customers(orders) == ["A", "B"]

    assert retract(orders, "bad.csv") == 0

    assert "bad.csv, 2 lines" in capsys.readouterr().out
    # At once, and after the next load, also one with other settings for reading.
    assert customers(orders) == ["A"]
    assert orders.night() == [[], []]
    assert customers(orders) == ["A"]
    assert orders.read("SELECT parse_filename(source_file) FROM prepared.clean_orders") == [("good.csv",)]
    orders.night("source.columns.product_id=sku")
    assert customers(orders) == ["A"]
    assert orders.statuses() == {"good.csv": "loaded", "bad.csv": "retracted"}


def test_a_retracted_file_stays_out_under_another_name_and_after_it_was_gone(orders):
    assert retract(orders, orders.folder / "bad.csv") == 0
    (orders.folder / "bad.csv").rename(orders.folder / "other.csv")
    orders.night()
    (orders.folder / "other.csv").unlink()
    orders.night()
    orders.deliver("bad.csv", LINE + BAD)
    orders.night()

    assert customers(orders) == ["A"]


def test_a_corrected_file_of_that_name_is_loaded(orders):
    assert retract(orders, "bad.csv") == 0
    orders.deliver("bad.csv", BAD.replace("B", "C"))

    assert orders.night() == [["bad.csv"], []]
    assert customers(orders) == ["A", "C"]


def test_a_retraction_can_be_taken_back(orders, capsys):
    before = orders.tables()
    assert retract(orders, "bad.csv") == 0
    assert retract(orders, "--undo", "bad.csv") == 0
    orders.night()

    assert orders.tables() == before
    assert retract(orders, "--undo", "bad.csv") == 2
    assert "bad.csv: not retracted; it is loaded" in capsys.readouterr().err


def test_a_file_is_retracted_while_another_one_cannot_be_cleaned(orders, capsys):
    header = "order_id,customer_id,date,sku,qty,price,currency\n"
    for name, currency in (("chf.csv", "CHF"), ("usd.csv", "USD"), ("eur.csv", "EUR")):
        orders.deliver(name, f"{name},D,2024-01-03,P,1,1.00,{currency}\n", header)
    with pytest.raises(Exception, match="more than one currency"):
        orders.night()

    assert retract(orders, "chf.csv") == 0
    assert "warning: the remaining lines are cleaned by the next run: " in capsys.readouterr().err
    assert retract(orders, "usd.csv") == 0
    assert capsys.readouterr().err == ""
    orders.night()
    assert customers(orders) == ["A", "B", "D"]


def test_a_kept_delivery_is_retracted_together_with_the_version_that_cannot_be_read(orders):
    orders.deliver("bad.csv", LINE + BAD + "9,B\n")
    orders.night()
    assert orders.statuses()["bad.csv"] == "kept"
    assert retract(orders, "bad.csv") == 0

    for text in (LINE + BAD + "9,B\n", LINE + BAD):
        orders.deliver("bad.csv", text)
        orders.night()
        assert customers(orders) == ["A"]


@pytest.mark.parametrize(
    ("name", "line"),
    [
        ("bda.csv", "bda.csv: no such delivery; did you mean bad.csv?; the table raw.deliveries lists them"),
        ("copy.csv", "copy.csv: none of its lines are loaded; it is repeated: the same content as"),
    ],
)
def test_what_is_no_loaded_delivery_is_one_line_and_changes_nothing(orders, name, line, capsys):
    orders.deliver("copy.csv", LINE)
    orders.deliver("copy.csv", LINE + BAD)
    orders.night()
    before = orders.tables()

    assert retract(orders, "bad.csv", name) == 2

    assert line in capsys.readouterr().err
    assert orders.tables() == before


def test_a_run_that_one_bad_file_stops_is_repaired_as_its_message_says(run_pipeline, tmp_path, capsys):
    source = tmp_path / "source"
    source.mkdir()
    orders_file(source / "good.csv", some_orders())
    bad = orders_file(source / "bad.csv", [("x", "c1", "2099-01-01", "p", 1, "1.00")])
    # The orders of 2099 would make the good file expire if they counted.
    few = ("models.algorithms=kmeans", "models.k_max=4", "retention.deliveries_days=60")
    few = [word for setting in few for word in ("--set", setting)]

    failed = run_pipeline(tmp_path, source, *few)
    message = capsys.readouterr().err
    bad.unlink()
    still_failed = run_pipeline(tmp_path, source, *few)

    assert (failed.status, still_failed.status) == (1, 1)
    assert "seg-pipeline retract FILE" in message
    assert main(["retract", str(bad), "--warehouse", failed.warehouse.database]) == 0
    assert run_pipeline(tmp_path, source, *few).status == 0


def test_a_file_that_cannot_be_read_for_a_night_or_whose_next_version_is_broken_stays_retracted(orders):
    assert retract(orders, "bad.csv") == 0
    orders.deliver("bad.csv", "broken\n", header="")
    orders.night()
    assert orders.statuses() == {"good.csv": "loaded", "bad.csv": "retracted"}
    orders.deliver("bad.csv", LINE + BAD)
    orders.night()

    assert customers(orders) == ["A"]
    assert orders.statuses() == {"good.csv": "loaded", "bad.csv": "retracted"}


@pytest.mark.parametrize("copied", ["before.csv", "copy.csv"])
def test_a_copy_of_a_retracted_file_stays_out_when_the_file_is_corrected(orders, copied):
    orders.deliver(copied, LINE + BAD)
    orders.night()
    assert retract(orders, "bad.csv") == 0
    orders.deliver("bad.csv", BAD.replace("B", "C"))
    for _ in range(2):
        orders.night()
        assert customers(orders) == ["A", "C"]
    assert orders.statuses() == {"good.csv": "loaded", "bad.csv": "loaded", copied: "retracted"}

    assert retract(orders, "--undo", copied) == 0
    orders.night()
    assert customers(orders) == ["A", "B", "C"]


def test_a_full_disk_after_the_lines_are_gone_is_a_warning(orders, capsys, monkeypatch):
    def clean(*_):
        raise MachineError("the disk is full")

    monkeypatch.setattr(retracting, "clean", clean)

    assert retract(orders, "bad.csv") == 0

    said = capsys.readouterr()
    assert "the remaining lines are cleaned by the next run: the disk is full" in said.err
    assert "bad.csv, 2 lines" in said.out
    assert orders.read("SELECT count(*) FROM raw.raw_orders") == [(1,)]
