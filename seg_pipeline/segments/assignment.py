"""The assignment of one night: scores every customer with the champion and profiles the segments."""

import datetime
from pathlib import Path

from seg_pipeline.champions.new_segments import PROFILES_SQL
from seg_pipeline.features.tables import CUSTOMER_RHYTHM
from seg_pipeline.models.champions import Champion
from seg_pipeline.models.scoring import label_customers
from seg_pipeline.segments.tables import SEGMENT_ASSIGNMENTS, SEGMENT_PROFILES
from seg_pipeline.warehouse import Warehouse

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
        connection.transaction(),
    ):
        connection.replace_night(
            SEGMENT_ASSIGNMENTS,
            "SELECT $as_of AS as_of, customer_id, segment_id, segment_name, confidence, $model_id AS model_id,"
            f" $fitted_as_of AS fitted_as_of FROM {labelled} JOIN {numbered} USING (cluster)",
            as_of,
            of_champion,
        )
        connection.replace_night(
            SEGMENT_PROFILES,
            NAMED_PROFILES_SQL,
            as_of,
            {**of_champion, "profiled": profiled, "numbered": numbered},
        )
