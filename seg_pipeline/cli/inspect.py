"""`seg-pipeline inspect`: how a source would be read."""

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

seg-pipeline init goes further: it asks what is not sure, and writes the settings file.
"""


def add(commands: Commands) -> None:
    """Adds the command."""
    inspect = add_command(
        commands,
        "inspect",
        _inspect,
        help="show how a source would be read, without running",
        epilog=EPILOG,
        parents=[settings_options(), shown_options()],
    )
    inspect.add_argument("source", metavar="SOURCE", nargs="+", help="files, folders or globs")


def _inspect(options: argparse.Namespace) -> int:
    settings = settings_of(options)
    screen = Screen.of(options)
    from seg_pipeline.usecases.inspect import inspect

    found = inspect(settings)
    screen.result(lambda: _document(found), lambda: show(screen, found))
    return 0


def _document(found: "Inspection") -> dict[str, object]:
    from dataclasses import asdict, fields

    problems = [dict(zip(("reason", "meaning", "lines", "first"), one, strict=True)) for one in found.problems]
    deliveries = [{"files": one.files, **asdict(one.shape), "columns": one.columns} for one in found.deliveries]
    document = {field.name: getattr(found, field.name) for field in fields(found)}
    return {**document, "deliveries": deliveries, "problems": problems}


def show(screen: Screen, found: "Inspection") -> None:
    """An inspection for people."""
    from seg_pipeline.raw.columns import ORDER_COLUMNS

    for delivery, first in zip(found.deliveries, found.examples, strict=True):
        more = f" and {len(delivery.files) - 1} more of this shape" if len(delivery.files) > 1 else ""
        screen.rows(
            ("column of raw_orders", "column of the file", "first value"),
            [(column, delivery.columns.get(column, "-"), first[column] or "") for column in ORDER_COLUMNS],
            f"{delivery.files[0]}{more}",
        )
        unused = [name for name in delivery.header if name not in delivery.columns.values()]
        if unused:
            screen.say(f"not used: {', '.join(unused)}")
    for line in found.refused:
        screen.say(f"set aside: {line}")
    screen.say(f"dates are read as: {found.dates}")
    screen.say(f"of the first {found.lines:,} lines {found.clean:,} would count")
    if found.clean:
        screen.say(
            f"  {found.customers:,} customers, {found.orders:,} orders from {found.first_day} to {found.last_day},"
            f" worth {found.revenue:,.2f}; {found.returns:,} lines are returns"
        )
    for reason, meaning, lines, example in found.problems:
        screen.say(f"  {lines:,} {reason}: {meaning}; first: {example}")
