"""`explain`: on a small shop with each algorithm, and on whole runs."""

import datetime
import json
import re
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from seg_pipeline.cli import main
from seg_pipeline.cli.explain import MEASURE_IN_WORDS
from seg_pipeline.errors import DataError, UsageError
from seg_pipeline.features.tables import CUSTOMER_RHYTHM, NO_PURCHASES, RFM_FEATURES
from seg_pipeline.features.transforms import apply_transforms, fit_transforms
from seg_pipeline.models.candidates import fit_candidates
from seg_pipeline.models.champions import Champion, append_champion, find_champion
from seg_pipeline.models.coreset import summarise
from seg_pipeline.models.explanation import Measure
from seg_pipeline.models.model import FitsEachK, NearestCenter, model_from_labels
from seg_pipeline.models.registry import ALGORITHMS, BASELINE
from seg_pipeline.models.scoring import NO_CLUSTER, Scorer
from seg_pipeline.segments.assignment import assign_night, customers_by_advice
from seg_pipeline.segments.strategies import advice_actions, read_actions
from seg_pipeline.segments.tables import ADVICE_ACTIONS
from seg_pipeline.settings import StrategySettings, load_settings
from seg_pipeline.usecases.explain import explain
from seg_pipeline.usecases.explanation import Rhythm
from seg_pipeline.warehouse import Warehouse
from seg_pipeline_tests.test_segments import SQL

NIGHT = datetime.date(2024, 7, 1)
FEATURES_SQL = SQL.parent / "features" / "rfm_features.sql"


def shop_lines(customers=60, seed=3):
    """Two kinds of buyers, one who only returned (R), one whose lines are all rejected (X), one too late (L)."""
    rng = np.random.default_rng(seed)
    for customer in range(customers):
        often = customer % 2
        for _ in range(rng.integers(6, 12) if often else rng.integers(1, 3)):
            day = NIGHT - datetime.timedelta(days=int(rng.integers(1, 40) if often else rng.integers(90, 300)))
            price = rng.integers(50, 90) if often else rng.integers(5, 20)
            yield (f"{customer}-{day}", f"{100 + customer}", f"{day}", 1, int(price))
    yield from (
        ("a", "101.0", "2024-06-30", 2, 10),
        ("b", "101", "2024-07-02", 1, 10),
        ("c", "101", "soon", 1, 10),
        ("d", "R", "2024-06-01", -1, 10),
        ("e", "X", "2024-06-01", 1, "dear"),
        ("f", "X", "2024-06-01", 0, 5),
        ("g", "L", "2024-07-05", 1, 5),
    )


@pytest.fixture
def scored_shop(clean_lines, held):
    """A function: the shop, its night scored with a champion of an algorithm."""

    def scored(algorithm="kmeans", columns="recency_days,frequency,monetary", k=3):
        cleaned = clean_lines(
            "order_id customer_id ordered_at quantity unit_price",
            *([str(value) for value in line] for line in shop_lines()),
        )
        connection = cleaned.connection
        [(path,)] = connection.execute("SELECT path FROM duckdb_databases() WHERE path IS NOT NULL").fetchall()
        with connection.transaction():
            connection.replace_night(RFM_FEATURES, FEATURES_SQL, NIGHT)
            connection.replace_night(
                CUSTOMER_RHYTHM,
                f"SELECT as_of, customer_id, 10.0 AS usual_gap_days, recency_days / 10.0 AS days_overdue_ratio,"
                f" CASE WHEN recency_days > 30 THEN 'lapsed' ELSE 'active' END AS lifecycle"
                f" FROM {RFM_FEATURES.name} WHERE frequency > 0",
                NIGHT,
            )
        warehouse = Warehouse(database=path)
        buyers = warehouse.night(RFM_FEATURES, NIGHT, where="frequency > 0")
        transforms = fit_transforms(buyers, load_settings([f"features.columns={columns}"], environment={}).features)
        coreset, cells = summarise(apply_transforms(buyers, transforms))
        first = np.unique(cells, return_index=True)[1]
        coreset = replace(coreset, rfm_segments=buyers["rfm_segment"].to_numpy(dtype=np.str_)[first])
        [model] = ALGORITHMS[algorithm].fit_range(coreset, [k], seed=1, n_init=2)
        model = ALGORITHMS[algorithm].as_champion(model, coreset)
        clusters = range(len(ALGORITHMS[algorithm].cluster_names) or model.k)
        rows = [(NO_CLUSTER, 0), *((cluster, cluster + 1) for cluster in clusters)]
        segments = pd.DataFrame(rows, columns=["cluster", "segment_id"])
        segments["segment_name"] = [f"segment {one}" for one in segments["segment_id"]]
        segments = segments.assign(grid_name="At Risk", name_reason="", deserved_share=1.0, stability=1.0, share=0.1)
        segments.loc[segments["segment_id"] == 0, "grid_name"] = NO_PURCHASES
        segments = segments.assign(rule="monetary > 1", rule_precision=1.0, rule_recall=1.0)
        training = pd.DataFrame({"feature": transforms["feature"], "cuts": [[1.0]] * len(transforms)})
        training["shares"] = [[0.5, 0.5]] * len(transforms)
        champion = Champion(
            model_id="model",
            fitted_as_of=NIGHT,
            in_force_from=NIGHT,
            pinned=False,
            settings_digest="digest",
            why="first",
            scorer=Scorer(model, transforms, coreset),
            segments=segments,
            training=training,
            reference_as_of=NIGHT,
            customers=len(buyers),
            stability=1.0,
        )
        with connection.transaction():
            append_champion(connection, champion)
        assign_night(warehouse, champion, NIGHT)
        actions = advice_actions(StrategySettings(), customers_by_advice(warehouse, NIGHT))
        connection.replace_night(ADVICE_ACTIONS, actions, NIGHT)
        # The customer is looked up as from a process that has the file open to read alone.
        connection.duckdb.close()
        held.enter_context(warehouse.held(read_only=True))
        return warehouse

    return scored


