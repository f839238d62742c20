"""Accepts order days and deliveries as they are, although they were found odd or impossible."""

import getpass
import socket
from collections.abc import Sequence

from seg_pipeline.errors import UsageError
from seg_pipeline.prepared.day_figures import newest_scored
from seg_pipeline.prepared.day_verdicts import IMPOSSIBLE, ODD
from seg_pipeline.prepared.tables import ACCEPTED_FIGURES, DAY_FIGURES
from seg_pipeline.settings import Settings
from seg_pipeline.usecases.existing import delivery_named, existing_warehouse


def accept(settings: Settings, names: Sequence[str], reason: str | None) -> dict[str, str]:
    """Records that days or deliveries are right as they are. If their lines change, they are judged again.

    Args:
        settings: The settings of the warehouse.
        names: Days, such as 2024-05-31, and deliveries as in `delivery_named`.
        reason: Why, in the words of the person; None if no reason is given.

    Returns:
        What was found odd or impossible, by the name in day_figures.

    Raises:
        UsageError: There is no such day or delivery, or nothing was found odd in it.
        MachineError: The warehouse cannot be written.
    """
    warehouse = existing_warehouse(settings)
    with warehouse.held(), warehouse.get_connection() as connection:
        for table in (DAY_FIGURES, ACCEPTED_FIGURES):
            connection.create(table, or_replace=False)
        figures = {
            name: (verdict, finding, digest)
            for name, verdict, finding, digest in connection.execute(
                f"SELECT name, verdict, reason, digest FROM {DAY_FIGURES.name}"
            ).fetchall()
        }
        chosen = list(dict.fromkeys(name if name in figures else delivery_named(name, figures) for name in names))
        for name in chosen:
            if figures[name][0] not in (ODD, IMPOSSIBLE):
                raise UsageError(f"{name}: nothing to accept; it is {figures[name][0]}")
        newest = newest_scored(connection)
        with connection.transaction():
            connection.insert_rows(
                ACCEPTED_FIGURES,
                [
                    {
                        "name": name,
                        "digest": figures[name][2],
                        "accepted_by": _account(),
                        "reason": reason,
                        "finding": figures[name][1],
                        "after_night": newest,
                    }
                    for name in chosen
                ],
            )
        return {name: figures[name][1] for name in chosen}


def _account() -> str:
    """Returns the account that runs the command, as far as the system knows it."""
    try:
        return f"{getpass.getuser()}@{socket.gethostname()}"
    except (KeyError, OSError):  # the account has no name
        return f"unknown@{socket.gethostname()}"
