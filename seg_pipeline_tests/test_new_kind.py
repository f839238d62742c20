"""A new kind of source is one class and one line of the registry: all that loads files knows it then."""

import duckdb
import pytest

from seg_pipeline.cli import main
from seg_pipeline.raw.sources import registry
from seg_pipeline.raw.sources.files import FileKind, values_of
from seg_pipeline.raw.sources.source import Shape
from seg_pipeline_tests.test_ingestion import Shop

ROWS = (
    '{{"order_id": {order}, "customer_id": "A", "date": "2024-01-0{day}", "price": 1.50}}\n'
    '{{"order_id": {order}, "customer_id": "B", "date": "2024-01-0{day}", "price": 2.25}}\n'
)
FIRST, SECOND = ROWS.format(order=1, day=1), ROWS.format(order=2, day=2)
CSV = "order_id,customer_id,date,price\n3,C,2024-01-03,4\n"


class JsonLines(FileKind):
    """One JSON object on each line."""

    endings = (".lines",)

    def shape(self, name, source):
        with self.translate_errors({name: name}), duckdb.connect() as connection:
            columns = connection.execute("DESCRIBE FROM read_json($file)", {"file": name}).fetchall()
        return Shape(tuple(column[0] for column in columns), tuple(column[1] for column in columns))

    def query(self, delivery):
        values = values_of(delivery, lambda name: f'CAST("{name}" AS VARCHAR)')
        return (
            "SELECT * REPLACE (source_row - min(source_row) OVER (PARTITION BY source_file) + 1 AS source_row) FROM"
            f" (SELECT {values}, filename AS source_file, row_number() OVER () AS source_row"
            " FROM read_json($files, filename = true))"
        )


@pytest.fixture
def shop(tmp_path, monkeypatch):
    monkeypatch.setattr(registry, "KINDS", (*registry.KINDS, JsonLines()))
    (tmp_path / "shop").mkdir()
    return Shop(tmp_path / "shop", tmp_path / "shop.duckdb")


def test_files_of_a_new_kind_are_loaded_once_replaced_and_missed_as_all_others(shop):
    shop.deliver("a.lines", FIRST, header="")
    shop.deliver("c.csv", CSV, header="")
    first = shop.night()
    again = shop.night()
    shop.deliver("a.lines", SECOND, header="")
    shop.deliver("same.lines", SECOND, header="")
    changed = shop.night()
    (shop.folder / "a.lines").unlink()
    (shop.folder / "same.lines").unlink()
    gone = shop.night()

    assert [first, again, changed, gone] == [[["a.lines", "c.csv"], []], [[], []], [["a.lines"], []], [[], []]]
    assert shop.statuses() == {"a.lines": "kept", "c.csv": "loaded"}
    columns = "order_id, customer_id, ordered_at, unit_price, source_row"
    assert shop.read(f"SELECT {columns} FROM raw.raw_orders ORDER BY ALL") == [
        ("2", "A", "2024-01-02", "1.5", 1), ("2", "B", "2024-01-02", "2.25", 2), ("3", "C", "2024-01-03", "4", 1),
    ]  # fmt: skip
    assert shop.read("SELECT customer_id, CAST(amount AS DOUBLE) FROM prepared.clean_orders ORDER BY 1") == [
        ("A", 1.5), ("B", 2.25), ("C", 4.0),
    ]  # fmt: skip


def test_a_file_of_a_new_kind_that_cannot_be_read_is_set_aside_with_its_name(shop):
    shop.deliver("a.lines", FIRST, header="")
    shop.deliver("b.lines", FIRST.replace("1.50", '{"net": 1.50}').replace("2.25", '{"net": 2.25}'), header="")
    shop.deliver("c.lines", FIRST.replace("B", "C") + "}\n", header="")

    assert shop.night() == [["a.lines"], []]
    assert {name: entry.reason and entry.reason.partition(": ")[0] for name, entry in shop.ledger().items()} == {
        "a.lines": None, "b.lines": str(shop.folder / "b.lines"), "c.lines": str(shop.folder / "c.lines"),
    }  # fmt: skip


def test_the_commands_show_a_new_kind_and_refuse_what_is_of_no_kind_by_all_endings(shop, capsys):
    shop.deliver("a.lines", FIRST, header="")
    shop.deliver("a.xlsx", b"")

    assert main(["inspect", str(shop.folder / "a.lines")]) == 0
    assert "of the first 2 lines 2 would count" in capsys.readouterr().out
    assert main(["inspect", str(shop.folder / "a.xlsx")]) == 2
    assert ".pq, .lines" in capsys.readouterr().err
