"""Both engines on the same lines, side by side: `python -m seg_pipeline_tests.bench.spark --lines 10000000`.

Wall time, and the peak memory of each kind of process: the run's own (Spark's driver in Python), Java's, and the Python
workers of Spark. On `local[*]` one Java is driver and executor; `--master 'local-cluster[1,2,4096]'` has an executor
beside it, so what the driver needs is seen alone. Then, of Spark's own event log, what a cluster would change. Tables
are Markdown. Needs Linux, Java and the extra spark.
"""

import argparse
import os
import resource
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from seg_pipeline_tests.bench.event_log import WRITTEN, Work, events_of, work_of
from seg_pipeline_tests.bench.processes import STAGE, generate

ENGINES = ("duckdb", "spark")
LINES_PER_CUSTOMER = 20
FILES = 10
CORES = (2, 8, 32, 128)
KINDS = ("run", "driver JVM", "executor JVM", "Python workers")
SECONDS_BETWEEN_LOOKS = 0.5
# What Java needs after the run to end its log.
SECONDS_TO_END = 60
MIB = 2**20
PAGE = resource.getpagesize()


@dataclass(frozen=True, slots=True)
class Engine:
    """An engine and, for Spark, where it runs and with which settings beside the defaults."""

    name: str
    master: str = ""
    given: tuple[str, ...] = ()

    @property
    def shown(self) -> str:
        return " ".join(filter(None, (self.name, self.master, *self.given)))

    def settings(self, log: Path) -> list[str]:
        if self.name != "spark":
            return [f"warehouse.engine={self.name}"]
        logged = WRITTEN | {"spark.eventLog.dir": log.as_uri()}
        config = [f"spark.config.{key}={value}" for key, value in logged.items()]
        return [f"warehouse.engine={self.name}", f"spark.master={self.master}", *config, *self.given]


def kind_of(words: Sequence[str]) -> str:
    """What a process is, by its command line."""
    if "java" in words[0]:
        executor = any(word.endswith("CoarseGrainedExecutorBackend") for word in words)
        return "executor JVM" if executor else "driver JVM"
    return "Python workers" if "pyspark.daemon" in words else "run"


def peaks_of(run: int, peaks: dict[str, float], ended: threading.Event) -> None:
    """Keeps the largest resident memory, MiB, that each kind of process had together; as Linux tells it."""
    while not ended.wait(SECONDS_BETWEEN_LOOKS):
        now = dict.fromkeys(KINDS, 0.0)
        left = [(run, [""])]
        while left:
            number, parent = left.pop()
            process = Path("/proc") / str(number)
            try:
                words = (process / "cmdline").read_text().split("\0")
                pages = int((process / "statm").read_text().split()[1])
                # Of each of its threads, those that it started.
                for thread in (process / "task").iterdir():
                    left += [(int(child), words) for child in (thread / "children").read_text().split()]
            except (OSError, IndexError):
                continue  # it has ended
            if words == parent and "java" in words[0]:
                continue  # Java that is about to become another program: its memory is its parent's
            now[kind_of(words)] += pages * PAGE / MIB
        for kind, size in now.items():
            peaks[kind] = max(peaks.get(kind, 0.0), size)


def measure(engine: Engine, source: Path) -> bool:
    """One run in a fresh folder: prints what it took, and for Spark what its log says; tells whether it went well."""
    command = [sys.executable, "-m", "seg_pipeline.cli", "run", "--source", str(source)]
    peaks: dict[str, float] = {}
    ended = threading.Event()
    with tempfile.TemporaryDirectory() as folder, (Path(folder) / "output").open("w+") as output:
        log = Path(folder) / "log"
        log.mkdir()
        for setting in engine.settings(log):
            command += ["--set", setting]
        began = time.perf_counter()
        run = subprocess.Popen(command, cwd=folder, stdout=output, stderr=subprocess.STDOUT)
        watch = threading.Thread(target=peaks_of, args=(run.pid, peaks, ended))
        watch.start()
        status = run.wait()
        wall = time.perf_counter() - began
        ended.set()
        watch.join()
        output.seek(0)
        said = output.read()
        memory = [f"{peaks[kind]:,.0f}" if peaks.get(kind) else "" for kind in KINDS]
        stages = ", ".join(f"{name} {spent}" for name, spent in STAGE.findall(said) if name != "total")
        row(engine.shown, f"{wall:.1f} s" if status == 0 else f"failed after {wall:.1f} s", *memory, stages)
        if status:
            # What Spark says goes with the folder.
            said += "".join(file.read_text() for file in Path(folder).glob("*.spark/spark.log"))
            print(f"\n{engine.shown} ended with {status}:\n{said[-3000:]}\n", flush=True)
        elif engine.name == "spark":
            wait_for_end(log)
            report(work_of(events_of(log)), wall)
    return status == 0


