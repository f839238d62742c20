"""The night's evaluation as one HTML page that needs nothing else: for marketing, for data scientists, for engineers.

What the page says is decided here and in report.html.j2; the tables come from the caller, the plots from plots, and
how a number is written from notation. No duration is on it: the same night gives the same page, byte by byte.
"""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any

import jinja2
import pandas as pd

from seg_pipeline.evaluation.value import RANDOM, TARGETED, tested_k
from seg_pipeline.models.registry import BASELINE
from seg_pipeline.plotting import plots
from seg_pipeline.plotting.notation import Notation
from seg_pipeline.prepared.tables import REASONS

STABLE, PATTERN = 0.75, 0.6

TEMPLATE = Path(__file__).with_name("report.html.j2")
# Makes every table sortable; without it they stay as they came, in the order that their captions name.
SCRIPT = Path(__file__).with_name("report.js")


@dataclass(frozen=True, slots=True, eq=False)
class Report:
    """All that the page says about one night.

    Attributes:
        as_of: the first day that the night does not see.
        source: where the orders came from, in words.
        notation: how numbers and money are written.
        evaluation, profiles, strategies, cells, rows: tables of that night.
        axis_labels: what the two axes of the cluster map are made of, in words.
        settings: flattened keys; `selection.k_min` and `selection.k_max` are shaded in the plots where present.
        versions: of the packages and the database.
        rule: how the choice is made, in words.
        sensitivity: the winner under other settings of the rule; nothing is said of it without.
        fitted_as_of: the night that the model was fitted on; evaluation, sensitivity and value are of that night.
        migration: who moved from where to where since one earlier night; nothing is said of it without.
        value_window, value_test, value_by_segment: tables of that night; nothing is said of the test without the first.
    """

    as_of: date
    source: str
    notation: Notation
    evaluation: pd.DataFrame
    profiles: pd.DataFrame
    strategies: pd.DataFrame
    cells: pd.DataFrame
    axis_labels: tuple[str, str]
    rows: pd.DataFrame
    settings: Mapping[str, object]
    model_id: str
    versions: Mapping[str, str]
    rule: str
    sensitivity: pd.DataFrame | None = None
    value_window: pd.DataFrame | None = None
    value_test: pd.DataFrame | None = None
    value_by_segment: pd.DataFrame | None = None
    fitted_as_of: date | None = None
    migration: pd.DataFrame | None = None


def render(report: Report) -> str:
    """The page as text. All data is escaped; the same report gives the same text."""
    environment = jinja2.Environment(
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters |= {
        "number": report.notation.number,
        "share": report.notation.share,
        "money": report.notation.money,
        "feature_value": report.notation.feature,
        "feature": plots.feature_label,
        "algorithm": plots.algorithm_label,
        "day": day,
        "setting": setting,
        "present": present,
        "sureness": sureness,
        "against_grid": against_grid,
        "rule_in_words": rule_in_words,
    }
    segments = _segments(report)
    bought = [segment for segment in segments if segment["segment_id"] != 0]
    script = SCRIPT.read_text(encoding="utf-8")
    template = environment.from_string(TEMPLATE.read_text(encoding="utf-8"))
    return template.render(
        report=report,
        segments=segments,
        bought=bought,
        customers=sum(segment["customers"] for segment in bought),
        no_purchases=sum(segment["customers"] for segment in segments if segment["segment_id"] == 0),
        revenue=sum(segment["revenue"] for segment in segments),
        leader=next((segment for segment in bought if pd.notna(segment["revenue_share"])), None),
        favoured=max((segment["strategy"] for segment in bought if segment["strategy"]), key=_budget, default=None),
        budget=sum(_budget(segment["strategy"]) for segment in segments if segment["strategy"]),
        unstable=[segment for segment in bought if _stability(segment) < STABLE],
        least_stable=min(map(_stability, bought), default=float("inf")),
        candidates=_candidates(report.evaluation),
        measured=set(report.evaluation.columns[report.evaluation.notna().any()]),
        chosen=_first(report.evaluation[report.evaluation["chosen"].eq(True)]),
        by_silhouette=_by_silhouette(report.evaluation),
        rows=_row_balance(report.rows),
        plots=_plots(report),
        moved=_moved(report.migration),
        value=_value(report),
        targeted=TARGETED,
        baseline=BASELINE,
        stable=STABLE,
        pattern=PATTERN,
        script=script,
        # The page lets this one script run and no other.
        script_hash=base64.b64encode(hashlib.sha256(script.encode()).digest()).decode(),
        agreeing=_agreeing(report),
        winners=0 if report.sensitivity is None else len(report.sensitivity.drop_duplicates(["algorithm", "k"])),
    )


def present(value: Any) -> bool:
    """Whether there is a value: neither undefined nor missing."""
    return not isinstance(value, jinja2.Undefined) and not bool(pd.isna(value))


def sureness(jaccard: float) -> str:
    """What a segment's mean Jaccard overlap with its refits says, in the bounds of Hennig (2007)."""
    if jaccard >= STABLE:
        return "a stable segment"
    return "a pattern, its borders move" if jaccard >= PATTERN else "a cut through a cloud, not a group of its own"


def day(value: date) -> str:
    """A day as people write it: 10 December 2011."""
    return f"{value.day} {value:%B %Y}"


def setting(value: object) -> str:
    """A setting's value as one would write it."""
    if value is None or value == "":
        return "not set"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, list | tuple | set | frozenset):
        items = sorted(value, key=str) if isinstance(value, set | frozenset) else value
        return ", ".join(map(str, items)) or "empty"
    return str(value)


