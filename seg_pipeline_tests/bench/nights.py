"""How steady segments are: `python -m seg_pipeline_tests.bench.nights --source DIR --preset online_retail`.

Night after night over the last 60 trading days of a source, once scored with one champion, once with a fit that takes
over every night: the share of the customers who keep their segment from night to night, beside what it would be if
segments were numbered anew by spend. Nothing is judged; the figures are for docs.
"""

import argparse
import contextlib
import datetime
import io
import tempfile
from collections.abc import Sequence
from pathlib import Path

from seg_pipeline.cli import main as seg_pipeline
from seg_pipeline.warehouse import Warehouse

KEPT = """
    SELECT
        avg(same) AS kept,
        min(same) AS worst
    FROM (
        SELECT now.as_of, count(*) FILTER (now.segment_id = before.segment_id) / count(*) AS same
        FROM segments.segment_history AS now
        JOIN (
            SELECT *, lead(as_of) OVER (PARTITION BY customer_id ORDER BY as_of) AS next FROM segments.segment_history
        ) AS before ON before.next = now.as_of AND before.customer_id = now.customer_id
        GROUP BY now.as_of
    )
"""


def command(*words: object) -> None:
    """Runs the command line, quietly."""
    with contextlib.redirect_stdout(io.StringIO()) as said:
        status = seg_pipeline([str(word) for word in words])
    if status:
        raise SystemExit(f"nights: seg-pipeline {' '.join(map(str, words))} ended with {status}:\n{said.getvalue()}")


def trading_nights(warehouse: Warehouse, count: int) -> list[datetime.date]:
    """The nights after the last days with an order, the oldest first."""
    days = warehouse.read("SELECT DISTINCT CAST(ordered_at AS DATE) AS day FROM prepared.clean_orders ORDER BY day")
    return [day.date() + datetime.timedelta(days=1) for day in days["day"].iloc[-count:]]


def main(arguments: Sequence[str] | None = None) -> int:
    """Measures and prints; the exit status."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--source", required=True)
    parser.add_argument("--preset", default="generic")
    parser.add_argument("--nights", type=int, default=60)
    parser.add_argument("--bootstraps", type=int, default=20)
    given = parser.parse_args(arguments)
    for way, refit in (("one champion, scored", False), ("a fit every night that takes over", True)):
        with tempfile.TemporaryDirectory() as folder:
            place = ("--warehouse", Path(folder) / "w.duckdb", "--output", Path(folder) / "published")
            settings: tuple[str, ...] = ("--preset", given.preset)
            for setting in (f"models.bootstraps={given.bootstraps}", "champions.margin=-1"):
                settings += ("--set", setting)
            warehouse = Warehouse(database=str(Path(folder) / "w.duckdb"))
            command("run", "--source", given.source, *place, *settings)
            nights = trading_nights(warehouse, given.nights)
            # Beside the first run, which only finds the nights, a warehouse that knows no later champion.
            with warehouse.get_connection() as connection:
                connection.execute("DELETE FROM models.champions")
                connection.execute("DELETE FROM segments.segment_assignments")
            command("backfill", nights[0], "--refit", *place, *settings)
            for night in nights[1:]:
                command("backfill", night, *(["--refit"] if refit else []), *place, *settings)
            figures = warehouse.read(KEPT).iloc[0]
            names = warehouse.value(
                "SELECT count(*) FROM (SELECT segment_id FROM segments.segment_history GROUP BY segment_id"
                " HAVING count(DISTINCT segment_name) > 1)"
            )
            print(
                f"{way}: {len(nights)} nights, {figures['kept']:.2%} of the customers keep their segment from night to"
                f" night (worst night {figures['worst']:.2%}); segments that changed their name: {names}",
                flush=True,
            )
            if refit:
                decisions = warehouse.read(
                    "SELECT avg(kept_share) AS kept, min(kept_share) AS worst, avg(kept_share_unmatched) AS unmatched"
                    " FROM models.champion_decisions WHERE decision = 'replaced'"
                ).iloc[0]
                print(
                    f"  the same customers by the new and the old model: {decisions['kept']:.2%} matched (worst"
                    f" {decisions['worst']:.2%}), {decisions['unmatched']:.2%} numbered anew by spend"
                )
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
