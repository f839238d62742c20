"""The weighted Gaussian mixture against scikit-learn's on all rows."""

import warnings

import numpy as np
import pytest
from sklearn.datasets import make_circles, make_moons
from sklearn.exceptions import ConvergenceWarning
from sklearn.metrics import adjusted_rand_score
from sklearn.mixture import GaussianMixture
from threadpoolctl import threadpool_limits

from seg_pipeline.models.algorithms.gaussian_mixture import (
    MIN_VARIANCE,
    DiagonalGaussianMixtureAlgorithm,
    GaussianMixtureAlgorithm,
    WeightedGaussianMixture,
    fit_together,
)
from seg_pipeline.models.algorithms.kmeans import KMeansAlgorithm
from seg_pipeline.models.coreset import Coreset, summarise
from seg_pipeline.models.metrics import metrics_of
from seg_pipeline_tests.samples import labelled_table, online_retail_rfm, unsummarised, with_repeated_rows

MIXTURE = GaussianMixtureAlgorithm()
DIAGONAL = DiagonalGaussianMixtureAlgorithm()


def overlapping_clouds(rows):
    """Three wide Gaussian clouds, one long, one round and one small."""
    rng = np.random.default_rng(4)
    clouds = [
        rng.normal(size=(rows, 3)) * [3, 1, 1],
        rng.normal(size=(rows, 3)) + 3,
        rng.normal(size=(rows, 3)) / 2 - 2,
    ]
    return np.vstack(clouds)


def scikit_learns(k, points, **options):
    # More threads would wait in loops, which takes the other tests' cores.
    with warnings.catch_warnings(), threadpool_limits(1):
        warnings.simplefilter("ignore", ConvergenceWarning)
        return GaussianMixture(k, random_state=0, **options).fit(points)


def standardised(points):
    return (points - points.mean(axis=0)) / points.std(axis=0)


def two_moons(seed):
    return standardised(make_moons(600, noise=0.08, random_state=seed)[0])


def rings(seed):
    return standardised(make_circles(600, noise=0.06, factor=0.45, random_state=seed)[0])


def counts(seed):
    """log1p of recency, frequency and monetary, all of counts, with nearly half who bought once."""
    rng = np.random.default_rng(seed)
    orders = 1 + rng.poisson(1.5 * rng.lognormal(0.0, 1.0, 600) * (rng.random(600) > 0.4))
    spent = orders * rng.choice([5, 10, 20], 600)
    return standardised(np.log1p(np.column_stack([1 + rng.poisson(3.0, 600), orders, spent])))


@pytest.mark.parametrize("covariance_type", ["full", "diag"])
@pytest.mark.parametrize("shape", [two_moons, rings, counts])
def test_likelihood_is_as_good_as_scikit_learns_of_as_many_starts_and_the_same_least_variance(shape, covariance_type):
    gains = []
    for seed in range(5):
        rows = shape(seed)
        coreset, _ = summarise(rows)
        options = {"covariance_type": covariance_type, "n_init": 5}
        mixtures = [WeightedGaussianMixture(k, random_state=seed, **options) for k in (2, 3, 5, 7)]
        fit_together(mixtures, coreset.points, coreset.weights)
        theirs = [scikit_learns(ours.n_components, rows, reg_covar=MIN_VARIANCE, **options) for ours in mixtures]
        gains.append([ours.score(rows) - their.score(rows) for ours, their in zip(mixtures, theirs, strict=True)])
    # Either may draw an unlucky set of starts, so each k is judged over the seeds.
    assert np.mean(gains, axis=0).min() >= -0.005, gains


def test_on_counts_no_component_is_a_spike():
    coreset, _ = summarise(counts(0))
    for algorithm in (MIXTURE, DIAGONAL):
        for model in algorithm.fit_range(coreset, range(2, 9), seed=0, n_init=5):
            assert np.linalg.eigvalsh(model.covariances).min() >= 0.02 * (1 - 1e-9)


def test_the_least_variance_is_relative_to_each_features_variance():
    # The third feature is nearly the second, so the only component is as thin as it may be.
    rows, units = (
        standardised(counts(1)[:, [0, 1, 1]] + np.array([0.0, 0.0, 1e-3]) * counts(2)),
        np.array([1, 1e-3, 1e6]),
    )
    fits = [WeightedGaussianMixture(1).fit(points) for points in (rows, rows * units)]
    np.testing.assert_allclose(fits[1].covariances_, fits[0].covariances_ * np.outer(units, units), rtol=1e-9)


@pytest.mark.parametrize("name", ["iris", "wine", "breast_cancer"])
@pytest.mark.parametrize("min_variance", [1e-6, MIN_VARIANCE])
def test_on_public_tables_no_likelihood_is_below_scikit_learns(name, min_variance):
    points, truth = labelled_table(name)
    rows, k = standardised(points), len(set(truth))
    ours = WeightedGaussianMixture(k, n_init=5, min_variance=min_variance).fit(rows)
    assert ours.score(rows) >= scikit_learns(k, rows, n_init=5, reg_covar=min_variance).score(rows) - 1e-3


