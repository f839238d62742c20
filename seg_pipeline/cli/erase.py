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

Removes all that is published, deletes the customers' lines, features, segments and history, rewrites the warehouse
file, builds the night again without them, and searches every table and published file for the ids. Files loaded later
do not bring their lines back: a hash of each id stays, under a key in the file beside the warehouse that ends in
.erasure-key. Keep that file, or set SEG_PIPELINE_ERASURE_KEY. You still have to remove the customers from the delivered
files, from backups and from copies of the published files.

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
    erase.set_defaults(if_interrupted="erase again, since the customers may not be gone")
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
    for file in erasure.files:
        screen.say(f"deleted: {file}, which could hold their rows")
    if erasure.runs:
        screen.say(f"deleted: Dagster's records of {counted(len(erasure.runs), 'run')} that named them")
    if erasure.published:
        screen.say(f"published: the night {erasure.published}, built again without them")
    else:
        screen.say("published: nothing; the warehouse has no night")
    screen.say("searched: no table and no published file has them")
    screen.say(f"later loads leave out the lines of {counted(len(erasure.customers), 'customer')}")
