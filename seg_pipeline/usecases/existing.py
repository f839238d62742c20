"""The warehouse of the commands that work on what a run has built, and the deliveries in it."""

import os
from collections.abc import Collection

from seg_pipeline.errors import MachineError, UsageError, did_you_mean
from seg_pipeline.raw.tables import DELIVERIES
from seg_pipeline.settings import Settings
from seg_pipeline.warehouse import Warehouse
from seg_pipeline.wiring import warehouse_of


def existing_warehouse(settings: Settings) -> Warehouse:
    """Returns the warehouse of the settings.

    Raises:
        UsageError: It does not exist. Opening it would create an empty one.
        MachineError: Its folder may not be read.
    """
    try:
        exists = settings.warehouse.path.is_file()
    except OSError as error:
        raise MachineError(f"warehouse {settings.warehouse.path}: {error.strerror}") from None
    if not exists:
        raise UsageError(f"warehouse {settings.warehouse.path}: no such file; seg-pipeline run makes one")
    return warehouse_of(settings)


def delivery_named(name: str, deliveries: Collection[str]) -> str:
    """Returns the delivery that a person means.

    Args:
        name: The name as in raw.deliveries, a relative path, or the name of a file if only one delivery has it.
        deliveries: The names of all deliveries.

    Raises:
        UsageError: There is no such delivery, or several have that file name.
    """
    if name in deliveries:
        return name
    places = {os.path.abspath(name), os.path.realpath(name)}
    found = [known for known in deliveries if os.path.abspath(known) in places]
    found = found or [known for known in deliveries if os.path.basename(known) == name]
    if not found:
        file_names = [os.path.basename(known) for known in deliveries]
        raise UsageError(
            f"{name}: no such delivery{did_you_mean(os.path.basename(name), file_names)}; the table"
            f" {DELIVERIES.name} lists them"
        )
    if len(found) > 1:
        raise UsageError(f"{name}: several deliveries have this name; give one of {', '.join(sorted(found))}")
    return found[0]
