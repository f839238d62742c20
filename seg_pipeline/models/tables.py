"""Descriptions of the model tables. Each algorithm has a table of candidates, and they all have the same columns."""

from dataclasses import replace
from pathlib import Path

from seg_pipeline.features.tables import GRID_CELLS, IS_BUYER
from seg_pipeline.models.registry import ALGORITHMS
from seg_pipeline.tables import AS_OF, Column, Rule, Table, count, day, flag, number, share, text

RULES = Path(__file__).parent / "rules"

CORESET = Table(
    "models.coreset",
    "A summary of the buyers of a night: cells of customers with similar features, on which models are fitted and"
    " evaluated.",
    nightly=True,
    key=("cell",),
    columns=(
        AS_OF,
        Column("cell", "INTEGER", "Number of the cell, from 0", min_value=0),
        count("customers", "Customers in the cell", min_value=1),
        Column("point", "DOUBLE[]", "Mean of its customers in transformed units, one value per modelling feature"),
        number(
            "spread",
            "Mean squared distance of its customers from that mean, in squared transformed units",
            min_value=0,
        ),
        flag("exact", "Whether every distinct customer has a cell of its own, so that nothing is lost"),
        text("rfm_segment", "Most common R x F grid segment of its customers", values=tuple(GRID_CELLS)),
        number("revenue", "What its customers have spent, net of returns", nullable=True),
    ),
    rules=(
        Rule(
            "buyers_conserved",
            "Every customer with a purchase is in exactly one cell.",
            "SELECT in_cells, buyers FROM (SELECT (SELECT sum(customers) FROM {batch}) AS in_cells, (SELECT count(*)"
            f" FROM features.rfm_features WHERE as_of = :as_of AND {IS_BUYER}) AS buyers)"
            " WHERE in_cells IS DISTINCT FROM buyers",
        ),
    ),
)

METRICS = (
    number(
        "inertia",
        "Sum of squared distances of all customers from the mean of their cluster, lower is better",
        min_value=0,
    ),
    number("explained_share", "1 - inertia over the total sum of squares, higher is better", nullable=True),
    number(
        "silhouette",
        "Mean silhouette of all customers, -1 to 1, higher is better",
        nullable=True,
        min_value=-1,
        max_value=1,
    ),
    number(
        "calinski_harabasz",
        "Variance between clusters over variance within clusters, higher is better",
        nullable=True,
        min_value=0,
    ),
    number(
        "davies_bouldin",
        "Mean similarity of each cluster to the cluster most like it, lower is better",
        nullable=True,
        min_value=0,
    ),
    number("bic", "Bayesian information criterion, for mixtures only, lower is better", nullable=True),
    share("smallest_share", "Share of customers in the smallest cluster"),
    share("largest_share", "Share of customers in the largest cluster"),
    number(
        "stability",
        "Mean adjusted Rand index with refits on bootstrap samples; 1 is identical clusters, 0 is chance",
        nullable=True,
        min_value=-1,
        max_value=1,
    ),
    number("stability_error", "Standard error of the stability, over the samples", nullable=True, min_value=0),
    number(
        "smallest_jaccard",
        "Stability of the least stable cluster: the mean of its best overlap (Jaccard) with a cluster of a refit; a"
        " cluster is stable from 0.75 on",
        nullable=True,
        min_value=0,
        max_value=1,
    ),
    number(
        "valley",
        "Density at the lowest point between two clusters over that of the lower peak, mean over the clusters' worst"
        " pairs; 1 means that one cloud was divided",
        nullable=True,
        min_value=0,
        max_value=1,
    ),
    number(
        "classification_criterion",
        "-2 log classification likelihood of Gaussian clusters with a shared covariance, with its penalty; lower is"
        " better",
        nullable=True,
    ),
    number(
        "seed_stability",
        "Mean adjusted Rand index with refits that use other seeds",
        nullable=True,
        min_value=-1,
        max_value=1,
    ),
    number(
        "gap",
        "Gap statistic: mean log dispersion of reference data without clusters, minus log dispersion of the customers",
        nullable=True,
    ),
    number("gap_standard_error", "Standard error of the gap", nullable=True, min_value=0),
    share("lost_share", "Share of the total sum of squares that the coreset loses"),
    number("fit_seconds", "Duration of the fit, in seconds", min_value=0),
)

