"""The choice: which candidate the segments come from, by one rule, with a reason for every candidate.

Silhouette alone answers two segments on nearly every RFM table: buyers and near non-buyers, of no use to a team. So the
rule starts from what a team can serve, and lets elbow and silhouette decide within that.
"""

from typing import TYPE_CHECKING

import numpy as np

from seg_pipeline.models.rfm_grid import NAME as RFM_GRID
from seg_pipeline.settings import SelectionSettings

if TYPE_CHECKING:
    import pandas as pd

# Metric -> whether higher is better.
COMPARED = {"silhouette": True, "calinski_harabasz": True, "davies_bouldin": False}
KEY = ["algorithm", "k"]


def rule_in_words(selection: SelectionSettings) -> str:
    """The rule with the settings' own figures, for the report."""
    return (
        f"1. A candidate is eligible with {selection.k_min} to {selection.k_max} segments, none below"
        f" {selection.smallest_share:.0%} and none above {selection.largest_share:.0%} of the customers."
        " 2. Each algorithm proposes one eligible candidate: the one at the elbow of its inertia (of a mixture, of its BIC)"
        f" if its silhouette is at most {selection.silhouette_tolerance:g} below the algorithm's best eligible one, else the"
        " one with the best silhouette. 3. The proposals are ranked by silhouette, by Calinski-Harabasz and by"
        " Davies-Bouldin; the best mean rank is chosen, of equal ones the higher silhouette, then the fewer segments."
        " 4. selection.algorithm and selection.k force the choice. 5. Where nothing is eligible, the public R x F grid"
        " is used, with a warning."
    )


def evaluate_candidates(candidates: "pd.DataFrame", selection: SelectionSettings) -> "pd.DataFrame":
    """Candidates with is_elbow, is_best_silhouette, rank, chosen and reason, in order of algorithm and k.

    Args:
        candidates: One row per candidate: algorithm, k, the metrics, eligible, ineligible_because; the grid is one row.
        selection: The gates and the forced choice.
    """
    table = candidates.sort_values(KEY, ignore_index=True)
    fitted = table[table["algorithm"] != RFM_GRID]
    table["is_elbow"] = False
    table["is_best_silhouette"] = False
    proposals: dict[str, int] = {}
    for name, rows in fitted.groupby("algorithm"):
        if (elbow := elbow_row(rows)) is not None:
            table.loc[elbow, "is_elbow"] = True
        if rows["silhouette"].notna().any():
            table.loc[rows["silhouette"].idxmax(), "is_best_silhouette"] = True
        if (proposal := _proposal(rows, elbow, selection)) is not None:
            proposals[str(name)] = proposal
    mean_rank = _mean_ranks(table.loc[list(proposals.values())])
    table["rank"] = _ranks(table, list(proposals.values()), mean_rank)
    chosen, why = _choice(table, fitted, mean_rank, selection)
    table["chosen"] = table.index == chosen
    table["reason"] = [
        why if index == chosen else _why_not(row, proposals, table, chosen, mean_rank)
        for index, row in table.iterrows()
    ]
    return table.drop(columns="ineligible_because")


def elbow_row(rows: "pd.DataFrame") -> int | None:
    """Index of the row at the elbow of one algorithm's sweep; None where the curve has none.

    Kneedle (Satopaa et al. 2011) on inertia, of a mixture on BIC.
    """
    from kneed import KneeLocator

    curve = "bic" if rows["bic"].notna().all() else "inertia"
    if len(rows) < 3 or not np.ptp(rows[curve].to_numpy(dtype=float)) > 0:
        return None
    knee = KneeLocator(
        rows["k"].to_list(), rows[curve].to_list(), curve="convex", direction="decreasing", online=False
    ).knee
    return None if knee is None else int(rows.index[rows["k"] == knee][0])


