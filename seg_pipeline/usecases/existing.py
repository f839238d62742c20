"""The warehouse of the commands that only look at what a run has built."""

from seg_pipeline.errors import MachineError, UsageError
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
