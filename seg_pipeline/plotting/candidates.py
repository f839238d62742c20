"""Charts of the candidates: elbow, silhouette, the algorithms side by side, and the results of the value test."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from seg_pipeline.plotting.figures import (
    BLUE,
    ENGLISH,
    GREY,
    INK,
    PALE,
    PAPER,
    SERIES,
    SHADE,
    SKY,
    bars_only,
    empty_figure,
)
from seg_pipeline.plotting.notation import Notation

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


@dataclass(frozen=True, slots=True)
class Legend:
    """How the algorithms appear in charts.

    Attributes:
        titles: Maps an algorithm to its title.
        baseline: The algorithm that the others have to beat; it is grey, and drawn last.
    """

    titles: Mapping[str, str]
    baseline: str

    def title(self, algorithm: str) -> str:
        """Returns the algorithm's title, or its name with a capital if it has none."""
        return self.titles.get(algorithm, algorithm.capitalize())

    def colours(self, algorithms: Iterable[str]) -> dict[str, str]:
        """Returns one colour per algorithm, in order of appearance."""
        names = [name for name in dict.fromkeys(algorithms) if name != self.baseline]
        return {name: SERIES[i % len(SERIES)] for i, name in enumerate(names)} | {self.baseline: GREY}


def elbow_curves(
    evaluation: pd.DataFrame, legend: Legend, *, k_range: tuple[int, int] | None = None, notation: Notation = ENGLISH
) -> Figure:
    """Draws inertia over k: one panel per algorithm, its elbow marked, the others behind it in grey.

    Args:
        evaluation: One row per candidate; the baseline is left out because it has one k only.
        legend: How the algorithms appear.
        k_range: The numbers of segments that teams can serve, shaded.
        notation: How numbers are written.
    """
    curves = _curves(evaluation, "inertia", legend.baseline)
    by_bic = set(evaluation.loc[evaluation["bic"].notna(), "algorithm"])
    across = min(max(len(curves), 1), 3)
    down = math.ceil(max(len(curves), 1) / across)
    figure = empty_figure(0.6 + 2.8 * down, "How much spread is left within the segments, by number of segments")
    grid = figure.subplots(down, across, sharex=True, sharey=True, squeeze=False)
    panels = list(grid.flat)
    for empty in panels[max(len(curves), 1) :]:
        empty.set_visible(False)
    colours = legend.colours(evaluation["algorithm"])
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
        axes.set_title(legend.title(algorithm), fontsize=10, color=INK, loc="left")
        _whole_ticks(axes, curve["k"])
        axes.set_xlabel("segments (k)")
        # Headroom keeps the elbow's label inside the panel even if the curve is flat.
        axes.set_ylim(0, max((c["inertia"].max() for c in curves.values()), default=1.0) * 1.12 or 1.0)
    for first in grid[:, 0]:
        first.set_ylabel("inertia (squared distance)")
    panels[0].yaxis.set_major_formatter(lambda value, _: notation.number(value))
    if not curves:
        _note(panels[0], "No candidate has an inertia.")
    return figure


