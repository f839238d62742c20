"""The contents of the report: one night's tables, and what several sections derive from them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from functools import cached_property
from typing import Any

import pandas as pd

from seg_pipeline.evaluation.value import RANDOM, tested_k
from seg_pipeline.features.tables import NO_PURCHASES_ID
from seg_pipeline.models.registry import BASELINE
from seg_pipeline.models.tables import TITLES
from seg_pipeline.plotting.candidates import Legend
from seg_pipeline.plotting.figures import segment_styles
from seg_pipeline.plotting.notation import Notation
from seg_pipeline.plotting.segments import by_revenue

LEGEND = Legend(TITLES, baseline=BASELINE)

# A row of a table, by the names of its columns.
Row = dict[str, Any]


@dataclass(frozen=True, slots=True, eq=False)
class ValueSection:
    """The value test of the night that the model was fitted on.

    Attributes:
        window: The row of value_window.
        untested_because: Why there are no figures; None if there are.
        few_repeat: Whether nearly all customers bought once, so that no worth is claimed.
        chosen_by: First day of the earlier window that chose; None if the choice was made by these figures themselves.
        sampled: Whether a sample of the customers was tested instead of all.
        choice: The figures of the chosen candidate; None if it was not tested.
        results: The figures of the chosen candidate, the baseline and random customers, in this order.
        segments: The figures of each segment of the chosen candidate.
    """

    window: Row
    untested_because: str | None
    few_repeat: bool
    chosen_by: date | None
    sampled: bool
    choice: Row | None
    results: list[Row]
    segments: list[Row]


# Without slots: the derived tables are computed once and kept.
@dataclass(frozen=True, eq=False)
class Report:
    """Everything that the page shows about one night.

    Sections whose table is None are left out.

    Attributes:
        as_of: The night: orders before this day count.
        source: Where the orders came from, in words.
        notation: How numbers and money are written.
        evaluation: Every candidate of the night that the model was fitted on.
        profiles: The night's segments.
        strategies: The night's actions and budgets.
        cells: The cells of the cluster map, each with the segment of its cluster.
        axis_labels: What the two axes of the cluster map stand for, in words.
        rows: The number of lines by stage (raw, clean, rejected) and reason.
        settings: The settings by their keys; the charts shade from `selection.k_min` to `selection.k_max`.
        model_id: The model that scored the night.
        versions: The versions of the packages and the database.
        rule: How the choice is made, in words.
        sensitivity: The winner under other settings of the rule.
        value_window: The window of the value test.
        choice_window: The earlier window that chose.
        value_test: The results of the value test for each candidate.
        value_by_segment: The results of the value test for each segment of each candidate.
        fitted_as_of: The night that the model was fitted on; evaluation, sensitivity and value are of that night.
        migration: How many customers moved between segments since an earlier night.
        days: The figures of the newest order days, a row each.
        day_findings: The newest days and deliveries that are not ok.
        moves: The same moves without those who stayed, by what moved them, from `move_lists`.
        advice: How many customers each segment has by lifecycle and advice, from `advice_by_segment`.
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
    choice_window: pd.DataFrame | None = None
    value_test: pd.DataFrame | None = None
    value_by_segment: pd.DataFrame | None = None
    fitted_as_of: date | None = None
    migration: pd.DataFrame | None = None
    days: pd.DataFrame | None = None
    day_findings: pd.DataFrame | None = None
    moves: pd.DataFrame | None = None
    advice: pd.DataFrame | None = None

    @cached_property
    def segments(self) -> list[Row]:
        """Profiles by revenue, each with its colour and its strategy, which may be None."""
        strategies = {int(row["segment_id"]): row for row in records(self.strategies)}
        styles = segment_styles(self.profiles["segment_id"])
        return [
            {**row, "strategy": strategies.get(int(row["segment_id"])), "colour": styles[int(row["segment_id"])][0]}
            for row in records(by_revenue(self.profiles))
        ]

    @cached_property
    def bought(self) -> list[Row]:
        """The segments of customers who have bought something."""
        return [segment for segment in self.segments if segment["segment_id"] != NO_PURCHASES_ID]

    @cached_property
    def chosen(self) -> Row | None:
        """The chosen candidate."""
        return first(self.evaluation[self.evaluation["chosen"].eq(True)])

    @cached_property
    def tested_choice(self) -> tuple[str, int] | None:
        """Algorithm and k with which the chosen candidate was tested."""
        if self.value_test is None or self.chosen is None:
            return None
        evaluation = self.evaluation.assign(tested_k=tested_k(self.evaluation, self.value_test))
        chosen = evaluation[evaluation["chosen"].eq(True)].iloc[0]
        return str(chosen["algorithm"]), int(chosen["tested_k"])

    @cached_property
    def value(self) -> ValueSection | None:
        """The value test as its section shows it; None if a table of it is missing."""
        window = None if self.value_window is None else first(self.value_window)
        if window is None or self.value_test is None or self.value_by_segment is None:
            return None
        tested = of_candidate(self.value_test, self.tested_choice)
        references = pd.concat(
            [self.value_test[self.value_test["algorithm"].eq(name)] for name in (LEGEND.baseline, RANDOM)]
        )
        return ValueSection(
            window=window,
            # pandas turns a NULL into NaN, which would count as true.
            untested_because=None if pd.isna(window["untested_because"]) else window["untested_because"],
            few_repeat=pd.notna(window.get("few_repeat")) and bool(window["few_repeat"]),
            chosen_by=self._chosen_by,
            # Nights of older versions have no such column; they tested all customers.
            sampled=pd.notna(window.get("sampled")) and bool(window["sampled"]),
            choice=first(tested),
            # The choice may be the baseline itself, which is shown once.
            results=records(pd.concat([tested, references.drop(tested.index, errors="ignore")])),
            segments=records(of_candidate(self.value_by_segment, self.tested_choice)),
        )

    @property
    def _chosen_by(self) -> date | None:
        """The first day of the window that chose; None if there is none."""
        window = None if self.choice_window is None else first(self.choice_window)
        return window["cutoff"] if window and pd.isna(window["untested_because"]) else None

    @property
    def compared(self) -> int:
        """The number of candidates that the choice was made from."""
        return int(self.evaluation["rank"].notna().sum())


def records(table: pd.DataFrame) -> list[Row]:
    """Returns the rows of a table by the names of its columns."""
    return [{str(name): value for name, value in row.items()} for row in table.to_dict("records")]


def first(rows: pd.DataFrame) -> Row | None:
    """Returns the first row, or None if there is none."""
    return {str(name): value for name, value in rows.iloc[0].to_dict().items()} if len(rows) else None


def of_candidate(rows: pd.DataFrame, candidate: tuple[str, int] | None) -> pd.DataFrame:
    """Returns the rows of one candidate, an algorithm and its k; no row if it is None."""
    if candidate is None:
        return rows.iloc[:0]
    algorithm, k = candidate
    return rows[rows["algorithm"].eq(algorithm) & rows["k"].eq(k)]
