"""Interrupts commands and runs them again: `python -m seg_pipeline_tests.crash --kills 120`.

Each command (a first run, a night with new and changed files, a refit, a backfill, an erasure) is run undisturbed. Then
it is begun on a copy of what was before it and ended with SIGKILL, SIGTERM or SIGINT, its worker processes included, at
points spread over its length. What is published must be whole then, if anything is, and every table that a single
night writes must be old or new. The command is run again, and every table and published file must be what the
undisturbed command left. The exit status is 1 where one is not.
"""

import argparse
import datetime
import hashlib
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import duckdb

from seg_pipeline.publishing.sets import LATEST, TIMINGS, damaged_files
from seg_pipeline_tests.bench.processes import DEMO_SHOP

LAST_DAY = datetime.date(2026, 3, 1)
SINCE = LAST_DAY - datetime.timedelta(days=150)
# A fit is part of the night, with less of everything than in earnest.
SETTINGS = (
    "models.algorithms=kmeans",
    "models.k_max=4",
    "models.bootstraps=1",
    "models.gap_references=0",
    "value.bootstraps=5",
    "champions.refit_every_days=1",
)
# Seconds of fits differ from run to run.
TIMED = {"fit_seconds"}
SIGNALS = (signal.SIGKILL, signal.SIGTERM, signal.SIGINT)
# How long an interrupted command may take to end.
END_SECONDS = 60
# Undisturbed erasures must hash ids with the same key.
ENVIRONMENT = {**os.environ, "SEG_PIPELINE_ERASURE_KEY": "a key that is long enough"}
Digests = dict[str, str]


@dataclass(frozen=True, slots=True)
class Kind:
    """A command that is interrupted.

    Attributes:
        words: The command and its arguments; `run` gets its source besides.
        begins_with: The folder that it begins with: `nothing`, or `before`, the night before the last.
        writes_once: Whether it writes each table once, so that a table is old or new at any time.
        part: How many of the kills it gets, relative to the others.
    """

    words: tuple[str, ...]
    begins_with: str = "before"
    writes_once: bool = True
    part: int = 1


@dataclass(slots=True)
class Outcome:
    """What the kills left."""

    kills: int = 0
    too_late: int = 0  # commands that had ended before they could be interrupted: begun again, and no kills
    faults: list[str] = field(default_factory=list)


def kinds_of(customers: Sequence[str]) -> dict[str, Kind]:
    """The commands by their names; the customers are erased."""
    nights = [str(LAST_DAY - datetime.timedelta(days=back)) for back in (4, 3)]
    return {
        "first run": Kind(("run",), begins_with="nothing"),
        "night": Kind(("run",), part=2),
        "refit": Kind(("run", "--refit")),
        "backfill": Kind(("backfill", *nights), writes_once=False),
        "erasure": Kind(("erase", *customers), writes_once=False),
    }


def make_shop(folder: Path, until: datetime.date) -> None:
    options = ["--out", str(folder), "--since", str(SINCE), "--until", str(until)]
    subprocess.run([sys.executable, DEMO_SHOP, *options], check=True, stdout=subprocess.DEVNULL)


def command(folder: Path, words: Sequence[str]) -> list[str]:
    """A command on a folder that holds `warehouse.duckdb` and `published`, beside the folder `source`."""
    places = ["--warehouse", str(folder / "warehouse.duckdb"), "--output", str(folder / "published")]
    if words[0] == "run":
        places += ["--source", str(folder.parent / "source")]
    settings = [part for setting in SETTINGS for part in ("--set", setting)]
    return [sys.executable, "-m", "seg_pipeline.cli", *words, *places, *settings]


def run(folder: Path, words: Sequence[str]) -> float:
    """Runs a command to its end; its seconds. Raises SystemExit with its last words where it fails."""
    began = time.perf_counter()
    done = subprocess.run(command(folder, words), env=ENVIRONMENT, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"crash: {' '.join(words)} ended with {done.returncode}: {done.stderr[-2000:]}")
    return time.perf_counter() - began


def killed_after(folder: Path, words: Sequence[str], seconds: float, number: signal.Signals) -> float | str | None:
    """Begins a command and interrupts it, with the processes it started.

    Returns its whole length if it had ended by then, a fault if it does not end as it should, and else None.
    """
    began = time.perf_counter()
    with subprocess.Popen(
        command(folder, words),
        env=ENVIRONMENT,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    ) as process:
        try:
            process.wait(timeout=seconds)
            return time.perf_counter() - began
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, number)
        try:
            _, said = process.communicate(timeout=END_SECONDS)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            return f"still ran {END_SECONDS} s after {number.name}"
    # Before Python has installed a handler, the system's own action ends the process.
    if process.returncode not in (0, -number, 128 + number) or "Traceback" in said:
        return f"ended with {process.returncode} after {number.name}: {said[-500:]}"
    return None


