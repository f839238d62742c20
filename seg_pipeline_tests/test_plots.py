"""The plots hold what their tables say: lines, bars, bubbles and labels are counted on the axes."""

import base64
import itertools
import re
from decimal import Decimal

import numpy as np
import pandas as pd
import pytest
from matplotlib.figure import Figure
from matplotlib.text import Text

from seg_pipeline.features.tables import FEATURES
from seg_pipeline.models.tables import TITLES
from seg_pipeline.plotting import candidates, days, figures, images, segments
from seg_pipeline.plotting.notation import MISSING, Notation

LEGEND = candidates.Legend(TITLES, baseline="rfm_grid")


def candidate(algorithm: str, k: int, silhouette: float, **others: object) -> dict[str, object]:
    row: dict[str, object] = {
        "algorithm": algorithm,
        "k": k,
        "inertia": 1000.0 / k,
        "explained_share": 1 - 1 / k,
        "silhouette": silhouette,
        "calinski_harabasz": 500.0,
        "davies_bouldin": 0.9,
        "bic": None,
        "is_elbow": False,
        "is_best_silhouette": False,
        "rank": None,
        "chosen": False,
    }
    return row | others


@pytest.fixture
def evaluation() -> pd.DataFrame:
    return pd.DataFrame(
        [
            candidate("kmeans", 2, 0.43, is_best_silhouette=True),
            candidate("kmeans", 3, 0.34, is_elbow=True, rank=2),
            candidate("kmeans", 4, 0.33, rank=1, chosen=True),
            candidate("gaussian_mixture", 2, 0.28, is_best_silhouette=True),
            candidate("gaussian_mixture", 3, 0.25, is_elbow=True, rank=3),
            candidate("rfm_grid", 10, 0.12, is_best_silhouette=True),
        ]
    ).astype({"rank": "Int64"})


@pytest.fixture
def profiles() -> pd.DataFrame:
    return pd.DataFrame(
        {
            "segment_id": [0, 1, 2],
            "segment_name": ["No purchases", "Hibernating", "Cost $ or $$"],
            "customers": [10, 600, 390],
            "share": [0.01, 0.6, 0.39],
            "revenue": [Decimal("-5.00"), Decimal("100.00"), Decimal("900.00")],
            "revenue_share": [-0.005, 0.1005, 0.9045],
            "median_recency_days": [np.nan, 200.0, 12.0],
            "median_monetary": [np.nan, 88.5, 1234.5],
        }
    )


def texts(figure: Figure) -> list[str]:
    """All that is written on the figure, tick labels included."""
    figure.draw_without_rendering()
    found = []
    for axes in figure.axes:
        found += [
            text.get_text() for text in [*axes.texts, axes.title, *axes.get_xticklabels(), *axes.get_yticklabels()]
        ]
    return [text for text in found if text]


def test_each_algorithm_has_an_elbow_panel_with_its_elbow_marked(evaluation: pd.DataFrame) -> None:
    figure = candidates.elbow_curves(evaluation, LEGEND, k_range=(3, 8))

    assert [axes.get_title(loc="left") for axes in figure.axes] == ["KMeans", "Gaussian mixture"]
    # The other algorithm in grey, its own curve, the ring.
    assert [len(axes.lines) for axes in figure.axes] == [3, 3]
    assert texts(figure).count("elbow: k = 3") == 2
    assert texts(figure).count("what teams can serve") == 2


def test_seven_algorithms_wrap_into_rows_of_three() -> None:
    seven = pd.DataFrame([candidate(f"algorithm_{i}", k, 0.1) for i in range(7) for k in (2, 3)])

    figure = candidates.elbow_curves(seven, LEGEND)

    assert sum(axes.get_visible() for axes in figure.axes) == 7


def test_silhouette_marks_the_best_the_choice_and_the_baseline(evaluation: pd.DataFrame) -> None:
    (axes,) = candidates.silhouette_curves(evaluation, LEGEND).axes

    assert [line.get_marker() for line in axes.lines if np.size(line.get_xdata()) == 1] == ["o", "*", "o"]
    assert [line.get_linestyle() for line in axes.lines].count("--") == 1
    # A mark in its colour, and its name.
    assert [text.get_text() for text in axes.texts if text.get_text().strip("■")] == [
        "KMeans", "Gaussian mixture", "R x F grid (baseline), 10 segments"
    ]  # fmt: skip


