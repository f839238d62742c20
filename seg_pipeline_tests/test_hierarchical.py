"""Weighted Ward against scikit-learn's on all rows."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst
from sklearn.cluster import AgglomerativeClustering
from sklearn.datasets import make_blobs
from sklearn.metrics import adjusted_rand_score

from seg_pipeline.models.algorithms.hierarchical import WardAlgorithm, WeightedWard
from seg_pipeline.models.coreset import Coreset, summarise
from seg_pipeline.models.metrics import inertia_of
from seg_pipeline.models.model import model_from_labels
from seg_pipeline_tests.samples import (
    labelled_table,
    online_retail_rfm,
    rfm_like,
    unsummarised,
    with_repeated_rows,
)

WARD = WardAlgorithm()


@pytest.mark.parametrize(("name", "published"), [("iris", 0.731), ("wine", 0.368), ("breast_cancer", 0.287)])
def test_agreement_with_the_true_labels_is_as_published(name, published):
    points, truth = labelled_table(name)
    [model] = WARD.fit_range(unsummarised(points), [len(set(truth))], seed=0, n_init=1)
    assert adjusted_rand_score(truth, model.cell_labels) == pytest.approx(published, abs=0.01)


@pytest.mark.parametrize("table", ["wine", "breast_cancer", "blobs", "online_retail"])
def test_with_weights_of_one_heights_and_labels_are_scikit_learns(table):
    if table == "blobs":
        points = make_blobs(1500, centers=5, n_features=4, random_state=0)[0]
    else:
        points = online_retail_rfm() if table == "online_retail" else labelled_table(table)[0]
    ours = WeightedWard().fit(points)
    theirs = AgglomerativeClustering(2, linkage="ward", compute_distances=True).fit(points)
    np.testing.assert_allclose(ours.heights_, theirs.distances_, rtol=1e-9, atol=1e-9)
    for k in (2, 5, 8):
        labels = AgglomerativeClustering(k, linkage="ward").fit_predict(points)
        assert adjusted_rand_score(labels, ours.labels_at(k)) == 1.0, f"k = {k}"


def test_every_cut_of_the_tree_is_scikit_learns():
    points = make_blobs(200, centers=5, random_state=0)[0]
    tree = WeightedWard().fit(points)
    for k in range(1, len(points) + 1):
        labels = AgglomerativeClustering(k, linkage="ward").fit_predict(points)
        assert adjusted_rand_score(labels, tree.labels_at(k)) == 1.0, f"k = {k}"


@pytest.mark.parametrize("k", [2, 3, 5, 8])
def test_weighted_cells_give_what_repeated_rows_give(k):
    rows = with_repeated_rows(np.random.default_rng(2).normal(size=(300, 3)))
    coreset, cell_of_row = summarise(rows)
    [model] = WARD.fit_range(coreset, [k], seed=0, n_init=1)
    theirs = AgglomerativeClustering(k, linkage="ward").fit_predict(rows)
    assert adjusted_rand_score(theirs, model.cell_labels[cell_of_row]) == 1.0


@pytest.mark.parametrize("seed", [0, 1])
def test_on_a_coarse_summary_the_sum_of_squares_is_no_worse_than_that_of_all_customers_own_tree(seed):
    rows = rfm_like(4000, seed)
    coreset, _ = summarise(rows, max_cells=1500)
    for model in WARD.fit_range(coreset, [3, 5, 8], seed=0, n_init=1):
        theirs = AgglomerativeClustering(model.k, linkage="ward").fit_predict(rows)
        customers_own = inertia_of(unsummarised(rows), model_from_labels("any", unsummarised(rows), theirs, 0.0))
        assert inertia_of(coreset, model) <= 1.03 * customers_own


@settings(max_examples=100, deadline=None)
@given(
    points=npst.arrays(float, st.tuples(st.integers(1, 40), st.integers(1, 3)), elements=st.integers(-3, 3)),
    data=st.data(),
)
def test_every_cut_of_a_tree_full_of_ties_has_its_k_clusters_nested_in_the_coarser_ones(points, data):
    weights = data.draw(npst.arrays(float, len(points), elements=st.integers(1, 9)))
    tree = WeightedWard().fit(points, weights)
    assert np.all(np.diff(tree.heights_) >= 0)
    for k in range(1, len(points) + 1):
        labels = tree.labels_at(k)
        assert sorted(set(labels)) == list(range(k))
        coarser = tree.labels_at(max(k - 1, 1))
        assert len(set(zip(labels, coarser, strict=True))) == k


def test_the_heights_add_up_to_the_total_sum_of_squares():
    rng = np.random.default_rng(0)
    points, weights = rng.normal(size=(500, 4)), rng.integers(1, 9, 500).astype(float)
    mean = np.average(points, axis=0, weights=weights)
    total = weights @ ((points - mean) ** 2).sum(axis=1)
    assert (WeightedWard().fit(points, weights).heights_ ** 2 / 2).sum() == pytest.approx(total, rel=1e-12)


def test_clusters_are_numbered_by_their_centres():
    coreset = unsummarised(np.array([[9.0], [1.0], [5.0], [9.1], [1.1], [5.1]]))
    [model] = WARD.fit_range(coreset, [3], seed=0, n_init=1)
    assert model.cell_labels.tolist() == [2, 0, 1, 2, 0, 1]
    np.testing.assert_allclose(model.centers, [[1.05], [5.05], [9.05]])


def test_a_point_gets_the_label_of_the_nearest_cell_and_no_confidence_if_another_centre_is_nearer():
    points = np.array([[0.0], [1.0], [2.0], [3.0], [4.0], [5.6], [6.0]])
    coreset = Coreset.without_spread(points, np.array([9.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0]), exact=True)
    [model] = WARD.fit_range(coreset, [2], seed=0, n_init=1)
    labels, confidence = WARD.predict(model, coreset.points, coreset)
    assert np.array_equal(labels, model.cell_labels)
    distances = np.abs(coreset.points - model.centers.T)
    beyond = distances.argmin(axis=1) != labels
    assert np.all(confidence[beyond] == 0.0)
    assert np.all((confidence[~beyond] > 0.0) & (confidence[~beyond] <= 1.0))


def test_a_k_above_the_number_of_cells_is_left_out():
    coreset, _ = summarise(np.array([[0.0], [1.0], [1.0], [4.0]]))
    assert [model.k for model in WARD.fit_range(coreset, range(1, 9), seed=0, n_init=1)] == [1, 2, 3]


def test_a_tree_is_not_cut_into_more_clusters_than_points():
    with pytest.raises(ValueError, match="3 points cannot be cut into 4"):
        WeightedWard().fit(np.zeros((3, 1))).labels_at(4)
