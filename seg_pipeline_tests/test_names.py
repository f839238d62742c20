"""Names of segments: deserved by half of the members, in the order of worth, and never against what was measured."""

import datetime
import math

import numpy as np
import pandas as pd
import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from seg_pipeline.champions.names import (
    DISTINGUISHING_SCORES,
    FAMILIES,
    LEVELS,
    NAMES,
    contradictions_query,
    description_of,
    evidence_query,
    name_segments,
)
from seg_pipeline.features.tables import CUSTOMER_RHYTHM, GRID_CELLS, RFM_FEATURES
from seg_pipeline.segments.strategies import read_actions
from seg_pipeline.warehouse import Warehouse

AS_OF = datetime.date(2024, 3, 1)


def profile(deserved, contradicted=(), **figures):
    """A segment of a hundred customers; `deserved` has the share of each name."""
    return {
        "mean_r_score": 3.0,
        "mean_f_score": 3.0,
        "mean_m_score": 3.0,
        "median_recency_days": 10.0,
        "median_frequency": 2.0,
        "active_share": 0.9,
        "customers": 100,
        "revenue": 1000.0,
        "shop_days": 400,
        "orders_low": 2,
        "orders_high": 5,
        "days_low": 65,
        "days_high": 170,
        "described_share": 0.85,
        **{f"deserved_{place}": deserved.get(one.name, 0.0) for place, one in enumerate(NAMES)},
        **{f"contradicted_{place}": one.name in contradicted for place, one in enumerate(NAMES)},
        **figures,
    }


def profiles(*rows):
    table = pd.DataFrame(rows)
    if "segment_id" not in table:
        table.insert(0, "segment_id", range(1, len(table) + 1))
    return table


def names_of(*rows, **options):
    return name_segments(profiles(*rows), **options)["segment_name"].to_list()


def before(*names):
    return pd.DataFrame(names, columns=["segment_id", "segment_name", "grid_name"])


def test_a_segment_has_the_name_that_most_members_deserve_and_says_how_many():
    [name] = name_segments(profiles(profile({"At Risk": 0.6, "Hibernating": 0.7}))).to_dict("records")

    assert name == {
        "grid_name": "Hibernating",
        "segment_name": "Hibernating",
        "name_reason": "70% of the customers deserve the name Hibernating, by the R x F grid or because they bought"
        " seldom, and have been silent for more than three times their usual gap. 90% bought in the last 90 days; the"
        " median is 2 orders and 10 days since the last one.",
        "deserved_share": 0.7,
    }


def test_a_name_that_is_contradicted_is_not_given_however_many_deserve_it():
    assert names_of(profile({"About to Sleep": 1.0, "Promising": 0.6}, ["About to Sleep"])) == ["Promising"]


def test_names_of_a_family_are_in_the_order_of_worth():
    # Most of the poorer one deserve the better name.
    rich, poor = profile({"Hibernating": 0.6, "At Risk": 0.5}, revenue=9000.0), profile({"Can't Lose": 0.9})

    assert names_of(poor, rich)[1] == "Hibernating"
    assert names_of(poor, rich)[0] not in FAMILIES["leaving"]
    # A name of another family is free.
    assert names_of(rich, profile({"Loyal Customers": 0.9})) == ["Hibernating", "Loyal Customers"]


def test_the_best_by_frequency_and_money_with_good_recency_is_on_top():
    best = profile({"Loyal Customers": 0.99, "Champions": 0.7}, mean_f_score=4.8, mean_m_score=4.9, revenue=5000.0)
    richer_but_seldom = profile({"Potential Loyalists": 0.9}, mean_f_score=2.0, mean_m_score=5.0, revenue=9000.0)
    gone = profile({"Can't Lose": 0.9}, mean_f_score=5.0, mean_m_score=5.0, active_share=0.1)

    names = names_of(richer_but_seldom, best, gone)

    assert names[1:] == ["Champions", "Can't Lose"]
    # The richer one may not have a worse name of the same family.
    assert names[0] == "2 to 5 orders, the last 2 to 6 months ago"


