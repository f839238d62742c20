"""Weighted metrics against those of scikit-learn on all rows; the baseline grid and the registry."""

import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.distance import cdist
from sklearn.metrics import calinski_harabasz_score, davies_bouldin_score, silhouette_score

from seg_pipeline.errors import UsageError
from seg_pipeline.models.coreset import Coreset, summarise
from seg_pipeline.models.metrics import metrics_of
from seg_pipeline.models.model import model_from_labels
from seg_pipeline.models.registry import ALGORITHMS, BASELINE, check_algorithms
from seg_pipeline.settings import load_settings
from seg_pipeline_tests.samples import (
    labelled_table,
    online_retail_rfm,
    rfm_like,
    unsummarised,
    with_repeated_rows,
)

FITTED = {name: algorithm for name, algorithm in ALGORITHMS.items() if not algorithm.is_baseline}


def assert_equal_to_scikit_learn(metrics, rows, labels):
    silhouette = silhouette_score(cdist(rows, rows), labels, metric="precomputed")
    assert metrics.silhouette == pytest.approx(silhouette, rel=0, abs=1e-9)
    assert metrics.calinski_harabasz == pytest.approx(calinski_harabasz_score(rows, labels), rel=1e-9)
    assert metrics.davies_bouldin == pytest.approx(davies_bouldin_score(rows, labels), rel=1e-9)
    within = sum(((rows[labels == label] - rows[labels == label].mean(axis=0)) ** 2).sum() for label in set(labels))
    assert metrics.inertia == pytest.approx(within, rel=1e-9)
    assert metrics.explained_share == pytest.approx(1 - within / ((rows - rows.mean(axis=0)) ** 2).sum(), abs=1e-9)
    shares = np.unique(labels, return_counts=True)[1] / len(labels)
    assert (metrics.smallest_share, metrics.largest_share) == pytest.approx((shares.min(), shares.max()))


@pytest.mark.parametrize("algorithm", FITTED)
@pytest.mark.parametrize("table", ["iris", "wine", "online_retail", "repeated rows"])
def test_metrics_are_scikit_learns_on_all_rows(algorithm, table):
    if table == "online_retail":
        rows = online_retail_rfm()
    elif table == "repeated rows":
        rows = with_repeated_rows(np.random.default_rng(0).normal(size=(400, 3)))
    else:
        rows = labelled_table(table)[0]
    coreset, cell_of_row = summarise(rows)
    models = FITTED[algorithm].fit_range(coreset, [2, 5], seed=0, n_init=2)
    for model, metrics in zip(models, metrics_of(coreset, models), strict=True):
        assert_equal_to_scikit_learn(metrics, rows, model.cell_labels[cell_of_row])


def test_metrics_do_not_depend_on_the_number_of_processors(monkeypatch):
    coreset, _ = summarise(rfm_like(20_000), 3000)
    models = ALGORITHMS["kmeans"].fit_range(coreset, [2, 5], seed=0, n_init=2)
    figures = []
    for processors in (1, 2, 5):
        monkeypatch.setattr("os.cpu_count", lambda processors=processors: processors)
        figures.append(metrics_of(coreset, models))
    assert figures[0] == figures[1] == figures[2]


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_weighted_cells_have_the_metrics_of_repeated_rows(data):
    cells = data.draw(st.lists(st.tuples(*[st.integers(-4, 4)] * 2), min_size=4, max_size=25, unique=True))
    weights = data.draw(st.lists(st.integers(1, 5), min_size=len(cells), max_size=len(cells)))
    k = data.draw(st.integers(2, 3))
    labels = np.arange(len(cells)) % k
    coreset = Coreset.without_spread(np.array(cells, dtype=float), np.array(weights, dtype=float), exact=True)
    [metrics] = metrics_of(coreset, [model_from_labels("any", coreset, labels, 0.0)])
    assert_equal_to_scikit_learn(metrics, np.repeat(coreset.points, weights, axis=0), np.repeat(labels, weights))


def test_metrics_on_a_coarse_summary_are_those_of_all_customers():
    rows = rfm_like(12_000)
    coreset, cell_of_row = summarise(rows)
    assert not coreset.exact
    models = ALGORITHMS["kmeans"].fit_range(coreset, range(2, 11), seed=0, n_init=1)
    # Scored as scikit-learn does (see above), but in one pass over the distances.
    of_customers = unsummarised(rows)
    same_labels = [model_from_labels("any", of_customers, model.cell_labels[cell_of_row], 0.0) for model in models]
    for metrics, exact in zip(metrics_of(coreset, models), metrics_of(of_customers, same_labels), strict=True):
        assert metrics.inertia == pytest.approx(exact.inertia, rel=1e-9)
        assert metrics.explained_share == pytest.approx(exact.explained_share, rel=1e-9)
        assert metrics.calinski_harabasz == pytest.approx(exact.calinski_harabasz, rel=1e-9)
        assert metrics.silhouette == pytest.approx(exact.silhouette, rel=0, abs=0.001)
        assert metrics.davies_bouldin == pytest.approx(exact.davies_bouldin, rel=0.005)


def test_metrics_hold_if_cells_are_wide():
    rows = np.random.default_rng(0).normal(size=(4000, 3)) + 3.0 * (np.arange(4000) % 2)[:, None]
    coreset, cell_of_row = summarise(rows, max_cells=300)
    [model] = ALGORITHMS["kmeans"].fit_range(coreset, [4], seed=0, n_init=1)
    [metrics] = metrics_of(coreset, [model])
    labels = model.cell_labels[cell_of_row]
    assert metrics.silhouette == pytest.approx(silhouette_score(rows, labels), rel=0, abs=0.005)
    assert metrics.davies_bouldin == pytest.approx(davies_bouldin_score(rows, labels), rel=0.02)


