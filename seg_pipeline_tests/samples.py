"""Tables of customers that the tests and benches of the algorithms share."""

from functools import cache
from pathlib import Path

import duckdb
import numpy as np
import pytest
from sklearn.datasets import load_breast_cancer, load_iris, load_wine

from seg_pipeline.models.coreset import Coreset, FloatArray, IntArray

ONLINE_RETAIL = Path(__file__).parents[2] / "shared" / "data" / "online_retail"
LABELLED = {"iris": load_iris, "wine": load_wine, "breast_cancer": load_breast_cancer}


def labelled_table(name: str) -> tuple[FloatArray, IntArray]:
    """A table that ships with scikit-learn, centred and divided by one global standard deviation; its true labels."""
    points, labels = LABELLED[name](return_X_y=True)
    return (points - points.mean(axis=0)) / points.std(), labels


@cache
def online_retail_rfm() -> FloatArray:
    """Online Retail's 4,338 customers: log1p recency, frequency, monetary, standardised. Skips where it is absent."""
    if not ONLINE_RETAIL.is_dir():
        pytest.skip(f"the Online Retail files are not at {ONLINE_RETAIL}")
    columns = duckdb.execute(
        f"""
        SELECT date_diff('day', max(InvoiceDate::DATE), DATE '2011-12-10') AS recency_days,
               count(DISTINCT InvoiceNo) AS frequency,
               sum(Quantity * UnitPrice) AS monetary
        FROM read_csv('{ONLINE_RETAIL}/*.csv', header = true, auto_detect = false, columns = {{
            'InvoiceNo': 'VARCHAR', 'StockCode': 'VARCHAR', 'Description': 'VARCHAR', 'Quantity': 'INTEGER',
            'InvoiceDate': 'TIMESTAMP', 'UnitPrice': 'DOUBLE', 'CustomerID': 'VARCHAR', 'Country': 'VARCHAR'
        }})
        WHERE CustomerID IS NOT NULL AND Quantity > 0 AND UnitPrice > 0
        GROUP BY CustomerID
        ORDER BY CustomerID
        """
    ).fetchnumpy()
    rfm = np.log1p(np.column_stack([np.asarray(column, dtype=float) for column in columns.values()]))
    return (rfm - rfm.mean(axis=0)) / rfm.std(axis=0)


def with_repeated_rows(points: FloatArray, seed: int = 0) -> FloatArray:
    """Each row one to four times, shuffled."""
    rng = np.random.default_rng(seed)
    return rng.permutation(np.repeat(points, rng.integers(1, 5, len(points)), axis=0))


def rfm_like(customers: int, seed: int = 0) -> FloatArray:
    """Lognormal recency, frequency and monetary with a lump of one-time buyers: log1p, standardised."""
    rng = np.random.default_rng(seed)
    activity = rng.lognormal(0.0, 1.0, customers)
    frequency = 1 + rng.poisson(1.5 * activity * (rng.random(customers) > 0.4))
    recency_days = 1 + np.floor(rng.exponential(200 / (1 + activity)))
    monetary = np.round(frequency * rng.lognormal(3.3, 0.8, customers), 2)
    rfm = np.log1p(np.column_stack([recency_days, frequency, monetary]))
    return (rfm - rfm.mean(axis=0)) / rfm.std(axis=0)


def unsummarised(points: FloatArray) -> Coreset:
    """Every row a cell of weight one."""
    return Coreset.without_spread(points, np.ones(len(points)), exact=True)
