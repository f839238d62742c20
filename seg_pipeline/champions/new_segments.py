"""The segments of a new champion: gives each cluster an id, a name and a rule, and adds the segment without purchases.

A champion that replaces another keeps the ids and names of the segments that its clusters match.
"""

import datetime
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from seg_pipeline.champions.names import NO_PURCHASES_REASON, contradictions_query, evidence_query, name_segments
from seg_pipeline.champions.rules import segment_rules
from seg_pipeline.features.tables import CUSTOMER_RHYTHM, NO_PURCHASES, NO_PURCHASES_ID
from seg_pipeline.features.transforms import invert_transforms
from seg_pipeline.models.champions import Champion
from seg_pipeline.models.coreset import FloatArray
from seg_pipeline.models.model import nearest_centers
from seg_pipeline.models.scoring import NO_CLUSTER, Scorer
from seg_pipeline.warehouse import Connection, Relation

if TYPE_CHECKING:
    import pandas as pd

PROFILES_SQL = Path(__file__).with_name("segment_profiles.sql")


def segments_of(
    connection: Connection,
    labelled: Relation,
    scorer: Scorer,
    ids: Mapping[int, int],
    largest_id: int,
    incumbent: Champion | None,
    jaccard: FloatArray | None,
    as_of: datetime.date,
) -> "tuple[pd.DataFrame, float]":
    """Returns the segments of a model that may become a champion.

    Args:
        connection: To the warehouse.
        labelled: The cluster of each of the night's customers.
        scorer: The model.
        ids: Segment id of each cluster that holds a customer.
        largest_id: The largest segment id that any champion ever gave.
        incumbent: The champion whose names are kept if they still fit; None if there is none.
        jaccard: Stability (k,) of each cluster, its mean overlap with refits; None if it was not measured.
        as_of: The night.

    Returns:
        The segments, see `Champion`, and the share of the buyers whose rule names their segment.
    """
    segments = _named(connection, labelled, scorer, ids, incumbent, as_of)
    segments["stability"] = [
        float("nan") if jaccard is None or cluster == NO_CLUSTER else jaccard[cluster]
        for cluster in segments["cluster"]
    ]
    return _with_rules(scorer, _with_unoccupied(scorer, segments, largest_id))


def _named(
    connection: Connection,
    labelled: Relation,
    scorer: Scorer,
    ids: Mapping[int, int],
    incumbent: Champion | None,
    as_of: datetime.date,
) -> "pd.DataFrame":
    """Returns names and shares: a row per cluster that holds a customer, and one for customers without a purchase."""
    import pandas as pd

    clusters = pd.DataFrame({"cluster": [NO_CLUSTER, *ids], "segment_id": [NO_PURCHASES_ID, *ids.values()]})
    with connection.temporary(clusters) as numbered:
        relations = {"as_of": as_of, "labelled": labelled, "numbered": numbered, "rhythm": CUSTOMER_RHYTHM}
        with connection.temporary(PROFILES_SQL, relations) as profiled:
            profiles, contradicted = (
                connection.execute(query, {"profiled": profiled}).df()
                for query in ("SELECT * FROM {profiled} ORDER BY segment_id", contradictions_query())
            )
        evidence = connection.execute(evidence_query(), relations).df()
    names = name_segments(
        profiles.merge(contradicted, on="segment_id").merge(evidence, on="segment_id", how="left"),
        before=None if incumbent is None else incumbent.segments,
        noise=scorer.model.noise,
    )
    buyers = profiles["customers"].where(profiles["segment_id"] > 0)
    segments = clusters.merge(
        names.assign(segment_id=profiles["segment_id"], share=buyers / buyers.sum()), on="segment_id", how="left"
    )
    # Segment 0 has a name even if it holds no customer on this night.
    is_segment_0 = segments["cluster"] == NO_CLUSTER
    segments.loc[is_segment_0, "segment_name"] = segments.loc[is_segment_0, "grid_name"] = NO_PURCHASES
    segments.loc[is_segment_0, "name_reason"] = NO_PURCHASES_REASON
    return segments


def _with_unoccupied(scorer: Scorer, segments: "pd.DataFrame", largest_id: int) -> "pd.DataFrame":
    """Adds the clusters that hold no customer on the night of the fit, because a later night may put customers there.

    A cluster with a name of its own becomes a segment of its own; any other joins the segment of the nearest cluster
    that holds customers.
    """
    import pandas as pd

    model, names = scorer.model, scorer.algorithm.cluster_names
    used = segments["cluster"].to_list()
    empty = [cluster for cluster in range(len(names) or model.k) if cluster not in used]
    if names:
        largest = max(largest_id, int(segments["segment_id"].max()))
        unoccupied = pd.DataFrame(
            [
                {
                    "cluster": cluster,
                    "segment_id": largest + number,
                    "segment_name": names[cluster],
                    "grid_name": names[cluster],
                    "name_reason": f"It is {names[cluster]} in the R x F grid. It had no customers when it was named.",
                    "share": 0.0,
                }
                for number, cluster in enumerate(empty, start=1)
            ],
            columns=segments.columns,
        )
    elif empty:
        occupied = [cluster for cluster in used if cluster != NO_CLUSTER]
        nearest = nearest_centers(model.centers[empty], model.centers[occupied])
        joined = segments.set_index("cluster").loc[[occupied[place] for place in nearest]]
        unoccupied = joined.assign(cluster=empty).reset_index(drop=True)
    else:
        unoccupied = segments.iloc[:0]
    return pd.concat([segments, unoccupied], ignore_index=True)


def _with_rules(scorer: Scorer, segments: "pd.DataFrame") -> "tuple[pd.DataFrame, float]":
    """Adds each segment's rule; returns the segments and the share of the buyers whose rule names their segment."""
    import pandas as pd

    segment_of = dict(zip(segments["cluster"], segments["segment_id"], strict=True))
    rules, fidelity = segment_rules(
        invert_transforms(scorer.coreset.points, scorer.transforms),
        scorer.coreset.weights,
        np.array([segment_of[cluster] for cluster in scorer.model.cell_labels]),
    )
    segment_0 = pd.DataFrame(
        {"segment_id": [0], "rule": ["frequency = 0"], "rule_precision": [1.0], "rule_recall": [1.0]}
    )
    return segments.merge(pd.concat([rules, segment_0]), on="segment_id", how="left"), fidelity
