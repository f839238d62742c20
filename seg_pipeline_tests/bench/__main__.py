"""Whole processes in turn, each in a fresh folder: wall time, peak memory, and where the pipeline's time goes.

    python -m seg_pipeline_tests.bench --pairs 3 --lines 1000000 --customers 50000

This process imports nothing heavy while it measures: a child's peak memory, as Linux counts it, begins at that of the
process that started it.
"""

import argparse
import datetime
import os
import platform
import re
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
DEMO_SHOP = ROOT / "data" / "demo_shop.py"
HANDWRITTEN = Path(__file__).with_name("handwritten.py")
# The generated lines end on a fixed day, so that the same file is measured next month.
UNTIL = datetime.date(2026, 10, 31)
# ru_maxrss is in KiB, on macOS in bytes.
MAXRSS_PER_MIB = 1024**2 if sys.platform == "darwin" else 1024
STAGE = re.compile(r"^(\w[\w ]*?) +(\d+\.\d) s", re.MULTILINE)
RFM = """
    SELECT customer_id, date_diff('day', max(order_date), DATE '{as_of}') AS recency_days,
           count(DISTINCT order_id) AS frequency, sum(quantity * unit_price) AS monetary
    FROM '{file}'
    WHERE customer_id IS NOT NULL AND quantity > 0 AND unit_price > 0
    GROUP BY customer_id
"""


@dataclass(frozen=True, slots=True)
class Measured:
    """One process: wall time from start to exit, peak resident memory, and what it printed."""

    seconds: float
    peak_mib: float
    output: str


def measure(command: Sequence[str | Path]) -> Measured:
    """Runs a process to its end in a fresh folder, without the settings that this shell may have for the pipeline."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("SEG_", "DAGSTER_"))}
    with tempfile.TemporaryDirectory() as folder, (Path(folder) / "output").open("w+") as output:
        began = time.perf_counter()
        process = subprocess.Popen(command, cwd=folder, env=environment, stdout=output, stderr=subprocess.STDOUT)
        _, status, usage = os.wait4(process.pid, 0)
        seconds = time.perf_counter() - began
        process.returncode = os.waitstatus_to_exitcode(status)
        output.seek(0)
        said = output.read()
    if process.returncode:
        raise SystemExit(f"bench: {' '.join(map(str, command))} ended with {process.returncode}:\n{said[-3000:]}")
    return Measured(seconds, usage.ru_maxrss / MAXRSS_PER_MIB, said)


def generate(file: Path, lines: int, customers: int) -> None:
    options = f"--lines {lines} --customers {customers} --until {UNTIL} --out".split()
    subprocess.run([sys.executable, DEMO_SHOP, *options, file], check=True, stdout=subprocess.DEVNULL)


def compare(file: Path, pairs: int) -> None:
    """One case: both processes on the same file, one after the other, as often as told; then prints what was found."""
    ours: list[Measured] = []
    theirs: list[Measured] = []
    for _ in range(pairs):
        ours.append(measure([sys.executable, "-m", "seg_pipeline.cli", "run", "--source", file]))
        theirs.append(measure([sys.executable, HANDWRITTEN, file, "segments.csv"]))
    ratios = [a.seconds / b.seconds for a, b in zip(ours, theirs, strict=True)]
    print(f"\n{file.name:<24}{'wall: median (min to max)':<30}peak memory")
    for name, runs in (("seg-pipeline run", ours), ("hand-written script", theirs)):
        print(f"  {name:<22}{spread([run.seconds for run in runs], '.1f', ' s'):<30}{peak(runs):,.0f} MiB")
    print(f"  {'ratio, pair by pair':<22}{spread(ratios, '.2f')}; below 1.00 the pipeline is quicker")
    print(f"  where the pipeline's time goes: {where_time_goes(ours)}", flush=True)


def spread(values: Sequence[float], form: str, unit: str = "") -> str:
    return f"{statistics.median(values):{form}}{unit} ({min(values):{form}} to {max(values):{form}})"


def peak(runs: Sequence[Measured]) -> float:
    return max(run.peak_mib for run in runs)


def where_time_goes(runs: Sequence[Measured]) -> str:
    """The median of each part of the pipeline's own timed lines, and what the process took around them."""
    parts: dict[str, list[float]] = {}
    for run in runs:
        said = {name: float(seconds) for name, seconds in STAGE.findall(run.output)}
        if "in all" in said:
            said["start and exit of the process"] = run.seconds - said.pop("in all")
        for name, seconds in said.items():
            parts.setdefault(name, []).append(seconds)
    if not parts:
        return "not said"
    return ", ".join(f"{name} {statistics.median(seconds):.1f} s" for name, seconds in parts.items())


def plain_query_seconds(file: Path, times: int) -> float:
    """The RFM aggregate alone, in a DuckDB that is imported and open: what the database itself needs for it."""
    import duckdb

    query = RFM.format(as_of=UNTIL + datetime.timedelta(days=1), file=str(file).replace("'", "''"))
    took = []
    with duckdb.connect() as connection:
        for _ in range(times):
            began = time.perf_counter()
            connection.execute(query).fetchall()
            took.append(time.perf_counter() - began)
    return statistics.median(took)


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the benchmark; the exit status is 0 whatever the figures are."""
    parser = argparse.ArgumentParser(prog="bench", description=__doc__.splitlines()[0])
    parser.add_argument("--pairs", type=int, default=3, help="runs of each process, in turn (%(default)s)")
    parser.add_argument("--lines", type=int, default=1_000_000, help="order lines (%(default)s)")
    parser.add_argument("--customers", type=int, default=50_000, help="customers among them (%(default)s)")
    parser.add_argument(
        "--formats", nargs="+", choices=("parquet", "csv"), default=("parquet", "csv"), help="one case each (both)"
    )
    given = parser.parse_args(arguments)
    if given.pairs < 1:
        parser.error("--pairs: at least 1")
    print(
        f"{given.lines:,} lines, {given.customers:,} customers, pairs of runs in turn: {given.pairs}, "
        f"{os.cpu_count()} cores, Python {platform.python_version()}"
    )
    with tempfile.TemporaryDirectory() as folder:
        files = [Path(folder) / f"orders.{ending}" for ending in given.formats]
        for file in files:
            generate(file, given.lines, given.customers)
            compare(file, given.pairs)
        print("\nfor scale, the RFM query alone in plain DuckDB")
        for file in files:
            print(f"  {file.name:<22}{plain_query_seconds(file, max(given.pairs, 3)):.2f} s")
    return 0


if __name__ == "__main__":
    sys.exit(main())
