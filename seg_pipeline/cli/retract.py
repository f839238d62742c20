"""`seg-pipeline retract`: takes deliveries out again."""

import argparse

from seg_pipeline.cli.options import (
    Commands,
    add_command,
    load_settings_from,
    output_options,
    settings_options,
    warehouse_option,
)
from seg_pipeline.cli.screen import Screen, counted, warn

EPILOG = """\
examples:
  seg-pipeline retract exports/2026-02-03.csv --config seg_pipeline.toml
  seg-pipeline retract 2026-02-03.csv 2026-02-04.csv
  seg-pipeline retract --undo 2026-02-03.csv

Removes the lines of a delivery that should not have been loaded, such as one that makes a check fail. They stay out,
even if the file is still there; a corrected file with the same name is loaded. The next run builds a night without
them, and `seg-pipeline backfill` builds past nights again. raw.deliveries lists all deliveries.

Pass the same settings (--preset, --config, --set) as the run that loaded the orders.
"""


def add(commands: Commands) -> None:
    """Registers `seg-pipeline retract` and its arguments."""
    retract = add_command(
        commands,
        "retract",
        _retract,
        help="take the lines of a delivered file out again, and keep them out",
        epilog=EPILOG,
        parents=[settings_options(), warehouse_option(), output_options()],
    )
    retract.add_argument(
        "deliveries", metavar="FILE", nargs="+", help="a delivered file, or source_file in raw.deliveries"
    )
    retract.add_argument("--undo", action="store_true", help="let the next run load the file again")


def _retract(options: argparse.Namespace) -> int:
    from seg_pipeline.usecases.retract import retract, take_back

    settings = load_settings_from(options)
    screen = Screen.from_options(options)
    if options.undo:
        names = take_back(settings, options.deliveries)

        def show_names() -> None:
            for name in names:
                screen.say(f"no longer retracted: {name}")
            screen.say("the next run loads what is still in the source")

        screen.show_or_print_json(show_names, lambda: {"no_longer_retracted": names})
        return 0
    retraction = retract(settings, options.deliveries)
    if retraction.problem:
        warn(f"the remaining lines are cleaned by the next run: {retraction.problem}")

    def show() -> None:
        for name, lines in retraction.lines.items():
            screen.say(f"retracted: {name}, {counted(lines, 'line')}")
        screen.say("the next run leaves them out; what is published stays until then")

    screen.show_or_print_json(show, lambda: {"lines": retraction.lines, "problem": retraction.problem})
    return 0
