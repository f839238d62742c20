"""Whole processes as the benchmarks measure them: wall time, peak memory, and the stages that the pipeline prints.

The module imports nothing heavy: a child's peak memory, as Linux counts it, begins at that of the process that started
it.
"""

import datetime
import os
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
# The generated lines end on a fixed day, so that the same file is measured next month.
UNTIL = datetime.date(2026, 10, 31)
# What a comparison worth its name takes; the defaults are the first three.
ALGORITHMS = "kmeans,hierarchical,gaussian_mixture,bisecting_kmeans,k_medoids,hdbscan"
# ru_maxrss is in KiB, on macOS in bytes.
MAXRSS_PER_MIB = 1024**2 if sys.platform == "darwin" else 1024
STAGE = re.compile(r"^(\w[\w ]*?) +(\d+\.\d) s", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Measured:
    """One process: wall time from start to exit, CPU time, peak resident memory, and what it printed."""

    seconds: float
    cpu_seconds: float
    peak_mib: float
    output: str

    @property
    def stages(self) -> dict[str, float]:
        """Seconds of each part of the pipeline's own timed lines, and of what the process took around them."""
        said = {name: float(seconds) for name, seconds in STAGE.findall(self.output)}
        if "total" in said:
            said["start and exit"] = self.seconds - said.pop("total")
        return said


def pipeline(source: Path, algorithms: str) -> Measured:
    """`seg-pipeline run` on a source."""
    options = ["--source", str(source), "--set", f"models.algorithms={algorithms}"]
    return measure([sys.executable, "-m", "seg_pipeline.cli", "run", *options])


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
    return Measured(seconds, usage.ru_utime + usage.ru_stime, usage.ru_maxrss / MAXRSS_PER_MIB, said)


def seconds_by_stage(runs: Sequence[Measured]) -> str:
    """The median of each of the pipeline's stages, as text."""
    stages = {stage: statistics.median(run.stages[stage] for run in runs) for stage in runs[0].stages}
    return ", ".join(f"{stage} {seconds:.1f} s" for stage, seconds in stages.items())


def generate(file: Path, lines: int, customers: int) -> None:
    options = f"--lines {lines} --customers {customers} --until {UNTIL} --out".split()
    subprocess.run([sys.executable, DEMO_SHOP, *options, file], check=True, stdout=subprocess.DEVNULL)
