"""Shops with a known truth, and sets with planted groups: what they hold is what is said of them."""

import numpy as np
import pandas as pd
import pytest

from seg_pipeline_tests.bench import evidence, planted
from seg_pipeline_tests.bench.truths import (
    COLUMNS,
    EVERYWHERE,
    FAR,
    NEAR,
    NIGHT,
    PROTOTYPES,
    SHOPS,
    Night,
    k_is,
    kept_together,
    never_named,
    not_left_out,
    of_their_own,
    planted_customers,
)

SEGMENT_NAMES = {1: "Champions", 2: "Hibernating, low spend"}


def night(segments, *, k=2, algorithm="kmeans", active=(0.9, 0.1), recency=(5, 300), names=None):
    """The tables of a night with two segments, from the segment of each customer."""
    assignments = pd.DataFrame({"customer_id": list(segments), "segment_id": list(segments.values())})
    names = {**SEGMENT_NAMES, **(names or {})}
    assignments["segment_name"] = assignments["segment_id"].map(names)
    sizes = assignments["segment_id"].value_counts().sort_index()
    profiles = pd.DataFrame(
        {
            "segment_id": sizes.index,
            "segment_name": [names[one] for one in sizes.index],
            "customers": sizes.to_numpy(),
            "revenue": 100.0,
            "active_share": active[: len(sizes)],
            "median_recency_days": recency[: len(sizes)],
            "median_days_between_orders": 30.0,
            "mean_r_score": [4.9, 1.5][: len(sizes)],
            "mean_f_score": [4.9, 1.5][: len(sizes)],
            "mean_m_score": 3.0,
        }
    )
    report = pd.DataFrame({"algorithm": ["hierarchical", algorithm], "k": [9, k], "chosen": [False, True]})
    advice = pd.DataFrame(
        {
            "segment_id": [1, 2],
            "objective": ["Keep them", "Spend no more than the cheapest contact"],
            "marketing": ["Ask for reviews", "Leave them out of paid campaigns"],
        }
    )
    return Night(report, pd.DataFrame(), profiles, assignments, advice)


def customers(letter, count):
    return [f"{letter}{number}" for number in range(count)]


A, B = customers("A", 40), customers("B", 60)
APART = {**dict.fromkeys(A, 1), **dict.fromkeys(B, 2)}


@pytest.mark.parametrize("name", SHOPS)
def test_a_shop_is_an_ordinary_export_that_ends_before_the_night(name):
    shop = SHOPS[name]()

    assert tuple(shop.lines.columns) == COLUMNS
    assert shop.lines["order_id"].is_unique
    assert shop.lines["order_date"].max() < str(NIGHT)
    assert shop.lines["price"].gt(0).all()
    ids = [customer for group in shop.groups.values() for customer in group]
    assert set(ids) == set(shop.lines["customer_id"])
    assert SHOPS[name]().lines.equals(shop.lines)
    assert shop.all_truths == [*shop.truths, *EVERYWHERE]


def test_there_are_sixteen_shops():
    assert len(SHOPS) == 16
    assert len({make().name for make in SHOPS.values()}) == 16


def orders_of(shop, group):
    lines = shop.lines[shop.lines["customer_id"].isin(shop.groups[group])]
    days = pd.to_datetime(lines["order_date"])
    silence = (pd.Timestamp(NIGHT) - days.groupby(lines["customer_id"]).max()).dt.days
    return lines.groupby("customer_id").size(), silence, lines["price"].sum() / shop.lines["price"].sum()


