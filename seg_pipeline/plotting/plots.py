"""Plots of the evaluation: a table in, a matplotlib Figure out.

No file is written here, nothing is read, and pyplot with its global state is never used. Colours are Okabe and Ito's,
which colour-blind readers can tell apart. matplotlib is imported where a plot is drawn: importing this module is cheap.
"""

from __future__ import annotations

import base64
import io
import math
import re
import textwrap
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from seg_pipeline.evaluation.value import TARGETED
from seg_pipeline.models.registry import BASELINE
from seg_pipeline.models.tables import TITLES
from seg_pipeline.plotting.notation import Notation

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

ENGLISH = Notation()

BLUE, ORANGE, GREEN, VERMILLION, PURPLE, SKY, YELLOW = (
    "#0072B2",
    "#E69F00",
    "#009E73",
    "#D55E00",
    "#CC79A7",
    "#56B4E9",
    "#F0E442",
)
INK, GREY, PALE, SHADE, PAPER = "#222222", "#767676", "#D9D9D9", "#F1F1F1", "#FFFFFF"
# In the report these follow the page, light or dark, as does matplotlib's black. What is on a colour stays as it is.
PAGE_COLOURS = {"#000000": "ink", INK: "ink", GREY: "soft", PALE: "line", SHADE: "panel", PAPER: "paper"}
ON_COLOUR = "#1A1A1A"
SERIES = (BLUE, VERMILLION, GREEN, PURPLE, ORANGE, SKY, INK, YELLOW)
MARKERS = ("o", "s", "^")

FEATURE_LABELS = {
    "recency_days": "Days since last order",
    "frequency": "Orders",
    "monetary": "Spend",
    "avg_order_value": "Average order value",
    "tenure_days": "Days since first order",
    "days_between_orders": "Days between orders",
    "return_rate": "Return rate",
}

WIDTH_INCHES = 10.0
# Share of the map that all bubbles would cover if none overlapped; the smallest and largest bubble in square points.
MAP_INK, SMALLEST_BUBBLE, LARGEST_BUBBLE = 0.35, 3.0, 1200.0
MAP_STEPS = 30


def elbow_curves(
    evaluation: pd.DataFrame, *, k_range: tuple[int, int] | None = None, notation: Notation = ENGLISH
) -> Figure:
    """Inertia over k, one panel per algorithm with the others behind it in grey, and the algorithm's elbow marked.

    Args:
        evaluation: one row per candidate; the baseline is left out, for it has one k only.
        k_range: the numbers of segments that teams can serve, shaded.
    """
    curves = _curves(evaluation, "inertia")
    by_bic = set(evaluation.loc[evaluation["bic"].notna(), "algorithm"])
    across = min(max(len(curves), 1), 3)
    down = math.ceil(max(len(curves), 1) / across)
    figure = _figure(0.6 + 2.8 * down, "How much spread is left within the segments, for each number of segments")
    grid = figure.subplots(down, across, sharex=True, sharey=True, squeeze=False)
    panels = list(grid.flat)
    for empty in panels[max(len(curves), 1) :]:
        empty.set_visible(False)
    colours = algorithm_colours(evaluation["algorithm"])
    for axes, (algorithm, curve) in zip(panels, curves.items(), strict=False):
        _shade(axes, k_range)
        for other, behind in curves.items():
            if other != algorithm:
                axes.plot(behind["k"], behind["inertia"], color=PALE, linewidth=1.2, zorder=1)
        axes.plot(curve["k"], curve["inertia"], color=colours[algorithm], marker="o", markersize=4, linewidth=2)
        for _, elbow in curve[curve["is_elbow"].eq(True)].iterrows():
            _ring(axes, elbow["k"], elbow["inertia"], colours[algorithm])
            axes.annotate(
                f"elbow{' of BIC' if algorithm in by_bic else ''}: k = {elbow['k']:.0f}",
                (elbow["k"], elbow["inertia"]),
                xytext=(10, 12),
                textcoords="offset points",
                ha="left" if elbow["k"] <= curve["k"].median() else "right",
                color=INK,
            )
        axes.set_title(algorithm_label(algorithm), fontsize=10, color=INK, loc="left")
        _whole_ticks(axes, curve["k"])
        axes.set_xlabel("segments (k)")
        # Headroom keeps the elbow's words inside the panel however flat the curve is.
        axes.set_ylim(0, max((c["inertia"].max() for c in curves.values()), default=1.0) * 1.12 or 1.0)
    for first in grid[:, 0]:
        first.set_ylabel("inertia (squared distance)")
    panels[0].yaxis.set_major_formatter(lambda value, _: notation.number(value))
    if not curves:
        _note(panels[0], "No candidate has an inertia.")
    return figure


