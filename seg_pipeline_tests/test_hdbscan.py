"""Weighted HDBSCAN against scikit-learn's on all rows."""

import datetime

import numpy as np
import pytest
from scipy.cluster.hierarchy import linkage
from scipy.spatial.distance import cdist, squareform
from sklearn.cluster import HDBSCAN
from sklearn.datasets import make_blobs, make_moons
from sklearn.metrics import adjusted_rand_score
from threadpoolctl import threadpool_limits

from seg_pipeline.models.algorithms.hdbscan import HDBSCANAlgorithm, WeightedHDBSCAN, _core_squares, _spanning_tree
from seg_pipeline.models.candidates import candidate_rows
from seg_pipeline.models.coreset import Coreset, summarise
from seg_pipeline.models.metrics import metrics_of
from seg_pipeline.models.stability import stability_of
from seg_pipeline.models.store import read_model
from seg_pipeline.models.tables import CANDIDATES
from seg_pipeline.settings import SelectionSettings
from seg_pipeline.warehouse import Warehouse
from seg_pipeline_tests.samples import labelled_table, unsummarised, with_repeated_rows

DENSITY = HDBSCANAlgorithm()
SIZES = [(5, None), (10, None), (15, 5), (20, None), (8, 1)]


def table(name):
    if name == "moons":
        return make_moons(500, noise=0.06, random_state=0)[0]
    if name == "noisy moons":
        return make_moons(1000, noise=0.1, random_state=1)[0]
    if name == "blobs":
        return make_blobs(900, n_features=3, centers=6, cluster_std=1.2, random_state=2)[0]
    if name == "near blobs":
        return make_blobs(600, centers=5, cluster_std=0.6, random_state=1)[0]
    return labelled_table(name)[0]


def blobs_in_a_mist(seed=0):
    """Three dense blobs, and a tenth of the points strewn between and around them."""
    rng = np.random.default_rng(seed)
    blobs = [rng.normal(center, 0.3, size=(300, 2)) for center in ([0, 0], [5, 0], [0, 5])]
    return np.vstack([*blobs, rng.uniform(-3, 8, size=(100, 2))])


@pytest.mark.parametrize(("min_cluster_size", "min_samples"), SIZES)
@pytest.mark.parametrize("name", ["iris", "moons"])
def test_labels_are_scikit_learns(name, min_cluster_size, min_samples):
    points = table(name)
    ours = WeightedHDBSCAN(min_cluster_size, min_samples=min_samples).fit(points).labels_
    theirs = HDBSCAN(min_cluster_size, min_samples=min_samples, copy=True).fit_predict(points)
    assert ours.max() >= 1
    assert np.array_equal(ours < 0, theirs < 0)
    assert adjusted_rand_score(theirs, ours) == 1.0


@pytest.mark.parametrize(("min_cluster_size", "min_samples"), SIZES)
@pytest.mark.parametrize("name", ["wine", "breast_cancer", "blobs", "near blobs", "noisy moons"])
def test_labels_are_scikit_learns_except_for_points_that_join_two_clusters(name, min_cluster_size, min_samples):
    """Such a point leaves both clusters at its core distance. In scikit-learn it stays in one; here it is noise."""
    points = table(name)
    ours = WeightedHDBSCAN(min_cluster_size, min_samples=min_samples).fit(points).labels_
    theirs = HDBSCAN(min_cluster_size, min_samples=min_samples, copy=True).fit_predict(points)
    alike = (ours < 0) == (theirs < 0)
    assert adjusted_rand_score(theirs[alike], ours[alike]) == 1.0
    assert np.all(ours[~alike] < 0)
    distances = cdist(points, points)
    cores = np.sort(distances, axis=1)[:, (min_samples or min_cluster_size) - 1]
    reach = np.maximum(distances, np.maximum(cores[:, None], cores))
    for cluster in set(theirs[~alike]):
        held = ~alike & (theirs == cluster)
        inside = reach[held][:, alike & (theirs == cluster)].min()
        outside = reach[held][:, theirs != cluster].min()
        assert inside == pytest.approx(outside, rel=1e-12)


