"""Names of segments, and the reason for each name.

A segment has a name that at least half of its members deserve, by the public R x F grid or by what was measured of
them, and that nothing measured of the segment as a whole contradicts. Names are given together, the best segment first,
so that they are in the order of what segments are worth. If no name is deserved by half of the members, the segment is
described in words that are true of them. Segments of the same name are distinguished by the score in which they differ
most. A segment of noise says so in its name.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from seg_pipeline.features.tables import NO_PURCHASES
from seg_pipeline.warehouse.connection import literal

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True, slots=True)
class Name:
    """A name of segments.

    Attributes:
        name: The name, which is also that of its actions in strategies.toml.
        family: Names of one family are in the order of worth, as they are listed; empty for a name of its own.
        deserved_by: The condition in SQL, over rfm_features and customer_rhythm, that a customer deserves the name. The
            customers of the grid's segment of that name deserve it too.
        meaning: The same in words.
        contradicted_by: The condition in SQL, over a row of segment_profiles, that what was measured of the segment
            contradicts the name.
        writes_off: Whether the name gives customers up for gone, which a young shop cannot know.
    """

    name: str
    family: str
    deserved_by: str
    meaning: str
    contradicted_by: str
    writes_off: bool = False


# Conditions on a segment's profile.
MOST_ARE_LATE = "(lifecycle_overdue + lifecycle_lapsed + lifecycle_lost > 0.5)"
MOST_ARE_GONE = "(lifecycle_lapsed + lifecycle_lost > 0.5)"
MOST_ARE_ACTIVE = "active_share > 0.5"
MOST_BOUGHT_ONCE = "once_share > 0.5"
NEW_ONES_LEFT_OUT = "lifecycle_new > 0.25"
NO_BUYERS_LATELY = "active_share < 0.2 OR median_recency_days >= 365 OR median_monetary <= 0"
IN_THEIR_RHYTHM = f"({MOST_ARE_ACTIVE} AND NOT {MOST_ARE_LATE})"

# If members deserve two names alike, the first one is given.
NAMES = (
    Name(
        "Champions",
        "buying",
        "lifecycle = 'active' AND recency_days <= 90 AND f_score >= 4 AND m_score >= 4",
        "they are among the best by orders and by spend, and buy in their usual rhythm",
        f"{NO_BUYERS_LATELY} OR {MOST_BOUGHT_ONCE} OR {MOST_ARE_LATE}",
    ),
    Name(
        "Loyal Customers",
        "buying",
        "lifecycle = 'active' AND f_score >= 4",
        "they are among those with the most orders, and buy in their usual rhythm",
        f"{NO_BUYERS_LATELY} OR {MOST_BOUGHT_ONCE} OR {MOST_ARE_LATE}",
    ),
    Name(
        "Potential Loyalists",
        "buying",
        "lifecycle = 'active' AND recency_days <= 90 AND frequency > 1 AND f_score <= 3",
        "they have bought more than once, lately, and in their usual rhythm",
        f"{NO_BUYERS_LATELY} OR {MOST_BOUGHT_ONCE} OR {MOST_ARE_LATE}",
    ),
    Name(
        "New Customers",
        "",
        "lifecycle = 'new'",
        "their only order is recent",
        "once_share < 0.5 OR active_share < 0.5",
    ),
    Name(
        "Promising",
        "",
        "frequency = 1 AND recency_days <= 90",
        "they bought once, in the last 90 days",
        "once_share < 0.5 OR active_share < 0.5",
    ),
    Name(
        "Need Attention",
        "",
        "lifecycle = 'overdue' AND frequency > 1",
        "they have bought more than once, and their next order is overdue",
        f"{IN_THEIR_RHYTHM} OR {MOST_ARE_GONE} OR {NEW_ONES_LEFT_OUT}",
    ),
    Name(
        "About to Sleep",
        "",
        "lifecycle = 'overdue'",
        "their next order is overdue",
        f"{IN_THEIR_RHYTHM} OR {MOST_ARE_GONE} OR {NEW_ONES_LEFT_OUT}",
    ),
    Name(
        "Can't Lose",
        "leaving",
        "lifecycle IN ('lapsed', 'lost') AND (f_score = 5 OR f_score = 4 AND m_score = 5)",
        "they were among the best, and have been silent for more than three times their usual gap",
        f"NOT {MOST_ARE_LATE} OR {MOST_BOUGHT_ONCE}",
        writes_off=True,
    ),
    Name(
        "Lost",
        "leaving",
        "lifecycle = 'lost'",
        "they have been silent for longer than nearly all customers who ever came back",
        f"{MOST_ARE_ACTIVE} OR NOT {MOST_ARE_GONE} OR {NEW_ONES_LEFT_OUT}",
        writes_off=True,
    ),
    Name(
        "At Risk",
        "leaving",
        "lifecycle IN ('overdue', 'lapsed', 'lost') AND frequency > 1",
        "they have bought more than once, and have been silent for more than 1.5 times their usual gap",
        f"NOT {MOST_ARE_LATE} OR {MOST_BOUGHT_ONCE}",
        writes_off=True,
    ),
    Name(
        "Hibernating",
        "leaving",
        "lifecycle = 'lapsed' AND f_score <= 2",
        "they bought seldom, and have been silent for more than three times their usual gap",
        f"{MOST_ARE_ACTIVE} OR NOT {MOST_ARE_GONE} OR {NEW_ONES_LEFT_OUT}",
        writes_off=True,
    ),
)
# Within a family, from the most to the least worth.
FAMILIES = {
    "buying": ("Champions", "Loyal Customers", "Potential Loyalists"),
    "leaving": ("Can't Lose", "At Risk", "Hibernating", "Lost"),
}
# The share of a segment's members that must deserve its name.
DESERVED_BY = 0.5
# In a shop whose first order is more recent than this, nobody can be given up for gone.
YOUNG_SHOP_DAYS = 90
# At most this share of the segments is described in words of its own, or one.
DESCRIBED_SHARE = 1 / 3
# The actions of a segment if every name is contradicted.
NEUTRAL = "Need Attention"
# A month in a description, in days.
MONTH = 30

# Levels of segments of the same name, from the lowest value of the score that distinguishes them.
LEVELS = {
    2: ("low", "high"),
    3: ("low", "medium", "high"),
    4: ("lowest", "low", "high", "highest"),
    5: ("lowest", "low", "medium", "high", "highest"),
}
NO_PURCHASES_REASON = "These customers made no purchase before the night, only returns."
UNCLUSTERED = ", unclustered"
DISTINGUISHING_SCORES = {"mean_m_score": "spend", "mean_f_score": "order count", "mean_r_score": "recency score"}


def evidence_query() -> str:
    """Returns SQL for how many members of each segment deserve each name, and for what a description needs.

    It has a row per segment with a buyer: segment_id; deserved_0 and so on, the share of the members who deserve each
    of NAMES; shop_days, the age of the shop; the bounds between which nine of ten members lie in orders (orders_low,
    orders_high) and in days since the last one (days_low, days_high); and described_share, the share within both. Its
    relations are {labelled}, {numbered} and {rhythm}.
    """
    deserved = ",\n".join(
        f"count(*) FILTER (WHERE rfm_segment = {literal(one.name)} OR {one.deserved_by}) / count(*) AS deserved_{place}"
        for place, one in enumerate(NAMES)
    )
    return f"""
