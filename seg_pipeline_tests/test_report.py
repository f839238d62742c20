"""The page holds every number it was given, escapes all of it, and needs nothing from outside."""

import collections
import dataclasses
import itertools
import re
from collections.abc import Callable, Iterator, Mapping
from datetime import date
from decimal import Decimal
from html.parser import HTMLParser
from typing import Any

import numpy as np
import pandas as pd
import pytest

from seg_pipeline.plotting.days import PANELS
from seg_pipeline.plotting.notation import Notation
from seg_pipeline.publishing.cluster_map import principal_plane
from seg_pipeline.publishing.report import Report, render
from seg_pipeline.publishing.report.page import HERE
from seg_pipeline.publishing.report.sections import PARTS
from seg_pipeline.publishing.report.words import against_baseline, readable_rule, setting
from seg_pipeline_tests.whole_runs import figures_left_blank

AS_OF = date(2011, 12, 10)


def make_report(segments: int = 2) -> Report:
    """A night with that many segments, and one segment of customers without purchases."""
    ids = range(1, segments + 1)
    profiles = pd.DataFrame(
        [
            {
                "as_of": AS_OF,
                "segment_id": i,
                "segment_name": f"Name {i}",
                "customers": 1000 + i,
                "share": 1 / segments,
                "revenue": Decimal(1_000_000 + i),
                "revenue_share": 1 / segments,
                "median_recency_days": 30.0 + i,
                "median_frequency": 2.0,
                "median_monetary": 250.0 + i,
                "name_reason": f"because {i}",
            }
            for i in ids
        ]
        + [
            {
                "as_of": AS_OF,
                "segment_id": 0,
                "segment_name": "No purchases",
                "customers": 7,
                "share": 0.001,
                "revenue": Decimal("-12.50"),
                "revenue_share": 0.0,
                "name_reason": "no purchase",
            }
        ]
    )
    strategies = pd.DataFrame(
        [
            {
                "as_of": AS_OF,
                "segment_id": i,
                "segment_name": f"Name {i}",
                "objective": f"objective {i}",
                "marketing": f"marketing {i}",
                "sales": f"sales {i}",
                "service": f"service {i}",
                "headroom": Decimal(5000 + i),
                "budget_share": 1 / segments,
                "budget": Decimal(20_000 + i),
                "arithmetic": f"arithmetic {i}",
            }
            for i in ids
        ]
    )
    common = {
        "as_of": AS_OF,
        "inertia": 1234.0,
        "explained_share": 0.6,
        "calinski_harabasz": 2000.0,
        "davies_bouldin": 0.9,
        "bic": np.nan,
        "smallest_share": 0.1,
        "largest_share": 0.5,
        "stability": np.nan,
        "fit_seconds": 9.87,
        "is_elbow": False,
    }
    evaluation = pd.DataFrame(
        [
            common
            | {"algorithm": algorithm, "k": k, "silhouette": silhouette, "rank": rank, "reason": reason}
            | {"chosen": rank == 1, "eligible": rank is not None, "is_best_silhouette": silhouette == 0.433}
            for algorithm, k, silhouette, rank, reason in [
                ("kmeans", 2, 0.433, None, "too few for the teams"),
                ("kmeans", 5, 0.318, 1, "best by the rule"),
                ("hierarchical", 5, np.nan, 2, "runner-up"),
                ("rfm_grid", 10, 0.12, None, "the baseline"),
            ]
        ]
    ).astype({"rank": "Int64"})
    cells = pd.DataFrame(
        {
            "x": [float(i) for i in ids],
            "y": 0.0,
            "customers": 5,
            "segment_id": ids,
            "segment_name": profiles["segment_name"][:-1],
        }
    )
    rows = pd.DataFrame(
        [("raw", None, 10_000), ("clean", None, 8_900), ("rejected", "missing_customer_id", 1_100)],
        columns=["stage", "reason", "lines"],
    )
    return Report(
        as_of=AS_OF,
        source="orders.csv",
        notation=Notation(currency="£"),
        evaluation=evaluation,
        profiles=profiles,
        strategies=strategies,
        cells=cells,
        axis_labels=("first axis", "second axis"),
        rows=rows,
        settings={
            "selection.k_min": 3,
            "selection.k_max": 8,
            "as_of": None,
            "features.columns": ["recency_days"],
            "strategies.period_days": 90,
            "rhythm.active_ratio": 1.5,
            "rhythm.overdue_ratio": 3.0,
            "value.window_days": 90,
        },
        model_id="kmeans-5-abc",
        versions={"duckdb": "1.5.6"},
        rule="the rule in words",
    )


