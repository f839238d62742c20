"""The coreset of a night, made from the buyers' features in the warehouse."""

import datetime
from dataclasses import replace

import numpy as np

from seg_pipeline.features.buyers import GRID_PLACE, read_buyers
from seg_pipeline.features.tables import FEATURE_TRANSFORMS, GRID_CELLS
from seg_pipeline.features.transforms import apply_transforms
from seg_pipeline.models.coreset import Coreset, summarise
from seg_pipeline.models.recount import recounted
from seg_pipeline.warehouse import Warehouse


def coreset_of_night(warehouse: Warehouse, as_of: datetime.date, max_cells: int) -> Coreset:
    """Summarises the buyers of a night as at most `max_cells` cells, each with its commonest R x F grid segment.

    If Python can hold no more than a sample of the buyers, the cells come from the sample and the database counts
    every buyer in them.
    """
    transforms = warehouse.night(FEATURE_TRANSFORMS, as_of)
    buyers = read_buyers(warehouse, as_of, (*transforms["feature"], GRID_PLACE), {"names": list(GRID_CELLS)})
    coreset, cell_of_customer = summarise(apply_transforms(buyers, transforms), max_cells)
    # Buyers (cells, places) of each cell in each place of the grid.
    in_places = np.bincount(
        cell_of_customer * len(GRID_CELLS) + buyers["grid_place"].to_numpy(),
        minlength=len(coreset.weights) * len(GRID_CELLS),
    ).reshape(-1, len(GRID_CELLS))
    if len(buyers) == warehouse.most_customers:
        with warehouse.get_connection() as connection:
            coreset, in_places = recounted(connection, coreset, transforms, as_of)
    # Of equally common segments the first of the grid.
    return replace(coreset, rfm_segments=np.array(list(GRID_CELLS))[in_places.argmax(axis=1)])
