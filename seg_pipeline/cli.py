"""The seg-pipeline command. Heavy imports wait until a command is known, so that --help answers at once.

Exit status: 0 done; 1 the data failed a critical check or could not be read; 2 wrong usage or settings; 3 the machine
said no.
"""

import argparse
import json
import math
import sys
import time
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from seg_pipeline.errors import SegPipelineError

if TYPE_CHECKING:
    from rich.console import Console

    from seg_pipeline.runs import Done
    from seg_pipeline.settings import Settings

RUN_EPILOG = """\
examples:
  seg-pipeline run --source orders.csv
  seg-pipeline run --source bestellungen.csv --set source.columns.customer_id=Kunde --set source.decimal=,
  seg-pipeline run --source exports/ --as-of 2011-12-10 --set returns=drop --set selection.k=5

settings that are often given (all of them, with their defaults: seg_pipeline/settings.py):
  returns=net|drop               duplicates=drop|keep            zero_prices=reject|keep
  excluded_products=POST,BANK*   source.date_format=day-first    source.decimal=,
  features.columns=recency_days,frequency,monetary               features.transform=log1p
  models.algorithms=kmeans,hierarchical,gaussian_mixture         models.k_max=10
  selection.k_min=3              selection.k_max=8               selection.k=5
  strategies.budget=10000        strategies.currency=EUR
"""

LOG_WIDTH = 140

