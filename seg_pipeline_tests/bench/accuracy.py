"""How near the summary's figures are to scikit-learn's: `python -m seg_pipeline_tests.bench.accuracy`.

Silhouette and Ward beside scikit-learn's on all customers, and agreement with the true labels of public tables.
`--data DIR`, a folder with `online_retail` and `cdnow` in it, adds their customers. Nothing is judged. Ward of
scikit-learn takes some 7 GB at 30,000 customers.
"""

import argparse
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

import duckdb
import numpy as np
from sklearn.cluster import AgglomerativeClustering
from sklearn.metrics import adjusted_rand_score, silhouette_score

from seg_pipeline.models.coreset import FloatArray, IntArray, group_means, summarise
from seg_pipeline.models.metrics import metrics_of
from seg_pipeline.models.model import model_from_labels
from seg_pipeline.models.registry import ALGORITHMS
from seg_pipeline_tests.samples import labelled_table, unsummarised

SIZES = (12_000, 20_000, 30_000)
EXACT_SIZE = 3_000
KS = range(2, 11)
SEED = 7
STARTS = 10

# Adjusted Rand index with the true labels, columns centred and divided by one global standard deviation.
PUBLISHED = {
    "iris": {"kmeans": 0.730, "gaussian_mixture": 0.904, "hierarchical": 0.731},
    "wine": {"kmeans": 0.371, "gaussian_mixture": 0.825, "hierarchical": 0.368},
    "breast_cancer": {"kmeans": 0.491, "gaussian_mixture": 0.706, "hierarchical": 0.287},
}

# Where an order has no id, it is a customer's day.
RFM = """
    SELECT date_diff('day', max(day), DATE '{as_of}'), count(DISTINCT order_id), sum(amount)
    FROM ({lines})
    GROUP BY customer_id
    ORDER BY customer_id
"""
ONLINE_RETAIL_LINES = """
    SELECT CustomerID AS customer_id, InvoiceNo AS order_id, InvoiceDate::DATE AS day, Quantity * UnitPrice AS amount
    FROM read_csv('{folder}/online_retail/*.csv', types = {{'InvoiceNo': 'VARCHAR', 'StockCode': 'VARCHAR'}})
    WHERE CustomerID IS NOT NULL AND Quantity > 0 AND UnitPrice > 0
"""
CDNOW_LINES = """
    SELECT parts[1] AS customer_id, parts[2] AS order_id, strptime(parts[2], '%Y%m%d')::DATE AS day,
           parts[4]::DOUBLE AS amount
    FROM (
        SELECT regexp_split_to_array(trim(line), '\\s+') AS parts
        FROM read_csv('{folder}/cdnow/CDNOW_master.txt', columns = {{'line': 'VARCHAR'}}, delim = '|', header = true)
    )
"""


def standardised(values: FloatArray) -> FloatArray:
    scaled: FloatArray = (values - values.mean(axis=0)) / values.std(axis=0)
    return scaled


def clouds(count: int, features: int) -> FloatArray:
    """Six overlapping Gaussian clouds, correlated."""
    random = np.random.default_rng(SEED)
    centers = 1.5 * random.normal(size=(6, features))
    values = centers[random.integers(0, len(centers), count)] + random.normal(size=(count, features))
    return standardised(values @ (np.eye(features) + 0.3 * random.normal(size=(features, features))))


def skewed(count: int, features: int) -> FloatArray:
    """log1p of gamma, lognormal and Poisson features in turn, independent: much is lost between few cells."""
    random = np.random.default_rng(SEED)
    draws = (
        lambda: random.gamma(0.7, size=count),
        lambda: random.lognormal(size=count),
        lambda: 1.0 + random.poisson(2.0 * random.gamma(1.0, size=count)),
    )
    return standardised(np.log1p(np.column_stack([draws[feature % len(draws)]() for feature in range(features)])))


def rfm(folder: Path, lines: str, as_of: str) -> FloatArray:
    """log1p of recency, frequency and monetary, standardised, of a shop's orders before `as_of`."""
    columns = duckdb.execute(RFM.format(lines=lines.format(folder=folder), as_of=as_of)).fetchnumpy().values()
    return standardised(np.log1p(np.column_stack([np.asarray(column, dtype=float) for column in columns])))


def tables(folder: Path | None) -> Iterator[tuple[str, FloatArray]]:
    """Names and features of all that silhouettes are compared on."""
    for make in (clouds, skewed):
        for count in SIZES:
            for features in (3, 5, 10):
                yield f"{make.__name__}, {features} features", make(count, features)
    if folder:
        yield "Online Retail", rfm(folder, ONLINE_RETAIL_LINES, "2011-12-10")
        yield "CDNOW", rfm(folder, CDNOW_LINES, "1998-07-01")


