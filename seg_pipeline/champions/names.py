"""Names of segments, and the reason for each: rules that do not overlap, so that a segment fits exactly one.

A segment is placed in the public R x F grid by its customers' mean recency and frequency scores, rounded. Scores
compare with the shop's other customers; a segment that has been away for three times its own rhythm counts as gone.
Segments that land in the same cell of the grid are told apart by the feature in which they differ most. Those whom
density left between the clusters are a segment whose name says so.
"""

import math
from collections.abc import Hashable, Mapping
from typing import TYPE_CHECKING, Any

from seg_pipeline.features.tables import GRID_CELLS, NO_PURCHASES

if TYPE_CHECKING:
    import pandas as pd

# Levels for segments that share a grid name, from the lowest value of the feature that tells them apart.
LEVELS = {
    2: ("low", "high"),
    3: ("low", "medium", "high"),
    4: ("lowest", "low", "high", "highest"),
    5: ("lowest", "low", "medium", "high", "highest"),
}
# Customers are gone when they have been away this many times their own rhythm, whatever the rest of the shop does:
# their recency then counts as low.
LAPSED_AFTER = 3
LAPSED_R_SCORE = 2

# A name is kept until the scores are this far outside its part of the grid, and the rhythm this part away from lapsed:
# a segment on a border would change its name from refit to refit otherwise.
KEPT_WITHIN = 0.25

UNCLUSTERED = ", unclustered"
TOLD_APART_BY = {"mean_m_score": "spend", "mean_f_score": "order count", "mean_r_score": "recency score"}


def name_segments(profiles: "pd.DataFrame", *, by_rhythm: bool = True, noise: int | None = None) -> "pd.DataFrame":
    """grid_name, segment_name and name_reason for each row of profiles.

    Args:
        profiles: segment_id, mean_r_score, mean_f_score, mean_m_score, median_recency_days, median_frequency,
            median_days_between_orders; cluster too, where noise is given.
        by_rhythm: Whether a segment that lost its own rhythm counts as gone; the grid's own segments keep their names.
        noise: The cluster of the customers that density left between the others, if there is one.
    """
    import pandas as pd

    rows = [_by_grid(profile, by_rhythm=by_rhythm) for profile in profiles.to_dict("records")]
    names = pd.DataFrame(rows, columns=["grid_name", "name_reason"], index=profiles.index)
    names["segment_name"] = names["grid_name"]
    if noise is not None:
        left = profiles["cluster"] == noise
        names.loc[left, "segment_name"] += UNCLUSTERED
        names.loc[left, "name_reason"] += "; unclustered, since density left these customers between the clusters"
    for grid_name, alike in names.groupby("segment_name").groups.items():
        if len(alike) > 1:
            same = profiles.loc[alike]
            # The first feature wins a tie: money tells segments apart best.
            feature = max(TOLD_APART_BY, key=lambda name: same[name].max() - same[name].min())
            order = same.sort_values([feature, "segment_id"]).index
            for place, index in enumerate(order):
                level = LEVELS[len(order)][place] if len(order) in LEVELS else f"level {place + 1} of {len(order)}"
                what = TOLD_APART_BY[feature]
                names.loc[index, "segment_name"] = f"{grid_name}, {level} {what}"
                names.loc[index, "name_reason"] += (
                    f"; {level} {what} of the {len(order)} segments there (mean score {same.loc[index, feature]:.1f})"
                )
    return names


def keep_names(
    fresh: "pd.DataFrame", profiles: "pd.DataFrame", before: "pd.DataFrame", *, by_rhythm: bool = True
) -> "pd.DataFrame":
    """The names of a refit: a segment that the champion knows keeps its name for as long as that still fits.

    Args:
        fresh: What `name_segments` says of the profiles.
        profiles: As there.
        before: segment_id, segment_name and grid_name of the champion's segments.
        by_rhythm: As there.
    """
    names = fresh.copy()
    known = before.drop_duplicates("segment_id").set_index("segment_id")
    for index, profile in zip(profiles.index, profiles.to_dict("records"), strict=True):
        if profile["segment_id"] not in known.index:
            continue
        was = known.loc[profile["segment_id"]]
        unclustered = [UNCLUSTERED in name for name in (was["segment_name"], fresh.loc[index, "segment_name"])]
        if unclustered[0] == unclustered[1] and _still_fits(profile, was["grid_name"], by_rhythm=by_rhythm):
            names.loc[index, ["segment_name", "grid_name"]] = was["segment_name"], was["grid_name"]
            if was["segment_name"] != fresh.loc[index, "segment_name"]:
                names.loc[index, "name_reason"] += f"; kept the name {was['segment_name']}, which still fits"
    kept = names["segment_name"] != fresh["segment_name"]
    # A fresh name may be one that another segment has kept.
    for index in names.index[names["segment_name"].duplicated(keep=False) & ~kept]:
        if (names["segment_name"] == names.loc[index, "segment_name"]).sum() > 1:
            names.loc[index, "segment_name"] += f", segment {profiles.loc[index, 'segment_id']}"
    return names


def _still_fits(profile: Mapping[Hashable, Any], grid_name: str, *, by_rhythm: bool) -> bool:
    """Whether a segment lies in the part of the grid that has the name, or just outside."""
    recency_scores = [profile["mean_r_score"]]
    away = profile["median_recency_days"] / (LAPSED_AFTER * profile["median_days_between_orders"])
    if by_rhythm and away > 1 - KEPT_WITHIN:
        recency_scores.append(min(LAPSED_R_SCORE, profile["mean_r_score"]))
    if by_rhythm and away > 1 + KEPT_WITHIN:
        recency_scores = recency_scores[1:]
    near = 0.5 + KEPT_WITHIN
    return any(
        abs(score - r) <= near and abs(profile["mean_f_score"] - f) <= near
        for score in recency_scores
        for r, f in GRID_CELLS.get(grid_name, ())
    )


def _by_grid(profile: Mapping[Hashable, Any], *, by_rhythm: bool) -> tuple[str, str]:
    if profile["segment_id"] == 0:
        return NO_PURCHASES, "no purchase before the night, only returns"
    r, f = _rounded(profile["mean_r_score"]), _rounded(profile["mean_f_score"])
    recency, rhythm, orders = (
        profile[f"median_{name}"] for name in ("recency_days", "days_between_orders", "frequency")
    )
    said = f"mean scores R {profile['mean_r_score']:.1f}, F {profile['mean_f_score']:.1f}"
    # NaN where most bought once: they have no rhythm to have lost.
    if by_rhythm and r > LAPSED_R_SCORE and recency > LAPSED_AFTER * rhythm:
        r = LAPSED_R_SCORE
        said += f", R taken as {r} since they used to buy every {rhythm:.0f} days,"
    name = next(name for name, cells in GRID_CELLS.items() if (r, f) in cells)
    return name, (
        f"{said} lie in cell {r} x {f} of the grid: {name} (median {recency:.0f} days since the last order,"
        f" {orders:.0f} {'order' if orders == 1 else 'orders'})"
    )


def _rounded(score: float) -> int:
    """To the nearest cell, halves upwards."""
    return math.floor(score + 0.5)
