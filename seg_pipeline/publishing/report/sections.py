"""The sections of the report, in reading order.

A section is a function and the template sections/NAME.html.j2 of the same name. The function takes the report and
returns what its template needs in addition, or None to leave the section out. To add a section, write both and name the
function in PARTS.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import pandas as pd

from seg_pipeline.evaluation.selection import GROUPS_FROM, has_groups
from seg_pipeline.evaluation.value import TARGETED_SHARE
from seg_pipeline.features.tables import FEATURES
from seg_pipeline.plotting import images
from seg_pipeline.plotting.candidates import algorithm_comparison, elbow_curves, silhouette_curves, value_curves
from seg_pipeline.plotting.days import day_trends
from seg_pipeline.plotting.segments import cluster_map, feature_profiles, migration_flow, sizes_and_revenue
from seg_pipeline.prepared.tables import REASONS
from seg_pipeline.publishing.report.contents import LEGEND, Report, Row, first, of_candidate, records
from seg_pipeline.publishing.report.words import PATTERN, present

# What the page calls customers who are leaving by their own rhythm, and the groups that it shows, in their order.
LEAVING = {"lapsed": "leaving", "lost": "leaving"}
IN_RHYTHM = ("new", "active", "overdue", "leaving")

Context = dict[str, Any]
Section = Callable[[Report], Context | None]


@dataclass(frozen=True, slots=True)
class Part:
    """A part of the page for one kind of reader.

    Attributes:
        anchor: The part's id in the page.
        readers: Whom it is for.
        title: Its heading.
        sections: Its sections in reading order.
    """

    anchor: str
    readers: str
    title: str
    sections: tuple[Section, ...]


def at_a_glance(report: Report) -> Context:
    """Shows the lead sentence and a table of all segments; with a budget, their parts of it."""
    funded = [segment["strategy"] for segment in report.segments if has_budget(segment["strategy"])]
    of_buyers = [segment["strategy"] for segment in report.bought if has_budget(segment["strategy"])]
    return {
        "revenue": sum(segment["revenue"] for segment in report.segments),
        "few_repeat": report.value is not None and report.value.few_repeat,
        "top_revenue_segment": next((segment for segment in report.bought if pd.notna(segment["revenue_share"])), None),
        "top_budget_strategy": max(of_buyers, key=lambda strategy: float(strategy["budget"]), default=None),
        "has_budget": bool(funded),
        "budget": sum(float(strategy["budget"]) for strategy in funded),
    }


def has_budget(strategy: Row | None) -> bool:
    """Returns whether there is a strategy with a part of the budget."""
    return strategy is not None and present(strategy.get("budget", math.nan))


def certainty(report: Report) -> Context:
    """Explains how stable the segments are, what they would have been worth, and how robust the choice is."""
    chosen = report.chosen
    measured = [segment for segment in report.bought if present(segment.get("stability"))]
    agreeing = 0
    if report.sensitivity is not None and chosen:
        agreeing = len(of_candidate(report.sensitivity, (chosen["algorithm"], chosen["k"])))
    return {
        "least_stable": min((segment["stability"] for segment in measured), default=None),
        "unstable": [segment for segment in measured if segment["stability"] < GROUPS_FROM],
        "groups": has_groups(*(_number(chosen, name) for name in ("smallest_jaccard", "valley"))) if chosen else None,
        "value": report.value,
        "targeted": TARGETED_SHARE,
        "agreeing": agreeing,
        "sizes": images.svg(sizes_and_revenue(report.profiles, notation=report.notation), "sizes"),
    }


def _number(row: Row, name: str) -> float:
    """Returns a figure of a row; NaN if it is missing, as it is in nights of older versions."""
    return float(row[name]) if pd.notna(row.get(name)) else math.nan


def segment_by_segment(report: Report) -> Context:
    """Shows each segment with its figures, its actions, what was measured, and its part of the budget if any."""
    strategies = [segment["strategy"] for segment in report.segments if segment["strategy"]]
    return {
        "has_budget": has_budget,
        "has_rhythm": report.advice is not None and bool(report.advice["lifecycle"].notna().any()),
        "rhythm_of": partial(_rhythm_of, report.advice),
        "is_measured": any(present(strategy.get("repurchase_rate", math.nan)) for strategy in strategies),
    }


def _rhythm_of(advice: pd.DataFrame | None, segment: Row) -> Row | None:
    """Returns where a segment's customers are in their own rhythm, and whose actions apply to them.

    Returns:
        shares: The share of each group in words; own: how many get the segment's own actions; others: how many get
        those of another name, by name, the largest first. None if nothing is known.
    """
    if advice is None:
        return None
    rows = advice[advice["segment_id"].eq(segment["segment_id"]) & advice["lifecycle"].notna()]
    if rows.empty:
        return None
    groups = rows.groupby(rows["lifecycle"].map(lambda lifecycle: LEAVING.get(lifecycle, lifecycle)))["customers"].sum()
    by_advice = rows.groupby("advice")["customers"].sum().sort_values(ascending=False, kind="stable")
    own = segment.get("grid_name")
    return {
        "shares": [(name, groups[name] / groups.sum()) for name in IN_RHYTHM if name in groups],
        "own": int(by_advice.get(own, 0)),
        "others": [(name, int(customers)) for name, customers in by_advice.items() if name != own],
    }


def who_moved(report: Report) -> Context | None:
    """Shows who changed segment since an earlier night, and how many a new model moved; left out if nobody did."""
    migration, moves = report.migration, report.moves
    if migration is None or moves is None or moves.empty:
        return None
    by_model = moves["moved_by"].eq("model")
    return {
        "since": migration["from_as_of"].iloc[0],
        "ways": records(moves[~by_model]),
        "by_model": int(moves.loc[by_model, "customers"].sum()),
        "flow": images.svg(migration_flow(migration, notation=report.notation), "flow"),
    }


def the_choice(report: Report) -> Context:
    """Shows the rule, the chosen candidate, what silhouette alone would choose, and all candidates."""
    evaluation, notation = report.evaluation, report.notation
    low, high = report.settings.get("selection.k_min"), report.settings.get("selection.k_max")
    k_range = (low, high) if isinstance(low, int) and isinstance(high, int) else None
    # The baseline is no candidate.
    best = evaluation[evaluation["is_best_silhouette"].eq(True) & evaluation["algorithm"].ne(LEGEND.baseline)]
    return {
        "chosen": report.chosen,
        "by_silhouette": first(best.sort_values("silhouette", ascending=False, kind="stable")),
        "candidates": evaluation.sort_values("rank", kind="stable", na_position="last").to_dict("records"),
        "measured": set(evaluation.columns[evaluation.notna().any()]),
        "elbow": images.svg(elbow_curves(evaluation, LEGEND, k_range=k_range, notation=notation), "elbow"),
        "silhouette": images.svg(
            silhouette_curves(evaluation, LEGEND, k_range=k_range, notation=notation), "silhouette"
        ),
        "comparison": images.svg(algorithm_comparison(evaluation, LEGEND, notation=notation), "comparison"),
    }


def sensitivity(report: Report) -> Context | None:
    """Shows which candidate wins if one setting of the rule is changed."""
    if report.sensitivity is None:
        return None
    variants = report.sensitivity
    # Nights of older versions have no notes.
    noted = "note" in variants and bool(variants["note"].notna().any())
    return {"winners": len(variants.drop_duplicates(["algorithm", "k"])), "noted": noted}


def stability(report: Report) -> Context:
    """Shows the cluster map, the feature profiles, and each segment's stability, short rule and reason for its name."""
    return {
        "map": images.svg(cluster_map(report.cells, report.axis_labels), "map"),
        "profiles": images.svg(feature_profiles(report.profiles, FEATURES, notation=report.notation), "profiles"),
        "stable": GROUPS_FROM,
        "pattern": PATTERN,
    }