def test_the_spanning_tree_joins_at_the_heights_of_scipys_single_linkage():
    points = np.random.default_rng(0).normal(size=(300, 3))
    distances = cdist(points, points)
    cores = np.sort(distances, axis=1)[:, 9]
    reach = np.maximum(distances, np.maximum(cores[:, None], cores))
    np.fill_diagonal(reach, 0.0)
    squares = _core_squares(points, np.ones(300), 10)
    np.testing.assert_allclose(np.sqrt(squares), cores, rtol=1e-12)
    heights = np.sort(np.sqrt(_spanning_tree(points, squares)[1]))
    np.testing.assert_allclose(heights, linkage(squareform(reach, checks=False))[:, 2], rtol=1e-12)


@pytest.mark.parametrize("name", ["iris", "wine", "near blobs", "noisy moons"])
@pytest.mark.parametrize(("min_cluster_size", "min_samples"), [(10, None), (15, 5), (30, 10), (12, 3), (3, 20)])
def test_weighted_points_give_what_repeated_rows_give(name, min_cluster_size, min_samples):
    rows = with_repeated_rows(table(name))
    coreset, cell_of_row = summarise(rows)
    estimator = WeightedHDBSCAN(min_cluster_size, min_samples=min_samples)
    on_cells = estimator.fit(coreset.points, coreset.weights).labels_[cell_of_row]
    on_rows = estimator.fit(rows).labels_
    assert np.array_equal(on_cells < 0, on_rows < 0)
    assert adjusted_rand_score(on_rows, on_cells) == 1.0


def test_the_order_of_the_points_does_not_matter():
    # On a lattice nearly all distances are equal.
    lattice = np.argwhere(np.random.default_rng(0).random((30, 30)) < 0.6).astype(float)
    order = np.random.default_rng(1).permutation(len(lattice))
    labels = WeightedHDBSCAN(5, min_samples=3).fit(lattice).labels_
    shuffled = WeightedHDBSCAN(5, min_samples=3).fit(lattice[order]).labels_
    assert adjusted_rand_score(labels[order], shuffled) == 1.0


def test_a_single_heavy_cell_is_a_cluster():
    points = np.vstack([np.linspace(0, 1, 40)[:, None], [[9.0]], [[20.0]]])
    weights = np.concatenate([np.ones(40), [50.0], [2.0]])
    labels = WeightedHDBSCAN(10).fit(points, weights).labels_
    assert labels[40] >= 0 and (labels == labels[40]).sum() == 1
    assert labels[41] == -1


def test_noise_is_a_cluster_of_its_own_and_no_customer_is_dropped():
    points = blobs_in_a_mist()
    [model] = DENSITY.fit_range(unsummarised(points), range(2, 11), seed=0, n_init=10)
    assert model.k == 4
    assert model.weights.sum() == pytest.approx(1.0)
    assert model.centers.tolist() == sorted(model.centers.tolist())
    theirs = HDBSCAN(20, copy=True).fit_predict(points)
    assert adjusted_rand_score(theirs, model.cell_labels) > 0.99
    [metrics] = metrics_of(unsummarised(points), [model])
    assert 0.0 < metrics.smallest_share < 0.15


def test_the_model_knows_its_noise_whatever_the_order_of_the_clusters():
    points = blobs_in_a_mist()
    left = WeightedHDBSCAN(20).fit(points).labels_ < 0
    for columns, noise in ((points, 2), (-points, 1)):
        [model] = DENSITY.fit_range(unsummarised(columns), [], seed=0, n_init=1)
        assert model.noise == noise
        assert np.array_equal(model.cell_labels == noise, left)


