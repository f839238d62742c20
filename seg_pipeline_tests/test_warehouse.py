"""A killed run leaves old or new tables, never a mixture; errors of the machine are one line."""

import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import duckdb
import pandas as pd
import pytest

from seg_pipeline.errors import MachineError, UsageError
from seg_pipeline.tables import Column, Table
from seg_pipeline.warehouse import Warehouse, sharing, versions
from seg_pipeline.warehouse.duckdb_errors import translate_errors
from seg_pipeline.warehouse.sharing import SharedFile

NUMBERS = Table("raw.numbers", "Numbers.", (Column("a", "INTEGER", "A"), Column("b", "INTEGER", "B")), key=("a",))
NIGHTLY = Table(
    "raw.nightly", "Nights.", (Column("as_of", "DATE", "Night"), Column("a", "INTEGER", "A")), key=("a",), nightly=True
)
ANALYST = """
import sys, duckdb
connection = duckdb.connect(sys.argv[1], read_only=sys.argv[2] == "read")
for statement in sys.stdin:
    print(connection.execute(statement).fetchall(), flush=True)
connection.close()
"""
KILLED = """
import os, sys, duckdb
connection = duckdb.connect(sys.argv[1])
connection.execute(sys.argv[2])
os._exit(0)
"""
KILLED_BEFORE = """
import os, sys
from pathlib import Path
from seg_pipeline.warehouse import sharing
sharing.QUIET_SECONDS = 0
shared = sharing.SharedFile(sys.argv[1], Path(sys.argv[1]).resolve())
{step} = lambda *_: os._exit(9)
shared.fork_from_writer()
"""
REBUILT = "seg-pipeline backfill FIRST LAST brings past nights back"


