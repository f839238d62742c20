"""The assignment of one night: scores every customer with the champion and profiles the segments."""

import datetime
from pathlib import Path
from typing import TYPE_CHECKING

from seg_pipeline.champions.new_segments import PROFILES_SQL
from seg_pipeline.features.tables import CUSTOMER_RHYTHM
from seg_pipeline.models.champions import Champion
from seg_pipeline.models.scoring import label_customers
from seg_pipeline.segments.advice import advice_rows
from seg_pipeline.segments.tables import SEGMENT_ASSIGNMENTS, SEGMENT_PROFILES
from seg_pipeline.warehouse import Warehouse

if TYPE_CHECKING:
    import pandas as pd

ASSIGNMENTS_SQL = Path(__file__).with_name("segment_assignments.sql")
NAMED_PROFILES_SQL = Path(__file__).with_name("named_profiles.sql")


def assign_night(warehouse: Warehouse, champion: Champion, as_of: datetime.date) -> None:
    """Replaces the night's rows of segment_assignments and segment_profiles in one transaction, without fitting.

    Ids and names are the champion's. A segment without customers on this night has no profile.
    """
    of_champion = {
        "as_of": as_of,
        "model_id": champion.model_id,
        "fitted_as_of": champion.fitted_as_of,
        "reference_as_of": champion.reference_as_of,
    }
    # DuckDB reads uncommitted rows with one thread, so the temporary tables are made before the transaction begins.
    with (
        warehouse.get_connection() as connection,
        label_customers(connection, champion.scorer, as_of) as labelled,
        connection.temporary(champion.segments) as numbered,
        connection.temporary(
            PROFILES_SQL, {"as_of": as_of, "labelled": labelled, "numbered": numbered, "rhythm": CUSTOMER_RHYTHM}
        ) as profiled,
        connection.temporary(advice_rows()) as advised,
        connection.transaction(),
    ):
        connection.replace_night(
            SEGMENT_ASSIGNMENTS,
            ASSIGNMENTS_SQL,
            as_of,
            {**of_champion, "labelled": labelled, "numbered": numbered, "advised": advised},
        )
        connection.replace_night(
            SEGMENT_PROFILES,
            NAMED_PROFILES_SQL,
            as_of,
            {**of_champion, "profiled": profiled, "numbered": numbered},
        )


def customers_by_advice(warehouse: Warehouse, as_of: datetime.date) -> "pd.Series":
    """Returns how many of a night's customers have each advice, by name."""
    return advice_by_segment(warehouse, as_of).groupby("advice")["customers"].sum()


def advice_by_segment(warehouse: Warehouse, as_of: datetime.date) -> "pd.DataFrame":
    """Returns how many customers each segment has by lifecycle and advice: segment_id, lifecycle, advice, customers."""
    return warehouse.read(
        "SELECT segment_id, lifecycle, advice, count(*) AS customers FROM {assignments} WHERE as_of = $as_of"
        " GROUP BY segment_id, lifecycle, advice ORDER BY segment_id, customers DESC, lifecycle, advice",
        {"as_of": as_of, "assignments": SEGMENT_ASSIGNMENTS},
    )