class Page(HTMLParser):
    """The tags with their attributes, and the text as a reader sees it."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, Mapping[str, str | None]]] = []
        self.words: list[str] = []
        self.feed(html)
        self.text = re.sub(r"\s+", " ", " ".join(self.words))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.words.append(data)


@pytest.fixture
def without_images() -> Iterator[None]:
    """The figures are built but not drawn, for tests of words: drawing takes most of the time."""
    with figures_left_blank():
        yield


def without_figures(report: Report) -> str:
    """The page with blank figures, for a test that looks at none: drawing them takes nearly all of the time."""
    with figures_left_blank():
        return render(report)


@pytest.fixture(scope="module")
def html() -> str:
    return render(make_report())


def test_the_headline_counts_customers_and_segments_without_those_who_never_bought(html: str) -> None:
    text = Page(html).text

    assert "2,003 customers in 2 segments as of 10 December 2011" in text
    assert "The largest share comes from Name 2: 50.0% of the revenue from 50.0% of the customers." in text
    assert "Another 7 customers have not bought anything so far." in text


@pytest.mark.parametrize("segments", [1, 10])
@pytest.mark.usefixtures("without_images")
def test_every_segment_is_there_with_its_numbers_actions_and_budget(segments: int) -> None:
    text = Page(without_figures(make_report(segments))).text

    for i in range(1, segments + 1):
        for expected in (
            f"Name {i}",
            f"1,00{i}" if i < 10 else "1,010",
            f"£{1_000_000 + i:,}",
            f"£{250 + i}",
            f"{30 + i}",
        ):
            assert expected in text
        for expected in (f"marketing {i}", f"sales {i}", f"service {i}", f"£{20_000 + i:,}", f"arithmetic {i}"):
            assert expected in text
    assert "No purchases segment 0" in text


def test_the_page_says_what_silhouette_alone_would_have_chosen_and_why_not(html: str) -> None:
    text = Page(html).text

    assert "the rule in words" in text
    assert "KMeans with 5 segments. best by the rule" in text
    assert "would have chosen KMeans with 2 segments: its silhouette is 0.433, that of the choice 0.318." in text
    assert "Why it was not chosen: too few for the teams" in text


def test_every_candidate_stands_in_the_table_by_rank_and_empty_metrics_have_no_column(html: str) -> None:
    table = html[html.index('<table class="candidates">') :]
    text = Page(table[: table.index("</table>")]).text

    reasons = ["best by the rule", "runner-up", "too few for the teams", "the baseline"]
    assert sorted(reasons, key=text.index) == reasons
    headings = re.findall(r"<th scope=\"col\".*?>(.*?)</th>", table[: table.index("</thead>")])
    assert "BIC" not in headings and "Stability" not in headings and "Silhouette" in headings


@pytest.mark.usefixtures("without_images")
def test_the_row_check_tells_a_sum_that_holds_from_one_that_does_not() -> None:
    report = make_report()
    short = dataclasses.replace(report, rows=report.rows.assign(lines=[10_005, 8_900, 1_100]))

    assert (
        "10,000 lines delivered = 8,900 clean + 1,100 rejected. Check: the counts add up."
        in Page(without_figures(report)).text
    )
    assert "Check: the counts do not add up; 5 lines are missing." in Page(without_figures(short)).text


@pytest.mark.usefixtures("without_images")
def test_days_that_were_not_as_usual_are_listed_for_engineers() -> None:
    days = pd.DataFrame({"order_day": pd.date_range("2011-12-08", periods=2), "verdict": "ok"})
    days = days.assign(**{column: [1.0, 2.0] for column, *_ in PANELS})
    found = pd.DataFrame([("2011-12-08", "odd", "the revenue is 9, usually 3")], columns=["name", "verdict", "reason"])
    report = dataclasses.replace(make_report(), days=days, day_findings=found)

    assert "2011-12-08 odd the revenue is 9, usually 3" in Page(without_figures(report)).text
    assert "All of them were as usual." in Page(without_figures(dataclasses.replace(report, day_findings=None))).text
    assert "Order days" not in Page(without_figures(make_report())).text


def with_value_test(report: Report) -> Report:
    """The report with a value test of its choice."""
    figures = {"explained_share": 0.24, "gini": 0.491, "lift": 3.0}
    ends = {
        f"{name}_{end}": value + by for name, value in figures.items() for end, by in (("low", -0.02), ("high", 0.02))
    }
    over = {
        f"{name}_over_grid{end}": by for name in figures for end, by in (("", 0.03), ("_low", 0.01), ("_high", 0.05))
    }
    window = {
        "cutoff": date(2011, 9, 11),
        "window_days": 90,
        "customers": 3370,
        "sampled": False,
        "repurchase_rate": 0.57,
        "orders": 5063,
        "revenue": Decimal(2_851_873),
        "best_gini": 0.818,
        "untested_because": np.nan,
    }
    segment = {
        "customers": 1685,
        "median_recency_days": 7.0,
        "median_frequency": 11.0,
        "median_monetary": 4172.0,
        "repurchase_rate": 0.959,
        "orders": 1795,
        "revenue": Decimal(1_341_783),
        "revenue_per_customer": 796.31,
    }
    candidates = [("kmeans", 4), ("kmeans", 5), ("rfm_grid", 9), ("random", 9)]
    return dataclasses.replace(
        report,
        evaluation=report.evaluation.assign(value=0.24),
        value_window=pd.DataFrame([window]),
        value_test=pd.DataFrame([{"algorithm": a, "k": k} | figures | ends | over for a, k in candidates]),
        value_by_segment=pd.DataFrame(
            [{"algorithm": a, "k": k, "segment": i} | segment for a, k in candidates for i in (1, 2)]
        ),
    )


@pytest.mark.usefixtures("without_images")
def test_the_value_test_is_told_in_a_sentence_and_with_its_intervals() -> None:
    html = render(with_value_test(make_report()))
    text = Page(html).text

    assert "the best 20% of the customers by these segments, you would have reached 60.0% of that revenue: 3.0" in text
    assert "(on a log scale): significantly more than the public R x F grid." in text
    assert "KMeans 5 0.240 (0.220 to 0.260) 0.491 (0.471 to 0.511) 3.00 (2.98 to 3.02) 0.030 (0.010 to 0.050)" in text
    assert "R x F grid (baseline) 9 0.240" in text and "Random 9 0.240" in text and "KMeans 4 0.240" not in text
    assert "1 1,685 7 11 £4,172 95.9% 1,795 £1,341,783 £796" in text
    assert html.count("<svg") == html.count('role="img"') == 7
    assert "with what their 3,370 customers really did" in text


@pytest.mark.usefixtures("without_images")
def test_a_value_test_on_a_sample_says_so() -> None:
    full = with_value_test(make_report())
    assert full.value_window is not None

    html = without_figures(dataclasses.replace(full, value_window=full.value_window.assign(sampled=True)))

    assert "with what a sample of 3,370 customers really did" in Page(html).text


@pytest.mark.usefixtures("without_images")
@pytest.mark.parametrize("kept", [{}, {"sampled": None}], ids=["no column", "a new column"])
def test_a_value_test_that_an_older_version_made_was_on_all_customers(kept: dict[str, None]) -> None:
    full = with_value_test(make_report())
    assert full.value_window is not None

    html = without_figures(
        dataclasses.replace(full, value_window=full.value_window.drop(columns="sampled").assign(**kept))
    )

    assert "with what their 3,370 customers really did" in Page(html).text


@pytest.mark.usefixtures("without_images")
def test_where_history_is_too_short_for_a_value_test_the_page_says_so() -> None:
    full = with_value_test(make_report())
    assert full.value_window is not None and full.value_test is not None and full.value_by_segment is not None
    report = dataclasses.replace(
        full,
        value_window=full.value_window.assign(untested_because="The history is too short: because."),
        value_test=full.value_test[:0],
        value_by_segment=full.value_by_segment[:0],
    )
    html = render(report)

    assert "Not tested. The history is too short: because. The choice was made without this test." in Page(html).text
    assert html.count('role="img"') == 6


@pytest.mark.usefixtures("without_images")
def test_a_choice_that_could_not_be_fitted_at_the_cutoff_has_no_figures() -> None:
    report = with_value_test(make_report())
    assert report.value_test is not None
    html = without_figures(dataclasses.replace(report, value_test=report.value_test[2:]))

    assert "could not be fitted on the orders before that day" in Page(html).text


EVIL = "<script>alert(1)</script>\"'&"


def poisoned(value: Any) -> Any:
    """The value with EVIL for every text in it: of a frame's columns, a mapping's keys and values, a tuple's parts."""
    if isinstance(value, str):
        return EVIL
    if isinstance(value, Mapping):
        # Without the range of k, which is for the plots alone.
        return {f"{EVIL}{key}": poisoned(inner) for key, inner in value.items()}
    if isinstance(value, tuple | list):
        return type(value)(poisoned(inner) for inner in value)
    if isinstance(value, pd.DataFrame):
        texts = value.columns[[pd.api.types.infer_dtype(value[name], skipna=True) == "string" for name in value]]
        # What rows of a stage are is asked for by its name.
        return value.assign(**{name: EVIL for name in texts if name != "stage"})
    return value


