"""A delivery that is retracted counts nowhere, although its file stays where it is."""

import os

import pytest

from seg_pipeline.cli import main
from seg_pipeline.errors import UsageError
from seg_pipeline.prepared.tables import CLEAN_ORDERS
from seg_pipeline.quality.evaluation import evaluate
from seg_pipeline.raw.tables import DELIVERIES
from seg_pipeline.settings import load_settings
from seg_pipeline.usecases.retract import retract, take_back
from seg_pipeline_tests.test_ingestion import LINE, new_shop, shop

__all__ = ["new_shop", "shop"]

# The second file repeats a line of the first, and has the only line of B.
FIRST, SECOND = LINE + "2,A,2024-01-02,P,1,1\n", LINE + "3,B,2024-03-01,P,1,1\n"


def settings_of(shop):
    return load_settings([f"warehouse.path={shop.warehouse.database}"], environment={})


def name_of(shop, file):
    return str(shop.folder / file)


@pytest.fixture
def retracted(shop):
    """A shop of two files, after a night and the retraction of the first, and the next night."""
    shop.deliver("a.csv", FIRST)
    shop.deliver("b.csv", SECOND)
    shop.night()
    assert retract(settings_of(shop), [name_of(shop, "a.csv")]).lines == {name_of(shop, "a.csv"): 2}
    shop.night()
    return shop


def holds_without_the_first(shop, new_shop):
    alone = new_shop(f"alone_{len(os.listdir(shop.folder.parent))}")
    alone.deliver("b.csv", SECOND)
    alone.night()
    failed = [
        outcome.message
        for table in (DELIVERIES, CLEAN_ORDERS)
        for outcome in evaluate(shop.warehouse, table, settings_of(shop), None)
        if not outcome.passed and outcome.check.severity == "critical"
    ]
    return shop.tables() == alone.tables() and failed == []


def test_the_lines_of_a_retracted_file_count_in_no_later_night(retracted, new_shop):
    assert retracted.statuses() == {"a.csv": "retracted", "b.csv": "loaded"}
    assert retracted.night() == [[], []]
    assert holds_without_the_first(retracted, new_shop)


@pytest.mark.parametrize(
    "change",
    [
        lambda shop: os.utime(shop.folder / "a.csv", (1, 1)),
        lambda shop: (shop.folder / "a.csv").rename(shop.folder / "c.csv"),
        lambda shop: shop.deliver("c.csv", FIRST),
        lambda shop: (shop.folder / "a.csv").unlink(),
    ],
    ids=["touched", "renamed", "copied", "deleted"],
)
def test_the_content_stays_retracted_whatever_becomes_of_its_file(retracted, new_shop, change):
    change(retracted)
    assert retracted.night() == [[], []]
    retracted.deliver("a.csv", FIRST)
    assert retracted.night() == [[], []]
    assert holds_without_the_first(retracted, new_shop)


def test_a_retracted_file_is_not_loaded_again_with_other_settings_for_reading(retracted):
    assert retracted.night("source.columns.product_id=qty", "source.columns.quantity=sku") == [["b.csv"], []]
    assert retracted.statuses() == {"a.csv": "retracted", "b.csv": "loaded"}


def test_a_changed_file_of_a_retracted_name_is_loaded(retracted):
    retracted.deliver("a.csv", "9,Z,2024-01-09,P,1,1\n")
    assert retracted.night() == [["a.csv"], []]
    assert retracted.statuses() == {"a.csv": "loaded", "b.csv": "loaded"}
    assert retracted.read("SELECT count(*) FROM prepared.clean_orders") == [(3,)]


def test_a_file_whose_retraction_is_taken_back_is_loaded_again(retracted, new_shop):
    assert take_back(settings_of(retracted), [name_of(retracted, "a.csv")]).taken_back == [name_of(retracted, "a.csv")]
    assert retracted.night() == [["a.csv"], []]
    once = new_shop("once")
    once.deliver("a.csv", FIRST)
    once.deliver("b.csv", SECOND)
    once.night()
    assert retracted.tables() == once.tables()


