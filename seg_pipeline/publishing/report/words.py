"""Writes values in words, for the templates of the report: days, settings, rules and results."""

import re
from datetime import date
from typing import Any

import jinja2
import pandas as pd

from seg_pipeline.evaluation.selection import GROUPS_FROM
from seg_pipeline.features.tables import FEATURES

# From here up to GROUPS_FROM, a segment's mean Jaccard overlap with refits shows a pattern (Hennig 2007).
PATTERN = 0.6


def present(value: Any) -> bool:
    """Returns whether there is a value, neither undefined nor missing."""
    return not isinstance(value, jinja2.Undefined) and not bool(pd.isna(value))


def day(value: date) -> str:
    """Writes a day in words, such as 10 December 2011."""
    return f"{value.day} {value:%B %Y}"


def setting(value: object) -> str:
    """Writes the value of a setting as a user would type it."""
    if value is None or value == "":
        return "not set"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, list | tuple | set | frozenset):
        items = sorted(value, key=str) if isinstance(value, set | frozenset) else value
        return ", ".join(map(str, items)) or "empty"
    return str(value)


def reason_of_move(moved_by: str) -> str:
    """Says why customers moved, by the column moved_by of segment_moves."""
    return {
        "customer": "new orders or returns, or more days without any",
        "new": "first order",
        "late": "older orders were delivered late",
        "gone": "no orders any more",
    }.get(moved_by, moved_by)


def feature_title(feature: str) -> str:
    """Returns the title of a feature."""
    return FEATURES[feature].title


def readable_rule(rule: str) -> str:
    """Writes a segment's rule with the titles of its features and the signs for at most and at least."""
    names = "|".join(FEATURES)
    titled = re.sub(rf"\b({names})\b", lambda name: feature_title(name[0]).lower(), rule)
    return titled.replace("<=", "\N{LESS-THAN OR EQUAL TO}").replace(">=", "\N{GREATER-THAN OR EQUAL TO}")


def sureness(jaccard: float) -> str:
    """Says what a segment's mean Jaccard overlap with its refits means, by the bounds of Hennig (2007)."""
    if jaccard >= GROUPS_FROM:
        return "a stable segment"
    return (
        "a pattern whose borders vary"
        if jaccard >= PATTERN
        else "an arbitrary cut, with similar customers on both sides"
    )


def against_baseline(low: float, high: float) -> str:
    """Says what the interval of a difference from the baseline means.

    Args:
        low: The interval's lower end.
        high: Its upper end.
    """
    if low > 0:
        return "significantly more than the public R x F grid"
    return (
        "significantly less than the public R x F grid"
        if high < 0
        else "no significant difference from the public R x F grid"
    )