def full_report() -> Report:
    """A report with everything that a page can tell."""
    report = with_value_test(make_report())
    then = pd.Timestamp(2011, 12, 3)
    migration = pd.DataFrame(
        [(1, "Champions", 2, "At Risk", 7, then, pd.Timestamp(AS_OF))],
        columns=["from_segment_id", "from_segment_name", "to_segment_id", "to_segment_name", "customers", "from_as_of",
                 "to_as_of"],
    )  # fmt: skip
    moves = pd.DataFrame(
        [("At Risk", "Champions", "customer", 5, 50.0), ("At Risk", "Champions", "model", 2, 20.0)],
        columns=["newly", "before", "moved_by", "customers", "monetary"],
    )
    return dataclasses.replace(
        report,
        migration=migration,
        moves=moves,
        advice=pd.DataFrame(
            [(1, "active", "Champions", 700), (1, "lapsed", "Can't Lose", 200)],
            columns=["segment_id", "lifecycle", "advice", "customers"],
        ),
        fitted_as_of=AS_OF,
        sensitivity=pd.DataFrame({"scenario": ["as set"], "algorithm": ["kmeans"], "k": [5]}),
        profiles=report.profiles.assign(rule="frequency >= 2", rule_precision=0.9, rule_recall=0.8, stability=0.9),
        strategies=report.strategies.assign(
            contacts=10,
            contacts_per_customer=0.1,
            contact_cost=0.5,
            reached_share=0.1,
            holdout_customers=50,
            smallest_effect=0.1,
            measured_from=AS_OF,
            measured_customers=100,
            repurchase_rate=0.4,
            repurchase_rate_low=0.3,
            repurchase_rate_high=0.5,
            shop_repurchase_rate=0.2,
            measured_revenue=12.0,
            measured_revenue_low=10.0,
            measured_revenue_high=14.0,
            disagreement="The plan is wrong.",
        ),
        settings={**report.settings, "strategies.effect": 0.05},
    )


