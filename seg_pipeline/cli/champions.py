"""`seg-pipeline champions`: the models that customers are scored with."""

import argparse
import datetime
from typing import TYPE_CHECKING, Any

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
from seg_pipeline.errors import UsageError

if TYPE_CHECKING:
    from seg_pipeline.warehouse import Warehouse

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
    from seg_pipeline.models.champions import champions_overview
    from seg_pipeline.wiring import warehouse_of

    warehouse = warehouse_of(settings)
    if not settings.warehouse.path.is_file():
        raise UsageError(f"warehouse {warehouse.database}: no such file; seg-pipeline run makes one")
    if options.pin or options.unpin:
        with warehouse.held():
            _pin(warehouse, options)
    with warehouse.held(read_only=True):
        found = champions_overview(warehouse)
    for day in ("in_force_from", "fitted_as_of"):
        found[day] = found[day].dt.date
    rows = found.to_dict("records")
    screen.result(lambda: {"champions": rows}, lambda: _show(screen, rows))
    return 0


def _pin(warehouse: "Warehouse", options: argparse.Namespace) -> None:
    from seg_pipeline.champions.cadence import last_scored
    from seg_pipeline.models.champions import pin, unpin

    start = options.start or last_scored(warehouse) or datetime.date.today()
    if options.pin:
        pin(warehouse, options.pin, start)
    else:
        unpin(warehouse, start)


def _show(screen: Screen, rows: list[dict[Any, Any]]) -> None:
    screen.rows(
        ("in force from", "model", "fitted on", "pinned", "why"),
        [
            (row["in_force_from"], row["model_id"], row["fitted_as_of"], "yes" if row["pinned"] else None, row["why"])
            for row in rows
        ],
        "Champions, the last in force",
    )
    if not rows:
        screen.say("no champion yet; seg-pipeline run fits one")
