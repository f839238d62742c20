"""Who moved between nights, who or what moved them, and the nights that are compared."""

import datetime

import numpy as np
import pandas as pd
import pytest

from seg_pipeline.features.tables import CUSTOMER_RHYTHM, RFM_FEATURES
from seg_pipeline.models.champions import Champion, append_champion
from seg_pipeline.models.coreset import Coreset
from seg_pipeline.models.model import model_from_labels
from seg_pipeline.models.scoring import NO_CLUSTER, Scorer
from seg_pipeline.prepared.tables import CLEAN_ORDERS
from seg_pipeline.quality.evaluation import evaluate
from seg_pipeline.segments.assignment import assign_night
from seg_pipeline.segments.migration import earlier_nights, migrate_night, move_lists
from seg_pipeline.segments.tables import SEGMENT_ASSIGNMENTS, SEGMENT_MIGRATION, SEGMENT_MOVES
from seg_pipeline.settings import load_settings
from seg_pipeline.warehouse import Warehouse

JANUARY = [datetime.date(2024, 1, day) for day in range(1, 32)]
SETTINGS = load_settings(environment={})


class Shop:
    """A warehouse whose customers are scored by their orders alone: up to a border few, above it many."""

    def __init__(self, warehouse):
        self.warehouse = warehouse

    def has_champion(self, model_id, night, few, many, ids=(1, 2)):
        """Puts in force a model with centres `few` and `many`, whose border is half-way between them."""
        transforms = pd.DataFrame(
            {"position": [0], "feature": ["frequency"], "fill": [1.0], "transform": ["identity"], "lambda": [np.nan],
             "low": [np.nan], "high": [np.nan], "center": [0.0], "scale": [1.0], "weight": [1.0]}
        )  # fmt: skip
        coreset = Coreset.without_spread(np.array([[few], [many]], dtype=float), np.ones(2), exact=False)
        segments = pd.DataFrame({"cluster": [NO_CLUSTER, 0, 1], "segment_id": [0, *ids]})
        segments["segment_name"] = [f"segment {number}" for number in segments["segment_id"]]
        segments = segments.assign(grid_name="At Risk", name_reason="", deserved_share=1.0, stability=1.0, share=0.5)
        champion = Champion(
            model_id=model_id,
            fitted_as_of=night,
            in_force_from=night,
            pinned=False,
            settings_digest="",
            why="",
            scorer=Scorer(model_from_labels("kmeans", coreset, np.array([0, 1])), transforms, coreset),
            segments=segments.assign(rule="", rule_precision=1.0, rule_recall=1.0),
            training=pd.DataFrame({"feature": ["frequency"], "cuts": [[1.0]], "shares": [[0.5, 0.5]]}),
            reference_as_of=night,
            customers=2,
            stability=1.0,
        )
        with self.warehouse.transaction() as connection:
            append_champion(connection, champion)
        self.champion = champion

    def scores(self, night, **orders):
        """Scores a night with the champion, given each customer's number of orders; returns what was made again."""
        features = pd.DataFrame({"customer_id": [*orders], "frequency": [*orders.values()]})
        features["monetary"] = features["frequency"] * 10
        self.warehouse.replace_night(RFM_FEATURES, features, night)
        rhythm = features[["customer_id"]].assign(lifecycle="active")
        self.warehouse.replace_night(CUSTOMER_RHYTHM, rhythm, night)
        assign_night(self.warehouse, self.champion, night)
        return migrate_night(self.warehouse, night)

    def moves(self, night):
        columns = ["customer_id", "from_segment_id", "segment_id", "monetary", "moved_by", "from_model_id", "model_id"]
        moves = self.warehouse.night(SEGMENT_MOVES, night, columns)
        return [tuple(row) for row in moves.astype({"monetary": float}).to_numpy()]

    def failed_checks(self, night, table=SEGMENT_MIGRATION):
        return [
            outcome.check.name for outcome in evaluate(self.warehouse, table, SETTINGS, night) if not outcome.passed
        ]


@pytest.fixture
def shop(tmp_path):
    warehouse = Warehouse(database=str(tmp_path / "w.duckdb"))
    with warehouse.held():
        with warehouse.transaction() as connection:
            connection.create(CLEAN_ORDERS)
        shop = Shop(warehouse)
        shop.has_champion("first", JANUARY[0], few=1, many=9)
        yield shop


def test_a_night_is_compared_with_the_one_before_and_the_last_at_least_a_week_before():
    assert earlier_nights(JANUARY, JANUARY[10]) == [JANUARY[9], JANUARY[3]]
    assert earlier_nights([JANUARY[0], JANUARY[10]], JANUARY[10]) == [JANUARY[0]]
    assert earlier_nights([JANUARY[4], JANUARY[10]], JANUARY[10]) == [JANUARY[4]]
    assert earlier_nights(JANUARY, JANUARY[0]) == []


