"""`seg-pipeline backfill`: builds past nights from the orders that are loaded."""

import argparse

from seg_pipeline.cli.options import (
    Commands,
    add_command,
    date,
    places_options,
    settings_of,
    settings_options,
    shown_options,
)
from seg_pipeline.cli.screen import Screen

EPILOG = """\
examples:
  seg-pipeline backfill 2011-11-01 2011-11-30 --config seg_pipeline.toml
  seg-pipeline backfill 2011-11-15

Each night gets the numbers of that night: orders on or after it do not count, and the champion in force on that night
scores it, or the first one after it if there was none. The published files of a later night and today's champion do not
change. Use the settings (--preset, --config, --set) that the nights were run with.
"""


def add(commands: Commands) -> None:
    """Adds the `backfill` command."""
    backfill = add_command(
        commands,
        "backfill",
        _backfill,
        help="score past nights from the orders that are loaded",
        epilog=EPILOG,
        parents=[settings_options(), places_options(), shown_options(loudness=True)],
    )
    backfill.add_argument(
        "first", metavar="FIRST", type=date, help="the first night, a date; the orders before it count"
    )
    backfill.add_argument("last", metavar="LAST", type=date, nargs="?", help="the last night; default: FIRST")
    backfill.add_argument("--refit", action="store_true", help="also fit models on every night")


def _backfill(options: argparse.Namespace) -> int:
    settings = settings_of(options)
    screen = Screen.of(options)
    with screen.progress("starting") as progress:
        from seg_pipeline.usecases.backfill import backfill

        nights = backfill(settings, progress, options.first, options.last or options.first, refit=options.refit)
    screen.show_or_print_json(
        lambda: screen.say(f"scored: {len(nights)} nights, {nights[0]} to {nights[-1]}, each with its champion"),
        lambda: {"nights": nights, "warnings": screen.warnings},
    )
    return 0
