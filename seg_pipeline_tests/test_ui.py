"""What a data engineer sees and does in the Dagster UI of `make dev`, in a real browser.

Each test leaves a screenshot in its temporary folder; what `make dev` printed is beside the warehouse.
"""

import datetime
import re
from collections.abc import Iterator
from pathlib import Path

import demo_shop
import pytest
from playwright.sync_api import Browser, Page, expect

from seg_pipeline_tests import ui

ROOMS = ("raw", "prepared", "features", "models", "evaluation", "champions", "segments", "publishing")
SHOP_SINCE, SHOP_UNTIL = datetime.date(2026, 4, 15), datetime.date(2026, 10, 31)
OF_A_RUN = re.compile(r" - [0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12} - ")
WORTH_A_LOOK = re.compile(r"warn|error|traceback|deprecat|supersed|telemetry", re.IGNORECASE)

# One UI and one browser serve all of these tests.
pytestmark = [pytest.mark.whole_run, pytest.mark.xdist_group("ui")]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("ui")


@pytest.fixture(scope="module")
def address(browser: Browser, folder: Path) -> Iterator[str]:
    source = folder / "small_shop"
    demo_shop.write_days(source, SHOP_SINCE, SHOP_UNTIL)
    # A strict limit makes one check fail, so that a test can read its message.
    with ui.make_dev(folder, source, {"quality.rejected_share_warning": "0.001"}) as address:
        yield address


@pytest.fixture(scope="module")
def run_id(browser: Browser, address: str, folder: Path) -> str:
    """Runs "Materialize all" for the latest night; returns the run's id once it has succeeded."""
    with ui.page_of(browser, folder / "materialize_all.png") as page:
        run_id = ui.materialize_latest_night(page, address)
    ui.wait_until_succeeded(address, run_id)
    return run_id


@pytest.fixture(scope="module")
def three_nights(browser: Browser, address: str, run_id: str, folder: Path) -> list[str]:
    """Backfills the two nights before from the UI; returns the days of all three."""
    today = datetime.datetime.now(datetime.UTC).date()
    days = [str(today - datetime.timedelta(days=n)) for n in (2, 1, 0)]
    with ui.page_of(browser, folder / "backfill.png") as page:
        for day in days[:2]:
            ui.wait_until_succeeded(address, ui.backfill_night(page, address, day))
    return days


@pytest.fixture
def page(browser: Browser, tmp_path: Path) -> Iterator[Page]:
    with ui.page_of(browser, tmp_path / "screenshot.png") as page:
        yield page


def test_the_asset_graph_opens_on_the_rooms_and_no_dialog_is_in_the_way(page, address):
    page.goto(f"{address}/asset-groups")
    graph = page.locator("svg foreignObject")
    for room in ROOMS:
        expect(graph.get_by_text(room, exact=True)).to_be_visible()
    expect(graph).to_have_count(len(ROOMS))
    expect(page.get_by_role("dialog")).to_have_count(0)


def test_materialize_all_for_the_latest_night_succeeds(page, address, run_id):
    page.goto(f"{address}/runs/{run_id}")
    expect(page.get_by_text("Success", exact=True).first).to_be_visible()
    expect(page.get_by_text(re.compile(r"partition: \d{4}-\d\d-\d\d")).first).to_be_visible()


def test_a_check_shows_as_passed(page, address, run_id):
    page.goto(f"{address}/assets/segments/segment_assignments?view=checks")
    page.get_by_text("key_unique", exact=True).first.click()
    expect(page.get_by_text("customer_id is unique.", exact=True)).to_be_visible()
    expect(page.get_by_text("Passed", exact=True)).to_be_visible()


def test_a_plot_renders(page, address, run_id):
    page.goto(f"{address}/assets/segments/segment_profiles?view=events")
    ui.markdown_of(page, "sizes_and_revenue").click()
    plot = page.get_by_role("dialog").get_by_role("img", name="Sizes and revenue")
    expect(plot).to_be_visible()
    assert plot.evaluate("image => image.decode().then(() => image.naturalWidth)") > 0


def test_an_asset_shows_its_meaning_owner_kinds_columns_and_rows(page, address, run_id):
    page.goto(f"{address}/assets/raw/raw_orders")
    for text in ("One row per delivered order line", "source_row", "DuckDB", "Row count", "raw.raw_orders"):
        expect(page.get_by_text(text).first).to_be_visible()