def silhouette_curves(
    evaluation: pd.DataFrame, legend: Legend, *, k_range: tuple[int, int] | None = None, notation: Notation = ENGLISH
) -> Figure:
    """Draws silhouette over k, one line per algorithm.

    A ring marks each algorithm's best, a star the chosen candidate, and a dashed line the baseline.

    Args:
        evaluation: One row per candidate and one for the baseline.
        legend: How the algorithms appear.
        k_range: The numbers of segments that teams can serve, shaded.
        notation: How numbers are written.
    """
    curves = _curves(evaluation, "silhouette", legend.baseline)
    figure = empty_figure(4.2, "How clearly the segments are separated (ring: best by silhouette alone; star: chosen)")
    axes = figure.subplots()
    axes.set_xlabel("segments (k)")
    axes.set_ylabel("silhouette (-1 to 1, higher is clearer)")
    if not curves:
        _note(axes, "No candidate has a silhouette, which needs at least two segments.")
        return figure
    _shade(axes, k_range)
    colours = legend.colours(evaluation["algorithm"])
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
        ends.append((curve["silhouette"].iloc[-1], legend.title(algorithm), colour))
    baseline = evaluation[evaluation["algorithm"].eq(legend.baseline) & evaluation["silhouette"].notna()]
    for k, silhouette in baseline[["k", "silhouette"]].itertuples(index=False):
        axes.axhline(silhouette, color=GREY, linestyle="--", linewidth=1.4, zorder=1)
        ends.append((silhouette, f"{legend.title(legend.baseline)}, {k:.0f} segments", INK))
    _whole_ticks(axes, pd.concat([curve["k"] for curve in curves.values()]))
    axes.yaxis.set_major_formatter(lambda value, _: notation.number(value, 2))
    _label_ends(figure, axes, ends)
    return figure


def algorithm_comparison(evaluation: pd.DataFrame, legend: Legend, *, notation: Notation = ENGLISH) -> Figure:
    """Draws four metrics side by side, for the candidates that `finalists` returns."""
    rows = finalists(evaluation, legend.baseline)
    metrics = [
        ("silhouette", "Silhouette", "higher is better", notation.number, 3),
        ("calinski_harabasz", "Calinski-Harabasz", "higher is better", notation.number, 0),
        ("davies_bouldin", "Davies-Bouldin", "lower is better", notation.number, 2),
        ("explained_share", "Explained share", "higher is better", notation.share, 0),
    ]
    figure = empty_figure(1.5 + 0.36 * len(rows), "The best candidates of each algorithm, and the baseline")
    panels = figure.subplots(1, len(metrics), sharey=True)
    places = np.arange(len(rows))
    algorithms, chosen = list(rows["algorithm"]), list(rows["chosen"].eq(True))
    colours = [
        BLUE if is_chosen else GREY if name == legend.baseline else SKY
        for name, is_chosen in zip(algorithms, chosen, strict=True)
    ]
    for axes, (metric, title, direction, write, decimals) in zip(panels, metrics, strict=True):
        values = rows[metric].astype(float).to_numpy()
        axes.barh(places, np.nan_to_num(values), color=colours, height=0.68)
        for place, value in zip(places, values, strict=True):
            axes.annotate(
                write(value, decimals),
                (max(0.0, np.nan_to_num(value)), place),
                xytext=(3, 0),
                textcoords="offset points",
                va="center",
                fontsize=9,
            )
        axes.set_title(f"{title}\n{direction}", fontsize=9.5, color=INK, loc="left")
        bars_only(axes)
        finite = values[np.isfinite(values)]
        # Room on the right for the number at the end of the longest bar.
        axes.set_xlim(min(0.0, *finite, 0.0), max(*finite, 0.0, 1e-9) * 1.32)
    labels = [
        f"{legend.title(name)}, k = {k}" + (" (chosen)" if is_chosen else "")
        for name, k, is_chosen in zip(algorithms, rows["k"], chosen, strict=True)
    ]
    panels[0].set_yticks(places, labels)
    panels[0].set_ylim(len(rows) - 0.5, -0.5)
    for label, is_chosen in zip(panels[0].get_yticklabels(), chosen, strict=True):
        label.set_fontweight("bold" if is_chosen else "normal")
    return figure