def explained(warehouse, customer, max_lines=10, **settings):
    """Returns the explanation of a customer of a warehouse."""
    overrides = [f"{key}={value}" for key, value in settings.items()]
    return explain(
        load_settings([f"warehouse.path={warehouse.database}", *overrides], environment={}), customer, max_lines
    )


def labelled_with(champion, features, feature, value):
    """Returns the segment that the champion gives the customer with another value of one feature."""
    cluster = champion.scorer.label(features.assign(**{feature: value}))[0][0]
    return int(champion.segments.set_index("cluster").loc[cluster, "segment_id"])


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_computed_and_stored_segments_agree_for_each_algorithm(scored_shop, algorithm):
    warehouse = scored_shop(algorithm)
    for customer in ("100", "101", "117"):
        decision = explained(warehouse, customer).decision
        stored = warehouse.read(f"SELECT * FROM segments.segment_assignments WHERE customer_id = '{customer}'").iloc[0]

        assert (decision.segment_id, decision.confidence) == (stored["segment_id"], stored["confidence"])
        assert (algorithm == BASELINE) == (decision.cluster_distances == ()) == (decision.runner_up is None)
        if decision.cluster_distances:
            assert decision.cluster_distances[0].segment_id == stored["segment_id"]
        if "mixture" in algorithm:
            assert decision.cluster_distances[0].probability == pytest.approx(stored["confidence"])
            assert sum(one.probability for one in decision.cluster_distances) == pytest.approx(1)


def test_it_says_where_the_customer_is_in_the_own_rhythm_and_what_to_do(scored_shop, capsys):
    warehouse = scored_shop()
    for lifecycle, advice in (("active", "Loyal Customers"), ("lapsed", "At Risk")):
        customer, silent_days = warehouse.read(
            "SELECT customer_id, recency_days FROM features.customer_rhythm JOIN features.rfm_features"
            f" USING (as_of, customer_id) WHERE lifecycle = '{lifecycle}' AND frequency > 1 ORDER BY ALL LIMIT 1"
        ).iloc[0]

        decision = explained(warehouse, customer).decision

        assert decision.rhythm == Rhythm(lifecycle, silent_days, 10.0, silent_days / 10)
        assert (decision.advice.name, decision.advice.marketing) == (advice, read_actions(None)[advice].marketing)

    assert main(["explain", customer, "--warehouse", warehouse.database]) == 0
    shown = capsys.readouterr().out
    assert f"  lapsed: silent for {silent_days} days, {silent_days / 10:.1f} times the usual gap of 10 days" in shown
    assert "  advice: that of At Risk: Win them back while they still remember the shop" in shown


def test_a_night_of_an_older_version_is_explained_without_rhythm_and_advice(scored_shop, held, capsys):
    warehouse = scored_shop()
    held.close()
    with warehouse.get_connection() as connection:
        for table in (CUSTOMER_RHYTHM, ADVICE_ACTIONS):
            connection.execute(f"DROP TABLE {table.name}")
        connection.execute("ALTER TABLE segments.segment_assignments DROP COLUMN advice")

    decision = explained(warehouse, "100").decision

    assert decision.rhythm is None and decision.advice is None
    assert main(["explain", "100", "--warehouse", warehouse.database]) == 0
    assert "own rhythm" not in capsys.readouterr().out


def test_a_customer_without_a_purchase_has_no_rhythm_and_the_advice_for_that(scored_shop):
    decision = explained(scored_shop(), "R").decision

    assert decision.rhythm is None
    assert decision.advice.objective == read_actions(None)[NO_PURCHASES].objective


