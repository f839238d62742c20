"""A year of nights against all its files at once: `python -m seg_pipeline_tests.bench.year`.

365 daily files of the demo shop are delivered one by one, and each night loads, cleans and computes its features in
the same warehouse. Then an empty warehouse gets them all at once. Every table must be equal, row by row, and a night
late in the year must not take more than twice as long as one at its start. The exit status is 1 where either is not so.
"""

import argparse
import datetime
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import duckdb

from seg_pipeline.features import tables as features
from seg_pipeline.prepared.cleaning import clean
from seg_pipeline.raw.ingestion import ingest
from seg_pipeline.settings import Settings, load_settings
from seg_pipeline.warehouse import Warehouse
from seg_pipeline_tests.bench.processes import DEMO_SHOP

RFM_FEATURES_SQL = Path(features.__file__).with_name("rfm_features.sql")
SINCE = datetime.date(2025, 1, 1)
TABLES = ("raw.raw_orders", "raw.deliveries", "prepared.clean_orders", "prepared.rejected_orders")
EARLY, LATE = 3, 300
# The nights around those two whose median counts, itself included.
AROUND = 5
MOST_TIMES = 2.0


def night(warehouse: Warehouse, settings: Settings, as_of: datetime.date) -> tuple[float, float]:
    """Loads and cleans what is new, and computes a night's features; the seconds it took, and those of processors."""
    began, cpu = time.perf_counter(), time.process_time()
    with warehouse.held():
        with warehouse.get_connection() as connection:
            ingest(connection, settings.source)
            clean(connection, settings)
        warehouse.replace_night(features.RFM_FEATURES, RFM_FEATURES_SQL, as_of)
    return time.perf_counter() - began, time.process_time() - cpu


def differences(one: Path, other: Path, as_of: datetime.date) -> dict[str, int]:
    """Rows that only one of two warehouses has, by table; of the features those of one night."""
    queries = {name: f"SELECT * FROM {{}}.{name}" for name in TABLES}
    queries["features.rfm_features"] = f"SELECT * FROM {{}}.features.rfm_features WHERE as_of = DATE '{as_of}'"
    with duckdb.connect() as connection:
        connection.execute(f"ATTACH '{one}' AS one (READ_ONLY); ATTACH '{other}' AS other (READ_ONLY)")
        return {
            name: sum(
                connection.execute(f"SELECT count(*) FROM ({query.format(a)} EXCEPT ALL {query.format(b)})").fetchall()[
                    0
                ][0]
                for a, b in (("one", "other"), ("other", "one"))
            )
            for name, query in queries.items()
        }


def median_around(seconds: Sequence[float], number: int) -> float:
    """The median over some nights around one, numbered from 1."""
    first = number - 1 - AROUND // 2
    return statistics.median(seconds[first : first + AROUND])


def main(arguments: Sequence[str] | None = None) -> int:
    """Measures, compares and prints; the exit status."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--days", type=int, default=365)
    given = parser.parse_args(arguments)
    if given.days < LATE + AROUND // 2:
        parser.error(f"--days: at least {LATE + AROUND // 2}")
    until = SINCE + datetime.timedelta(days=given.days - 1)
    with tempfile.TemporaryDirectory() as name:
        folder, orders, made = Path(name), Path(name) / "orders", Path(name) / "made"
        orders.mkdir()
        days = f"--since {SINCE} --until {until} --out".split()
        subprocess.run([sys.executable, DEMO_SHOP, *days, made], check=True, stdout=subprocess.DEVNULL)
        settings = load_settings([f"source.path={orders}"], environment={})
        nightly, once = folder / "nightly.duckdb", folder / "once.duckdb"
        took, sizes = [], []
        for number, file in enumerate(sorted(made.iterdir()), 1):
            file.rename(orders / file.name)
            took.append(night(Warehouse(database=str(nightly)), settings, SINCE + datetime.timedelta(days=number)))
            sizes.append(nightly.stat().st_size)
        as_of = until + datetime.timedelta(days=1)
        at_once, _ = night(Warehouse(database=str(once)), settings, as_of)
        found = differences(nightly, once, as_of)
        once_bytes = once.stat().st_size
        lines = Warehouse(database=str(once)).value("SELECT count(*) FROM raw.raw_orders")
    seconds, cpu = zip(*took, strict=True)
    early, late = median_around(seconds, EARLY), median_around(seconds, LATE)
    print(f"{given.days} nights of a file each, {lines:,} lines: {sum(seconds):.0f} s; all at once {at_once:.1f} s")
    for table, rows in found.items():
        print(f"  {table}: {f'{rows:,} rows differ' if rows else 'equal, row by row'}")
    print(
        f"night {EARLY}: {early:.3f} s, night {LATE}: {late:.3f} s (medians of {AROUND}), ratio {late / early:.2f},"
        f" at most {MOST_TIMES}; of processor time {median_around(cpu, LATE) / median_around(cpu, EARLY):.2f}"
    )
    shown = sorted({1, 30, 100, 200, LATE, given.days})
    print(
        "warehouse, MiB: "
        + ", ".join(f"night {number} {sizes[number - 1] / 2**20:.1f}" for number in shown)
        + f"; all at once, one night of features {once_bytes / 2**20:.1f}"
    )
    return 0 if not any(found.values()) and late <= MOST_TIMES * early else 1


if __name__ == "__main__":
    raise SystemExit(main())