@pytest.mark.parametrize(
    ("name", "group", "orders", "silence"),
    [
        ("subscription", "paying", (12, 12), (27, 27)),
        ("subscription", "stopped", (6, 6), (210, 210)),
        ("grocery", "weekly", (15, 80), (1, 9)),
        ("grocery", "stopped", (20, 60), (121, 130)),
        ("marketplace", "once", (1, 1), (1, 730)),
        ("marketplace", "again", (3, 8), (11, 90)),
        ("seasonal_fashion", "each", (6, 6), (90, 125)),
        ("seasonal_fashion", "skipped", (3, 3), (450, 680)),
        ("resellers", "resellers", (50, 105), (1, 9)),
        ("resellers", "lapsed", (2, 8), (301, 375)),
        ("one_time_buyers", "recent", (1, 1), (1, 30)),
        ("one_time_buyers", "old", (1, 1), (31, 365)),
        ("cohort", "still", (8, 15), (6, 60)),
        ("cohort", "once", (1, 1), (450, 540)),
        ("three_weeks_old", "all", (1, 7), (1, 21)),
        ("tied_counts", "complete", (4, 4), (30, 95)),
        ("tied_counts", "stopped", (2, 2), (200, 280)),
    ],
)
def test_each_kind_of_customer_buys_as_is_said(name, group, orders, silence):
    counts, days, _ = orders_of(SHOPS[name](), group)

    assert orders[0] <= counts.min() <= counts.max() <= orders[1]
    assert silence[0] <= days.min() <= days.max() <= silence[1]


def test_resellers_have_most_of_the_revenue_and_a_marketplace_hardly_any_second_order():
    _, _, revenue_share = orders_of(SHOPS["resellers"](), "resellers")
    counts = SHOPS["marketplace"]().lines.groupby("customer_id").size()

    assert revenue_share > 0.6
    assert (counts == 1).mean() == pytest.approx(0.97)


@pytest.mark.parametrize("k", [3, 5, 7])
@pytest.mark.parametrize("apart", [NEAR, FAR])
def test_planted_customers_lie_around_their_prototypes_and_their_orders_add_up(k, apart):
    planted_ones = planted_customers(k, apart)
    measures = ["recency_days", "frequency", "monetary"]

    medians = planted_ones.groupby("group", sort=False)[measures].median()

    prototypes = np.array(list(PROTOTYPES.values())[:k])
    assert medians.index.tolist() == list(PROTOTYPES)[:k]
    assert np.abs(np.log1p(medians) - np.log1p(prototypes)).to_numpy().max() < 0.2
    lines = SHOPS[f"{k}_groups_{'far' if apart == FAR else 'near'}"]().lines
    bought = lines.groupby("customer_id")["price"].agg(["size", "sum"]).loc[planted_ones["customer_id"]]
    assert bought["size"].tolist() == planted_ones["frequency"].tolist()
    assert bought["sum"].to_numpy() == pytest.approx(planted_ones["monetary"], rel=0.05, abs=0.5)


def test_names_are_compared_without_what_tells_namesakes_apart():
    assert never_named("B", B, ["Champions"], "the best").holds(night(APART))
    assert not never_named("B", B, ["Hibernating"], "those who are gone").holds(night(APART))
    assert not never_named("all", [*A, *B], ["Champions"], "the best").holds(night(APART))


def test_many_customers_need_a_fitted_model_and_its_segments_need_customers():
    many = {**dict.fromkeys(customers("A", 280), 1), **dict.fromkeys(customers("B", 20), 2)}
    fitted, large, *_ = EVERYWHERE

    assert fitted.holds(night(many))
    assert not fitted.holds(night(many, algorithm="rfm_grid"))
    assert large.holds(night(many))
    small = night(many)
    small.segment_profiles.loc[1, "revenue"] = 5.0
    assert not large.holds(small)


def test_a_customer_is_left_out_if_the_advice_of_the_segment_says_so():
    assert not_left_out("A", A).holds(night(APART))
    assert not not_left_out("B", B).holds(night(APART))


