"""The contents of the report: one night's tables, and what several sections derive from them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from typing import Any

import pandas as pd

from seg_pipeline.evaluation.value import RANDOM, tested_k
from seg_pipeline.models.registry import BASELINE
from seg_pipeline.models.tables import TITLES
from seg_pipeline.plotting.candidates import Legend
from seg_pipeline.plotting.figures import segment_styles
from seg_pipeline.plotting.notation import Notation
from seg_pipeline.plotting.segments import by_revenue

LEGEND = Legend(TITLES, baseline=BASELINE)

Row = dict[Any, Any]


@dataclass(frozen=True, slots=True, eq=False)
class Report:
    """Everything that the page shows about one night.

    Attributes:
        as_of: The night: orders before this day count.
        source: Where the orders came from, in words.
        notation: How numbers and money are written.
        evaluation: Every candidate of the night that the model was fitted on.
        profiles: The night's segments.
        strategies: The night's actions and budgets.
        cells: The cells of the cluster map, each with the segment of its cluster.
        axis_labels: What the two axes of the cluster map stand for, in words.
        rows: The numbers of lines by stage (raw, clean, rejected) and reason.
        settings: The settings by their keys; the charts shade from `selection.k_min` to `selection.k_max`.
        model_id: The model that scored the night.
        versions: The versions of the packages and the database.
        rule: How the choice is made, in words.
        sensitivity: The winner under other settings of the rule; without it, the section is left out.
        value_window: The window of the value test; without it, the section is left out.
        value_test: The results of the value test for each candidate.
        value_by_segment: The results of the value test for each segment of each candidate.
        fitted_as_of: The night that the model was fitted on; evaluation, sensitivity and value are of that night.
        migration: How many customers moved between segments since an earlier night; without it, the section is left
            out.
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

    @property
    def segments(self) -> list[Row]:
        """Profiles by revenue, each with its colour and its strategy, which may be None."""
        strategies = {int(row["segment_id"]): row for row in self.strategies.to_dict("records")}
        styles = segment_styles(self.profiles["segment_id"])
        return [
            {**row, "strategy": strategies.get(int(row["segment_id"])), "colour": styles[int(row["segment_id"])][0]}
            for row in by_revenue(self.profiles).to_dict("records")
        ]

    @property
    def bought(self) -> list[Row]:
        """The segments of customers who have bought something."""
        return [segment for segment in self.segments if segment["segment_id"] != 0]

    @property
    def chosen(self) -> Row | None:
        """The chosen candidate."""
        return first(self.evaluation[self.evaluation["chosen"].eq(True)])

    @property
    def tested_choice(self) -> tuple[str, int] | None:
        """Algorithm and k with which the chosen candidate was tested."""
        if self.value_test is None or self.chosen is None:
            return None
        evaluation = self.evaluation.assign(tested_k=tested_k(self.evaluation, self.value_test))
        chosen = evaluation[evaluation["chosen"].eq(True)].iloc[0]
        return str(chosen["algorithm"]), int(chosen["tested_k"])

    @property
    def value(self) -> Row | None:
        """The results of the value test for the choice, the baseline, chance, and each segment of the choice."""
        window = None if self.value_window is None else first(self.value_window)
        if window is None or self.value_test is None or self.value_by_segment is None:
            return None
        tested = of_candidate(self.value_test, self.tested_choice)
        others = self.value_test[self.value_test["algorithm"].isin([LEGEND.baseline, RANDOM])].sort_values(
            "algorithm", ascending=False
        )
        return {
            **window,
            # pandas turns a NULL into NaN, which would count as true.
            "untested_because": None if pd.isna(window["untested_because"]) else window["untested_because"],
            # Nights of older versions have no such column; they tested all customers.
            "sampled": pd.notna(window.get("sampled")) and bool(window["sampled"]),
            "choice": first(tested),
            "rows": pd.concat([tested, others.drop(tested.index, errors="ignore")]).to_dict("records"),
            "segments": of_candidate(self.value_by_segment, self.tested_choice).to_dict("records"),
        }


def first(rows: pd.DataFrame) -> Row | None:
    """Returns the first row, or None if there is none."""
    return rows.iloc[0].to_dict() if len(rows) else None


def of_candidate(rows: pd.DataFrame, candidate: tuple[str, int] | None) -> pd.DataFrame:
    """Returns the rows of one candidate, an algorithm and its k; no row if it is None."""
    algorithm, k = candidate or ("", 0)
    return rows[rows["algorithm"].eq(algorithm) & rows["k"].eq(k)]
