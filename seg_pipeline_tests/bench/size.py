"""How large the warehouse file is after many nights: `python -m seg_pipeline_tests.bench.size --nights 100`.

Night after night of a small shop, one more day file each, with a retention of ten nights; with and without the orders
that expire. Nothing is judged.
"""

import argparse
import datetime
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from seg_pipeline.settings import load_settings
from seg_pipeline.usecases.execution import Progress
from seg_pipeline.usecases.run import run
from seg_pipeline_tests.bench.processes import DEMO_SHOP

LAST_DAY = datetime.date(2026, 3, 1)
DAYS_BEFORE = 60
RETENTION = ("retention.nights=10", "retention.deliveries_days=90")
LIGHT = ("models.algorithms=kmeans", "models.k_max=4", "models.bootstraps=0", "models.gap_references=0")


def sizes(folder: Path, nights: int, settings: Sequence[str]) -> list[int]:
    """Bytes of the warehouse after each night."""
    source, warehouse, first = (
        folder / "source",
        folder / "warehouse.duckdb",
        LAST_DAY - datetime.timedelta(days=nights),
    )
    since = first - datetime.timedelta(days=DAYS_BEFORE)
    made = folder / "made"
    options = ["--out", str(made), "--since", str(since), "--until", str(LAST_DAY)]
    subprocess.run([sys.executable, DEMO_SHOP, *options], check=True, stdout=subprocess.DEVNULL)
    source.mkdir()
    places = [f"source.path={source}", f"warehouse.path={warehouse}", f"output.path={folder / 'published'}"]

    given = load_settings([*places, *settings], environment={})

    found = []
    for night in range(nights):
        last = first + datetime.timedelta(days=night)
        for file in sorted(made.glob("*.csv")):
            if file.stem <= str(last):
                file.rename(source / file.name)
        untold = (lambda step: None, lambda step, seconds: None, lambda stage, seconds: None, lambda line: None)
        run(given, Progress(*untold))
        found.append(warehouse.stat().st_size)
    return found


def main(arguments: Sequence[str] | None = None) -> int:
    """Measures and prints; the exit status."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--nights", type=int, default=100)
    parser.add_argument("--only", choices=("with retention", "without"))
    given = parser.parse_args(arguments)
    print("MiB after every tenth night")
    for name, settings in (("with retention", (*LIGHT, *RETENTION)), ("without", LIGHT)):
        if given.only not in (None, name):
            continue
        with tempfile.TemporaryDirectory() as folder:
            found = sizes(Path(folder), given.nights, settings)
        print(f"{name:<15}", *(f"{size / 2**20:.1f}" for size in found[9::10]), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
