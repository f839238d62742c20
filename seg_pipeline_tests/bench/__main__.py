"""The pipeline beside the script that people write by hand: whole processes in turn, each in a fresh folder.

python -m seg_pipeline_tests.bench --pairs 3 --lines 1000000 --customers 50000
"""

import argparse
import datetime
import os
import platform
import statistics
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from seg_pipeline_tests.bench.processes import (
    ALGORITHMS,
    UNTIL,
    Measured,
    generate,
    measure,
    pipeline,
    seconds_by_stage,
)

HANDWRITTEN = Path(__file__).with_name("handwritten.py")
RFM = """
    SELECT customer_id, date_diff('day', max(order_date), DATE '{as_of}') AS recency_days,
           count(DISTINCT order_id) AS frequency, sum(quantity * unit_price) AS monetary
    FROM {lines}
    WHERE customer_id IS NOT NULL AND quantity > 0 AND unit_price > 0
    GROUP BY customer_id
"""


def compare(file: Path, pairs: int, algorithms: str) -> None:
    """One case: both processes on the same file, one after the other, as often as told; then prints what was found."""
    ours: list[Measured] = []
    theirs: list[Measured] = []
    for _ in range(pairs):
        ours.append(pipeline(file, algorithms))
        theirs.append(measure([sys.executable, HANDWRITTEN, file, "segments.csv"]))
    ratios = [a.seconds / b.seconds for a, b in zip(ours, theirs, strict=True)]
    print(f"\n{file.name:<24}{'wall: median (min to max)':<30}peak memory")
    for name, runs in (("seg-pipeline run", ours), ("hand-written script", theirs)):
        print(f"  {name:<22}{spread([run.seconds for run in runs], '.1f', ' s'):<30}{peak(runs):,.0f} MiB")
    print(f"  {'ratio, pair by pair':<22}{spread(ratios, '.2f')}; below 1.00 the pipeline is quicker")
    print(f"  where the pipeline's time goes: {seconds_by_stage(ours)}", flush=True)


def spread(values: Sequence[float], form: str, unit: str = "") -> str:
    return f"{statistics.median(values):{form}}{unit} ({min(values):{form}} to {max(values):{form}})"


def peak(runs: Sequence[Measured]) -> float:
    return max(run.peak_mib for run in runs)


def plain_query_seconds(file: Path, times: int) -> float:
    """The RFM aggregate alone, in a DuckDB that is imported and open: what the database itself needs for it."""
    import duckdb

    lines = f"'{file}'"
    if file.suffix == ".csv":
        # Most ids are digits, and the first lines of many would make numbers of them.
        lines = f"read_csv({lines}, types = {{'order_id': 'VARCHAR', 'customer_id': 'VARCHAR'}})"
    query = RFM.format(as_of=UNTIL + datetime.timedelta(days=1), lines=lines)
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
    parser.add_argument("--algorithms", default=ALGORITHMS, help="what the pipeline compares (%(default)s)")
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
            compare(file, given.pairs, given.algorithms)
        print("\nfor scale, the RFM query alone in plain DuckDB")
        for file in files:
            print(f"  {file.name:<22}{plain_query_seconds(file, max(given.pairs, 3)):.2f} s")
    return 0


if __name__ == "__main__":
    sys.exit(main())
