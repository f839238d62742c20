"""The challenger's clusters and the incumbent's segments held against each other, customer by customer."""

import datetime
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from seg_pipeline.champions.identity import matched
from seg_pipeline.features.tables import RFM_FEATURES
from seg_pipeline.models.champions import Champion
from seg_pipeline.models.scoring import NO_CLUSTER, label_customers
from seg_pipeline.models.stability import adjusted_rand
from seg_pipeline.warehouse import over_lines, temporary

if TYPE_CHECKING:
    import duckdb
    import numpy.typing as npt
    import pandas as pd


@dataclass(frozen=True, slots=True)
class Meeting:
    """How many customers the challenger's clusters and the incumbent's segments share.

    Attributes:
        clusters: cluster, customers and mean_money of the challenger's clusters that hold a customer.
        segment_ids: The incumbent's segments that hold a customer; empty without an incumbent.
        shared: Customers (clusters, segments) in both.
    """

    clusters: "pd.DataFrame"
    segment_ids: list[int]
    shared: "npt.NDArray[np.int64]"

    def matches(self, smallest_overlap: float) -> dict[int, tuple[int, float]]:
        """Maps each cluster that is a segment of the incumbent to that segment's id and the overlap with it."""
        pairs = matched(self.shared, smallest_overlap)
        clusters = self.clusters["cluster"].to_list()
        return {clusters[row]: (self.segment_ids[column], overlap) for row, (column, overlap) in pairs.items()}

    @property
    def agreement(self) -> float:
        """Adjusted Rand index of the clusters and the segments."""
        return adjusted_rand(self.shared.astype(float))

    def kept_share(self, ids: Mapping[int, int]) -> float | None:
        """Share of the customers whose segment id would not change if clusters had these ids; None at the first."""
        if not self.segment_ids:
            return None
        same = np.array([ids[cluster] for cluster in self.clusters["cluster"]])[:, None] == self.segment_ids
        return float(self.shared[same].sum() / self.shared.sum())


def meeting_of(connection: "duckdb.DuckDBPyConnection", incumbent: Champion | None, as_of: datetime.date) -> Meeting:
    """Counts the customers of a night in both; the table `labelled` holds the challenger's clusters."""
    clusters = over_lines(
        connection,
        f"SELECT cluster, count(*) AS customers, sum(monetary) / count(*) AS mean_money FROM labelled"
        f" JOIN {RFM_FEATURES.name} USING (customer_id) WHERE as_of = $as_of AND cluster != $none"
        " GROUP BY cluster ORDER BY cluster",
        {"as_of": as_of, "none": NO_CLUSTER},
    ).df()
    if incumbent is None:
        return Meeting(clusters, [], np.zeros((len(clusters), 0), dtype=np.int64))
    label_customers(connection, incumbent.scorer, as_of, into="labelled_before")
    temporary(connection, "segments_before", incumbent.segments)
    pairs = over_lines(
        connection,
        "SELECT labelled.cluster, segments_before.segment_id, count(*) AS customers FROM labelled"
        " JOIN labelled_before USING (customer_id)"
        " JOIN segments_before ON segments_before.cluster = labelled_before.cluster"
        f" WHERE labelled.cluster != {NO_CLUSTER} GROUP BY ALL ORDER BY ALL",
    ).df()
    for table in ("segments_before", "labelled_before"):
        over_lines(connection, f"DROP TABLE {table}")
    shared = pairs.pivot_table(index="cluster", columns="segment_id", values="customers", aggfunc="sum", fill_value=0)
    return Meeting(clusters, [int(one) for one in shared.columns], shared.to_numpy(dtype=np.int64))


def identity_rows(
    challenger: Champion, incumbent: Champion | None, meeting: Meeting, overlaps: Mapping[int, float]
) -> "pd.DataFrame":
    """The rows of segment_identity if the challenger takes over.

    Args:
        challenger: The night's model as a champion.
        incumbent: The champion it replaces, if there is one.
        meeting: The customers of both.
        overlaps: Overlap of each segment id that the challenger keeps.
    """
    import pandas as pd

    segment_of = dict(zip(challenger.segments["cluster"], challenger.segments["segment_id"], strict=True))
    customers: dict[int, int] = {}
    for cluster, count in zip(meeting.clusters["cluster"], meeting.clusters["customers"], strict=True):
        customers[segment_of[cluster]] = customers.get(segment_of[cluster], 0) + int(count)
    now = _names(challenger)
    before = {} if incumbent is None else _names(incumbent)
    rows = []
    for segment_id in sorted({*now, *before} - {0}):
        name, previous = now.get(segment_id), before.get(segment_id)
        change = "dissolved" if name is None else "new" if previous is None else "kept"
        rows.append(
            {
                "segment_id": segment_id,
                "change": "renamed" if change == "kept" and name != previous else change,
                "segment_name": name,
                "previous_name": previous,
                "overlap": overlaps.get(segment_id) if change == "kept" else None,
                "customers": customers.get(segment_id, 0),
                "model_id": challenger.model_id,
                "previous_model_id": None if incumbent is None else incumbent.model_id,
            }
        )
    return pd.DataFrame(rows)


def _names(champion: Champion) -> dict[int, str]:
    return dict(zip(champion.segments["segment_id"], champion.segments["segment_name"], strict=True))