WITH
members AS (
    SELECT features.*, numbered.segment_id, rhythm.lifecycle
    FROM features.rfm_features AS features
    JOIN {{labelled}} AS labelled USING (customer_id)
    JOIN {{numbered}} AS numbered USING (cluster)
    LEFT JOIN {{rhythm}} AS rhythm ON rhythm.as_of = features.as_of AND rhythm.customer_id = features.customer_id
    WHERE features.as_of = $as_of AND features.frequency > 0
),
bounds AS (
    SELECT
        segment_id,
        quantile_disc(frequency, 0.05) AS orders_low,
        quantile_disc(frequency, 0.95) AS orders_high,
        quantile_disc(recency_days, 0.05) AS days_low,
        quantile_disc(recency_days, 0.95) AS days_high
    FROM members
    GROUP BY segment_id
)
SELECT
    segment_id,
    max(max(tenure_days)) OVER () AS shop_days,
    {deserved},
    min(orders_low) AS orders_low,
    min(orders_high) AS orders_high,
    min(days_low) AS days_low,
    min(days_high) AS days_high,
    count(*) FILTER (
        WHERE frequency BETWEEN orders_low AND orders_high AND recency_days BETWEEN days_low AND days_high
    ) / count(*) AS described_share
FROM members
JOIN bounds USING (segment_id)
GROUP BY segment_id
"""


def contradictions_query() -> str:
    """Returns SQL for the names that a segment's profile contradicts: segment_id; contradicted_0 and so on.

    Its relation is {profiled}.
    """
    contradicted = ", ".join(
        f"coalesce({one.contradicted_by}, false) AS contradicted_{place}" for place, one in enumerate(NAMES)
    )
    return f"SELECT segment_id, {contradicted} FROM {{profiled}}"


def contradicted_names() -> str:
    """Returns the condition in SQL that a row of segment_profiles has a name that what was measured contradicts."""
    return " OR ".join(f"(grid_name = {literal(one.name)} AND ({one.contradicted_by}))" for one in NAMES)


def name_segments(
    profiles: "pd.DataFrame", *, before: "pd.DataFrame | None" = None, noise: int | None = None
) -> "pd.DataFrame":
    """Names the segments of a night.

    A segment of the champion keeps its name as long as half of its members deserve it and nothing contradicts it. The
    words of level are given again among all segments that now share a name, because they say how these compare.

    Args:
        profiles: segment_id, customers, revenue, the mean scores, active_share, median_frequency and
            median_recency_days of each segment, and what `evidence_query` and `contradictions_query` return; also
            cluster, if there is a cluster of noise.
        before: segment_id, segment_name and grid_name of the champion's segments; None if there is no champion.
        noise: The cluster of the customers who are in no dense cluster, if there is one.

    Returns:
        grid_name (whose actions apply), segment_name, name_reason and deserved_share for each row of profiles.
    """
    import pandas as pd

    old_names: dict[int, tuple[str, str]] = {}
    if before is not None:
        old = before.drop_duplicates("segment_id")
        old_names = dict(zip(old["segment_id"], zip(old["segment_name"], old["grid_name"], strict=True), strict=True))
    is_noise = profiles["cluster"].eq(noise) if noise is not None else pd.Series(False, index=profiles.index)
    noise_ids = set(profiles.loc[is_noise, "segment_id"])
    kept = {
        segment_id: grid_name
        for segment_id, (segment_name, grid_name) in old_names.items()
        if segment_name.startswith(grid_name) and UNCLUSTERED not in segment_name and segment_id not in noise_ids
    }
    given = _names_of(profiles.to_dict("records"), kept)  # type: ignore[arg-type]
    names = pd.DataFrame(given, columns=["grid_name", "segment_name", "name_reason", "deserved_share"])
    names = names.set_index(profiles.index).astype({"deserved_share": float})
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


def description_of(orders_low: int, orders_high: int, days_low: int, days_high: int) -> str:
    """Returns a segment in words: how many orders its customers have, and how long ago the last one was."""
    orders = f"{orders_low}" if orders_low == orders_high else f"{orders_low} to {orders_high}"
    what = "One order" if orders_high == 1 else f"{orders} orders, the last"
    if days_high <= 2 * MONTH:
        days = f"{days_low}" if days_low == days_high else f"{days_low} to {days_high}"
        when = f"{days} day{'s' if days_high > 1 else ''} ago"
    else:
        first, last = days_low // MONTH, math.ceil(days_high / MONTH)
        when = f"{first} to {last} months ago" if first else f"up to {last} months ago"
    return f"{what}, {when}" if orders_high == 1 else f"{what} {when}"


def _names_of(profiles: list[dict[str, Any]], kept: Mapping[int, str]) -> list[tuple[str, str, str, float]]:
    """Returns grid_name, segment_name, name_reason and deserved_share of each segment, before words of level.

    Args:
        profiles: The segments.
        kept: Names of the champion's segments, by their ids.
    """
    given: dict[int, tuple[str, str, str, float]] = {
        place: (NO_PURCHASES, NO_PURCHASES, NO_PURCHASES_REASON, math.nan)
        for place, profile in enumerate(profiles)
        if profile["segment_id"] == 0
    }
    worth = {place: _worth(profile) for place, profile in enumerate(profiles) if profile["segment_id"] != 0}
    # The names that others have to be in order with.
    named: dict[int, str] = {}
    undeserved: list[int] = []
    best, places = _best_first(profiles)
    for place in places:
        profile = profiles[place]
        fitting = [
            one
            for one in _by_deserving(profile)
            if profile[_deserved(one)] >= DESERVED_BY
            and not _is_contradicted(one, profile)
            and _is_in_order(one, place, worth, named)
        ]
        if not fitting:
            undeserved.append(place)
            continue
        # The best segment is on top if half of its members deserve that, even if more deserve another name.
        old = kept.get(profile["segment_id"])
        preferred = (NAMES[0].name, old) if place == best else (old,)
        chosen = next((one for name in preferred for one in fitting if one.name == name), fitting[0])
        reason = _reason(chosen, profile)
        if chosen is not fitting[0] and chosen.name == old:
            reason += f" The segment keeps the name {chosen.name}, which still fits."
        named[place] = chosen.name
        given[place] = (chosen.name, chosen.name, reason, profile[_deserved(chosen)])
    # Those that a name fits worst are described.
    undeserved.sort(key=lambda place: _best_share(profiles[place]))
    described = max(1, math.floor(DESCRIBED_SHARE * len(worth)))
    for place in undeserved[:described]:
        given[place] = _described(profiles[place])
    for place in undeserved[described:]:
        possible = _possible(profiles[place])
        in_order = [one for one in possible if _is_in_order(one, place, worth, named)]
        given[place] = _least_wrong(profiles[place], [*in_order, *possible])
        named[place] = given[place][0]
    return [given[place] for place in range(len(profiles))]


def _best_first(profiles: list[dict[str, Any]]) -> tuple[int | None, list[int]]:
    """Returns the place of the best segment, and those of all segments with buyers in the order of being named.

    The best by frequency and money is sought among those of which at least half bought in the last 90 days; None if
    there are none. It is named first, and the others follow by what they are worth.
    """
    places = [place for place, profile in enumerate(profiles) if profile["segment_id"] != 0]
    places.sort(key=lambda place: (-_worth(profiles[place]), place))
    recent = [place for place in places if profiles[place]["active_share"] >= 0.5]
    best = max(
        recent, key=lambda place: profiles[place]["mean_f_score"] + profiles[place]["mean_m_score"], default=None
    )
    return best, places if best is None else [best, *(place for place in places if place != best)]


def _worth(profile: Mapping[str, Any]) -> float:
    """Returns what a customer of the segment has spent on average, net of returns."""
    return float(profile["revenue"]) / float(profile["customers"])


def _deserved(one: Name) -> str:
    return f"deserved_{NAMES.index(one)}"


def _by_deserving(profile: Mapping[str, Any]) -> list[Name]:
    """Returns the names, the one that most members deserve first."""
    return sorted(NAMES, key=lambda one: -profile[_deserved(one)])


def _is_contradicted(one: Name, profile: Mapping[str, Any]) -> bool:
    """Returns whether what was measured of a segment contradicts a name."""
    is_young = profile["shop_days"] < YOUNG_SHOP_DAYS
    return bool(profile[f"contradicted_{NAMES.index(one)}"]) or (one.writes_off and is_young)


def _is_in_order(one: Name, place: int, worth: Mapping[int, float], given: Mapping[int, str]) -> bool:
    """Returns whether a name keeps the names of its family in the order of worth."""
    family = FAMILIES.get(one.family, ())
    for other, name in given.items():
        if name in family:
            difference = family.index(name) - family.index(one.name)
            if difference * (worth[other] - worth[place]) > 0:
                return False
    return True


def _reason(one: Name, profile: Mapping[str, Any]) -> str:
    """Returns why a segment has a name."""
    return (
        f"{profile[_deserved(one)]:.0%} of the customers deserve the name {one.name}, by the R x F grid or because"
        f" {one.meaning}. {_figures(profile)}"
    )


def _figures(profile: Mapping[str, Any]) -> str:
    """Returns the figures of a segment that a name rests on."""
    orders, recency = profile["median_frequency"], profile["median_recency_days"]
    return (
        f"{profile['active_share']:.0%} bought in the last 90 days; the median is {orders:.0f}"
        f" {'order' if orders == 1 else 'orders'} and {recency:.0f} days since the last one."
    )


def _possible(profile: Mapping[str, Any]) -> list[Name]:
    """Returns the names that nothing contradicts, the one that most members deserve first."""
    return [one for one in _by_deserving(profile) if not _is_contradicted(one, profile)]


def _best_share(profile: Mapping[str, Any]) -> float:
    """Returns the share of the members who deserve the name that most deserve and nothing contradicts."""
    return max((profile[_deserved(one)] for one in _possible(profile)), default=0.0)


def _described(profile: Mapping[str, Any]) -> tuple[str, str, str, float]:
    """Returns what `_names_of` does for a segment that is described in words of its own."""
    words = description_of(*(int(profile[name]) for name in ("orders_low", "orders_high", "days_low", "days_high")))
    nearest = next(iter(_possible(profile)), None)
    by_name = f" ({nearest.name} by {profile[_deserved(nearest)]:.0%})" if nearest else ""
    return (
        nearest.name if nearest else NEUTRAL,
        words,
        f"No name is deserved by half of the customers{by_name}, so they are described: this is true of at least"
        f" {profile['described_share']:.0%} of them. {_figures(profile)}",
        profile["described_share"],
    )


def _least_wrong(profile: Mapping[str, Any], possible: Sequence[Name]) -> tuple[str, str, str, float]:
    """Returns what `_names_of` does for a segment that no name fits, if enough others are described already.

    Args:
        profile: The segment.
        possible: The names that nothing contradicts, the best first; may be empty.
    """
    nearest = next(iter(possible), next(one for one in NAMES if one.name == NEUTRAL))
    return (
        nearest.name,
        nearest.name,
        f"No better name fits: {profile[_deserved(nearest)]:.0%} of the customers deserve {nearest.name}."
        f" {_figures(profile)}",
        profile[_deserved(nearest)],
    )


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