def untested(report: Report) -> Report:
    assert report.value_window is not None
    return dataclasses.replace(report, value_window=report.value_window.assign(untested_because="too short"))


@pytest.mark.parametrize("change", [lambda report: report, untested], ids=["tested", "untested"])
def test_all_data_is_escaped_wherever_it_stands(change: Callable[[Report], Report]) -> None:
    harmless = change(full_report())
    names = {field.name for field in dataclasses.fields(Report)}
    given = {name: poisoned(getattr(harmless, name)) for name in names}
    given["settings"] |= {"strategies.effect": 0.05, "strategies.period_days": 90, "value.window_days": 90}
    given["settings"] |= {"rhythm.active_ratio": 1.5, "rhythm.overdue_ratio": 3.0}
    html = render(dataclasses.replace(harmless, **given))
    page, expected = Page(html), Page(render(harmless))

    # One script is the page's own, and its policy lets no other run.
    assert html.count("<script") == 1 and EVIL not in html
    assert EVIL in page.text
    # As many tags as before, each with the attributes that it had: nothing that was given has become a tag of the page,
    # or has ended the value of an attribute.
    count = collections.Counter((tag, *attributes) for tag, attributes in page.tags)
    same = collections.Counter((tag, *attributes) for tag, attributes in expected.tags)
    assert set(count) <= set(same) and not {tag for tag, *_ in count} & {"iframe", "object", "form"}
    alts = [attributes["aria-label"] or "" for _, attributes in page.tags if attributes.get("role") == "img"]
    assert sum(EVIL in alt for alt in alts) == 3
    for tag, attributes in page.tags:
        for name, value in attributes.items():
            assert name == "aria-label" or "alert" not in (value or ""), (tag, name)
    styles = re.search(r"<style>.*?</style>", html, re.DOTALL)
    assert styles and "alert" not in styles[0]