@pytest.mark.parametrize("shape", ["cloud", "skewed"])
def test_in_ten_features_a_cell_is_not_all_nearest_to_one_cluster(shape):
    rng = np.random.default_rng(0)
    rows = rng.normal(size=(7500, 10)) if shape == "cloud" else np.log1p(rng.gamma(0.7, size=(7500, 10)))
    coreset, cell_of_row = summarise(rows / rows.std(axis=0), max_cells=1500)
    models = ALGORITHMS["kmeans"].fit_range(coreset, [2, 6, 10], seed=0, n_init=1)
    for model, metrics in zip(models, metrics_of(coreset, models), strict=True):
        theirs = silhouette_score(rows / rows.std(axis=0), model.cell_labels[cell_of_row])
        assert metrics.silhouette == pytest.approx(theirs, rel=0, abs=0.005), f"k = {model.k}"


def test_a_customer_alone_in_its_cluster_has_silhouette_zero():
    coreset = unsummarised(np.array([[0.0], [1.0], [9.0]]))
    [metrics] = metrics_of(coreset, [model_from_labels("any", coreset, np.array([0, 0, 1]), 0.0)])
    assert metrics.silhouette == pytest.approx((8 / 9 + 7 / 8 + 0) / 3)


def test_candidates_have_the_metrics_that_each_would_have_alone():
    coreset = unsummarised(np.random.default_rng(0).normal(size=(1200, 3)))
    models = [m for algorithm in FITTED.values() for m in algorithm.fit_range(coreset, [2, 4], seed=0, n_init=1)]
    together = metrics_of(coreset, models)
    for model, metrics in zip(models, together, strict=True):
        assert metrics.silhouette == pytest.approx(metrics_of(coreset, [model])[0].silhouette, abs=1e-12)


def test_a_single_cluster_has_no_silhouette_and_explains_nothing():
    coreset = unsummarised(np.array([[0.0], [1.0], [9.0]]))
    [metrics] = metrics_of(coreset, [model_from_labels("any", coreset, np.zeros(3, dtype=np.int64), 0.0)])
    assert np.isnan([metrics.silhouette, metrics.calinski_harabasz, metrics.davies_bouldin]).all()
    assert metrics.explained_share == 0.0
    assert (metrics.smallest_share, metrics.largest_share) == (1.0, 1.0)


def test_a_cluster_without_customers_counts_as_the_smallest():
    coreset = unsummarised(np.array([[0.0], [1.0], [9.0]]))
    filled = model_from_labels("any", coreset, np.array([0, 0, 1]), 0.0)
    with_gap = replace(filled, k=3, cell_labels=np.array([0, 0, 2]))
    expected, metrics = metrics_of(coreset, [filled, with_gap])
    assert metrics == replace(expected, smallest_share=0.0)


def test_equal_customers_have_metrics_without_a_warning():
    coreset, _ = summarise(np.ones((5, 2)))
    [metrics] = metrics_of(coreset, [model_from_labels("any", coreset, np.array([0]), 0.0)])
    assert (metrics.inertia, metrics.explained_share) == (0.0, 0.0)


def test_clusters_of_one_customer_each_have_metrics_without_a_warning():
    coreset = unsummarised(np.array([[0.0], [1.0], [9.0]]))
    [metrics] = metrics_of(coreset, [model_from_labels("any", coreset, np.arange(3), 0.0)])
    assert (metrics.silhouette, metrics.davies_bouldin, metrics.explained_share) == (0.0, 0.0, 1.0)
    assert np.isnan(metrics.calinski_harabasz)


def test_no_candidates_give_no_metrics():
    assert metrics_of(unsummarised(np.zeros((3, 1))), []) == []


def test_the_grid_has_metrics_like_any_clustering():
    segments = np.array(["Hibernating", "Hibernating", "Champions", "Champions"])
    coreset = replace(unsummarised(np.array([[0.0], [1.0], [9.0], [10.0]])), rfm_segments=segments)
    [model] = ALGORITHMS[BASELINE].fit_range(coreset, [2, 3], seed=0, n_init=1)
    assert (model.algorithm, model.k, model.cell_labels.tolist()) == ("rfm_grid", 2, [0, 0, 1, 1])
    assert metrics_of(coreset, [model])[0].inertia == 1.0


def test_grid_labels_of_a_different_length_are_refused():
    with pytest.raises(ValueError, match="3 grid segments for 4 cells"):
        replace(unsummarised(np.zeros((4, 1))), rfm_segments=np.array(["Champions"] * 3))
    with pytest.raises(ValueError, match="does not know the grid segments"):
        ALGORITHMS[BASELINE].fit_range(unsummarised(np.zeros((4, 1))), [2], seed=0, n_init=1)


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("models.algorithms=kmean", "models.algorithms: no algorithm 'kmean'; did you mean kmeans?"),
        (f"models.algorithms={BASELINE}", f"models.algorithms: no algorithm '{BASELINE}'"),
        ("selection.algorithm=hdbscan", "selection.algorithm=hdbscan is not in models.algorithms"),
    ],
)
def test_an_algorithm_that_cannot_be_or_is_not_compared_is_refused(override, message):
    with pytest.raises(UsageError, match=f"^{message}"):
        check_algorithms(load_settings([override], environment={}))


def test_the_baseline_can_be_forced_without_being_compared():
    check_algorithms(load_settings([f"selection.algorithm={BASELINE}"], environment={}))


def test_reading_the_registry_loads_no_slow_library():
    program = "import sys, seg_pipeline.models.registry; print({'sklearn', 'scipy'} & set(sys.modules))"
    loaded = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout
    assert loaded.strip() == "set()"
