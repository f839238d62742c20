"""Segments as short rules, on cells that can be counted by hand and on real orders with the rule as it reads."""

import numpy as np
import pandas as pd
import pytest

from seg_pipeline.champions.rules import segment_rules
from seg_pipeline.models.champions import champion_of
from seg_pipeline.models.scoring import NO_CLUSTER


def rules_of(rows, columns=("recency_days", "frequency", "monetary")):
    """Returns the rules of cells, given as rows of features, customers and segment."""
    table = pd.DataFrame(rows, columns=[*columns, "customers", "segment_id"]).astype(float)
    return segment_rules(
        table[list(columns)], table["customers"].to_numpy(), table["segment_id"].to_numpy().astype(np.int64)
    )


def test_rules_use_whole_numbers_for_counts_and_round_figures_for_money():
    rules, fidelity = rules_of([(10, 5, 900.5, 3, 1), (200, 5, 880.0, 4, 2), (10, 5, 11.37, 5, 3), (10, 5, 10.0, 5, 3)])

    assert fidelity == 1
    assert set(rules["rule_precision"]) == set(rules["rule_recall"]) == {1.0}
    text = " ".join(rules["rule"])
    assert "recency_days <= 105" in text and "recency_days >= 106" in text
    assert "monetary <= 450" in text and "monetary > 450" in text


def test_adjacent_leaves_of_one_segment_are_one_condition():
    rules, _ = rules_of([(day, 0, 0, 1, segment) for day, segment in ((1, 1), (2, 1), (3, 2), (4, 2), (5, 1))])

    assert rules["rule"].to_list() == ["recency_days <= 2, or recency_days >= 5", "3 <= recency_days <= 4"]


def test_a_rule_that_also_holds_other_segments_says_how_many():
    rules, fidelity = rules_of([(1, 1, 0, 30, 1), (1, 1, 0, 10, 2), (9, 1, 0, 60, 2)])

    assert rules["rule"].to_list() == ["recency_days <= 5", "recency_days >= 6"]
    np.testing.assert_allclose(rules["rule_precision"], [0.75, 1.0])
    np.testing.assert_allclose(rules["rule_recall"], [1.0, 60 / 70])
    assert fidelity == pytest.approx(0.9)


def test_a_segment_that_no_leaf_holds_has_no_rule():
    rules, fidelity = rules_of([(1, 1, 0, 30, 1), (1, 1, 0, 10, 2)])

    assert rules["rule"].iloc[0] == "every buyer"
    assert pd.isna(rules["rule"].iloc[1])
    assert rules["rule_recall"].to_list() == [1.0, 0.0]
    assert fidelity == 0.75


@pytest.mark.filterwarnings("ignore::FutureWarning")
def test_the_rules_of_real_customers_are_as_good_as_they_say(online_retail_night):
    warehouse, as_of = online_retail_night
    champion = champion_of(warehouse, as_of)
    buyers = warehouse.read(
        "SELECT recency_days, frequency, CAST(monetary AS DOUBLE) AS monetary, segment_id FROM features.rfm_features"
        " JOIN segments.segment_assignments USING (as_of, customer_id) WHERE frequency > 0"
    )
    agreeing = 0
    for segment in champion.segments[champion.segments["cluster"] != NO_CLUSTER].to_dict("records"):
        # A segment may have no rule that is short enough. The others as they read, evaluated by pandas.
        if not isinstance(segment["rule"], str):
            continue
        under = buyers.query(segment["rule"].replace(", or ", " or ").replace(" = ", " == "))
        inside = under["segment_id"] == segment["segment_id"]
        agreeing += inside.sum()
        assert inside.mean() == pytest.approx(segment["rule_precision"], abs=0.005)
        of_segment = (buyers["segment_id"] == segment["segment_id"]).sum()
        assert inside.sum() / of_segment == pytest.approx(segment["rule_recall"], abs=0.005)
    assert agreeing / len(buyers) == pytest.approx(champion.rule_fidelity, abs=0.005)
    assert champion.rule_fidelity > 0.8