@pytest.mark.parametrize("name", ["iris", "wine"])
def test_most_true_labels_of_flowers_and_wines_are_found(name):
    points, truth = labelled_table(name)
    [model] = MIXTURE.fit_range(unsummarised(standardised(points)), [len(set(truth))], seed=0, n_init=10)
    assert adjusted_rand_score(truth, model.cell_labels) > 0.9


def test_on_online_retail_no_likelihood_is_more_than_a_thousandth_below_scikit_learns():
    rfm = online_retail_rfm()
    coreset, _ = summarise(rfm)
    for model in MIXTURE.fit_range(coreset, range(2, 9), seed=0, n_init=10):
        theirs = scikit_learns(model.k, rfm, n_init=2, reg_covar=MIN_VARIANCE).score(rfm)
        assert model.log_likelihood >= theirs - 0.001 * abs(theirs), f"k = {model.k}"


@pytest.mark.parametrize("k", range(2, 9))
def test_scikit_learns_em_has_nothing_to_add_to_ours(k):
    rows = with_repeated_rows(overlapping_clouds(150))
    coreset, _ = summarise(rows)
    ours = WeightedGaussianMixture(k, n_init=3, min_variance=1e-6).fit(coreset.points, coreset.weights)
    theirs = scikit_learns(
        k,
        rows,
        tol=1e-5,
        max_iter=500,
        weights_init=ours.weights_,
        means_init=ours.means_,
        precisions_init=np.linalg.inv(ours.covariances_),
    )
    assert ours.score(coreset.points, coreset.weights) == pytest.approx(theirs.score(rows), rel=1e-3)


def test_with_the_same_parameters_likelihood_bic_and_posteriors_are_scikit_learns():
    rows = with_repeated_rows(overlapping_clouds(100))
    coreset, cell_of_row = summarise(rows)
    ours = WeightedGaussianMixture(3).fit(coreset.points, coreset.weights)
    theirs = GaussianMixture(3)
    theirs.weights_, theirs.means_, theirs.covariances_ = ours.weights_, ours.means_, ours.covariances_
    lower = np.linalg.cholesky(ours.covariances_)
    theirs.precisions_cholesky_ = np.linalg.inv(lower).transpose(0, 2, 1)
    assert ours.score(coreset.points, coreset.weights) == pytest.approx(theirs.score(rows), abs=1e-9)
    assert ours.bic(coreset.points, coreset.weights) == pytest.approx(theirs.bic(rows), rel=1e-12)
    posteriors = ours.predict_proba(coreset.points)[cell_of_row]
    np.testing.assert_allclose(posteriors, theirs.predict_proba(rows), rtol=0, atol=1e-9)


@pytest.mark.parametrize("k", range(2, 7))
def test_scikit_learns_em_has_nothing_to_add_to_our_diagonal_components(k):
    rows = with_repeated_rows(overlapping_clouds(150))
    coreset, _ = summarise(rows)
    ours = WeightedGaussianMixture(k, covariance_type="diag", n_init=3, min_variance=1e-6).fit(
        coreset.points, coreset.weights
    )
    variances = np.diagonal(ours.covariances_, axis1=1, axis2=2)
    assert np.array_equal(ours.covariances_, variances[:, :, None] * np.eye(3))
    theirs = scikit_learns(
        k,
        rows,
        covariance_type="diag",
        tol=1e-5,
        max_iter=500,
        weights_init=ours.weights_,
        means_init=ours.means_,
        precisions_init=1.0 / variances,
    )
    assert ours.score(coreset.points, coreset.weights) == pytest.approx(theirs.score(rows), rel=1e-3)


def test_with_the_same_diagonal_parameters_likelihood_bic_and_posteriors_are_scikit_learns():
    rows = with_repeated_rows(overlapping_clouds(100))
    coreset, cell_of_row = summarise(rows)
    [model] = DIAGONAL.fit_range(coreset, [3], seed=0, n_init=10)
    theirs = GaussianMixture(3, covariance_type="diag")
    theirs.weights_, theirs.means_ = model.weights, model.centers
    theirs.covariances_ = np.diagonal(model.covariances, axis1=1, axis2=2)
    theirs.precisions_cholesky_ = 1.0 / np.sqrt(theirs.covariances_)
    assert model.log_likelihood == pytest.approx(theirs.score(rows), abs=1e-9)
    assert model.bic == pytest.approx(theirs.bic(rows), rel=1e-12)
    labels, confidence = DIAGONAL.predict(model, coreset.points, coreset)
    assert np.array_equal(labels, model.cell_labels)
    np.testing.assert_allclose(confidence[cell_of_row], theirs.predict_proba(rows).max(axis=1), rtol=0, atol=1e-9)


def test_on_online_retail_no_diagonal_likelihood_is_more_than_a_hundredth_below_scikit_learns():
    rfm = online_retail_rfm()
    coreset, _ = summarise(rfm)
    for model in DIAGONAL.fit_range(coreset, (2, 3, 5), seed=0, n_init=10):
        theirs = scikit_learns(model.k, rfm, covariance_type="diag", reg_covar=MIN_VARIANCE).score(rfm)
        assert model.log_likelihood >= theirs - 0.01 * abs(theirs), f"k = {model.k}"