@pytest.mark.parametrize(("points", "noise"), [(blobs_in_a_mist(), 2), (make_moons(500, random_state=0)[0], None)])
def test_a_stored_model_knows_its_noise(tmp_path, points, noise):
    warehouse, night = Warehouse(database=str(tmp_path / "warehouse.duckdb")), datetime.date(2024, 3, 1)
    coreset = unsummarised(points)
    models = DENSITY.fit_range(coreset, [], seed=0, n_init=1)
    rows = candidate_rows(coreset, models, [None], [None], SelectionSettings())
    warehouse.replace_night(CANDIDATES["hdbscan"], rows, night)
    read = read_model(warehouse, "hdbscan", models[0].k, night)
    assert read.noise == models[0].noise == noise
    assert np.array_equal(read.cell_labels, models[0].cell_labels)


def test_refits_on_bootstrap_samples_find_the_clusters_and_the_noise_again():
    coreset = unsummarised(blobs_in_a_mist())
    [figures] = stability_of(DENSITY, coreset, DENSITY.fit_range(coreset, [], seed=0, n_init=1), draws=5, seed=0)
    assert figures.bootstrap > 0.95
    assert figures.seeds == 1.0
    assert len(figures.jaccard) == 4 and figures.jaccard.min() > 0.75


def test_the_summary_shows_the_clusters_that_all_customers_show():
    rows = np.vstack([blobs_in_a_mist(seed) for seed in range(4)])
    coreset, cell_of_row = summarise(rows, max_cells=800)
    assert not coreset.exact
    [on_cells] = DENSITY.fit_range(coreset, [], seed=0, n_init=1)
    [on_rows] = DENSITY.fit_range(unsummarised(rows), [], seed=0, n_init=1)
    assert on_cells.k == on_rows.k == 4
    assert adjusted_rand_score(on_rows.cell_labels, on_cells.cell_labels[cell_of_row]) > 0.95


def test_predicted_labels_of_the_cells_are_the_fitted_ones():
    coreset, _ = summarise(blobs_in_a_mist())
    [model] = DENSITY.fit_range(coreset, [], seed=0, n_init=1)
    labels, confidence = DENSITY.predict(model, coreset.points, coreset)
    assert np.array_equal(labels, model.cell_labels)
    assert np.all((confidence >= 0.0) & (confidence <= 1.0))


def test_moons_are_separated_although_kmeans_cannot():
    points, truth = make_moons(500, noise=0.05, random_state=0)
    [model] = DENSITY.fit_range(unsummarised(points), [2], seed=0, n_init=1)
    assert adjusted_rand_score(truth, model.cell_labels) == 1.0


@pytest.mark.parametrize(
    "points",
    [
        pytest.param(np.random.default_rng(0).normal(size=(2000, 3)), id="one cloud"),
        pytest.param(np.arange(9.0)[:, None], id="fewer customers than two clusters need"),
        pytest.param(np.array([[1.0, 2.0]]), id="one cell"),
        pytest.param(np.linspace(0, 1e-200, 20)[:, None], id="too close to tell apart"),
    ],
)
def test_if_density_shows_no_clusters_there_is_no_model(points):
    assert DENSITY.fit_range(unsummarised(points), [2, 3], seed=0, n_init=1) == []


def test_cells_of_many_customers_are_fitted_without_warning():
    coreset = Coreset.without_spread(
        np.array([[0.0], [1e-200], [1.0], [5.0]]), np.array([1e6, 1e6, 1e6, 1.0]), exact=True
    )
    [model] = DENSITY.fit_range(coreset, [], seed=0, n_init=1)
    assert model.cell_labels[0] == model.cell_labels[1] != model.cell_labels[2]


def test_min_samples_above_the_total_weight_is_refused():
    with pytest.raises(ValueError, match="exceeds the total weight"):
        WeightedHDBSCAN(2, min_samples=4).fit(np.zeros((3, 1)))


def test_the_result_does_not_depend_on_the_number_of_threads():
    coreset, _ = summarise(blobs_in_a_mist())
    fits = []
    for threads in (1, 2):
        with threadpool_limits(threads):
            fits.append(DENSITY.fit_range(coreset, [], seed=0, n_init=1)[0].centers.tobytes())
    assert fits[0] == fits[1]
