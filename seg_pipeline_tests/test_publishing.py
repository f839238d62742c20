"""The published set: switched as a whole, the same for the same night, and no more in it than is meant to be."""

import csv
import datetime
import errno
import hashlib
import hmac
import json
import os
import re
import shutil
import stat
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import duckdb
import pandas as pd
import pytest
from pydantic import SecretStr

from seg_pipeline.errors import MachineError, UsageError
from seg_pipeline.publishing.sets import damaged_files, delete_all, publish, published_as_of
from seg_pipeline.publishing.tables import PUBLISHED_TABLES
from seg_pipeline.publishing.views import VIEWS
from seg_pipeline.segments.tables import SEGMENT_ASSIGNMENTS, SEGMENT_MOVES
from seg_pipeline.settings import OUTPUT_HASH_KEY_VARIABLE, OutputSettings, flattened, load_settings, output_hash_key
from seg_pipeline.tables import Column, Table
from seg_pipeline.warehouse import Warehouse

AS_OF = datetime.date(2024, 3, 1)
KEY = "a key for the tests alone"
AWKWARD = 'it\'s "so"; [a-z]* $x'

LIST = Table(
    "segments.list",
    "A published table, its customers' and nobody else's.",
    columns=(Column("as_of", "DATE", "The night"), Column("customer_id", "VARCHAR", "Who 'they' are")),
    key=("customer_id",),
    nightly=True,
)
SUMS = Table(
    "segments.sums",
    "Text and numbers.",
    columns=(
        Column("as_of", "DATE", "The night"),
        Column("id", "INTEGER", "A number"),
        Column("text", "VARCHAR", "Text", nullable=True),
        Column("amount", "DECIMAL(18, 4)", "A number"),
        Column("share", "DOUBLE", "A number"),
    ),
    key=("id",),
    nightly=True,
)


def warehouse_with(tmp_path, as_of, customers, **options):
    warehouse = Warehouse(database=str(tmp_path / "warehouse.duckdb"), **options)
    warehouse.replace_night(LIST, pd.DataFrame({"customer_id": customers}), as_of)
    return warehouse


def published(warehouse, out, *tables, as_of=AS_OF, hash_key=None):
    key = SecretStr(hash_key) if hash_key else None
    with warehouse.held():
        return publish(warehouse, tables or [LIST], {}, as_of, "model", out, key).folder


def rows_of(folder, table="list", columns="customer_id"):
    """The rows of a table in each of its files, in their order there; what csv has is text."""
    with (folder / f"{table}.csv").open(newline="", encoding="utf-8") as file:
        named = [[row[name] for name in columns.split(", ")] for row in csv.DictReader(file)]
    with duckdb.connect(str(folder / "segments.duckdb"), read_only=True) as database:
        stored = database.execute(f"SELECT {columns} FROM {table}").fetchall()
    parquet = duckdb.read_parquet(str(folder / f"{table}.parquet")).select(columns).fetchall()
    return {"csv": [tuple(row) for row in named], "duckdb": stored, "parquet": parquet}


def test_the_views_say_what_their_columns_mean_and_lose_or_double_no_customer(week_after):
    with duckdb.connect(str(week_after.output / "latest" / "segments.duckdb"), read_only=True) as database:

        def rows(query):
            return database.execute(query).fetchall()

        assert dict(rows("SELECT view_name, comment FROM duckdb_views() WHERE NOT internal")) == {
            view.name: view.description for view in VIEWS
        }
        for view in VIEWS:
            columns = rows(
                "SELECT column_name, comment FROM duckdb_columns()"
                f" WHERE table_name = '{view.name}' ORDER BY column_index"
            )
            assert columns == [(column.name, column.description) for column in view.columns]
        assert rows("SELECT customer_id, segment_name, confidence, monetary FROM customers ORDER BY 1") == rows(
            "SELECT customer_id, segment_name, confidence, monetary FROM segment_assignments"
            " JOIN rfm_features USING (customer_id) ORDER BY 1"
        )
        # What to do for a customer is what their own advice says, whichever segment they are in.
        assert rows("SELECT customer_id, lifecycle, advice, marketing FROM customers ORDER BY 1") == rows(
            "SELECT customer_id, lifecycle, advice, marketing FROM segment_assignments"
            " JOIN advice_actions USING (advice) ORDER BY 1"
        )
        assert rows("SELECT customer_id, advice, marketing FROM moves WHERE moved_by != 'gone' ORDER BY 1") == rows(
            "SELECT customer_id, advice, marketing FROM segment_moves JOIN customers USING (customer_id)"
            " WHERE moved_by != 'model' ORDER BY 1"
        )
        assert rows("SELECT segment_id, customers, holdout_customers FROM segment_overview ORDER BY 1") == rows(
            "SELECT segment_id, customers, holdout_customers FROM segment_profiles"
            " JOIN segment_strategies USING (segment_id) ORDER BY 1"
        )
        assert rows("SELECT sum(customers), bool_or(stayed), bool_or(NOT stayed) FROM migration") == [
            (rows("SELECT sum(customers) FROM segment_migration")[0][0], True, True)
        ]
        shares = rows("SELECT sum(share_of_from) FROM migration GROUP BY from_as_of, from_segment_id")
        assert [share for (share,) in shares] == pytest.approx([1.0] * len(shares))


