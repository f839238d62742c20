"""`seg-pipeline champions`: the models that customers are scored with."""

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
    from seg_pipeline.usecases.champions import Reign

EPILOG = """\
examples:
  seg-pipeline champions
  seg-pipeline champions --pin kmeans-5-2011-12-10-1a2b3c4d
  seg-pipeline champions --unpin
  seg-pipeline champions --json
"""


def add(commands: Commands) -> None:
    """Adds the command."""
    champions = add_command(
        commands,
        "champions",
        _champions,
        help="list the models that customers are scored with, pin one, or go back to one",
        epilog=EPILOG,
        parents=[settings_options(), warehouse_option(), shown_options()],
    )
    pinning = champions.add_mutually_exclusive_group()
    pinning.add_argument("--pin", metavar="MODEL_ID", help="put this one in force; no challenger replaces it")
    pinning.add_argument("--unpin", action="store_true", help="let challengers replace the champion again")
    champions.add_argument(
        "--from", dest="start", metavar="DATE", type=date, help="first night it scores; default: the last night scored"
    )


def _champions(options: argparse.Namespace) -> int:
    settings = settings_of(options)
    screen = Screen.of(options)
    from dataclasses import asdict

    from seg_pipeline.usecases.champions import champions, pin_champion, unpin_champion

    if options.pin:
        pin_champion(settings, options.pin, options.start)
    elif options.unpin:
        unpin_champion(settings, options.start)
    reigns = champions(settings)
    screen.result(lambda: {"champions": [asdict(reign) for reign in reigns]}, lambda: _show(screen, reigns))
    return 0


def _show(screen: Screen, reigns: "Sequence[Reign]") -> None:
    screen.rows(
        ("in force from", "model", "fitted on", "pinned", "why"),
        [
            (reign.in_force_from, reign.model_id, reign.fitted_as_of, "yes" if reign.pinned else None, reign.why)
            for reign in reigns
        ],
        "Champions, the last in force",
    )
    if not reigns:
        screen.say("no champion yet; seg-pipeline run fits one")