def silhouette_curves(
    evaluation: pd.DataFrame, *, k_range: tuple[int, int] | None = None, notation: Notation = ENGLISH
) -> Figure:
    """Silhouette over k, one line per algorithm; rings mark the best of each, a star the choice, dashes the baseline.

    Args:
        evaluation: one row per candidate and one for the baseline.
        k_range: the numbers of segments that teams can serve, shaded.
    """
    curves = _curves(evaluation, "silhouette")
    figure = _figure(
        4.2, "How clearly the segments stand apart (ring: the best by silhouette alone; star: the one chosen)"
    )
    axes = figure.subplots()
    axes.set_xlabel("segments (k)")
    axes.set_ylabel("silhouette (-1 to 1, higher is clearer)")
    if not curves:
        _note(axes, "No candidate has a silhouette: it needs two segments at least.")
        return figure
    _shade(axes, k_range)
    colours = algorithm_colours(evaluation["algorithm"])
    ends: list[tuple[float, str, str]] = []
    for algorithm, curve in curves.items():
        colour = colours[algorithm]
        axes.plot(curve["k"], curve["silhouette"], color=colour, marker="o", markersize=4, linewidth=2)
        for _, best in curve[curve["is_best_silhouette"].eq(True)].iterrows():
            _ring(axes, best["k"], best["silhouette"], colour)
        for _, chosen in curve[curve["chosen"].eq(True)].iterrows():
            axes.plot(
                [chosen["k"]], [chosen["silhouette"]], marker="*", markersize=17, color=colour, markeredgecolor=PAPER
            )
        ends.append((curve["silhouette"].iloc[-1], algorithm_label(algorithm), colour))
    for _, grid in evaluation[evaluation["algorithm"].eq(BASELINE) & evaluation["silhouette"].notna()].iterrows():
        axes.axhline(grid["silhouette"], color=GREY, linestyle="--", linewidth=1.4, zorder=1)
        ends.append((grid["silhouette"], f"R x F grid, {grid['k']:.0f} segments", INK))
    _whole_ticks(axes, pd.concat([curve["k"] for curve in curves.values()]))
    axes.yaxis.set_major_formatter(lambda value, _: notation.number(value, 2))
    _label_ends(figure, axes, ends)
    return figure


