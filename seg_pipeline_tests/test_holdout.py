"""Sizes of holdouts, compared with the published formula, other software, and simulated experiments."""

import numpy as np
import pytest
from scipy.stats import norm

from seg_pipeline.segments.holdout import TwoProportionTest

TEST = TwoProportionTest(significance=0.05, power=0.8)


def sample_size(p0, p1, ratio):
    """Returns n0 of Fleiss, Tytun and Ury (1980) as published; the other group is `ratio` times as large."""
    p = (p0 + ratio * p1) / (1 + ratio)
    root = norm.ppf(0.975) * np.sqrt((1 + ratio) * p * (1 - p)) + norm.ppf(0.8) * np.sqrt(
        ratio * p0 * (1 - p0) + p1 * (1 - p1)
    )
    return root**2 / (ratio * (p1 - p0) ** 2)


@pytest.mark.parametrize("customers", [300, 2_000, 5_000, 40_000, 2_000_000])
@pytest.mark.parametrize("base_rate", [0.0, 0.02, 0.3, 0.5, 0.8, 0.95])
def test_the_holdout_is_the_smallest_that_the_published_sample_size_allows(customers, base_rate):
    holdout = TEST.holdout(customers, base_rate, effect=0.05)

    sizes = np.arange(1, customers // 2 + 1)
    enough = sizes >= sample_size(base_rate, base_rate + 0.05, (customers - sizes) / sizes)
    assert holdout == (sizes[enough][0] if enough[-1] else None)


@pytest.mark.parametrize(("power", "p0", "p1", "each"), [(0.8, 0.6, 0.7, 356), (0.9, 0.5, 0.75, 77)])
def test_two_equal_groups_have_the_size_that_other_software_gives(power, p0, p1, each):
    # R's power.prop.test gives 355.6 and, in the example of its manual, 76.7 in each group.
    test = TwoProportionTest(0.05, power)

    assert test.holdout(2 * each, p0, effect=p1 - p0) is not None
    assert test.holdout(2 * each - 2, p0, effect=p1 - p0) is None


@pytest.mark.parametrize(("customers", "base_rate"), [(4_000, 0.3), (20_000, 0.1)])
def test_an_experiment_of_that_size_detects_the_effect_in_four_of_five_draws(customers, base_rate):
    left_out = TEST.holdout(customers, base_rate, effect=0.05)
    contacted = customers - left_out
    random = np.random.default_rng(7)

    def share_detected(effect, draws=40_000):
        few = random.binomial(left_out, base_rate, draws)
        many = random.binomial(contacted, base_rate + effect, draws)
        both = (few + many) / customers
        z = (many / contacted - few / left_out) / np.sqrt(both * (1 - both) * (1 / left_out + 1 / contacted))
        return np.mean(np.abs(z) > norm.ppf(0.975))

    assert share_detected(0.05) == pytest.approx(0.8, abs=0.02)
    assert share_detected(0.0) == pytest.approx(0.05, abs=0.01)


@pytest.mark.parametrize("customers", [30, 800, 100_000])
@pytest.mark.parametrize("base_rate", [0.0, 0.2, 0.5])
def test_the_smallest_effect_is_the_one_that_leaving_out_half_would_just_show(customers, base_rate):
    smallest = TEST.smallest_effect(customers, base_rate)

    assert sample_size(base_rate, base_rate + smallest, 1.0) == pytest.approx(customers / 2)
    assert TEST.holdout(customers, base_rate, effect=smallest * 1.001) is not None
    assert TEST.holdout(customers, base_rate, effect=smallest * 0.99) is None


@pytest.mark.parametrize("effect", [0.03, 0.05, 0.1, 0.2, 0.5])
@pytest.mark.parametrize("customers", [26, 100, 300, 2_000, 20_000])
def test_half_is_within_three_percent_of_the_best_split(customers, effect):
    half = customers // 2
    sizes = np.unique(np.linspace(1, half, 200).astype(int))
    for base_rate in np.arange(0, 1 - effect, 0.05):
        detectable = [TEST.detectable_difference(effect, base_rate, size, customers - size) for size in sizes.tolist()]
        best = int(np.argmin(detectable))

        assert detectable[-1] <= 1.03 * detectable[best]
        assert np.all(np.diff(detectable[: best + 1]) < 0)
        assert np.all(np.diff(detectable[best:]) > 0)


def test_an_effect_that_only_a_split_other_than_half_detects_has_no_holdout():
    assert TEST.detectable_difference(0.5, 0.4, 12, 14) < 0.5 < TEST.detectable_difference(0.5, 0.4, 13, 13)
    assert TEST.holdout(26, 0.4, effect=0.5) is None


def test_there_is_no_holdout_if_no_rise_is_possible_or_nobody_can_be_left_out():
    assert TEST.holdout(100_000, 0.97, effect=0.05) is None
    assert TEST.smallest_effect(100_000, 1.0) is None
    assert (TEST.holdout(1, 0.2, effect=0.05), TEST.smallest_effect(1, 0.2)) == (None, None)
    assert TEST.smallest_effect(4, 0.5) is None