def test_a_set_is_published_with_a_manifest_and_rows_in_the_order_of_the_key(tmp_path):
    warehouse = warehouse_with(tmp_path, AS_OF, ["b", "a", "ä"])

    latest = publish(warehouse, [LIST], {"report.html": "<p>"}, AS_OF, "model", tmp_path / "out")

    folder = latest.folder
    assert latest.is_of_night
    assert sorted(file.name for file in folder.iterdir()) == [
        "list.csv",
        "list.parquet",
        "manifest.json",
        "report.html",
        "segments.duckdb",
    ]
    assert (folder / "list.csv").read_text() == "as_of,customer_id\n2024-03-01,a\n2024-03-01,b\n2024-03-01,ä\n"
    assert list(rows_of(folder).values()) == [[("a",), ("b",), ("ä",)]] * 3
    manifest = json.loads((folder / "manifest.json").read_text())
    assert (folder / "manifest.json").read_text() == json.dumps(manifest, indent=2) + "\n"
    assert (manifest["as_of"], manifest["model_id"]) == ("2024-03-01", "model")
    assert {name: file["rows"] for name, file in manifest["files"].items()} == {
        "segments.duckdb": 3,
        "list.parquet": 3,
        "list.csv": 3,
    }
    assert published_as_of(tmp_path / "out") == AS_OF


def test_the_database_holds_the_nights_rows_of_every_published_table_with_their_types_and_meanings(shop_run):
    with duckdb.connect(str(shop_run.output / "latest" / "segments.duckdb"), read_only=True) as database:
        names = database.execute("SELECT table_name, comment FROM duckdb_tables()").fetchall()
        assert dict(names) == {table.short_name: table.description for table in PUBLISHED_TABLES}
        for table in PUBLISHED_TABLES:
            columns = database.execute(
                "SELECT column_name, data_type, comment FROM duckdb_columns() WHERE table_name = ?"
                " ORDER BY column_index",
                [table.short_name],
            ).fetchall()
            assert [(name, kind.replace(",", ", "), text) for name, kind, text in columns] == [
                (column.name, column.type, column.description) for column in table.columns
            ]
            as_of = published_as_of(shop_run.output)
            names = [column.name for column in table.columns]
            pd.testing.assert_frame_equal(
                database.execute(f"FROM {table.short_name}").df(),
                shop_run.warehouse.night(table, as_of, names),
            )
            if table.schema == "segments":
                # Under the name that it has in the warehouse as well.
                assert database.execute(f"SELECT count(*) FROM {table.name}").fetchall()


def test_publishing_the_same_night_twice_leaves_the_same_files(tmp_path):
    warehouse = warehouse_with(tmp_path, AS_OF, ["a"])

    def tree():
        publish(warehouse, [LIST], {"report.html": "<p>"}, AS_OF, "model", tmp_path / "out")
        return {
            path.relative_to(tmp_path): path.read_bytes() for path in (tmp_path / "out").rglob("*") if path.is_file()
        }

    assert tree() == tree()


def test_the_same_night_is_the_same_set_from_whatever_warehouse_and_number_of_threads(tmp_path):
    customers = [str(number) for number in range(130_000)]
    sets = []
    for threads, order in ((1, 1), (4, -1)):
        place = tmp_path / str(threads)
        warehouse = warehouse_with(place, AS_OF, customers[::order], connection_config={"threads": threads})
        sets.append(published(warehouse, place / "out", hash_key=KEY).resolve())

    assert sets[0].name == sets[1].name
    for name in ("manifest.json", "list.parquet", "list.csv"):
        assert (sets[0] / name).read_bytes() == (sets[1] / name).read_bytes()
    assert rows_of(sets[0])["duckdb"] == rows_of(sets[1])["duckdb"]


def test_other_rows_are_another_set(tmp_path):
    names = {
        published(warehouse_with(tmp_path, AS_OF, customers), tmp_path / "out").resolve().name
        for customers in (["a"], ["b"], ["a", "b"])
    }

    assert len(names) == 3


def test_an_older_night_does_not_move_what_is_published(tmp_path):
    out = tmp_path / "out"
    published(warehouse_with(tmp_path, AS_OF, ["new"]), out)
    before = AS_OF - datetime.timedelta(days=1)

    latest = publish(warehouse_with(tmp_path, before, ["old"]), [LIST], {}, before, "model", out)

    assert not latest.is_of_night
    assert published_as_of(out) == AS_OF
    assert "new" in (out / "latest" / "list.csv").read_text()