def algorithm_comparison(evaluation: pd.DataFrame, *, notation: Notation = ENGLISH) -> Figure:
    """Four metrics side by side: each algorithm's best-ranked candidate, its silhouette's own, and the baseline."""
    rows = finalists(evaluation)
    metrics = [
        ("silhouette", "Silhouette", "higher is better", notation.number, 3),
        ("calinski_harabasz", "Calinski-Harabasz", "higher is better", notation.number, 0),
        ("davies_bouldin", "Davies-Bouldin", "lower is better", notation.number, 2),
        ("explained_share", "Explained share", "higher is better", notation.share, 0),
    ]
    figure = _figure(1.5 + 0.36 * len(rows), "The best of each algorithm against the baseline")
    panels = figure.subplots(1, len(metrics), sharey=True)
    places = np.arange(len(rows))
    algorithms, chosen = list(rows["algorithm"]), list(rows["chosen"].eq(True))
    colours = [
        BLUE if taken else GREY if name == BASELINE else SKY for name, taken in zip(algorithms, chosen, strict=True)
    ]
    for axes, (metric, title, direction, written, decimals) in zip(panels, metrics, strict=True):
        values = rows[metric].astype(float).to_numpy()
        axes.barh(places, np.nan_to_num(values), color=colours, height=0.68)
        for place, value in zip(places, values, strict=True):
            axes.annotate(
                written(value, decimals),
                (max(0.0, np.nan_to_num(value)), place),
                xytext=(3, 0),
                textcoords="offset points",
                va="center",
                fontsize=9,
            )
        axes.set_title(f"{title}\n{direction}", fontsize=9.5, color=INK, loc="left")
        _bars_only(axes)
        finite = values[np.isfinite(values)]
        # Room on the right for the number at the end of the longest bar.
        axes.set_xlim(min(0.0, *finite, 0.0), max(*finite, 0.0, 1e-9) * 1.32)
    labels = [
        f"{algorithm_label(name)}, k = {k}" + (" (chosen)" if taken else "")
        for name, k, taken in zip(algorithms, rows["k"], chosen, strict=True)
    ]
    panels[0].set_yticks(places, labels)
    panels[0].set_ylim(len(rows) - 0.5, -0.5)
    for label, taken in zip(panels[0].get_yticklabels(), chosen, strict=True):
        label.set_fontweight("bold" if taken else "normal")
    return figure


def cluster_map(cells: pd.DataFrame, axis_labels: tuple[str, str]) -> Figure:
    """Cells on their first two principal components: area is customers, colour is the segment, names at the centres.

    Args:
        cells: x, y, customers, segment_id, segment_name; one row per cell.
        axis_labels: what each axis is made of, in words.
    """
    figure = _figure(6.2, "Where the segments lie: each bubble is a group of like customers, its area their number")
    axes = figure.subplots()
    axes.set_xlabel(_plain(textwrap.fill(axis_labels[0], 100)))
    axes.set_ylabel(_plain(textwrap.fill(axis_labels[1], 54)))
    axes.axhline(0, color=PALE, linewidth=0.8, zorder=0)
    axes.axvline(0, color=PALE, linewidth=0.8, zorder=0)
    cells = _bubbles(cells.reset_index(drop=True))
    customers = cells["customers"]
    paper = WIDTH_INCHES * 6.2 * 72**2
    area = (customers * MAP_INK * paper / max(customers.sum(), 1.0)).clip(SMALLEST_BUBBLE, LARGEST_BUBBLE)
    styles = segment_styles(cells["segment_id"])
    centres: list[tuple[float, float, str, str]] = []
    for segment_id, members in cells.sort_values("segment_id", kind="stable").groupby("segment_id"):
        colour, marker = styles[int(str(segment_id))]
        weight = customers.loc[members.index]
        axes.scatter(
            members["x"],
            members["y"],
            s=area.loc[members.index],
            color=colour,
            marker=marker,
            alpha=0.6,
            linewidths=0,
        )
        x, y = (float(np.average(members[axis], weights=weight)) for axis in ("x", "y"))
        centres.append((x, y, str(members["segment_name"].iloc[0]), colour))
    _label_centres(figure, axes, centres)
    return figure


