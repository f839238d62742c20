"""Descriptions of the evaluation tables: the choice among the candidates and the value test."""

from dataclasses import replace
from pathlib import Path

from seg_pipeline.evaluation.value import RANDOM, Figures
from seg_pipeline.models.registry import ALGORITHMS, BASELINE
from seg_pipeline.models.tables import METRICS
from seg_pipeline.tables import AS_OF, Column, Rule, Table, count, day, days, flag, money, number, share, text

RULES = Path(__file__).parent / "rules"

EVALUATION_REPORT = Table(
    "evaluation.evaluation_report",
    "One row per candidate of a night: all metrics, its rank by the rule, whether it was chosen, and why or why not.",
    nightly=True,
    key=("algorithm", "k"),
    columns=(
        AS_OF,
        text("algorithm", f"Algorithm; {BASELINE} is the public R x F grid, the baseline"),
        Column("k", "INTEGER", "Number of segments", min_value=1),
        *METRICS,
        share(
            "value",
            "Explained share of next-period revenue in the window that chooses (choice_test, or value_test if that is"
            " empty); NULL if there is no test",
            nullable=True,
        ),
        share("value_share", "Value over what the customers' features can reach there at all", nullable=True),
        number("value_error", "Standard error of value_share, from the bootstrap", nullable=True, min_value=0),
        flag(
            "above_grid",
            "Whether the 95 % intervals of explained share and Gini over those of the R x F grid lie above zero there",
            nullable=True,
        ),
        flag("eligible", "Whether the candidate passes the gates of the selection settings"),
        share(
            "score",
            "Weighted mean of silhouette, explained share, stability and value_share; NULL if the candidate was not"
            " measured in full",
            nullable=True,
        ),
        number(
            "score_error",
            "Standard error of the score, from the bootstraps of stability and value",
            nullable=True,
            min_value=0,
        ),
        flag("is_elbow", "Whether this is the algorithm's k at the elbow (of inertia; for a mixture, of BIC)"),
        flag("is_best_silhouette", "Whether this is the algorithm's k with the best silhouette"),
        Column(
            "rank", "INTEGER", "Rank among the eligible candidates by the rule, 1 the best", nullable=True, min_value=1
        ),
        flag("chosen", "Whether the segments come from this candidate"),
        text("reason", "Why it was or was not chosen"),
    ),
    rules=(
        Rule(
            "one_chosen",
            "Exactly one candidate is chosen.",
            "SELECT count(*) FILTER (chosen) AS chosen FROM {batch} HAVING count(*) FILTER (chosen) != 1",
        ),
        Rule(
            "a_fitted_model_chosen",
            "The chosen candidate is a fitted model, not the R x F grid, which is the fallback.",
            f"SELECT algorithm, reason FROM {{batch}} WHERE chosen AND algorithm = '{BASELINE}'",
            "warning",
        ),
    ),
)


CHOICE_SENSITIVITY = Table(
    "evaluation.choice_sensitivity",
    "Which candidate would have been chosen on a night if one setting of the rule were different.",
    nightly=True,
    key=("scenario",),
    columns=(
        AS_OF,
        text("scenario", "The setting that is changed, and its value"),
        text("algorithm", "Algorithm of the chosen candidate"),
        Column("k", "INTEGER", "Number of segments of the chosen candidate", min_value=1),
        text(
            "note",
            "For a gate that refuses more than half of the candidates: how many, and how few customers are behind that",
            nullable=True,
        ),
    ),
)


VALUE_WINDOW = Table(
    "evaluation.value_window",
    "The held-back window of a night's value test and what the customers did in it, or why there is no test.",
    nightly=True,
    key=("cutoff",),
    columns=(
        AS_OF,
        day("cutoff", "First day of the window; segments are made from the orders before it"),
        days("window_days", "Days from the cutoff to the night"),
        count("customers", "Customers with a purchase before the cutoff", nullable=True, min_value=1),
        flag("sampled", "Whether these customers are a sample", nullable=True),
        share("repurchase_rate", "Share of these customers who bought in the window", nullable=True),
        count("orders", "Purchase orders that they placed in the window", nullable=True),
        money("revenue", "Value of all their lines in the window, net of returns", nullable=True),
        number("best_gini", "Gini index if customers were targeted in the order of their revenue", nullable=True),
        number(
            "reachable_share",
            "Explained share of log revenue that boosted trees reach for single customers, cross-validated, from"
            " recency, frequency and monetary: the yardstick of value; not above 0 if they say nothing about it",
            nullable=True,
            max_value=1,
        ),
        flag("few_repeat", "Whether nearly all customers bought once, so that no worth is claimed", nullable=True),
        text("untested_because", "Why there is no test; NULL if there is one", nullable=True),
    ),
    rules=(
        Rule(
            "window_before_the_night",
            "The window ends at the night, so no order on or after the night's as_of is used.",
            "SELECT cutoff, window_days FROM {batch} WHERE cutoff + window_days != :as_of",
        ),
        Rule(
            "tested_or_why_not",
            "There are either figures or a reason why there are none.",
            "SELECT customers, untested_because FROM {batch} WHERE (customers IS NULL) = (untested_because IS NULL)",
        ),
        Rule(
            "revenue_conserved",
            "The revenue is that of the window's clean lines of customers who had bought before, unless they are a"
            " sample.",
            RULES / "revenue_conserved.sql",
        ),
    ),
)

