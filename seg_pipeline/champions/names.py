"""Names of segments, and the reason for each name.

A segment gets the name of the cell of the public R x F grid that holds its customers' mean recency and frequency
scores, rounded; the cells do not overlap, so exactly one fits. Scores compare customers with the rest of the shop, so a
segment that has been away for more than three times its own rhythm counts as lapsed, whatever its recency score.
Segments in the same cell are distinguished by the score in which they differ most. A segment of
noise says so in its name.
"""

import math
from collections.abc import Hashable, Mapping
from typing import TYPE_CHECKING, Any

from seg_pipeline.features.tables import GRID_CELLS, NO_PURCHASES

if TYPE_CHECKING:
    import pandas as pd

# Levels of segments in the same cell, from the lowest value of the score that distinguishes them.
LEVELS = {
    2: ("low", "high"),
    3: ("low", "medium", "high"),
    4: ("lowest", "low", "high", "highest"),
    5: ("lowest", "low", "medium", "high", "highest"),
}
# Customers have lapsed if they have been away for more than this many times their own rhythm, whatever the rest of the
# shop does. Their recency score then counts as low.
LAPSED_AFTER = 3
LAPSED_R_SCORE = 2

# A name is kept until the scores are this far outside its part of the grid, or the absence is beyond the limit of
# lapsed by more than this fraction of it. Otherwise a segment on a border would change its name from refit to refit.
KEPT_WITHIN = 0.25

NO_PURCHASES_REASON = "These customers made no purchase before the night, only returns."
UNCLUSTERED = ", unclustered"
DISTINGUISHING_SCORES = {"mean_m_score": "spend", "mean_f_score": "order count", "mean_r_score": "recency score"}


def name_segments(
    profiles: "pd.DataFrame", *, before: "pd.DataFrame | None" = None, by_rhythm: bool = True, noise: int | None = None
) -> "pd.DataFrame":
    """Names the segments of a night.

    A segment of the champion keeps the grid's name as long as it still fits. The words of level are given again among
    all segments that now share a name, because they say how these compare.

    Args:
        profiles: segment_id, mean_r_score, mean_f_score, mean_m_score, median_recency_days, median_frequency and
            median_days_between_orders of each segment; also cluster, if there is a cluster of noise.
        before: segment_id, segment_name and grid_name of the champion's segments; None if there is no champion.
        by_rhythm: Whether a segment that has lost its own rhythm counts as lapsed. False for the grid's own segments.
        noise: The cluster of the customers who are in no dense cluster, if there is one.

    Returns:
        grid_name, segment_name and name_reason for each row of profiles.
    """
    import pandas as pd

    rows = [_by_grid(profile, by_rhythm=by_rhythm) for profile in profiles.to_dict("records")]
    names = pd.DataFrame(rows, columns=["grid_name", "name_reason"], index=profiles.index)
    is_noise = profiles["cluster"].eq(noise) if noise is not None else pd.Series(False, index=profiles.index)
    old_names: dict[int, tuple[str, str]] = {}
    if before is not None:
        old = before.drop_duplicates("segment_id")
        old_names = dict(zip(old["segment_id"], zip(old["segment_name"], old["grid_name"], strict=True), strict=True))
    for index, profile in zip(profiles.index, profiles.to_dict("records"), strict=True):
        old_name, old_grid_name = old_names.get(profile["segment_id"], ("", ""))
        both_or_neither_noise = (UNCLUSTERED in old_name) == is_noise[index]
        if both_or_neither_noise and _still_fits(profile, old_grid_name, by_rhythm=by_rhythm):
            if old_grid_name != names.loc[index, "grid_name"]:
                names.loc[index, "name_reason"] += f" The segment keeps the name {old_grid_name}, which still fits."
            names.loc[index, "grid_name"] = old_grid_name
    names["segment_name"] = names["grid_name"]
    names.loc[is_noise, "segment_name"] += UNCLUSTERED
    names.loc[is_noise, "name_reason"] += " Its customers are unclustered: they lie in no dense cluster."
    for name, namesakes in names.groupby("segment_name").groups.items():
        if len(namesakes) > 1:
            same = profiles.loc[namesakes]
            score = _distinguishing_score(
                same,
                {
                    segment_id: old_name
                    for segment_id, (old_name, grid_name) in old_names.items()
                    if UNCLUSTERED not in old_name and grid_name == name
                },
            )
            measure = DISTINGUISHING_SCORES[score]
            order = same.sort_values([score, "segment_id"]).index
            for place, index in enumerate(order):
                level = LEVELS[len(order)][place] if len(order) in LEVELS else f"level {place + 1} of {len(order)}"
                names.loc[index, "segment_name"] = f"{name}, {level} {measure}"
                names.loc[index, "name_reason"] += (
                    f" Among the {len(order)} segments of that name, its {measure} is {level} (mean score"
                    f" {same.loc[index, score]:.1f})."
                )
    return names


