"""The warehouse of the commands that only look at what a run has built."""

from seg_pipeline.errors import UsageError
from seg_pipeline.settings import Settings
from seg_pipeline.warehouse import Warehouse
from seg_pipeline.wiring import warehouse_of


def existing_warehouse(settings: Settings) -> Warehouse:
    """Returns the warehouse of the settings.

    Raises:
        UsageError: It does not exist. Opening it would create an empty one.
    """
    if not settings.warehouse.path.is_file():
        raise UsageError(f"warehouse {settings.warehouse.path}: no such file; seg-pipeline run makes one")
    return warehouse_of(settings)
