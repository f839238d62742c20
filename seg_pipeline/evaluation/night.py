"""One night of evaluation: the value test, and the comparison of every candidate, written to their tables."""

import datetime
from typing import TYPE_CHECKING

from seg_pipeline.evaluation.outcomes import read_outcomes
from seg_pipeline.evaluation.selection import candidates_of, evaluate_candidates, sensitivity
from seg_pipeline.evaluation.tables import (
    CHOICE_SENSITIVITY,
    EVALUATION_REPORT,
    VALUE_BY_SEGMENT,
    VALUE_TEST,
    VALUE_WINDOW,
)
from seg_pipeline.evaluation.value import value_rows, with_value
from seg_pipeline.models.champions import previous_choice
from seg_pipeline.models.tables import CANDIDATES, METRICS
from seg_pipeline.settings import Settings
from seg_pipeline.tables import Table
from seg_pipeline.warehouse import Warehouse

if TYPE_CHECKING:
    import pandas as pd

COLUMNS = ", ".join(["algorithm", "k", *(metric.name for metric in METRICS), "eligible"])


def build_value_test(
    warehouse: Warehouse, settings: Settings, as_of: datetime.date
) -> "tuple[dict[Table, pd.DataFrame], str | None]":
    """Replaces the night's rows of value_window, value_test and value_by_segment in one transaction.

    Returns:
        The rows of each table, and why there is no test, in a sentence; None if there is one.
    """
    outcomes = read_outcomes(warehouse, as_of, settings)
    rows_of = dict(zip((VALUE_WINDOW, VALUE_TEST, VALUE_BY_SEGMENT), value_rows(outcomes, settings), strict=True))
    with warehouse.transaction() as connection:
        for table, rows in rows_of.items():
            connection.replace_night(table, rows, as_of)
    return rows_of, outcomes.untested_because


def build_evaluation(
    warehouse: Warehouse, settings: Settings, as_of: datetime.date
) -> "tuple[pd.DataFrame, pd.DataFrame]":
    """Replaces the night's rows of evaluation_report and choice_sensitivity.

    Returns:
        The rows of both tables.
    """
    import pandas as pd

    sweeps = " UNION ALL ".join(
        f"SELECT {COLUMNS}, ineligible_because AS reason FROM {table.name} WHERE as_of = $as_of"
        for table in CANDIDATES.values()
    )
    candidates = with_value(warehouse.read(sweeps, {"as_of": as_of}), warehouse.night(VALUE_TEST, as_of))
    settled = previous_choice(warehouse, settings, as_of)
    report = evaluate_candidates(candidates, settings.selection, settled)
    scenarios = pd.DataFrame(sensitivity(candidates_of(candidates), settings.selection, settled))
    warehouse.replace_night(EVALUATION_REPORT, report, as_of)
    warehouse.replace_night(CHOICE_SENSITIVITY, scenarios, as_of)
    return report, scenarios
