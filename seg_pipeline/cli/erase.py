"""`seg-pipeline erase`: erases customers for good."""

import argparse
from collections.abc import Sequence
from typing import TYPE_CHECKING

from seg_pipeline.cli.options import (
    Commands,
    add_command,
    load_settings_from,
    output_options,
    path_options,
    settings_options,
)
from seg_pipeline.cli.screen import Screen, counted

if TYPE_CHECKING:
    from seg_pipeline.usecases.erase import Erasure

EPILOG = """\
examples:
  seg-pipeline erase 17850
  seg-pipeline erase 17850 12346 --config seg_pipeline.toml

Deletes the customers' lines, features, segments and history, rebuilds the published night without them, deletes the
files that were published before it, and rewrites the warehouse file. Files loaded later do not bring their lines back.
You still have to remove the customers from the delivered files, from backups and from copies of the published files.

Pass the same settings (--preset, --config, --set) as the run that published the night.
"""


def add(commands: Commands) -> None:
    """Registers `seg-pipeline erase` and its arguments."""
    erase = add_command(
        commands,
        "erase",
        _erase,
        help="erase customers from every table, night and published file, for good",
        epilog=EPILOG,
        parents=[settings_options(), path_options(), output_options(verbosity=True)],
    )
    erase.add_argument("customers", metavar="CUSTOMER", nargs="+", help="customer id, as in the published files")


def _erase(options: argparse.Namespace) -> int:
    settings = load_settings_from(options)
    screen = Screen.from_options(options)
    with screen.progress("erasing") as progress:
        from seg_pipeline.usecases.erase import erase

        erasure = erase(settings, progress, options.customers)
    screen.show_or_print_json(lambda: _show(screen, erasure), lambda: _document(erasure, screen.warnings))
    return 0


def _document(erasure: "Erasure", warnings: Sequence[str]) -> dict[str, object]:
    from dataclasses import asdict

    return {**asdict(erasure), "warnings": warnings}


def _show(screen: Screen, erasure: "Erasure") -> None:
    for table, rows in erasure.rows.items():
        screen.say(f"erased: {counted(rows, 'row')} of {table}")
    if not erasure.rows:
        screen.say("erased: nothing; no table has these customers")
    if erasure.republished:
        screen.say("published: the night was rebuilt without them")
    else:
        screen.say("published: no night was published, so there was nothing to rebuild")
    screen.say(f"later loads leave out the lines of {counted(len(erasure.customers), 'customer')}")
