"""Whether clusters are groups or cuts through a cloud, on data whose answer is known."""

import numpy as np
import pytest

from seg_pipeline.models.coreset import Coreset, summarise
from seg_pipeline.models.registry import ALGORITHMS
from seg_pipeline.models.separation import classification_criterion, valley_of


def groups(centers, customers=400, seed=0):
    rng = np.random.default_rng(seed)
    rows = np.vstack([rng.normal(center, 1.0, (customers, len(center))) for center in np.asarray(centers, dtype=float)])
    return Coreset.without_spread(rows, np.ones(len(rows)), exact=True)


def labels_of(coreset, k):
    [model] = ALGORITHMS["kmeans"].fit_range(coreset, [k], seed=7, n_init=5)
    return model.cell_labels


def test_groups_have_valleys_between_them_and_a_divided_cloud_has_none():
    apart, cloud = groups([(0, 0), (4, 0), (0, 4)]), groups([(0, 0)], customers=1200)

    # Half-way between two normal groups that are four deviations apart, the density is .27 of a peak.
    assert valley_of(apart, labels_of(apart, 3)) == pytest.approx(0.3, abs=0.1)
    assert valley_of(cloud, labels_of(cloud, 3)) > 0.93
    assert np.isnan(valley_of(cloud, np.zeros(1200, dtype=np.int64)))


def test_one_cut_through_a_group_leaves_no_valley_there():
    apart = groups([(0, 0), (6, 0)])

    assert valley_of(apart, labels_of(apart, 2)) < 0.1
    assert valley_of(apart, labels_of(apart, 3)) > 0.6


def test_groups_that_are_very_far_apart_have_an_empty_valley():
    assert valley_of(groups([(0, 0), (1e6, 0)]), np.repeat([0, 1], 400)) == 0.0


@pytest.mark.parametrize("k", [2, 3, 5])
def test_the_criterion_is_lowest_at_the_number_of_groups(k):
    coreset = groups([(4 * np.cos(angle), 4 * np.sin(angle)) for angle in 2 * np.pi * np.arange(k) / k], seed=k)

    found = {other: classification_criterion(coreset, labels_of(coreset, other)) for other in range(2, 9)}

    assert min(found, key=found.__getitem__) == k


def test_the_criterion_equals_the_likelihood_of_labelled_normal_groups_with_one_covariance():
    from scipy.stats import multivariate_normal

    coreset = groups([(0, 0), (4, 1)], customers=50)
    labels = np.repeat([0, 1], 50)
    means = np.array([coreset.points[labels == one].mean(axis=0) for one in (0, 1)])
    offsets = coreset.points - means[labels]
    likelihood = multivariate_normal([0, 0], offsets.T @ offsets / 100).logpdf(offsets) + np.log(0.5)

    # Two means, one share, and three entries of the covariance.
    expected = -2 * likelihood.sum() + (4 + 1 + 3) * np.log(100) - 100 * 2 * (1 + np.log(2 * np.pi))
    assert classification_criterion(coreset, labels) == pytest.approx(expected, abs=0.01)


def test_cells_stand_for_their_customers():
    rows = np.repeat(groups([(0, 0), (5, 0)], customers=60).points, 3, axis=0)
    coreset, cell_of_row = summarise(rows)
    one_by_one = Coreset.without_spread(rows, np.ones(len(rows)), exact=True)
    labels = labels_of(coreset, 2)

    assert valley_of(coreset, labels) == pytest.approx(valley_of(one_by_one, labels[cell_of_row]))
    assert classification_criterion(coreset, labels) == pytest.approx(
        classification_criterion(one_by_one, labels[cell_of_row])
    )
