"""The page around the sections."""

import base64
import functools
import hashlib
from pathlib import Path

import jinja2
from markupsafe import Markup

from seg_pipeline.features.tables import FEATURES, NO_PURCHASES_ID
from seg_pipeline.plotting.notation import Notation
from seg_pipeline.publishing.report.contents import LEGEND, Report
from seg_pipeline.publishing.report.sections import PARTS
from seg_pipeline.publishing.report.words import (
    against_baseline,
    day,
    feature_title,
    present,
    readable_rule,
    reason_of_move,
    setting,
    sureness,
)

HERE = Path(__file__).parent


def render(report: Report) -> str:
    """Renders the report as one HTML page. All data is escaped, and the same report gives the same text.

    The template of a section has the name of the function that prepares it: `sections/NAME.html.j2`.
    """
    environment = _environment(report.notation)
    bodies = {}
    for part in PARTS:
        contexts = {section.__name__: section(report) for section in part.sections}
        bodies[part.anchor] = Markup("").join(
            Markup(environment.get_template(f"sections/{name}.html.j2").render(report=report, **context))
            for name, context in contexts.items()
            if context is not None
        )
    # Makes tables sortable. Without it, they keep the order that their captions name.
    script = (HERE / "page.js").read_text(encoding="utf-8")
    return environment.get_template("page.html.j2").render(
        report=report,
        customers=sum(segment["customers"] for segment in report.bought),
        no_purchases=sum(
            segment["customers"] for segment in report.segments if segment["segment_id"] == NO_PURCHASES_ID
        ),
        parts=PARTS,
        bodies=bodies,
        styles=Markup((HERE / "page.css").read_text(encoding="utf-8")),
        script=Markup(script),
        # The page allows only the script with this hash.
        script_hash=base64.b64encode(hashlib.sha256(script.encode()).digest()).decode(),
    )


@functools.cache
def _environment(notation: Notation) -> jinja2.Environment:
    """Returns the jinja2 environment with filters that write values in the notation of the report."""
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(HERE),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters |= {
        "number": notation.number,
        "share": notation.share,
        "money": notation.money,
        "feature_value": lambda value, feature: notation.quantity(value, FEATURES[feature].unit),
        "algorithm": LEGEND.title,
        "feature_title": feature_title,
        "day": day,
        "setting": setting,
        "present": present,
        "reason_of_move": reason_of_move,
        "sureness": sureness,
        "against_baseline": against_baseline,
        "readable_rule": readable_rule,
    }
    return environment
