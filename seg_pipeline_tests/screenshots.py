"""The pictures of the docs, made anew: `python -m seg_pipeline_tests.screenshots`.

Real screenshots: `make dev` is started on the demo shop in a temporary folder, one night is materialized and two before
it are backfilled, and headless Chromium takes the pictures into docs/.
"""

import datetime
import sys
import tempfile
from pathlib import Path

from playwright.sync_api import Browser, Page, expect

from seg_pipeline_tests import ui

DOCS = ui.ROOT / "docs"
GRAPH_WINDOW = (1400, 420)
PLOT_WINDOW = (1400, 820)
REPORT_WINDOW = (1366, 900)
SETTLED_MILLISECONDS = 3000


def main() -> int:
    """Takes every picture; the exit status."""
    if ui.chromium() is None:
        print("no Chromium: `apt-get install chromium` brings it", file=sys.stderr)
        return 1
    DOCS.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory() as folder, ui.browser() as browser, ui.make_dev(Path(folder)) as address:
        with ui.page_of(browser, Path(folder) / "materialize_all.png") as page:
            run_id = ui.materialize_latest_night(page, address)
        ui.wait_until_succeeded(address, run_id)
        asset_graph(browser, address)
        plot(browser, address, "segments/published_files", "cluster_map")
        report(browser, Path(folder) / "published" / "latest" / "report.html")
        today = datetime.datetime.now(datetime.UTC).date()
        for days in (2, 1):
            with ui.page_of(browser, Path(folder) / "backfill.png") as page:
                run_id = ui.backfill_night(page, address, str(today - datetime.timedelta(days=days)))
            ui.wait_until_succeeded(address, run_id)
        trends(browser, address, "features/rfm_features")
    return 0


def asset_graph(browser: Browser, address: str) -> None:
    """The six rooms, without the menus around them."""
    with ui.page_of(browser, DOCS / "asset_graph.png", GRAPH_WINDOW) as page:
        page.goto(f"{address}/asset-groups")
        expect(page.locator("svg foreignObject").first).to_be_visible()
        page.get_by_role("button", name="Hide navigation").click()
        page.get_by_placeholder("Jump to").locator("xpath=following::button[1]").click()
        # Fits the graph into what the panels have left.
        page.mouse.dblclick(GRAPH_WINDOW[0] / 2, GRAPH_WINDOW[1] - 30)
        settle(page)


def plot(browser: Browser, address: str, asset: str, label: str) -> None:
    """A plot as it stands in the metadata of an asset."""
    with ui.page_of(browser, DOCS / f"{label}.png", PLOT_WINDOW) as page:
        page.goto(f"{address}/assets/{asset}?view=events")
        ui.markdown_of(page, label).click()
        expect(page.get_by_role("dialog").get_by_role("img").last).to_be_visible()
        settle(page)


def report(browser: Browser, file: Path) -> None:
    """The first page of the report."""
    with ui.page_of(browser, DOCS / "report.png", REPORT_WINDOW) as page:
        page.goto(file.as_uri())
        settle(page)


def trends(browser: Browser, address: str, asset: str) -> None:
    """The figures of an asset night by night."""
    with ui.page_of(browser, DOCS / "trends.png", PLOT_WINDOW) as page:
        page.goto(f"{address}/assets/{asset}")
        page.get_by_text("Plots", exact=True).click()
        # Each is drawn once it comes into view.
        page.get_by_text("revenue", exact=True).first.scroll_into_view_if_needed()
        settle(page)


def settle(page: Page) -> None:
    """Waits for what moves to stand still."""
    page.wait_for_timeout(SETTLED_MILLISECONDS)


if __name__ == "__main__":
    sys.exit(main())
