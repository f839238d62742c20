"""The tables of this room. All candidates of one algorithm stand in one table; these tables have the same columns."""

from dataclasses import replace

from seg_pipeline.features.tables import AS_OF, GRID_CELLS
from seg_pipeline.models.registry import ALGORITHMS
from seg_pipeline.tables import Column, Rule, Table

CORESET = Table(
    "models.coreset",
    "The buyers of a night, summarised: cells of customers with like features, on which models are fitted and scored.",
    nightly=True,
    key=("cell",),
    columns=(
        AS_OF,
        Column("cell", "INTEGER", "Number of the cell, from 0", min_value=0),
        Column("customers", "BIGINT", "Customers in the cell", min_value=1),
        Column("point", "DOUBLE[]", "Mean of its customers in transformed units, a value per modelling feature"),
        Column(
            "spread",
            "DOUBLE",
            "Mean squared distance of its customers to that mean, squared transformed units",
            min_value=0,
        ),
        Column("exact", "BOOLEAN", "Every distinct customer is a cell, so nothing was lost"),
        Column("rfm_segment", "VARCHAR", "Most common R x F grid segment of its customers", values=tuple(GRID_CELLS)),
    ),
    rules=(
        Rule(
            "buyers_conserved",
            "The cells hold every customer with a purchase once.",
            "SELECT * FROM (SELECT (SELECT sum(customers) FROM {batch}) AS in_cells, (SELECT count(*) FROM"
            " features.rfm_features WHERE as_of = :as_of AND frequency > 0) AS buyers) WHERE in_cells != buyers",
        ),
    ),
)

METRICS = (
    Column(
        "inertia",
        "DOUBLE",
        "Within-cluster sum of squared distances to the cluster mean, over all customers",
        min_value=0,
    ),
    Column("explained_share", "DOUBLE", "1 - inertia over the total sum of squares", nullable=True),
    Column(
        "silhouette",
        "DOUBLE",
        "Mean silhouette of all customers, -1 to 1, higher is better",
        nullable=True,
        min_value=-1,
        max_value=1,
    ),
    Column("calinski_harabasz", "DOUBLE", "Between over within variance, higher is better", nullable=True, min_value=0),
    Column(
        "davies_bouldin",
        "DOUBLE",
        "Mean likeness to the most alike cluster, lower is better",
        nullable=True,
        min_value=0,
    ),
    Column("bic", "DOUBLE", "Bayesian information criterion of a mixture, lower is better", nullable=True),
    Column("smallest_share", "DOUBLE", "Share of customers in the smallest cluster", min_value=0, max_value=1),
    Column("largest_share", "DOUBLE", "Share of customers in the largest cluster", min_value=0, max_value=1),
    Column(
        "stability",
        "DOUBLE",
        "Mean adjusted Rand index with refits on bootstrap draws; 1 is the same each time, 0 chance",
        nullable=True,
        min_value=-1,
        max_value=1,
    ),
    Column(
        "seed_stability", "DOUBLE", "The same between refits with other seeds", nullable=True, min_value=-1, max_value=1
    ),
    Column("gap", "DOUBLE", "Gap statistic: log dispersion of references without clusters less its own", nullable=True),
    Column("gap_standard_error", "DOUBLE", "Standard error of the gap", nullable=True, min_value=0),
    Column("lost_share", "DOUBLE", "Share of the total sum of squares that the coreset lost", min_value=0, max_value=1),
    Column("fit_seconds", "DOUBLE", "Time of the fit, seconds", min_value=0),
)


CANDIDATE_COLUMNS = (
    AS_OF,
    Column("algorithm", "VARCHAR", "Algorithm"),
    Column("k", "INTEGER", "Number of clusters", min_value=1),
    *METRICS,
    Column(
        "jaccard",
        "DOUBLE[]",
        "Of each cluster, its mean best overlap with one of a bootstrap draw",
        nullable=True,
    ),
    Column("eligible", "BOOLEAN", "Passes the gates of the selection settings"),
    Column("ineligible_because", "VARCHAR", "The first gate it fails", nullable=True),
    Column("log_likelihood", "DOUBLE", "Mean log-likelihood per customer of a mixture", nullable=True),
    Column("centers", "DOUBLE[][]", "Cluster means in transformed units"),
    Column("weights", "DOUBLE[]", "Share of customers, of a mixture the component's weight"),
    Column("covariances", "DOUBLE[][][]", "Covariance matrices of a mixture", nullable=True),
    Column("cell_labels", "INTEGER[]", "Cluster of each cell of the coreset"),
    Column(
        "noise_cluster",
        "INTEGER",
        "Cluster that holds whom density left in none of the others",
        nullable=True,
        min_value=0,
    ),
)


def candidates_table(algorithm: str, title: str) -> Table:
    """The table of one algorithm's candidates."""
    return Table(
        f"models.{algorithm}_candidates",
        f"{title}: one row per candidate, its number of clusters, its metrics and the model as plain numbers.",
        nightly=True,
        key=("k",),
        # No rows where the algorithm is not compared, or the buyers are too few.
        may_be_empty=True,
        columns=tuple(
            replace(column, values=(algorithm,)) if column.name == "algorithm" else column
            for column in CANDIDATE_COLUMNS
        ),
        rules=(
            Rule(
                "every_cell_labelled",
                "Each model labels every cell of the coreset.",
                "SELECT k, len(cell_labels) AS labels FROM {batch}"
                " WHERE len(cell_labels) != (SELECT count(*) FROM models.coreset WHERE as_of = :as_of)",
            ),
        ),
    )