def test_a_group_has_a_segment_of_its_own_if_nobody_else_is_in_it_and_nobody_is_missing():
    mixed = {**APART, **dict.fromkeys(A[:10], 2)}

    assert of_their_own("A", A).holds(night(APART))
    assert not of_their_own("A", A).holds(night(mixed))
    assert not of_their_own("A", A).holds(night(dict.fromkeys([*A, *B], 1)))
    assert kept_together({"a": A, "b": B}, 0.7).holds(night(mixed))
    assert not kept_together({"a": A, "b": B}, 0.8).holds(night(mixed))


def test_k_is_that_of_the_chosen_candidate():
    assert k_is(2).holds(night(APART))
    assert not k_is(9).holds(night(APART))


@pytest.mark.parametrize(
    ("wrong", "changes"),
    [
        ([], {}),
        ([], {"algorithm": "rfm_grid"}),
        (
            [
                "who is called the best is active",
                "advice treats no active customers as gone, and none who are gone as active",
            ],
            {"active": (0.1, 0.1)},
        ),
        ([], {"names": {2: "one order, 2 to 6 months ago"}}),
        (
            [
                "the best by orders and spend are called so, if they are recent",
                "at most a third of the names are descriptions",
            ],
            {"names": {1: "40 orders, the last this month", 2: "one order, 2 to 6 months ago"}},
        ),
        (["who is called the best is active"], {"recency": (400, 300)}),
        (
            [
                "who is called gone is silent",
                "advice treats no active customers as gone, and none who are gone as active",
            ],
            {"active": (0.9, 0.6), "recency": (5, 40)},
        ),
        (
            ["who is called gone is silent"],
            {"active": (0.9, 0.6), "recency": (5, 80)},
        ),
        (
            [
                "who is called about to sleep is silent, or late for the own rhythm",
                "advice treats no active customers as gone, and none who are gone as active",
            ],
            {"active": (0.9, 0.6), "recency": (5, 40), "names": {2: "About to Sleep"}},
        ),
        ([], {"active": (0.9, 0.6), "recency": (5, 46), "names": {2: "About to Sleep"}}),
        (
            ["the best by orders and spend are called so, if they are recent"],
            {"names": {1: "Potential Loyalists, high spend"}},
        ),
    ],
)
def test_what_holds_everywhere(wrong, changes):
    this = night(APART, **changes)

    assert [truth.sentence for truth in EVERYWHERE if not truth.holds(this)] == wrong


def test_a_table_goes_between_its_markers(tmp_path, monkeypatch):
    page = tmp_path / "evidence.md"
    page.write_text("Before\n<!-- begin shops -->\nold\n<!-- end shops -->\nafter\n")
    monkeypatch.setattr(evidence, "PAGE", page)

    evidence.write("new")

    assert page.read_text() == "Before\n<!-- begin shops -->\n\nnew\n\n<!-- end shops -->\nafter\n"
    with pytest.raises(ValueError, match="has 0 places for planted"):
        evidence.write("new", "planted")


@pytest.mark.parametrize("k", [3, 7])
@pytest.mark.parametrize("features", [2, 4])
def test_nearest_neighbours_among_planted_centres_are_exactly_that_far_apart(k, features):
    centres = planted.centres(np.random.default_rng(1), k, features)

    distances = np.linalg.norm(centres[:, None] - centres[None], axis=2) + np.diag([np.inf] * k)

    assert distances.min(axis=1) == pytest.approx(planted.APART)


def test_sets_are_as_large_as_is_said_and_have_groups_or_none():
    for number in range(20):
        with_groups, without = planted.with_groups(number), planted.without_groups(number)

        counts = np.bincount(with_groups.group)
        assert 3 <= with_groups.k == len(counts) <= 7
        assert counts.min() >= planted.SMALLEST_SHARE * counts.sum() - 1
        assert 600 <= counts.sum() <= 2_007
        assert without.k == 1
        assert np.isfinite(without.rows).all()
        assert {with_groups.rows.shape[1], without.rows.shape[1]} <= {2, 3, 4}
    assert {planted.without_groups(number).kind for number in range(4)} == set(planted.CONTINUA)
