"""The modeling core on millions of customers: `python -m seg_pipeline_tests.bench.core`.

Summary, fits, metrics and stability on 500,000 and on 5,000,000 customers, side by side with scikit-learn's KMeans on
all of them. Nothing is judged; the figures are for docs/benchmarks.md.
"""

import argparse
import resource
import time
from collections.abc import Callable, Sequence
from functools import partial
from typing import TypeVar

import numpy as np

from seg_pipeline.models.coreset import Coreset, FloatArray, summarise
from seg_pipeline.models.gap import gap_statistic
from seg_pipeline.models.metrics import metrics_of
from seg_pipeline.models.model import Algorithm
from seg_pipeline.models.registry import ALGORITHMS
from seg_pipeline.models.stability import stability_of

ALGORITHMS_COMPARED = ("kmeans", "bisecting_kmeans", "hierarchical", "gaussian_mixture", "k_medoids", "hdbscan")
KS = range(2, 11)
STARTS, DRAWS, SEED = 10, 20, 7
# The k that inertia is compared for.
COMPARED_K = (3, 5, 8)

Result = TypeVar("Result")


def customers(count: int) -> FloatArray:
    """Transformed recency, frequency, monetary (count, 3) of a shop: lapsing customers, a lump of one-time buyers."""
    random = np.random.default_rng(SEED)
    activity = random.gamma(0.6, 1.0, count)
    frequency = 1 + random.poisson(4 * activity)
    recency = np.ceil(random.exponential(300 / (1 + activity))) + 1
    monetary = frequency * random.lognormal(3.0 + 0.2 * activity, 0.8)
    shaped = np.log1p(np.column_stack([recency, frequency, monetary]))
    scaled: FloatArray = (shaped - shaped.mean(axis=0)) / shaped.std(axis=0)
    return scaled


def timed(what: str, work: Callable[[], Result]) -> tuple[Result, float]:
    """What the work gave, and its seconds, printed."""
    began = time.perf_counter()
    result = work()
    seconds = time.perf_counter() - began
    print(f"  {what:<34} {seconds:8.1f} s", flush=True)
    return result, seconds


def assess(algorithm: Algorithm, coreset: Coreset) -> None:
    """All that the pipeline does for one algorithm."""
    models = algorithm.fit_range(coreset, KS, seed=SEED, n_init=STARTS)
    metrics_of(coreset, models)
    if models:
        stability_of(algorithm, coreset, models, draws=DRAWS, seed=SEED)
    if models and algorithm.has_gap:
        gap_statistic(
            coreset, models, lambda one, ks, seed: algorithm.fit_range(one, ks, seed=seed, n_init=1), seed=SEED
        )


def compare(count: int) -> tuple[float, Coreset]:
    """Seconds of the whole comparison on so many customers, and their summary."""
    matrix = customers(count)
    print(f"{count:,} customers, {matrix.nbytes / 2**20:,.0f} MiB of features")
    before = _peak()
    (coreset, _), total = timed("summary", lambda: summarise(matrix))
    for name in ALGORITHMS_COMPARED:
        total += timed(name, partial(assess, ALGORITHMS[name], coreset))[1]
    print(
        f"  {'the whole comparison':<34} {total:8.1f} s; cells lost {coreset.lost_share:.4%} of the spread;"
        f" peak memory {_peak() - before:,.0f} MiB above the features and what was loaded"
    )
    return total, coreset


def inertia_on_all(matrix: FloatArray, centers: FloatArray) -> float:
    """Sum of squared distances of all rows to their nearest centre, some rows at a time."""
    return float(
        sum(
            ((rows[:, None, :] - centers[None]) ** 2).sum(axis=2).min(axis=1).sum()
            for rows in np.array_split(matrix, max(1, len(matrix) // 100_000))
        )
    )


def main(arguments: Sequence[str] | None = None) -> int:
    """Measures and prints; the exit status."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--customers", type=int, default=5_000_000)
    given = parser.parse_args(arguments)
    small, _ = compare(given.customers // 10)
    large, coreset = compare(given.customers)
    print(f"whole comparison, all customers over a tenth of them: {large / small:.2f}")

    from sklearn.cluster import KMeans

    matrix = customers(given.customers)
    print("scikit-learn's KMeans on all customers, one start each, and its inertia beside that of our centres")
    one_start = 0.0
    for k in KS:
        theirs, seconds = timed(f"k = {k}", partial(KMeans(k, n_init=1, random_state=SEED).fit, matrix))
        one_start += seconds
        if k in COMPARED_K:
            [ours] = ALGORITHMS["kmeans"].fit_range(coreset, [k], seed=SEED, n_init=STARTS)
            print(f"    inertia, ours over theirs: {inertia_on_all(matrix, ours.centers) / theirs.inertia_:.4f}")
    print(
        f"scikit-learn, ten starts (one start measured, times ten): {10 * one_start:.0f} s;"
        f" our whole comparison takes {large / (10 * one_start):.3f} of it"
    )
    return 0


def _peak() -> float:
    """Largest resident set of this process so far, MiB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


if __name__ == "__main__":
    raise SystemExit(main())
