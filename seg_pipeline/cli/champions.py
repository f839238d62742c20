"""`seg-pipeline champions`: lists, pins and unpins the models that score customers."""

import argparse
from collections.abc import Sequence
from typing import TYPE_CHECKING

from seg_pipeline.cli.options import (
    Commands,
    add_command,
    date,
    settings_of,
    settings_options,
    shown_options,
    warehouse_option,
)
from seg_pipeline.cli.screen import Screen

if TYPE_CHECKING:
    from seg_pipeline.usecases.champions import Appointment

EPILOG = """\
examples:
  seg-pipeline champions
  seg-pipeline champions --pin kmeans-5-2011-12-10-1a2b3c4d
  seg-pipeline champions --unpin
  seg-pipeline champions --json
"""


def add(commands: Commands) -> None:
    """Adds the `champions` command."""
    champions = add_command(
        commands,
        "champions",
        _champions,
        help="list the models that score customers; pin or unpin one",
        epilog=EPILOG,
        parents=[settings_options(), warehouse_option(), shown_options()],
    )
    pinning = champions.add_mutually_exclusive_group()
    pinning.add_argument(
        "--pin", metavar="MODEL_ID", help="put this champion in force and let no challenger replace it"
    )
    pinning.add_argument("--unpin", action="store_true", help="let challengers replace the champion again")
    champions.add_argument(
        "--from",
        dest="start",
        metavar="DATE",
        type=date,
        help="first date on which --pin or --unpin takes effect (default: the last scored night)",
    )


def _champions(options: argparse.Namespace) -> int:
    if options.start and not (options.pin or options.unpin):
        options.parser.error("--from needs --pin or --unpin")
    settings = settings_of(options)
    screen = Screen.of(options)
    from dataclasses import asdict

    from seg_pipeline.usecases.champions import appointments, pin_champion, unpin_champion

    if options.pin:
        pin_champion(settings, options.pin, options.start)
    elif options.unpin:
        unpin_champion(settings, options.start)
    champions = appointments(settings)
    screen.show_or_print_json(
        lambda: _show(screen, champions), lambda: {"champions": [asdict(champion) for champion in champions]}
    )
    return 0


def _show(screen: Screen, champions: "Sequence[Appointment]") -> None:
    screen.rows(
        ("in force from", "model", "fitted on", "pinned", "reason"),
        [
            (
                champion.in_force_from,
                champion.model_id,
                champion.fitted_as_of,
                "yes" if champion.pinned else None,
                champion.why,
            )
            for champion in champions
        ],
        "Champions in the order of their appointment; the last one is in force",
    )
    if not champions:
        screen.say("no champion yet; seg-pipeline run fits one")