def test_the_set_before_stays_for_its_readers_and_older_ones_go(tmp_path):
    out = tmp_path / "out"
    for day in range(4):
        night = AS_OF + datetime.timedelta(days=day)
        published(warehouse_with(tmp_path, night, [f"night{day}"]), out, as_of=night)

    assert sorted(path.name[:10] for path in (out / "sets").iterdir()) == ["2024-03-03", "2024-03-04"]


def test_the_set_before_stays_if_the_clock_was_set_back(tmp_path):
    out = tmp_path / "out"
    for day in range(3):
        night = AS_OF + datetime.timedelta(days=day)
        published(warehouse_with(tmp_path, night, [f"night{day}"]), out, as_of=night)
        hours_back = 3600 * day
        os.utime(out / "latest" / "manifest.json", (10**9 - hours_back, 10**9 - hours_back))

    assert sorted(path.name[:10] for path in (out / "sets").iterdir()) == ["2024-03-02", "2024-03-03"]


def test_what_a_killed_run_left_is_cleared_by_the_next(tmp_path):
    out = tmp_path / "out"
    (out / "sets" / ".unfinished-x").mkdir(parents=True)

    published(warehouse_with(tmp_path, AS_OF, ["a"]), out)

    assert [path.name[:10] for path in (out / "sets").iterdir()] == ["2024-03-01"]


def test_a_look_at_the_published_files_beside_a_night_that_clears_up_finds_them_whole(tmp_path):
    out, warehouse = tmp_path / "out", warehouse_with(tmp_path, AS_OF, ["a"])
    published(warehouse, out)

    with ThreadPoolExecutor(1) as nights:
        night = nights.submit(lambda: [published(warehouse, out) for _ in range(10)])
        looks = [damaged_files(out)]
        while not night.done():
            looks.append(damaged_files(out))

    assert night.exception() is None
    assert looks == [[]] * len(looks)


def test_a_night_that_fails_half_way_leaves_what_is_published_and_the_next_one_is_published(tmp_path):
    out, later = tmp_path / "out", AS_OF + datetime.timedelta(days=1)
    warehouse = warehouse_with(tmp_path, AS_OF, ["a"])
    published(warehouse, out)
    with warehouse.held():
        warehouse.replace_night(LIST, pd.DataFrame({"customer_id": ["b"]}), later)

        with pytest.raises(duckdb.CatalogException, match="sums"):
            published(warehouse, out, LIST, SUMS, as_of=later)

        assert (published_as_of(out), damaged_files(out)) == (AS_OF, [])
        assert rows_of(published(warehouse, out, as_of=later))["duckdb"] == [("b",)]
    assert len(list((out / "sets").iterdir())) == 2


def test_a_folder_that_cannot_be_written_is_one_clear_line(tmp_path):
    (tmp_path / "file").write_text("")

    with pytest.raises(MachineError, match="cannot publish"):
        published(warehouse_with(tmp_path, AS_OF, ["a"]), tmp_path / "file" / "out")


def test_a_folder_may_have_any_name(tmp_path):
    out = tmp_path / AWKWARD

    folder = published(warehouse_with(tmp_path, AS_OF, ["a"]), out)

    assert rows_of(folder)["duckdb"] == [("a",)]
    assert damaged_files(out) == []
    assert sorted(path.name for path in tmp_path.iterdir() if not path.name.startswith("warehouse")) == [AWKWARD]


@pytest.mark.parametrize("name", ["published", "list", "night", "main"])
def test_the_warehouse_may_be_called_like_what_is_published(tmp_path, name):
    warehouse = Warehouse(database=str(tmp_path / f"{name}.duckdb"))
    warehouse.replace_night(LIST, pd.DataFrame({"customer_id": ["a"]}), AS_OF)

    assert rows_of(published(warehouse, tmp_path / "out"))["duckdb"] == [("a",)]


def test_a_published_file_that_was_changed_or_lost_is_found(tmp_path):
    folder = published(warehouse_with(tmp_path, AS_OF, ["a"]), tmp_path / "out")
    assert damaged_files(tmp_path / "out") == []

    (folder / "list.csv").write_text("cut")
    (folder / "list.parquet").unlink()

    assert damaged_files(tmp_path / "out") == ["list.parquet", "list.csv"]


def changed(file):
    with duckdb.connect(str(file)) as database:
        database.execute("UPDATE list SET customer_id = 'x' WHERE customer_id = 'a0'")


def cut(file):
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])


def flipped(file):
    content = bytearray(file.read_bytes())
    for place in range(12_288, len(content), 1000):
        content[place] ^= 0xFF
    file.write_bytes(content)


def no_database(file):
    file.write_text("cut")


def lost(file):
    file.unlink()


@pytest.mark.parametrize("damage", [changed, cut, flipped, no_database, lost])
def test_a_database_that_was_changed_or_lost_is_found_and_the_same_night_mends_it(tmp_path, damage):
    out = tmp_path / "out"
    warehouse = warehouse_with(tmp_path, AS_OF, [f"a{number}" for number in range(5000)])
    folder = published(warehouse, out)

    damage(folder / "segments.duckdb")

    assert damaged_files(out) == ["segments.duckdb"]
    published(warehouse, out)
    assert damaged_files(out) == []
    assert len(rows_of(folder)["duckdb"]) == 5000