def value_curves(
    by_segment: pd.DataFrame,
    legend: Legend,
    *,
    targeted: float,
    chosen: tuple[str, int] | None = None,
    notation: Notation = ENGLISH,
) -> Figure:
    """Draws the share of later revenue over the share of customers targeted, best segments first.

    A dot ends each segment. The baseline and random customers are always drawn.

    Args:
        by_segment: One night of value_by_segment.
        legend: How the algorithms appear.
        targeted: The share of customers for which the test states the lift; a dotted line.
        chosen: The chosen algorithm and the k with which it was tested.
        notation: How numbers are written.
    """
    figure = empty_figure(
        4.4, "Share of the next period's revenue that contacting the best segments first would have reached"
    )
    axes = figure.subplots()
    axes.plot([0, 1], [0, 1], color=PALE, linewidth=1.4, label="Random customers")
    for algorithm, curve in by_segment[by_segment["algorithm"].eq(legend.baseline)].groupby("algorithm"):
        label = f"{legend.title(str(algorithm))}, {len(curve)} segments"
        axes.plot(*_reached(curve), color=GREY, linestyle="--", marker="o", markersize=3, linewidth=1.6, label=label)
    if chosen and chosen[0] != legend.baseline:
        curve = by_segment[by_segment["algorithm"].eq(chosen[0]) & by_segment["k"].eq(chosen[1])]
        label = f"{legend.title(chosen[0])}, {len(curve)} segments (chosen)"
        axes.plot(*_reached(curve), color=BLUE, marker="o", markersize=5, linewidth=2.2, label=label)
    axes.axvline(targeted, color=GREY, linewidth=0.8, linestyle=":")
    axes.annotate(
        f"first {notation.share(targeted, 0)}",
        (targeted, 0),
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


def finalists(evaluation: pd.DataFrame, baseline: str) -> pd.DataFrame:
    """Returns each algorithm's chosen or best-ranked candidate and its best by silhouette, and the baseline last."""
    evaluation = evaluation.reset_index(drop=True)
    finalist_rows: list[int] = []
    for algorithm, rows in evaluation.groupby("algorithm", sort=False):
        ranked = rows.assign(
            is_chosen=rows["chosen"].eq(True).astype(int), rank=pd.to_numeric(rows["rank"]).astype("Float64")
        )
        by_rank = ranked.sort_values(["is_chosen", "rank", "silhouette"], ascending=[False, True, False], kind="stable")
        best = by_rank.index[:1]
        own = rows.index[rows["is_best_silhouette"].eq(True) & (algorithm != baseline)]
        finalist_rows += [*best, *own.difference(best)]
    rows = evaluation.loc[finalist_rows]
    last = rows["algorithm"].eq(baseline)
    return pd.concat([rows[~last], rows[last]]).reset_index(drop=True)


def _curves(evaluation: pd.DataFrame, metric: str, baseline: str) -> dict[str, pd.DataFrame]:
    rows = evaluation[evaluation[metric].notna() & evaluation["algorithm"].ne(baseline)].sort_values("k", kind="stable")
    order = [name for name in dict.fromkeys(evaluation["algorithm"]) if name in set(rows["algorithm"])]
    return {name: rows[rows["algorithm"].eq(name)] for name in order}


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
    """Returns cumulative shares of the customers and of the revenue, segment by segment, from nobody to everybody."""
    customers, revenue = (
        np.concatenate([[0.0], np.cumsum(curve.sort_values("segment")[column].to_numpy(dtype=np.float64))])
        for column in ("customers", "revenue")
    )
    return customers / customers[-1], revenue / revenue[-1]


def _spread(places: Sequence[float], gap: float) -> list[float]:
    """Moves the places apart, in their order, until neighbours are at least `gap` from each other."""
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
    """Writes names to the right of the lines, moved apart if lines end close together."""
    figure.draw_without_rendering()
    points_per_pixel = 72 / figure.dpi
    heights = [axes.transData.transform((0, y))[1] * points_per_pixel for y, _, _ in ends]
    for (y, text, colour), was, now in zip(ends, heights, _spread(heights, 13.0), strict=True):
        at: dict[str, Any] = {"xycoords": axes.get_yaxis_transform(), "textcoords": "offset points", "va": "center"}
        # A square in the line's colour: letters in a pale colour would be hard to read.
        axes.annotate("\N{BLACK SQUARE}", (1, y), xytext=(6, now - was), color=colour, fontsize=9.5, **at)
        axes.annotate(text, (1, y), xytext=(18, now - was), color=INK, fontsize=9.5, **at)
