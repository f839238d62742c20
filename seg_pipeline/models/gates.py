"""The gates that a candidate must pass: they keep out degenerate clusterings and unstable ones."""

from seg_pipeline.models.metrics import Metrics
from seg_pipeline.models.stability import Stability
from seg_pipeline.settings import SelectionSettings


def failed_gate(k: int, metrics: Metrics, stability: Stability | None, selection: SelectionSettings) -> str | None:
    """Returns the first gate of the selection settings that a candidate fails, in words; None if it passes all."""
    if not selection.k_min <= k <= selection.k_max:
        return f"{k} segments are outside the {selection.k_min} to {selection.k_max} that teams can serve."
    if metrics.smallest_share < selection.smallest_share:
        return (
            f"The smallest segment has {metrics.smallest_share:.2%} of customers, below {selection.smallest_share:.2%}."
        )
    if metrics.largest_share > selection.largest_share:
        return f"The largest segment has {metrics.largest_share:.2%} of customers, above {selection.largest_share:.2%}."
    if stability is not None and stability.bootstrap < selection.smallest_stability:
        return (
            f"Stability {stability.bootstrap:.2f} is below the minimum of {selection.smallest_stability:g}: refits on"
            " bootstrap samples give different clusters."
        )
    return None
