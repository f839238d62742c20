"""The gates against clusterings that no team can use: degenerate ones, and those that another draw would not repeat."""

from seg_pipeline.models.metrics import Metrics
from seg_pipeline.models.stability import Stability
from seg_pipeline.settings import SelectionSettings


def failed_gate(k: int, metrics: Metrics, sure: Stability | None, selection: SelectionSettings) -> str | None:
    """The first gate of the selection settings that a candidate fails, in words; None where it passes all."""
    if not selection.k_min <= k <= selection.k_max:
        return f"{k} segments are outside the {selection.k_min} to {selection.k_max} that teams can serve."
    if metrics.smallest_share < selection.smallest_share:
        return (
            f"The smallest segment has {metrics.smallest_share:.2%} of customers, below {selection.smallest_share:.2%}."
        )
    if metrics.largest_share > selection.largest_share:
        return f"The largest segment has {metrics.largest_share:.2%} of customers, above {selection.largest_share:.2%}."
    if sure is not None and sure.bootstrap < selection.smallest_stability:
        return f"Drawn anew, customers agree only {sure.bootstrap:.2f} with it, below {selection.smallest_stability:g}."
    return None
