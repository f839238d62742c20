"""`seg-pipeline retract`: leaves out deliveries that should not have come."""

import argparse
from collections.abc import Sequence
from typing import TYPE_CHECKING

from seg_pipeline.cli.options import (
    Commands,
    add_command,
    load_settings_from,
    output_options,
    settings_options,
    warehouse_option,
)
from seg_pipeline.cli.screen import Screen, counted

if TYPE_CHECKING:
    from seg_pipeline.usecases.retract import Retraction

EPILOG = """\
examples:
  seg-pipeline retract exports/2011-12-08.csv --config seg_pipeline.toml
  seg-pipeline retract exports/2011-12-08.csv --undo --config seg_pipeline.toml

Removes the lines of a delivery from raw_orders. The file may stay where it is: no later run loads this content, under
whatever name and with whatever settings it is read. A changed file of that name is loaded. SOURCE_FILE is the name in
raw.deliveries and in the examples of failed checks. What is published stays until the next run.

A pull from a table of a database can be retracted, but not taken back. If other settings make a run read the table from
the start, the rows of the pull come again.
"""


def add(commands: Commands) -> None:
    """Registers `seg-pipeline retract` and its arguments."""
    retract = add_command(
        commands,
        "retract",
        _retract,
        help="leave out a delivery that should not have come, and its lines",
        epilog=EPILOG,
        parents=[settings_options(), warehouse_option(), output_options()],
    )
    retract.add_argument("files", metavar="SOURCE_FILE", nargs="+", help="the delivery, as in the column source_file")
    retract.add_argument(
        "--undo", action="store_true", help="take a retraction back; the next run loads the file again"
    )


def _retract(options: argparse.Namespace) -> int:
    settings = load_settings_from(options)
    screen = Screen.from_options(options)
    from dataclasses import asdict

    from seg_pipeline.usecases.retract import retract, take_back

    retraction = (take_back if options.undo else retract)(settings, options.files)
    screen.show_or_print_json(lambda: _show(screen, retraction), lambda: asdict(retraction))
    return 0


def _show(screen: Screen, retraction: "Retraction") -> None:
    for name, lines in retraction.lines.items():
        screen.say(f"retracted: {name}, {counted(lines, 'line')}")
    if retraction.lines:
        screen.say(f"the next run builds the night without {_them(list(retraction.lines))}")
    for name in retraction.taken_back:
        screen.say(f"taken back: {name}")
    if retraction.taken_back:
        screen.say(f"the next run loads {_them(retraction.taken_back)} again, if still in the source")


def _them(names: Sequence[str]) -> str:
    return "it" if len(names) == 1 else "them"