_FIGURES = {
    "explained_share": ("Share of the variance of log revenue in the window that lies between segments", 0, 1),
    "gini": ("Gini index of the revenue if segments are targeted in the order of their mean spend before", None, None),
    "lift": ("Revenue of the first 20 % of customers in that order, over that of as many random customers", None, None),
}


def _figure_columns(name: str) -> list[Column]:
    """Returns the columns of a figure: its value, its difference from the grid, and the intervals of both."""
    meaning, low, high = _FIGURES[name]
    return [
        number(name, meaning, nullable=True, min_value=low, max_value=high),
        number(f"{name}_low", "Lower end of its 95 % bootstrap interval", nullable=True),
        number(f"{name}_high", "Upper end of its 95 % bootstrap interval", nullable=True),
        number(f"{name}_over_grid", "Its difference from that of the R x F grid", nullable=True),
        number(f"{name}_over_grid_low", "Lower end of the difference's 95 % bootstrap interval", nullable=True),
        number(f"{name}_over_grid_high", "Upper end of the difference's 95 % bootstrap interval", nullable=True),
    ]


SEGMENTATION = (
    AS_OF,
    text(
        "algorithm",
        f"Algorithm; {BASELINE} is the public R x F grid, {RANDOM} is as many segments at random in random order",
        values=(*ALGORITHMS, RANDOM),
    ),
    Column("k", "INTEGER", "Number of segments", min_value=1),
)

VALUE_TEST = Table(
    "evaluation.value_test",
    "One row per segmentation at the cutoff: how much of the later revenue the segments explain, and how much of it is"
    " reached if the best segments are targeted first. Empty if there is no test.",
    nightly=True,
    key=("algorithm", "k"),
    may_be_empty=True,
    columns=(*SEGMENTATION, *(column for name in Figures._fields for column in _figure_columns(name))),
    rules=(
        Rule(
            "intervals_in_order",
            "The lower end of each interval is not above its upper end.",
            "SELECT algorithm, k FROM {batch} WHERE "
            + " OR ".join(f"{name}{of}_low > {name}{of}_high" for name in Figures._fields for of in ("", "_over_grid")),
        ),
        Rule(
            "chance_explains_less",
            "Random segments explain less of the revenue than the best fitted ones; if not, the features say nothing"
            " about it.",
            "SELECT explained_share AS by_chance, fitted FROM {batch}, (SELECT max(explained_share) AS fitted FROM"
            f" {{batch}} WHERE algorithm NOT IN ('{RANDOM}', '{BASELINE}')) AS best"
            f" WHERE algorithm = '{RANDOM}' AND explained_share >= fitted",
            "warning",
        ),
    ),
)

CHOICE_WINDOW = replace(
    VALUE_WINDOW,
    name="evaluation.choice_window",
    description="The window whose value test chooses, which ends where that of value_window begins, so that the figures"
    " that are reported did not choose; or why there is none, when value_window's own test chooses.",
    rules=(
        Rule(
            "window_before_the_reported_one",
            "The window ends where that of value_window begins.",
            "SELECT cutoff, window_days FROM {batch} WHERE cutoff + 2 * window_days != :as_of",
        ),
        *VALUE_WINDOW.rules[1:],
    ),
)

CHOICE_TEST = replace(
    VALUE_TEST,
    name="evaluation.choice_test",
    description="The same figures as in value_test for the window of choice_window, which the choice is made by. Empty"
    " if there is no such window.",
    rules=VALUE_TEST.rules[:1],
)

VALUE_BY_SEGMENT = Table(
    "evaluation.value_by_segment",
    "One row per segment at the cutoff: which customers were in it, and what they did in the window.",
    nightly=True,
    key=("algorithm", "k", "segment"),
    may_be_empty=True,
    columns=(
        *SEGMENTATION,
        Column(
            "segment",
            "INTEGER",
            f"Rank by mean spend at the cutoff, 1 the highest; for {RANDOM}, any order",
            min_value=1,
        ),
        count("customers", "Customers in the segment", min_value=1),
        number("median_recency_days", "Median days since the last purchase, at the cutoff", min_value=0),
        number("median_frequency", "Median number of purchase orders, at the cutoff", min_value=1),
        number("median_monetary", "Median spend at the cutoff, in the shop's currency"),
        share("repurchase_rate", "Share of its customers who bought in the window"),
        count("orders", "Purchase orders in the window"),
        money("revenue", "Value of all lines in the window, net of returns"),
        number("revenue_per_customer", "Revenue over customers, including those who did not buy"),
    ),
    rules=(
        Rule(
            "segments_add_up",
            "The segments of each segmentation add up to the customers, orders and revenue of the window.",
            RULES / "segments_add_up.sql",
        ),
        Rule(
            "every_segmentation_here",
            "This table has the same segmentations as value_test.",
            RULES / "every_segmentation_here.sql",
        ),
    ),
)
