"""Both engines on the same lines, side by side: `python -m seg_pipeline_tests.bench.spark --lines 10000000`.

Wall time, and the peak memory of each kind of process: the run's own, Java's, and the Python workers of Spark. Needs
Linux, Java and the extra spark.
"""

import argparse
import resource
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Sequence
from pathlib import Path

from seg_pipeline_tests.bench.processes import STAGE, generate

ENGINES = ("duckdb", "spark")
LINES_PER_CUSTOMER = 20
FILES = 10
SECONDS_BETWEEN_LOOKS = 0.5
MIB = 2**20
PAGE = resource.getpagesize()


def peaks_of(run: int, peaks: dict[str, float], ended: threading.Event) -> None:
    """Keeps the largest resident memory, MiB, that each kind of process had together; as Linux tells it."""
    while not ended.wait(SECONDS_BETWEEN_LOOKS):
        now = dict.fromkeys(("run", "Java", "Python workers"), 0.0)
        left = [run]
        while left:
            process = Path("/proc") / str(left.pop())
            try:
                words = (process / "cmdline").read_text().split("\0")
                pages = int((process / "statm").read_text().split()[1])
                # Of each of its threads, those that it started.
                for thread in (process / "task").iterdir():
                    left += map(int, (thread / "children").read_text().split())
            except (OSError, IndexError):
                continue  # it has ended
            kind = "Java" if "java" in words[0] else "Python workers" if "pyspark.daemon" in words else "run"
            now[kind] += pages * PAGE / MIB
        for kind, size in now.items():
            peaks[kind] = max(peaks.get(kind, 0.0), size)


def measure(engine: str, source: Path) -> None:
    """One run in a fresh folder; prints what it took."""
    command = [
        sys.executable,
        "-m",
        "seg_pipeline.cli",
        "run",
        "--source",
        source,
        "--set",
        f"warehouse.engine={engine}",
    ]
    peaks: dict[str, float] = {}
    ended = threading.Event()
    with tempfile.TemporaryDirectory() as folder, (Path(folder) / "output").open("w+") as output:
        began = time.perf_counter()
        run = subprocess.Popen([*map(str, command)], cwd=folder, stdout=output, stderr=subprocess.STDOUT)
        watch = threading.Thread(target=peaks_of, args=(run.pid, peaks, ended))
        watch.start()
        status = run.wait()
        seconds = time.perf_counter() - began
        ended.set()
        watch.join()
        output.seek(0)
        said = output.read()
    if status:
        raise SystemExit(f"bench: {engine} ended with {status}:\n{said[-3000:]}")
    stages = ", ".join(f"{name} {spent} s" for name, spent in STAGE.findall(said) if name != "in all")
    memory = ", ".join(f"{kind} {size:,.0f} MiB" for kind, size in peaks.items() if size)
    print(f"{engine:<8}{seconds:8.1f} s   {memory}\n        {stages}", flush=True)


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs both engines on each number of lines; the exit status is 0 whatever the figures are."""
    parser = argparse.ArgumentParser(prog="bench.spark", description=__doc__.splitlines()[0])
    parser.add_argument("--lines", type=int, nargs="+", default=[10_000_000], help="order lines (%(default)s)")
    given = parser.parse_args(arguments)
    for lines in given.lines:
        with tempfile.TemporaryDirectory() as folder:
            source = Path(folder) / "orders"
            source.mkdir()
            generate(Path(folder) / "all.parquet", lines, lines // LINES_PER_CUSTOMER)
            divide(Path(folder) / "all.parquet", source)
            print(f"\n{lines:,} lines, {lines // LINES_PER_CUSTOMER:,} customers, {FILES} parquet files")
            for engine in ENGINES:
                measure(engine, source)
    return 0


def divide(file: Path, into: Path) -> None:
    """The same lines in several files, by the order they belong to."""
    import duckdb

    with duckdb.connect() as connection:
        for number in range(FILES):
            connection.execute(
                f"COPY (SELECT * FROM read_parquet($file) WHERE hash(order_id) % {FILES} = {number}) TO $part",
                {"file": str(file), "part": str(into / f"orders{number}.parquet")},
            )


if __name__ == "__main__":
    raise SystemExit(main())
