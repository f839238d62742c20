"""The report before axe, the accessibility checker, in Chromium: as it is by day, by night and printed."""

import pytest
from axe_playwright_python.sync_playwright import Axe

from seg_pipeline_tests.whole_runs import Run

# One browser serves all of these tests.
pytestmark = pytest.mark.xdist_group("accessibility")


@pytest.fixture(scope="module")
def report(shop_run: Run) -> str:
    return (shop_run.output / "latest" / "report.html").as_uri()


@pytest.mark.parametrize("looks", [{"color_scheme": "light"}, {"color_scheme": "dark"}, {"media": "print"}], ids=str)
def test_axe_finds_no_fault_in_the_report(browser, report, tmp_path, looks):
    # The page's policy lets no script run but its own.
    context = browser.new_context(bypass_csp=True)
    page = context.new_page()
    page.goto(report)
    page.emulate_media(**looks)
    page.screenshot(path=tmp_path / "report.png", full_page=True)

    found = Axe().run(page)

    assert [(fault["id"], fault["impact"], len(fault["nodes"])) for fault in found.response["violations"]] == []
    assert found.response["passes"]
    context.close()


def test_tables_are_sorted_by_their_headings_with_a_script_and_are_readable_without(browser, report):
    with_script, without = browser.new_context(), browser.new_context(java_script_enabled=False)
    page, plain = with_script.new_page(), without.new_page()
    page.goto(report)
    plain.goto(report)
    first = "table tbody tr >> nth=0"
    assert page.locator(first).inner_text() == plain.locator(first).inner_text()
    customers = page.locator("table").first.get_by_role("button", name="Customers", exact=True)
    customers.click()
    header = page.locator("table").first.locator("th[aria-sort]")
    assert header.inner_text().startswith("Customers")
    column = [
        cell.get_attribute("data-value")
        for cell in page.locator("table").first.locator("tbody tr td:nth-child(2)").all()
    ]
    assert len(column) > 1
    assert [float(value) for value in column] in (sorted(map(float, column)), sorted(map(float, column), reverse=True))
    with_script.close()
    without.close()
