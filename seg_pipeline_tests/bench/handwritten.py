"""The script that people write by hand: RFM in pandas, three algorithms of scikit-learn, the best by silhouette.

This is the other side of the benchmark, written as a competent data scientist would in a day: vectorised, no needless
work, no cleverness. It imports nothing of the pipeline.

    python handwritten.py orders.parquet segments.csv
"""

import sys
from pathlib import Path

import duckdb
import numpy as np
import pandas as pd
from sklearn.cluster import AgglomerativeClustering, KMeans
from sklearn.metrics import silhouette_score
from sklearn.mixture import GaussianMixture
from sklearn.neighbors import NearestCentroid
from sklearn.preprocessing import StandardScaler

KS = range(2, 11)
SEED = 0
WARD_SAMPLE = 5_000  # customers; Ward on all of them would need memory for every pair
SILHOUETTE_SAMPLE = 10_000  # customers


def read(path: Path) -> pd.DataFrame:
    if path.suffix == ".parquet":
        # pandas would need pyarrow for this, which nothing else here does; the frame is the same.
        return duckdb.read_parquet(str(path)).df()
    return pd.read_csv(path, dtype={"order_id": str, "customer_id": str}, parse_dates=["order_date"])


def clean(orders: pd.DataFrame) -> pd.DataFrame:
    orders = orders.dropna(subset=["customer_id"])
    orders = orders[(orders["quantity"] > 0) & (orders["unit_price"] > 0)]
    return orders.drop_duplicates()


def rfm_of(orders: pd.DataFrame) -> pd.DataFrame:
    as_of = orders["order_date"].max().normalize() + pd.Timedelta(days=1)
    orders = orders.assign(amount=orders["quantity"] * orders["unit_price"])
    rfm = orders.groupby("customer_id").agg(
        last_order=("order_date", "max"), frequency=("order_id", "nunique"), monetary=("amount", "sum")
    )
    rfm["recency_days"] = (as_of - rfm["last_order"].dt.normalize()).dt.days
    return rfm[["recency_days", "frequency", "monetary"]]


def best_segments(points: np.ndarray) -> tuple[str, int, float, np.ndarray]:
    """Algorithm, k, silhouette and a label for every customer, of the best of all fits by silhouette."""
    sample = np.random.default_rng(SEED).choice(len(points), min(WARD_SAMPLE, len(points)), replace=False)
    some = points[sample]
    best: tuple[str, int, float, np.ndarray] = ("", 0, -1.0, np.empty(0))
    for k in KS:
        fits = {
            "kmeans": (points, KMeans(k, n_init=10, random_state=SEED).fit_predict(points)),
            "gaussian_mixture": (
                points,
                GaussianMixture(k, covariance_type="full", random_state=SEED).fit_predict(points),
            ),
            "ward": (some, AgglomerativeClustering(k, linkage="ward").fit_predict(some)),
        }
        for algorithm, (fitted, labels) in fits.items():
            score = silhouette_score(fitted, labels, sample_size=min(SILHOUETTE_SAMPLE, len(fitted)), random_state=SEED)
            print(f"{algorithm} k={k} silhouette {score:.3f}")
            if score > best[2]:
                best = (algorithm, k, score, labels)
    algorithm, k, score, labels = best
    if algorithm == "ward":
        labels = NearestCentroid().fit(some, labels).predict(points)
    return algorithm, k, score, labels


def main() -> None:
    source, target = map(Path, sys.argv[1:3])
    rfm = rfm_of(clean(read(source)))
    points = StandardScaler().fit_transform(np.log1p(rfm))
    algorithm, k, score, labels = best_segments(points)
    print(f"{len(rfm):,} customers: {algorithm}, k = {k}, silhouette {score:.3f}")
    rfm.assign(segment=labels).to_csv(target)


if __name__ == "__main__":
    main()