@pytest.mark.parametrize("damage", [b"", b'{"as_of": "2024-03-01", "fil', b"[]", b"{}", b"\xff"])
def test_a_damaged_manifest_is_found_and_the_same_night_writes_it_again(tmp_path, damage):
    out, warehouse = tmp_path / "out", warehouse_with(tmp_path, AS_OF, ["a"])
    manifest = published(warehouse, out) / "manifest.json"
    whole = manifest.read_bytes()

    manifest.write_bytes(damage)

    assert (published_as_of(out), damaged_files(out)) == (None, ["manifest.json"])
    published(warehouse, out)
    assert (published_as_of(out), damaged_files(out), manifest.read_bytes()) == (AS_OF, [], whole)


def folder_for_manifest(out):
    lost(out / "latest" / "manifest.json")
    (out / "latest" / "manifest.json").mkdir()


def folder_for_latest(out):
    lost(out / "latest")
    shutil.copytree(next((out / "sets").iterdir()), out / "latest")
    (out / "latest" / "mine.txt").write_text("kept")


def file_for_latest(out):
    lost(out / "latest")
    (out / "latest").write_text("kept")


def loop_for_latest(out):
    lost(out / "latest")
    (out / "latest").symlink_to("latest")


def latest_to_nowhere(out):
    lost(out / "latest")
    (out / "latest").symlink_to("sets/2020-01-01-0")


def no_table(out):
    lost(out / "latest" / "list.csv")


def cut_table(out):
    cut(out / "latest" / "list.csv")


def client_killed_while_it_wrote(out):
    written = (
        "import os, sys, duckdb; client = duckdb.connect(sys.argv[1]); client.execute('DELETE FROM list'); os._exit(9)"
    )
    subprocess.run([sys.executable, "-c", written, (out / "latest" / "segments.duckdb").resolve()], check=False)
    assert (out / "latest" / "segments.duckdb.wal").exists()


def manifest_of_another(out):
    other = {"as_of": "2999-01-01", "model_id": "other", "files": {"x" * 1000: {"rows": 1}}}
    (out / "latest" / "manifest.json").write_text(json.dumps(other))


def file_for_unfinished(out):
    (out / "sets" / f".unfinished-{os.getpid()}").write_text("left")
    lost(out / "latest")
    (out / f".latest-{os.getpid()}").mkdir()
    (out / "latest").symlink_to("nowhere")


def no_set(out):
    shutil.rmtree((out / "latest").resolve())


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (folder_for_manifest, "latest leads to no whole set; the night is published again"),
        (folder_for_latest, "latest was no link to a published set; it is set aside as latest.set-aside"),
        (file_for_latest, "latest was no link to a published set; it is set aside as latest.set-aside"),
        (loop_for_latest, "latest leads to no whole set; the night is published again"),
        (latest_to_nowhere, "latest leads to no whole set; the night is published again"),
        (no_set, "latest leads to no whole set; the night is published again"),
        (manifest_of_another, "latest leads to no whole set; the night is published again"),
        (file_for_unfinished, "latest leads to no whole set; the night is published again"),
        (no_table, "latest/list.csv is missing or damaged; the night is published again"),
        (cut_table, "latest/list.csv is missing or damaged; the night is published again"),
        (client_killed_while_it_wrote, "latest/segments.duckdb is missing or damaged; the night is published again"),
    ],
)
@pytest.mark.parametrize("later", [0, 1])
def test_a_damaged_set_is_as_if_there_were_none_and_the_night_is_published_again(tmp_path, damage, said, later):
    out, warehouse, warnings = tmp_path / "out", warehouse_with(tmp_path, AS_OF, ["a"]), []
    after = AS_OF + datetime.timedelta(days=later)
    warehouse.replace_night(LIST, pd.DataFrame({"customer_id": ["a"]}), after)
    whole = {file.name: file.read_bytes() for file in published(warehouse, tmp_path / "whole").iterdir()}
    published(warehouse, out, as_of=after)
    damage(out)
    (out / "sets" / "a plain file").write_text("kept")

    with warehouse.held():
        latest = publish(warehouse, [LIST], {}, AS_OF, "model", out, warn=warnings.append)

    assert warnings == [f"{out}/{said}"]
    assert latest.is_of_night
    assert damaged_files(out) == []
    same = {file.name: file.read_bytes() for file in latest.folder.iterdir()}
    assert same.keys() == whole.keys()
    assert {name for name in same if same[name] != whole[name]} <= {"segments.duckdb"}
    aside = list(out.rglob("latest.set-aside*"))
    assert [(file / "mine.txt" if file.is_dir() else file).read_text() for file in aside] in ([], ["kept"])
    assert [path.name for path in out.glob(".*")] == []
    with warehouse.held():
        publish(warehouse, [LIST], {}, AS_OF, "model", out, warn=pytest.fail)


