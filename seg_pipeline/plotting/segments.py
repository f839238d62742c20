"""Charts of the segments: sizes and revenue, feature profiles, the cluster map, and moves between segments."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from seg_pipeline.plotting.figures import (
    BLUE,
    ENGLISH,
    INK,
    ON_COLOUR,
    PALE,
    PAPER,
    SKY,
    WIDTH_INCHES,
    bars_only,
    empty_figure,
    plain,
    segment_styles,
)
from seg_pipeline.plotting.notation import Notation
from seg_pipeline.tables import Column

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# Share of the map that all bubbles would cover if none overlapped; the smallest and largest bubble in square points.
MAP_INK, SMALLEST_BUBBLE, LARGEST_BUBBLE = 0.35, 3.0, 1200.0
# The map is divided into this many steps each way; cells of a segment within the same step become one bubble.
MAP_STEPS = 30


def sizes_and_revenue(profiles: pd.DataFrame, *, notation: Notation = ENGLISH) -> Figure:
    """Draws two bars per segment: its share of the customers and its share of the revenue."""
    profiles = by_revenue(profiles)
    figure = empty_figure(1.2 + 0.62 * len(profiles), "Each segment's share of the customers and of the revenue")
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
            # The first pair of bars is labelled, so no legend is needed.
            text += f" {name}" if place == 0 else ""
            at = (max(0.0, np.nan_to_num(value)), place + shift)
            axes.annotate(text, at, xytext=(4, 0), textcoords="offset points", va="center", fontsize=9.5)
    axes.set_yticks(places, _names(profiles))
    axes.set_ylim(len(profiles) - 0.45, -0.55)
    bars_only(axes)
    axes.set_xlim(shortest, (longest or 1.0) * 1.25)
    return figure


def feature_profiles(profiles: pd.DataFrame, features: Mapping[str, Column], *, notation: Notation = ENGLISH) -> Figure:
    """Draws a heatmap of the segments' medians, coloured by rank among the segments, with the values written in.

    Args:
        profiles: One night of segment_profiles; its columns `median_*` are drawn.
        features: The features by name, with their titles and units.
        notation: How numbers and money are written.
    """
    from matplotlib.colors import LinearSegmentedColormap

    profiles = by_revenue(profiles)
    columns = [column for column in profiles.columns if column.startswith("median_")]
    shown = [features[column.removeprefix("median_")] for column in columns]
    medians = profiles[columns].astype(float)
    lowest_to_highest = medians.rank(method="average")
    count = medians.notna().sum()
    # -1 for the lowest, 1 for the highest, 0 for a single value.
    shade = (lowest_to_highest - (count + 1) / 2) / ((count - 1) / 2).clip(lower=0.5)

    figure = empty_figure(
        1.5 + 0.42 * len(profiles),
        "A typical customer of each segment (medians; orange: lowest of the segments, blue: highest)",
    )
    axes = figure.subplots()
    # Both ends stay light enough for dark numbers.
    colours = LinearSegmentedColormap.from_list("orange to blue", ["#F2B45C", "#F7F7F7", "#7DB8E0"])
    scale = colours.with_extremes(bad="#EEEEEE")
    edges = (np.arange(size + 1) - 0.5 for size in reversed(shade.shape))
    axes.pcolormesh(
        *edges, np.ma.masked_invalid(shade.to_numpy()), cmap=scale, vmin=-1, vmax=1, edgecolors=PAPER, linewidth=2
    )
    axes.invert_yaxis()
    for row, values in enumerate(medians.to_numpy()):
        for column, value in enumerate(values):
            text = notation.quantity(value, shown[column].unit)
            axes.text(column, row, plain(text), ha="center", va="center", color=ON_COLOUR, fontsize=9.5)
    axes.set_xticks(range(len(shown)), [textwrap.fill(feature.title, 12) for feature in shown])
    axes.set_yticks(range(len(profiles)), _names(profiles))
    axes.tick_params(length=0, top=False, labeltop=True, bottom=False, labelbottom=False)
    axes.spines[:].set_visible(False)
    return figure


def cluster_map(cells: pd.DataFrame, axis_labels: tuple[str, str]) -> Figure:
    """Draws cells as bubbles: area is the number of customers, colour the segment, with names at the centres.

    Args:
        cells: One row per cell: x, y, customers, segment_id, segment_name.
        axis_labels: What each axis stands for, in words.
    """
    figure = empty_figure(
        6.2, "Where the segments lie: each bubble is a group of similar customers, sized by their number"
    )
    axes = figure.subplots()
    axes.set_xlabel(plain(textwrap.fill(axis_labels[0], 100)))
    axes.set_ylabel(plain(textwrap.fill(axis_labels[1], 54)))
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


def migration_flow(migration: pd.DataFrame, *, notation: Notation = ENGLISH) -> Figure:
    """Draws the moves between two nights: earlier segments on the left, current ones on the right.

    The width of a band is its number of customers. It is pale if they stayed, and otherwise has the colour of the
    segment that they left.

    Args:
        migration: One pair of nights of segment_migration.
        notation: How numbers are written.
    """
    from matplotlib.patches import PathPatch
    from matplotlib.path import Path as Curve

    total, gap = float(migration["customers"].sum()), 0.03
    sides = {side: _side(migration, side) for side in ("from", "to")}
    first, last = migration["from_as_of"].iloc[0], migration["to_as_of"].iloc[0]
    title = f"Where customers were on {first:%Y-%m-%d}, and where they are on {last:%Y-%m-%d}"
    figure = empty_figure(1.2 + 0.55 * max(map(len, sides.values())), title)
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
                f"{plain(segment_name)}  {notation.number(customers)}",
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


def by_revenue(profiles: pd.DataFrame) -> pd.DataFrame:
    """Returns the segments by revenue, largest first; customers without purchases come last."""
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


def _names(profiles: pd.DataFrame) -> list[str]:
    return [plain(textwrap.fill(str(name), 26)) for name in profiles["segment_name"]]


def _side(migration: pd.DataFrame, side: str) -> list[tuple[int, str, int]]:
    """Returns id, name and customers of each segment on one side of the flow; negative ids come last."""
    rows = migration.groupby([f"{side}_segment_id", f"{side}_segment_name"])["customers"].sum().reset_index()
    segments = [(int(segment), str(name), int(customers)) for segment, name, customers in rows.itertuples(index=False)]
    return sorted(segments, key=lambda segment: (segment[0] < 0, segment[0]))


def _bubbles(cells: pd.DataFrame) -> pd.DataFrame:
    """Merges cells of a segment that the eye could not tell apart, so that thousands of cells make a small picture."""
    place = cells[["x", "y"]].astype(float)
    step = ((place.max() - place.min()) / MAP_STEPS).replace(0.0, 1.0)
    weight = cells["customers"].astype(float)
    squares = (place / step).round()
    keys = [cells["segment_id"].rename("segment_id"), squares["x"].rename("column"), squares["y"].rename("row")]
    sums = place.mul(weight, axis=0).assign(customers=weight).groupby(keys).sum()
    names = cells["segment_name"].groupby(keys).first()
    means = sums[["x", "y"]].div(sums["customers"], axis=0)
    return means.assign(customers=sums["customers"], segment_name=names).reset_index()


def _label_centres(figure: Figure, axes: Axes, centres: Sequence[tuple[float, float, str, str]]) -> None:
    """Writes names at the centres. A name that would cover another moves up or down, with a line to its centre."""
    from matplotlib.patheffects import withStroke

    placed: list[Any] = []
    # Margins first, so that names near the edge stay inside.
    axes.margins(0.08)
    figure.draw_without_rendering()
    points_per_pixel = 72 / figure.dpi
    for x, y, name, colour in sorted(centres, key=lambda centre: (-centre[1], centre[0])):
        label = axes.annotate(
            plain(textwrap.shorten(name, 30, placeholder="...")),
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
