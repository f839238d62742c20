"""Erases customers from prepared states and searches for them: `python -m seg_pipeline_tests.erase`.

Each state is a copy of a small shop that has run some nights, to which something has happened: a killed run, a damaged
set, an older version's hashes. Then customers are erased, and every byte below the warehouse's folder, the published
folder, the temporary folder and Dagster's home is searched for their ids, which occur nowhere by chance; Parquet is
read, since it is compressed. Then the files are delivered once more, and nobody may come back. The exit status is 1
where an id is found, or an erasure does not end as it should.
"""

import argparse
import datetime
import hashlib
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path

import duckdb

from seg_pipeline_tests.bench.processes import DEMO_SHOP
from seg_pipeline_tests.crash import SETTINGS

LAST_DAY = datetime.date(2026, 3, 1)
SINCE = LAST_DAY - datetime.timedelta(days=90)
KEY = "a key that is long enough"
# Makes every number of a customer a word that no other value contains.
MARK = "zq9x-"
ERASED = 2
# Makes the checks of every night after the first order day fail.
IMPOSSIBLE_DAY = "UPDATE prepared.day_figures SET verdict = 'impossible' WHERE order_day IS NOT NULL"


@dataclass(slots=True)
class State:
    """A copy of the shop, and how its command line is called."""

    folder: Path
    customers: list[str]
    settings: list[str] = field(default_factory=list)
    environment: dict[str, str] = field(default_factory=dict)

    @property
    def warehouse(self) -> Path:
        return self.folder / "house" / "warehouse.duckdb"

    @property
    def published(self) -> Path:
        return self.folder / "published"

    @property
    def latest(self) -> Path:
        return self.published / "latest"

    def command(self, *words: str) -> list[str]:
        settings = [part for setting in (*SETTINGS, *self.settings) for part in ("--set", setting)]
        place = ["--warehouse", str(self.warehouse)]
        output = [] if words[0] == "champions" else ["--output", str(self.published)]
        return [sys.executable, "-m", "seg_pipeline.cli", *words, *place, *output, *settings]

    def surroundings(self) -> dict[str, str]:
        return {**os.environ, "TMPDIR": str(self.folder / "tmp"), **self.environment}

    def call(self, *words: str) -> subprocess.CompletedProcess[str]:
        """Runs a command to its end."""
        return subprocess.run(
            self.command(*words), env=self.surroundings(), capture_output=True, text=True, check=False
        )

    def done(self, *words: str) -> None:
        """Runs a command that must end well."""
        called = self.call(*words)
        if called.returncode:
            raise SystemExit(f"erase: {' '.join(words)} ended with {called.returncode}: {called.stderr[-1000:]}")

    def killed(self, seconds: float, *words: str) -> None:
        """Begins a command and kills it."""
        with subprocess.Popen(
            self.command(*words), env=self.surroundings(), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
            start_new_session=True,
        ) as process:  # fmt: skip
            time.sleep(seconds)
            os.killpg(process.pid, signal.SIGKILL)

    def run(self, *words: str) -> None:
        """Runs the night of the delivered files."""
        self.done("run", "--source", str(self.folder / "source"), *words)

    def write(self, query: str) -> None:
        """Changes the warehouse by hand."""
        with duckdb.connect(str(self.warehouse)) as connection:
            connection.execute(query)


Prepare = Callable[[State], None]


def as_it_should_be(state: State) -> None:
    """Nothing has happened."""


def latest_is_gone(state: State) -> None:
    state.latest.unlink()


def manifest_is_gone(state: State) -> None:
    (state.latest / "manifest.json").unlink()


def manifest_is_cut(state: State) -> None:
    manifest = state.latest / "manifest.json"
    manifest.write_text(manifest.read_text()[:40])


def manifest_is_of_another_program(state: State) -> None:
    (state.latest / "manifest.json").write_text(json.dumps({"name": state.customers[0]}))


def file_of_the_set_is_gone(state: State) -> None:
    next(state.latest.glob("*.parquet")).unlink()


def latest_is_a_folder(state: State) -> None:
    target = state.latest.resolve()
    state.latest.unlink()
    shutil.copytree(target, state.latest)


def latest_is_a_loop(state: State) -> None:
    state.latest.unlink()
    state.latest.symlink_to("latest")


def plain_file_among_the_sets(state: State) -> None:
    (state.published / "sets" / "notes.txt").write_text(state.customers[0])