@pytest.mark.parametrize(
    ("low", "high", "begins"),
    [(0.01, 0.1, "significantly more"), (-0.1, -0.01, "significantly less"), (-0.1, 0.1, "no significant")],
)
def test_a_difference_to_the_grid_counts_where_its_interval_leaves_zero(low: float, high: float, begins: str) -> None:
    assert against_baseline(low, high).startswith(begins)


def test_nothing_comes_from_outside_and_every_image_has_words(html: str) -> None:
    page = Page(html)
    images = [attributes for _, attributes in page.tags if attributes.get("role") == "img"]
    links = [attributes["href"] or "" for _, attributes in page.tags if "href" in attributes]

    assert len(images) == 6 == html.count("<svg")
    assert all(image["aria-label"] for image in images)
    # Only what lies beside the page in the published folder.
    assert {link for link in links if not link.startswith("#")} == {"timings.csv"}
    assert not [tag for tag, attributes in page.tags if "src" in attributes or tag in {"link", "iframe", "img"}]
    names_of_formats = re.compile(r' xmlns(:xlink)?="http://www\.w3\.org/[a-z0-9/]+"')
    assert not re.search(r"https?:|url\((?!#)|@import", names_of_formats.sub("", html))
    assert all("scope" in attributes for tag, attributes in page.tags if tag == "th")


def test_the_same_report_gives_the_same_bytes(html: str) -> None:
    assert render(make_report()).encode() == html.encode()


def test_a_night_without_a_choice_a_strategy_or_a_revenue_still_renders() -> None:
    report = make_report(1)
    bare = dataclasses.replace(
        report,
        notation=Notation(),
        evaluation=report.evaluation.assign(chosen=False, is_best_silhouette=False, silhouette=np.nan),
        strategies=report.strategies[:0],
        profiles=report.profiles.assign(revenue_share=np.nan),
    )
    text = Page(without_figures(bare)).text

    assert "1,001 customers in 1 segment as of" in text
    assert "No candidate was chosen." in text
    assert "no candidate has a silhouette" in text