def test_a_segment_that_no_name_fits_is_described_in_words_that_are_true():
    rows = [profile({"At Risk": 0.9}), profile({"Hibernating": 0.9}), profile({"At Risk": 0.42})]

    names = name_segments(profiles(*rows))

    assert names["segment_name"].iloc[2] == "2 to 5 orders, the last 2 to 6 months ago"
    assert (names["grid_name"].iloc[2], names["deserved_share"].iloc[2]) == ("At Risk", 0.85)
    reason = names["name_reason"].iloc[2]
    assert reason.startswith("No name is deserved by half of the customers (At Risk by 42%), so they are described:")
    assert " this is true of at least 85% of them. " in reason


def test_at_most_a_third_of_the_segments_is_described_and_those_that_a_name_fits_worst():
    rows = [profile({"At Risk": share}) for share in (0.3, 0.45, 0.1)]

    assert names_of(*rows) == ["At Risk, low spend", "At Risk, high spend", "2 to 5 orders, the last 2 to 6 months ago"]
    # One may be in any shop.
    assert names_of(rows[0]) == ["2 to 5 orders, the last 2 to 6 months ago"]


@pytest.mark.parametrize(
    ("bounds", "words"),
    [
        ((1, 1, 65, 170), "One order, 2 to 6 months ago"),
        ((1, 1, 3, 45), "One order, 3 to 45 days ago"),
        ((2, 2, 5, 5), "2 orders, the last 5 days ago"),
        ((2, 2, 1, 1), "2 orders, the last 1 day ago"),
        ((1, 3, 20, 100), "1 to 3 orders, the last up to 4 months ago"),
    ],
)
def test_a_description_is_plain(bounds, words):
    assert description_of(*bounds) == words


def test_in_a_young_shop_nobody_is_given_up():
    young = profile({"Hibernating": 1.0, "Lost": 1.0, "At Risk": 1.0, "Can't Lose": 1.0}, shop_days=21)

    assert names_of(young) == ["2 to 5 orders, the last 2 to 6 months ago"]
    assert names_of(young | {"shop_days": 90}) == ["Can't Lose"]


def test_a_name_is_kept_as_long_as_half_deserve_it_and_nothing_contradicts_it():
    old = before((1, "At Risk", "At Risk"))
    now = profile({"At Risk": 0.5, "Hibernating": 0.9})

    names = name_segments(profiles(now), before=old)

    assert names["segment_name"].to_list() == ["At Risk"]
    assert names["name_reason"].iloc[0].endswith(" The segment keeps the name At Risk, which still fits.")
    assert names_of(now | {"deserved_9": 0.49}, before=old) == ["Hibernating"]
    assert names_of(profile({"At Risk": 0.5, "Hibernating": 0.9}, ["At Risk"]), before=old) == ["Hibernating"]
    # A description is made again; its actions are no name to keep.
    assert names_of(now, before=before((1, "One order, 3 days ago", "At Risk"))) == ["Hibernating"]


def test_segments_of_one_name_are_distinguished_by_the_score_that_differs_most():
    rows = [
        profile({"Hibernating": 1.0}, mean_r_score=1.2, mean_f_score=1.1, mean_m_score=4.0),
        profile({"Hibernating": 1.0}, mean_r_score=1.3, mean_f_score=1.4, mean_m_score=1.5),
        profile({"Champions": 1.0}, revenue=5000.0),
    ]

    names = name_segments(profiles(*rows))

    assert names["segment_name"].to_list() == ["Hibernating, high spend", "Hibernating, low spend", "Champions"]
    assert (
        names["name_reason"].iloc[1].endswith(" Among the 2 segments of that name, its spend is low (mean score 1.5).")
    )


def test_no_two_names_are_alike_however_many_segments_share_one():
    assert name_segments(profiles(*[profile({"At Risk": 1.0})] * 7))["segment_name"].is_unique


def test_the_segment_of_noise_says_so_and_is_not_distinguished_from_the_others():
    rows = [profile({"Promising": 1.0}, mean_m_score=score, cluster=cluster) for score, cluster in
            ((3.0, 2), (2.0, 1), (2.5, 0))]  # fmt: skip

    names = name_segments(profiles(*rows), noise=0)

    assert names["segment_name"].to_list() == [
        "Promising, high spend",
        "Promising, low spend",
        "Promising, unclustered",
    ]
    assert set(names["grid_name"]) == {"Promising"}
    assert names["name_reason"].iloc[2].endswith(" Its customers are unclustered: they lie in no dense cluster.")
    assert names_of(rows[0], rows[2], noise=0) == ["Promising", "Promising, unclustered"]


