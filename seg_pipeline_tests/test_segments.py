"""Names, strategies and published files of segments."""

import datetime
import json
import tomllib

import numpy as np
import pandas as pd
import pytest

from seg_pipeline.errors import MachineError
from seg_pipeline.features.tables import RFM_GRID
from seg_pipeline.segments.names import name_segments
from seg_pipeline.segments.publishing import damaged_files, publish, published_as_of
from seg_pipeline.segments.strategies import ACTIONS, strategies
from seg_pipeline.settings import StrategySettings
from seg_pipeline.tables import Column, Table
from seg_pipeline.warehouse import Warehouse

AS_OF = datetime.date(2024, 3, 1)


def profiles(*scores):
    """Profiles with mean scores (R, F, M), numbered from 1."""
    table = pd.DataFrame(scores, columns=["mean_r_score", "mean_f_score", "mean_m_score"])
    table.insert(0, "segment_id", range(1, len(table) + 1))
    table["median_recency_days"], table["median_frequency"] = 10.0, 2.0
    table["median_days_between_orders"] = np.nan
    return table


def test_a_segment_is_named_by_the_cell_its_mean_scores_lie_in_and_says_so():
    names = name_segments(profiles((4.6, 4.7, 4.0), (1.4, 1.2, 1.0)))

    assert names["segment_name"].to_list() == ["Champions", "Hibernating"]
    assert names["name_reason"].iloc[0] == (
        "mean scores R 4.6, F 4.7 lie in cell 5 x 5 of the grid: Champions"
        " (median 10 days since the last order, 2 orders)"
    )


def test_a_segment_that_has_lost_its_own_rhythm_counts_as_gone_however_it_scores():
    table = profiles((3.2, 4.4, 3.0), (3.2, 4.4, 3.0))
    table["median_recency_days"] = [301.0, 300.0]
    table["median_days_between_orders"] = 100.0

    names = name_segments(table)

    assert names["segment_name"].to_list() == ["At Risk", "Loyal Customers"]
    assert "R taken as 2 since they used to buy every 100 days" in names["name_reason"].iloc[0]


def test_every_pair_of_mean_scores_has_exactly_one_name():
    scores = [(r, f, 1.0) for r in np.arange(1, 5.01, 0.25) for f in np.arange(1, 5.01, 0.25)]

    assert set(name_segments(profiles(*scores))["grid_name"]) == set(RFM_GRID)


def test_segments_of_one_cell_are_told_apart_by_what_differs_most():
    names = name_segments(profiles((1.2, 1.1, 4.0), (1.3, 1.4, 1.5), (5.0, 5.0, 5.0)))

    assert names["segment_name"].to_list() == ["Hibernating, high spend", "Hibernating, low spend", "Champions"]
    assert "low spend of the 2 segments there" in names["name_reason"].iloc[1]


def test_no_two_names_are_alike_however_many_segments_share_a_cell():
    names = name_segments(profiles(*[(1.0, 1.0, 1.0)] * 7))

    assert names["segment_name"].is_unique


def test_the_segment_without_purchases_keeps_its_own_name():
    table = profiles((1.0, 1.0, 1.0))
    table.loc[1] = [0, np.nan, np.nan, np.nan, np.nan, 0.0, np.nan]

    assert name_segments(table)["segment_name"].to_list() == ["Hibernating", "No purchases"]


def test_every_name_of_the_grid_has_all_its_actions():
    actions = tomllib.loads(ACTIONS.read_text())

    assert set(actions) == {*RFM_GRID, "No purchases"}
    assert all(set(action) == {"effort", "objective", "marketing", "sales", "service"} for action in actions.values())


def plan(revenue, headroom, grid_names="Champions", **settings):
    table = pd.DataFrame(
        {
            "segment_id": range(len(revenue)),
            "segment_name": "x",
            "grid_name": grid_names,
            "revenue": revenue,
            "headroom": headroom,
        }
    )
    return strategies(table, StrategySettings(budget=1000, **settings))


def test_the_budget_goes_by_revenue_and_headroom_and_shows_its_arithmetic():
    found = plan([-50.0, 100.0, 300.0], [0.0, 30.0, 10.0], headroom_weight=0.4)

    np.testing.assert_allclose(found["budget_share"], [0.0, 0.6 * 0.25 + 0.4 * 0.75, 0.6 * 0.75 + 0.4 * 0.25])
    np.testing.assert_allclose(found["budget"], [0.0, 450.0, 550.0])
    assert found["arithmetic"].iloc[1] == (
        "effort 1 x (0.60 x 25.0% of revenue + 0.40 x 75.0% of headroom) = 45.0%, of all claims 45.0% of 1,000"
    )


