"""`seg-pipeline erase`: customers, for good."""

import argparse

from seg_pipeline.cli.options import Commands, add_command, places_options, settings_of, settings_options, shown_options
from seg_pipeline.cli.screen import Screen

EPILOG = """\
examples:
  seg-pipeline erase 17850
  seg-pipeline erase 17850 12346 --config seg_pipeline.toml

Their lines, features, segments and history are deleted, the published night is built anew without them, and the
warehouse file is written anew. Lines of theirs in files that are loaded later are left out. The delivered files
themselves, backups and what was copied from the published files are yours to mend. Give the settings (--preset,
--config, --set) that the night was run with.
"""


def add(commands: Commands) -> None:
    """Adds the command."""
    erase = add_command(
        commands,
        "erase",
        _erase,
        help="erase customers from every table, night and published file, for good",
        epilog=EPILOG,
        parents=[settings_options(), places_options(), shown_options(loudness=True)],
    )
    erase.add_argument("customers", metavar="CUSTOMER", nargs="+", help="customer id, as in the published files")


def _erase(options: argparse.Namespace) -> int:
    settings = settings_of(options)
    screen = Screen.of(options)
    with screen.progress("erasing") as progress:
        from seg_pipeline.usecases.erase import erase

        done = erase(settings, progress, options.customers)

    def show() -> None:
        for table, rows in done.rows.items():
            screen.say(f"erased: {rows:,} rows of {table}")
        if not done.rows:
            screen.say("erased: nothing; no table has such a customer")
        screen.say("published: " + ("built anew without them" if done.republished else "nothing was"))
        screen.say(f"from now on lines of {len(options.customers)} customers are left out when they are loaded")

    screen.result(
        lambda: {"rows": done.rows, "republished": done.republished, "warnings": screen.warnings},
        show,
    )
    return 0
