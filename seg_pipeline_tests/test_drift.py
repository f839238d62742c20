"""Drift of features against what the champion was fitted on."""

import datetime

import numpy as np
import pandas as pd
import pytest

from seg_pipeline.features.tables import RFM_FEATURES
from seg_pipeline.models.drift import population_stability_index, training_summary
from seg_pipeline.warehouse import Warehouse

NIGHT = datetime.date(2024, 3, 1)


def test_the_index_is_the_published_sum_and_zero_without_change():
    shares = np.array([0.2, 0.3, 0.5])

    assert population_stability_index(shares, shares) == 0
    # 0.1 ln 2 - 0.1 ln(2/3), by hand.
    assert population_stability_index(np.array([0.1, 0.3, 0.6]), np.array([0.2, 0.2, 0.6])) == pytest.approx(
        0.1 * np.log(2) - 0.1 * np.log(2 / 3)
    )


def test_an_empty_bin_counts_as_a_small_share():
    assert population_stability_index(np.array([0.5, 0.5]), np.array([1.0, 0.0])) == pytest.approx(
        0.5 * np.log(2) - 0.4999 * np.log(0.0001 / 0.5), rel=1e-6
    )


def test_the_summary_holds_deciles_once_and_the_share_up_to_each(tmp_path):
    warehouse = Warehouse(database=str(tmp_path / "w.duckdb"))
    with warehouse.get_connection() as connection:
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