def feature_profiles(profiles: pd.DataFrame, *, notation: Notation = ENGLISH) -> Figure:
    """Heatmap of the segments' medians: the real values written in, coloured by rank among the segments."""
    from matplotlib.colors import LinearSegmentedColormap

    profiles = by_revenue(profiles)
    columns = [column for column in profiles.columns if column.startswith("median_")]
    features = [column.removeprefix("median_") for column in columns]
    medians = profiles[columns].astype(float)
    lowest_to_highest = medians.rank(method="average")
    count = medians.notna().sum()
    # -1 for the lowest, 1 for the highest; a lone value stands in the middle.
    shade = (lowest_to_highest - (count + 1) / 2) / ((count - 1) / 2).clip(lower=0.5)

    figure = _figure(
        1.5 + 0.42 * len(profiles),
        "A typical customer of each segment (medians; orange: lowest of the segments, blue: highest)",
    )
    axes = figure.subplots()
    # Both ends stay light enough for dark numbers.
    scale = LinearSegmentedColormap.from_list("orange to blue", ["#F2B45C", "#F7F7F7", "#7DB8E0"], bad="#EEEEEE")
    edges = (np.arange(size + 1) - 0.5 for size in reversed(shade.shape))
    axes.pcolormesh(
        *edges, np.ma.masked_invalid(shade.to_numpy()), cmap=scale, vmin=-1, vmax=1, edgecolors=PAPER, linewidth=2
    )
    axes.invert_yaxis()
    for row, values in enumerate(medians.to_numpy()):
        for column, value in enumerate(values):
            text = notation.feature(value, features[column])
            axes.text(column, row, _plain(text), ha="center", va="center", color=ON_COLOUR, fontsize=9.5)
    axes.set_xticks(range(len(features)), [textwrap.fill(feature_label(feature), 12) for feature in features])
    axes.set_yticks(range(len(profiles)), _names(profiles))
    axes.tick_params(length=0, top=False, labeltop=True, bottom=False, labelbottom=False)
    axes.spines[:].set_visible(False)
    return figure


def sizes_and_revenue(profiles: pd.DataFrame, *, notation: Notation = ENGLISH) -> Figure:
    """Paired bars per segment: its share of the customers and its share of the revenue."""
    profiles = by_revenue(profiles)
    figure = _figure(1.2 + 0.62 * len(profiles), "Who the customers are and where the revenue comes from")
    axes = figure.subplots()
    places = np.arange(len(profiles))
    shortest, longest = 0.0, 0.0
    for column, name, colour, shift in (
        ("share", "of the customers", SKY, -0.19),
        ("revenue_share", "of the revenue", BLUE, 0.19),
    ):
        values = profiles[column].astype(float).to_numpy()
        widths = np.nan_to_num(values)
        shortest, longest = min(shortest, *widths), max(longest, *widths)
        axes.barh(places + shift, widths, height=0.36, color=colour, label=name)
        for place, value in zip(places, values, strict=True):
            text = notation.share(value)
            # The first pair says what its bars are, so that no legend is needed.
            text += f" {name}" if place == 0 else ""
            at = (max(0.0, np.nan_to_num(value)), place + shift)
            axes.annotate(text, at, xytext=(4, 0), textcoords="offset points", va="center", fontsize=9.5)
    axes.set_yticks(places, _names(profiles))
    axes.set_ylim(len(profiles) - 0.45, -0.55)
    _bars_only(axes)
    axes.set_xlim(shortest, (longest or 1.0) * 1.25)
    return figure


def value_curves(
    by_segment: pd.DataFrame, chosen: tuple[str, int] | None = None, *, notation: Notation = ENGLISH
) -> Figure:
    """Share of the later revenue over the share of customers targeted, best segments first; a dot ends each segment.

    Args:
        by_segment: rows of value_by_segment of one night.
        chosen: algorithm and k of the choice as they were tested; the baseline is drawn anyway.
    """
    figure = _figure(4.4, "What share of the next period's revenue one would have reached, best segments first")
    axes = figure.subplots()
    axes.plot([0, 1], [0, 1], color=PALE, linewidth=1.4, label="Random customers")
    for algorithm, curve in by_segment[by_segment["algorithm"].eq(BASELINE)].groupby("algorithm"):
        label = f"{algorithm_label(str(algorithm))}, {len(curve)} segments"
        axes.plot(*_reached(curve), color=GREY, linestyle="--", marker="o", markersize=3, linewidth=1.6, label=label)
    if chosen and chosen[0] != BASELINE:
        curve = by_segment[by_segment["algorithm"].eq(chosen[0]) & by_segment["k"].eq(chosen[1])]
        label = f"{algorithm_label(chosen[0])}, {len(curve)} segments (chosen)"
        axes.plot(*_reached(curve), color=BLUE, marker="o", markersize=5, linewidth=2.2, label=label)
    axes.axvline(TARGETED, color=GREY, linewidth=0.8, linestyle=":")
    axes.annotate(
        f"first {notation.share(TARGETED, 0)}",
        (TARGETED, 0),
        xytext=(4, 4),
        textcoords="offset points",
        fontsize=9,
        color=INK,
    )
    axes.set_xlabel("share of the customers targeted")
    axes.set_ylabel("share of the revenue reached")
    axes.set_xlim(0, 1)
    axes.margins(y=0.02)
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_formatter(lambda value, _: notation.share(value, 0))
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(loc="lower right", frameon=False, fontsize=9.5, reverse=True)
    return figure