def test_the_segment_without_purchases_keeps_its_own_name():
    nobody = dict.fromkeys(profile({}), np.nan) | {"segment_id": 0}

    names = name_segments(profiles(profile({"Promising": 1.0}, segment_id=1), nobody))

    assert names["segment_name"].to_list() == ["Promising", "No purchases"]
    assert math.isnan(names["deserved_share"].iloc[1])


def test_every_name_has_its_actions_and_every_name_of_the_grid_is_one():
    names = [one.name for one in NAMES]

    assert set(read_actions(None)) == {*names, "No purchases"}
    assert set(names) == {*GRID_CELLS, "Lost"}
    assert {one.family: one.name for one in NAMES if one.family}.keys() == FAMILIES.keys()
    assert all(one.name in FAMILIES[one.family] for one in NAMES if one.family)


HIGH_AND_LOW = [(1, "Champions, high spend", "Champions"), (2, "Champions, low spend", "Champions")]
BY_ORDERS = [(1, "Champions, low order count", "Champions"), (2, "Champions, high order count", "Champions")]


def champions(*scores, ids=None):
    rows = [
        profile({"Champions": 1.0}, mean_r_score=r, mean_f_score=f, mean_m_score=m, segment_id=number)
        for number, (r, f, m) in zip(ids or range(1, len(scores) + 1), scores, strict=False)
    ]
    return profiles(*rows)


@pytest.mark.parametrize(
    ("ids", "scores", "old", "names"),
    [
        # A third one joins.
        ([1, 2, 7], [4.5, 4.0, 4.8], HIGH_AND_LOW, ["medium spend", "low spend", "high spend"]),
        # One is gone: no word stands alone.
        ([2], [4.0], HIGH_AND_LOW, [""]),
        # The two have changed places.
        ([1, 2], [4.0, 4.5], HIGH_AND_LOW, ["low spend", "high spend"]),
        # One is replaced by another.
        ([7, 2], [3.5, 4.0], HIGH_AND_LOW, ["low spend", "high spend"]),
        # A segment keeps a name that had no word before.
        ([1, 7], [3.5, 4.0], [(1, "Champions", "Champions")], ["low spend", "high spend"]),
    ],
)
def test_words_of_level_are_given_again_among_the_segments_that_share_a_name(ids, scores, old, names):
    now = champions(*[(4.9, 4.9, score) for score in scores], ids=ids)

    found = name_segments(now, before=before(*old))["segment_name"].to_list()

    assert found == [f"Champions, {name}".removesuffix(", ") for name in names]


def test_the_same_segments_are_distinguished_by_the_same_score_as_long_as_it_orders_them():
    def found(table):
        return name_segments(table, before=before(*BY_ORDERS))["segment_name"].to_list()

    now = champions((5, 4.6, 5), (5, 4.8, 2))

    assert found(now) == [name for _, name, _ in BY_ORDERS]
    # With equal order counts, or other segments, the score in which they differ most takes over.
    by_spend = ["Champions, high spend", "Champions, low spend"]
    assert found(champions((5, 5, 5), (5, 5, 2))) == by_spend
    assert found(now.assign(segment_id=[1, 7])) == by_spend


shares = st.integers(0, 20).map(lambda twentieths: twentieths / 20)
segments = st.builds(
    lambda deserved, contradicted, scores, revenue, active: profile(
        dict(zip([one.name for one in NAMES], deserved, strict=True)),
        [one.name for one, is_so in zip(NAMES, contradicted, strict=True) if is_so],
        **dict(zip(DISTINGUISHING_SCORES, scores, strict=True)),
        revenue=revenue,
        active_share=active,
    ),
    st.lists(shares, min_size=len(NAMES), max_size=len(NAMES)),
    st.lists(st.booleans(), min_size=len(NAMES), max_size=len(NAMES)),
    st.tuples(*[st.integers(4, 20).map(lambda quarters: quarters / 4)] * 3),
    st.integers(1, 9).map(lambda thousands: 1000.0 * thousands),
    shares,
)


