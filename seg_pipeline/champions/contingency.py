"""The challenger's clusters and the incumbent's segments: the customers they share, and what changes at a takeover."""

import datetime
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from seg_pipeline.champions.identity import match_clusters
from seg_pipeline.features.tables import NO_PURCHASES_ID, RFM_FEATURES
from seg_pipeline.models.champions import Champion
from seg_pipeline.models.scoring import NO_CLUSTER, label_customers
from seg_pipeline.models.stability import adjusted_rand
from seg_pipeline.warehouse import Connection, Relation

if TYPE_CHECKING:
    import numpy.typing as npt
    import pandas as pd


@dataclass(frozen=True, slots=True)
class Contingency:
    """The contingency table of the challenger's clusters and the incumbent's segments on a night.

    Attributes:
        clusters: cluster, customers and mean_money of the challenger's clusters that hold a customer.
        segment_ids: The incumbent's segments that hold a customer; empty without an incumbent.
        shared: Customers in both (clusters, segments).
    """

    clusters: "pd.DataFrame"
    segment_ids: list[int]
    shared: "npt.NDArray[np.int64]"

    def matches(self, smallest_overlap: float) -> dict[int, tuple[int, float]]:
        """Maps each cluster that matches a segment of the incumbent to that segment's id and their overlap."""
        pairs = match_clusters(self.shared, smallest_overlap)
        clusters = self.clusters["cluster"].to_list()
        return {clusters[row]: (self.segment_ids[column], overlap) for row, (column, overlap) in pairs.items()}

    @property
    def agreement(self) -> float:
        """Adjusted Rand index of the clusters and the segments."""
        return adjusted_rand(self.shared.astype(float))

    def kept_share(self, ids: Mapping[int, int]) -> float | None:
        """Returns the share of the customers who would keep their segment id.

        Args:
            ids: The segment id that each cluster would get.

        Returns:
            The share, 0 to 1; None without an incumbent.
        """
        if not self.segment_ids:
            return None
        same = np.array([ids[cluster] for cluster in self.clusters["cluster"]])[:, None] == self.segment_ids
        return float(self.shared[same].sum() / self.shared.sum())


def count_contingency(
    connection: Connection, labelled: Relation, incumbent: Champion | None, as_of: datetime.date
) -> Contingency:
    """Counts the customers of a night by the challenger's cluster and the incumbent's segment.

    Args:
        connection: To the warehouse.
        labelled: The challenger's cluster of each customer.
        incumbent: The champion to compare with, if there is one.
        as_of: The night.
    """
    clusters = connection.execute(
        f"SELECT cluster, count(*) AS customers, sum(monetary) / count(*) AS mean_money FROM {labelled}"
        f" JOIN {RFM_FEATURES.name} USING (customer_id) WHERE as_of = $as_of AND cluster != $none"
        " GROUP BY cluster ORDER BY cluster",
        {"as_of": as_of, "none": NO_CLUSTER},
    ).df()
    if incumbent is None:
        return Contingency(clusters, [], np.zeros((len(clusters), 0), dtype=np.int64))
    with (
        label_customers(connection, incumbent.scorer, as_of) as before,
        connection.temporary(incumbent.segments) as segments,
    ):
        pairs = connection.execute(
            f"SELECT now.cluster, segments.segment_id, count(*) AS customers FROM {labelled} AS now"
            f" JOIN {before} AS before USING (customer_id)"
            f" JOIN {segments} AS segments ON segments.cluster = before.cluster"
            " WHERE now.cluster != $none GROUP BY ALL ORDER BY ALL",
            {"none": NO_CLUSTER},
        ).df()
    shared = pairs.pivot_table(index="cluster", columns="segment_id", values="customers", aggfunc="sum", fill_value=0)
    return Contingency(clusters, [int(segment_id) for segment_id in shared.columns], shared.to_numpy(dtype=np.int64))


def identity_rows(
    challenger: Champion, incumbent: Champion | None, contingency: Contingency, overlaps: Mapping[int, float]
) -> "pd.DataFrame":
    """Returns the rows of segment_identity for a takeover.

    Args:
        challenger: The night's model as a champion.
        incumbent: The champion it replaces, if there is one.
        contingency: The customers that the two share.
        overlaps: Overlap of each segment that the challenger keeps, by segment id.
    """
    import pandas as pd

    segment_of = dict(zip(challenger.segments["cluster"], challenger.segments["segment_id"], strict=True))
    customers: dict[int, int] = {}
    for cluster, count in zip(contingency.clusters["cluster"], contingency.clusters["customers"], strict=True):
        customers[segment_of[cluster]] = customers.get(segment_of[cluster], 0) + int(count)
    now = _names(challenger)
    before = {} if incumbent is None else _names(incumbent)
    rows = []
    for segment_id in sorted({*now, *before} - {NO_PURCHASES_ID}):
        name, previous_name = now.get(segment_id), before.get(segment_id)
        change = "dissolved" if name is None else "new" if previous_name is None else "kept"
        rows.append(
            {
                "segment_id": segment_id,
                "change": "renamed" if change == "kept" and name != previous_name else change,
                "segment_name": name,
                "previous_name": previous_name,
                "overlap": overlaps.get(segment_id) if change == "kept" else None,
                "customers": customers.get(segment_id, 0),
                "model_id": challenger.model_id,
                "previous_model_id": None if incumbent is None else incumbent.model_id,
            }
        )
    return pd.DataFrame(rows)


def _names(champion: Champion) -> dict[int, str]:
    """Maps each segment id of a champion to its name."""
    return dict(zip(champion.segments["segment_id"], champion.segments["segment_name"], strict=True))
