"""Nights of a small shop beside a process that only imports the libraries.

python -m seg_pipeline_tests.bench.floor --rounds 3

The demo shop's first night loads two years of daily files and fits; the next night has one file more and is scored.
Nothing is judged; the figures are for docs/benchmarks.md.
"""

import argparse
import datetime
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from seg_pipeline_tests.bench.processes import DEMO_SHOP, UNTIL, Measured, measure, seconds_by_stage

IMPORTS = "import dagster, duckdb, pandas, sklearn.cluster, great_expectations, matplotlib.figure"
FLOOR, FITTED, SCORED = "imports alone", "first night, fitted", "next night, scored"
SMALL = {
    "import dagster": ["-c", "import dagster"],
    "the code location": ["-c", "import seg_pipeline.definitions"],
    "seg-pipeline --help": ["-m", "seg_pipeline.cli", "--help"],
}


def one_round(orders: Path) -> dict[str, Measured]:
    """Measures the three processes one after the other; the nights share a warehouse in a fresh folder."""
    last_file = orders / f"{UNTIL}.csv"
    content = last_file.read_bytes()
    last_file.unlink()
    measured = {FLOOR: measure([sys.executable, "-c", IMPORTS])}
    with tempfile.TemporaryDirectory() as folder:
        measured[FITTED] = night(orders, Path(folder), UNTIL)
        last_file.write_bytes(content)
        measured[SCORED] = night(orders, Path(folder), UNTIL + datetime.timedelta(days=1))
    return measured


def night(orders: Path, folder: Path, as_of: datetime.date) -> Measured:
    """Measures the run of one night, with every table, check, picture and published file."""
    places: list[str | Path] = ["--source", orders, "--warehouse", folder / "w.duckdb", "--output", folder / "out"]
    return measure([sys.executable, "-m", "seg_pipeline.cli", "run", *places, "--as-of", str(as_of)])


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the benchmark; the exit status is 0 whatever the figures are."""
    parser = argparse.ArgumentParser(prog="bench.floor", description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=3, help="runs of each process, in turn (%(default)s)")
    given = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory() as folder:
        orders = Path(folder) / "orders"
        subprocess.run(
            [sys.executable, DEMO_SHOP, "--until", str(UNTIL), "--out", orders], check=True, stdout=subprocess.DEVNULL
        )
        rounds = [one_round(orders) for _ in range(given.rounds)]
    small = [
        {name: measure([sys.executable, *words]) for name, words in SMALL.items()} for _ in range(3 * given.rounds)
    ]
    print(f"{'medians of ' + str(given.rounds):<22}{'wall':>9}{'CPU':>9}{'wall, ratio':>13}{'CPU, ratio':>12}")
    for name in (FLOOR, FITTED, SCORED):
        wall, cpu = (median([getattr(one[name], kind) for one in rounds]) for kind in ("seconds", "cpu_seconds"))
        ratios = [
            median([getattr(one[name], kind) / getattr(one[FLOOR], kind) for one in rounds])
            for kind in ("seconds", "cpu_seconds")
        ]
        print(f"{name:<22}{wall:>7.1f} s{cpu:>7.1f} s{ratios[0]:>13.2f}{ratios[1]:>12.2f}")
    for name in (FITTED, SCORED):
        print(f"{name}, by stage: {seconds_by_stage([one[name] for one in rounds])}")
    print(f"medians of {3 * given.rounds}: ", end="")
    print(", ".join(f"{name} {median([one[name].seconds for one in small]):.2f} s" for name in SMALL))
    return 0


def median(values: Sequence[float]) -> float:
    return statistics.median(values)


if __name__ == "__main__":
    sys.exit(main())
