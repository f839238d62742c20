"""Stability: high for real groups, low for cuts through a cloud; and the index itself against scikit-learn."""

import numpy as np
import pytest
from sklearn.cluster import KMeans
from sklearn.datasets import make_blobs
from sklearn.metrics import adjusted_rand_score
from sklearn.mixture import GaussianMixture
from threadpoolctl import threadpool_limits

from seg_pipeline.models.coreset import Coreset, summarise
from seg_pipeline.models.registry import ALGORITHMS
from seg_pipeline.models.stability import adjusted_rand, contingency, stability_of
from seg_pipeline_tests.samples import rfm_like
from seg_pipeline_tests.test_metrics import FITTED

RANDOM = np.random.default_rng(5)


def measured(points, algorithm, ks, draws=8, seed=3):
    coreset, _ = summarise(points, 2000)
    models = ALGORITHMS[algorithm].fit_range(coreset, ks, seed=seed, n_init=5)
    return stability_of(ALGORITHMS[algorithm], coreset, models, draws=draws, seed=seed)


def test_the_weighted_index_equals_scikit_learns_on_repeated_rows():
    labels, others = RANDOM.integers(0, 4, 60), RANDOM.integers(0, 3, 60)
    weights = RANDOM.integers(1, 6, 60)

    found = adjusted_rand(contingency(labels, others, weights.astype(float)))

    assert found == pytest.approx(adjusted_rand_score(labels.repeat(weights), others.repeat(weights)), abs=1e-12)


def test_the_same_clustering_has_index_one_however_its_clusters_are_numbered():
    labels = np.array([0, 0, 1, 2])

    assert adjusted_rand(contingency(labels, np.array([5, 5, 0, 1]), np.array([3.0, 1.0, 2.0, 9.0]))) == 1.0
    assert adjusted_rand(contingency(np.zeros(3, int), np.zeros(3, int), np.ones(3))) == 1.0


SCIKIT_LEARNS = {
    "kmeans": lambda k: KMeans(k, n_init=5, random_state=0),
    "gaussian_mixture": lambda k: GaussianMixture(k, n_init=2, tol=1e-4, max_iter=500, random_state=0),
}


@pytest.mark.parametrize(("algorithm", "k"), [("kmeans", 4), ("kmeans", 5), ("gaussian_mixture", 4)])
def test_the_bootstrap_figure_is_that_of_scikit_learn_on_rows_drawn_with_replacement(algorithm, k):
    rows = rfm_like(6_000)

    def labels(drawn):
        with threadpool_limits(1):
            return SCIKIT_LEARNS[algorithm](k).fit(drawn).predict(rows)

    draws = [np.random.default_rng(n).choice(rows, len(rows)) for n in range(10)]
    whole = labels(rows)
    theirs = np.mean([adjusted_rand_score(whole, labels(drawn)) for drawn in draws])
    coreset, _ = summarise(rows)
    models = ALGORITHMS[algorithm].fit_range(coreset, [k], seed=3, n_init=10)

    [figures] = stability_of(ALGORITHMS[algorithm], coreset, models, draws=10, seed=3)

    assert figures.bootstrap == pytest.approx(theirs, abs=0.05)


@pytest.mark.parametrize("algorithm", ["kmeans", "hierarchical", "gaussian_mixture"])
def test_every_bootstrap_sample_gives_real_groups_again(algorithm):
    points, _ = make_blobs(600, centers=3, n_features=2, cluster_std=0.4, random_state=1)

    [figures] = measured(points, algorithm, [3])

    assert figures.bootstrap > 0.99
    assert figures.seeds > 0.99
    assert figures.jaccard.min() > 0.98


def test_cuts_through_a_cloud_are_less_stable_than_real_groups():
    cloud = RANDOM.normal(size=(900, 3))

    three, seven = measured(cloud, "kmeans", [3, 7])

    assert max(three.bootstrap, seven.bootstrap) < 0.75
    assert seven.jaccard.min() < 0.6


def test_one_real_group_is_stable_even_if_the_rest_is_a_cloud():
    cloud = np.vstack([RANDOM.normal(size=(600, 2)), RANDOM.normal(12.0, 0.2, size=(200, 2))])

    [figures] = measured(cloud, "kmeans", [5])

    # Clusters are numbered by their first coordinate: the far group is the last.
    assert figures.jaccard[-1] > 0.99
    assert figures.jaccard[:-1].max() < 0.95


@pytest.mark.parametrize("algorithm", FITTED.values(), ids=FITTED)
def test_an_algorithm_labels_as_it_predicts(algorithm):
    rows, others = rfm_like(3000), rfm_like(500)
    coreset, _ = summarise(rows, 400)
    models = algorithm.fit_range(coreset, [2, 5], seed=0, n_init=2)
    assert models
    for model, labels in zip(models, algorithm.label(models, others, coreset), strict=True):
        np.testing.assert_array_equal(labels, algorithm.predict(model, others, coreset)[0])


@pytest.mark.parametrize("name", [name for name in FITTED if not FITTED[name].is_random])
def test_an_algorithm_without_randomness_ignores_the_seed(name):
    coreset, _ = summarise(rfm_like(3000), 400)
    one, other = (FITTED[name].fit_range(coreset, [5], seed=seed, n_init=1) for seed in (0, 1))
    assert one
    np.testing.assert_array_equal(one[0].cell_labels, other[0].cell_labels)


def test_an_algorithm_without_randomness_is_stable_across_seeds():
    [figures] = measured(RANDOM.normal(size=(300, 2)), "hierarchical", [4])

    assert figures.seeds == 1.0


def test_the_same_seed_gives_the_same_figures():
    cloud = np.random.default_rng(1).normal(size=(400, 2))

    first, again = (measured(cloud, "kmeans", [4])[0] for _ in range(2))

    assert (first.bootstrap, first.seeds) == (again.bootstrap, again.seeds)
    np.testing.assert_array_equal(first.jaccard, again.jaccard)


def test_a_k_that_no_bootstrap_sample_can_fill_has_no_stability():
    coreset = Coreset.without_spread(np.array([[0.0], [1.0], [9.0]]), np.array([1.0, 1.0, 1.0]), exact=True)
    models = ALGORITHMS["kmeans"].fit_range(coreset, [3], seed=1, n_init=2)

    [figures] = stability_of(ALGORITHMS["kmeans"], coreset, models, draws=1, seed=4)

    # The one draw left out a cell, so that three clusters could not be fitted.
    assert np.random.default_rng([4, 0]).multinomial(3, [1 / 3] * 3).min() == 0
    assert np.isnan(figures.bootstrap)
    assert np.isnan(figures.jaccard).all()
