"""A process that lives for many nights: `python -m seg_pipeline_tests.bench.long_life --nights 400`.

One process runs night after night of a small shop, with one more file each, and looks now and then at what it holds and
what it has left on disk. With `--home`, Dagster keeps its records in a home, as it does beside its services. The exit
status is 1 if something has grown between the second quarter of the nights, in which the retention has set in, and the
last: a count at all; memory and Dagster's home by more than a tenth; what follows the number of order lines by more
than a quarter, by line. With `--files N`, it loads a folder of many files instead, and judges nothing.
"""

import argparse
import datetime
import gc
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from shutil import copy

import duckdb

from seg_pipeline.settings import load_settings
from seg_pipeline.usecases.execution import Progress
from seg_pipeline.usecases.run import run
from seg_pipeline.warehouse import Warehouse
from seg_pipeline_tests.bench.processes import DEMO_SHOP, MAXRSS_PER_MIB, ROOT
from seg_pipeline_tests.bench.year import night as ingested

FIRST_NIGHT = datetime.date(2025, 1, 1)
DAYS_BEFORE = 60
LIGHT = ("models.algorithms=kmeans", "models.k_max=4", "models.bootstraps=0", "models.gap_references=0")
ROWS_SHOWN = 10
MIB = 2**20
# How many times the figure of the second quarter may stand in the last one. Counts may not grow at all.
MOST_TIMES = 1.10
# The shop has seasons, so what follows its lines is compared by line.
MOST_TIMES_BY_LINE = 1.25


@dataclass(frozen=True, slots=True)
class Look:
    """What there is after a night.

    Attributes:
        night: The number of the night, from 1.
        seconds: The median of the nights since the look before.
        cpu_seconds: The same, of the process's processor time, on which other work has less effect.
        descriptors: Open file descriptors of the process.
        threads: Its threads.
        children: Its child processes.
        resident: Bytes of its resident memory, after a garbage collection.
        lines: Order lines in the warehouse.
        temporary_files: Files and folders below the temporary folder.
        warehouse_files: The warehouse and the files beside it.
        warehouse: Bytes of these.
        output_files: Published files.
        output: Bytes of these.
        home_files: Files below Dagster's home.
        home: Bytes of these.
    """

    night: int
    seconds: float
    cpu_seconds: float
    descriptors: int
    threads: int
    children: int
    resident: int
    lines: int
    temporary_files: int
    warehouse_files: int
    warehouse: int
    output_files: int
    output: int
    home_files: int
    home: int


# The figures that must not grow: counts at all, amounts by more than a factor, of some by line.
COUNTS = ("descriptors", "threads", "children", "temporary_files", "warehouse_files", "output_files", "home_files")
AMOUNTS = ("resident", "home")
AMOUNTS_BY_LINE = ("warehouse", "output", "cpu_seconds")
BYTES = ("resident", "warehouse", "output", "home")
HEADINGS = [field.name.replace("_files", " files") + (" MiB" * (field.name in BYTES)) for field in fields(Look)]


def grown(looks: Sequence[Look]) -> list[str]:
    """Returns a line for each figure that has grown from the second quarter of the nights to the last."""
    nights = looks[-1].night
    second = [look for look in looks if nights / 4 < look.night <= nights / 2]
    last = [look for look in looks if look.night > nights * 3 / 4]

    def median(part: Sequence[Look], name: str) -> float:
        return float(statistics.median(getattr(look, name) for look in part))

    lines = []
    for name in COUNTS:
        before, after = (max(getattr(look, name) for look in part) for part in (second, last))
        if after > before:
            lines.append(f"{name}: {after}, and {before} in the second quarter")
    more_lines = max(1.0, median(last, "lines") / median(second, "lines"))
    limits = dict.fromkeys(AMOUNTS, MOST_TIMES) | dict.fromkeys(AMOUNTS_BY_LINE, MOST_TIMES_BY_LINE * more_lines)
    for name, limit in limits.items():
        before, after = median(second, name), median(last, name)
        if after > limit * before:
            lines.append(f"{name}: {after / before:.2f} times that of the second quarter, at most {limit:.2f}")
    return lines


def live(folder: Path, nights: int, every: int, options: Sequence[str], show: Callable[[Look], None]) -> list[Look]:
    """Runs the nights in this process, and returns what the looks saw.

    Args:
        folder: The folder of everything; its `temporary` and `home` are those of the process.
        nights: How many nights.
        every: How many nights lie between two looks.
        options: Settings as KEY=VALUE.
        show: Is given each look.
    """
    made, source = folder / "made", folder / "source"
    days = f"--since {FIRST_NIGHT - datetime.timedelta(days=DAYS_BEFORE)}"
    until = f"--until {FIRST_NIGHT + datetime.timedelta(days=nights)}"
    span = f"{days} {until} --out".split()
    subprocess.run([sys.executable, DEMO_SHOP, *span, made], check=True, stdout=subprocess.DEVNULL)
    source.mkdir()
    places = (f"source.path={source}", f"warehouse.path={folder / 'warehouse' / 'w.duckdb'}")
    settings = load_settings([*places, f"output.path={folder / 'published'}", *options], environment={})
    looks = []
    seconds: list[float] = []
    cpu_seconds: list[float] = []
    for night in range(1, nights + 1):
        as_of = FIRST_NIGHT + datetime.timedelta(days=night)
        for file in sorted(made.iterdir()):
            if file.stem < str(as_of):
                file.rename(source / file.name)
        ignored = (lambda step: None, lambda step, seconds: None, lambda stage, seconds: None, lambda line: None)
        began, cpu_began = time.perf_counter(), time.process_time()
        run(settings, Progress(*ignored))
        seconds.append(time.perf_counter() - began)
        cpu_seconds.append(time.process_time() - cpu_began)
        if night % every == 0:
            looks.append(_look(folder, night, *(statistics.median(part[-every:]) for part in (seconds, cpu_seconds))))
            show(looks[-1])
    return looks