@pytest.mark.parametrize("algorithm", ["kmeans", "hierarchical", "gaussian_mixture"])
def test_a_change_moves_the_customer_and_one_step_less_does_not(scored_shop, algorithm):
    warehouse = scored_shop(algorithm)
    champion = find_champion(warehouse, "model")
    for customer in ("100", "101", "110", "117"):
        decision = explained(warehouse, customer).decision
        features = warehouse.night(RFM_FEATURES, NIGHT, where=f"customer_id = '{customer}'")

        assert [change.feature for change in decision.changes] == ["recency_days", "frequency", "monetary"]
        # Elsewhere it may take two features at once.
        assert algorithm != "kmeans" or any(change.to is not None for change in decision.changes)
        for change in (one for one in decision.changes if one.to is not None):
            step = (0.01 if change.feature == "monetary" else 1) * np.sign(change.now - change.to)
            assert labelled_with(champion, features, change.feature, change.to) == change.segment_id
            assert labelled_with(champion, features, change.feature, change.to + step) == decision.segment_id
            assert change.feature == "monetary" or change.to == int(change.to)


def test_the_grid_moves_at_a_score_of_the_night(scored_shop):
    warehouse = scored_shop(BASELINE)
    decision = explained(warehouse, "100").decision
    cuts = {
        name: warehouse.value(
            f"SELECT quantile_disc({name}, [0.2, 0.4, 0.6, 0.8]) FROM {RFM_FEATURES.name} WHERE frequency > 0"
        )
        for name in ("recency_days", "frequency")
    }

    assert decision.grid_cell.r_score in range(1, 6)
    for change in decision.changes:
        assert change.to is None or {change.to, change.to - 1} & set(cuts[change.feature])


class Halves(FitsEachK, NearestCenter):
    """Parts the customers at the median of their first feature, whatever k."""

    name = "halves"
    title = "Halves"
    refit_options = {"n_init": 1}  # noqa: RUF012
    has_gap = False
    is_random = False

    def fit(self, coreset, k, *, seed, n_init):
        above = coreset.points[:, 0] > np.median(coreset.points[:, 0])
        return model_from_labels(self.name, coreset, above)


def test_an_algorithm_that_is_registered_is_fitted_scores_and_explains(scored_shop, monkeypatch):
    monkeypatch.setitem(ALGORITHMS, "halves", Halves())
    settings = load_settings(["models.algorithms=halves,kmeans", "models.bootstraps=2"], environment={})

    warehouse = scored_shop("halves", k=2)
    decision = explained(warehouse, "100").decision
    coreset = find_champion(warehouse, decision.model_id).scorer.coreset
    candidates = fit_candidates(ALGORITHMS["halves"], coreset, settings)

    assert candidates[["algorithm", "k"]].to_numpy().tolist() == [["halves", 2]]
    assert candidates["stability"].notna().all()
    assert warehouse.value("SELECT count(DISTINCT segment_id) FROM segments.segment_assignments") == 3
    assert decision.why == "the nearest centre"
    assert decision.cluster_distances[0].segment_id == decision.segment_id
    assert [change.feature for change in decision.changes] == ["recency_days", "frequency", "monetary"]


def test_a_missing_feature_is_shown_with_its_replacement(scored_shop):
    warehouse = scored_shop(columns="recency_days,monetary,days_between_orders")
    once = warehouse.value(
        f"SELECT min(customer_id) FROM {RFM_FEATURES.name} WHERE days_between_orders IS NULL AND frequency > 0"
    )

    [_, _, step] = explained(warehouse, once).decision.transformations

    assert step.raw is None
    assert step.transformed == pytest.approx(np.log1p(step.filled))
    assert step.weighted == pytest.approx((step.transformed - step.center) / step.scale * step.weight)


def test_lines_are_found_in_every_spelling_of_the_id_and_each_has_its_fate(scored_shop):
    warehouse = scored_shop()
    found = explained(warehouse, " 101.0 ", max_lines=100)

    fates = {line.order_id: line.fate for line in found.first_lines}
    assert (fates["a"], fates["b"], fates["c"]) == ("counts", "on or after the night", "unparseable_date")
    assert found.line_count == len(found.first_lines) == found.counted_line_count + 2
    assert [(one.reason, one.lines) for one in found.rejections] == [("unparseable_date", 1)]
    assert "soon" in found.rejections[0].examples[0]
    assert explained(warehouse, "101", max_lines=100) == found


def test_a_customer_with_only_returns_gets_that_reason(scored_shop):
    found = explained(scored_shop(), "R")

    assert (found.decision.segment_id, found.decision.changes, found.decision.transformations) == (0, (), ())
    assert "only returns" in found.decision.why


