"""If Python sees only a sample of the customers, the database counts all of them in the cells of the sample."""

import datetime

import numpy as np
import pandas as pd
import pytest
from scipy.spatial.distance import cdist

from seg_pipeline.features.buyers import grid_place, read_buyers
from seg_pipeline.features.tables import GRID_CELLS, RFM_FEATURES
from seg_pipeline.features.transforms import apply_transforms, fit_transforms
from seg_pipeline.models.coreset import summarise
from seg_pipeline.models.night import recount
from seg_pipeline.settings import FeatureSettings
from seg_pipeline.warehouse import Warehouse

AS_OF = datetime.date(2024, 3, 1)
COLUMNS = ("recency_days", "frequency", "monetary")


@pytest.fixture
def warehouse(tmp_path):
    """A warehouse with the features of 3,000 buyers, and of ten customers who have only returned something."""
    random = np.random.default_rng(1)
    customers = pd.DataFrame(
        {
            "customer_id": [f"c{number}" for number in range(3010)],
            "recency_days": random.integers(1, 700, 3010),
            "frequency": np.r_[random.geometric(0.3, 3000), np.zeros(10, dtype=int)],
            "monetary": random.lognormal(4, 1, 3010).round(2),
            "rfm_segment": random.choice(list(GRID_CELLS), 3010),
        }
    )
    filled = {column.name: 1 for column in RFM_FEATURES.columns if not column.nullable and column.type != "DATE"}
    filled = {name: value for name, value in filled.items() if name not in customers}
    dates = {column.name: AS_OF for column in RFM_FEATURES.columns if column.type == "DATE" and column.name != "as_of"}
    warehouse = Warehouse(database=str(tmp_path / "warehouse.duckdb"))
    warehouse.replace_night(RFM_FEATURES, customers.assign(**filled, **dates), AS_OF)
    return warehouse


def few(warehouse, most):
    return Warehouse(database=warehouse.database, most_customers=most)


def test_a_sample_of_the_buyers_has_the_size_asked_for_and_is_the_same_each_time(warehouse):
    columns = ("customer_id AS id", *COLUMNS)
    everyone = read_buyers(warehouse, AS_OF, columns)
    some = read_buyers(few(warehouse, 500), AS_OF, columns)

    assert len(everyone) == 3000
    assert len(some) == 500
    assert set(some["id"]) < set(everyone["id"])
    assert some["id"].is_monotonic_increasing
    pd.testing.assert_frame_equal(some, read_buyers(few(warehouse, 500), AS_OF, columns))
    pd.testing.assert_frame_equal(everyone, read_buyers(few(warehouse, 3000), AS_OF, columns))


def test_every_buyer_is_counted_in_the_nearest_cell_of_the_sample(warehouse):
    sample = read_buyers(few(warehouse, 500), AS_OF, COLUMNS)
    transforms = fit_transforms(sample, FeatureSettings())
    cells, _ = summarise(apply_transforms(sample, transforms), 40)

    with warehouse.get_connection() as connection:
        counted, grid = recount(connection, cells, transforms, AS_OF)

    place, names = grid_place()
    everyone = read_buyers(warehouse, AS_OF, (*COLUMNS, place), names)
    points = apply_transforms(everyone, transforms)
    nearest = cdist(points, cells.points).argmin(axis=1)
    members = [np.flatnonzero(nearest == cell) for cell in np.unique(nearest)]
    means = np.array([points[one].mean(axis=0) for one in members])
    order = np.lexsort(means.T[::-1])
    assert counted.weights.sum() == 3000
    np.testing.assert_array_equal(counted.weights, np.array([len(one) for one in members])[order])
    np.testing.assert_allclose(counted.points, means[order], atol=1e-9)
    spread = [((points[one] - points[one].mean(axis=0)) ** 2).sum(axis=1).mean() for one in members]
    np.testing.assert_allclose(counted.spread, np.array(spread)[order], atol=1e-9)
    places = [np.bincount(everyone["grid_place"].to_numpy()[one], minlength=len(GRID_CELLS)) for one in members]
    np.testing.assert_array_equal(grid, np.array(places)[order])
    assert not counted.exact


def test_the_cells_of_a_sample_lose_little_more_than_those_of_all(warehouse):
    sample = read_buyers(few(warehouse, 1000), AS_OF, COLUMNS)
    everyone = read_buyers(warehouse, AS_OF, COLUMNS)
    transforms = fit_transforms(everyone, FeatureSettings())
    of_sample, _ = summarise(apply_transforms(sample, transforms), 200)
    of_all, _ = summarise(apply_transforms(everyone, transforms), 200)

    with warehouse.get_connection() as connection:
        counted, _ = recount(connection, of_sample, transforms, AS_OF)

    assert counted.lost_share < 1.25 * of_all.lost_share