def test_the_budget_follows_the_effort_that_the_actions_take():
    found = plan([100.0, 100.0, 100.0], [0.0, 0.0, 0.0], ["Champions", "Hibernating", "No purchases"])

    np.testing.assert_allclose(found["budget_share"], [1 / 1.2, 0.2 / 1.2, 0.0])


def test_the_budget_is_split_whole_even_without_headroom_or_revenue():
    np.testing.assert_allclose(plan([100.0, 300.0], [0.0, 0.0])["budget_share"], [0.25, 0.75])
    np.testing.assert_allclose(plan([0.0, -1.0], [0.0, 0.0])["budget_share"], [0.5, 0.5])


LIST = Table(
    "segments.list",
    "A published table.",
    columns=(Column("as_of", "DATE", ""), Column("customer_id", "VARCHAR", "")),
    key=("customer_id",),
    nightly=True,
)


def warehouse_with(tmp_path, as_of, customers):
    warehouse = Warehouse(database=str(tmp_path / "warehouse.duckdb"))
    warehouse.replace_night(LIST, pd.DataFrame({"customer_id": customers}), as_of)
    return warehouse


def test_a_set_is_published_with_a_manifest_and_rows_in_the_order_of_the_key(tmp_path):
    warehouse = warehouse_with(tmp_path, AS_OF, ["b", "a", "ä"])

    folder, is_latest = publish(warehouse, [LIST], {"report.html": "<p>"}, AS_OF, "model", tmp_path / "out")

    assert is_latest
    assert sorted(file.name for file in folder.iterdir()) == [
        "list.csv",
        "list.parquet",
        "manifest.json",
        "report.html",
    ]
    assert (folder / "list.csv").read_text() == "as_of,customer_id\n2024-03-01,a\n2024-03-01,b\n2024-03-01,ä\n"
    manifest = json.loads((folder / "manifest.json").read_text())
    assert (manifest["as_of"], manifest["model_id"]) == ("2024-03-01", "model")
    assert manifest["files"]["list.csv"]["rows"] == 3
    assert published_as_of(tmp_path / "out") == AS_OF


def test_publishing_the_same_night_twice_leaves_the_same_files(tmp_path):
    warehouse = warehouse_with(tmp_path, AS_OF, ["a"])

    def tree():
        publish(warehouse, [LIST], {"report.html": "<p>"}, AS_OF, "model", tmp_path / "out")
        return {
            path.relative_to(tmp_path): path.read_bytes() for path in (tmp_path / "out").rglob("*") if path.is_file()
        }

    assert tree() == tree()


def test_an_older_night_does_not_move_what_is_published(tmp_path):
    out = tmp_path / "out"
    publish(warehouse_with(tmp_path, AS_OF, ["new"]), [LIST], {}, AS_OF, "model", out)
    before = AS_OF - datetime.timedelta(days=1)

    _, is_latest = publish(warehouse_with(tmp_path, before, ["old"]), [LIST], {}, before, "model", out)

    assert not is_latest
    assert published_as_of(out) == AS_OF
    assert "new" in (out / "latest" / "list.csv").read_text()


def test_the_set_before_stays_for_its_readers_and_older_ones_go(tmp_path):
    out = tmp_path / "out"
    for day in range(4):
        night = AS_OF + datetime.timedelta(days=day)
        publish(warehouse_with(tmp_path, night, [f"night{day}"]), [LIST], {}, night, "model", out)

    assert sorted(path.name[:10] for path in (out / "sets").iterdir()) == ["2024-03-03", "2024-03-04"]


def test_what_a_killed_run_left_is_cleared_by_the_next(tmp_path):
    out = tmp_path / "out"
    (out / "sets" / ".writing-x").mkdir(parents=True)

    publish(warehouse_with(tmp_path, AS_OF, ["a"]), [LIST], {}, AS_OF, "model", out)

    assert [path.name[:10] for path in (out / "sets").iterdir()] == ["2024-03-01"]


def test_a_folder_that_cannot_be_written_is_one_clear_line(tmp_path):
    (tmp_path / "file").write_text("")

    with pytest.raises(MachineError, match="cannot publish"):
        publish(warehouse_with(tmp_path, AS_OF, ["a"]), [LIST], {}, AS_OF, "model", tmp_path / "file" / "out")


def test_a_published_file_that_was_changed_or_lost_is_found(tmp_path):
    folder, _ = publish(warehouse_with(tmp_path, AS_OF, ["a"]), [LIST], {}, AS_OF, "model", tmp_path / "out")
    assert damaged_files(tmp_path / "out") == []

    (folder / "list.csv").write_text("cut")
    (folder / "list.parquet").unlink()

    assert damaged_files(tmp_path / "out") == ["list.parquet", "list.csv"]
