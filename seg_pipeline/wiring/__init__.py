"""Turns settings into what the rooms are built with: the shop, its warehouse and Dagster's resources.

This package imports no room. shop.py names and adds assets and checks, resources.py makes Dagster's resources, and
records.py deletes what Dagster keeps of old runs.
"""

from seg_pipeline.wiring.records import FINISHED, delete_run
from seg_pipeline.wiring.resources import resources_of, settings_resource, warehouse_of
from seg_pipeline.wiring.shop import Room, Shop, checked_night, night_of

__all__ = [
    "FINISHED",
    "Room",
    "Shop",
    "checked_night",
    "delete_run",
    "night_of",
    "resources_of",
    "settings_resource",
    "warehouse_of",
]
