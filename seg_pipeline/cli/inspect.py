"""`seg-pipeline inspect`: shows how a run would read a source."""

import argparse
from typing import TYPE_CHECKING

from seg_pipeline.cli.options import Commands, add_command, settings_of, settings_options, shown_options
from seg_pipeline.cli.screen import Screen

if TYPE_CHECKING:
    from seg_pipeline.usecases.inspect import Inspection

EPILOG = """\
examples:
  seg-pipeline inspect orders.csv
  seg-pipeline inspect bestellungen.csv --set source.columns.customer_id=Kunde --set source.decimal=,
  seg-pipeline inspect exports/ --json

seg-pipeline init goes further: it asks what the data does not show, and writes the settings file.
"""


def add(commands: Commands) -> None:
    """Adds the `inspect` command."""
    inspect = add_command(
        commands,
        "inspect",
        _inspect,
        help="show how a run would read a source, without running",
        epilog=EPILOG,
        parents=[settings_options(), shown_options()],
    )
    inspect.add_argument("source", metavar="SOURCE", nargs="+", help="files, folders or globs of order lines")


def _inspect(options: argparse.Namespace) -> int:
    settings = settings_of(options)
    screen = Screen.of(options)
    from seg_pipeline.usecases.inspect import inspect

    inspection = inspect(settings)
    screen.show_or_print_json(lambda: show(screen, inspection), lambda: _document(inspection))
    return 0


def _document(inspection: "Inspection") -> dict[str, object]:
    from dataclasses import asdict, fields

    problems = [
        dict(zip(("reason", "meaning", "lines", "first"), problem, strict=True)) for problem in inspection.problems
    ]
    deliveries = [
        {"files": delivery.files, **asdict(delivery.shape), "columns": delivery.columns}
        for delivery in inspection.deliveries
    ]
    document = {field.name: getattr(inspection, field.name) for field in fields(inspection)}
    return {**document, "deliveries": deliveries, "problems": problems}


def show(screen: Screen, inspection: "Inspection") -> None:
    """Shows an inspection to people."""
    from seg_pipeline.raw.columns import ORDER_COLUMNS

    for delivery, first in zip(inspection.deliveries, inspection.examples, strict=True):
        more = f" and {len(delivery.files) - 1} more of this shape" if len(delivery.files) > 1 else ""
        screen.rows(
            ("column of raw_orders", "column of the file", "first value"),
            [(column, delivery.columns.get(column, "-"), first[column] or "") for column in ORDER_COLUMNS],
            f"{delivery.files[0]}{more}",
        )
        unused = [name for name in delivery.header if name not in delivery.columns.values()]
        if unused:
            screen.say(f"not used: {', '.join(unused)}")
    for line in inspection.refused:
        screen.say(f"set aside: {line}")
    screen.say(f"dates are read as: {inspection.dates}")
    screen.say(f"of the first {inspection.lines:,} lines {inspection.clean:,} would count")
    if inspection.clean:
        screen.say(
            f"  {inspection.customers:,} customers, {inspection.orders:,} orders from {inspection.first_day} to"
            f" {inspection.last_day}, worth {inspection.revenue:,.2f}; {inspection.returns:,} lines are returns"
        )
    for reason, meaning, lines, example in inspection.problems:
        screen.say(f"  {lines:,} {reason}: {meaning}; first: {example}")