def test_a_retraction_may_be_taken_back_before_the_next_night(shop):
    shop.deliver("a.csv", FIRST)
    shop.night()
    before = shop.tables()
    retract(settings_of(shop), [name_of(shop, "a.csv")])
    take_back(settings_of(shop), [name_of(shop, "a.csv")])
    assert shop.night() == [["a.csv"], []]
    assert shop.tables() == before


def test_a_kept_file_is_retracted_with_the_version_that_cannot_be_read(shop):
    shop.deliver("a.csv", FIRST)
    shop.deliver("b.csv", SECOND)
    shop.night()
    shop.deliver("a.csv", FIRST + "1,A\n")
    shop.night()
    assert shop.statuses()["a.csv"] == "kept"
    retract(settings_of(shop), [name_of(shop, "a.csv")])
    for text in (FIRST + "1,A\n", FIRST):
        shop.deliver("a.csv", text)
        assert shop.night() == [[], []]
        assert shop.statuses()["a.csv"] == "retracted"


def test_orders_of_a_retracted_file_do_not_make_others_expire(shop):
    shop.deliver("a.csv", LINE)
    shop.deliver("b.csv", LINE.replace("1,A,2024", "2,B,2034"))
    shop.night()
    retract(settings_of(shop), [name_of(shop, "b.csv")])
    shop.night("retention.deliveries_days=30")
    assert shop.statuses() == {"a.csv": "loaded", "b.csv": "retracted"}


def test_retracting_twice_changes_nothing(retracted):
    before = retracted.ledger()
    assert retract(settings_of(retracted), [name_of(retracted, "a.csv")]).lines == {name_of(retracted, "a.csv"): 0}
    assert retracted.ledger() == before


def test_what_cannot_be_retracted_is_refused_and_changes_nothing(retracted):
    retracted.deliver("c.csv", "", header="what,is,this\n")
    retracted.deliver("again.csv", SECOND)
    retracted.night()
    settings, before = settings_of(retracted), retracted.tables()
    refusals = {
        "c.csv": r"c\.csv: none of its lines are loaded \(set_aside: .*no column for customer_id",
        "again.csv": r"again\.csv: none of its lines are loaded \(repeated: the same content as .*b\.csv\)",
        "bb.csv": r"bb\.csv: no such delivery; did you mean .*/b\.csv\?$",
        "elsewhere/b.csv": r"elsewhere/b\.csv: no such delivery; did you mean .*/b\.csv\?$",
        "nothing-like-it": r"nothing-like-it: no such delivery; the table raw\.deliveries lists them all$",
    }
    for file, message in refusals.items():
        with pytest.raises(UsageError, match=message):
            retract(settings, [name_of(retracted, "b.csv"), name_of(retracted, file)])
    with pytest.raises(UsageError, match=r"b\.csv: not retracted \(loaded: its lines are in raw_orders\)"):
        take_back(settings, [name_of(retracted, "a.csv"), name_of(retracted, "b.csv")])
    assert retracted.tables() == before
    assert retracted.statuses()["a.csv"] == "retracted"


def test_the_command_says_what_it_did_and_what_the_next_run_does(shop, capsys):
    shop.deliver("a.csv", FIRST)
    shop.night()
    a, place = name_of(shop, "a.csv"), ["--warehouse", shop.warehouse.database]

    assert main(["retract", a, *place]) == 0
    assert capsys.readouterr().out == f"retracted: {a}, 2 lines\nthe next run builds the night without it\n"
    assert main(["retract", a.replace("a.csv", "A.csvv"), *place]) == 2
    assert capsys.readouterr().err == f"seg-pipeline: {shop.folder}/A.csvv: no such delivery; did you mean {a}?\n"
    assert main(["retract", "--undo", a, *place]) == 0
    assert capsys.readouterr().out == f"taken back: {a}\nthe next run loads it again, if still in the source\n"
