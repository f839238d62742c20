"""Bisecting KMeans on weighted cells against scikit-learn's on all rows."""

from itertools import pairwise

import numpy as np
import pytest
from sklearn.cluster import BisectingKMeans
from sklearn.datasets import make_blobs
from sklearn.metrics import adjusted_rand_score
from threadpoolctl import threadpool_limits

from seg_pipeline.models.algorithms.bisecting_kmeans import BisectingKMeansAlgorithm
from seg_pipeline.models.coreset import Coreset, summarise
from seg_pipeline_tests.samples import labelled_table, unsummarised, with_repeated_rows

BISECTING = BisectingKMeansAlgorithm()


@pytest.mark.parametrize("name", ["iris", "wine", "breast_cancer"])
def test_labels_are_scikit_learns(name):
    points, _ = labelled_table(name)
    for model in BISECTING.fit_range(unsummarised(points), range(2, 6), seed=0, n_init=3):
        with threadpool_limits(1):
            theirs = BisectingKMeans(model.k, init="k-means++", n_init=3, random_state=0, tol=0.0).fit_predict(points)
        assert adjusted_rand_score(theirs, model.cell_labels) == 1.0, f"k = {model.k}"


def test_every_k_of_one_run_is_scikit_learns_run_for_that_k():
    rng = np.random.default_rng(2)
    coreset = Coreset.without_spread(rng.normal(size=(200, 3)), rng.integers(1, 50, 200).astype(float), exact=True)
    models = BISECTING.fit_range(coreset, range(1, 31), seed=7, n_init=2)
    assert [model.k for model in models] == list(range(1, 31))
    for model in models:
        theirs = BisectingKMeans(model.k, init="k-means++", n_init=2, random_state=7, tol=0.0)
        with threadpool_limits(1):
            labels = theirs.fit(coreset.points, sample_weight=coreset.weights).labels_
        assert adjusted_rand_score(labels, model.cell_labels) == 1.0, f"k = {model.k}"


def test_weighted_cells_give_what_repeated_rows_give():
    rows = with_repeated_rows(make_blobs(300, centers=4, cluster_std=0.5, random_state=3)[0])
    coreset, cell_of_row = summarise(rows)
    [on_cells] = BISECTING.fit_range(coreset, [4], seed=0, n_init=3)
    [on_rows] = BISECTING.fit_range(unsummarised(rows), [4], seed=0, n_init=3)
    assert np.array_equal(on_cells.cell_labels[cell_of_row], on_rows.cell_labels)
    np.testing.assert_allclose(on_cells.centers, on_rows.centers, rtol=1e-12)
    np.testing.assert_allclose(on_cells.weights, on_rows.weights, rtol=1e-12)


def test_predicted_labels_of_the_cells_are_the_fitted_ones():
    coreset, _ = summarise(np.random.default_rng(0).normal(size=(20_000, 3)), max_cells=2000)
    for model in BISECTING.fit_range(coreset, range(2, 9), seed=0, n_init=3):
        labels, confidence = BISECTING.predict(model, coreset.points, coreset)
        assert np.array_equal(labels, model.cell_labels)
        assert np.all((confidence >= 0.0) & (confidence <= 1.0))


def test_a_cluster_is_split_and_the_others_stay_as_they_are():
    coreset = unsummarised(np.random.default_rng(0).normal(size=(1000, 3)))
    models = BISECTING.fit_range(coreset, range(2, 7), seed=0, n_init=3)
    for fewer, more in pairwise(models):
        assert len(np.unique(np.column_stack([fewer.cell_labels, more.cell_labels]), axis=0)) == more.k


def test_a_seed_gives_the_same_bytes_on_any_number_of_threads():
    coreset = unsummarised(np.random.default_rng(0).normal(size=(3000, 3)))
    fits = []
    for threads in (1, 2):
        with threadpool_limits(threads):
            fits.append(BISECTING.fit_range(coreset, [6], seed=0, n_init=2)[0].centers.tobytes())
    assert fits[0] == fits[1]


@pytest.mark.parametrize(
    ("points", "possible"),
    [
        pytest.param([[0.0], [1.0], [4.0]], [1, 2, 3], id="few cells"),
        pytest.param([[0.0], [1e-200], [1.0]], [1, 2], id="too close to tell apart"),
        pytest.param([[1.0, 2.0]], [1], id="one cell"),
    ],
)
def test_a_k_that_the_cells_cannot_fill_is_left_out(points, possible):
    coreset = Coreset.without_spread(np.array(points), np.arange(1.0, len(points) + 1), exact=True)
    assert [model.k for model in BISECTING.fit_range(coreset, range(1, 9), seed=0, n_init=2)] == possible