# Columns of a model, which candidates and champions have alike.
MODEL_COLUMNS = (
    Column("centers", "DOUBLE[][]", "Cluster means in transformed units"),
    Column("weights", "DOUBLE[]", "Share of customers in each cluster; for a mixture, the weight of the component"),
    Column("covariances", "DOUBLE[][][]", "Covariance matrices, for mixtures only", nullable=True),
)
CELL_LABELS = Column("cell_labels", "INTEGER[]", "Cluster of each cell of the coreset")
NOISE_CLUSTER = Column(
    "noise_cluster",
    "INTEGER",
    "Cluster of noise points (customers HDBSCAN put in no dense cluster)",
    nullable=True,
    min_value=0,
)

CANDIDATE_COLUMNS = (
    AS_OF,
    text("algorithm", "Algorithm"),
    Column("k", "INTEGER", "Number of clusters", min_value=1),
    *METRICS,
    Column(
        "jaccard",
        "DOUBLE[]",
        "For each cluster, the mean of its best overlap (Jaccard) with a cluster of a bootstrap refit",
        nullable=True,
    ),
    Column("sizes", "BIGINT[]", "Customers in each cluster", nullable=True),
    Column("revenues", "DOUBLE[]", "What the customers of each cluster have spent, net of returns", nullable=True),
    flag("eligible", "Whether the candidate passes the gates of the selection settings"),
    text("ineligible_because", "First gate that the candidate fails", nullable=True),
    number("log_likelihood", "Mean log-likelihood per customer, for mixtures only", nullable=True),
    *MODEL_COLUMNS,
    CELL_LABELS,
    NOISE_CLUSTER,
)


def candidates_table(algorithm: str, title: str) -> Table:
    """Returns the table of an algorithm's candidates.

    Args:
        algorithm: The name of the algorithm.
        title: The name that people read.
    """
    return Table(
        f"models.{algorithm}_candidates",
        f"{title}: one row per candidate, with its number of clusters, its metrics and the model as plain numbers.",
        nightly=True,
        key=("k",),
        # There are no rows if the algorithm is not compared, or the buyers are too few.
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
    "The models that score customers, as plain numbers. The table is append-only: a night is scored by the last row in"
    " force on it. Going back to an older model appends that model's row again, and so does a challenge that the"
    " champion survives, with the customers of that night as those that drift is measured from.",
    key=("number",),
    may_be_empty=True,
    columns=(
        Column("number", "INTEGER", "Position in the order in which champions took over, from 1", min_value=1),
        text("model_id", "Algorithm, k, night and a digest of the model's numbers"),
        day("in_force_from", "First night that the model scores"),
        day("fitted_as_of", "Night whose customers the model was fitted on"),
        flag("pinned", "Whether a person chose the model; then no challenger replaces it"),
        text("why", "Why the model became the champion, or stayed it"),
        text("settings_digest", "Digest of the settings that affect the model"),
        text("algorithm", "Algorithm", values=tuple(CANDIDATES)),
        Column("k", "INTEGER", "Number of clusters", min_value=1),
        count("customers", "Buyers that the model was fitted on", min_value=1),
        number("stability", "Stability when the model was fitted, see evaluation_report", nullable=True, min_value=-1),
        *MODEL_COLUMNS,
        NOISE_CLUSTER,
        Column("cell_points", "DOUBLE[][]", "Cells of its coreset in transformed units"),
        Column("cell_customers", "BIGINT[]", "Customers in each cell"),
        CELL_LABELS,
        Column(
            "transforms",
            'STRUCT(position INTEGER, feature VARCHAR, fill DOUBLE, transform VARCHAR, "lambda" DOUBLE, low DOUBLE,'
            " high DOUBLE, center DOUBLE, scale DOUBLE, weight DOUBLE)[]",
            "Transform of each feature, see feature_transforms",
        ),
        Column(
            "segments",
            "STRUCT(cluster INTEGER, segment_id INTEGER, segment_name VARCHAR, grid_name VARCHAR, name_reason VARCHAR,"
            " deserved_share DOUBLE, stability DOUBLE, share DOUBLE, rule VARCHAR, rule_precision DOUBLE, rule_recall"
            " DOUBLE)[]",
            "Segment of each cluster: its id, its name, its share of the buyers on the night that drift is measured"
            " from, and its rule in words",
        ),
        share(
            "rule_fidelity",
            "Share of the buyers of the fit for whom the rules give the same segment as the model",
            nullable=True,
        ),
        Column(
            "training",
            "STRUCT(feature VARCHAR, cuts DOUBLE[], shares DOUBLE[])[]",
            "Deciles of each feature on the night that drift is measured from, and the shares of buyers between them",
        ),
        day(
            "reference_as_of",
            "Night that drift is measured from: that of the fit, or of the last challenge that the champion survived",
            nullable=True,
        ),
    ),
    rules=(
        Rule(
            "segment_ids_agree",
            "Within the newest champion, a segment id has one name and a name has one id.",
            RULES / "segment_ids_agree.sql",
        ),
    ),
)

