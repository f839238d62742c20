"""The table of this room."""

from seg_pipeline.features.tables import AS_OF
from seg_pipeline.models.tables import METRICS
from seg_pipeline.tables import Column, Rule, Table

EVALUATION_REPORT = Table(
    "evaluation.evaluation_report",
    "One row per candidate of a night: all metrics, its rank by the rule, whether it was chosen, and why or why not.",
    nightly=True,
    key=("algorithm", "k"),
    columns=(
        AS_OF,
        Column("algorithm", "VARCHAR", "Algorithm; rfm_grid is the public R x F grid, the baseline"),
        Column("k", "INTEGER", "Number of segments", min_value=1),
        *METRICS,
        Column("eligible", "BOOLEAN", "Passes the gates of the selection settings"),
        Column(
            "score", "DOUBLE", "Weighted mean of silhouette, explained share and stability", min_value=0, max_value=1
        ),
        Column("is_elbow", "BOOLEAN", "The algorithm's k by the elbow (inertia; of a mixture, BIC)"),
        Column("is_best_silhouette", "BOOLEAN", "The algorithm's k by silhouette alone"),
        Column(
            "rank", "INTEGER", "Place among the eligible candidates by the rule, 1 the best", nullable=True, min_value=1
        ),
        Column("chosen", "BOOLEAN", "The model that the segments come from"),
        Column("reason", "VARCHAR", "Why it was or was not chosen"),
    ),
    rules=(
        Rule(
            "one_chosen",
            "Exactly one candidate is chosen.",
            "SELECT count(*) FILTER (chosen) AS chosen FROM {batch} HAVING count(*) FILTER (chosen) != 1",
        ),
        Rule(
            "a_fitted_model_chosen",
            "A fitted model is good enough: the grid is not the fallback.",
            "SELECT algorithm, reason FROM {batch} WHERE chosen AND algorithm = 'rfm_grid'",
            "warning",
        ),
    ),
)


CHOICE_SENSITIVITY = Table(
    "evaluation.choice_sensitivity",
    "What would have been chosen on a night if the weights of the rule were others.",
    nightly=True,
    key=("scenario",),
    columns=(
        AS_OF,
        Column("scenario", "VARCHAR", "The setting that is moved, and to what"),
        Column("algorithm", "VARCHAR", "Algorithm of the winner"),
        Column("k", "INTEGER", "Number of segments of the winner", min_value=1),
    ),
)
