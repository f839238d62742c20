"""The evaluation of one night: runs the value test, compares all candidates, and writes the tables of both."""

import datetime
from typing import TYPE_CHECKING

from seg_pipeline.evaluation.outcomes import choice_night, read_outcomes
from seg_pipeline.evaluation.selection import candidates_of, evaluate_candidates, sensitivity
from seg_pipeline.evaluation.tables import (
    CHOICE_SENSITIVITY,
    CHOICE_TEST,
    CHOICE_WINDOW,
    EVALUATION_REPORT,
    VALUE_BY_SEGMENT,
    VALUE_TEST,
    VALUE_WINDOW,
)
from seg_pipeline.evaluation.unclipped import unclipped
from seg_pipeline.evaluation.value import value_rows, with_value
from seg_pipeline.models.champions import previous_champion_key
from seg_pipeline.models.tables import CANDIDATES, METRICS
from seg_pipeline.settings import Settings
from seg_pipeline.tables import Table
from seg_pipeline.warehouse import Warehouse

if TYPE_CHECKING:
    import pandas as pd

COLUMNS = ", ".join(["algorithm", "k", *(metric.name for metric in METRICS), "sizes", "revenues", "jaccard"])


def build_value_test(warehouse: Warehouse, settings: Settings, as_of: datetime.date) -> "dict[Table, pd.DataFrame]":
    """Replaces the night's rows of the value test's tables, and of the window that chooses, in one transaction.

    Returns:
        The rows of each table.
    """
    outcomes = read_outcomes(warehouse, as_of, settings)
    earlier = read_outcomes(warehouse, choice_night(as_of, settings), settings)
    rows_of = dict(zip((VALUE_WINDOW, VALUE_TEST, VALUE_BY_SEGMENT), value_rows(outcomes, settings), strict=True))
    rows_of |= dict(zip((CHOICE_WINDOW, CHOICE_TEST), value_rows(earlier, settings), strict=False))
    with warehouse.transaction() as connection:
        for table, rows in rows_of.items():
            connection.replace_night(table, rows, as_of)
    return rows_of


def build_evaluation(
    warehouse: Warehouse, settings: Settings, as_of: datetime.date
) -> "tuple[pd.DataFrame, pd.DataFrame]":
    """Replaces the night's rows of evaluation_report and choice_sensitivity.

    Value is that of the window that chooses, or, with a history too short for two windows, of the reported one.

    Returns:
        The rows of both tables.
    """
    import pandas as pd

    sweeps = " UNION ALL ".join(
        f"SELECT {COLUMNS} FROM {table.name} WHERE as_of = $as_of" for table in CANDIDATES.values()
    )
    window, tested = (warehouse.night(table, as_of) for table in (CHOICE_WINDOW, CHOICE_TEST))
    if tested.empty:
        window, tested = (warehouse.night(table, as_of) for table in (VALUE_WINDOW, VALUE_TEST))
    candidates = with_value(warehouse.read(sweeps, {"as_of": as_of}), tested, float(window["reachable_share"].iloc[0]))
    champion_key = previous_champion_key(warehouse, settings, as_of)
    report = evaluate_candidates(candidates, settings.selection, champion_key)
    compared = candidates_of(candidates)
    without_clip = unclipped(warehouse, settings, as_of, compared)
    scenarios = pd.DataFrame(sensitivity(compared, settings.selection, champion_key, without_clip))
    warehouse.replace_night(EVALUATION_REPORT, report, as_of)
    warehouse.replace_night(CHOICE_SENSITIVITY, scenarios, as_of)
    return report, scenarios