# A refit that drift makes due is made by one of the next runs; only if none comes does somebody have to look.
OVERDUE = "reference_as_of + :champions.refit_every_days + 7 < :as_of"
# Fewer customers are no evidence: in a young shop a single late order would stop the night.
SMALLEST_RESTATED = 5

FEATURE_DRIFT = Table(
    "models.feature_drift",
    "One row per feature of the champion, and per figure of a customer's history: how far the buyers of the night"
    " differ from those of the fit (is a refit due?), and how much of what the last night with segments said of its"
    " customers was restated since (are the data broken?).",
    nightly=True,
    key=("feature",),
    may_be_empty=True,
    columns=(
        AS_OF,
        text("feature", "Column of rfm_features"),
        number(
            "psi",
            "Population stability index over the deciles of the fit, 0 is no change; NULL if the champion does not use"
            " the feature, or was fitted with other settings",
            nullable=True,
            min_value=0,
        ),
        text("model_id", "Champion; NULL if there is none with these settings", nullable=True),
        day("fitted_as_of", "Night that the champion was fitted on", nullable=True),
        day(
            "reference_as_of",
            "Night that psi is measured from: that of the fit, or of the last challenge that the champion survived",
            nullable=True,
        ),
        day(
            "since",
            "Last night with segments before this one; NULL if there is none, or if the settings of that night counted"
            " other lines",
            nullable=True,
        ),
        count("known_customers", "Buyers of that night who are still customers", nullable=True),
        count(
            "restated_customers",
            "Those whose figure changed in a way that no order, return or day since explains",
            nullable=True,
        ),
        number(
            "restated_share",
            "Their share of the known customers; for monetary, the amounts that changed over all that the known"
            " customers had bought, which may exceed 1",
            nullable=True,
            min_value=0,
        ),
        flag(
            "stops",
            "Whether so much was restated that the night stops, so that no later night is compared with it",
            nullable=True,
        ),
        text("lines_digest", "Digest of the settings that decide which order lines count", nullable=True),
    ),
    rules=(
        Rule(
            "features_as_when_fitted",
            "No feature has drifted beyond drift.psi_warning. It warns if no refit came within a week of"
            " champions.refit_every_days since the fit or the last challenge, because the champion is pinned, refits"
            " are out of season, or nights were left out.",
            f"SELECT feature, psi, model_id FROM {{batch}} WHERE psi > :drift.psi_warning AND {OVERDUE}",
            "warning",
        ),
        Rule(
            "figures_as_known",
            "At most drift.restated_warning of what the last night with segments said of its customers was restated.",
            "SELECT feature, restated_share, restated_customers, since FROM {batch}"
            f" WHERE restated_share > :drift.restated_warning AND restated_customers >= {SMALLEST_RESTATED}",
            "warning",
        ),
        Rule(
            "features_credible",
            "At most drift.restated_critical of what the last night with segments said of its customers was restated."
            " Beyond it, files that were already delivered have changed, or customer ids have; if that is meant, raise"
            " drift.restated_critical for one run.",
            "SELECT feature, restated_share, restated_customers, since FROM {batch} WHERE stops",
        ),
    ),
)