def _distinguishing_score(same: "pd.DataFrame", old_names: Mapping[int, str]) -> str:
    """Returns the score by which segments of the same name are distinguished: the one in which they differ most.

    The champion's choice stays as long as the same segments share the name and the score still orders them.

    Args:
        same: The profiles of the segments.
        old_names: The names of the champion's segments that had that name, by their ids.
    """
    if set(same["segment_id"]) == old_names.keys():
        for score, measure in DISTINGUISHING_SCORES.items():
            if same[score].is_unique and all(name.endswith(f" {measure}") for name in old_names.values()):
                return score
    # Equal scores have no order. The first score, spend, wins a tie: money distinguishes segments best.
    return max(DISTINGUISHING_SCORES, key=lambda name: (same[name].is_unique, same[name].max() - same[name].min()))


def _still_fits(profile: Mapping[Hashable, Any], grid_name: str, *, by_rhythm: bool) -> bool:
    """Returns whether a segment lies in the part of the grid that has the name, or just outside it."""
    recency_scores = [profile["mean_r_score"]]
    absence = profile["median_recency_days"] / (LAPSED_AFTER * profile["median_days_between_orders"])
    # Near the limit of lapsed, both the low recency score and the segment's own count.
    if by_rhythm and absence > 1 - KEPT_WITHIN:
        recency_scores.append(min(LAPSED_R_SCORE, profile["mean_r_score"]))
    if by_rhythm and absence > 1 + KEPT_WITHIN:
        recency_scores = recency_scores[1:]
    # Half a score is the border of a cell.
    near = 0.5 + KEPT_WITHIN
    return any(
        abs(score - r) <= near and abs(profile["mean_f_score"] - f) <= near
        for score in recency_scores
        for r, f in GRID_CELLS.get(grid_name, ())
    )


def _by_grid(profile: Mapping[Hashable, Any], *, by_rhythm: bool) -> tuple[str, str]:
    """Returns the name of the grid cell that a segment lies in, and why."""
    if profile["segment_id"] == 0:
        return NO_PURCHASES, NO_PURCHASES_REASON
    r, f = _rounded(profile["mean_r_score"]), _rounded(profile["mean_f_score"])
    recency, rhythm, orders = (
        profile[f"median_{name}"] for name in ("recency_days", "days_between_orders", "frequency")
    )
    lapsed = ""
    # The rhythm is the median of those who bought on two days or more; NaN if there are none.
    if by_rhythm and r > LAPSED_R_SCORE and recency > LAPSED_AFTER * rhythm:
        r = LAPSED_R_SCORE
        lapsed = f", with R lowered to {r} because these customers used to buy every {rhythm:.0f} days,"
    name = next(name for name, cells in GRID_CELLS.items() if (r, f) in cells)
    return name, (
        f"The mean scores R {profile['mean_r_score']:.1f} and F {profile['mean_f_score']:.1f}{lapsed} lie in cell"
        f" {r} x {f} of the R x F grid: {name}. Its customers have a median of {orders:.0f}"
        f" {'order' if orders == 1 else 'orders'} and {recency:.0f} days since the last one."
    )


def _rounded(score: float) -> int:
    """Rounds to the nearest cell; halves go up."""
    return math.floor(score + 0.5)
