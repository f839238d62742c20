"""Nights that only score and fits that challenge the champion, on half a year of the demo shop."""

import csv
import datetime
import shutil
from itertools import pairwise

import numpy as np
import pandas as pd
import pytest

from seg_pipeline.champions.cadence import refit_due
from seg_pipeline.champions.tables import CHAMPION_DECISIONS, SEGMENT_IDENTITY
from seg_pipeline.definitions import defs
from seg_pipeline.models.champions import champion_of, champions_overview, newest_champion
from seg_pipeline.models.tables import FEATURE_DRIFT
from seg_pipeline.segments.tables import (
    SEGMENT_ASSIGNMENTS,
    SEGMENT_MIGRATION,
    SEGMENT_MOVES,
    SEGMENT_PROFILES,
)
from seg_pipeline.settings import load_settings
from seg_pipeline_tests.bench.ageing import SAMPLE, cdnow_sample
from seg_pipeline_tests.whole_runs import LAST, SCORED, command, night, published_bytes, real_data

# Settings of a quick fit.
QUICK_FIT = ("--set", "models.algorithms=kmeans", "--set", "models.k_max=6")
BY_NIGHT = (SEGMENT_ASSIGNMENTS, SEGMENT_PROFILES, SEGMENT_MIGRATION, SEGMENT_MOVES, FEATURE_DRIFT)


@pytest.fixture
def run(shop_run, tmp_path):
    """A copy of the finished run of the shop, to continue from."""
    return shop_run.copied(tmp_path)


def nights_of(warehouse, *as_ofs):
    return [warehouse.night(table, as_of).to_csv() for as_of in as_ofs for table in BY_NIGHT]


def champions(run):
    return champions_overview(run.warehouse)["model_id"].to_list()


def test_the_first_fit_makes_the_champion_and_says_so(shop_run):
    decision = shop_run.warehouse.night(CHAMPION_DECISIONS, LAST).iloc[0]
    champion = newest_champion(shop_run.warehouse)

    assert (decision["decision"], decision["challenger_id"]) == ("first", champion.model_id)
    assert champion.fitted_as_of == champion.in_force_from == LAST
    profiles = shop_run.warehouse.night(SEGMENT_PROFILES, LAST)
    assert set(profiles["segment_id"]) - {0} == set(champion.segments["segment_id"]) - {0}
    identity = shop_run.warehouse.night(SEGMENT_IDENTITY, LAST)
    assert set(identity["change"]) == {"new"}


def by_plain_numbers(champion, rows):
    """Returns the segments of rows of rfm_features, from the champion's numbers without the package's own code."""
    assert champion.scorer.model.algorithm == "kmeans"
    columns = []
    for one in champion.scorer.transforms.sort_values("position").to_dict("records"):
        values = rows[one["feature"]].to_numpy(float)
        clipped = np.clip(np.sign(values) * np.log1p(np.abs(values)), one["low"], one["high"])
        columns.append((clipped - one["center"]) / one["scale"])
    distances = np.linalg.norm(np.column_stack(columns)[:, None] - champion.scorer.model.centers, axis=2)
    segment_of = dict(zip(champion.segments["cluster"], champion.segments["segment_id"], strict=True))
    return [segment_of[cluster] for cluster in distances.argmin(axis=1)]


BUYERS = (
    "SELECT * FROM features.rfm_features JOIN segments.segment_assignments USING (as_of, customer_id)"
    " WHERE frequency > 0 AND as_of = $as_of ORDER BY customer_id"
)


def test_the_stored_champion_labels_as_its_plain_numbers_do(shop_run):
    rows = shop_run.warehouse.read(BUYERS, {"as_of": LAST})

    assert rows["segment_id"].to_list() == by_plain_numbers(champion_of(shop_run.warehouse, LAST), rows)


