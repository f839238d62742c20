"""The chart of order days: lines, revenue, prices and shares day by day, with the days that were found odd."""

from __future__ import annotations

from typing import TYPE_CHECKING

from seg_pipeline.plotting.figures import BLUE, GREY, ORANGE, VERMILLION, empty_figure

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

# Column, title and whether it is a share.
PANELS = (
    ("lines", "Lines", False),
    ("revenue", "Revenue", False),
    ("median_unit_price", "Median unit price", False),
    ("share_returned", "Share returned", True),
    ("share_new_customers", "Share of new customers", True),
    ("share_repeated", "Share of repeated lines", True),
)
COLOURS = {"odd": ORANGE, "impossible": VERMILLION, "accepted": GREY}


def day_trends(days: pd.DataFrame) -> Figure:
    """Draws six figures of the newest order days; days that are not ok are marked.

    Args:
        days: Rows of day_figures, one per order day in order.
    """
    from matplotlib.ticker import PercentFormatter

    figure = empty_figure(5.2, f"The last {len(days)} order days")
    for axes, (column, title, is_share) in zip(figure.subplots(2, 3, sharex=True).flat, PANELS, strict=True):
        axes.plot(days["order_day"], days[column].astype(float), color=BLUE, linewidth=0.9)
        for verdict, colour in COLOURS.items():
            found = days[days["verdict"] == verdict]
            if len(found):
                values = found[column].astype(float)
                axes.scatter(found["order_day"], values, color=colour, s=14, zorder=3, label=verdict)
        axes.set_title(title, fontsize=9, loc="left")
        axes.tick_params(labelsize=7)
        axes.tick_params(axis="x", rotation=30)
        axes.spines[["top", "right"]].set_visible(False)
        if not (days[column].astype(float) < 0).any():
            axes.set_ylim(bottom=0)
        if is_share:
            axes.yaxis.set_major_formatter(PercentFormatter(1))
    if (days["verdict"].isin(COLOURS)).any():
        figure.axes[0].legend(fontsize=7, frameon=False, loc="upper left")
    return figure
