"""The gates: rules that reject clusterings of no use to a team, because they are degenerate or unstable."""

from seg_pipeline.models.metrics import Metrics
from seg_pipeline.models.stability import Stability
from seg_pipeline.settings import SelectionSettings


def failed_gate(k: int, metrics: Metrics, stability: Stability | None, selection: SelectionSettings) -> str | None:
    """Returns the first gate that a candidate fails, in a sentence; None if it passes all.

    Args:
        k: Its number of segments.
        metrics: Its metrics.
        stability: Its stability; None if it was not measured.
        selection: The gates.
    """
    if not selection.k_min <= k <= selection.k_max:
        return f"{k} segments is outside the range of {selection.k_min} to {selection.k_max} that teams can serve."
    if metrics.smallest_share < selection.smallest_share:
        return (
            f"The smallest segment has {metrics.smallest_share:.2%} of the customers, below the minimum of"
            f" {selection.smallest_share:.2%}."
        )
    if metrics.largest_share > selection.largest_share:
        return (
            f"The largest segment has {metrics.largest_share:.2%} of the customers, above the maximum of"
            f" {selection.largest_share:.2%}."
        )
    if stability is not None and stability.bootstrap < selection.smallest_stability:
        return (
            f"Stability {stability.bootstrap:.2f} is below the minimum of {selection.smallest_stability:g}: refits on"
            " bootstrap samples give different clusters."
        )
    return None