def digests(folder: Path) -> Digests:
    """A digest of every table of the warehouse, row by row, and of every published file."""
    found = {}
    # Read from a copy, so that looking does not replay a log that the next run must find.
    with tempfile.TemporaryDirectory() as elsewhere:
        for file in folder.glob("warehouse.duckdb*"):
            if file.suffix != ".lock" and file.is_file():
                shutil.copy(file, elsewhere)
        with duckdb.connect(str(Path(elsewhere) / "warehouse.duckdb")) as connection:
            for schema, table in connection.execute(
                "SELECT schema_name, table_name FROM duckdb_tables() WHERE NOT temporary ORDER BY ALL"
            ).fetchall():
                columns = [
                    name
                    for name, *_ in connection.execute(f'DESCRIBE "{schema}"."{table}"').fetchall()
                    if name not in TIMED
                ]
                listed = ", ".join(f'"{name}"' for name in columns)
                rows = connection.execute(f'SELECT {listed} FROM "{schema}"."{table}" ORDER BY ALL').fetchall()
                # A table without rows says no more than one that is not there yet.
                if rows:
                    found[f"{schema}.{table}"] = hashlib.sha256(repr(rows).encode()).hexdigest()
    for file in sorted((folder / "published" / LATEST).glob("*")):
        # The DuckDB file is compared by the digest of its content, in the manifest.
        if file.suffix != ".duckdb" and file.name != TIMINGS:
            found[file.name] = hashlib.sha256(file.read_bytes()).hexdigest() if file.is_file() else "no file"
    return found


def crash_test(folder: Path, kills: int, chosen: Sequence[str] = ()) -> Outcome:
    """Interrupts commands so many times in all, each on a fresh copy; see the module.

    Args:
        folder: An empty folder.
        kills: How many times.
        chosen: The names of the kinds of command; all if empty.
    """
    source, before = folder / "source", folder / "before"
    make_shop(source, LAST_DAY - datetime.timedelta(days=2))
    for name in ("before", "nothing"):
        (folder / name).mkdir()
    run(before, ["run"])
    make_shop(source, LAST_DAY)
    changed = sorted(source.glob("*.csv"))[-3]
    changed.write_text(changed.read_text(encoding="utf-8").rsplit("\n", 3)[0] + "\n", encoding="utf-8")
    with duckdb.connect(str(before / "warehouse.duckdb")) as connection:
        query = "SELECT DISTINCT customer_id FROM prepared.clean_orders ORDER BY customer_id LIMIT 2"
        customers = [customer for (customer,) in connection.execute(query).fetchall()]
    kinds = {name: kind for name, kind in kinds_of(customers).items() if not chosen or name in chosen}
    parts = sum(kind.part for kind in kinds.values())
    outcome = Outcome()
    for name, kind in kinds.items():
        faults = interrupt(folder, kind, max(1, round(kills * kind.part / parts)), outcome)
        outcome.faults += [f"{name}: {fault}" for fault in faults]
    return outcome


def interrupt(folder: Path, kind: Kind, kills: int, outcome: Outcome) -> list[str]:
    """Interrupts one kind of command and counts it in the outcome; returns the faults."""
    before, after, disturbed = folder / kind.begins_with, folder / "after", folder / "disturbed"
    shutil.copytree(before, after, symlinks=True)
    seconds = run(after, kind.words)
    old, new = digests(before), digests(after)
    shutil.rmtree(after)
    found: list[str] = []
    kill = 0
    while kill < kills:
        shutil.copytree(before, disturbed, symlinks=True)
        moment, number = seconds * (kill + 0.5) / kills, SIGNALS[kill % len(SIGNALS)]
        ended = killed_after(disturbed, kind.words, moment, number)
        if isinstance(ended, float):
            # The machine is quicker than before: the same part of a shorter command.
            outcome.too_late, seconds = outcome.too_late + 1, ended
            shutil.rmtree(disturbed)
            continue
        outcome.kills, kill = outcome.kills + 1, kill + 1
        left = digests(disturbed)
        faults = [ended] if ended else []
        if (disturbed / "published" / LATEST).exists():
            faults += [f"damaged {name}" for name in damaged_files(disturbed / "published")]
        if kind.writes_once:
            faults += [
                f"{name} is neither old nor new" for name in left if left[name] not in (old.get(name), new.get(name))
            ]
        run(disturbed, kind.words)
        mended = digests(disturbed)
        faults += [f"{name} is not as undisturbed" for name in new if mended.get(name) != new[name]]
        found += [f"{number.name} after {moment:.2f} s: {fault}" for fault in faults]
        shutil.rmtree(disturbed)
    return found


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the crash test; 1 where a kill left or mended something wrong."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "kinds", nargs="*", metavar="KIND", help="kinds of command, such as night; all if none is given"
    )
    parser.add_argument("--kills", type=int, default=120)
    given = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory() as folder:
        outcome = crash_test(Path(folder), given.kills, given.kinds)
    print(
        f"{outcome.kills} kills; {len(outcome.faults)} faults;"
        f" {outcome.too_late} commands ended first, and were repeated"
    )
    print("\n".join(outcome.faults))
    return 1 if outcome.faults else 0


if __name__ == "__main__":
    sys.exit(main())