def value_test(report: Report) -> Context | None:
    """Shows what the segments would have been worth, beside the baseline and random customers."""
    value = report.value
    if value is None:
        return None
    curves = ""
    if report.value_by_segment is not None and len(report.value_by_segment):
        figure = value_curves(
            report.value_by_segment,
            LEGEND,
            targeted=TARGETED_SHARE,
            chosen=report.tested_choice,
            notation=report.notation,
        )
        curves = images.svg(figure, "value")
    return {"value": value, "targeted": TARGETED_SHARE, "baseline": LEGEND.baseline, "curves": curves}


def budget(report: Report) -> Context | None:
    """Shows the arithmetic of the budget; left out without a budget."""
    return {"has_budget": has_budget} if any(has_budget(segment["strategy"]) for segment in report.segments) else None


def lines(report: Report) -> Context:
    """Shows how many lines were delivered, kept and rejected, and whether the counts add up."""
    stage, counts = report.rows["stage"], report.rows["lines"].astype(int)
    raw, clean, total = (int(counts[stage.eq(name)].sum()) for name in ("raw", "clean", "rejected"))
    rejected = report.rows[stage.eq("rejected")].sort_values(["lines", "reason"], ascending=[False, True])
    return {
        "raw": raw,
        "clean": clean,
        "rejected": rejected.assign(meaning=rejected["reason"].map(REASONS).fillna("")).to_dict("records"),
        "rejected_total": total,
        "difference": raw - clean - total,
    }


def order_days(report: Report) -> Context | None:
    """Shows the figures of the newest order days, and which days and deliveries were not as usual."""
    if report.days is None or report.days.empty:
        return None
    return {
        "trends": images.svg(day_trends(report.days), "days"),
        "findings": [] if report.day_findings is None else records(report.day_findings),
    }


def model(report: Report) -> Context:
    """Shows the model's id and the versions of the software."""
    return {}


def settings(report: Report) -> Context:
    """Shows all settings that shape the numbers."""
    return {}


PARTS = (
    Part("segments", "marketing", "What to know and do", (at_a_glance, certainty, segment_by_segment, who_moved)),
    Part(
        "choice",
        "data scientists",
        "How the segments were chosen and tested",
        (the_choice, sensitivity, stability, value_test, budget),
    ),
    Part("run", "data engineers", "The run", (lines, order_days, model, settings)),
)