@pytest.mark.parametrize(("customer", "lines", "too_late", "reasons"), [("X", 2, 0, 2), ("L", 1, 1, 0)])
def test_a_customer_without_a_clean_line_before_the_night_has_no_segment(
    scored_shop, customer, lines, too_late, reasons
):
    found = explained(scored_shop(), customer)

    assert (found.decision, found.history) == (None, ())
    assert (found.line_count, found.late_line_count, len(found.rejections)) == (lines, too_late, reasons)


def test_an_unknown_customer_gets_similar_ids_as_suggestions(scored_shop):
    with pytest.raises(DataError, match=r"no line of customer '1O1'; did you mean 101\b"):
        explained(scored_shop(), "1O1")


def test_features_that_contradict_the_stored_segment_are_an_error(scored_shop, held):
    warehouse = scored_shop()
    held.close()
    with warehouse.get_connection() as connection:
        connection.execute(f"UPDATE {RFM_FEATURES.name} SET frequency = 40, monetary = 90000 WHERE customer_id = '100'")

    with pytest.raises(
        DataError, match=r"lead to segment \d, but segment \d is stored; seg-pipeline backfill 2024-07-01"
    ):
        explained(warehouse, "100")


def test_consecutive_nights_in_one_segment_are_joined(scored_shop, held):
    warehouse = scored_shop()
    decision = explained(warehouse, "100").decision
    held.close()
    with warehouse.get_connection() as connection:
        for back, segment in ((1, decision.segment_id), (2, 77), (3, 77)):
            connection.execute(
                "INSERT INTO segments.segment_assignments SELECT * REPLACE (as_of - $back AS as_of, $segment AS"
                " segment_id) FROM segments.segment_assignments WHERE as_of = $night AND customer_id = '100'",
                {"back": back, "segment": segment, "night": NIGHT},
            )

    history = explained(warehouse, "100").history

    assert [(stay.segment_id, stay.nights) for stay in history] == [(77, 2), (decision.segment_id, 2)]


def test_a_night_that_is_not_scored_and_a_missing_warehouse_are_wrong_usage(scored_shop, tmp_path):
    with pytest.raises(UsageError, match="the newest is 2024-07-01"):
        explained(scored_shop(), "100", as_of="2024-01-01")
    with pytest.raises(UsageError, match="no such file"):
        explained(Warehouse(database=str(tmp_path / "none.duckdb")), "100")


def test_a_stored_confidence_that_does_not_follow_is_reported_as_such(scored_shop, held):
    warehouse = scored_shop()
    held.close()
    with warehouse.get_connection() as connection:
        connection.execute("UPDATE segments.segment_assignments SET confidence = 0.125 WHERE customer_id = '100'")

    with pytest.raises(DataError, match=r"with confidence 0\.\d+, but confidence 0\.125 is stored"):
        explained(warehouse, "100")


@pytest.mark.parametrize("customer", ["100", "R"])
def test_a_stored_segment_that_the_champion_does_not_have_is_an_error(scored_shop, held, customer):
    warehouse = scored_shop()
    held.close()
    with warehouse.get_connection() as connection:
        connection.execute(f"UPDATE segments.segment_assignments SET segment_id = 77 WHERE customer_id = '{customer}'")

    with pytest.raises(DataError, match=rf"customer '{customer}': segment 77 is stored .* model has no such segment"):
        explained(warehouse, customer)


def test_an_explanation_is_json_with_the_keys_that_scripts_rely_on(scored_shop, capsys):
    assert main(["explain", "101", "--json", "--warehouse", str(scored_shop("hierarchical").database)]) == 0
    document = json.loads(capsys.readouterr().out)
    decision = document["decision"]

    assert {"lines", "lines_counting", "lines_too_late", "first_lines", "rejections", "history"} < document.keys()
    assert decision["grid"].startswith("R 5 x F ")
    assert {"feature", "raw", "filled", "weighted"} < decision["steps"][0].keys()
    assert {"segment_name", "distance", "nearest_cell", "probability"} < decision["affinities"][0].keys()
    assert re.fullmatch(r"segment \d: its nearest cell is \d\.\d{3} away, \d\.\d{3} here", decision["runner_up"])


def test_every_measure_has_words():
    assert MEASURE_IN_WORDS.keys() == set(Measure)


def test_every_customer_of_the_shop_has_an_explanation_that_agrees(shop_run):
    customers = shop_run.warehouse.read(
        "SELECT customer_id FROM segments.segment_assignments ORDER BY hash(customer_id) LIMIT 25"
    )["customer_id"]

    for customer in customers:
        assert explained(shop_run.warehouse, customer).decision is not None
