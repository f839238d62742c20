"""Kills runs with SIGKILL and runs again: `python -m seg_pipeline_tests.crash --kills 60`.

A night with new and changed files is run undisturbed. Then the same night is begun on a copy of the warehouse before it
and killed, at points spread evenly over its length; what is published must be whole then, and every table old or new.
The night is run again, and every table and published file must be what the undisturbed run left. The exit status is 1
where one is not.
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
Digests = dict[str, str]


@dataclass(slots=True)
class Outcome:
    """What the kills left."""

    kills: int = 0
    too_late: int = 0  # nights that had ended before they could be killed: begun again, and no kills
    faults: list[str] = field(default_factory=list)


def make_shop(folder: Path, until: datetime.date) -> None:
    options = ["--out", str(folder), "--since", str(SINCE), "--until", str(until)]
    subprocess.run([sys.executable, DEMO_SHOP, *options], check=True, stdout=subprocess.DEVNULL)


def command(folder: Path) -> list[str]:
    """The night's run in a folder that holds `source`, `warehouse.duckdb` and `published`."""
    options = [
        f"--{name}={folder / file}" for name, file in (("warehouse", "warehouse.duckdb"), ("output", "published"))
    ]
    settings = [part for setting in SETTINGS for part in ("--set", setting)]
    source = str(folder.parent / "source")
    return [sys.executable, "-m", "seg_pipeline.cli", "run", "--source", source, *options, *settings]


def run(folder: Path) -> float:
    """Runs the night to its end; its seconds. Raises SystemExit with its last words where it fails."""
    began = time.perf_counter()
    done = subprocess.run(command(folder), capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"crash: the run ended with {done.returncode}: {done.stderr[-2000:]}")
    return time.perf_counter() - began


def killed_after(folder: Path, seconds: float) -> float | None:
    """Begins the night and kills it, with the processes it started; its whole length where it had ended by then."""
    began = time.perf_counter()
    with subprocess.Popen(
        command(folder), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True
    ) as process:
        try:
            process.wait(timeout=seconds)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            return None
    return time.perf_counter() - began


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
                found[f"{schema}.{table}"] = hashlib.sha256(repr(rows).encode()).hexdigest()
    for file in sorted((folder / "published" / LATEST).glob("*")):
        # The DuckDB file is compared by the digest of its content, in the manifest.
        if file.suffix != ".duckdb" and file.name != TIMINGS:
            found[file.name] = hashlib.sha256(file.read_bytes()).hexdigest() if file.is_file() else "no file"
    return found


def crash_test(folder: Path, kills: int) -> Outcome:
    """Kills the night so many times, each on a fresh copy; see the module."""
    source, before, after = folder / "source", folder / "before", folder / "after"
    make_shop(source, LAST_DAY - datetime.timedelta(days=2))
    before.mkdir()
    run(before)
    make_shop(source, LAST_DAY)
    changed = sorted(source.glob("*.csv"))[-3]
    changed.write_text(changed.read_text(encoding="utf-8").rsplit("\n", 3)[0] + "\n", encoding="utf-8")
    shutil.copytree(before, after, symlinks=True)
    seconds = run(after)
    old, new = digests(before), digests(after)
    outcome = Outcome()
    disturbed, kill = folder / "disturbed", 0
    while kill < kills:
        shutil.copytree(before, disturbed, symlinks=True)
        moment = seconds * (kill + 0.5) / kills
        if (whole := killed_after(disturbed, moment)) is not None:
            # The machine is quicker than before: the same part of a shorter night.
            outcome.too_late, seconds = outcome.too_late + 1, whole
            shutil.rmtree(disturbed)
            continue
        outcome.kills, kill = outcome.kills + 1, kill + 1
        left = digests(disturbed)
        faults = [f"damaged {name}" for name in damaged_files(disturbed / "published")]
        faults += [
            f"{name} is neither old nor new" for name in left if left[name] not in (old.get(name), new.get(name))
        ]
        run(disturbed)
        mended = digests(disturbed)
        faults += [f"{name} is not as undisturbed" for name in new if mended.get(name) != new[name]]
        outcome.faults += [f"killed after {moment:.2f} s: {fault}" for fault in faults]
        shutil.rmtree(disturbed)
    return outcome


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the crash test; 1 where a kill left or mended something wrong."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--kills", type=int, default=60)
    given = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory() as folder:
        outcome = crash_test(Path(folder), given.kills)
    print(
        f"{outcome.kills} kills; {len(outcome.faults)} faults; {outcome.too_late} nights ended first, and were repeated"
    )
    print("\n".join(outcome.faults))
    return 1 if outcome.faults else 0


if __name__ == "__main__":
    sys.exit(main())