def unfinished_set(state: State) -> None:
    shutil.copytree(state.latest.resolve(), state.published / "sets" / ".unfinished-99")


def failing_check(state: State) -> None:
    with duckdb.connect(str(state.warehouse)) as connection:
        connection.execute(IMPOSSIBLE_DAY)


def hashed_output(state: State) -> None:
    state.settings.append("output.customer_ids=hashed")
    state.environment["SEG_PIPELINE_OUTPUT_HASH_KEY"] = KEY
    state.run()


def killed_run(state: State) -> None:
    deliver(state.folder / "source", LAST_DAY + datetime.timedelta(days=1))
    state.killed(3.5, "run", "--source", str(state.folder / "source"))


def killed_first_run(state: State) -> None:
    for folder in (state.warehouse.parent, state.published):
        shutil.rmtree(folder)
        folder.mkdir()
    state.killed(5, "run", "--source", str(state.folder / "source"))


def killed_erasure(state: State) -> None:
    state.killed(3.5, "erase", *state.customers)


def pinned_champion(state: State) -> None:
    with duckdb.connect(str(state.warehouse), read_only=True) as connection:
        [(model,)] = connection.execute("SELECT model_id FROM models.champions LIMIT 1").fetchall()
    state.done("champions", "--pin", model)


def several_nights(state: State) -> None:
    state.done("backfill", str(LAST_DAY - datetime.timedelta(days=3)), str(LAST_DAY - datetime.timedelta(days=2)))


def damaged_warehouse_set_aside(state: State) -> None:
    for suffix in ("", ".wal"):
        shutil.copy(state.warehouse, f"{state.warehouse}.damaged{suffix}")


def copy_left_to_a_writer(state: State) -> None:
    shutil.copy(state.warehouse, f"{state.warehouse}.7")
    Path(f"{state.warehouse}.7.handover").write_text("[]")
    with duckdb.connect(f"{state.warehouse}.7") as connection:
        connection.execute("CREATE TABLE mine AS SELECT 1 AS x")


def delivered_in_another_encoding(state: State) -> None:
    file = max((state.folder / "source").glob("*.csv"))
    file.write_bytes(file.read_text(encoding="utf-8").replace("description", "d\u00e9tail").encode("utf-16"))
    state.run()


def hashes_of_an_older_version(state: State) -> None:
    hashed = hashlib.sha256(b"somebody else").hexdigest()
    state.write(
        f"ALTER TABLE raw.erased_customers DROP COLUMN key_id; INSERT INTO raw.erased_customers VALUES ('{hashed}')"
    )


def key_in_the_environment(state: State) -> None:
    state.environment["SEG_PIPELINE_ERASURE_KEY"] = KEY


def examples_in_dagsters_home(state: State) -> None:
    home = state.folder / "home"
    home.mkdir()
    state.environment["DAGSTER_HOME"] = str(home)
    state.run()
    # As an older version kept the examples of a failed check.
    example = (
        "import dagster as dg\n@dg.asset\ndef orders(): return 1\n@dg.asset_check(asset=orders)\ndef check(): return"
        f" dg.AssetCheckResult(passed=True, metadata={{'examples': [{{'customer_id': '{state.customers[0]}'}}]}})\n"
        "dg.materialize([orders, check], instance=dg.DagsterInstance.get())"
    )
    subprocess.run([sys.executable, "-c", example], env=state.surroundings(), check=True, capture_output=True)


def nothing_was_ever_published(state: State) -> None:
    shutil.rmtree(state.published)
    state.write("DROP SCHEMA segments CASCADE; DROP SCHEMA features CASCADE")


def on_spark(state: State) -> None:
    for folder in (state.warehouse.parent, state.published):
        shutil.rmtree(folder)
        folder.mkdir()
    state.settings.append("warehouse.engine=spark")
    state.run()


# Each with the exit status of the erasure.
STATES: list[tuple[Prepare, int]] = [
    (as_it_should_be, 0),
    (latest_is_gone, 0),
    (manifest_is_gone, 0),
    (manifest_is_cut, 0),
    (manifest_is_of_another_program, 0),
    (file_of_the_set_is_gone, 0),
    (latest_is_a_folder, 0),
    (latest_is_a_loop, 0),
    (plain_file_among_the_sets, 0),
    (unfinished_set, 0),
    (failing_check, 1),
    (hashed_output, 0),
    (killed_run, 0),
    (killed_first_run, 0),
    (killed_erasure, 0),
    (pinned_champion, 0),
    (several_nights, 0),
    (damaged_warehouse_set_aside, 0),
    (copy_left_to_a_writer, 0),
    (delivered_in_another_encoding, 0),
    (hashes_of_an_older_version, 0),
    (key_in_the_environment, 0),
    (examples_in_dagsters_home, 0),
    (nothing_was_ever_published, 0),
]
if find_spec("pyspark"):
    STATES.append((on_spark, 0))


