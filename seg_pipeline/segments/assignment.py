"""One night's segments: every customer scored with the champion, the segments measured, both tables replaced."""

import datetime

from seg_pipeline.champions.new_segments import PROFILES_SQL
from seg_pipeline.models.champions import Champion
from seg_pipeline.models.scoring import label_customers
from seg_pipeline.segments.tables import SEGMENT_ASSIGNMENTS, SEGMENT_PROFILES
from seg_pipeline.warehouse import Warehouse, over_lines, replace_night, temporary, transaction


def assign_night(warehouse: Warehouse, champion: Champion, as_of: datetime.date) -> None:
    """Replaces the night's rows of segment_assignments and segment_profiles in one transaction; nothing is fitted.

    Ids and names are the champion's. A segment that is nobody's on this night has no profile.
    """
    of_champion = {
        "as_of": as_of,
        "model_id": champion.model_id,
        "fitted_as_of": champion.fitted_as_of,
    }
    with warehouse.get_connection() as connection:
        # Outside the transaction: what it has not committed yet is read by one thread only.
        label_customers(connection, champion.scorer, as_of)
        temporary(connection, "numbered", champion.segments)
        profiles = PROFILES_SQL.read_text(encoding="utf-8")
        over_lines(connection, f"CREATE OR REPLACE TEMP TABLE profiled AS {profiles}", {"as_of": as_of})
        with transaction(connection):
            replace_night(
                connection,
                SEGMENT_ASSIGNMENTS,
                "SELECT $as_of AS as_of, customer_id, segment_id, segment_name, confidence, $model_id AS model_id,"
                " $fitted_as_of AS fitted_as_of FROM labelled JOIN numbered USING (cluster)",
                as_of,
                of_champion,
            )
            replace_night(
                connection,
                SEGMENT_PROFILES,
                "SELECT $as_of AS as_of, profiled.*, named.* EXCLUDE (segment_id), $fitted_as_of AS fitted_as_of"
                " FROM profiled JOIN (SELECT DISTINCT ON (segment_id) segment_id, segment_name, grid_name, name_reason,"
                " stability, share AS fitted_share, rule, rule_precision, rule_recall FROM numbered"
                " ORDER BY segment_id, cluster) AS named USING (segment_id) ORDER BY segment_id",
                as_of,
                of_champion,
            )
        for made in ("profiled", "numbered", "labelled"):
            over_lines(connection, f"DROP TABLE {made}")