def rule_in_words(rule: str) -> str:
    """A segment's rule with the features' names as people say them."""
    names = "|".join(plots.FEATURE_LABELS)
    words = re.sub(rf"\b({names})\b", lambda name: plots.feature_label(name[0]).lower(), rule)
    return words.replace("<=", "\N{LESS-THAN OR EQUAL TO}").replace(">=", "\N{GREATER-THAN OR EQUAL TO}")


def _stability(segment: Mapping[Any, Any]) -> float:
    """Infinite where it was not measured."""
    value = segment.get("stability")
    return float("inf") if value is None or pd.isna(value) else float(value)


def _budget(strategy: Mapping[Any, Any]) -> float:
    return float(strategy["budget"])


def _agreeing(report: Report) -> int:
    """In how many settings of the rule the choice wins."""
    chosen = _first(report.evaluation[report.evaluation["chosen"].eq(True)])
    if report.sensitivity is None or chosen is None:
        return 0
    return len(_of(report.sensitivity, (chosen["algorithm"], chosen["k"])))


def _segments(report: Report) -> list[dict[Any, Any]]:
    """Profiles with their strategies, by revenue; a segment without a strategy has None for it."""
    strategies = {int(row["segment_id"]): row for row in report.strategies.to_dict("records")}
    styles = plots.segment_styles(report.profiles["segment_id"])
    return [
        {**row, "strategy": strategies.get(int(row["segment_id"])), "colour": styles[int(row["segment_id"])][0]}
        for row in plots.by_revenue(report.profiles).to_dict("records")
    ]


def _moved(migration: pd.DataFrame | None) -> dict[str, Any]:
    """The ways that customers went, the most travelled first; who stayed is left out."""
    if migration is None or migration.empty:
        return {"ways": []}
    ways = migration[migration["from_segment_id"] != migration["to_segment_id"]]
    ways = ways.sort_values(["customers", "from_segment_id", "to_segment_id"], ascending=[False, True, True])
    return {"since": migration["from_as_of"].iloc[0], "ways": ways.to_dict("records")}


def _candidates(evaluation: pd.DataFrame) -> list[dict[Any, Any]]:
    return evaluation.sort_values("rank", kind="stable", na_position="last").to_dict("records")


def _by_silhouette(evaluation: pd.DataFrame) -> dict[Any, Any] | None:
    """What silhouette alone would choose among the fitted candidates; the baseline is no candidate."""
    best = evaluation[evaluation["is_best_silhouette"].eq(True) & evaluation["algorithm"].ne(BASELINE)]
    return _first(best.sort_values("silhouette", ascending=False, kind="stable"))


