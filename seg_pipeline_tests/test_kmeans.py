"""KMeans on weighted cells against scikit-learn's on all rows."""

import numpy as np
import pytest
from sklearn.cluster import KMeans
from sklearn.datasets import make_blobs
from sklearn.metrics import adjusted_rand_score
from threadpoolctl import threadpool_limits

from seg_pipeline.models.algorithms.kmeans import KMeansAlgorithm
from seg_pipeline.models.coreset import summarise
from seg_pipeline.models.metrics import metrics_of
from seg_pipeline_tests.samples import labelled_table, online_retail_rfm, unsummarised, with_repeated_rows

KMEANS = KMeansAlgorithm()


@pytest.mark.parametrize(("name", "published"), [("iris", 0.730), ("wine", 0.371), ("breast_cancer", 0.491)])
def test_agreement_with_the_true_labels_is_as_published(name, published):
    points, truth = labelled_table(name)
    [model] = KMEANS.fit_range(unsummarised(points), [len(set(truth))], seed=0, n_init=10)
    assert adjusted_rand_score(truth, model.cell_labels) == pytest.approx(published, abs=0.01)


def test_inertia_on_online_retail_is_within_a_thousandth_of_scikit_learns():
    rfm = online_retail_rfm()
    coreset, _ = summarise(rfm)
    models = KMEANS.fit_range(coreset, range(2, 9), seed=0, n_init=10)
    for model, metrics in zip(models, metrics_of(coreset, models), strict=True):
        # More threads would wait in loops, which takes the other tests' cores.
        with threadpool_limits(1):
            theirs = KMeans(model.k, n_init=10, random_state=0).fit(rfm).inertia_
        assert metrics.inertia <= 1.001 * theirs, f"k = {model.k}"


def test_weighted_cells_give_what_repeated_rows_give():
    rows = with_repeated_rows(make_blobs(300, centers=4, cluster_std=0.5, random_state=3)[0])
    coreset, cell_of_row = summarise(rows)
    [on_cells] = KMEANS.fit_range(coreset, [4], seed=0, n_init=10)
    [on_rows] = KMEANS.fit_range(unsummarised(rows), [4], seed=0, n_init=10)
    assert np.array_equal(on_cells.cell_labels[cell_of_row], on_rows.cell_labels)
    np.testing.assert_allclose(on_cells.centers, on_rows.centers, rtol=1e-12)
    np.testing.assert_allclose(on_cells.weights, on_rows.weights, rtol=1e-12)


def test_clusters_are_numbered_by_their_centres_whatever_the_seed():
    coreset = unsummarised(make_blobs(300, centers=5, cluster_std=0.3, random_state=1)[0])
    [first], [second] = (KMEANS.fit_range(coreset, [5], seed=seed, n_init=10) for seed in (0, 1))
    assert first.centers.tolist() == sorted(first.centers.tolist())
    assert np.array_equal(first.cell_labels, second.cell_labels)


def test_the_result_does_not_depend_on_the_number_of_threads():
    coreset = unsummarised(np.random.default_rng(0).normal(size=(3000, 3)))
    fits = []
    for threads in (1, 2):
        with threadpool_limits(threads):
            fits.append(KMEANS.fit_range(coreset, [6], seed=0, n_init=2)[0].centers.tobytes())
    assert fits[0] == fits[1]


def test_predicted_labels_of_the_cells_are_the_fitted_ones():
    coreset, _ = summarise(np.random.default_rng(0).normal(size=(20_000, 3)), max_cells=2000)
    for model in KMEANS.fit_range(coreset, range(2, 9), seed=0, n_init=3):
        assert np.array_equal(KMEANS.predict(model, coreset.points, coreset)[0], model.cell_labels)


def test_confidence_is_one_at_a_centre_and_zero_halfway_between_two():
    coreset = unsummarised(np.array([[0.0], [10.0]]))
    [model] = KMEANS.fit_range(coreset, [2], seed=0, n_init=1)
    labels, confidence = KMEANS.predict(model, np.array([[0.0], [2.0], [5.0], [10.0], [30.0]]), coreset)
    assert labels.tolist() == [0, 0, 0, 1, 1]
    np.testing.assert_allclose(confidence, [1.0, 0.75, 0.0, 1.0, 1 / 3])


def test_a_single_cluster_is_certain():
    coreset = unsummarised(np.array([[0.0], [10.0]]))
    [model] = KMEANS.fit_range(coreset, [1], seed=0, n_init=1)
    assert [part.tolist() for part in KMEANS.predict(model, np.array([[3.0]]), coreset)] == [[0], [1.0]]


def test_a_k_above_the_number_of_cells_is_left_out():
    coreset, _ = summarise(np.array([[0.0], [1.0], [1.0], [4.0]]))
    assert [model.k for model in KMEANS.fit_range(coreset, range(1, 9), seed=0, n_init=2)] == [1, 2, 3]


def test_cells_too_close_to_tell_apart_fill_no_more_clusters():
    coreset = unsummarised(np.array([[0.0], [1e-200], [1.0]]))
    assert [model.k for model in KMEANS.fit_range(coreset, [2, 3], seed=0, n_init=2)] == [2]


def test_a_k_below_one_is_refused():
    with pytest.raises(ValueError, match="k is 0"):
        KMEANS.fit_range(unsummarised(np.zeros((3, 1))), [0, 1], seed=0, n_init=1)
