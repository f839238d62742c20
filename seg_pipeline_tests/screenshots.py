"""The README's pictures of the Dagster UI, made anew: `python -m seg_pipeline_tests.screenshots`.

Real screenshots: `make dev` is started on the demo shop in a temporary folder, one night is materialized, and headless
Chromium takes the pictures into docs/.
"""

import sys
import tempfile
from pathlib import Path

from playwright.sync_api import Browser, Page, expect

from seg_pipeline_tests import ui

DOCS = ui.ROOT / "docs"
GRAPH_WINDOW = (1600, 1180)
PLOT_WINDOW = (1400, 820)
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
    return 0


def asset_graph(browser: Browser, address: str) -> None:
    """All six rooms opened, without the menus around them."""
    with ui.page_of(browser, DOCS / "asset_graph.png", GRAPH_WINDOW) as page:
        page.goto(f"{address}/asset-groups")
        expect(page.locator("svg foreignObject").first).to_be_visible()
        page.get_by_role("button", name="Hide navigation").click()
        page.get_by_placeholder("Jump to").locator("xpath=following::button[1]").click()
        # Opens all groups, then fits them into the window.
        page.keyboard.press("Alt+KeyE")
        settle(page)


def plot(browser: Browser, address: str, asset: str, label: str) -> None:
    """A plot as it stands in the metadata of an asset."""
    with ui.page_of(browser, DOCS / f"{label}.png", PLOT_WINDOW) as page:
        page.goto(f"{address}/assets/{asset}?view=events")
        ui.markdown_of(page, label).click()
        expect(page.get_by_role("dialog").get_by_role("img").last).to_be_visible()
        settle(page)


def settle(page: Page) -> None:
    """Waits for what moves to stand still."""
    page.wait_for_timeout(SETTLED_MILLISECONDS)


if __name__ == "__main__":
    sys.exit(main())
