"""Weighted k-medoids against trying all medoids, and on repeated rows."""

from itertools import combinations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.distance import cdist
from sklearn.datasets import make_blobs
from sklearn.metrics import adjusted_rand_score
from threadpoolctl import threadpool_limits

from seg_pipeline.models.algorithms.k_medoids import KMedoidsAlgorithm, WeightedKMedoids, medoid
from seg_pipeline.models.coreset import Coreset, summarise
from seg_pipeline.models.metrics import metrics_of
from seg_pipeline_tests.samples import labelled_table, online_retail_rfm, unsummarised, with_repeated_rows

MEDOIDS = KMedoidsAlgorithm()


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_the_medoid_has_the_least_sum_of_distances(data):
    cells = data.draw(st.lists(st.tuples(*[st.integers(-9, 9)] * 2), min_size=1, max_size=60, unique=True))
    weights = np.array(data.draw(st.lists(st.integers(1, 9), min_size=len(cells), max_size=len(cells))), dtype=float)
    points = np.array(cells, dtype=float)
    sums = cdist(points, points) @ weights
    assert sums[medoid(points, weights)] == pytest.approx(sums.min(), rel=1e-12)


def test_the_medoid_of_many_points_has_the_least_sum_of_distances():
    rng = np.random.default_rng(0)
    points, weights = rng.lognormal(size=(2000, 3)), rng.integers(1, 1000, 2000).astype(float)
    assert medoid(points, weights) == (cdist(points, points) @ weights).argmin()


@pytest.mark.parametrize("side", [5, 8, 21, 30])
@pytest.mark.parametrize("sparse", [False, True])
def test_the_medoid_of_a_lattice_has_the_least_sum_of_distances(side, sparse):
    rng = np.random.default_rng(side)
    points = np.array([(x, y) for x in range(side) for y in range(side)], dtype=float)
    weights = rng.integers(1, 1000, len(points)).astype(float) ** (3 if sparse else 0)
    sums = cdist(points, points) @ weights
    assert sums[medoid(points, weights)] == pytest.approx(sums.min(), rel=1e-12)


@pytest.mark.parametrize("k", [2, 3])
def test_the_best_of_all_medoids_is_found_in_a_small_table(k):
    rng = np.random.default_rng(0)
    points, weights = rng.normal(size=(25, 2)), rng.integers(1, 9, 25).astype(float)
    distances = cdist(points, points)
    best = min(weights @ distances[:, list(chosen)].min(axis=1) for chosen in combinations(range(25), k))
    assert WeightedKMedoids(k, n_init=20).fit(points, weights).inertia_ == pytest.approx(best, rel=1e-12)


def test_every_medoid_is_the_best_cell_of_its_cluster_and_every_cell_is_with_its_nearest_medoid():
    points, weights = np.random.default_rng(0).normal(size=(500, 3)), np.arange(1.0, 501.0)
    fit = WeightedKMedoids(5).fit(points, weights)
    distances = cdist(points, points)
    assert np.array_equal(fit.labels_, distances[:, fit.medoid_indices_].argmin(axis=1))
    assert fit.inertia_ == pytest.approx(weights @ distances[:, fit.medoid_indices_].min(axis=1))
    for cluster, chosen in enumerate(fit.medoid_indices_):
        members = np.flatnonzero(fit.labels_ == cluster)
        assert chosen == members[(distances[np.ix_(members, members)] @ weights[members]).argmin()]


def test_the_sum_of_distances_on_online_retail_is_within_a_hundredth_of_many_starts():
    coreset, _ = summarise(online_retail_rfm())
    few = WeightedKMedoids(5, n_init=5).fit(coreset.points, coreset.weights)
    many = WeightedKMedoids(5, n_init=15, random_state=100).fit(coreset.points, coreset.weights)
    assert few.inertia_ <= 1.01 * many.inertia_


def test_generated_clusters_are_recovered():
    points, truth = make_blobs(400, centers=4, cluster_std=0.5, random_state=3)
    [model] = MEDOIDS.fit_range(unsummarised(points), [4], seed=0, n_init=10)
    assert adjusted_rand_score(truth, model.cell_labels) == 1.0
    iris, species = labelled_table("iris")
    [model] = MEDOIDS.fit_range(unsummarised(iris), [3], seed=0, n_init=10)
    assert adjusted_rand_score(species, model.cell_labels) > 0.7


def test_weighted_cells_give_what_repeated_rows_give():
    rows = with_repeated_rows(make_blobs(300, centers=4, cluster_std=0.5, random_state=3)[0])
    coreset, cell_of_row = summarise(rows)
    [on_cells] = MEDOIDS.fit_range(coreset, [4], seed=0, n_init=10)
    [on_rows] = MEDOIDS.fit_range(unsummarised(rows), [4], seed=0, n_init=10)
    assert np.array_equal(on_cells.cell_labels[cell_of_row], on_rows.cell_labels)
    assert np.array_equal(on_cells.centers, on_rows.centers)
    np.testing.assert_allclose(on_cells.weights, on_rows.weights, rtol=1e-12)


def test_an_extreme_customer_moves_no_medoid():
    points = np.array([[0.0], [1.0], [2.0], [10.0], [11.0], [12.0], [30.0]])
    assert points[WeightedKMedoids(2, n_init=20).fit(points).medoid_indices_].tolist() == [[1.0], [11.0]]


def test_predicted_labels_of_the_cells_are_the_fitted_ones_and_a_medoid_is_certain():
    coreset, _ = summarise(np.random.default_rng(0).normal(size=(20_000, 3)), max_cells=2000)
    models = MEDOIDS.fit_range(coreset, range(2, 9), seed=0, n_init=2)
    assert len(metrics_of(coreset, models)) == len(models)
    for model in models:
        assert model.centers.tolist() == sorted(model.centers.tolist())
        assert np.array_equal(MEDOIDS.predict(model, coreset.points, coreset)[0], model.cell_labels)
        labels, confidence = MEDOIDS.predict(model, model.centers, coreset)
        assert labels.tolist() == list(range(model.k))
        assert confidence.tolist() == [1.0] * model.k


def test_a_seed_gives_the_same_bytes_on_any_number_of_threads():
    coreset = unsummarised(np.random.default_rng(0).normal(size=(3000, 3)))
    fits = []
    for threads in (1, 2):
        with threadpool_limits(threads):
            fits.append(MEDOIDS.fit_range(coreset, [6], seed=0, n_init=2)[0].cell_labels.tobytes())
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
    assert [model.k for model in MEDOIDS.fit_range(coreset, range(1, 9), seed=0, n_init=2)] == possible
