"""The segments of a new champion: an id, a name and a rule for each cluster, and a segment for those who never bought.

A champion that takes over from another keeps the ids and names of the segments that its clusters match.
"""

import datetime
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from seg_pipeline.champions.names import keep_names, name_segments
from seg_pipeline.champions.rules import segment_rules
from seg_pipeline.features.tables import NO_PURCHASES
from seg_pipeline.features.transforms import invert_transforms
from seg_pipeline.models.champions import Champion
from seg_pipeline.models.coreset import FloatArray
from seg_pipeline.models.model import nearest_centers
from seg_pipeline.models.scoring import NO_CLUSTER, Scorer
from seg_pipeline.warehouse import over_lines, temporary

if TYPE_CHECKING:
    import duckdb
    import pandas as pd

PROFILES_SQL = Path(__file__).with_name("segment_profiles.sql")


def segments_of(
    connection: "duckdb.DuckDBPyConnection",
    scorer: Scorer,
    ids: Mapping[int, int],
    largest_id: int,
    incumbent: Champion | None,
    jaccard: FloatArray | None,
    as_of: datetime.date,
) -> "tuple[pd.DataFrame, float]":
    """Names the clusters of a model that becomes a champion.

    Args:
        connection: To the warehouse; the table `labelled` holds the clusters of the night's customers.
        scorer: The model.
        ids: Segment id of each cluster that holds a customer.
        largest_id: The largest segment id that any champion ever gave.
        incumbent: The champion whose names survive, if there is one.
        jaccard: How sure each cluster is; None where it was not measured.
        as_of: The night.

    Returns:
        The segments, see `Champion`, and the share of the buyers whose rule names their segment.
    """
    segments = _named(connection, scorer, ids, incumbent, as_of)
    segments["stability"] = [
        float("nan") if jaccard is None or cluster == NO_CLUSTER else jaccard[cluster]
        for cluster in segments["cluster"]
    ]
    return _with_rules(scorer, _with_unoccupied(scorer, segments, largest_id))


def _named(
    connection: "duckdb.DuckDBPyConnection",
    scorer: Scorer,
    ids: Mapping[int, int],
    incumbent: Champion | None,
    as_of: datetime.date,
) -> "pd.DataFrame":
    """A row per cluster that holds a customer and one for customers who never bought, with their names and shares."""
    import pandas as pd

    numbered = pd.DataFrame({"cluster": [NO_CLUSTER, *ids], "segment_id": [0, *ids.values()]})
    temporary(connection, "numbered", numbered)
    profiles = over_lines(connection, PROFILES_SQL, {"as_of": as_of}).df()
    over_lines(connection, "DROP TABLE numbered")
    by_rhythm = not scorer.algorithm.cluster_names
    names = name_segments(profiles, by_rhythm=by_rhythm, noise=scorer.model.noise)
    if incumbent is not None:
        names = keep_names(names, profiles, incumbent.segments, by_rhythm=by_rhythm)
    buyers = profiles["customers"].where(profiles["segment_id"] > 0)
    segments = numbered.merge(
        names.assign(segment_id=profiles["segment_id"], share=buyers / buyers.sum()), on="segment_id", how="left"
    )
    # Segment 0 has its name whether or not anybody is in it on this night.
    nobody = segments["cluster"] == NO_CLUSTER
    segments.loc[nobody, "segment_name"] = segments.loc[nobody, "grid_name"] = NO_PURCHASES
    segments.loc[nobody, "name_reason"] = "no purchase before the night, only returns"
    return segments


def _with_unoccupied(scorer: Scorer, segments: "pd.DataFrame", largest_id: int) -> "pd.DataFrame":
    """Adds the clusters that hold no customer on the night of the fit, since one may come to be in them later.

    A cluster with a name of its own is a segment of its own; any other goes with the nearest that holds customers.
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
                    "name_reason": f"its part of the grid is {names[cluster]}; nobody was there when it was named",
                    "share": 0.0,
                }
                for number, cluster in enumerate(empty, start=1)
            ],
            columns=segments.columns,
        )
    elif empty:
        occupied = [cluster for cluster in used if cluster != NO_CLUSTER]
        nearest = nearest_centers(model.centers[empty], model.centers[occupied])
        homes = segments.set_index("cluster").loc[[occupied[place] for place in nearest]]
        unoccupied = homes.assign(cluster=empty).reset_index(drop=True)
    else:
        unoccupied = segments.iloc[:0]
    return pd.concat([segments, unoccupied], ignore_index=True)


def _with_rules(scorer: Scorer, segments: "pd.DataFrame") -> "tuple[pd.DataFrame, float]":
    """Adds the rules in words, and returns how far these agree with the model's labels of its cells."""
    import pandas as pd

    segment_of = dict(zip(segments["cluster"], segments["segment_id"], strict=True))
    rules, fidelity = segment_rules(
        invert_transforms(scorer.coreset.points, scorer.transforms),
        scorer.coreset.weights,
        np.array([segment_of[cluster] for cluster in scorer.model.cell_labels]),
    )
    # Customers who never bought are recognised by that alone.
    nobody = pd.DataFrame({"segment_id": [0], "rule": ["frequency = 0"], "rule_precision": [1.0], "rule_recall": [1.0]})
    return segments.merge(pd.concat([rules, nobody]), on="segment_id", how="left"), fidelity