def flow(migration: pd.DataFrame, *, notation: Notation = ENGLISH) -> Figure:
    """Who moved from where to where: segments then on the left, now on the right, bands as thick as their customers.

    Who stayed is pale, who moved has the colour of the segment that was left.

    Args:
        migration: from_as_of, to_as_of, from_segment_id, from_segment_name, to_segment_id, to_segment_name, customers
            of one pair of nights.
    """
    from matplotlib.patches import PathPatch
    from matplotlib.path import Path as Curve

    total, gap = float(migration["customers"].sum()), 0.03
    sides = {side: _side(migration, side) for side in ("from", "to")}
    first, last = migration["from_as_of"].iloc[0], migration["to_as_of"].iloc[0]
    title = f"Where customers were on {first:%Y-%m-%d}, and where they are on {last:%Y-%m-%d}"
    figure = _figure(1.2 + 0.55 * max(map(len, sides.values())), title)
    axes = figure.subplots()
    styles = segment_styles({*migration["from_segment_id"], *migration["to_segment_id"]})
    tops = [1.0 + gap * (len(side) - 1) for side in sides.values()]
    place: dict[tuple[str, int], float] = {}
    for (name, side), x, top, align in zip(sides.items(), (0.0, 1.0), tops, ("right", "left"), strict=True):
        y = top
        for segment, segment_name, customers in side:
            height = customers / total
            place[name, segment] = y
            axes.bar(x, -height, width=0.02, bottom=y, color=styles[segment][0])
            axes.annotate(
                f"{_plain(segment_name)}  {notation.number(customers)}",
                (x, y - height / 2),
                xytext=(-8 if align == "right" else 8, 0),
                textcoords="offset points",
                ha=align,
                va="center",
                fontsize=9.5,
                color=INK,
            )
            y -= height + gap
    for row in migration.sort_values(["from_segment_id", "to_segment_id"]).to_dict("records"):
        height = row["customers"] / total
        y, z = place["from", row["from_segment_id"]], place["to", row["to_segment_id"]]
        stayed = row["from_segment_id"] == row["to_segment_id"]
        edge = [(0.01, y), (0.5, y), (0.5, z), (0.99, z), (0.99, z - height), (0.5, z - height), (0.5, y - height)]
        band = Curve([*edge, (0.01, y - height)], [1, 4, 4, 4, 2, 4, 4, 4])
        colour = PALE if stayed else styles[int(row["from_segment_id"])][0]
        axes.add_patch(PathPatch(band, facecolor=colour, edgecolor="none", alpha=0.5 if stayed else 0.75))
        place["from", row["from_segment_id"]] -= height
        place["to", row["to_segment_id"]] -= height
    axes.set_xlim(-0.55, 1.55)
    axes.set_ylim(-0.02, max(tops) + 0.02)
    axes.set_axis_off()
    return figure


def _side(migration: pd.DataFrame, side: str) -> list[tuple[int, str, int]]:
    """Segment, its name and customers of one side of the flow; who is no customer comes last."""
    rows = migration.groupby([f"{side}_segment_id", f"{side}_segment_name"])["customers"].sum().reset_index()
    found = [(int(segment), str(name), int(customers)) for segment, name, customers in rows.itertuples(index=False)]
    return sorted(found, key=lambda one: (one[0] < 0, one[0]))