def test_one_segment_has_no_silhouette_and_the_plot_says_so() -> None:
    alone = pd.DataFrame([candidate("kmeans", 1, np.nan, davies_bouldin=np.nan, calinski_harabasz=np.nan)])

    assert any("at least two segments" in text for text in texts(candidates.silhouette_curves(alone, LEGEND)))
    assert MISSING in texts(candidates.algorithm_comparison(alone, LEGEND))
    assert images.png_base64(candidates.elbow_curves(alone, LEGEND))


def test_the_comparison_takes_the_chosen_then_silhouettes_own_then_the_baseline(evaluation: pd.DataFrame) -> None:
    rows = candidates.finalists(evaluation.set_axis([7] * len(evaluation)), "rfm_grid")

    assert list(zip(rows["algorithm"], rows["k"], strict=True)) == [
        ("kmeans", 4),
        ("kmeans", 2),
        ("gaussian_mixture", 3),
        ("gaussian_mixture", 2),
        ("rfm_grid", 10),
    ]
    figure = candidates.algorithm_comparison(evaluation, LEGEND)
    assert [len(axes.patches) for axes in figure.axes] == [5, 5, 5, 5]
    assert "KMeans, k = 4 (chosen)" in texts(figure)


def test_the_map_merges_cells_too_close_to_tell_apart_and_keeps_their_customers() -> None:
    cells = pd.DataFrame(
        {
            "x": [0.0, 0.001, 10.0, 0.0],
            "y": [0.0, 0.001, 10.0, 0.0],
            "customers": [3, 1, 5, 2],
            "segment_id": [1, 1, 1, 2],
            "segment_name": ["One", "One", "One", "Two"],
        }
    )
    merged = segments._bubbles(cells)

    assert merged[["segment_id", "customers", "x"]].to_numpy().tolist() == [[1, 4, 0.00025], [1, 5, 10], [2, 2, 0]]
    (axes,) = segments.cluster_map(cells, ("first", "second")).axes
    assert [len(np.asarray(bubbles.get_offsets())) for bubbles in axes.collections] == [2, 1]


def test_names_on_the_map_never_cover_each_other() -> None:
    names = [f"Segment with a name {i}" for i in range(10)]
    cells = pd.DataFrame(
        {"x": np.linspace(0, 0.01, 10), "y": 0.0, "customers": 1, "segment_id": range(1, 11), "segment_name": names}
    )
    figure = segments.cluster_map(cells, ("first", "second"))
    figure.draw_without_rendering()
    # An annotation's own extent would take in the line back to its centre.
    boxes = [Text.get_window_extent(text) for text in figure.axes[0].texts]

    assert len(boxes) == 10
    assert not any(a.overlaps(b) for a, b in itertools.combinations(boxes, 2))


def test_the_heatmap_writes_real_medians_and_colours_by_rank(profiles: pd.DataFrame) -> None:
    figure = segments.feature_profiles(profiles, FEATURES, notation=Notation(currency="$"))
    (axes,) = figure.axes

    assert [text.get_text().replace("\\", "") for text in axes.texts] == [
        "12",
        "$1,234",
        "200",
        "$88.50",
        *[MISSING] * 2,
    ]
    shades = axes.collections[0].get_array()
    assert shades is not None and np.ma.filled(shades, 9).tolist() == [[-1, 1], [1, -1], [9, 9]]
    assert images.png_base64(figure)


def test_a_lone_segment_has_neutral_colours(profiles: pd.DataFrame) -> None:
    shades = segments.feature_profiles(profiles[1:2], FEATURES).axes[0].collections[0].get_array()

    assert shades is not None and shades.tolist() == [[0, 0]]


def test_every_segment_has_a_bar_for_customers_and_one_for_revenue(profiles: pd.DataFrame) -> None:
    (axes,) = segments.sizes_and_revenue(profiles).axes

    assert [bar.get_width() for bar in axes.patches] == [0.39, 0.6, 0.01, 0.9045, 0.1005, -0.005]  # type: ignore[attr-defined]
    assert [text.get_text() for text in axes.texts][:2] == ["39.0% of the customers", "60.0%"]


def test_a_missing_revenue_share_leaves_a_dash(profiles: pd.DataFrame) -> None:
    assert MISSING in texts(segments.sizes_and_revenue(profiles.assign(revenue_share=np.nan)))


def test_the_same_table_gives_the_same_png_without_metadata(profiles: pd.DataFrame) -> None:
    first, second = (images.png_base64(segments.sizes_and_revenue(profiles)) for _ in range(2))

    assert first == second
    assert not any(chunk in base64.b64decode(first) for chunk in (b"tEXt", b"iTXt", b"tIME"))