def compare_silhouettes(name: str, rows: FloatArray) -> None:
    """One line: the worst differences over k, of KMeans and Ward, ours minus that on all customers.

    All customers' own rows are scored in one pass for all k, by our metrics, which give scikit-learn's figures there
    (see test_metrics); the worst k is scored by scikit-learn itself.
    """
    coreset, cell_of_row = summarise(rows)
    fitted = [
        (ALGORITHMS[algorithm], model)
        for algorithm in ("kmeans", "hierarchical")
        for model in ALGORITHMS[algorithm].fit_range(coreset, KS, seed=SEED, n_init=1)
    ]
    ours = np.array([metrics.silhouette for metrics in metrics_of(coreset, [model for _, model in fitted])])
    by_cell = [model.cell_labels[cell_of_row] for _, model in fitted]
    by_predict = [algorithm.predict(model, rows, coreset)[0] for algorithm, model in fitted]
    of_rows = unsummarised(rows)
    exact = metrics_of(of_rows, [model_from_labels("any", of_rows, labels, 0.0) for labels in by_cell + by_predict])
    of_cells, of_predicted = ours - np.array([metrics.silhouette for metrics in exact]).reshape(2, -1)
    worst = int(np.abs(of_cells).argmax())
    theirs = silhouette_score(rows, by_cell[worst])
    algorithm, model = fitted[worst]
    print(
        f"  {name:<20} {len(rows):>7,} {coreset.lost_share:>7.2%} {ours[worst] - theirs:>+9.5f}"
        f"  {algorithm.name + ', k = ' + str(model.k):<22} {of_predicted[np.abs(of_predicted).argmax()]:>+9.5f}",
        flush=True,
    )


def scikit_learns_ward(rows: FloatArray) -> list[IntArray]:
    """Labels (rows,) for each k, cut from one tree, which scikit-learn keeps in a folder meanwhile."""
    with tempfile.TemporaryDirectory() as folder:
        return [
            AgglomerativeClustering(k, linkage="ward", memory=folder, compute_full_tree=True).fit_predict(rows)
            for k in KS
        ]


def within_squares(rows: FloatArray, labels: IntArray) -> float:
    """Sum of squares about the clusters' means."""
    centers = group_means(labels, np.ones(len(rows)), rows)[1]
    return float(((rows - centers[labels]) ** 2).sum())


def compare_ward(name: str, rows: FloatArray) -> None:
    """One line: sum of squares of ours over theirs, and how alike the labels of all customers are."""
    ward = ALGORITHMS["hierarchical"]
    coreset, _ = summarise(rows)
    models = ward.fit_range(coreset, KS, seed=SEED, n_init=1)
    pairs = [
        (ward.predict(model, rows, coreset)[0], theirs)
        for model, theirs in zip(models, scikit_learns_ward(rows), strict=True)
    ]
    ratios = [within_squares(rows, ours) / within_squares(rows, theirs) for ours, theirs in pairs]
    alike = min(adjusted_rand_score(theirs, ours) for ours, theirs in pairs)
    print(
        f"  {name:<20} {len(rows):>7,} {'yes' if coreset.exact else 'no':>6} {max(ratios):>8.4f}"
        f"  k = {KS[int(np.argmax(ratios))]:<3} {min(ratios):>8.4f} {alike:>8.4f}",
        flush=True,
    )


def compare_with_truth(name: str) -> None:
    """A line for each algorithm: adjusted Rand index with the true labels, beside the published."""
    points, truth = labelled_table(name)
    for algorithm, published in PUBLISHED[name].items():
        [model] = ALGORITHMS[algorithm].fit_range(unsummarised(points), [len(set(truth))], seed=0, n_init=STARTS)
        ours = adjusted_rand_score(truth, model.cell_labels)
        print(f"  {name:<14} {algorithm:<18} {ours:>7.3f} {published:>10.3f}", flush=True)


def main(arguments: Sequence[str] | None = None) -> int:
    """Measures and prints; the exit status."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, help="folder of real orders: online_retail and cdnow")
    given = parser.parse_args(arguments)

    print("Adjusted Rand index with the true labels")
    print(f"  {'table':<14} {'algorithm':<18} {'ours':>7} {'published':>10}")
    for name in PUBLISHED:
        compare_with_truth(name)

    print(
        f"Silhouette of KMeans and Ward, k = {KS[0]} to {KS[-1]}: ours minus scikit-learn's on all customers, the worst"
    )
    print(f"  {'customers':<20} {'number':>7} {'lost':>7} {'worst':>9}  {'at':<22} {'labels by predict':>9}")
    for name, rows in tables(given.data):
        compare_silhouettes(name, rows)

    print(f"Ward, k = {KS[0]} to {KS[-1]}: sum of squares over scikit-learn's, and the smallest adjusted Rand index")
    print(f"  {'customers':<20} {'number':>7} {'exact':>6} {'worst':>8}  {'at':<7} {'best':>8} {'Rand':>8}")
    for features in (3, 10):
        for count in (EXACT_SIZE, *SIZES):
            compare_ward(f"skewed, {features} features", skewed(count, features))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