def test_a_plain_file_in_place_of_the_sets_is_one_line_that_says_what_to_do(tmp_path):
    out, warehouse = tmp_path / "out", warehouse_with(tmp_path, AS_OF, ["a"])
    out.mkdir()
    (out / "sets").write_text("mine")

    with pytest.raises(MachineError, match=r"out/sets: cannot publish: it is no folder; move it away"):
        published(warehouse, out)


def test_older_sets_that_lost_their_manifest_are_deleted_and_folders_of_others_are_not(tmp_path):
    out, nights = tmp_path / "out", [AS_OF + datetime.timedelta(days=day) for day in range(4)]
    (out / "sets" / "of another").mkdir(parents=True)
    for night in nights:
        lost(published(warehouse_with(tmp_path, night, ["a"]), out, as_of=night) / "manifest.json")

    assert sorted(path.name.rpartition("-")[0] for path in (out / "sets").iterdir()) == [
        "",
        str(nights[-2]),
        str(nights[-1]),
    ]


class Stopped(list):
    """Views at which a run ends as with Ctrl-C."""

    def __iter__(self):
        raise KeyboardInterrupt


def test_an_unfinished_set_goes_when_its_run_ends_and_the_one_before_it_stays_published(tmp_path):
    out, warehouse = tmp_path / "out", warehouse_with(tmp_path, AS_OF, ["a"])
    before = published(warehouse, out).resolve()
    later = AS_OF + datetime.timedelta(days=1)
    warehouse.replace_night(LIST, pd.DataFrame({"customer_id": ["b"]}), later)

    with warehouse.held(), pytest.raises(KeyboardInterrupt):
        publish(warehouse, [LIST], {}, later, "model", out, views=Stopped())

    assert list((out / "sets").iterdir()) == [before]
    assert (published_as_of(out), damaged_files(out)) == (AS_OF, [])


def test_every_file_and_folder_is_on_disk_before_readers_are_switched_to_it(tmp_path, monkeypatch):
    out, done, sync, move = tmp_path / "out", [], os.fsync, os.replace

    def synced(handle):
        done.append(Path(os.readlink(f"/proc/self/fd/{handle}")).name)
        sync(handle)

    def moved(source, target):
        done.append(f"{Path(target).name} is there")
        move(source, target)

    monkeypatch.setattr(os, "fsync", synced)
    monkeypatch.setattr(os, "replace", moved)
    folder = published(warehouse_with(tmp_path, AS_OF, ["a"]), out)

    name = folder.resolve().name
    files = {file.name for file in folder.iterdir()}
    begun = done.index(f"{name} is there")
    assert files | {f".unfinished-{os.getpid()}"} <= set(done[:begun])
    assert done[begun:] == [f"{name} is there", "sets", "latest is there", "out"]


def test_everything_published_is_deleted_whatever_it_is_and_nothing_else(tmp_path):
    out = tmp_path / "out"
    published(warehouse_with(tmp_path, AS_OF, ["a"]), out)
    folder_for_latest(out)
    published(warehouse_with(tmp_path, AS_OF, ["a"]), out)
    (out / "sets" / "a plain file").write_text("a")
    (out / "sets" / ".unfinished-7").mkdir()
    (out / "mine.txt").write_text("kept")

    delete_all(out)

    assert [path.name for path in out.iterdir()] == ["mine.txt"]
    delete_all(out)
    delete_all(tmp_path / "nowhere")


def test_sets_that_a_link_leads_to_are_deleted_but_not_what_else_is_there(tmp_path):
    out, other = tmp_path / "out", tmp_path / "another disk"
    for folder in (out, other, other / ".unfinished-7", other / "mine"):
        folder.mkdir()
    (other / "2024-01-01 mine.txt").write_text("kept")
    (out / "sets").symlink_to(other)
    warehouse = warehouse_with(tmp_path, AS_OF, ["a"])
    published(warehouse, out)

    delete_all(out)

    assert [path.name for path in out.iterdir()] == ["sets"]
    assert sorted(path.name for path in other.iterdir()) == ["2024-01-01 mine.txt", "mine"]
    published(warehouse, out)
    assert damaged_files(out) == []


def test_what_cannot_be_deleted_is_one_line(tmp_path, monkeypatch):
    out = tmp_path / "out"
    folder = published(warehouse_with(tmp_path, AS_OF, ["a"]), out).resolve()

    def refuse(path, *args, **options):
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(path))

    monkeypatch.setattr(os, "rmdir", refuse)
    with pytest.raises(MachineError, match=r": what is published cannot be deleted: Permission denied$"):
        delete_all(out)
    assert not (out / "latest").exists()
    assert list(folder.iterdir()) == []


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EDQUOT])
def test_a_disk_that_proves_full_once_all_is_written_is_named_too(tmp_path, monkeypatch, code):
    out, warehouse = tmp_path / "out", warehouse_with(tmp_path, AS_OF, ["a"])

    def refuse(handle):
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(os, "fsync", refuse)
    with pytest.raises(MachineError) as full:
        published(warehouse, out)

    assert str(full.value) == f"disk full: no room in {out}; free some space and run again"
    assert list((out / "sets").iterdir()) == []