def wait_for_end(log: Path) -> None:
    """Java outlives the run by a moment, in which it ends its log."""
    deadline = time.monotonic() + SECONDS_TO_END
    while any(log.glob("*.inprogress")) and time.monotonic() < deadline:
        time.sleep(SECONDS_BETWEEN_LOOKS)


def report(work: Work, wall: float) -> None:
    """Prints what Spark's log says of a run, as a table."""
    cores = ", ".join(map(str, CORES))
    print()
    head("of Spark's event log", "")
    row("jobs, stages, tasks", f"{work.jobs:,}, {len(work.stages):,}, {work.tasks:,}")
    row(
        "tasks together: running, Java's CPU, garbage collection",
        seconds(work.run_seconds, work.cpu_seconds, work.gc_seconds),
    )
    row("a job was running; the driver alone", seconds(work.job_seconds, work.driver_seconds(wall)))
    row("the longest task; the longest of each stage together", seconds(work.longest_seconds, work.floor_seconds))
    row("written to shuffles, spilled to disk", f"{work.shuffled_mib:,.0f}, {work.spilled_mib:,.0f} MiB")
    heaps = f"{work.driver_heap_mib:,.0f}, {work.executor_heap_mib:,.0f}, {work.execution_mib:,.0f} MiB"
    row("peak of the driver's heap, an executor's, a task's execution memory", heaps)
    worked_out = seconds(*(work.seconds_on(number, wall) for number in CORES))
    row(f"wall on {cores} cores, worked out, not measured", worked_out)
    print(flush=True)


def seconds(*values: float) -> str:
    return ", ".join(f"{value:,.1f}" for value in values) + " s"


def head(*cells: str) -> None:
    row(*cells)
    row(*("---" for _ in cells))


def row(*cells: str) -> None:
    print(f"| {' | '.join(cells)} |", flush=True)


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the engines on each number of lines; the exit status is 1 where a run failed, whatever the figures are."""
    parser = argparse.ArgumentParser(prog="bench.spark", description=__doc__.splitlines()[0])
    parser.add_argument("--lines", type=int, nargs="+", default=[10_000_000], help="order lines (%(default)s)")
    parser.add_argument("--engines", nargs="+", choices=ENGINES, default=ENGINES, help="which to run (both)")
    parser.add_argument(
        "--master", nargs="+", default=["local[*]"], help="where Spark runs, one run each (%(default)s)"
    )
    parser.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="KEY=VALUE",
        help="further settings of Spark's runs: spark.config.spark.default.parallelism=32 has work cut as for 32 cores",
    )
    given = parser.parse_args(arguments)
    engines = [Engine("duckdb")] if "duckdb" in given.engines else []
    if "spark" in given.engines:
        engines += [Engine("spark", master, tuple(given.set)) for master in given.master]
    went_well = True
    for lines in given.lines:
        with tempfile.TemporaryDirectory() as folder:
            source = Path(folder) / "orders"
            source.mkdir()
            generate(Path(folder) / "all.parquet", lines, lines // LINES_PER_CUSTOMER)
            divide(Path(folder) / "all.parquet", source)
            customers = f"{lines // LINES_PER_CUSTOMER:,} customers"
            print(f"\n{lines:,} lines, {customers}, {FILES} parquet files, {os.cpu_count()} cores; memory in MiB\n")
            for before, engine in zip((None, *engines), engines, strict=False):
                if before is None or before.name == "spark":  # of which more was said in between
                    head("engine", "wall", *KINDS, "seconds of each stage")
                went_well &= measure(engine, source)
    return 0 if went_well else 1


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
