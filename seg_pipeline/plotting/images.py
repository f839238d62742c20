"""Figures as images: SVG for the report, PNG in Markdown for Dagster's pages."""

from __future__ import annotations

import base64
import io
import re
from typing import TYPE_CHECKING

from seg_pipeline.plotting.figures import PAGE_COLOURS

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def png_base64(figure: Figure, *, dpi: int = 144, colours: int = 128) -> str:
    """Returns the figure as a small PNG with a palette, in base64. The same figure gives the same bytes."""
    from PIL import Image

    canvas, png = io.BytesIO(), io.BytesIO()
    figure.savefig(canvas, format="png", dpi=dpi, metadata={"Software": None}, pil_kwargs={"compress_level": 1})
    with Image.open(canvas) as image:
        image.convert("RGB").quantize(colours, dither=Image.Dither.NONE).save(png, format="png", optimize=True)
    return base64.b64encode(png.getvalue()).decode("ascii")


def svg(figure: Figure, name: str) -> str:
    """Returns the figure as SVG for a page that defines --ink, --soft, --line, --panel and --paper and fills with ink.

    The same figure gives the same text. Letters are outlines, so a missing font moves nothing.

    Args:
        figure: The figure to draw.
        name: Prefix of every id, so that one page can hold several figures.
    """
    from matplotlib import rc_context

    canvas = io.StringIO()
    with rc_context({"svg.hashsalt": name, "svg.fonttype": "path"}):
        figure.savefig(canvas, format="svg", metadata=dict.fromkeys(("Creator", "Date", "Format", "Type")))
    text = canvas.getvalue()
    unneeded = r"<!--.*?-->\s*|<metadata>.*?</metadata>\s*|<style.*?</style>\s*"
    text = re.sub(unneeded, "", text[text.index("<svg") :], flags=re.DOTALL)
    # Hundredths of a point are finer than any screen.
    text = re.sub(r' d="[^"]+"', lambda path: re.sub(r"(\.\d\d)\d+", r"\1", path[0]), text)
    # Only elements that others refer to need an id.
    used = set(re.findall(r"[\"(]#([^\")]+)", text))
    text = re.sub(r' id="([^"]+)"', lambda match: match[0] if match[1] in used else "", text)
    text = re.sub(r'(?<= id=")|(?<=[\"(]#)', f"{name}-", text)
    for colour, variable in PAGE_COLOURS.items():
        text = text.replace(colour.lower(), f"var(--{variable})")
    return text


def markdown_image(figure: Figure, title: str) -> str:
    """Returns the figure as a Markdown image that contains its data, for `MetadataValue.md`.

    It is coarser than the report's images because Dagster keeps it in its event log for every run.
    """
    return f"![{title}](data:image/png;base64,{png_base64(figure, dpi=72, colours=32)})"
