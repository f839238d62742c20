"""How wall time and memory grow with the order lines: `python -m seg_pipeline_tests.bench.growth --plot FILE`.

Each size is one whole process on a generated Parquet file, twenty lines a customer; the table and the plot show the
share of each stage. Nothing is judged.
"""

import argparse
import os
import platform
import tempfile
from collections.abc import Sequence
from pathlib import Path

from seg_pipeline_tests.bench.processes import ALGORITHMS, Measured, generate, pipeline

LINES_PER_CUSTOMER = 20


def table(sizes: Sequence[int], runs: Sequence[Measured]) -> str:
    """A Markdown table: a row per size, a column per stage with its seconds and its share."""
    stages = list(runs[0].stages)
    head = ["lines", "customers", "wall", "peak memory", *stages]
    rows = [
        [
            f"{size:,}",
            f"{size // LINES_PER_CUSTOMER:,}",
            f"{run.seconds:.0f} s",
            f"{run.peak_mib:,.0f} MiB",
            *(f"{run.stages[stage]:.1f} s, {run.stages[stage] / run.seconds:.0%}" for stage in stages),
        ]
        for size, run in zip(sizes, runs, strict=True)
    ]
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def plot(sizes: Sequence[int], runs: Sequence[Measured], file: Path) -> None:
    """Seconds by stage and peak memory for each size, side by side."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 3.4), layout="constrained")
    seconds, memory = figure.subplots(1, 2, width_ratios=(2, 1))
    places, labels = range(len(sizes)), [f"{size / 1e6:g} million" for size in sizes]
    left = [0.0] * len(sizes)
    for stage in runs[0].stages:
        widths = [run.stages[stage] for run in runs]
        seconds.barh(places, widths, left=left, label=stage, height=0.6)
        left = [start + width for start, width in zip(left, widths, strict=True)]
    for place, run in zip(places, runs, strict=True):
        seconds.annotate(
            f"{run.seconds:.0f} s", (run.seconds, place), xytext=(4, 0), textcoords="offset points", va="center"
        )
    seconds.margins(x=0.12)
    seconds.set(
        yticks=list(places), yticklabels=labels, xlabel="seconds of the whole process", title="Wall time by stage"
    )
    seconds.legend(fontsize="small", loc="upper right", frameon=False)
    memory.barh(places, [run.peak_mib / 1024 for run in runs], height=0.6, color="0.45")
    memory.set(yticks=list(places), yticklabels=[], xlabel="GiB", title="Peak memory")
    for axes in (seconds, memory):
        axes.invert_yaxis()
        axes.spines[["top", "right"]].set_visible(False)
    figure.savefig(file, dpi=110)


def main(arguments: Sequence[str] | None = None) -> int:
    """Measures and prints; the exit status."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--lines", type=int, nargs="+", default=[1_000_000, 10_000_000, 50_000_000])
    parser.add_argument("--algorithms", default=ALGORITHMS)
    parser.add_argument("--plot", type=Path, help="where to draw the picture")
    given = parser.parse_args(arguments)
    print(f"{os.cpu_count()} cores, Python {platform.python_version()}, algorithms {given.algorithms}", flush=True)
    runs = []
    for lines in given.lines:
        with tempfile.TemporaryDirectory() as folder:
            source = Path(folder) / "orders.parquet"
            generate(source, lines, lines // LINES_PER_CUSTOMER)
            runs.append(pipeline(source, given.algorithms))
        print(f"{lines:,} lines: {runs[-1].seconds:.1f} s", flush=True)
    print(table(given.lines, runs))
    if given.plot:
        plot(given.lines, runs, given.plot)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