def deliver(folder: Path, until: datetime.date) -> None:
    """Writes the shop's day files, with ids that occur nowhere else."""
    options = ["--out", str(folder), "--since", str(SINCE), "--until", str(until)]
    subprocess.run([sys.executable, DEMO_SHOP, *options], check=True, stdout=subprocess.DEVNULL)
    for file in folder.glob("*.csv"):
        with duckdb.connect() as connection:
            connection.execute(
                f"CREATE TABLE lines AS FROM read_csv('{file}', all_varchar = true);"
                f" UPDATE lines SET customer_id = '{MARK}' || customer_id"
                f" WHERE customer_id NOT LIKE '{MARK}%' AND customer_id IS NOT NULL;"
                f" COPY lines TO '{file}' (HEADER)"
            )


def places_with(folder: Path, customers: Sequence[str]) -> Iterator[str]:
    """Yields the files below a folder that hold one of the ids, in their bytes, their rows or their names."""
    ids = re.compile("|".join(map(re.escape, customers)))
    found = re.compile("|".join(map(re.escape, customers)).encode() + b"(?![0-9])")
    for path in sorted(folder.rglob("*")):
        if ids.search(path.name):
            yield f"the name {path}"
        if not path.is_file() or path.is_symlink():
            continue
        content = path.read_bytes()
        if path.suffix == ".parquet":
            with duckdb.connect() as connection:
                rows = connection.execute(f"SELECT CAST(t AS VARCHAR) FROM read_parquet('{path}') AS t").fetchall()
            content = "\n".join(row for (row,) in rows).encode()
        if found.search(content):
            yield str(path)


def fault_of(state: State, prepare: Prepare, status: int) -> list[str]:
    """Prepares a state and erases; what was not as it should be."""
    prepare(state)
    erased = state.call("erase", *state.customers)
    faults = [] if erased.returncode == status else [f"ended with {erased.returncode}: {erased.stderr[-300:]}"]

    def search(when: str) -> None:
        for name in ("house", "published", "tmp", "home"):
            faults.extend(f"{when}: {place}" for place in places_with(state.folder / name, state.customers))

    search("after the erasure")
    if not status:
        state.run()
        search("after the next run")
    return faults


def erase_test(folder: Path, chosen: Sequence[str]) -> dict[str, list[str]]:
    """Erases from each state; the faults by state."""
    base = State(folder / "base", [])
    for name in ("house", "published", "tmp"):
        (base.folder / name).mkdir(parents=True)
    deliver(base.folder / "source", LAST_DAY)
    base.run()
    with duckdb.connect(str(base.warehouse), read_only=True) as connection:
        rows = connection.execute(
            "SELECT customer_id FROM prepared.clean_orders GROUP BY ALL ORDER BY count(*) DESC, customer_id LIMIT ?",
            [ERASED],
        ).fetchall()
    for name in ("house", "published"):
        if not list(places_with(base.folder / name, [customer for (customer,) in rows])):
            raise SystemExit(f"erase: nothing to find below {base.folder / name}, so that the search shows nothing")
    faults = {}
    for prepare, status in STATES:
        name = prepare.__name__
        if chosen and name not in chosen:
            continue
        state = State(folder / name, [customer for (customer,) in rows])
        shutil.copytree(base.folder, state.folder, symlinks=True)
        began = time.perf_counter()
        faults[name] = fault_of(state, prepare, status)
        print(f"{name:32} {time.perf_counter() - began:5.1f} s  {'; '.join(faults[name]) or 'no id left'}", flush=True)
        shutil.rmtree(state.folder)
    return faults


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the test; 1 where an id was found or an erasure did not end as it should."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("states", nargs="*", metavar="STATE", help="states to erase from; all if none is given")
    given = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory() as folder:
        faults = erase_test(Path(folder), given.states)
    print(f"{len(faults)} states; {sum(map(bool, faults.values()))} with faults")
    return 1 if any(faults.values()) else 0


if __name__ == "__main__":
    sys.exit(main())