def test_an_asset_links_its_code_and_shows_its_first_rows(page, address, run_id):
    page.goto(f"{address}/assets/features/rfm_features")
    for file in ("assets.py", "rfm_features.sql"):
        expect(page.get_by_role("link", name=file)).to_be_visible()
    expect(page.get_by_text("first_rows", exact=True)).to_be_visible()
    expect(page.get_by_text("monetary").last).to_be_visible()


def test_a_failing_check_says_what_it_guards_how_often_it_is_broken_and_where(page, address, run_id):
    page.goto(f"{address}/assets/prepared/clean_orders?view=checks")
    page.get_by_text("rejected_share_usual", exact=True).first.click()
    expect(page.get_by_text("at most quality.rejected_share_warning. (warning)").first).to_be_visible()
    expect(page.get_by_text("Failed", exact=True).first).to_be_visible()
    expect(page.get_by_text(re.compile(r"Violations: .*for example reason \w+, lines \d+")).first).to_be_visible()
    expect(page.get_by_text("Nothing is stopped.").first).to_be_visible()


def test_the_report_opens_from_where_the_ui_says_it_is(page, address, run_id):
    page.goto(f"{address}/assets/segments/published_files?view=events")
    report = page.get_by_role("row").filter(has=page.get_by_text("report", exact=True)).get_by_text(".html")
    page.goto(f"file://{report.inner_text().strip()}")
    expect(page.get_by_role("heading", level=1)).to_be_visible()
    expect(page.get_by_role("table").first).to_be_visible()


def test_runs_are_found_by_their_night_and_their_source(page, address, run_id):
    page.goto(f"{address}/runs/{run_id}")
    page.get_by_role("button", name="View tags and config").click()
    tomorrow = datetime.datetime.now(datetime.UTC).date() + datetime.timedelta(days=1)
    expect(page.get_by_text(f"seg_pipeline/as_of: {tomorrow}").first).to_be_visible()
    expect(page.get_by_text(re.compile("seg_pipeline/source: .*small_shop")).first).to_be_visible()


def test_a_backfill_builds_the_night_that_was_chosen_and_publishes_nothing_older(page, address, three_nights):
    page.goto(f"{address}/assets/segments/published_files?view=events")
    for day in three_nights:
        expect(page.get_by_text(day, exact=True).first).to_be_visible()
    published = page.get_by_role("row").filter(has=page.get_by_text("published", exact=True))
    expect(published.get_by_text("false")).to_be_visible()


@pytest.mark.parametrize(
    ("asset", "trends"),
    [
        ("segments/segment_profiles", ["revenue", "rule_fidelity"]),
        ("features/rfm_features", ["customers", "revenue", "revenue_since_night_before", "rows_since_night_before"]),
        ("models/feature_drift", ["psi_recency_days"]),
    ],
)
def test_figures_of_three_nights_are_plotted_as_trends(page, address, three_nights, asset, trends):
    page.goto(f"{address}/assets/{asset}")
    page.get_by_text("Plots", exact=True).click()
    for trend in trends:
        expect(page.get_by_text(trend, exact=True).first).to_be_visible()
    expect(page.locator("canvas").first).to_be_visible()


def test_the_schedule_is_switched_on_and_off(page, address):
    page.goto(f"{address}/locations/seg_pipeline.definitions/schedules/nightly_schedule")
    expect(page.get_by_text("Builds the day that has just ended")).to_be_visible()
    switch = page.get_by_role("checkbox")
    for on in (True, False):
        # The box itself is hidden behind its picture.
        switch.dispatch_event("click")
        expect(switch).to_be_checked(checked=on)
        if on:
            expect(page.get_by_text("Next tick")).to_be_visible()


def test_the_terminal_shows_no_warning_and_no_question_about_telemetry(address, run_id, folder):
    # Not the run's own events, nor the "No cursor" line that a new Dagster home always prints.
    said = [
        line
        for line in (folder / "terminal.txt").read_text().splitlines()
        if not OF_A_RUN.search(line) and "No cursor for event type" not in line
    ]
    assert [line for line in said if WORTH_A_LOOK.search(line)] == []