@settings(deadline=None, max_examples=60, phases=(Phase.explicit, Phase.reuse, Phase.generate))
@given(st.lists(segments, min_size=1, max_size=8), st.lists(segments, min_size=1, max_size=8))
def test_whatever_was_measured_the_names_keep_their_rules_at_every_takeover(first, second):
    old = profiles(*first)
    named = name_segments(old)
    old_names = before(*zip(old["segment_id"], named["segment_name"], named["grid_name"], strict=True))
    now = profiles(*second)

    names = name_segments(now, before=old_names)

    assert names["segment_name"].is_unique
    described = ~pd.Series(
        [name.startswith(key) for name, key in zip(names["segment_name"], names["grid_name"], strict=True)]
    )
    assert described.sum() <= max(len(names) / 3, 1)
    place_of = {one.name: place for place, one in enumerate(NAMES)}
    for index, name in names[~described].iterrows():
        assert name["deserved_share"] == now.loc[index, f"deserved_{place_of[name['grid_name']]}"]
        if name["deserved_share"] >= 0.5:
            assert not now.loc[index, f"contradicted_{place_of[name['grid_name']]}"]
    fitting = names[(names["deserved_share"] >= 0.5) & ~described]
    for family in FAMILIES.values():
        of_family = fitting[fitting["grid_name"].isin(family)]
        worth = now.loc[of_family.index, "revenue"]
        ranks = of_family["grid_name"].map(family.index)
        for one in of_family.index:
            assert not ((worth > worth[one]) & (ranks > ranks[one])).any()
    for name, namesakes in names[~described].groupby("grid_name"):
        words = namesakes["segment_name"].str.removeprefix(str(name)).str.removeprefix(", ")
        if len(namesakes) == 1:
            assert words.to_list() == [""]
            continue
        [measure] = {word.removeprefix("level ").split(" ", 1 if "level" not in word else 3)[-1] for word in words}
        [score] = [column for column, title in DISTINGUISHING_SCORES.items() if title == measure]
        order = LEVELS.get(len(words), [f"level {place} of {len(words)}" for place in range(1, len(words) + 1)])
        by_word = [names.index[names["segment_name"] == f"{name}, {word} {measure}"][0] for word in order]
        assert now.loc[by_word, score].is_monotonic_increasing


# What each lifecycle and score means for a member, and the names it deserves.
MEMBERS = [
    # segment, rfm_segment, lifecycle, recency_days, frequency, f_score, m_score, monetary
    (1, "Champions", "active", 5, 9, 5, 5, 900.0),
    (1, "Loyal Customers", "active", 40, 8, 5, 4, 800.0),
    (1, "At Risk", "lapsed", 150, 4, 4, 5, 700.0),
    (2, "About to Sleep", "new", 50, 1, 1, 1, 9.0),
    (2, "About to Sleep", "overdue", 80, 1, 1, 1, 9.0),
    (2, "Hibernating", "lost", 390, 1, 1, 1, 9.0),
]


def evidence_of(tmp_path, members=MEMBERS):
    warehouse = Warehouse(database=str(tmp_path / "warehouse.duckdb"))
    columns = ["cluster", "rfm_segment", "lifecycle", "recency_days", "frequency", "f_score", "m_score", "monetary"]
    table = pd.DataFrame(members, columns=columns).assign(tenure_days=400, units_per_order=1.0)
    table["customer_id"] = [f"c{number}" for number in range(len(table))]
    defaults = {"r_score": 3, "active_months": 1, "return_rate": 0.0}
    warehouse.replace_night(RFM_FEATURES, table.drop(columns=["cluster", "lifecycle"]).assign(**defaults), AS_OF)
    warehouse.replace_night(CUSTOMER_RHYTHM, table[["customer_id", "lifecycle"]], AS_OF)
    with (
        warehouse.get_connection() as connection,
        connection.temporary(table[["customer_id", "cluster"]]) as labelled,
        connection.temporary(pd.DataFrame({"cluster": [1, 2], "segment_id": [1, 2]})) as numbered,
    ):
        found = connection.execute(
            evidence_query(),
            {"as_of": AS_OF, "labelled": labelled, "numbered": numbered, "rhythm": CUSTOMER_RHYTHM},
        ).df()
    return (
        found.set_index("segment_id")
        .sort_index()
        .rename(columns={f"deserved_{place}": one.name for place, one in enumerate(NAMES)})
    )