TITLES = {name: algorithm.title for name, algorithm in ALGORITHMS.items()}
CANDIDATES = {name: candidates_table(name, title) for name, title in TITLES.items()}

CHAMPIONS = Table(
    "models.champions",
    "The models that customers are scored with, as plain numbers: append-only, the last row in force on a night scores"
    " it. Going back to an older model appends its row again.",
    key=("number",),
    may_be_empty=True,
    columns=(
        Column("number", "INTEGER", "Place in the order in which they were put in force, from 1", min_value=1),
        Column("model_id", "VARCHAR", "Algorithm, k, night and a digest of its numbers"),
        Column("in_force_from", "DATE", "First night that it scores"),
        Column("fitted_as_of", "DATE", "Night whose customers it was fitted on"),
        Column("pinned", "BOOLEAN", "Put there by hand: no challenger replaces it"),
        Column("why", "VARCHAR", "Why it became the champion"),
        Column("settings_digest", "VARCHAR", "Digest of the settings that shaped it"),
        Column("algorithm", "VARCHAR", "Algorithm", values=tuple(CANDIDATES)),
        Column("k", "INTEGER", "Number of clusters", min_value=1),
        Column("customers", "BIGINT", "Buyers it was fitted on", min_value=1),
        Column(
            "stability", "DOUBLE", "Stability when it was fitted, see evaluation_report", nullable=True, min_value=-1
        ),
        Column("centers", "DOUBLE[][]", "Cluster means in transformed units"),
        Column("weights", "DOUBLE[]", "Share of customers, of a mixture the component's weight"),
        Column("covariances", "DOUBLE[][][]", "Covariance matrices of a mixture", nullable=True),
        Column("noise_cluster", "INTEGER", "Cluster of whom density left in none of the others", nullable=True),
        Column("cell_points", "DOUBLE[][]", "Cells of its coreset in transformed units"),
        Column("cell_customers", "BIGINT[]", "Customers in each cell"),
        Column("cell_labels", "INTEGER[]", "Cluster of each cell"),
        Column(
            "transforms",
            'STRUCT(position INTEGER, feature VARCHAR, fill DOUBLE, transform VARCHAR, "lambda" DOUBLE, center DOUBLE,'
            " scale DOUBLE, weight DOUBLE)[]",
            "Transform of each feature, see feature_transforms",
        ),
        Column(
            "segments",
            "STRUCT(cluster INTEGER, segment_id INTEGER, segment_name VARCHAR, grid_name VARCHAR, name_reason VARCHAR,"
            " stability DOUBLE, share DOUBLE, rule VARCHAR, rule_precision DOUBLE, rule_recall DOUBLE)[]",
            "Segment of each cluster, its name, its share of the buyers it was fitted on, and its rule in words",
        ),
        Column(
            "rule_fidelity",
            "DOUBLE",
            "Share of the buyers it was fitted on whose rule names their segment",
            nullable=True,
            min_value=0,
            max_value=1,
        ),
        Column(
            "training",
            "STRUCT(feature VARCHAR, cuts DOUBLE[], shares DOUBLE[])[]",
            "Deciles of each feature when it was fitted, and the share of the buyers between them",
        ),
    ),
    rules=(
        Rule(
            "segment_ids_agree",
            "Within the newest champion a segment id has one name, and a name one id.",
            "SELECT number FROM (SELECT number, unnest(segments) AS segment FROM"
            " (SELECT * FROM {batch} ORDER BY number DESC LIMIT 1)) GROUP BY number"
            " HAVING count(DISTINCT segment.segment_id) != count(DISTINCT segment.segment_name)"
            " OR count(DISTINCT segment.segment_id)"
            " != count(DISTINCT segment.segment_id || segment.segment_name)",
        ),
    ),
)

FEATURE_DRIFT = Table(
    "models.feature_drift",
    "How far the night's buyers are from those that the champion was fitted on: a row per feature of the champion.",
    nightly=True,
    key=("feature",),
    may_be_empty=True,
    columns=(
        AS_OF,
        Column("feature", "VARCHAR", "Column of rfm_features"),
        Column("psi", "DOUBLE", "Population stability index over the training deciles; 0 is no change", min_value=0),
        Column("model_id", "VARCHAR", "The champion"),
        Column("fitted_as_of", "DATE", "Night that the champion was fitted on"),
    ),
    rules=(
        Rule(
            "features_as_when_fitted",
            "No feature has drifted beyond drift.psi_warning since the champion was fitted; beyond it a refit is due.",
            "SELECT feature, psi, model_id FROM {batch} WHERE psi > :drift.psi_warning",
            "warning",
        ),
        Rule(
            "features_credible",
            "No feature has drifted beyond drift.psi_critical since the champion was fitted: more likely a fault in the"
            " data. If it is real, raise drift.psi_critical for one run and fit anew.",
            # A night before the champion is scored by what came later; that it differs is no fault.
            "SELECT feature, psi, model_id FROM {batch} WHERE psi > :drift.psi_critical AND fitted_as_of <= :as_of",
        ),
    ),
)