def test_a_move_tells_what_the_customer_did_from_what_the_model_did(shop):
    then, now = JANUARY[0], JANUARY[7]
    shop.scores(then, stays=1, buys=2, idle=4, idle_many=9, leaves=9)
    shop.has_champion("second", now, few=1, many=5)
    with shop.warehouse.transaction() as connection:
        connection.insert(
            CLEAN_ORDERS,
            "SELECT * FROM (VALUES ('old', DATE '2023-12-31'), ('fresh', DATE '2024-01-01'),"
            " ('buys', DATE '2023-12-01')) AS lines(customer_id, ordered_at)",
        )

    shop.scores(now, stays=1, buys=6, idle=4, idle_many=9, old=1, fresh=1)

    assert shop.moves(now) == [
        ("buys", 1, 2, 60.0, "customer", "first", "second"),
        ("fresh", -1, 1, 10.0, "new", "first", "second"),
        ("idle", 1, 2, 40.0, "model", "first", "second"),
        ("leaves", 2, -1, 90.0, "gone", "first", "second"),
        ("old", -1, 1, 10.0, "late", "first", "second"),
    ]
    assert shop.failed_checks(now, SEGMENT_MOVES) == shop.failed_checks(now) == []
    assert set(zip(*move_lists(shop.warehouse, now)[["newly", "moved_by"]].T.to_numpy(), strict=True)) == {
        ("segment 2", "customer"),
        ("segment 2", "model"),
        ("segment 1", "new"),
        ("segment 1", "late"),
        ("No customer any more", "gone"),
    }


def test_segments_of_other_ids_move_nobody_who_stays_in_the_same_one_by_tonights_model(shop):
    shop.scores(JANUARY[0], few=1, many=9)
    shop.has_champion("second", JANUARY[7], few=1, many=9, ids=(3, 2))

    shop.scores(JANUARY[7], few=1, many=9)

    assert shop.moves(JANUARY[7]) == [("few", 1, 3, 10.0, "model", "first", "second")]


def test_without_a_new_model_every_move_is_the_customers_own(shop):
    shop.scores(JANUARY[0], few=1, more=4)

    shop.scores(JANUARY[7], few=1, more=6)

    assert shop.moves(JANUARY[7]) == [("more", 1, 2, 60.0, "customer", "first", "first")]


def test_a_night_that_is_added_or_built_again_is_compared_with_by_the_later_ones(shop):
    for night in (JANUARY[0], JANUARY[10], JANUARY[12]):
        assert shop.scores(night, a=1, b=1) == []

    # The 11th follows it; for the 11th and the 13th it is the last at least a week before.
    assert shop.scores(JANUARY[2], a=9, b=1) == [JANUARY[10], JANUARY[12]]

    for night, before in ((JANUARY[10], [JANUARY[2]]), (JANUARY[12], [JANUARY[2], JANUARY[10]])):
        migration = shop.warehouse.night(SEGMENT_MIGRATION, night)
        assert sorted(set(migration["from_as_of"])) == [pd.Timestamp(one) for one in before]
        assert [move[:3] for move in shop.moves(night)] == [("a", 2, 1)]
        assert shop.failed_checks(night) == shop.failed_checks(night, SEGMENT_MOVES) == []
    # Built again with other figures.
    shop.scores(JANUARY[2], a=1, b=9)
    assert [move[:3] for move in shop.moves(JANUARY[12])] == [("b", 2, 1)]


def test_among_nights_without_a_gap_two_later_ones_are_made_again(shop):
    for night in JANUARY[:12]:
        shop.scores(night, a=1)

    assert shop.scores(JANUARY[3], a=9) == [JANUARY[4], JANUARY[10]]
    assert [shop.failed_checks(night) for night in JANUARY[:12]] == [[]] * 12


def test_migration_that_is_not_what_the_history_says_breaks_a_rule_and_deleted_nights_break_none(shop):
    for night in (JANUARY[0], JANUARY[8], JANUARY[9]):
        shop.scores(night, a=1, b=9)
    night = JANUARY[9]
    assert shop.failed_checks(night) == []

    with shop.warehouse.transaction() as connection:
        for table in (SEGMENT_ASSIGNMENTS, SEGMENT_MIGRATION, SEGMENT_MOVES, RFM_FEATURES):
            connection.delete(table, "as_of = $night", {"night": JANUARY[0]})
    assert shop.failed_checks(night) == []

    with shop.warehouse.transaction() as connection:
        connection.execute(
            f"UPDATE {SEGMENT_ASSIGNMENTS.name} SET segment_id = 2 WHERE customer_id = 'a' AND as_of = $night",
            {"night": JANUARY[8]},
        )
    assert shop.failed_checks(night) == ["migration_as_history"]
    shop.scores(JANUARY[8], a=1, b=9)
    assert shop.failed_checks(night) == []
    with shop.warehouse.transaction() as connection:
        connection.delete(SEGMENT_MIGRATION, "from_as_of = $night", {"night": JANUARY[8]})
    assert shop.failed_checks(night) == ["migration_as_history"]