def png_base64(figure: Figure, *, dpi: int = 144, colours: int = 128) -> str:
    """The figure as a PNG in base64: the same figure gives the same bytes, kept few by a palette."""
    from PIL import Image

    drawn, png = io.BytesIO(), io.BytesIO()
    figure.savefig(drawn, format="png", dpi=dpi, metadata={"Software": None}, pil_kwargs={"compress_level": 1})
    with Image.open(drawn) as image:
        image.convert("RGB").quantize(colours, dither=Image.Dither.NONE).save(png, format="png", optimize=True)
    return base64.b64encode(png.getvalue()).decode("ascii")


def svg(figure: Figure, name: str) -> str:
    """The figure as SVG to stand in a page that defines --ink, --soft, --line, --panel and --paper and fills with ink.

    The same figure gives the same text. Letters are outlines, so that nothing moves where a font is missing.

    Args:
        figure: Any of this module's.
        name: Comes before every id, so that several figures can stand in one page.
    """
    from matplotlib import rc_context

    drawn = io.StringIO()
    with rc_context({"svg.hashsalt": name, "svg.fonttype": "path"}):
        figure.savefig(drawn, format="svg", metadata=dict.fromkeys(("Creator", "Date", "Format", "Type")))
    text = drawn.getvalue()
    unneeded = r"<!--.*?-->\s*|<metadata>.*?</metadata>\s*|<style.*?</style>\s*"
    text = re.sub(unneeded, "", text[text.index("<svg") :], flags=re.DOTALL)
    # Hundredths of a point are finer than any screen.
    text = re.sub(r' d="[^"]+"', lambda path: re.sub(r"(\.\d\d)\d+", r"\1", path[0]), text)
    # Only what is referred to needs an id.
    used = set(re.findall(r"[\"(]#([^\")]+)", text))
    text = re.sub(r' id="([^"]+)"', lambda found: found[0] if found[1] in used else "", text)
    text = re.sub(r'(?<= id=")|(?<=[\"(]#)', f"{name}-", text)
    for colour, variable in PAGE_COLOURS.items():
        text = text.replace(colour.lower(), f"var(--{variable})")
    return text


def markdown_image(figure: Figure, title: str) -> str:
    """The figure as a Markdown image with its data inside, for `MetadataValue.md`.

    Coarser than the report's images: Dagster keeps it in its event log for every run.
    """
    return f"![{title}](data:image/png;base64,{png_base64(figure, dpi=72, colours=32)})"


def algorithm_label(algorithm: str) -> str:
    """The algorithm's name as people write it."""
    return TITLES.get(algorithm, algorithm.capitalize())


def feature_label(feature: str) -> str:
    """The feature's name in words, with its unit where it has one."""
    return FEATURE_LABELS.get(feature, feature.replace("_", " ").capitalize())


def by_revenue(profiles: pd.DataFrame) -> pd.DataFrame:
    """The segments by revenue, largest first; those with no purchases last."""
    profiles = profiles.reset_index(drop=True)
    keys = pd.DataFrame(
        {
            "bought": ~profiles["segment_id"].eq(0),
            "revenue": profiles["revenue"].astype(float),
            "id": -profiles["segment_id"],
        }
    )
    order = keys.sort_values(["bought", "revenue", "id"], ascending=False, kind="stable").index
    return profiles.loc[order].reset_index(drop=True)


def finalists(evaluation: pd.DataFrame) -> pd.DataFrame:
    """Of each algorithm the chosen or best-ranked candidate and its best by silhouette; then the baseline."""
    evaluation = evaluation.reset_index(drop=True)
    picked: list[int] = []
    for algorithm, rows in evaluation.groupby("algorithm", sort=False):
        ranked = rows.assign(
            taken=rows["chosen"].eq(True).astype(int), rank=pd.to_numeric(rows["rank"]).astype("Float64")
        )
        best = ranked.sort_values(["taken", "rank", "silhouette"], ascending=[False, True, False], kind="stable").index[
            :1
        ]
        own = rows.index[rows["is_best_silhouette"].eq(True) & (algorithm != BASELINE)]
        picked += [*best, *own.difference(best)]
    rows = evaluation.loc[picked]
    last = rows["algorithm"].eq(BASELINE)
    return pd.concat([rows[~last], rows[last]]).reset_index(drop=True)