def test_members_deserve_a_name_by_the_grid_or_by_what_was_measured_of_them(tmp_path):
    found = evidence_of(tmp_path)

    thirds = (found[[one.name for one in NAMES]] * 3).round(9).astype(int)
    assert thirds.loc[1].loc[lambda share: share > 0].to_dict() == {
        "Champions": 2, "Loyal Customers": 2, "Can't Lose": 1, "At Risk": 1,
    }  # fmt: skip
    assert thirds.loc[2].loc[lambda share: share > 0].to_dict() == {
        "New Customers": 1, "Promising": 2, "About to Sleep": 2, "Lost": 1, "Hibernating": 1,
    }  # fmt: skip
    assert found[["orders_low", "orders_high", "days_low", "days_high", "shop_days"]].to_numpy().tolist() == [
        [4, 9, 5, 150, 400],
        [1, 1, 50, 390, 400],
    ]
    assert found["described_share"].to_list() == [1.0, 1.0]


FACTS = {
    "active_share": 0.5,
    "once_share": 0.5,
    "lifecycle_new": 0.0,
    "lifecycle_overdue": 0.25,
    "lifecycle_lapsed": 0.15,
    "lifecycle_lost": 0.1,
    "median_recency_days": 80.0,
    "median_monetary": 100.0,
}
BUYING = ["Champions", "Loyal Customers", "Potential Loyalists"]
ONE_ORDER = ["New Customers", "Promising"]
OVERDUE = ["About to Sleep", "Need Attention"]
GONE = ["Hibernating", "Lost"]
# Nobody is at risk in a segment of which at most half are late.
AT_RISK = ["At Risk", "Can't Lose"]


@pytest.mark.parametrize(
    ("facts", "contradicted"),
    [
        ({}, [*GONE, *AT_RISK]),
        ({"active_share": 0.19}, [*BUYING, *ONE_ORDER, *GONE, *AT_RISK]),
        ({"median_recency_days": 365.0}, [*BUYING, *GONE, *AT_RISK]),
        ({"median_monetary": -1.0}, [*BUYING, *GONE, *AT_RISK]),
        ({"active_share": 0.51}, [*OVERDUE, *GONE, *AT_RISK]),
        ({"lifecycle_new": 0.3}, [*OVERDUE, *GONE, *AT_RISK]),
        ({"once_share": 0.51}, [*BUYING, *GONE, *AT_RISK]),
        ({"once_share": 0.49}, [*ONE_ORDER, *GONE, *AT_RISK]),
        # Most are late, though not gone.
        ({"lifecycle_overdue": 0.3}, [*BUYING, *GONE]),
        # Then they may be about to sleep even if most bought in the last 90 days.
        ({"lifecycle_overdue": 0.3, "active_share": 0.6}, [*BUYING, *GONE]),
        # Most are gone.
        ({"lifecycle_lost": 0.4}, [*BUYING, *OVERDUE]),
        ({"lifecycle_lost": 0.4, "active_share": 0.51}, [*BUYING, *OVERDUE, *GONE]),
        ({"lifecycle_lost": 0.4, "once_share": 0.51}, [*BUYING, *OVERDUE, *AT_RISK]),
    ],
)
def test_what_was_measured_of_a_segment_contradicts_names(tmp_path, facts, contradicted):
    warehouse = Warehouse(database=str(tmp_path / "warehouse.duckdb"))
    with (
        warehouse.get_connection() as connection,
        connection.temporary(pd.DataFrame([{"segment_id": 1, **FACTS, **facts}])) as profiled,
    ):
        row = connection.execute(contradictions_query(), {"profiled": profiled}).df().iloc[0]

    found = {one.name for place, one in enumerate(NAMES) if row[f"contradicted_{place}"]}
    assert found == {*contradicted}