def test_on_real_orders_unchanged_customers_keep_their_segment_unless_recency_crosses_a_border(
    online_retail_run, tmp_path
):
    run = online_retail_run.copied(tmp_path)
    nights = [datetime.date(2011, 12, day) for day in (7, 8, 9)]
    assert command(run, "backfill", nights[0], nights[-1]) == 0

    champion = champion_of(run.warehouse, nights[0])
    tables = [run.warehouse.read(BUYERS, {"as_of": one}).set_index("customer_id") for one in nights]
    for then, now in pairwise(tables):
        both = then.join(now, suffixes=("", "_now"), how="inner")
        unchanged = both[
            (both["frequency"] == both["frequency_now"]) & (both["monetary"] == both["monetary_now"])
        ].copy()
        changed = unchanged[unchanged["segment_id"] != unchanged["segment_id_now"]]
        one_day_on = unchanged.assign(recency_days=unchanged["recency_days"] + 1)
        crossed = unchanged[np.array(by_plain_numbers(champion, one_day_on)) != unchanged["segment_id"]]
        assert len(unchanged) > 4000
        assert sorted(changed.index) == sorted(crossed.index)
    names = run.warehouse.read("SELECT DISTINCT segment_id, segment_name FROM segments.segment_history")
    assert names["segment_id"].is_unique and names["segment_name"].is_unique


def test_a_later_night_scores_and_fits_nothing(shop, shop_run, run):
    before = run.warehouse.night(SEGMENT_PROFILES, LAST)
    later = LAST + datetime.timedelta(days=1)

    assert command(run, "backfill", later) == 0

    assert champions(run) == champions(shop_run)
    assert run.warehouse.value("SELECT count(DISTINCT as_of) FROM models.kmeans_candidates") == 1
    now = run.warehouse.night(SEGMENT_PROFILES, later)
    assert dict(zip(now["segment_id"], now["segment_name"], strict=True)) == dict(
        zip(before["segment_id"], before["segment_name"], strict=True)
    )
    assert set(run.warehouse.night(SEGMENT_ASSIGNMENTS, later)["fitted_as_of"]) == {pd.Timestamp(LAST)}
    assert run.warehouse.night(FEATURE_DRIFT, later)["psi"].count() == 3