def _look(folder: Path, night: int, seconds: float, cpu_seconds: float) -> Look:
    gc.collect()
    with duckdb.connect(str(folder / "warehouse" / "w.duckdb"), read_only=True) as connection:
        [(lines,)] = connection.execute("SELECT count(*) FROM raw.raw_orders").fetchall()
    warehouse, output, home = (_files(folder / name) for name in ("warehouse", "published", "home"))
    status = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    return Look(
        night=night,
        seconds=seconds,
        cpu_seconds=cpu_seconds,
        descriptors=len(os.listdir("/proc/self/fd")),
        threads=int(status["Threads"]),
        children=len(Path(f"/proc/self/task/{os.getpid()}/children").read_text().split()),
        resident=int(status["VmRSS"].split()[0]) * 1024,
        lines=lines,
        temporary_files=sum(1 for _ in (folder / "temporary").rglob("*")),
        warehouse_files=len(warehouse),
        warehouse=sum(warehouse),
        output_files=len(output),
        output=sum(output),
        home_files=len(home),
        home=sum(home),
    )


def _files(folder: Path) -> list[int]:
    """Returns the bytes of each file below a folder."""
    return [file.stat().st_size for file in folder.rglob("*") if file.is_file() and not file.is_symlink()]


def _row(look: Look) -> str:
    """Returns the figures of a look as a line of the table, amounts in MiB."""
    cells = (
        f"{value:.2f}" if isinstance(value, float) else f"{value / MIB:.1f}" if name in BYTES else f"{value:,}"
        for name, value in asdict(look).items()
    )
    return "  ".join(cell.rjust(len(name)) for name, cell in zip(HEADINGS, cells, strict=True))


def many_files(folder: Path, count: int) -> None:
    """Loads a folder of many small files, then the same folder again, and prints what it takes."""
    source = folder / "source"
    source.mkdir()
    for number in range(count):
        day = FIRST_NIGHT - datetime.timedelta(days=number % 365)
        lines = (f"{number}-{line},c{number % 997},{day},p{line},{line},1.50\n" for line in range(1, 4))
        (source / f"{number:06}.csv").write_text("order_id,customer_id,date,sku,quantity,price\n" + "".join(lines))
    settings = load_settings([f"source.path={source}"], environment={})
    warehouse = Warehouse(database=str(folder / "w.duckdb"))
    for what in ("loaded and cleaned", "nothing has changed"):
        seconds, _ = ingested(warehouse, settings, FIRST_NIGHT + datetime.timedelta(days=1))
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / MAXRSS_PER_MIB
        print(f"{count:,} files, {what}: {seconds:.1f} s, peak {peak:.0f} MiB", flush=True)


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the nights and prints what they leave; the exit status."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--nights", type=int, default=400)
    parser.add_argument("--every", type=int, help="nights between two looks (a fortieth)")
    parser.add_argument("--files", type=int, help="load a folder of so many files, instead of nights")
    parser.add_argument("--home", action="store_true", help="with a home for Dagster's records")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="a setting of the nights")
    given = parser.parse_args(arguments)
    every = given.every or max(1, given.nights // 40)
    # The retention has set in before the second quarter begins.
    kept = max(2, given.nights // 6)
    retention = (
        f"retention.nights={kept}",
        f"retention.deliveries_days={DAYS_BEFORE + kept}",
        f"retention.runs={kept}",
    )
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for place in ("temporary", "home"):
            (folder / place).mkdir()
        os.environ.pop("DAGSTER_HOME", None)
        if given.home:
            copy(ROOT / "deploy" / "dagster.yaml", folder / "home")
            os.environ["DAGSTER_HOME"] = str(folder / "home")
            # A rare refit is a job of its own, whose runs would become more for years.
            given.set.insert(0, "champions.refit_every_days=1")
        os.environ["TMPDIR"] = tempfile.tempdir = str(folder / "temporary")
        if given.files:
            many_files(folder, given.files)
            return 0
        print(*retention)
        print(*HEADINGS, sep="  ", flush=True)
        every_row = max(1, given.nights // every // ROWS_SHOWN) * every

        def show(look: Look) -> None:
            if look.night % every_row == 0:
                print(_row(look), flush=True)

        looks = live(folder, given.nights, every, [*LIGHT, *retention, *given.set], show)
    lines = grown(looks)
    print("\n".join(lines) or "nothing has grown")
    return 1 if lines else 0


if __name__ == "__main__":
    raise SystemExit(main())
