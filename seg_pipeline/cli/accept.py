"""`seg-pipeline accept`: accepts days and deliveries that were found odd or impossible."""

import argparse

from seg_pipeline.cli.options import (
    Commands,
    add_command,
    load_settings_from,
    output_options,
    settings_options,
    warehouse_option,
)
from seg_pipeline.cli.screen import Screen

EPILOG = """\
examples:
  seg-pipeline accept 2026-02-03 --reason "prices were raised" --config seg_pipeline.toml
  seg-pipeline accept exports/2026-02-03.csv --reason "a holiday"

Each order day and each delivery is judged by the shop's own history. A night stops while a new one is impossible, until
its file is corrected, taken out (seg-pipeline retract), or accepted with this command. prepared.day_figures has all
days and deliveries with their verdicts, prepared.accepted_figures what was accepted, by whom and why.

If the lines of an accepted day change later, it is judged again.
"""


def add(commands: Commands) -> None:
    """Registers `seg-pipeline accept` and its arguments."""
    accept = add_command(
        commands,
        "accept",
        _accept,
        help="let a day or a delivery count that was found impossible",
        epilog=EPILOG,
        parents=[settings_options(), warehouse_option(), output_options()],
    )
    accept.add_argument("names", metavar="NAME", nargs="+", help="a day such as 2026-02-03, or a delivered file")
    accept.add_argument("--reason", metavar="TEXT", help="why it is right, for the record")


def _accept(options: argparse.Namespace) -> int:
    from seg_pipeline.usecases.accept import accept

    accepted = accept(load_settings_from(options), options.names, options.reason)
    screen = Screen.from_options(options)

    def show() -> None:
        for name, finding in accepted.items():
            screen.say(f"accepted: {name}: {finding}")
        screen.say("the next run counts them as they are")

    screen.show_or_print_json(show, lambda: {"accepted": accepted})
    return 0
