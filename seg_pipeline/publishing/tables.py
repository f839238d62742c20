"""The tables whose nights are published. This room has no tables of its own."""

from seg_pipeline.features.tables import CUSTOMER_RHYTHM, RFM_FEATURES
from seg_pipeline.segments.tables import (
    SEGMENT_ASSIGNMENTS,
    SEGMENT_MIGRATION,
    SEGMENT_MOVES,
    SEGMENT_PROFILES,
    SEGMENT_STRATEGIES,
)

# Features are published beside the segments, so that readers can rank customers by value and by silence.
PUBLISHED_TABLES = (
    SEGMENT_ASSIGNMENTS,
    SEGMENT_PROFILES,
    SEGMENT_STRATEGIES,
    SEGMENT_MIGRATION,
    SEGMENT_MOVES,
    RFM_FEATURES,
    CUSTOMER_RHYTHM,
)