def _value(report: Report) -> dict[str, Any] | None:
    """What the value test says of the choice, the baseline and chance, and what each segment of the choice did."""
    window = None if report.value_window is None else _first(report.value_window)
    if window is None or report.value_test is None or report.value_by_segment is None:
        return None
    choice = _tested_choice(report)
    tested = _of(report.value_test, choice)
    others = report.value_test[report.value_test["algorithm"].isin([BASELINE, RANDOM])].sort_values(
        "algorithm", ascending=False
    )
    return {
        **window,
        # What pandas makes of a NULL is true.
        "untested_because": None if pd.isna(window["untested_because"]) else window["untested_because"],
        # Nights of older versions do not say; they saw all customers.
        "sampled": pd.notna(window.get("sampled")) and bool(window["sampled"]),
        "choice": _first(tested),
        "rows": pd.concat([tested, others.drop(tested.index, errors="ignore")]).to_dict("records"),
        "segments": _of(report.value_by_segment, choice).to_dict("records"),
    }


def _tested_choice(report: Report) -> tuple[str, int] | None:
    """Algorithm and k under which the choice was tested."""
    if report.value_test is None or not report.evaluation["chosen"].eq(True).any():
        return None
    evaluation = report.evaluation.assign(tested_k=tested_k(report.evaluation, report.value_test))
    chosen = evaluation[evaluation["chosen"].eq(True)].iloc[0]
    return str(chosen["algorithm"]), int(chosen["tested_k"])


def _of(rows: pd.DataFrame, candidate: tuple[str, int] | None) -> pd.DataFrame:
    algorithm, k = candidate or ("", 0)
    return rows[rows["algorithm"].eq(algorithm) & rows["k"].eq(k)]


def against_grid(low: float, high: float) -> str:
    """What the interval of a difference to the baseline says."""
    if low > 0:
        return "more than the public R x F grid, beyond what chance explains"
    return (
        "less than the public R x F grid, beyond what chance explains"
        if high < 0
        else "no clear difference from the public R x F grid"
    )


def _first(rows: pd.DataFrame) -> dict[Any, Any] | None:
    return rows.iloc[0].to_dict() if len(rows) else None


def _row_balance(rows: pd.DataFrame) -> dict[str, Any]:
    lines = rows["lines"].astype(int)
    rejected = rows[rows["stage"].eq("rejected")].sort_values(["lines", "reason"], ascending=[False, True])
    raw, clean = int(lines[rows["stage"].eq("raw")].sum()), int(lines[rows["stage"].eq("clean")].sum())
    total = int(rejected["lines"].sum())
    return {
        "raw": raw,
        "clean": clean,
        "rejected": rejected.assign(meaning=rejected["reason"].map(REASONS).fillna("")).to_dict("records"),
        "rejected_total": total,
        "difference": raw - clean - total,
    }


def _plots(report: Report) -> dict[str, str]:
    """Plots as SVG, by their names in the template."""
    low, high = report.settings.get("selection.k_min"), report.settings.get("selection.k_max")
    k_range = (low, high) if isinstance(low, int) and isinstance(high, int) else None
    notation = report.notation
    figures = {
        "sizes": plots.sizes_and_revenue(report.profiles, notation=notation),
        "elbow": plots.elbow_curves(report.evaluation, k_range=k_range, notation=notation),
        "silhouette": plots.silhouette_curves(report.evaluation, k_range=k_range, notation=notation),
        "comparison": plots.algorithm_comparison(report.evaluation, notation=notation),
        "map": plots.cluster_map(report.cells, report.axis_labels),
        "profiles": plots.feature_profiles(report.profiles, notation=notation),
    }
    if report.migration is not None and _moved(report.migration)["ways"]:
        figures["flow"] = plots.flow(report.migration, notation=notation)
    if report.value_by_segment is not None and len(report.value_by_segment):
        figures["value"] = plots.value_curves(report.value_by_segment, _tested_choice(report), notation=notation)
    return {name: plots.svg(figure, name) for name, figure in figures.items()}