@pytest.mark.parametrize(
    ("value", "expected"),
    [(None, "not set"), (True, "true"), ([], "empty"), (("a", "b"), "a, b"), ({"b", "a"}, "a, b"), (0.05, "0.05")],
)
def test_settings_read_as_one_would_write_them(value: object, expected: str) -> None:
    assert setting(value) == expected


def test_the_page_tells_who_moved_by_themselves_and_how_many_the_model_moved():
    migration = pd.DataFrame(
        [(1, "Champions", 1, "Champions", 50)],
        columns=["from_segment_id", "from_segment_name", "to_segment_id", "to_segment_name", "customers"],
    ).assign(from_as_of=pd.Timestamp(2011, 12, 3), to_as_of=pd.Timestamp(2011, 12, 10))
    ways = [
        ("Champions", "Not yet a customer", "new", 9, 1.0),
        ("At Risk", "Champions", "model", 8, 1.0),
        ("At Risk", "Champions", "customer", 7, 1.0),
    ]
    moves = pd.DataFrame(ways, columns=["newly", "before", "moved_by", "customers", "monetary"])

    page = without_figures(dataclasses.replace(make_report(), migration=migration, moves=moves))

    moved = page.split('id="moved"')[1].split("</section>")[0]
    assert "since 3 December 2011" in moved
    assert moved.index("Not yet a customer") < moved.index("At Risk")
    assert "It moved 8 customers" in moved
    assert ">8<" not in moved and ">50<" not in moved and ">7<" in moved
    nobody = dataclasses.replace(make_report(), migration=migration, moves=moves.iloc[:0])
    assert 'id="moved"' not in without_figures(nobody)


def test_every_table_has_a_caption_and_scopes_and_headings_go_down_one_level_at_a_time() -> None:
    page = Page(without_figures(full_report()))
    tags = [tag for tag, _ in page.tags]
    levels = [int(tag[1]) for tag in tags if re.fullmatch("h[1-6]", tag)]

    assert tags.count("table") == tags.count("caption") > 0
    assert all("scope" in attributes for tag, attributes in page.tags if tag == "th")
    assert levels[0] == 1 and levels.count(1) == 1
    assert all(after - before <= 1 for before, after in itertools.pairwise(levels))


@pytest.mark.usefixtures("without_images")
def test_the_first_part_says_how_sure_it_is_in_plain_words() -> None:
    report = full_report()
    shaky = dataclasses.replace(report, profiles=report.profiles.assign(stability=[0.9, 0.5, np.nan]))
    first, other = (Page(without_figures(one)).text.split("Segment by segment")[0] for one in (report, shaky))

    assert "all 2 segments come out much the same (agreement of at least 0.90, where 1 is perfect)" in first
    assert "would have reached 60% of the revenue of the following 90 days: 3.0 times" in first
    assert "1 of 2 come out much the same. Treat the borders of the others as rough: Name 2 (0.50)" in other


@pytest.mark.usefixtures("without_images")
def test_numbers_are_those_of_the_place_and_words_stay_english() -> None:
    text = Page(without_figures(dataclasses.replace(full_report(), notation=Notation("de", "EUR")))).text

    assert "2.003 customers in 2 segments as of 10 December 2011" in text
    assert "1.000.001 €" in text and "£" not in text


def test_every_template_of_a_section_has_its_function_in_a_part() -> None:
    named = {f"{section.__name__}.html.j2" for part in PARTS for section in part.sections}

    assert {file.name for file in (HERE / "sections").iterdir()} == named


def test_a_rule_names_features_as_people_say_them() -> None:
    assert readable_rule("recency_days <= 96 and frequency >= 6") == "days since last order ≤ 96 and orders ≥ 6"


