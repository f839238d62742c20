"""What the charts share: colours, the empty figure, and small things done to axes.

A chart takes a table and returns a matplotlib Figure. It reads and writes no file, and does not use pyplot, which keeps
global state. The colours are those of Okabe and Ito, which colour-blind readers can tell apart. matplotlib is imported
only when a chart is drawn, so importing these modules is cheap.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

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
# In the report these follow the page, light or dark, as does matplotlib's black. Text on a colour keeps its own.
PAGE_COLOURS = {"#000000": "ink", INK: "ink", GREY: "soft", PALE: "line", SHADE: "panel", PAPER: "paper"}
ON_COLOUR = "#1A1A1A"
SERIES = (BLUE, VERMILLION, GREEN, PURPLE, ORANGE, SKY, INK, YELLOW)
MARKERS = ("o", "s", "^")

WIDTH_INCHES = 10.0


def segment_styles(segment_ids: Iterable[int]) -> dict[int, tuple[str, str]]:
    """Returns each segment's colour and marker, which depend only on its id and so never change; 0 and -1 are grey."""
    return {
        int(i): (GREY, "X")
        if i <= 0
        else (SERIES[(int(i) - 1) % len(SERIES)], MARKERS[(int(i) - 1) // len(SERIES) % len(MARKERS)])
        for i in segment_ids
    }


def empty_figure(height_inches: float, title: str) -> Figure:
    """Returns an empty figure of the usual width, with its title."""
    from matplotlib.figure import Figure

    empty = Figure(figsize=(WIDTH_INCHES, height_inches), dpi=100, facecolor=PAPER)
    empty.set_layout_engine("constrained", w_pad=0.1, h_pad=0.1)
    empty.suptitle(title, fontsize=11.5, fontweight="bold", color=INK, x=0.01, ha="left")
    return empty


def plain(text: str) -> str:
    """Escapes dollar signs: matplotlib would set the text between two of them as mathematics."""
    return text.replace("$", r"\$")


def bars_only(axes: Axes) -> None:
    """Removes the value axis: every bar has its number beside it."""
    axes.set_xticks([])
    axes.spines[:].set_visible(False)
    axes.tick_params(axis="y", length=0)
    axes.axvline(0, color=GREY, linewidth=0.8)