def test_backfilled_nights_are_what_they_were_and_move_nothing(shop, scored_nights, tmp_path):
    """Orders dated on or after a night are added between scoring and backfill; they must not count."""
    run, nights = scored_nights.copied(tmp_path), SCORED
    then, latest, known = nights_of(run.warehouse, *nights), published_bytes(run), champions(run)
    planted = tmp_path / "planted"
    shutil.copytree(shop, planted)
    with sorted(planted.glob("*.csv"))[-1].open("a", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        # New customers and old ones, each with an order on the day of the last night.
        old = run.warehouse.night(SEGMENT_ASSIGNMENTS, nights[0])["customer_id"].head(40)
        for name in (*old, *(f"NEW{number}" for number in range(40))):
            writer.writerow(_line(planted, customer_id=name, day=nights[-1]))

    assert command(run, "run", "--source", planted, "--as-of", nights[0]) == 0
    assert run.warehouse.value("SELECT count(*) FROM prepared.clean_orders WHERE customer_id = 'NEW1'") == 1
    assert command(run, "backfill", nights[0], nights[1]) == 0
    assert command(run, "backfill", nights[2]) == 0

    assert nights_of(run.warehouse, *nights) == then
    assert published_bytes(run) == latest
    assert champions(run) == known
    assert set(run.warehouse.night(SEGMENT_ASSIGNMENTS, nights[0])["fitted_as_of"]) == {pd.Timestamp(LAST)}


def _line(folder, customer_id, day):
    """A line of the shop's last file with another customer, order and day."""
    with sorted(folder.glob("*.csv"))[-1].open(newline="") as file:
        header, first, *_ = csv.reader(file)
    replacements = {"customer_id": customer_id, "order_id": f"PLANTED{customer_id}", "order_date": f"{day} 00:00:00"}
    return [replacements.get(name, value) for name, value in zip(header, first, strict=True)]


def test_changed_settings_replace_the_champion_and_segments_keep_their_ids(shop, run):
    first = newest_champion(run.warehouse)
    other = 5 if first.scorer.model.k != 5 else 6

    assert command(run, "run", "--source", shop, "--set", f"selection.k={other}", *QUICK_FIT) == 0

    champion = newest_champion(run.warehouse)
    decision = run.warehouse.night(CHAMPION_DECISIONS, LAST, where=f"challenger_id = '{champion.model_id}'").iloc[0]
    assert (decision["decision"], decision["reason"]) == (
        "replaced",
        "The settings that shape a model have changed.",
    )
    changes = run.warehouse.night(SEGMENT_IDENTITY, LAST)
    new = changes.loc[changes["change"] == "new", "segment_id"]
    assert new.min() > first.segments["segment_id"].max()
    assert set(changes["change"]) <= {"kept", "renamed", "new", "dissolved"}
    assert decision["kept_share"] >= decision["kept_share_unmatched"]
    # Running the same again appends nothing and changes nothing.
    then = published_bytes(run)
    assert command(run, "run", "--source", shop, "--set", f"selection.k={other}", "--refit", *QUICK_FIT) == 0
    assert len(champions(run)) == 2
    assert published_bytes(run) == then


def test_a_pinned_champion_stays_until_it_is_unpinned(shop, run, capsys):
    [first] = champions(run)
    assert command(run, "champions", "--pin", first) == 0
    settings = ("--set", "selection.k=5", *QUICK_FIT)

    assert command(run, "run", "--source", shop, "--refit", *settings) == 0

    assert newest_champion(run.warehouse).model_id == first
    assert run.warehouse.night(CHAMPION_DECISIONS, LAST)["decision"].iloc[-1] == "kept"
    assert command(run, "champions", "--unpin") == 0
    assert command(run, "run", "--source", shop, "--refit", *settings) == 0
    second = newest_champion(run.warehouse).model_id
    assert second != first
    # Back to the older one.
    assert command(run, "champions", "--pin", first) == 0
    assert champion_of(run.warehouse, LAST).model_id == first
    capsys.readouterr()
    assert command(run, "champions", "--pin", first[:-1]) == 2
    assert f"did you mean {first}?" in capsys.readouterr().err


def test_a_fit_of_a_past_night_does_not_move_the_champion(run):
    known = champions(run)

    assert command(run, "backfill", night(20), "--refit", *QUICK_FIT) == 0

    assert champions(run) == known
    assert run.warehouse.night(CHAMPION_DECISIONS, night(20))["decision"].to_list() == ["past"]


def test_a_fit_is_due_by_age_drift_or_settings_and_not_for_a_past_night(shop_run):
    quick = ["models.bootstraps=3", "models.gap_references=2"]

    def due(as_of, *overrides):
        return refit_due(shop_run.warehouse, load_settings([*quick, *overrides], environment={}), as_of)

    assert due(LAST) is None
    assert due(LAST, "models.k_max=9") == "the settings that shape a model have changed"
    assert due(LAST - datetime.timedelta(days=1), "models.k_max=9") is None
    assert due(LAST + datetime.timedelta(days=29)) is None
    assert due(LAST + datetime.timedelta(days=30)).endswith(f"was fitted on {LAST} and last challenged on {LAST}")


@pytest.mark.parametrize(
    ("season", "in_season"),
    [("04-01..04-01", True), ("03-31..04-02", True), ("11-15..04-01", True), ("04-02..03-31", False), ("", False)],
)
def test_in_a_season_without_refits_only_changed_settings_make_one_due(shop_run, season, in_season):
    as_of = LAST + datetime.timedelta(days=30)
    assert f"{as_of:%m-%d}" == "04-01"

    def due(*overrides):
        quick = ("models.bootstraps=3", "models.gap_references=2", f"champions.no_refit={season}")
        return refit_due(shop_run.warehouse, load_settings([*quick, *overrides], environment={}), as_of)

    assert (due() is None) == in_season
    assert due("models.k_max=9") == "the settings that shape a model have changed"


def test_without_a_champion_a_fit_is_due_in_any_season(empty_warehouse):
    settings = load_settings(["champions.no_refit=01-01..12-31"], environment={})

    assert refit_due(empty_warehouse, settings, LAST) == "no model has been fitted yet"


def test_a_challenge_that_was_lost_is_not_repeated_every_night(shop, run):
    settings = ("--set", "champions.refit_every_days=5", "--set", "champions.margin=1")
    later = LAST + datetime.timedelta(days=6)

    for as_of, fits in ((later, 2), (later + datetime.timedelta(days=1), 2)):
        # Nothing is ordered after the last day, so customers only grow older.
        assert command(run, "run", "--source", shop, "--as-of", as_of, *settings) == 0
        assert run.warehouse.value("SELECT count(DISTINCT as_of) FROM models.kmeans_candidates") == fits
    assert run.warehouse.night(CHAMPION_DECISIONS, later)["decision"].to_list() == ["kept"]


def test_drift_from_a_champion_that_was_kept_is_measured_from_the_night_of_the_challenge(shop, run):
    first = newest_champion(run.warehouse)
    challenge, between, after = (LAST + datetime.timedelta(days=days) for days in (40, 20, 41))
    settings = ("--set", "champions.refit_every_days=60", "--set", "champions.margin=1")

    def psi_and_reference(as_of):
        drift = run.warehouse.night(FEATURE_DRIFT, as_of).set_index("feature").loc["recency_days"]
        return drift["psi"], drift["reference_as_of"].date()

    for _ in range(2):
        assert command(run, "run", "--source", shop, "--as-of", challenge, "--refit", *settings) == 0
        assert champions_overview(run.warehouse)["in_force_from"].dt.date.to_list() == [LAST, challenge]
    kept = newest_champion(run.warehouse)
    assert (kept.model_id, kept.fitted_as_of, kept.reference_as_of) == (first.model_id, LAST, challenge)
    assert kept.why.startswith("Kept. The new model's score of ")
    profiles = run.warehouse.night(SEGMENT_PROFILES, challenge, where="segment_id > 0")
    np.testing.assert_allclose(profiles["fitted_share"], profiles["customers"] / profiles["customers"].sum())

    assert command(run, "run", "--source", shop, "--as-of", after, *settings) == 0
    assert psi_and_reference(after)[0] < 0.2
    assert psi_and_reference(after)[1] == challenge
    assert command(run, "backfill", between) == 0
    assert psi_and_reference(between)[0] > 0.2
    assert psi_and_reference(between)[1] == LAST
    given = load_settings(["models.bootstraps=3", "models.gap_references=2"], environment={})
    assert refit_due(run.warehouse, given, challenge + datetime.timedelta(days=29)) is None


def test_a_later_run_scores_and_a_fit_of_a_night_before_it_moves_nothing(run_pipeline, shop, tmp_path):
    early = run_pipeline(tmp_path, shop, "--as-of", night(20), *QUICK_FIT)
    run_pipeline(tmp_path, shop, *QUICK_FIT)
    assert early.warehouse.value("SELECT count(DISTINCT as_of) FROM models.kmeans_candidates") == 1
    assert early.warehouse.value("SELECT count(DISTINCT model_id) FROM segments.segment_assignments") == 1
    then, known = published_bytes(early), champions(early)

    assert command(early, "backfill", night(10), "--refit", "--set", "champions.margin=-1", *QUICK_FIT) == 0

    assert champions(early) == known
    assert published_bytes(early) == then
    assert early.warehouse.night(CHAMPION_DECISIONS, night(10))["decision"].to_list() == ["past"]


def test_migration_adds_up_and_the_lists_name_who_moved(scored_nights, tmp_path):
    run, nights = scored_nights.copied(tmp_path), SCORED

    migration = run.warehouse.night(SEGMENT_MIGRATION, nights[-1])
    moves = run.warehouse.night(SEGMENT_MOVES, nights[-1])
    then, now = (
        run.warehouse.night(SEGMENT_ASSIGNMENTS, one).set_index("customer_id")["segment_id"] for one in nights[1:]
    )
    both = pd.concat([then.rename("then"), now.rename("now")], axis=1)

    assert set(migration["from_as_of"]) == {pd.Timestamp(nights[1])}
    assert migration["customers"].sum() == len(both)
    changed = both[both["now"].notna() & (both["then"] != both["now"])]
    assert sorted(moves["customer_id"]) == sorted(changed.index)
    assert run.warehouse.value("SELECT count(DISTINCT as_of) FROM segments.segment_history") == 4


def lines_of(folder):
    for file in sorted(folder.glob("*.csv")):
        with file.open(newline="") as opened:
            yield file, list(csv.reader(opened))


def rewrite(folder, change):
    """Each file of a shop with its data rows changed."""
    for file, (header, *rows) in lines_of(folder):
        with file.open("w", newline="") as opened:
            csv.writer(opened, lineterminator="\n").writerows([header, *change(header, rows)])


def half_of_the_customers(header, rows):
    place = header.index("customer_id")
    return [row for row in rows if row[place][-1:] in "02468"]


def prices_times_100(header, rows):
    place = header.index("unit_price")

    def raised(price):
        try:
            return f"{float(price) * 100:.2f}"
        except ValueError:  # some of the shop's prices are no numbers
            return price

    return [[*row[:place], raised(row[place]), *row[place + 1 :]] for row in rows]


def prices_times_100_on_the_first_day(header, rows):
    day = header.index("order_date")
    early = [row[day].startswith("2025-09-01") for row in rows]
    return [
        bad if is_early else row for row, bad, is_early in zip(rows, prices_times_100(header, rows), early, strict=True)
    ]


def ids_remapped(header, rows):
    place = header.index("customer_id")
    return [[*row[:place], row[place] and f"N{row[place]}", *row[place + 1 :]] for row in rows]


def nothing(header, rows):
    return []


@pytest.mark.parametrize(
    ("fault", "message"),
    [
        (half_of_the_customers, "customers_kept"),
        (ids_remapped, "customers_kept"),
        (prices_times_100_on_the_first_day, "features_credible"),
        (nothing, "no line has a customer_id"),
    ],
)
def test_a_bad_night_stops_in_one_line_and_keeps_what_is_published(shop, run, tmp_path, capsys, fault, message):
    then, known = published_bytes(run), champions(run)
    bad = tmp_path / "bad"
    shutil.copytree(shop, bad)
    rewrite(bad, fault)

    # The second night must not be compared with the first bad one.
    for days in (1, 2):
        status = command(run, "run", "--source", bad, "--as-of", LAST + datetime.timedelta(days=days), "--refit")

        line = capsys.readouterr().err.strip().splitlines()[-1]
        assert status == 1
        assert line.startswith("seg-pipeline: ") and message in line
        assert published_bytes(run) == then
        assert champions(run) == known


def test_a_shop_that_only_grows_older_is_not_stopped_half_a_year_later(run_pipeline, tmp_path):
    orders, settings = cdnow_sample(real_data("cdnow") / SAMPLE, tmp_path), ("--preset", "cdnow", *QUICK_FIT)
    run = run_pipeline(tmp_path, orders, "--as-of", "1997-04-01", *settings)
    (tmp_path / "refitted").mkdir()
    refitted = run.copied(tmp_path / "refitted")
    later = ("run", "--source", orders, "--as-of", "1997-10-01", *settings)
    # A pinned champion is only scored with, however far its customers have drifted.
    assert command(run, "champions", "--pin", newest_champion(run.warehouse).model_id) == 0

    assert (command(run, *later), command(refitted, *later, "--refit")) == (0, 0)

    drift = run.warehouse.night(FEATURE_DRIFT, datetime.date(1997, 10, 1)).set_index("feature")
    assert drift.loc["recency_days", "psi"] > 2
    assert set(drift["restated_customers"]) == {0}
    assert newest_champion(refitted.warehouse).reference_as_of == datetime.date(1997, 10, 1)


def test_prices_times_100_on_the_last_day_alone_are_noticed(shop, run, tmp_path, capsys):
    bad = tmp_path / "bad"
    shutil.copytree(shop, bad)
    *_, (last, (header, *rows)) = lines_of(bad)
    with last.open("w", newline="") as opened:
        csv.writer(opened, lineterminator="\n").writerows([header, *prices_times_100(header, rows)])

    assert command(run, "run", "--source", bad) == 1

    assert "days_usual" in capsys.readouterr().err


def test_the_schedule_leaves_out_the_fit_if_none_is_due():
    keys = {key.to_user_string() for key in defs.resolve_job_def("night").asset_layer.executable_asset_keys}

    assert "segments/segment_assignments" in keys and "features/rfm_features" in keys
    assert not keys & {"models/coreset", "models/champions", "evaluation/evaluation_report"}
