"""What a data engineer sees and does in the Dagster UI of `make dev`, in a real browser.

A screenshot of every page is left in the test's temporary folder, and what `make dev` printed beside the warehouse.
"""

import datetime
import os
import re
from collections.abc import Iterator
from pathlib import Path

import demo_shop
import pytest
from playwright.sync_api import Browser, Page, expect

from seg_pipeline_tests import ui

ROOMS = ("raw", "prepared", "features", "models", "evaluation", "segments")
SHOP_SINCE, SHOP_UNTIL = datetime.date(2026, 4, 15), datetime.date(2026, 10, 31)
WORTH_A_LOOK = re.compile(r"warn|error|traceback|deprecat|supersed|telemetry", re.IGNORECASE)


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    if ui.chromium() is None:
        reason = "no Chromium: `apt-get install chromium` brings it"
        if os.environ.get("CI") == "true":
            pytest.fail(reason)
        pytest.skip(reason)
    with ui.browser() as started:
        yield started


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("ui")


@pytest.fixture(scope="module")
def address(browser: Browser, folder: Path) -> Iterator[str]:
    source = folder / "small_shop"
    demo_shop.write_days(source, SHOP_SINCE, SHOP_UNTIL)
    with ui.make_dev(folder, source) as address:
        yield address


@pytest.fixture(scope="module")
def run_id(browser: Browser, address: str, folder: Path) -> str:
    """The run of "Materialize all" for the latest night, at its end."""
    with ui.page_of(browser, folder / "materialize_all.png") as page:
        run_id = ui.materialize_latest_night(page, address)
    ui.wait_until_succeeded(address, run_id)
    return run_id


@pytest.fixture
def page(browser: Browser, tmp_path: Path) -> Iterator[Page]:
    with ui.page_of(browser, tmp_path / "screenshot.png") as page:
        yield page


def test_the_asset_graph_opens_on_the_six_rooms_and_no_dialog_is_in_the_way(page, address):
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


def test_the_terminal_shows_no_warning_and_no_question_about_telemetry(address, run_id, folder):
    # Lines of the run itself are events; what matters is what the services say. That a new home has no history yet is
    # no fault.
    said = [
        line
        for line in (folder / "terminal.txt").read_text().splitlines()
        if f" - {run_id} - " not in line and "No cursor for event type" not in line
    ]
    assert [line for line in said if WORTH_A_LOOK.search(line)] == []
