"""Large shops, with bounded memory: the pipeline beside bare SQL, side by side.

python -m seg_pipeline_tests.bench.large --lines 100000000 --memory-limit 4GB

Both read the same Parquet file, twenty lines a customer, on the same DuckDB with the same limit. The ratio compares
the stages raw, prepared and features with all of bare SQL. They also contain what bare SQL leaves out: checks, the
profile, duplicates, reasons, more features, and the wait for the import of Great Expectations. Nothing is judged.
"""

import argparse
import datetime
import os
import platform
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from seg_pipeline_tests.bench.growth import LINES_PER_CUSTOMER
from seg_pipeline_tests.bench.processes import UNTIL, Measured, generate, measure

BARE_SQL = Path(__file__).with_name("bare_sql.py")
COMPARED = ("raw", "prepared", "features")


def compared_seconds(run: Measured) -> float:
    """The seconds of the stages that are compared."""
    return sum(run.stages[stage] for stage in COMPARED)


def compare(file: Path, pairs: int, memory_limit: str, settings: Sequence[str]) -> None:
    """Measures both on the file, in turn, and prints what was found."""
    as_of = str(UNTIL + datetime.timedelta(days=1))
    given = [f"warehouse.memory_limit={memory_limit}", *settings]
    options = [part for setting in given for part in ("--set", setting)]
    for _ in range(pairs):
        bare = measure([sys.executable, BARE_SQL, file, "w.duckdb", as_of, memory_limit])
        ours = measure([sys.executable, "-m", "seg_pipeline.cli", "run", "--source", str(file), *options])
        for name, run in (("bare SQL", bare), ("pipeline", ours)):
            stages = ", ".join(f"{stage} {seconds:.1f} s" for stage, seconds in run.stages.items())
            print(f"  {name:<9} {run.seconds:6.1f} s, CPU {run.cpu_seconds:6.1f} s, {run.peak_mib:,.0f} MiB: {stages}")
        print(
            f"  {' + '.join(COMPARED)}: {compared_seconds(ours) / compared_seconds(bare):.2f} of bare SQL", flush=True
        )


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the benchmark; the exit status is 0 whatever the figures are."""
    parser = argparse.ArgumentParser(prog="bench.large", description=__doc__.splitlines()[0])
    parser.add_argument("--lines", type=int, nargs="+", default=[10_000_000])
    parser.add_argument("--pairs", type=int, default=1, help="runs of each, in turn (%(default)s)")
    parser.add_argument("--memory-limit", default="4GB", help="of DuckDB, in both (%(default)s)")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="further settings")
    given = parser.parse_args(arguments)
    print(f"{os.cpu_count()} cores, Python {platform.python_version()}, DuckDB may take {given.memory_limit}")
    for lines in given.lines:
        with tempfile.TemporaryDirectory() as folder:
            file = Path(folder) / "orders.parquet"
            generate(file, lines, lines // LINES_PER_CUSTOMER)
            print(f"{lines:,} lines", flush=True)
            compare(file, given.pairs, given.memory_limit, given.set)
    return 0


if __name__ == "__main__":
    sys.exit(main())