def test_a_full_disk_is_named_leaves_nothing_and_the_next_night_publishes_the_same_files(tmp_path, small_disk):
    warehouse = warehouse_with(tmp_path, AS_OF, [f"{number * 7919}-{number}" for number in range(100_000)])
    out = small_disk / "out"
    whole = {file.name: file.read_bytes() for file in published(warehouse, tmp_path / "whole").iterdir()}
    (small_disk / "ballast").write_bytes(bytes(9_000_000))

    with pytest.raises(MachineError) as full:
        published(warehouse, out)

    assert re.fullmatch(
        rf"disk full: no room in {out}/sets/\.unfinished-[0-9]+ for [a-z.]+; free some space and run again",
        str(full.value),
    )
    assert list((out / "sets").iterdir()) == []
    (small_disk / "ballast").unlink()
    folder = published(warehouse, out)
    assert damaged_files(out) == []
    assert all(file.read_bytes() == whole[file.name] for file in folder.iterdir() if file.suffix != ".duckdb")


def test_published_files_follow_the_umask(tmp_path):
    before = os.umask(0o027)
    try:
        folder = published(warehouse_with(tmp_path, AS_OF, ["a"]), tmp_path / "out")
    finally:
        os.umask(before)

    assert {stat.S_IMODE(file.stat().st_mode) for file in folder.iterdir()} == {0o640}
    assert stat.S_IMODE(folder.stat().st_mode) == 0o750


def test_a_database_that_the_memory_does_not_suffice_for_is_not_called_damaged(tmp_path, monkeypatch):
    published(warehouse_with(tmp_path, AS_OF, [f"a{number}" for number in range(50_000)]), tmp_path / "out")
    limits = {"memory_limit": "300KB", "max_temp_directory_size": "0KB"}

    with duckdb.connect(config=limits) as small:
        monkeypatch.setattr("seg_pipeline.warehouse.in_memory._database", lambda: small)
        with pytest.raises(MachineError, match=r"segments\.duckdb: cannot be read: Out of Memory"):
            damaged_files(tmp_path / "out")


@pytest.mark.parametrize("kept", [1, 3])
def test_as_many_sets_are_kept_as_the_constant_says(tmp_path, monkeypatch, kept):
    monkeypatch.setattr("seg_pipeline.publishing.sets.SETS_KEPT", kept)
    for day in range(4):
        night = AS_OF + datetime.timedelta(days=day)
        published(warehouse_with(tmp_path, night, [f"night{day}"]), tmp_path / "out", as_of=night)

    assert len(list((tmp_path / "out" / "sets").iterdir())) == kept


def test_what_is_not_there_to_be_checked_is_one_clear_line(tmp_path):
    with pytest.raises(MachineError, match=r"manifest\.json: cannot check what is published"):
        damaged_files(tmp_path / "out")


CLIENT = """
import sys, duckdb
connection = duckdb.connect(sys.argv[1], read_only=sys.argv[2] == "read")
print("open", flush=True)
sys.stdin.readline()
print(connection.execute("SELECT string_agg(customer_id) FROM segments.list").fetchall()[0][0], flush=True)
"""