@pytest.mark.parametrize("slope", range(1, 12))
def test_an_axis_along_which_the_cells_do_not_vary_has_no_variance(slope):
    along = np.arange(1, 6) * 0.1

    _, labels = principal_plane(np.column_stack([along, along * slope]), np.ones(5), ["recency", "frequency"])

    assert [label.partition("(")[2] for label in labels] == ["100% of variance)", "0% of variance)"]


def card(**strategy: Any) -> str:
    """The text of the first segment's card with other columns of its strategy."""
    report = make_report(1)
    text = Page(without_figures(dataclasses.replace(report, strategies=report.strategies.assign(**strategy)))).text
    return text.partition("Name 1 segment 1")[2].partition("No purchases")[0]


MEASURED: dict[str, Any] = {
    "measured_from": date(2011, 9, 11), "measured_customers": 812, "repurchase_rate": 0.34,
    "repurchase_rate_low": 0.31, "repurchase_rate_high": 0.372, "shop_repurchase_rate": 0.28,
    "measured_revenue": 57.4, "measured_revenue_low": 45.0, "measured_revenue_high": 70.25,
}  # fmt: skip


def test_a_card_says_who_is_leaving_and_whose_actions_they_get() -> None:
    report = make_report(1)
    advice = pd.DataFrame(
        [(1, "active", "Champions", 700), (1, "lapsed", "Can't Lose", 200), (1, "lost", "Can't Lose", 50),
         (1, "overdue", "Need Attention", 51), (0, None, "No purchases", 7)],
        columns=["segment_id", "lifecycle", "advice", "customers"],
    )  # fmt: skip
    changed = dataclasses.replace(report, advice=advice, profiles=report.profiles.assign(grid_name="Champions"))

    shown = Page(without_figures(changed)).text.partition("Name 1 segment 1")[2].partition("No purchases")[0]

    assert (
        "By their own rhythm: 69.9% active, 5.1% overdue, 25.0% leaving. So these actions suit 700 of them; the others"
        " get those of Can't Lose (250) and Need Attention (51)."
    ) in shown


def test_without_a_budget_no_sentence_speaks_of_one() -> None:
    report = make_report()
    page = without_figures(dataclasses.replace(report, strategies=report.strategies.assign(budget=None)))

    assert "budget" not in page.lower().partition("strategies.")[0]


@pytest.mark.parametrize(
    ("contacts_per_customer", "reached_share", "sentence"),
    [
        (12.0, 1.0, "It pays for 12 contacts per customer in 90 days, at £0.50 each."),
        (1.5, 1.0, "It pays for 1.5 contacts per customer in 90 days, at £0.50 each."),
        (0.25, 0.25, "It pays for one contact in 90 days with 25.0% of the customers, at £0.50 each."),
    ],
)
def test_contacts_are_stated_per_customer_and_period(
    contacts_per_customer: float, reached_share: float, sentence: str
) -> None:
    shown = card(
        contacts=100, contacts_per_customer=contacts_per_customer, reached_share=reached_share, contact_cost=0.5
    )

    assert sentence in shown


def test_a_card_shows_what_was_measured_with_its_interval() -> None:
    shown = card(**MEASURED)

    assert (
        "Measured: 34.0% (31.0% to 37.2%) of the 812 customers who would have been in this segment on 11 September 2011"
        " bought within 90 days; of all customers, 28.0% did. On average, each of them brought £57.40 (£45.00 to"
        " £70.25)."
    ) in shown
    assert "£5,001 more revenue, if every customer below the upper quartile spent as much as it." in shown
    assert "disagree" not in shown


def test_a_card_says_that_plan_and_measurement_disagree() -> None:
    assert "Plan and measurement disagree: The actions expect" in card(
        **MEASURED, disagreement="The actions expect it."
    )


def test_a_card_without_a_measurement_says_why_and_claims_no_headroom() -> None:
    shown = card(unmeasured_because="The history is too short.")

    assert "Not measured: The history is too short." in shown
    assert "more revenue" not in shown
