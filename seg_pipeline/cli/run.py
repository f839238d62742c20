"""`seg-pipeline run`: loads, cleans and segments orders, and publishes the result."""

import argparse
import math
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING

from seg_pipeline.cli.options import Commands, add_command, places_options, settings_of, settings_options, shown_options
from seg_pipeline.cli.screen import Screen, timed

if TYPE_CHECKING:
    from seg_pipeline.settings import Settings
    from seg_pipeline.usecases.execution import Progress
    from seg_pipeline.usecases.run import RunResult

EPILOG = """\
examples:
  seg-pipeline run --source orders.csv
  seg-pipeline run --config seg_pipeline.toml
  seg-pipeline run --source bestellungen.csv --set source.columns.customer_id=Kunde --set source.decimal=,
  seg-pipeline run --source exports/ --as-of 2011-12-10 --set returns=drop --set selection.k=5
  seg-pipeline run --source exports/ --verbose > run.log
  seg-pipeline run --source exports/ --json > run.json

docs/reference.md lists every setting that --set takes, with its values and its default.
"""


def add(commands: Commands) -> None:
    """Adds the `run` command."""
    run = add_command(
        commands,
        "run",
        _run,
        help="load, clean and segment orders, and publish the result",
        epilog=EPILOG,
        parents=[settings_options(), places_options(), shown_options(loudness=True)],
    )
    run.add_argument(
        "--source", metavar="PATH", nargs="+", help="files, folders or globs: CSV and other text (also .gz), Parquet"
    )
    run.add_argument(
        "--as-of",
        metavar="DATE",
        help="score customers as of DATE, from orders before it (default: the day after the last order)",
    )
    run.add_argument("--refit", action="store_true", help="fit models even if no fit is due")


def _run(options: argparse.Namespace) -> int:
    settings = settings_of(options)
    return run_and_show(settings, Screen.of(options), refit=options.refit)


def run_and_show(settings: "Settings", screen: Screen, *, refit: bool = False) -> int:
    """Runs with these settings, shows the result, and returns the exit status."""
    began = time.perf_counter()
    with screen.progress("starting") as progress:
        from seg_pipeline.usecases.run import run

        result = run(settings, progress, refit=refit)
    seconds = time.perf_counter() - began
    screen.say(timed("other", seconds - sum(progress.seconds.values())) + "  (imports and orchestration)")
    screen.say(timed("total", seconds) + "\n")
    screen.show_or_print_json(
        lambda: _show(screen, result, settings.strategies.currency),
        lambda: _document(result, progress, screen.warnings, seconds),
    )
    return 0


def _document(result: "RunResult", progress: "Progress", warnings: Sequence[str], seconds: float) -> dict[str, object]:
    return {
        "as_of": result.as_of,
        "model_id": result.model_id,
        "fitted_as_of": result.fitted_as_of,
        "fit": result.fit,
        "decision": result.decision,
        "segments": result.segments,
        "warehouse": result.warehouse,
        "published": result.published,
        "files": sorted(map(str, result.published.iterdir())) if result.published else [],
        "warnings": list(warnings),
        "seconds": {
            **{stage: round(stage_seconds, 3) for stage, stage_seconds in progress.seconds.items()},
            "in_all": round(seconds, 3),
        },
    }


def _show(screen: Screen, result: "RunResult", currency: str) -> None:
    _show_segments(screen, result, currency)
    screen.say(_scored_with(result))
    screen.say(f"\nwarehouse: {result.warehouse}")
    if result.published is None:
        screen.say(
            f"not published: {result.output} already holds a later night. If these orders belong to another shop, use a"
            " separate --output and --warehouse."
        )
        return
    screen.say(f"published: {result.published}")
    for file in sorted(result.published.iterdir()):
        if file.suffix in (".csv", ".duckdb", ".parquet"):
            screen.say(f"           {file}")
    screen.say(f"report:    {result.published / 'report.html'}")


def _show_segments(screen: Screen, result: "RunResult", currency: str) -> None:
    from rich.table import Table

    table = Table(title=f"Customer segments as of {result.as_of}", title_justify="left")
    table.add_column("id", justify="right")
    table.add_column("segment", no_wrap=True)
    headings = (
        "customers",
        "share",
        f"revenue\n{currency}".strip(),
        "revenue\nshare",
        "median\nrecency\n(days)",
        "median\norders",
        "median\nspend",
    )
    for heading in headings:
        table.add_column(heading, justify="right", no_wrap=True)
    for row in result.segments:
        figures = (
            (row["customers"], ",.0f"),
            (row["share"], ".1%"),
            (row["revenue"], ",.0f"),
            (row["revenue_share"], ".1%"),
            (row["median_recency_days"], ",.0f"),
            (row["median_frequency"], ",.0f"),
            (row["median_monetary"], ",.0f"),
        )
        # Customers without a purchase have no last order.
        cells = ("-" if math.isnan(value) else format(value, spec) for value, spec in figures)
        table.add_row(str(row["segment_id"]), row["segment_name"], *cells)
    screen.console.print(table)


def _scored_with(result: "RunResult") -> str:
    """Returns a line that names the model that scored the night, after a line about the fit if there was one."""
    later = ", later than this night, because no earlier model exists" if result.fitted_as_of > result.as_of else ""
    line = f"scored with {result.model_id}, fitted on {result.fitted_as_of}{later}"
    if result.decision is None:
        return line
    return f"fitted: {result.fit}; champion {result.decision['decision']}: {result.decision['reason']}\n{line}"
