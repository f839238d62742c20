"""The seg-pipeline command. Heavy imports wait until a command is known, so that --help answers at once.

Exit status: 0 done; 1 the data failed a critical check or could not be read; 2 wrong usage or settings; 3 the machine
said no.
"""

import argparse
import datetime
import json
import logging
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
    from seg_pipeline.segments.explain import Explanation
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

BACKFILL_EPILOG = """\
examples:
  seg-pipeline backfill 2011-11-01 2011-11-30
  seg-pipeline backfill 2011-11-15

Each night gets the numbers of that night: orders on or after it do not count, and it is scored by the champion that was
in force, or by the first one after. What is published for a later night stays, and so does the champion of today.
Give the settings (--preset, --config, --set) that the nights were run with.
"""

CHAMPIONS_EPILOG = """\
examples:
  seg-pipeline champions
  seg-pipeline champions --pin kmeans-5-2011-12-10-1a2b3c4d
  seg-pipeline champions --unpin
"""

ERASE_EPILOG = """\
examples:
  seg-pipeline erase 17850
  seg-pipeline erase 17850 12346 --preset online_retail

Their lines, features, segments and history are deleted, the published night is built anew without them, and the
warehouse file is written anew. Lines of theirs in files that are loaded later are left out. The delivered files
themselves, backups and what was copied from the published files are yours to mend. Give the settings (--preset,
--config, --set) that the night was run with.
"""