def test_weighted_cells_give_what_repeated_rows_give():
    rows = with_repeated_rows(overlapping_clouds(100))
    coreset, cell_of_row = summarise(rows)
    [on_cells] = MIXTURE.fit_range(coreset, [3], seed=0, n_init=5)
    [on_rows] = MIXTURE.fit_range(unsummarised(rows), [3], seed=0, n_init=5)
    assert on_cells.log_likelihood == pytest.approx(on_rows.log_likelihood, rel=1e-4)
    assert on_cells.bic == pytest.approx(on_rows.bic, rel=1e-4)
    assert adjusted_rand_score(on_cells.cell_labels[cell_of_row], on_rows.cell_labels) > 0.98


@pytest.mark.parametrize("algorithm", [MIXTURE, DIAGONAL], ids=["full", "diagonal"])
def test_a_mixture_is_the_same_whether_fitted_alone_or_beside_others(algorithm):
    coreset, _ = summarise(overlapping_clouds(100))
    for beside in algorithm.fit_range(coreset, range(1, 6), seed=1, n_init=3):
        [alone] = algorithm.fit_range(coreset, [beside.k], seed=1, n_init=3)
        assert beside.log_likelihood == pytest.approx(alone.log_likelihood, rel=1e-9)
        assert np.array_equal(beside.cell_labels, alone.cell_labels)


def test_a_round_cloud_inside_a_wide_one_is_found_although_kmeans_cannot():
    rng = np.random.default_rng(0)
    wide, narrow = rng.normal(scale=5.0, size=(500, 2)), rng.normal(scale=0.2, size=(500, 2))
    [model] = MIXTURE.fit_range(unsummarised(np.vstack([wide, narrow])), [2], seed=0, n_init=10)
    assert adjusted_rand_score(np.repeat([0, 1], 500), model.cell_labels) > 0.9


def test_predicted_labels_of_the_cells_are_the_fitted_ones_and_confidence_is_their_posterior():
    coreset, _ = summarise(overlapping_clouds(200))
    [model] = MIXTURE.fit_range(coreset, [3], seed=0, n_init=3)
    labels, confidence = MIXTURE.predict(model, coreset.points, coreset)
    assert np.array_equal(labels, model.cell_labels)
    assert np.all((confidence >= 1 / 3) & (confidence <= 1.0))
    assert MIXTURE.predict(model, model.centers, coreset)[1].min() > 0.8


def test_a_point_far_from_everything_still_has_a_label():
    coreset, _ = summarise(overlapping_clouds(50))
    [model] = MIXTURE.fit_range(coreset, [3], seed=0, n_init=1)
    labels, confidence = MIXTURE.predict(model, np.full((1, 3), 1e6), coreset)
    assert 0 <= labels[0] < 3
    assert 0.0 < confidence[0] <= 1.0


@pytest.mark.parametrize(
    "points",
    [
        pytest.param(np.arange(5.0)[:, None] * np.ones(3), id="collinear"),
        pytest.param(np.arange(5.0)[:, None] * np.ones(3) * 1e9, id="collinear and huge"),
        pytest.param(np.column_stack([np.arange(5.0), np.zeros(5)]), id="constant feature"),
        pytest.param(np.array([[0.0], [1e-200], [2e-200], [1.0]]), id="too close to tell apart"),
        pytest.param(np.array([[1.0, 2.0]]), id="one cell"),
    ],
)
def test_degenerate_cells_can_be_fitted_and_have_metrics(points):
    coreset = Coreset.without_spread(points, np.arange(1.0, len(points) + 1), exact=True)
    models = MIXTURE.fit_range(coreset, range(1, 9), seed=0, n_init=2)
    assert [model.k for model in models] == list(range(1, len(points) + 1))
    assert len(metrics_of(coreset, models)) == len(models)
    for model in models:
        assert np.isfinite(model.centers).all()
        assert np.isfinite(model.log_likelihood)
        assert model.weights.sum() == pytest.approx(1.0)


def test_components_are_numbered_by_their_means_and_a_seed_gives_the_same_bytes_on_any_number_of_threads():
    coreset, _ = summarise(overlapping_clouds(300))
    fits = []
    for threads in (1, 2):
        with threadpool_limits(threads):
            fits += MIXTURE.fit_range(coreset, [4], seed=3, n_init=2)
    assert fits[0].centers.tolist() == sorted(fits[0].centers.tolist())
    assert fits[0].covariances.tobytes() == fits[1].covariances.tobytes()


def test_a_model_without_covariances_is_refused():
    coreset = unsummarised(np.array([[0.0], [1.0]]))
    [kmeans] = KMeansAlgorithm().fit_range(coreset, [2], seed=0, n_init=1)
    with pytest.raises(ValueError, match="not a Gaussian mixture"):
        MIXTURE.predict(kmeans, coreset.points, coreset)
