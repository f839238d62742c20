"""`seg-pipeline erase`: erases customers for good."""

import argparse

from seg_pipeline.cli.options import Commands, add_command, places_options, settings_of, settings_options, shown_options
from seg_pipeline.cli.screen import Screen

EPILOG = """\
examples:
  seg-pipeline erase 17850
  seg-pipeline erase 17850 12346 --config seg_pipeline.toml

Deletes the customers' lines, features, segments and history, builds the published night again without them, and writes
the warehouse file again. Files loaded later do not bring their lines back. You still have to remove them from the
delivered files, from backups and from copies of the published files. Use the settings (--preset, --config, --set) that
the night was run with.
"""


def add(commands: Commands) -> None:
    """Adds the `erase` command."""
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

        erasure = erase(settings, progress, options.customers)

    def show() -> None:
        for table, rows in erasure.rows.items():
            screen.say(f"erased: {rows:,} rows of {table}")
        if not erasure.rows:
            screen.say("erased: nothing; no table has these customers")
        screen.say(
            "published: "
            + ("the night was built again without them" if erasure.republished else "nothing was published")
        )
        screen.say(f"later loads leave out the lines of {len(options.customers)} customers")

    screen.show_or_print_json(
        show,
        lambda: {"rows": erasure.rows, "republished": erasure.republished, "warnings": screen.warnings},
    )
    return 0