class Analyst:
    """Another process that has the warehouse open and keeps running statements."""

    def __init__(self, warehouse, mode):
        self.process = subprocess.Popen(
            [sys.executable, "-c", ANALYST, warehouse.database, mode],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self.does("SELECT 1")

    @property
    def pid(self):
        return self.process.pid

    def does(self, statement):
        self.process.stdin.write(statement + "\n")
        self.process.stdin.flush()
        return self.process.stdout.readline().strip()

    def leaves(self):
        with self.process:
            self.process.stdin.close()
        return self.process.returncode


@pytest.fixture(autouse=True)
def soon_quiet(monkeypatch):
    """Takes a writer as idle sooner than in real life, so that no test waits for seconds."""
    monkeypatch.setattr(sharing, "QUIET_SECONDS", 0.1)


@pytest.fixture
def analyst(empty_warehouse):
    """Returns a function that starts an analyst with a warehouse open to `read` or `write`; a new one has one row."""
    came = []

    def comes(mode, warehouse=empty_warehouse):
        if not file_of(warehouse).exists():
            replace(warehouse, "SELECT 1 AS a, 2 AS b")
        came.append(Analyst(warehouse, mode))
        return came[-1]

    yield comes
    for one in came:
        one.leaves()


@pytest.fixture
def holder(analyst):
    """An analyst in the middle of replacing a table."""
    one = analyst("write")
    one.does("BEGIN")
    one.does("CREATE OR REPLACE TABLE raw.numbers AS SELECT 7 AS a, 7 AS b")
    return one.process


def killed_after(warehouse, statement):
    """Runs a statement in a process that ends before it could empty the write-ahead log."""
    subprocess.run([sys.executable, "-c", KILLED, warehouse.database, statement], check=True)


def run_saying(warehouse, *queries, **how):
    """Returns the warnings of a run and the values that it reads."""
    warned, read = [], []
    with warehouse.held(warned.append, **how):
        read += [warehouse.value(query) for query in queries]
    return warned, *read


def flip(file, at):
    """Damages one byte of a file; a negative position counts from the end."""
    content = bytearray(file.read_bytes())
    content[at] ^= 255
    file.write_bytes(content)


def file_of(warehouse):
    return Path(warehouse.database)


def replace(warehouse, query):
    with warehouse.transaction() as connection:
        connection.replace_table(NUMBERS, query)


def numbers(warehouse):
    return warehouse.read("FROM raw.numbers").to_dict("records")


def test_columns_are_matched_by_name(empty_warehouse):
    replace(empty_warehouse, "SELECT 2 AS b, 1 AS a")
    assert numbers(empty_warehouse) == [{"a": 1, "b": 2}]


def test_a_failed_replacement_leaves_the_old_table(empty_warehouse):
    replace(empty_warehouse, "SELECT 1 AS a, 2 AS b")
    with pytest.raises(Exception, match="Conversion Error"):
        replace(empty_warehouse, "SELECT 1 AS a, CAST('x' AS INTEGER) AS b")
    assert numbers(empty_warehouse) == [{"a": 1, "b": 2}]


def test_a_killed_replacement_leaves_the_old_table(empty_warehouse, holder):
    holder.send_signal(signal.SIGKILL)
    holder.wait()
    assert numbers(empty_warehouse) == [{"a": 1, "b": 2}]


def test_a_night_replaces_its_own_rows_only(empty_warehouse):
    nights = [pd.Timestamp(f"2024-01-0{day}").date() for day in (1, 2)]
    for night in nights:
        empty_warehouse.replace_night(NIGHTLY, pd.DataFrame({"a": [1, 2]}), night)
    empty_warehouse.replace_night(NIGHTLY, "SELECT $as_of AS as_of, 9 AS a", nights[1])
    assert list(empty_warehouse.night(NIGHTLY, nights[0])["a"]) == [1, 2]
    assert list(empty_warehouse.night(NIGHTLY, nights[1])["a"]) == [9]
    assert empty_warehouse.count(NIGHTLY, nights[1]) == 1


def test_a_table_is_read_before_it_exists(empty_warehouse):
    query, table = "SELECT a, b FROM {numbers}", {"numbers": NUMBERS}

    assert empty_warehouse.read(query, table).empty
    assert empty_warehouse.count(NUMBERS) == 0
    assert empty_warehouse.value("SELECT count(*) FROM information_schema.tables WHERE table_schema = 'raw'") == 0

    replace(empty_warehouse, "SELECT 1 AS a, 2 AS b")
    assert empty_warehouse.read(query, table).to_dict("records") == [{"a": 1, "b": 2}]


def test_a_column_that_an_older_version_did_not_write_is_null(empty_warehouse):
    with empty_warehouse.get_connection() as connection:
        connection.execute("CREATE SCHEMA raw; CREATE TABLE raw.numbers AS SELECT 1 AS a")
        assert connection.execute("SELECT a, b FROM {numbers}", {"numbers": NUMBERS}).fetchall() == [(1, None)]


def test_a_busy_warehouse_is_waited_for_and_then_names_the_process(empty_warehouse, holder):
    warehouse = Warehouse(database=empty_warehouse.database, wait_seconds=0.5)
    began = time.monotonic()
    with pytest.raises(MachineError, match=f"is busy: process {holder.pid} has it open"):
        warehouse.read("SELECT 1")
    assert 0.5 <= time.monotonic() - began < 5


def test_a_warehouse_that_is_freed_in_time_is_used(empty_warehouse, holder):
    threading.Timer(0.5, holder.kill).start()
    assert numbers(Warehouse(database=empty_warehouse.database, wait_seconds=20)) == [{"a": 1, "b": 2}]


def test_a_file_that_is_no_database_is_one_line(tmp_path):
    (tmp_path / "notes.duckdb").write_text("not a database, though long enough to be looked at as one\n" * 100)
    with pytest.raises(MachineError, match=r"notes\.duckdb") as failure:
        Warehouse(database=str(tmp_path / "notes.duckdb")).read("SELECT 1")
    assert "\n" not in str(failure.value)


def test_a_folder_that_cannot_be_made_is_one_line(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(MachineError, match=r"warehouse .*: (Not a directory|File exists)"):
        Warehouse(database=str(tmp_path / "file" / "below" / "w.duckdb")).read("SELECT 1")


def test_a_connection_closes_when_the_work_in_it_fails(empty_warehouse):
    with pytest.raises(RuntimeError, match="work"), empty_warehouse.get_connection():
        raise RuntimeError("work")
    other = subprocess.run(
        [sys.executable, "-c", f"import duckdb; duckdb.connect({empty_warehouse.database!r})"], check=False
    )
    assert other.returncode == 0


def test_a_setting_that_the_database_refuses_is_wrong_usage(tmp_path):
    warehouse = Warehouse(database=str(tmp_path / "w.duckdb"), connection_config={"memory_limit": "much"})

    with pytest.raises(UsageError, match="Memory must have a number"), warehouse.get_connection():
        pass


def interrupted_soon():
    """Sends this process SIGINT while the next query runs."""
    threading.Timer(0.5, signal.pthread_kill, (threading.get_ident(), signal.SIGINT)).start()


def test_an_interrupt_during_a_query_is_one(empty_warehouse):
    interrupted_soon()
    with pytest.raises(KeyboardInterrupt):
        empty_warehouse.value("SELECT sum(range % 7) FROM range(100_000_000_000)")
    assert empty_warehouse.value("SELECT 1") == 1


def test_an_interrupt_during_a_check_is_no_failed_check(empty_warehouse):
    from great_expectations.expectations import ExpectColumnValuesToBeBetween

    from seg_pipeline.quality.judging import validate

    expected = [ExpectColumnValuesToBeBetween(column="a", min_value=0)]
    interrupted_soon()
    with pytest.raises(KeyboardInterrupt), empty_warehouse.get_connection() as connection:
        validate(connection, "SELECT range AS a FROM range(100_000_000_000)", expected, max_examples=1)


# An analyst has the file open.


def test_a_run_leaves_the_file_to_those_who_read_it_and_goes_on_with_a_copy(empty_warehouse, analyst):
    readers = [analyst("read"), analyst("read")]
    warned = []

    with empty_warehouse.held(warned.append):
        replace(empty_warehouse, "SELECT 3 AS a, 4 AS b")
        assert [one.does("SELECT a FROM raw.numbers") for one in readers] == ["[(1,)]"] * 2

    # DuckDB names one of them.
    assert warned[0] in [
        f"warehouse {empty_warehouse.database}: process {one.pid} has it open to read, and keeps the file as it is now;"
        " the run goes on with a copy in its place"
        for one in readers
    ]
    assert len(warned) == 1
    assert [one.does("SELECT a FROM raw.numbers") for one in readers] == ["[(1,)]"] * 2
    assert [one.leaves() for one in readers] == [0, 0]
    assert numbers(empty_warehouse) == [{"a": 3, "b": 4}]
    assert not list(file_of(empty_warehouse).parent.glob("*.copy"))


def test_copies_of_lines_that_a_killed_run_left_are_deleted_by_the_next(empty_warehouse):
    folder = file_of(empty_warehouse).parent
    kept = folder / "other.duckdb.copies-a"
    for left in (folder / "warehouse.duckdb.copies-a", folder / "warehouse.duckdb.2.copies-b", kept):
        left.mkdir(parents=True)
        (left / "0.csv").touch()
    with empty_warehouse.held():
        pass
    assert [file for file in folder.iterdir() if file.is_dir()] == [kept]


def test_what_a_killed_run_had_in_its_log_is_in_the_copy_once(empty_warehouse, analyst):
    replace(empty_warehouse, "SELECT 1 AS a, 2 AS b")
    killed_after(empty_warehouse, "INSERT INTO raw.numbers VALUES (5, 5)")
    assert file_of(empty_warehouse).with_name("warehouse.duckdb.wal").exists()
    reader = analyst("read")

    warned, rows = run_saying(empty_warehouse, "SELECT count(*) FROM raw.numbers")

    assert len(warned) == 1
    assert rows == 2
    assert reader.does("SELECT count(*) FROM raw.numbers") == "[(2,)]"
    assert reader.leaves() == 0
    assert len(numbers(empty_warehouse)) == 2


def test_a_run_that_is_killed_beside_a_reader_keeps_its_commits_when_the_reader_closes(empty_warehouse, analyst):
    reader = analyst("read")
    run_saying(empty_warehouse)
    killed_after(empty_warehouse, "INSERT INTO raw.numbers VALUES (5, 5)")
    assert reader.leaves() == 0
    assert len(numbers(empty_warehouse)) == 2


@pytest.fixture
def patient(empty_warehouse):
    """A warehouse whose runs wait longer than a writer must be quiet."""
    return Warehouse(database=empty_warehouse.database, wait_seconds=0.25)


def left_to(writer, warehouse, number):
    file = warehouse.database
    return (
        f"warehouse {file}: process {writer.pid} has it open to write, and keeps it as {file}.{number}; the run goes on"
        " with a copy in its place"
    )


def test_a_run_leaves_the_file_to_who_has_it_open_to_write_and_goes_on_with_a_copy(patient, analyst):
    writer = analyst("write")
    writer.does("INSERT INTO raw.numbers VALUES (5, 5)")
    with patient.held((warned := []).append):
        writer.does("INSERT INTO raw.numbers VALUES (6, 6)")
        writer.does("CHECKPOINT")
        writer.does("INSERT INTO raw.numbers VALUES (7, 7)")
        assert numbers(patient)[1:] == [{"a": 5, "b": 5}]
        replace(patient, "SELECT 8 AS a, 9 AS b")
        assert writer.does("SELECT a FROM raw.numbers") == "[(1,), (5,), (6,), (7,)]"
    assert warned == [left_to(writer, patient, 1)]
    assert writer.leaves() == 0
    assert numbers(patient) == [{"a": 8, "b": 9}]
    assert numbers(Warehouse(database=f"{patient.database}.1"))[2:] == [{"a": 6, "b": 6}, {"a": 7, "b": 7}]
    # What he wrote is his.
    assert run_saying(patient, "SELECT a FROM raw.numbers") == ([], 8)
    assert Path(f"{patient.database}.1").exists()


def test_a_writer_is_idle_if_the_clock_was_set_back_since_he_wrote(patient, analyst):
    writer = analyst("write")
    tomorrow = time.time() + 86400
    os.utime(patient.database, (tomorrow, tomorrow))

    assert run_saying(patient) == ([left_to(writer, patient, 1)],)


def test_a_file_that_was_left_to_a_writer_goes_once_he_has_gone_without_writing(patient, analyst):
    folder = file_of(patient).parent
    first = analyst("write", patient)
    assert run_saying(patient) == ([left_to(first, patient, 1)],)
    second = analyst("write", patient)
    assert run_saying(patient) == ([left_to(second, patient, 2)],)
    assert [one.leaves() for one in (first, second)] == [0, 0]

    assert run_saying(patient, "SELECT a FROM raw.numbers") == ([], 1)

    assert sorted(file.name for file in folder.iterdir() if file.suffix != ".lock") == [
        "warehouse.duckdb", "warehouse.duckdb.3"
    ]  # fmt: skip


def test_what_a_run_left_of_a_copy_for_a_writer_when_it_was_killed_is_removed(patient):
    replace(patient, "SELECT 1 AS a, 2 AS b")
    file_of(patient).with_name("warehouse.duckdb.1").hardlink_to(file_of(patient))
    assert run_saying(patient, "SELECT a FROM raw.numbers") == ([], 1)
    assert sorted(file.name for file in file_of(patient).parent.glob("*.[0-9]")) == []


def test_a_full_disk_beside_a_writer_leaves_no_log_for_the_next_copy_to_replay(small_disk, analyst):
    warehouse = Warehouse(database=str(small_disk / "w.duckdb"), wait_seconds=0.25)
    replace(warehouse, "SELECT range AS a, 1 AS b FROM range(1000)")
    writer = analyst("write", warehouse)
    writer.does("INSERT INTO raw.numbers SELECT range, (hash(range) % 2_000_000_000)::INTEGER FROM range(500_000)")
    log = small_disk / "w.duckdb.wal"
    free = shutil.disk_usage(small_disk).free
    # There is room for the database, but not for all of its log.
    (small_disk / "ballast").write_bytes(bytes(free - file_of(warehouse).stat().st_size - log.stat().st_size // 2))

    with pytest.raises(MachineError, match="cannot be replaced with a copy: No space left on device"):
        run_saying(warehouse)

    assert sorted(file.name for file in small_disk.iterdir()) == [
        "ballast", "w.duckdb", "w.duckdb.lock", "w.duckdb.wal"
    ]  # fmt: skip
    assert writer.leaves() == 0


@pytest.mark.parametrize("kept", [("2.wal",), ("2.wal", "copy"), ("2.handover",)])
def test_what_a_run_that_was_killed_before_the_swap_left_is_deleted(patient, kept):
    replace(patient, "SELECT 1 AS a, 2 AS b")
    left = [Path(f"{patient.database}.{suffix}") for suffix in kept]
    for file in left:
        file.write_bytes(b"of a killed run")

    run_saying(patient)

    assert not any(file.exists() for file in left)


def test_a_log_that_a_killed_run_copied_is_not_replayed_beside_a_new_copy(patient, analyst):
    replace(patient, "SELECT 1 AS a, 2 AS b")
    killed_after(patient, "INSERT INTO raw.numbers VALUES (5, 5)")
    log = Path(f"{patient.database}.wal")
    stale = log.read_bytes()
    numbers(patient)  # opening it empties the log into the file
    writer = analyst("write")
    shared = SharedFile(patient.database, file_of(patient))
    Path(f"{patient.database}.2.wal").write_bytes(stale)
    time.sleep(sharing.QUIET_SECONDS)

    assert shared.fork_from_writer() == Path(f"{patient.database}.1")

    assert len(numbers(patient)) == 2
    assert writer.leaves() == 0


@pytest.mark.parametrize("touch", [lambda file: file.chmod(0o600), lambda file: Path(f"{file}.link").hardlink_to(file)])
def test_a_file_that_its_writer_wrote_to_stays_whatever_else_happens_to_it(patient, analyst, touch):
    writer = analyst("write")
    with patient.held():
        writer.does("INSERT INTO raw.numbers VALUES (6, 6)")
    assert writer.leaves() == 0
    left = Path(f"{patient.database}.1")
    touch(left)

    run_saying(patient)

    assert len(numbers(Warehouse(database=str(left)))) == 2


@pytest.mark.parametrize("step", ["os.replace", "os.link", "Path.symlink_to"])
@pytest.mark.parametrize("rows", [1, 2])
def test_a_run_that_is_killed_during_the_swap_leaves_the_old_file_and_nothing_else(patient, analyst, step, rows):
    writer = analyst("write")
    if rows == 2:
        writer.does("INSERT INTO raw.numbers VALUES (5, 5)")
    killed = subprocess.run([sys.executable, "-c", KILLED_BEFORE.format(step=step), patient.database], check=False)
    assert killed.returncode == 9
    assert list(file_of(patient).parent.glob("*.2*"))
    assert writer.leaves() == 0

    assert run_saying(patient, "SELECT count(*) FROM raw.numbers") == ([], rows)

    assert sorted(file.name for file in file_of(patient).parent.iterdir() if file.suffix != ".lock") == [
        "warehouse.duckdb"
    ]


def test_a_process_that_goes_on_writing_is_waited_for_and_then_named(empty_warehouse, analyst, monkeypatch):
    monkeypatch.setattr(sharing, "QUIET_SECONDS", 60)
    writer = analyst("write")
    writer.does("INSERT INTO raw.numbers VALUES (5, 5)")
    with pytest.raises(MachineError) as refused, empty_warehouse.held():
        pass
    assert str(refused.value) == (
        f"warehouse {empty_warehouse.database} is busy: process {writer.pid} has it open and writes to it; opened"
        " read-only it would not block a run"
    )
    writer.does("INSERT INTO raw.numbers VALUES (6, 6)")
    assert writer.leaves() == 0
    assert {"a": 6, "b": 6} in numbers(empty_warehouse)


def test_an_empty_file_is_set_aside_and_the_run_begins_anew(empty_warehouse):
    file = empty_warehouse.database
    file_of(empty_warehouse).touch()
    assert run_saying(empty_warehouse) == (
        [
            f"warehouse {file} is damaged: it is empty; it is set aside as {file}.damaged; this run rebuilds from the"
            f" source, and {REBUILT}"
        ],
    )


def test_nobody_opens_the_file_while_a_run_has_it(empty_warehouse):
    with empty_warehouse.held():
        # Twice: a handle of the file that the process closes would give up the lock of all the others.
        for query in ("SELECT 1 AS a, 2 AS b", "SELECT 3 AS a, 4 AS b"):
            replace(empty_warehouse, query)
        for mode in (True, False):
            opens = f"import duckdb; duckdb.connect({empty_warehouse.database!r}, read_only={mode})"
            other = subprocess.run([sys.executable, "-c", opens], capture_output=True, text=True, check=False)
            assert "Conflicting lock" in other.stderr


def test_a_look_at_the_warehouse_goes_on_beside_a_reader_and_changes_nothing(empty_warehouse, analyst):
    reader = analyst("read")
    inode = file_of(empty_warehouse).stat().st_ino
    assert run_saying(empty_warehouse, "SELECT a FROM raw.numbers", read_only=True) == ([], 1)
    assert file_of(empty_warehouse).stat().st_ino == inode
    assert reader.leaves() == 0


def test_a_copy_that_a_killed_run_left_half_written_is_removed(empty_warehouse):
    left = Path(f"{empty_warehouse.database}.copy")
    left.write_bytes(b"half")
    run_saying(empty_warehouse)
    assert not left.exists()


# The file is damaged.


@pytest.mark.parametrize(
    "damage",
    [
        pytest.param(lambda file: flip(file, 100), id="header"),
        pytest.param(lambda file: flip(file, 5000), id="second header"),
        pytest.param(lambda file: flip(file, -100_000), id="catalog"),
        pytest.param(lambda file: file.write_bytes(file.read_bytes()[:20_000]), id="cut short"),
        pytest.param(lambda file: file.write_bytes(file.read_bytes()[:100]), id="hardly anything left"),
    ],
)
def test_a_file_that_is_damaged_is_set_aside_and_the_run_begins_anew(empty_warehouse, damage):
    file = file_of(empty_warehouse)
    replace(empty_warehouse, "SELECT 1 AS a, 2 AS b")
    damage(file)
    damaged = file.read_bytes()

    for aside in ("warehouse.duckdb.damaged", "warehouse.duckdb.damaged-2"):
        file.write_bytes(damaged)
        warned, tables = run_saying(empty_warehouse, "SELECT count(*) FROM duckdb_tables()")
        assert tables == 0
        assert len(warned) == 1
        assert warned[0].startswith(f"warehouse {file} is damaged: Co")
        assert warned[0].endswith(
            f"; it is set aside as {file.with_name(aside)}; this run rebuilds from the source, and {REBUILT}"
        )
        assert file.with_name(aside).read_bytes() == damaged


def test_a_damaged_log_is_set_aside_with_its_file(empty_warehouse):
    file = file_of(empty_warehouse)
    replace(empty_warehouse, "SELECT 1 AS a, 2 AS b")
    killed_after(empty_warehouse, "INSERT INTO raw.numbers FROM range(500) AS t(a), (SELECT 1 AS b)")
    flip(Path(f"{file}.wal"), -100)

    warned, tables = run_saying(empty_warehouse, "SELECT count(*) FROM duckdb_tables()")

    assert tables == 0
    assert warned[0].startswith(f"warehouse {file} is damaged: Failure while replaying WAL file")
    assert Path(f"{file}.damaged").exists() and Path(f"{file}.damaged.wal").exists()


def damaged_inside(warehouse):
    """A warehouse whose damage is only detected when its rows are read."""
    replace(warehouse, "SELECT range AS a, hash(range)::INTEGER % 1000 AS b FROM range(0)")
    replace(warehouse, "SELECT range AS a, (hash(range) % 100000)::INTEGER AS b FROM range(300000)")
    with warehouse.get_connection() as connection:
        block = connection.execute("SELECT min(block_id) FROM pragma_storage_info('raw.numbers')").fetchall()[0][0]
    # Blocks of 256 KiB lie behind three headers of 4 KiB.
    flip(file_of(warehouse), 3 * 4096 + block * 2**18 + 5000)


def test_damage_that_shows_in_mid_run_ends_the_run_and_the_next_one_begins_anew(empty_warehouse):
    file = file_of(empty_warehouse)
    damaged_inside(empty_warehouse)

    with empty_warehouse.held():
        with pytest.raises(MachineError) as ended:
            empty_warehouse.value("SELECT sum(a + b) FROM raw.numbers")
        # What a run of Dagster's goes on to do has the same answer.
        with pytest.raises(MachineError, match="is damaged"):
            empty_warehouse.value("SELECT 1")

    assert str(ended.value).startswith(f"warehouse {file} is damaged: Corrupt database file: computed checksum")
    assert str(ended.value).endswith(
        f"; it is set aside as {file}.damaged; running again rebuilds from the source, and {REBUILT}"
    )
    assert not file.exists() and Path(f"{file}.damaged").exists()
    assert run_saying(empty_warehouse, "SELECT count(*) FROM duckdb_tables()") == ([], 0)


def test_who_only_reads_is_told_of_damage_and_leaves_the_file(empty_warehouse):
    damaged_inside(empty_warehouse)
    with pytest.raises(MachineError, match=r"; move it away, and seg-pipeline run rebuilds from the source$"):
        empty_warehouse.value("SELECT sum(a + b) FROM raw.numbers")
    assert file_of(empty_warehouse).exists()


def test_a_file_that_never_was_a_database_stays_where_it_is(tmp_path):
    (tmp_path / "notes.duckdb").write_text("not a database\n" * 100)
    with pytest.raises(MachineError) as refused, Warehouse(database=str(tmp_path / "notes.duckdb")).held():
        pass
    assert str(refused.value) == (
        f"warehouse {tmp_path / 'notes.duckdb'}: not a DuckDB file; name another with warehouse.path, or"
        " move it away, and seg-pipeline run builds it from the source"
    )
    assert {path.name for path in tmp_path.iterdir()} == {"notes.duckdb", "notes.duckdb.lock"}


# Another version made the file.


def old_warehouse(warehouse):
    """A file made by version 1."""
    with duckdb.connect(warehouse.database) as connection:
        for schema in ("raw", "prepared", "features", "models"):
            connection.execute(f"CREATE SCHEMA {schema}; CREATE TABLE {schema}.rows AS SELECT 1 AS a")


SCHEMAS = "SELECT list(schema_name ORDER BY schema_name) FROM duckdb_tables()"


def test_a_run_migrates_an_older_file_once(empty_warehouse):
    old_warehouse(empty_warehouse)
    said = f"warehouse {empty_warehouse.database} was made by an older seg-pipeline and is migrated"
    assert run_saying(empty_warehouse, SCHEMAS) == ([said], ["features", "models"])
    assert run_saying(empty_warehouse, SCHEMAS, "FROM main.warehouse_version") == ([], ["features", "models"], 2)


def test_a_migration_that_fails_changes_nothing(empty_warehouse, monkeypatch):
    old_warehouse(empty_warehouse)
    monkeypatch.setattr(
        "seg_pipeline.warehouse.versions.MIGRATIONS", ("DROP SCHEMA raw CASCADE; DROP TABLE features.nothing",)
    )
    with pytest.raises(duckdb.CatalogException), empty_warehouse.held():
        pass
    monkeypatch.undo()
    assert run_saying(empty_warehouse, SCHEMAS)[1] == ["features", "models"]


@pytest.mark.parametrize("how", ["get_connection", "held"])
def test_who_only_reads_an_older_file_is_told_that_a_run_migrates_it(empty_warehouse, how):
    old_warehouse(empty_warehouse)
    looks = empty_warehouse.held(read_only=True) if how == "held" else empty_warehouse.get_connection()
    with pytest.raises(MachineError) as refused, looks:
        pass
    assert str(refused.value) == (
        f"warehouse {empty_warehouse.database} was made by an older seg-pipeline; the next seg-pipeline run migrates it"
    )
    assert run_saying(empty_warehouse, SCHEMAS)[1] == ["features", "models"]


def test_a_newer_file_is_refused_and_left_alone(empty_warehouse):
    replace(empty_warehouse, "SELECT 1 AS a, 2 AS b")
    with empty_warehouse.get_connection() as connection:
        connection.execute("CREATE OR REPLACE VIEW main.warehouse_version AS SELECT 99 AS version")
    for way in (empty_warehouse.held(), empty_warehouse.held(read_only=True), empty_warehouse.get_connection()):
        with pytest.raises(MachineError) as refused, way:
            pass
        assert str(refused.value) == (
            f"warehouse {empty_warehouse.database} has schema version 99; this seg-pipeline supports up to 2. Upgrade"
            " seg-pipeline, or name another file with warehouse.path"
        )


def test_a_migration_leaves_the_version_of_a_newer_file(empty_warehouse):
    with duckdb.connect(empty_warehouse.database) as connection:
        connection.execute("CREATE VIEW main.warehouse_version AS SELECT 99 AS version")
        with pytest.raises(MachineError, match="has schema version 99"):
            versions.migrate(connection, 99, empty_warehouse.database)
        assert versions.version_of(connection) == 99


# The machine says no.


def refused(warehouse, query):
    """Returns the error line and the exit status of a run that cannot run a statement."""
    with pytest.raises(MachineError) as refusal, warehouse.held(), warehouse.get_connection() as connection:
        connection.execute(query)
    assert "\n" not in str(refusal.value)
    return str(refusal.value), refusal.value.exit_status


BIG = "CREATE TABLE big AS SELECT md5(range::VARCHAR) AS a, md5((range + 1)::VARCHAR) AS b FROM range({rows})"


def test_a_full_disk_is_one_line_and_the_tables_stay(small_disk):
    warehouse = Warehouse(database=str(small_disk / "w.duckdb"))
    replace(warehouse, "SELECT 1 AS a, 2 AS b")
    line, status = refused(warehouse, BIG.format(rows=1_000_000))
    assert status == 3
    assert line == f"disk full: no room in {small_disk} for w.duckdb; free some space and run again"
    assert numbers(warehouse) == [{"a": 1, "b": 2}]


def test_a_used_up_quota_is_a_full_disk(tmp_path):
    file = tmp_path / "w.duckdb"
    line = rf"^disk full: no room in {tmp_path} for w\.duckdb\.wal; free some space and run again$"
    with pytest.raises(MachineError, match=line), translate_errors(str(file), file):
        raise duckdb.IOException(f'IO Error: Could not write file "{file}.wal": Disk quota exceeded')


def test_a_disk_too_full_for_the_log_is_one_line_and_the_tables_stay(small_disk):
    warehouse = Warehouse(database=str(small_disk / "w.duckdb"))
    replace(warehouse, "SELECT 1 AS a, 2 AS b")
    (small_disk / "ballast").write_bytes(bytes(11_300_000))
    line, status = refused(warehouse, BIG.format(rows=20_000))
    assert status == 3
    assert line == f"disk full: no room in {small_disk} for w.duckdb.wal; free some space and run again"
    (small_disk / "ballast").unlink()
    assert numbers(warehouse) == [{"a": 1, "b": 2}]


def test_no_room_to_spill_is_one_line(small_disk):
    warehouse = Warehouse(database=str(small_disk / "w.duckdb"), connection_config={"memory_limit": "60MB"})
    line, status = refused(
        warehouse, "SELECT count(*) FROM (SELECT md5(range::VARCHAR) AS a FROM range(5_000_000) GROUP BY a)"
    )
    assert (status, line) == (
        3,
        f"warehouse {warehouse.database}: disk full: no room in {warehouse.database}.tmp for data that exceeds the"
        " memory",
    )


def test_no_room_for_a_copy_beside_a_reader_is_one_line(small_disk, analyst):
    warehouse = Warehouse(database=str(small_disk / "w.duckdb"), wait_seconds=0)
    replace(warehouse, "SELECT range AS a, (hash(range) % 2_000_000_000)::INTEGER AS b FROM range(1_200_000)")
    (small_disk / "ballast").write_bytes(bytes(3_000_000))
    reader = analyst("read", warehouse)
    with pytest.raises(MachineError) as said, warehouse.held():
        pass
    assert str(said.value) == (
        f"warehouse {warehouse.database}: a process has it open, and it cannot be replaced with a copy: No space left"
        " on device"
    )
    assert not (small_disk / "w.duckdb.copy").exists()
    assert reader.does("SELECT count(*) FROM raw.numbers") == "[(1200000,)]"
    assert reader.leaves() == 0


def test_duckdb_may_take_half_of_the_memory_unless_a_limit_is_set(empty_warehouse):
    sizes = {"KiB": 2**10, "MiB": 2**20, "GiB": 2**30, "TiB": 2**40}

    def limit(warehouse):
        size, unit = warehouse.value("SELECT current_setting('memory_limit')").split()
        return float(size) * sizes[unit]

    machine = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    container = Path("/sys/fs/cgroup/memory.max")
    if container.exists() and (most := container.read_text().strip()) != "max":
        machine = min(machine, int(most))
    assert limit(empty_warehouse) == pytest.approx(machine / 2, rel=0.05)
    limited = Warehouse(database=empty_warehouse.database, connection_config={"memory_limit": "1GiB"})
    assert limit(limited) == 2**30


def test_too_little_memory_is_one_line_that_names_the_setting(tmp_path):
    warehouse = Warehouse(database=str(tmp_path / "w.duckdb"), connection_config={"memory_limit": "10MB"})
    line, status = refused(warehouse, "SELECT list(range) FROM range(10_000_000)")
    assert status == 3
    assert line.startswith(f"warehouse {warehouse.database}: ")
    assert line.endswith("MiB used); raise warehouse.memory_limit")


@pytest.mark.parametrize("there", [True, False], ids=["file", "folder"])
def test_what_cannot_be_written_is_one_line(small_disk, there):
    warehouse = Warehouse(database=str(small_disk / "w.duckdb"))
    if there:
        replace(warehouse, "SELECT 1 AS a, 2 AS b")
    subprocess.run(["mount", "-o", "remount,ro", small_disk], check=True)
    for way in (warehouse.held(), warehouse.get_connection()):
        with pytest.raises(MachineError) as said, way:
            pass
        assert str(said.value).startswith(f"warehouse {warehouse.database}: ")
        assert str(said.value).endswith("Read-only file system")


def test_a_read_only_file_is_one_line(empty_warehouse):
    file = file_of(empty_warehouse)
    replace(empty_warehouse, "SELECT 1 AS a, 2 AS b")
    # Permissions do not bind root; this does, on some file systems.
    if subprocess.run(["chattr", "+i", file], capture_output=True, check=False).returncode:
        pytest.skip("the file system, or who runs this, cannot make a file immutable")
    try:
        with pytest.raises(MachineError) as said, empty_warehouse.held():
            pass
    finally:
        subprocess.run(["chattr", "-i", file], check=True)
    assert str(said.value) == f'warehouse {file}: Cannot open file "{file}": Operation not permitted'


def test_a_folder_that_vanishes_in_mid_run_is_one_line(tmp_path):
    warehouse = Warehouse(database=str(tmp_path / "gone" / "w.duckdb"))
    with pytest.raises(MachineError) as said, warehouse.held():
        shutil.rmtree(tmp_path / "gone")
    assert str(said.value) == f"warehouse {warehouse.database} was moved or deleted while the run had it open"
