"""Readers in a loop while runs take turns: `python -m seg_pipeline_tests.bench.concurrency --seconds 300`.

Two writers run nights of a small shop on one warehouse, each beginning the next as soon as it is done with one.
Meanwhile one reader reads the published files over and over and holds them against their manifest, and another opens
the warehouse read-only, now and then for longer than a run waits for it. The exit status is 1 where anything was torn
or failed.
"""

import argparse
import datetime
import json
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from itertools import count, cycle
from pathlib import Path

import duckdb

from seg_pipeline.publishing.sets import LATEST, MANIFEST, SETS, damaged_files
from seg_pipeline.warehouse import GRACE_SECONDS
from seg_pipeline_tests.bench.processes import DEMO_SHOP

SINCE, UNTIL = datetime.date(2025, 12, 1), datetime.date(2026, 3, 1)
NIGHTS = 60
WRITERS = 2
# How long the warehouse stays open to read, in turns: for one look, and for longer than a run waits.
READ_SECONDS = (0.0, GRACE_SECONDS + 5)
PAUSE_SECONDS = 0.05
SETTINGS = ("models.algorithms=kmeans", "models.k_max=5", "models.bootstraps=0", "models.gap_references=0")
# A night's segments are replaced in one transaction with what they come from: as many customers in each table.
UNEQUAL = """
    SELECT count(*)
    FROM (SELECT as_of, count(*) AS customers FROM segments.segment_assignments GROUP BY as_of) AS assigned
    FULL JOIN (SELECT as_of, count(*) AS customers FROM features.rfm_features GROUP BY as_of) AS features
    USING (as_of)
    WHERE assigned.customers IS DISTINCT FROM features.customers
"""


@dataclass(slots=True)
class Seen:
    """What happened.

    `runs` are counted by exit status; `left_to_readers` of them went on with a copy of the warehouse. `busy` counts the
    looks at the warehouse that a run refused, `torn` those at the files or the warehouse that saw a state between two.
    """

    runs: Counter[int] = field(default_factory=Counter)
    left_to_readers: int = 0
    published_reads: int = 0
    warehouse_reads: int = 0
    busy: int = 0
    torn: int = 0
    errors: Counter[str] = field(default_factory=Counter)

    @property
    def is_fine(self) -> bool:
        return not self.torn and not self.errors and set(self.runs) == {0}


def watch(folder: Path, seconds: float, read_seconds: Sequence[float] = READ_SECONDS) -> Seen:
    """Runs and reads for so long in an empty folder; each writer's last run is waited for."""
    shop, warehouse, published = folder / "shop", folder / "warehouse.duckdb", folder / "published"
    days = f"--since {SINCE} --until {UNTIL} --out".split()
    subprocess.run([sys.executable, DEMO_SHOP, *days, shop], check=True, stdout=subprocess.DEVNULL)
    seen, nights, held = Seen(), count(1), cycle(read_seconds)
    ended = time.monotonic() + seconds

    def write() -> None:
        while time.monotonic() < ended:
            as_of = UNTIL - datetime.timedelta(days=NIGHTS - min(next(nights), NIGHTS))
            command = [sys.executable, "-m", "seg_pipeline.cli", "run", "--source", f"{shop}", "--as-of", f"{as_of}"]
            place = ["--warehouse", f"{warehouse}", "--output", f"{published}"]
            settings = [word for setting in (*SETTINGS, "warehouse.wait_seconds=600") for word in ("--set", setting)]
            done = subprocess.run([*command, *place, *settings], capture_output=True, text=True, check=False)
            seen.runs[done.returncode] += 1
            seen.left_to_readers += "the run goes on with a copy" in done.stderr
            if done.returncode:
                seen.errors[f"run: {(done.stderr.splitlines() or ['no word'])[-1]}"] += 1

    def read_published() -> None:
        if not (published / LATEST).exists():
            return
        # A reader asks once where the latest set is and stays in it, through a link of its own.
        latest = (published / LATEST).resolve()
        own = folder / "reading"
        own.mkdir(exist_ok=True)
        (own / LATEST).unlink(missing_ok=True)
        (own / LATEST).symlink_to(latest)
        files = json.loads((latest / MANIFEST).read_text(encoding="utf-8"))["files"]
        said = {name: (of["rows"],) for name, of in files.items() if name.endswith(".parquet")}
        with duckdb.connect() as connection:
            rows = {name: connection.execute(f"SELECT count(*) FROM '{latest / name}'").fetchone() for name in said}
        seen.torn += bool(damaged_files(own)) or rows != said
        seen.published_reads += 1

    def read_warehouse() -> None:
        if not (published / SETS).exists():
            return
        try:
            connection = duckdb.connect(str(warehouse), read_only=True)
        except duckdb.IOException as error:
            if "Conflicting lock" not in str(error):
                raise
            seen.busy += 1
            return
        with connection:
            looks = {connection.execute(UNEQUAL).fetchone()}
            time.sleep(next(held))
            looks.add(connection.execute(UNEQUAL).fetchone())
        seen.torn += looks != {(0,)}
        seen.warehouse_reads += 1

    with ThreadPoolExecutor(WRITERS + 2) as threads:
        writers = [threads.submit(write) for _ in range(WRITERS)]

        def repeat(read: Callable[[], None]) -> None:
            while not all(writer.done() for writer in writers):
                try:
                    read()
                except (OSError, ValueError, duckdb.Error) as error:
                    said = (str(error).splitlines() or [""])[0]
                    seen.errors[f"{read.__name__}: {type(error).__name__}: {said}"] += 1
                time.sleep(PAUSE_SECONDS)

        done = [*writers, *(threads.submit(repeat, read) for read in (read_published, read_warehouse))]
    for one in done:
        one.result()
    return seen


def main(arguments: Sequence[str] | None = None) -> int:
    """Watches and prints what was seen; the exit status."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=300)
    given = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory() as folder:
        seen = watch(Path(folder), given.seconds)
    print(f"runs done: {seen.runs.total()}, by exit status {dict(seen.runs)}; {seen.left_to_readers} beside a reader")
    print(f"reads done: {seen.published_reads} of the published files, {seen.warehouse_reads} of the warehouse")
    print(f"reads that a run refused: {seen.busy}")
    print(f"torn reads: {seen.torn}")
    for error, times in seen.errors.most_common():
        print(f"{times} x {error}")
    return 0 if seen.is_fine else 1


if __name__ == "__main__":
    raise SystemExit(main())