def _proposal(rows: "pd.DataFrame", elbow: int | None, selection: SelectionSettings) -> int | None:
    eligible = rows[rows["eligible"] & rows["silhouette"].notna()]
    if eligible.empty:
        return None
    best = int(eligible["silhouette"].idxmax())
    if elbow in eligible.index and elbow is not None:
        if eligible.loc[elbow, "silhouette"] >= eligible.loc[best, "silhouette"] - selection.silhouette_tolerance:
            return elbow
    return best


def _mean_ranks(proposals: "pd.DataFrame") -> "pd.Series":
    """Mean rank of each proposal over the compared metrics; 1 is best, equal values share a rank."""
    import pandas as pd

    ranks = [proposals[metric].rank(ascending=not higher) for metric, higher in COMPARED.items()]
    return pd.concat(ranks, axis=1).mean(axis=1)


def _ranks(table: "pd.DataFrame", proposals: list[int], mean_rank: "pd.Series") -> "pd.Series":
    """1, 2, ... over the eligible fitted candidates: the proposals by mean rank, then the others by silhouette."""
    import pandas as pd

    eligible = table[table["eligible"] & (table["algorithm"] != RFM_GRID)].copy()
    eligible["mean_rank"] = mean_rank.reindex(eligible.index).fillna(np.inf)
    order = eligible.sort_values(
        ["mean_rank", "silhouette", "k", "algorithm"], ascending=[True, False, True, True]
    ).index
    return pd.Series(range(1, len(order) + 1), index=order, dtype="Int64").reindex(table.index)


def _choice(
    table: "pd.DataFrame", fitted: "pd.DataFrame", mean_rank: "pd.Series", selection: SelectionSettings
) -> tuple[int, str]:
    """Index of the chosen row, and why."""
    grid = int(table.index[table["algorithm"] == RFM_GRID][0])
    if selection.algorithm == RFM_GRID:
        return grid, "Forced by selection.algorithm."
    wanted = fitted
    forced = []
    if selection.algorithm is not None:
        wanted, forced = wanted[wanted["algorithm"] == selection.algorithm], ["selection.algorithm"]
    if selection.k is not None:
        wanted, forced = wanted[wanted["k"] == selection.k], [*forced, "selection.k"]
    if forced and wanted.empty:
        return grid, f"The buyers are too few for {' and '.join(forced)}, so the public R x F grid is used."
    if forced:
        ranked = table.loc[wanted.index].sort_values(
            ["rank", "silhouette"], ascending=[True, False], na_position="last"
        )
        gate = ranked["ineligible_because"].iloc[0]
        return int(ranked.index[0]), f"Forced by {' and '.join(forced)}" + (
            f", although refused otherwise. {gate}" if isinstance(gate, str) else "."
        )
    if mean_rank.empty:
        return grid, "No fitted candidate is eligible, so the public R x F grid is used."
    best = int(table["rank"].astype("Float64").idxmin())
    row = table.loc[best]
    how = "elbow" if row["is_elbow"] else "best silhouette"
    among = (
        f"mean rank {mean_rank[best]:.2f} of {len(mean_rank)} proposals" if len(mean_rank) > 1 else "the only proposal"
    )
    return best, (f"The algorithm's proposal by {how}, {among} over silhouette, Calinski-Harabasz and Davies-Bouldin.")


def _why_not(
    row: "pd.Series", proposals: dict[str, int], table: "pd.DataFrame", chosen: int, mean_rank: "pd.Series"
) -> str:
    if row["algorithm"] == RFM_GRID:
        return "The baseline: the public R x F grid, scored for comparison."
    if not row["eligible"]:
        return str(row["ineligible_because"])
    winner = f"{table.loc[chosen, 'algorithm']} with {table.loc[chosen, 'k']}"
    own = proposals[row["algorithm"]]
    if row.name == own:
        return f"The algorithm's proposal, mean rank {mean_rank[own]:.2f}: behind {winner} segments."
    return f"Eligible, but elbow and silhouette favour {table.loc[own, 'k']} segments."
