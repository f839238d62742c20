"""The rooms of the package and their tables, for the tests and for `make docs`."""

import importlib
from collections.abc import Iterator
from importlib.util import find_spec

from seg_pipeline.tables import Table

# In the order the data walks.
ROOMS = ("raw", "prepared", "features", "models", "evaluation", "champions", "segments", "publishing")


def tables() -> Iterator[Table]:
    """Yields every table of the warehouse, room by room; a room without tables has no `tables.py`."""
    for module in (f"seg_pipeline.{room}.tables" for room in ROOMS):
        if not find_spec(module):
            continue
        for value in vars(importlib.import_module(module)).values():
            if isinstance(value, Table):
                yield value
            elif isinstance(value, dict):
                yield from (entry for entry in value.values() if isinstance(entry, Table))
