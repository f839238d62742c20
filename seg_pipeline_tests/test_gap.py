"""The gap statistic."""

from collections.abc import Sequence

import numpy as np
import pytest
from sklearn.datasets import make_blobs

from seg_pipeline.models.algorithms.kmeans import KMeansAlgorithm
from seg_pipeline.models.coreset import Coreset, FloatArray, summarise
from seg_pipeline.models.gap import Gap, gap_statistic
from seg_pipeline.models.model import ClusterModel
from seg_pipeline_tests.samples import unsummarised

KMEANS = KMeansAlgorithm()
CENTERS = [[0, 0], [10, 0], [0, 10], [10, 10]]


def fit(coreset: Coreset, ks: Sequence[int], seed: int) -> list[ClusterModel]:
    return KMEANS.fit_range(coreset, ks, seed=seed, n_init=1)


def gaps(coreset: Coreset, ks: Sequence[int], references: int = 4) -> list[Gap]:
    models = KMEANS.fit_range(coreset, ks, seed=0, n_init=5)
    return gap_statistic(coreset, models, fit, seed=0, references=references)


def four_blobs(customers: int) -> FloatArray:
    return make_blobs(customers, centers=CENTERS, random_state=0)[0]


def test_four_clusters_have_their_largest_gap_at_four():
    found = gaps(unsummarised(four_blobs(800)), range(2, 8))
    assert int(np.argmax([gap.gap for gap in found])) == 2
    assert all(0 < gap.standard_error < 0.1 for gap in found)


def test_customers_spread_evenly_have_no_gap():
    even = np.random.default_rng(1).uniform(size=(1000, 2)) * [3.0, 1.0]
    assert all(abs(gap.gap) < 0.1 for gap in gaps(unsummarised(even), range(1, 7)))


def test_the_gap_does_not_depend_on_the_number_or_the_unit_of_the_customers():
    cells = four_blobs(400)
    few = gaps(unsummarised(cells), [2, 4])
    many = gaps(Coreset.without_spread(1000.0 * cells, np.full(400, 50.0), exact=True), [2, 4])
    assert [gap.gap for gap in many] == pytest.approx([gap.gap for gap in few], abs=1e-9)


def test_a_summary_has_the_gap_of_its_customers():
    rows = four_blobs(6000)
    on_cells, on_all = (gaps(coreset, [4])[0].gap for coreset in (summarise(rows, 500)[0], unsummarised(rows)))
    assert on_cells == pytest.approx(on_all, abs=0.1)


def test_customers_at_as_many_places_as_clusters_have_no_gap():
    [gap] = gaps(unsummarised(np.array([[0.0], [1.0]])), [2])
    assert np.isnan([gap.gap, gap.standard_error]).all()


def test_a_k_that_the_references_cannot_fill_has_no_gap():
    coreset = unsummarised(four_blobs(40))
    [gap] = gap_statistic(coreset, fit(coreset, [3], 0), lambda *_: [], seed=0)
    assert np.isnan(gap.gap)


def test_one_reference_is_refused():
    with pytest.raises(ValueError, match="at least two"):
        gaps(unsummarised(four_blobs(40)), [2], references=1)