def test_a_map_of_thousands_of_cells_stays_small_in_the_event_log() -> None:
    random = np.random.default_rng(1)
    cells = pd.DataFrame(
        {
            "x": random.normal(size=7000),
            "y": random.normal(size=7000),
            "customers": random.integers(1, 300, 7000),
            "segment_id": random.integers(1, 3, 7000),
        }
    ).assign(segment_name=lambda cells: "Segment " + cells["segment_id"].astype(str))
    image = images.markdown_image(segments.cluster_map(cells, ("first", "second")), "Map")

    assert image.startswith("![Map](data:image/png;base64,")
    assert len(image) < 60_000


@pytest.mark.parametrize(
    ("places", "gap", "expected"),
    [([1.0, 50.0], 10, [1.0, 50.0]), ([5.0, 5.0], 10, [0.0, 10.0]), ([8.0, 0.0], 10, [9.0, -1.0]), ([], 10, [])],
)
def test_labels_move_apart_only_where_they_are_close(places: list[float], gap: float, expected: list[float]) -> None:
    assert candidates._spread(places, gap) == pytest.approx(expected)


def test_a_page_gets_the_same_svg_each_time_in_colours_and_with_ids_of_its_own(
    profiles: pd.DataFrame,
) -> None:
    first, second = (images.svg(segments.sizes_and_revenue(profiles), "sizes") for _ in range(2))

    assert first == second
    assert first.startswith("<svg")
    assert "var(--ink)" in first and figures.INK.lower() not in first
    assert all(one.startswith("sizes-") for one in re.findall(r' id="([^"]+)"', first))
    assert "<metadata>" not in first


def test_a_segments_colour_follows_from_its_id_and_no_two_of_ten_look_the_same() -> None:
    styles = figures.segment_styles(range(11))

    assert figures.segment_styles([4])[4] == styles[4]
    assert len(set(styles.values())) == 11


def test_the_value_curves_run_from_nobody_to_everybody_and_end_a_segment_at_each_dot() -> None:
    by_segment = pd.DataFrame(
        [
            ("kmeans", 2, 1, 20, Decimal("90.00")),
            ("kmeans", 2, 2, 80, Decimal("10.00")),
            ("kmeans", 3, 1, 100, Decimal("100.00")),
            ("rfm_grid", 2, 2, 50, Decimal("40.00")),
            ("rfm_grid", 2, 1, 50, Decimal("60.00")),
            ("random", 2, 1, 100, Decimal("100.00")),
        ],
        columns=["algorithm", "k", "segment", "customers", "revenue"],
    )

    axes = candidates.value_curves(by_segment, LEGEND, targeted=0.2, chosen=("kmeans", 2)).axes[0]

    drawn = {str(line.get_label()): np.asarray(line.get_xydata()).tolist() for line in axes.lines}
    assert drawn["KMeans, 2 segments (chosen)"] == [[0, 0], [0.2, 0.9], [1, 1]]
    assert drawn["R x F grid (baseline), 2 segments"] == [[0, 0], [0.5, 0.6], [1, 1]]
    assert drawn["Random customers"] == [[0, 0], [1, 1]]


def test_the_value_curve_of_a_grid_that_was_chosen_is_drawn_once() -> None:
    by_segment = pd.DataFrame(
        [("rfm_grid", 1, 1, 50, 60.0)], columns=["algorithm", "k", "segment", "customers", "revenue"]
    )

    figure = candidates.value_curves(by_segment, LEGEND, targeted=0.2, chosen=("rfm_grid", 1))

    assert len([line for line in figure.axes[0].lines if line.get_marker() == "o"]) == 1


def test_days_that_are_not_as_usual_are_marked_in_every_panel() -> None:
    dates = pd.date_range("2024-01-01", periods=4)
    rows = pd.DataFrame({column: [1.0, 2.0, 9.0, 2.0] for column, *_ in days.PANELS})
    rows = rows.assign(order_day=dates, verdict=["ok", "odd", "impossible", "ok"])

    figure = days.day_trends(rows)

    for axes in figure.axes:
        [line] = axes.lines
        assert np.array_equal(line.get_ydata(), [1, 2, 9, 2])
        assert [np.asarray(marks.get_offsets())[0, 1] for marks in axes.collections] == [2, 9]
    legend = figure.axes[0].get_legend()
    assert legend and [text.get_text() for text in legend.get_texts()] == ["odd", "impossible"]
    assert days.day_trends(rows.assign(verdict="ok")).axes[0].get_legend() is None
