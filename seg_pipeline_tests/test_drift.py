"""Drift of features and of segment shares since the champion was fitted."""

import datetime

import numpy as np
import pandas as pd
import pytest

from seg_pipeline.features.tables import RFM_FEATURES
from seg_pipeline.models.drift import population_stability_index, training_summary
from seg_pipeline.segments.tables import SHARE_DRIFT
from seg_pipeline.warehouse import Warehouse

NIGHT = datetime.date(2024, 3, 1)


@pytest.fixture
def connection(tmp_path):
    with Warehouse(database=str(tmp_path / "w.duckdb")).get_connection() as connection:
        yield connection


def test_the_index_is_the_published_sum_and_zero_without_change(connection):
    shares = [0.2, 0.3, 0.5]

    assert population_stability_index(connection, shares, shares) == 0
    # 0.1 ln 2 - 0.1 ln(2/3), by hand.
    assert population_stability_index(connection, [0.2, 0.2, 0.6], [0.1, 0.3, 0.6]) == pytest.approx(
        0.1 * np.log(2) - 0.1 * np.log(2 / 3)
    )


def test_an_empty_bin_counts_as_a_small_share(connection):
    assert population_stability_index(connection, [1.0, 0.0], [0.5, 0.5]) == pytest.approx(
        0.5 * np.log(2) - 0.4999 * np.log(0.0001 / 0.5), rel=1e-6
    )


@pytest.mark.parametrize(
    ("customers", "fitted_shares", "now", "before"),
    [
        # Each segment a third of 90 buyers at the fit, and 45, 27 and 18 of them now.
        ([45, 27, 18], [1 / 3, 1 / 3, 1 / 3], [0.5, 0.3, 0.2], [1 / 3, 1 / 3, 1 / 3]),
        # Two segments have no customer left: they have no row, and are one bin.
        ([60, 40], [0.5, 0.3], [0.6, 0.4, 0.0], [0.5, 0.3, 0.2]),
    ],
)
def test_the_check_of_segment_shares_computes_the_same_index(connection, customers, fitted_shares, now, before):
    profiles = pd.DataFrame(
        {
            "segment_id": [0, *range(1, len(customers) + 1)],
            "customers": [1000, *customers],
            "fitted_share": [None, *fitted_shares],
            "reference_as_of": NIGHT,
        }
    )
    with connection.temporary(profiles) as batch:
        [(psi, _)] = connection.execute(SHARE_DRIFT.replace("{batch}", str(batch))).fetchall()

    assert psi == pytest.approx(population_stability_index(connection, now, before), rel=1e-12)


def test_the_summary_holds_deciles_once_and_the_share_up_to_each(connection):
    connection.create(RFM_FEATURES, or_replace=False)
    connection.execute(
        "INSERT INTO features.rfm_features BY NAME SELECT $night AS as_of, CAST(i AS VARCHAR) AS customer_id,"
        " CASE WHEN i < 50 THEN 1 ELSE i END AS recency_days, 1 AS frequency FROM range(100) AS numbers(i)",
        {"night": NIGHT},
    )
    transforms = pd.DataFrame({"feature": ["recency_days"], "fill": [0.0]})

    [summary] = training_summary(connection, transforms, NIGHT).to_dict("records")

    assert list(summary["cuts"]) == [1.0, 59.0, 69.0, 79.0, 89.0]
    np.testing.assert_allclose(summary["shares"], [0.5, 0.1, 0.1, 0.1, 0.1, 0.1])
