"""The tables of this room. What it appoints goes to models.champions, which models/tables.py describes."""

from seg_pipeline.features.tables import AS_OF
from seg_pipeline.tables import Column, Table

SEGMENT_ID = Column("segment_id", "INTEGER", "Segment; 0 is 'No purchases', 1 spends most per customer", min_value=0)
SEGMENT_NAME = Column("segment_name", "VARCHAR", "Name of the segment, no two alike")

CHAMPION_DECISIONS = Table(
    "models.champion_decisions",
    "One row per night with a fit: the night's model against the champion, the decision, and its figures.",
    nightly=True,
    key=("challenger_id",),
    may_be_empty=True,
    columns=(
        AS_OF,
        Column("challenger_id", "VARCHAR", "Model that was chosen on the night"),
        Column("incumbent_id", "VARCHAR", "Champion that it had to beat", nullable=True),
        Column(
            "decision",
            "VARCHAR",
            "first (there was none), replaced, kept, or past (a later champion is in force already)",
            values=("first", "replaced", "kept", "past"),
        ),
        Column("reason", "VARCHAR", "Why"),
        Column("challenger_score", "DOUBLE", "Weighted mean as in the choice, on the night's customers"),
        Column("incumbent_score", "DOUBLE", "The same of the champion, on the same customers", nullable=True),
        Column("challenger_silhouette", "DOUBLE", "Silhouette on the night's customers", nullable=True),
        Column("incumbent_silhouette", "DOUBLE", "The same of the champion", nullable=True),
        Column("challenger_explained_share", "DOUBLE", "Explained share on the night's customers", nullable=True),
        Column("incumbent_explained_share", "DOUBLE", "The same of the champion", nullable=True),
        Column("agreement", "DOUBLE", "Adjusted Rand index between both on the night's customers", nullable=True),
        Column(
            "kept_share",
            "DOUBLE",
            "Share of the customers who keep their segment id from one to the other",
            nullable=True,
            min_value=0,
            max_value=1,
        ),
        Column(
            "kept_share_unmatched",
            "DOUBLE",
            "What that share would be if segments were numbered anew by spend",
            nullable=True,
            min_value=0,
            max_value=1,
        ),
    ),
)

SEGMENT_IDENTITY = Table(
    "segments.segment_identity",
    "What became of each segment on a night when a new model took over: kept, renamed, new or dissolved.",
    nightly=True,
    key=("segment_id",),
    may_be_empty=True,
    columns=(
        AS_OF,
        SEGMENT_ID,
        Column("change", "VARCHAR", "What became of it", values=("kept", "renamed", "new", "dissolved")),
        Column("segment_name", "VARCHAR", "Its name from now on; NULL where it dissolved", nullable=True),
        Column("previous_name", "VARCHAR", "Its name until now; NULL where it is new", nullable=True),
        Column(
            "overlap",
            "DOUBLE",
            "Customers in both over customers in either, before and after",
            nullable=True,
            min_value=0,
            max_value=1,
        ),
        Column("customers", "BIGINT", "Customers in it on the night, by the new model", min_value=0),
        Column("model_id", "VARCHAR", "The new champion"),
        Column("previous_model_id", "VARCHAR", "The one before; NULL for the first", nullable=True),
    ),
)