@pytest.mark.parametrize("mode", ["read", "write"])
@pytest.mark.parametrize("days", [0, 1])
def test_a_client_that_has_the_database_open_reads_on_while_a_night_is_published(tmp_path, mode, days):
    out, night = tmp_path / "out", AS_OF + datetime.timedelta(days=days)
    folder = published(warehouse_with(tmp_path, AS_OF, ["a"]), out)
    client = [sys.executable, "-c", CLIENT, str(folder / "segments.duckdb"), mode]
    with subprocess.Popen(client, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdin is not None and process.stdout is not None
        assert process.stdout.readline() == "open\n"

        published(warehouse_with(tmp_path, night, ["a", "b"]), out, as_of=night)

        assert damaged_files(out) == []
        process.stdin.write("\n")
        process.stdin.flush()
        assert process.stdout.readline() == "a\n"
    assert rows_of(folder)["duckdb"] == [("a",), ("b",)]
    assert damaged_files(out) == []


def test_a_set_that_a_client_has_open_to_write_can_be_checked(tmp_path):
    folder = published(warehouse_with(tmp_path, AS_OF, ["a"]), tmp_path / "out")
    client = [sys.executable, "-c", CLIENT, str(folder / "segments.duckdb"), "write"]
    with subprocess.Popen(client, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdin is not None and process.stdout is not None
        assert process.stdout.readline() == "open\n"
        assert damaged_files(tmp_path / "out") == []
        process.stdin.close()
    assert sorted(file.name for file in folder.iterdir() if file.name.startswith((".", "segments"))) == [
        "segments.duckdb"
    ]


@pytest.mark.parametrize("how", ["latest", "resolved"])
def test_a_set_that_this_process_has_open_to_write_can_be_checked(tmp_path, how):
    folder = published(warehouse_with(tmp_path, AS_OF, ["a"]), tmp_path / "out")
    file = (folder.resolve() if how == "resolved" else folder) / "segments.duckdb"
    with duckdb.connect(str(file)):
        assert damaged_files(tmp_path / "out") == []


def hashed(customer, key):
    return hmac.new(key.encode(), customer.encode(), hashlib.sha256).hexdigest()


IDS = [
    "",
    "a",
    "A",
    " a",
    "ä",
    "a\u0308",
    "顧客",
    "🛒",
    "it's",
    '"',
    "=1+1",
    "0",
    "00",
    "x" * 1000,
    *map(str, range(2000)),
]


@pytest.mark.parametrize("key", [KEY, "k" * 16, "k" * 63, "k" * 64, "k" * 65, "ключ" * 40, "'; --" * 5], ids=len)
def test_hashed_customers_are_those_of_pythons_hmac_in_every_file_and_in_the_order_of_the_hash(tmp_path, key):
    folder = published(warehouse_with(tmp_path, AS_OF, IDS), tmp_path / "out", hash_key=key)

    expected = sorted((hashed(customer, key),) for customer in IDS)
    assert list(rows_of(folder).values()) == [expected] * 3


def test_a_hash_is_the_same_every_night_and_in_every_table_and_another_under_another_key(tmp_path):
    other = Table("segments.other", "Another.", LIST.columns, LIST.key, nightly=True)
    warehouse, later = warehouse_with(tmp_path, AS_OF, ["a"]), AS_OF + datetime.timedelta(days=1)
    for table, night in ((other, AS_OF), (LIST, later)):
        warehouse.replace_night(table, pd.DataFrame({"customer_id": ["a"]}), night)

    def ids(as_of, key, *tables):
        folder = published(warehouse, tmp_path / "out", *tables, as_of=as_of, hash_key=key)
        return {row for table in tables for row in rows_of(folder, table.short_name)["csv"]}

    first = ids(AS_OF, KEY, LIST, other)
    assert len(first) == 1
    assert ids(later, KEY, LIST) == first
    assert ids(later, KEY + "!", LIST) != first


@pytest.fixture
def hash_key(monkeypatch):
    monkeypatch.setenv(OUTPUT_HASH_KEY_VARIABLE, KEY)
    return KEY


def test_a_run_with_hashed_ids_publishes_no_plain_one_and_tells_nobody_the_key(
    run_pipeline, shop, shop_run, tmp_path, hash_key, capfd
):
    shutil.copy(shop_run.warehouse.database, tmp_path / "warehouse.duckdb")
    run = run_pipeline(tmp_path, shop, "--set", "output.customer_ids=hashed")

    assert run.status == 0
    folder, as_of = run.output / "latest", published_as_of(run.output)
    plain = run.warehouse.read("SELECT DISTINCT customer_id FROM features.rfm_features")["customer_id"].to_list()
    for table in (SEGMENT_ASSIGNMENTS, SEGMENT_MOVES):
        customers = run.warehouse.night(table, as_of)["customer_id"]
        expected = sorted((hashed(customer, hash_key),) for customer in customers)
        assert list(rows_of(folder, table.short_name).values()) == [expected] * 3
    with duckdb.connect(str(folder / "segments.duckdb"), read_only=True) as database:
        shown = database.execute("SELECT customer_id FROM customers ORDER BY 1").fetchall()
    assert shown == sorted((hashed(customer, hash_key),) for customer in plain)
    texts = [file.read_text(encoding="utf-8") for file in folder.iterdir() if file.suffix in (".csv", ".html", ".json")]
    words = {word for text in texts for word in re.findall(r"\w+", re.sub(r"base64,[^\"]*", "", text))}
    assert not words & set(plain)
    for file in (*folder.iterdir(), tmp_path / "warehouse.duckdb"):
        assert hash_key.encode() not in file.read_bytes()
    told = capfd.readouterr()
    assert hash_key not in told.out + told.err
    assert damaged_files(run.output) == []


def test_the_report_of_a_run_with_plain_ids_shows_no_customer_either(shop_run):
    plain = shop_run.warehouse.read("SELECT DISTINCT customer_id FROM features.rfm_features")["customer_id"]
    report = (shop_run.output / "latest" / "report.html").read_text(encoding="utf-8")

    assert not set(re.findall(r"\w+", re.sub(r"base64,[^\"]*", "", report))) & set(plain)


@pytest.mark.parametrize(("key", "said"), [(None, "is not set"), ("", "is not set"), ("a" * 15, "has 15")])
def test_hashing_without_a_key_or_with_a_short_one_is_one_line_before_anything_is_done(
    run_pipeline, shop, tmp_path, monkeypatch, capsys, key, said
):
    monkeypatch.delenv(OUTPUT_HASH_KEY_VARIABLE, raising=False)
    if key is not None:
        monkeypatch.setenv(OUTPUT_HASH_KEY_VARIABLE, key)

    run = run_pipeline(tmp_path, shop, "--set", "output.customer_ids=hashed")

    assert run.status == 2
    error = capsys.readouterr().err.strip()
    assert error.endswith(
        "output.customer_ids=hashed needs a key of at least 16 characters in the environment variable"
        f" SEG_PIPELINE_OUTPUT_HASH_KEY, which {said}"
    )
    assert "\n" not in error and not (key and key in error)
    assert list(tmp_path.iterdir()) == []


def test_the_key_is_no_setting_and_is_not_asked_for_where_ids_stay_plain(monkeypatch, hash_key):
    settings = load_settings(["output.customer_ids=hashed"])

    assert output_hash_key(settings.output) == SecretStr(hash_key)
    assert hash_key not in repr(settings) + str(flattened(settings))
    with pytest.raises(UsageError, match=r"^output\.hash_key: no such setting") as failure:
        load_settings([f"output.hash_key={hash_key}"])
    assert hash_key not in str(failure.value)
    monkeypatch.delenv(OUTPUT_HASH_KEY_VARIABLE)
    assert output_hash_key(OutputSettings()) is None


def sums(tmp_path, texts):
    warehouse = Warehouse(database=str(tmp_path / "warehouse.duckdb"))
    rows = pd.DataFrame({"id": range(-1, len(texts) - 1), "text": texts, "amount": -1.5, "share": -0.25})
    warehouse.replace_night(SUMS, rows, AS_OF)
    return published(warehouse, tmp_path / "out", SUMS)


FORMULAS = [
    *("=1+1", "+1", "-1", "@SUM(A1)", "\t=1", "\r=1", "=", '=cmd|"/C calc"!A0', "=a,b", "=\u0301"),
    *(" =1", "\n=1", "\ta", "\na", "\u200b\ufeff=1", "\u00a0+1", "\x00@1", "\u2060 -1"),
    *("\uff1d1", "\uff0b1", "\uff0d1", "\uff201", " \uff1d1"),
    *("\ufe0f=1", "\u034f@1", "\u115f=1", "\u3164+1", "\uffa0-1", "\u2800=1", "\U000e0100=1", "\u2065=1"),
]
HARMLESS = ["", None, "1", "a=b", " a", "'=1", "'", 'it\'s, "so"', "5-6", "ä", "１", "#"]


def test_text_that_a_spreadsheet_would_run_has_an_apostrophe_before_it_in_csv_alone(tmp_path):
    found = rows_of(sums(tmp_path, FORMULAS), "sums", "text")

    assert found["csv"] == [(f"'{text}",) for text in FORMULAS]
    assert found["parquet"] == found["duckdb"] == [(text,) for text in FORMULAS]


def test_other_text_and_numbers_are_in_csv_as_they_are(tmp_path):
    found = rows_of(sums(tmp_path, HARMLESS), "sums", "id, text, amount, share")

    assert found["csv"] == [
        (str(number), text or "", "-1.5000", "-0.25") for number, text in enumerate(HARMLESS, start=-1)
    ]
    assert [text for _, text, _, _ in found["parquet"]] == HARMLESS


def test_customers_whose_ids_are_formulas_stay_in_the_order_of_their_ids(tmp_path):
    found = rows_of(published(warehouse_with(tmp_path, AS_OF, ["=2", "(1", "a", "-3"]), tmp_path / "out"))

    assert found["csv"] == [("(1",), ("'-3",), ("'=2",), ("a",)]
    assert found["parquet"] == found["duckdb"] == [("(1",), ("-3",), ("=2",), ("a",)]


def test_the_copy_that_a_killed_look_at_the_published_database_left_goes_with_the_next_night(tmp_path):
    out, warehouse = tmp_path / "out", warehouse_with(tmp_path, AS_OF, ["a"])
    published(warehouse, out)
    files = sorted(out.rglob("*"))
    killed = (
        "import os, sys; from pathlib import Path; from seg_pipeline.publishing.exports import _copied\n"
        "with _copied(Path(sys.argv[1])): os._exit(9)"
    )

    done = subprocess.run([sys.executable, "-c", killed, out / "latest" / "segments.duckdb"], check=False)

    assert done.returncode == 9
    assert sorted(out.rglob("*")) != files
    published(warehouse, out)
    assert sorted(out.rglob("*")) == files


def test_the_database_can_be_read_by_older_clients(tmp_path):
    out = tmp_path / "out"
    published(warehouse_with(tmp_path, AS_OF, ["a"]), out)

    with duckdb.connect() as connection:
        connection.execute(f"ATTACH '{out / 'latest' / 'segments.duckdb'}' AS night (READ_ONLY)")
        [(tags,)] = connection.execute("SELECT tags FROM duckdb_databases() WHERE database_name = 'night'").fetchall()

    assert tags["storage_version"].startswith("v1.0.0")