EXPLAIN_EPILOG = """\
examples:
  seg-pipeline explain 17850
  seg-pipeline explain 17850 --as-of 2011-09-01 --lines 50
  seg-pipeline explain 17850 --json
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
    logging.getLogger("seg_pipeline").handlers = [_Warnings()]
    try:
        return int(options.command(options))
    except SegPipelineError as error:
        # A path may hold a line break; the message stays one line.
        print(f"seg-pipeline: {' '.join(str(error).splitlines())}", file=sys.stderr)
        return error.exit_status
    except KeyboardInterrupt:
        print("seg-pipeline: interrupted; running again repairs what was begun", file=sys.stderr)
        return 130


class _Warnings(logging.Handler):
    """What the package logs, as the line that a failed warning is."""

    def emit(self, record: logging.LogRecord) -> None:
        print(f"warning: {record.getMessage()}", file=sys.stderr)


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

    warehouse = argparse.ArgumentParser(add_help=False)
    warehouse.add_argument("--warehouse", metavar="FILE", help="the DuckDB file; default: warehouse.duckdb")
    output = argparse.ArgumentParser(add_help=False)
    output.add_argument("--output", metavar="DIR", help="folder of the published files; default: published")

    run = commands.add_parser(
        "run",
        parents=[shared, warehouse, output],
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
    run.add_argument("--refit", action="store_true", help="fit models although none are due")
    run.set_defaults(command=_run)

    backfill = commands.add_parser(
        "backfill",
        parents=[shared, warehouse, output],
        help="score past nights from the orders that are loaded",
        epilog=BACKFILL_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    backfill.add_argument("first", metavar="FIRST", type=_date, help="the first night (orders before this day count)")
    backfill.add_argument("last", metavar="LAST", type=_date, nargs="?", help="the last night; default: the first")
    backfill.add_argument("--refit", action="store_true", help="fit models on every night too")
    backfill.set_defaults(command=_backfill)

    champions = commands.add_parser(
        "champions",
        parents=[shared, warehouse],
        help="list the models that customers are scored with, pin one, or go back to one",
        epilog=CHAMPIONS_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    pinning = champions.add_mutually_exclusive_group()
    pinning.add_argument("--pin", metavar="MODEL_ID", help="put this one in force; no challenger replaces it")
    pinning.add_argument("--unpin", action="store_true", help="let challengers replace the champion again")
    champions.add_argument(
        "--from", dest="start", metavar="DATE", type=_date, help="first night it scores; default: the last night scored"
    )
    champions.set_defaults(command=_champions)

    explain = commands.add_parser(
        "explain",
        parents=[shared, warehouse],
        help="show how a customer came to a segment, from the raw lines on, and what would change it",
        epilog=EXPLAIN_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    explain.add_argument("customer", metavar="CUSTOMER", help="customer id")
    explain.add_argument("--as-of", metavar="DATE", help="the night; default: the newest one that is scored")
    explain.add_argument("--lines", metavar="N", type=_count, default=10, help="raw lines to show; default: 10")
    explain.add_argument("--json", action="store_true", help="print JSON")
    explain.set_defaults(command=_explain)

    erase = commands.add_parser(
        "erase",
        parents=[shared, warehouse, output],
        help="erase customers from every table, night and published file, for good",
        epilog=ERASE_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    erase.add_argument("customers", metavar="CUSTOMER", nargs="+", help="customer id, as in the published files")
    erase.set_defaults(command=_erase)

    inspect = commands.add_parser("inspect", parents=[shared], help="show how a source would be read, without running")
    inspect.add_argument("source", metavar="SOURCE", nargs="+", help="files, folders or globs")
    inspect.set_defaults(command=_inspect)
    return parser


def _overrides(options: argparse.Namespace) -> list[str]:
    """The options that have a setting, as overrides; --set beats them, as the more explicit."""
    named = {
        "source.path": json.dumps(options.source) if getattr(options, "source", None) else None,
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
        done = run(load, progress, refit=options.refit)
    total = time.perf_counter() - began
    console.print(_timed("the rest", total - sum(progress.seconds.values())) + "  (imports and orchestration)")
    console.print(_timed("in all", total) + "\n")
    _print_segments(console, done, load().strategies.currency)
    console.print(_scored_with(done), soft_wrap=True, markup=False)
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
            if file.suffix in (".csv", ".duckdb", ".parquet"):
                console.print(f"           {file}", soft_wrap=True, markup=False)
        console.print(f"report:    {done.published / 'report.html'}", soft_wrap=True, markup=False)
    return 0


def _scored_with(done: "Done") -> str:
    """Which model scored the night, and what became of a fit."""
    from seg_pipeline.models.champions import champion_of
    from seg_pipeline.models.tables import CHAMPION_DECISIONS

    champion = champion_of(done.warehouse, done.as_of)
    later = ", after this night: there was none before" if champion.fitted_as_of > done.as_of else ""
    line = f"scored with {champion.model_id}, fitted on {champion.fitted_as_of}{later}"
    if done.fit is None:
        return line
    decision = done.warehouse.night(CHAMPION_DECISIONS, done.as_of).iloc[-1]
    return f"fitted anew: {done.fit}; champion {decision['decision']}: {decision['reason']}\n{line}"


def _erase(options: argparse.Namespace) -> int:
    load = partial(_load, options)
    load()
    console = _console()
    with console.status("erasing") as status:
        from seg_pipeline.erasure import erase
        from seg_pipeline.runs import Progress

        progress = Progress(
            started=lambda step: status.update(step.replace("__", ".")),
            finished=lambda stage, seconds: None,
            warned=lambda line: print(f"warning: {line}", file=sys.stderr),
        )
        done = erase(load, progress, options.customers)
    for table, rows in done.rows.items():
        console.print(f"erased: {rows:,} rows of {table}")
    if not done.rows:
        console.print("erased: nothing; no table has such a customer")
    console.print("published: " + ("built anew without them" if done.republished else "nothing was"))
    console.print(f"from now on lines of {len(options.customers)} customers are left out when they are loaded")
    return 0


def _backfill(options: argparse.Namespace) -> int:
    load = partial(_load, options)
    load()
    console = _console()
    with console.status("starting") as status:
        from seg_pipeline.runs import Progress, backfill

        progress = Progress(
            started=lambda step: status.update(step.replace("__", ".")),
            finished=lambda stage, seconds: None,
            warned=lambda line: print(f"warning: {line}", file=sys.stderr),
        )
        nights = backfill(load, progress, options.first, options.last or options.first, refit=options.refit)
    console.print(f"scored: {len(nights)} nights, {nights[0]} to {nights[-1]}, each with its champion")
    return 0


def _champions(options: argparse.Namespace) -> int:
    from rich.table import Table

    from seg_pipeline.definitions import warehouse_of
    from seg_pipeline.models.champions import champions_overview, pin, unpin
    from seg_pipeline.segments.cadence import last_scored

    warehouse = warehouse_of(_load(options).warehouse)
    with warehouse.held():
        start = options.start or last_scored(warehouse) or datetime.date.today()
        if options.pin:
            pin(warehouse, options.pin, start)
        elif options.unpin:
            unpin(warehouse, start)
        found = champions_overview(warehouse)
    table = Table(title="Champions, the last in force", title_justify="left")
    for heading in ("in force from", "model", "fitted on", "pinned", "why"):
        table.add_column(heading)
    for row in found.to_dict("records"):
        days = (f"{row[day]:%Y-%m-%d}" for day in ("in_force_from", "fitted_as_of"))
        table.add_row(next(days), row["model_id"], next(days), "yes" if row["pinned"] else "", row["why"])
    _console().print(table)
    return 0


def _explain(options: argparse.Namespace) -> int:
    from dataclasses import asdict

    from seg_pipeline.definitions import warehouse_of
    from seg_pipeline.segments.explain import explain

    settings = _load(options)
    found = explain(warehouse_of(settings.warehouse), options.customer, settings.as_of, options.lines)
    if options.json:
        print(json.dumps(asdict(found), indent=2, ensure_ascii=False, default=str))
    else:
        _print_explanation(_console(), found)
    return 0


def _print_explanation(console: "Console", found: "Explanation") -> None:
    """The steps in the order in which they were taken."""
    from dataclasses import astuple

    def say(line: str) -> None:
        console.print(line, soft_wrap=True, markup=False)

    decision = found.decision
    segment = f"{decision.segment_name} (segment {decision.segment_id})" if decision else "no segment"
    say(f"Customer {found.customer_id} as of {found.as_of}: {segment}")
    say(
        f"\n1. {found.lines:,} raw lines: {found.lines_counting:,} count, {found.lines_too_late:,} are on or after the"
        " night"
    )
    lines = [[f"{Path(line.source_file).name} row {line.source_row}", *astuple(line)[2:]] for line in found.first_lines]
    headings = ("line", "order", "date", "product", "quantity", "price", "amount", "")
    _print_rows(console, headings, lines)
    if len(lines) < found.lines:
        say(f"and {found.lines - len(lines):,} more; --lines shows them")
    say(f"\n2. {sum(one.lines for one in found.rejections):,} lines rejected")
    for one in found.rejections:
        say(f"  {one.lines:,} {one.reason}: {one.meaning}; first: {'; '.join(one.examples)}")
    if decision is None:
        say("\nno clean line before the night, so no segment")
        return
    say("\n3. features")
    told = [*decision.features, *decision.scores]
    _print_rows(console, ("feature", "value", "meaning"), [(one.name, one.value, one.description) for one in told])
    if decision.grid:
        say(f"cell of the R x F grid: {decision.grid}")
    if decision.steps:
        say("\n4. made comparable: (transformed - centre) / scale x weight")
        _print_rows(
            console,
            ("feature", "raw", "filled", "transform", "transformed", "centre", "scale", "scaled", "weight", "result"),
            [astuple(step) for step in decision.steps],
        )
    say(f"\n5. decided by {decision.why}" if decision.grid else f"\n5. {decision.why}")
    say(f"{segment}, confidence {decision.confidence:.3f}; {decision.model_id}, fitted on {decision.fitted_as_of}")
    if decision.affinities:
        _print_rows(
            console,
            ("id", "segment", "distance to centre", "to its nearest cell", "probability"),
            [
                (one.segment_id, one.segment_name, one.distance, one.nearest_cell, one.probability)
                for one in decision.affinities
            ],
        )
    if decision.runner_up:
        say(f"runner-up: {decision.runner_up}")
    if decision.rule:
        say(
            f"the segment in short: {decision.rule} ({decision.rule_precision:.0%} of those under this rule are in it,"
            f" {decision.rule_recall:.0%} of it are under the rule)"
        )
    if decision.changes:
        say("\n6. what would have to change, each alone")
    for change in decision.changes:
        moved = f"at {change.feature} {_shown(change.to)} to {change.segment_name} (segment {change.segment_id})"
        unmoved = f"no value of {change.feature} alone would"
        say(f"  {unmoved if change.to is None else moved} (now {_shown(change.now)})")
    say("\n7. nights")
    for stay in found.history:
        nights = f"{stay.first}" if stay.first == stay.last else f"{stay.first} to {stay.last}, {stay.nights} nights"
        say(f"  {nights}: {stay.segment_name} (segment {stay.segment_id})")


def _print_rows(console: "Console", headings: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    """A table without the columns in which nothing stands."""
    from rich.table import Table
    from rich.text import Text

    table = Table()
    kept = [place for place in range(len(headings)) if any(row[place] is not None for row in rows)]
    for place in kept:
        numeric = all(isinstance(row[place], int | float | None) for row in rows)
        table.add_column(headings[place], justify="right" if numeric else "left")
    for row in rows:
        table.add_row(*(Text(_shown(row[place])) for place in kept))
    if rows:
        console.print(table)


def _shown(value: object) -> str:
    if value is None:
        return "-"
    if not isinstance(value, float):
        return str(value)
    return f"{value:,.2f}".removesuffix(".00") if abs(value) >= 100 else f"{value:.4g}"


def _count(text: str) -> int:
    if not text.isdecimal():
        raise argparse.ArgumentTypeError(f"{text!r} is no number of lines")
    return int(text)


def _date(text: str) -> datetime.date:
    try:
        return datetime.date.fromisoformat(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is no date like 2011-12-10") from None


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
    for line in found.refused:
        console.print(f"set aside: {line}", soft_wrap=True, markup=False)
    console.print(f"dates are read as: {found.dates}")
    console.print(f"of the first {found.lines:,} lines {found.clean:,} would count")
    for reason, meaning, lines, example in found.problems:
        console.print(f"  {lines:,} {reason}: {meaning}; first: {example}", soft_wrap=True, markup=False)
    return 0


if __name__ == "__main__":
    sys.exit(main())