def algorithm_colours(algorithms: Iterable[str]) -> dict[str, str]:
    """One colour per algorithm, by order of appearance; the baseline is grey."""
    names = [name for name in dict.fromkeys(algorithms) if name != BASELINE]
    return {name: SERIES[i % len(SERIES)] for i, name in enumerate(names)} | {BASELINE: GREY}


def segment_styles(segment_ids: Iterable[int]) -> dict[int, tuple[str, str]]:
    """Colour and marker of each segment, from its id alone, so they stay from night to night; 0 and -1 are grey."""
    return {
        int(i): (GREY, "X")
        if i <= 0
        else (SERIES[(int(i) - 1) % len(SERIES)], MARKERS[(int(i) - 1) // len(SERIES) % len(MARKERS)])
        for i in segment_ids
    }


def _figure(height_inches: float, title: str) -> Figure:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(WIDTH_INCHES, height_inches), dpi=100, facecolor=PAPER)
    figure.set_layout_engine("constrained", w_pad=0.1, h_pad=0.1)
    figure.suptitle(title, fontsize=11.5, fontweight="bold", color=INK, x=0.01, ha="left")
    return figure


def _curves(evaluation: pd.DataFrame, metric: str) -> dict[str, pd.DataFrame]:
    rows = evaluation[evaluation[metric].notna() & evaluation["algorithm"].ne(BASELINE)].sort_values("k", kind="stable")
    order = [name for name in dict.fromkeys(evaluation["algorithm"]) if name in set(rows["algorithm"])]
    return {name: rows[rows["algorithm"].eq(name)] for name in order}


def _bubbles(cells: pd.DataFrame) -> pd.DataFrame:
    """Cells of one segment that the eye could not tell apart, as one: thousands of cells stay a small picture."""
    place = cells[["x", "y"]].astype(float)
    step = ((place.max() - place.min()) / MAP_STEPS).replace(0.0, 1.0)
    weight = cells["customers"].astype(float)
    squares = (place / step).round()
    keys = [cells["segment_id"].rename("segment_id"), squares["x"].rename("column"), squares["y"].rename("row")]
    sums = place.mul(weight, axis=0).assign(customers=weight).groupby(keys).sum()
    names = cells["segment_name"].groupby(keys).first()
    means = sums[["x", "y"]].div(sums["customers"], axis=0)
    return means.assign(customers=sums["customers"], segment_name=names).reset_index()


def _names(profiles: pd.DataFrame) -> list[str]:
    return [_plain(textwrap.fill(str(name), 26)) for name in profiles["segment_name"]]


def _plain(text: str) -> str:
    """matplotlib sets text between two dollar signs as mathematics; here they are money."""
    return text.replace("$", r"\$")


def _ring(axes: Axes, x: float, y: float, colour: str) -> None:
    axes.plot([x], [y], marker="o", markersize=13, markerfacecolor="none", markeredgecolor=colour, markeredgewidth=2)


def _shade(axes: Axes, k_range: tuple[int, int] | None) -> None:
    if k_range:
        axes.axvspan(k_range[0] - 0.3, k_range[1] + 0.3, color=SHADE, zorder=0, linewidth=0)
        axes.text(
            k_range[0] - 0.2,
            0.02,
            "what teams can serve",
            transform=axes.get_xaxis_transform(),
            fontsize=8.5,
            color=GREY,
        )


def _note(axes: Axes, text: str) -> None:
    axes.text(0.5, 0.5, text, transform=axes.transAxes, ha="center", va="center", color=INK)
    axes.set_xticks([])
    axes.set_yticks([])


def _whole_ticks(axes: Axes, k: pd.Series) -> None:
    axes.set_xticks(sorted({int(value) for value in k}))
    axes.spines[["top", "right"]].set_visible(False)


def _reached(curve: pd.DataFrame) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Shares of the customers and of the revenue, from nobody to everybody, segment by segment."""
    customers, revenue = (
        np.concatenate([[0.0], np.cumsum(curve.sort_values("segment")[column].to_numpy(dtype=np.float64))])
        for column in ("customers", "revenue")
    )
    return customers / customers[-1], revenue / revenue[-1]


def _bars_only(axes: Axes) -> None:
    """Every bar carries its number, so the value axis says nothing more."""
    axes.set_xticks([])
    axes.spines[:].set_visible(False)
    axes.tick_params(axis="y", length=0)
    axes.axvline(0, color=GREY, linewidth=0.8)


def _spread(places: Sequence[float], gap: float) -> list[float]:
    """The places moved apart, in their order, until neighbours are `gap` or more from each other."""
    order = np.argsort(places, kind="stable")
    moved = np.array(places, dtype=float)
    for _ in range(100):
        steps = np.diff(moved[order])
        close = np.flatnonzero(steps < gap - 1e-6)
        if not len(close):
            break
        for i in close:
            short = gap - (moved[order[i + 1]] - moved[order[i]])
            if short > 0:
                moved[order[i]] -= short / 2
                moved[order[i + 1]] += short / 2
    return [float(value) for value in moved]


def _label_ends(figure: Figure, axes: Axes, ends: Sequence[tuple[float, str, str]]) -> None:
    """Names right of the ends of the lines, moved apart where lines end close together."""
    figure.draw_without_rendering()
    points_per_pixel = 72 / figure.dpi
    heights = [axes.transData.transform((0, y))[1] * points_per_pixel for y, _, _ in ends]
    for (y, text, colour), was, now in zip(ends, heights, _spread(heights, 13.0), strict=True):
        at: dict[str, Any] = {"xycoords": axes.get_yaxis_transform(), "textcoords": "offset points", "va": "center"}
        # A square in the line's colour, for pale letters are hard to read.
        axes.annotate("\N{BLACK SQUARE}", (1, y), xytext=(6, now - was), color=colour, fontsize=9.5, **at)
        axes.annotate(text, (1, y), xytext=(18, now - was), color=INK, fontsize=9.5, **at)


def _label_centres(figure: Figure, axes: Axes, centres: Sequence[tuple[float, float, str, str]]) -> None:
    """Names at the centres; one that would cover another moves up or down, whichever is nearer, with a line back."""
    from matplotlib.patheffects import withStroke

    placed: list[Any] = []
    # Margins first, so that names near the edge stay inside.
    axes.margins(0.08)
    figure.draw_without_rendering()
    points_per_pixel = 72 / figure.dpi
    for x, y, name, colour in sorted(centres, key=lambda centre: (-centre[1], centre[0])):
        label = axes.annotate(
            _plain(textwrap.shorten(name, 30, placeholder="...")),
            (x, y),
            xytext=(0, 0),
            textcoords="offset points",
            ha="center",
            va="center",
            fontsize=10,
            fontweight="bold",
            color=INK,
            path_effects=[withStroke(linewidth=3.5, foreground=PAPER)],
            arrowprops={"arrowstyle": "-", "color": INK, "linewidth": 0.8, "shrinkA": 0, "shrinkB": 0},
        )
        box = label.get_window_extent().padded(2)
        tries = sorted(range(-40, 41), key=lambda step: (abs(step), step))
        shift = next(
            (step * 4 for step in tries if not any(box.translated(0, step * 4).overlaps(o) for o in placed)), 0
        )
        placed.append(box.translated(0, shift))
        label.set_position((0, shift * points_per_pixel))
        axes.plot([x], [y], marker="o", markersize=5, color=colour, markeredgecolor=INK)
