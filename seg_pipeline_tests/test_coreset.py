"""The coreset: customers summarised as weighted cells."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst
from sklearn.cluster import KMeans

from seg_pipeline.models.coreset import DEFAULT_MAX_CELLS, Coreset, FloatArray, group_means, summarise
from seg_pipeline.settings import load_settings


@pytest.fixture(scope="module")
def cloud() -> FloatArray:
    return np.random.default_rng(0).normal(size=(50_000, 3))


def test_few_distinct_rows_are_kept_as_they_are_with_their_counts():
    coreset, cell_of_row = summarise(np.array([[2.0, 1.0], [0.0, 5.0], [2.0, 1.0], [0.0, -5.0]]))
    assert coreset.exact
    assert coreset.points.tolist() == [[0.0, -5.0], [0.0, 5.0], [2.0, 1.0]]
    assert coreset.weights.tolist() == [1.0, 1.0, 2.0]
    assert coreset.spread.tolist() == [0.0, 0.0, 0.0]
    assert coreset.lost_share == 0.0
    assert cell_of_row.tolist() == [2, 1, 2, 0]


def test_many_distinct_rows_use_all_the_cells_allowed(cloud):
    coreset, _ = summarise(cloud, max_cells=1000)
    assert not coreset.exact
    assert len(coreset.points) == 1000


def test_a_cell_is_the_mean_the_count_and_the_spread_of_its_customers(cloud):
    coreset, cell_of_row = summarise(cloud, max_cells=500)
    for cell in (0, 250, len(coreset.points) - 1):
        members = cloud[cell_of_row == cell]
        assert coreset.weights[cell] == len(members)
        np.testing.assert_allclose(coreset.points[cell], members.mean(axis=0), rtol=0, atol=1e-12)
        spread = ((members - members.mean(axis=0)) ** 2).sum(axis=1).mean()
        np.testing.assert_allclose(coreset.spread[cell], spread, rtol=0, atol=1e-12)


def test_the_lost_share_is_that_of_the_sum_of_squares_within_cells(cloud):
    coreset, cell_of_row = summarise(cloud, max_cells=500)
    within, total = ((cloud - centre) ** 2 for centre in (coreset.points[cell_of_row], cloud.mean(axis=0)))
    assert coreset.lost_share == pytest.approx(within.sum() / total.sum(), rel=1e-9)


def test_ten_features_that_vary_in_three_directions_lose_little_more_than_three_would():
    rng = np.random.default_rng(0)
    hidden = rng.normal(size=(20_000, 3))
    rows = hidden @ rng.normal(size=(3, 10)) + 0.01 * rng.normal(size=(20_000, 10))
    assert summarise(rows, max_cells=2000)[0].lost_share < 0.02


def test_the_order_of_the_rows_does_not_matter_to_the_last_bit(cloud):
    order = np.random.default_rng(1).permutation(len(cloud))
    coreset, cell_of_row = summarise(cloud)
    shuffled, shuffled_cells = summarise(cloud[order])
    assert coreset.points.tobytes() == shuffled.points.tobytes()
    assert coreset.weights.tobytes() == shuffled.weights.tobytes()
    assert coreset.spread.tobytes() == shuffled.spread.tobytes()
    assert np.array_equal(cell_of_row[order], shuffled_cells)


def test_kmeans_on_the_cells_ends_where_kmeans_on_all_customers_does(cloud):
    coreset, _ = summarise(cloud)
    on_all = KMeans(5, n_init=3, random_state=0).fit(cloud)
    # The same start, or the luck of the starts would outweigh what the summary loses.
    on_cells = KMeans(5, n_init=1, init=on_all.cluster_centers_).fit(coreset.points, sample_weight=coreset.weights)
    assert -on_cells.score(cloud) <= 1.001 * on_all.inertia_


def test_points_no_further_apart_than_rounding_are_not_split():
    points = 1.0 + np.spacing(1.0) * np.arange(8.0)[:, None]
    coreset, _ = summarise(points, max_cells=5)
    assert 1 <= len(coreset.points) <= 5
    assert coreset.weights.sum() == 8


def test_a_far_outlier_in_many_features_is_a_cell_of_its_own():
    points = np.random.default_rng(0).normal(size=(3000, 8))
    points[0] = 1e12
    coreset, cell_of_row = summarise(points, max_cells=200)
    assert len(coreset.points) == 200
    assert coreset.weights[cell_of_row[0]] == 1


@settings(max_examples=50, deadline=None)
@given(
    matrix=npst.arrays(float, st.tuples(st.integers(1, 60), st.integers(1, 4)), elements=st.floats(-1e6, 1e6)),
    max_cells=st.integers(1, 60),
)
def test_every_customer_is_in_one_cell_and_the_overall_mean_is_kept(matrix, max_cells):
    coreset, cell_of_row = summarise(matrix, max_cells)
    assert len(coreset.points) <= max_cells
    assert np.array_equal(np.bincount(cell_of_row, minlength=len(coreset.points)), coreset.weights)
    kept_mean = np.average(coreset.points, axis=0, weights=coreset.weights)
    np.testing.assert_allclose(kept_mean, matrix.mean(axis=0), rtol=1e-9, atol=1e-6)
    within = ((matrix - coreset.points[cell_of_row]) ** 2).sum()
    np.testing.assert_allclose(coreset.weights @ coreset.spread, within, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_a_value_that_is_not_finite_is_named_by_row_and_column(value):
    matrix = np.zeros((4, 3))
    matrix[2, 1] = value
    with pytest.raises(ValueError, match="row 2, column 1"):
        summarise(matrix)


@pytest.mark.parametrize("shape", [(0, 3), (3, 0), (3,)])
def test_a_matrix_without_rows_or_features_is_refused(shape):
    with pytest.raises(ValueError, match="rows and features"):
        summarise(np.zeros(shape))


def test_fewer_than_one_cell_is_refused():
    with pytest.raises(ValueError, match="max_cells is 0"):
        summarise(np.zeros((3, 2)), max_cells=0)


def test_a_cell_without_weight_is_refused():
    with pytest.raises(ValueError, match="cell 1 has no weight"):
        Coreset.without_spread(np.zeros((2, 1)), np.array([1.0, 0.0]), exact=True)


def test_points_and_weights_of_different_lengths_are_refused():
    with pytest.raises(ValueError, match="shapes do not match"):
        Coreset.without_spread(np.zeros((2, 1)), np.ones(3), exact=True)


def test_a_spread_of_a_different_length_is_refused():
    with pytest.raises(ValueError, match=r"shapes do not match: .*spread \(1,\)"):
        Coreset(np.zeros((2, 1)), np.ones(2), np.ones(1), exact=False)


def test_the_mean_of_a_group_without_points_is_refused():
    with pytest.raises(ValueError, match="group 1 has no points"):
        group_means(np.array([0, 2]), np.ones(2), np.zeros((2, 1)))


def test_the_default_number_of_cells_is_that_of_the_settings():
    assert load_settings(environment={}).models.max_cells == DEFAULT_MAX_CELLS
