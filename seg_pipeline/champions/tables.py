"""Descriptions of the champion tables. models/tables.py describes models.champions, which this room writes."""

from seg_pipeline.tables import AS_OF, Column, Table, count, number, share, text

SEGMENT_ID = Column(
    "segment_id",
    "INTEGER",
    "Segment; 0 is 'No purchases', and new segments are numbered by spend per customer, the highest first",
    min_value=0,
)
SEGMENT_NAME = text("segment_name", "Name of the segment, unique within a night")

CHAMPION_DECISIONS = Table(
    "models.champion_decisions",
    "One row per night with a fit: the night's model against the champion, the decision and its figures.",
    nightly=True,
    key=("challenger_id",),
    may_be_empty=True,
    columns=(
        AS_OF,
        text("challenger_id", "Model that was chosen on the night"),
        text("incumbent_id", "Champion that the challenger had to beat", nullable=True),
        text(
            "decision",
            "first (there was no champion), replaced, kept, or past (a later champion is already in force)",
            values=("first", "replaced", "kept", "past"),
        ),
        text("reason", "Why"),
        number(
            "challenger_score",
            "Selection score without its value term, on the night's customers",
        ),
        number("incumbent_score", "The champion's score on the same customers", nullable=True),
        number("challenger_silhouette", "Silhouette on the night's customers", nullable=True),
        number("incumbent_silhouette", "The champion's silhouette on the same customers", nullable=True),
        number("challenger_explained_share", "Explained share on the night's customers", nullable=True),
        number("incumbent_explained_share", "The champion's explained share on the same customers", nullable=True),
        number("agreement", "Adjusted Rand index between both models on the night's customers", nullable=True),
        share("kept_share", "Share of customers who have the same segment id in both models", nullable=True),
        share(
            "kept_share_unmatched",
            "kept_share if the new segments were numbered by spend instead of matched to the old ones",
            nullable=True,
        ),
    ),
)

SEGMENT_IDENTITY = Table(
    "segments.segment_identity",
    "One row per segment on a night when a new model took over: whether it was kept, renamed, new or dissolved.",
    nightly=True,
    key=("segment_id",),
    may_be_empty=True,
    columns=(
        AS_OF,
        SEGMENT_ID,
        text("change", "What happened to the segment", values=("kept", "renamed", "new", "dissolved")),
        text("segment_name", "Name from this night on; NULL if the segment was dissolved", nullable=True),
        text("previous_name", "Name before this night; NULL if the segment is new", nullable=True),
        share(
            "overlap",
            "Customers in the segment both before and after, over customers in it before or after",
            nullable=True,
        ),
        count("customers", "Customers in the segment on the night, by the new model"),
        text("model_id", "New champion"),
        text("previous_model_id", "Champion before it; NULL for the first champion", nullable=True),
    ),
)
