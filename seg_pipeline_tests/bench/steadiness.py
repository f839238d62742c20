"""The choice, week after week: `python -m seg_pipeline_tests.bench.steadiness`.

Each shop is loaded once. Then the models are fitted again every week for twenty weeks, with the champion in force. It
prints what each week chose, and how far its score lies below the best. The exit status is 1 if in a shop the algorithm
or the number of segments changed more than three times, or if a choice was not within the tolerance of the best.
"""

import argparse
import datetime
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from seg_pipeline.evaluation.tables import EVALUATION_REPORT
from seg_pipeline.settings import load_settings, with_overrides
from seg_pipeline.usecases.backfill import backfill
from seg_pipeline.usecases.execution import Progress
from seg_pipeline.usecases.run import run
from seg_pipeline.warehouse import Warehouse
from seg_pipeline_tests.bench.ageing import SAMPLE, cdnow_sample
from seg_pipeline_tests.bench.compare import DATA

# Preset, orders, and the first night of each shop.
SHOPS = {
    "online_retail": ("online_retail", DATA / "online_retail", datetime.date(2011, 7, 22)),
    "cdnow_sample": ("cdnow", DATA / "cdnow" / SAMPLE, datetime.date(1998, 2, 11)),
}
WEEKS = 20
MOST_CHANGES = 3


def choices(folder: Path, shop: str, weeks: int) -> tuple[int, int]:
    """Runs a first night and a refit a week later, week after week, and prints what was chosen.

    Args:
        folder: The folder of the warehouse and of what is published.
        shop: The name of the shop.
        weeks: How many refits.

    Returns:
        How often the algorithm or the number of segments changed, and how many choices were not within the tolerance.
    """
    preset, orders, first = SHOPS[shop]
    source = cdnow_sample(orders, folder) if orders.name == SAMPLE else orders
    places = (f"source.path={source}", f"warehouse.path={folder / 'w.duckdb'}", f"output.path={folder / 'published'}")
    settings = load_settings([f"source.preset={preset}", *places], environment={})
    warehouse = Warehouse(database=str(folder / "w.duckdb"))
    progress = Progress(lambda _: None, lambda *_: None, lambda *_: None, lambda _: None)
    chosen, changes, outside = None, 0, 0
    for week in range(weeks + 1):
        night, began = first + datetime.timedelta(days=7 * week), time.perf_counter()
        if week:
            backfill(settings, progress, night, night, refit=True)
        else:
            run(with_overrides(settings, [f"as_of={night}"]), progress)
        report = warehouse.night(EVALUATION_REPORT, night)
        now, best = (report[report[column].eq(value)].iloc[0] for column, value in (("chosen", True), ("rank", 1)))
        key = now["algorithm"], int(now["k"])
        behind = float(best["score"] - now["score"]) / max(float(best["score_error"]), 1e-12)
        changes += chosen not in (None, key)
        outside += behind > settings.selection.tolerance_errors
        chosen = key
        [decision] = warehouse.read(
            "SELECT decision FROM models.champion_decisions WHERE as_of = $night", {"night": night}
        )["decision"]
        print(
            f"{shop}  {night}  {key[0]}-{key[1]}  {decision}  {behind:.2f} standard errors below"
            f" {best['algorithm']}-{int(best['k'])}  {time.perf_counter() - began:.0f} s",
            flush=True,
        )
    return changes, outside


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the shops and prints what changed; returns the exit status."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--shops", nargs="+", choices=SHOPS, default=list(SHOPS))
    parser.add_argument("--weeks", type=int, default=WEEKS)
    given = parser.parse_args(arguments)
    failed = False
    for shop in given.shops:
        with tempfile.TemporaryDirectory() as folder:
            changes, outside = choices(Path(folder), shop, given.weeks)
        print(f"{shop}: {changes} changes in {given.weeks} refits, {outside} choices outside the tolerance")
        failed |= changes > MOST_CHANGES or outside > 0
    return int(failed)


if __name__ == "__main__":
    raise SystemExit(main())