EPILOG = """\
examples:
  seg-pipeline inspect orders.csv
  seg-pipeline run --source orders.csv
  seg-pipeline run --source exports/ --as-of 2011-12-10 --set returns=drop --set models.k_max=8

exit status: 0 done; 1 the data failed a critical check or could not be read; 2 wrong usage or settings;
3 the machine said no (warehouse busy, disk full, folder read-only)
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command; returns the exit status. Errors are one line on stderr."""
    options = _parser().parse_args(arguments)
    try:
        return int(options.command(options))
    except SegPipelineError as error:
        # A path may hold a line break; the message stays one line.
        print(f"seg-pipeline: {' '.join(str(error).splitlines())}", file=sys.stderr)
        return error.exit_status
    except KeyboardInterrupt:
        print("seg-pipeline: interrupted; running again repairs what was begun", file=sys.stderr)
        return 130


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="seg-pipeline",
        description="Customer segments from raw order lines.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    shared = argparse.ArgumentParser(add_help=False)
    shared.add_argument(
        "--preset", metavar="NAME", help="a preset (generic, online_retail, cdnow) or the path of a preset file"
    )
    shared.add_argument("--config", metavar="FILE", type=Path, help="settings file (TOML)")
    shared.add_argument(
        "--set", metavar="KEY=VALUE", action="append", default=[], help="override a setting; may be given again"
    )

    run = commands.add_parser(
        "run",
        parents=[shared],
        help="load, clean and segment a source; publish the result",
        epilog=RUN_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    run.add_argument(
        "--source", metavar="PATH", nargs="+", help="files, folders or globs: csv and other text (also .gz), parquet"
    )
    run.add_argument(
        "--as-of", metavar="DATE", help="orders before this day count; default: the day after the last order"
    )
    run.add_argument("--warehouse", metavar="FILE", help="the DuckDB file; default: warehouse.duckdb")
    run.add_argument("--output", metavar="DIR", help="folder of the published files; default: published")
    run.set_defaults(command=_run)

    inspect = commands.add_parser("inspect", parents=[shared], help="show how a source would be read, without running")
    inspect.add_argument("source", metavar="SOURCE", nargs="+", help="files, folders or globs")
    inspect.set_defaults(command=_inspect)
    return parser


def _overrides(options: argparse.Namespace) -> list[str]:
    """The options that have a setting, as overrides; --set beats them, as the more explicit."""
    named = {
        "source.path": json.dumps(options.source) if options.source else None,
        "source.preset": options.preset,
        "as_of": getattr(options, "as_of", None),
        "warehouse.path": getattr(options, "warehouse", None),
        "output.path": getattr(options, "output", None),
    }
    given = [f"{key}={value}" for key, value in named.items() if value is not None]
    return [*given, *options.set]


def _load(options: argparse.Namespace, of_the_run: Sequence[str] = ()) -> "Settings":
    from seg_pipeline.settings import load_settings

    return load_settings([*_overrides(options), *of_the_run], config=options.config)


def _run(options: argparse.Namespace) -> int:
    load = partial(_load, options)
    load()  # A wrong setting is told before anything heavy is imported.
    console = _console()
    began = time.perf_counter()
    with console.status("starting") as status:
        from seg_pipeline.runs import Progress, run

        progress = Progress(
            started=lambda step: status.update(step.replace("__", ".")),
            finished=lambda stage, seconds: console.print(_timed(stage, seconds)),
            warned=lambda line: print(f"warning: {line}", file=sys.stderr),
        )
        done = run(load, progress)
    total = time.perf_counter() - began
    console.print(_timed("the rest", total - sum(progress.seconds.values())) + "  (imports and orchestration)")
    console.print(_timed("in all", total) + "\n")
    _print_segments(console, done, load().strategies.currency)
    console.print(f"\nwarehouse: {done.warehouse.database}", soft_wrap=True, markup=False)
    if done.published is None:
        console.print(
            f"published: nothing new, since a later night than {done.as_of} is in {done.output}; for other orders"
            " give --output (and --warehouse) of their own",
            soft_wrap=True,
        )
    else:
        console.print(f"published: {done.published}", soft_wrap=True, markup=False)
        for file in sorted(done.published.iterdir()):
            if file.suffix in (".csv", ".parquet"):
                console.print(f"           {file}", soft_wrap=True, markup=False)
        console.print(f"report:    {done.published / 'report.html'}", soft_wrap=True, markup=False)
    return 0


def _timed(what: str, seconds: float) -> str:
    return f"{what:<10} {seconds:6.1f} s"


def _console() -> "Console":
    """The terminal; in a pipe or a log file the tables keep their width instead of being cut."""
    from rich.console import Console

    return Console(highlight=False, width=None if sys.stdout.isatty() else LOG_WIDTH)


def _print_segments(console: "Console", done: "Done", currency: str) -> None:
    from rich.table import Table

    from seg_pipeline.segments.tables import SEGMENT_PROFILES

    table = Table(title=f"Customer segments as of {done.as_of}", title_justify="left")
    table.add_column("id", justify="right")
    table.add_column("segment", no_wrap=True)
    for heading in ("customers", "share", f"revenue {currency}".strip(), "share", "recency", "orders", "spend"):
        table.add_column(heading, justify="right", no_wrap=True)
    for row in done.warehouse.night(SEGMENT_PROFILES, done.as_of).to_dict("records"):
        figures = (
            (row["customers"], ",.0f"),
            (row["share"], ".1%"),
            (row["revenue"], ",.0f"),
            (row["revenue_share"], ".1%"),
            (row["median_recency_days"], ",.0f"),
            (row["median_frequency"], ",.0f"),
            (row["median_monetary"], ",.0f"),
        )
        # Segment 0 has no last order.
        shown = ("-" if math.isnan(value) else format(value, how) for value, how in figures)
        table.add_row(str(row["segment_id"]), row["segment_name"], *shown)
    console.print(table)
    console.print("recency (days), orders and spend are medians")


def _inspect(options: argparse.Namespace) -> int:
    from rich.table import Table
    from rich.text import Text

    settings = _load(options)
    console = _console()
    from seg_pipeline.inspection import inspect
    from seg_pipeline.raw.columns import ORDER_COLUMNS

    found = inspect(settings)
    for delivery, first in zip(found.deliveries, found.examples, strict=True):
        more = f" and {len(delivery.files) - 1} more of this shape" if len(delivery.files) > 1 else ""
        table = Table(title=Text(f"{delivery.files[0]}{more}"), title_justify="left")
        for heading in ("column of raw_orders", "column of the file", "first value"):
            table.add_column(heading)
        for column in ORDER_COLUMNS:
            table.add_row(column, Text(delivery.columns.get(column, "-")), Text(first[column] or ""))
        console.print(table)
        unused = [name for name in delivery.header if name not in delivery.columns.values()]
        if unused:
            console.print(f"not used: {', '.join(unused)}", soft_wrap=True, markup=False)
    console.print(f"dates are read as: {found.dates}")
    console.print(f"of the first {found.lines:,} lines {found.clean:,} would count")
    for reason, meaning, lines, example in found.problems:
        console.print(f"  {lines:,} {reason}: {meaning}; first: {example}", soft_wrap=True, markup=False)
    return 0


if __name__ == "__main__":
    sys.exit(main())
