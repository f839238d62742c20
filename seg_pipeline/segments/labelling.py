"""One night's segments: every customer labelled, the segments measured and named, both tables replaced together."""

import datetime
from pathlib import Path

from seg_pipeline.features.tables import FEATURE_TRANSFORMS, RFM_FEATURES
from seg_pipeline.models.rfm_grid import NAME as RFM_GRID
from seg_pipeline.models.store import read_coreset, read_jaccard, read_model
from seg_pipeline.segments.assignment import NO_CLUSTER, Scorer, label_customers, model_id
from seg_pipeline.segments.names import name_segments
from seg_pipeline.segments.tables import SEGMENT_ASSIGNMENTS, SEGMENT_PROFILES
from seg_pipeline.warehouse import Warehouse, execute, replace_night, transaction

SQL = Path(__file__).parent
# Segments are numbered by the mean monetary of their customers, 1 the highest; 0 has bought nothing.
NUMBERED = f"""
    CREATE OR REPLACE TEMP TABLE numbered AS
    SELECT
        cluster,
        CASE WHEN cluster = {NO_CLUSTER} THEN 0
            ELSE row_number() OVER (ORDER BY cluster = {NO_CLUSTER}, sum(monetary) / count(*) DESC, cluster) END
            AS segment_id
    FROM labelled
    JOIN {RFM_FEATURES.name} USING (customer_id)
    WHERE as_of = $as_of
    GROUP BY cluster
"""


def label_night(warehouse: Warehouse, algorithm: str, k: int, as_of: datetime.date) -> str:
    """Replaces the night's rows of segment_assignments and segment_profiles in one transaction; returns the model id.

    Args:
        warehouse: Holds the night's features, transforms, coreset and candidates.
        algorithm: Of the chosen candidate.
        k: Of the chosen candidate.
        as_of: The night.
    """
    model = read_model(warehouse, algorithm, k, as_of)
    scorer = Scorer(model, warehouse.night(FEATURE_TRANSFORMS, as_of), read_coreset(warehouse, as_of)[0])
    jaccard = read_jaccard(warehouse, algorithm, k, as_of)
    identity = model_id(model, as_of)
    with warehouse.get_connection() as connection, transaction(connection):
        label_customers(connection, scorer, as_of)
        execute(connection, NUMBERED, {"as_of": as_of})
        profiles = (SQL / "segment_profiles.sql").read_text(encoding="utf-8")
        execute(connection, f"CREATE TEMP TABLE profiled AS {profiles}", {"as_of": as_of})
        profiled = connection.sql("FROM profiled ORDER BY segment_id").df()
        names = name_segments(profiled, by_rhythm=algorithm != RFM_GRID, noise=model.noise).assign(
            segment_id=profiled["segment_id"],
            # Nobody's refits say anything of segment 0.
            stability=[
                float("nan") if jaccard is None or cluster < 0 else jaccard[cluster] for cluster in profiled["cluster"]
            ],
        )
        connection.register("names", names)
        replace_night(
            connection,
            SEGMENT_PROFILES,
            "SELECT $as_of AS as_of, * FROM profiled JOIN names USING (segment_id) ORDER BY segment_id",
            as_of,
        )
        replace_night(
            connection,
            SEGMENT_ASSIGNMENTS,
            "SELECT $as_of AS as_of, customer_id, segment_id, segment_name, confidence, $model_id AS model_id"
            " FROM labelled JOIN numbered USING (cluster) JOIN names USING (segment_id) ORDER BY customer_id",
            as_of,
            {"model_id": identity},
        )
        for made in ("profiled", "numbered", "labelled"):
            connection.execute(f"DROP TABLE {made}")
    return identity
