"""Champions: the models that customers are scored with, as plain numbers in an append-only table.

Fitting and scoring are different acts. A champion holds all that scoring takes (transforms, model, ids and names of its
segments) and a summary of the customers it was fitted on, so that drift can be told. Going back to an older champion
appends its row again: what was in force on a night stays on record.
"""

import datetime
import hashlib
import json
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from seg_pipeline.errors import DataError, UsageError, did_you_mean
from seg_pipeline.models.coreset import Coreset
from seg_pipeline.models.model import ClusterModel
from seg_pipeline.models.scoring import Scorer
from seg_pipeline.models.store import numbers
from seg_pipeline.models.tables import CHAMPIONS
from seg_pipeline.settings import Settings
from seg_pipeline.warehouse import Connection, Parameters, Warehouse

if TYPE_CHECKING:
    import pandas as pd

# What of the settings shapes a model: where one of them changes, the champion is not what was asked for any more.
SHAPING = (
    "returns",
    "duplicates",
    "zero_prices",
    "excluded_products",
    "cancellations",
    "plausible_dates",
    "features",
    "models",
    "selection",
)


@dataclass(frozen=True, slots=True)
class Champion:
    """A model that customers are scored with.

    Attributes
    ----------
    model_id : str
        Algorithm, k, night and a digest of its numbers.
    fitted_as_of : date
        The night whose customers it was fitted on.
    in_force_from : date
        The first night it scores.
    pinned : bool
        Put there by hand: no challenger replaces it.
    settings_digest : str
        Of the settings that shaped it.
    why : str
        Why it became the champion.
    scorer : Scorer
    segments : DataFrame
        A row per cluster: cluster, segment_id, segment_name, grid_name, name_reason, stability, share (of the buyers it
        was fitted on) and the segment's rule in words with its figures. Clusters may share a segment.
    training : DataFrame
        A row per modelling feature: feature, cuts (the deciles) and shares (of the buyers in the bins between them).
    customers : int
        Buyers it was fitted on.
    stability : float
        When it was fitted; NaN where it was not measured.
    rule_fidelity : float
        Share of those buyers whose rule names their segment; NaN where no rules were made.
    """

    model_id: str
    fitted_as_of: datetime.date
    in_force_from: datetime.date
    pinned: bool
    settings_digest: str
    why: str
    scorer: Scorer
    segments: "pd.DataFrame"
    training: "pd.DataFrame"
    customers: int
    stability: float
    rule_fidelity: float = float("nan")


def model_id(scorer: Scorer, as_of: datetime.date) -> str:
    """Names a model: algorithm, k, night, and a digest of its numbers and transforms."""
    digest = hashlib.sha256()
    model = scorer.model
    for part in (model.centers, model.weights, model.covariances, model.cell_labels):
        if part is not None:
            digest.update(np.ascontiguousarray(part).tobytes())
    digest.update(_plain(scorer.transforms).encode())
    return f"{model.algorithm}-{model.k}-{as_of}-{digest.hexdigest()[:8]}"


def settings_digest(settings: Settings) -> str:
    """Of the settings that shape a model."""
    shaping = settings.model_dump(mode="json", include=set(SHAPING))
    return hashlib.sha256(json.dumps(shaping, sort_keys=True).encode()).hexdigest()[:12]


def find_champion_of(warehouse: Warehouse, as_of: datetime.date) -> Champion | None:
    """The champion that scores a night: the last one put in force on or before it.

    Where there is none, the first one after (its `fitted_as_of` tells); None where there is none at all.
    """
    return _last(warehouse, "in_force_from <= $as_of", {"as_of": as_of}) or _last(
        warehouse, "number = (SELECT min(number) FROM {champions} WHERE in_force_from > $as_of)", {"as_of": as_of}
    )


def comparable_champion(warehouse: Warehouse, settings: Settings, as_of: datetime.date) -> Champion | None:
    """The champion that scores a night if it was fitted with the same settings; else None.

    With other settings customers look different though nothing has happened to them.
    """
    champion = find_champion_of(warehouse, as_of)
    return champion if champion and champion.settings_digest == settings_digest(settings) else None


def champion_of(warehouse: Warehouse, as_of: datetime.date) -> Champion:
    """The same, where there must be one.

    Raises
    ------
    DataError
        There is no champion at all.
    """
    found = find_champion_of(warehouse, as_of)
    if found is None:
        raise DataError(
            "no model has been fitted yet: run job refit on a night, or materialize the models with the segments"
        )
    return found


def incumbent_of(warehouse: Warehouse, as_of: datetime.date, challenger: str) -> Champion | None:
    """Who a challenger of a night has to beat: the last other champion put in force on or before it; None if none."""
    return _last(
        warehouse, "in_force_from <= $as_of AND model_id != $challenger", {"as_of": as_of, "challenger": challenger}
    )


def previous_champion_key(warehouse: Warehouse, settings: Settings, as_of: datetime.date) -> tuple[str, int] | None:
    """Returns algorithm and k of the champion before a night; None if there is none with the same model settings."""
    champion = _last(
        warehouse,
        "in_force_from < $as_of AND settings_digest = $digest",
        {"as_of": as_of, "digest": settings_digest(settings)},
    )
    return None if champion is None else (champion.scorer.model.algorithm, champion.scorer.model.k)


def newest_champion(warehouse: Warehouse) -> Champion | None:
    """The champion of today: the last row. None before the first fit."""
    return _last(warehouse, "true", {})


def find_champion(warehouse: Warehouse, name: str) -> Champion | None:
    """The champion of that model id; None where there is none."""
    return _last(warehouse, "model_id = $name", {"name": name})


def append_champion(connection: Connection, champion: Champion) -> None:
    """Puts a champion in force, within the caller's transaction."""
    import pandas as pd

    connection.create(CHAMPIONS, or_replace=False)
    model, coreset = champion.scorer.model, champion.scorer.coreset
    row: dict[str, Any] = {
        "model_id": champion.model_id,
        "in_force_from": champion.in_force_from,
        "fitted_as_of": champion.fitted_as_of,
        "pinned": champion.pinned,
        "why": champion.why,
        "settings_digest": champion.settings_digest,
        "algorithm": model.algorithm,
        "k": model.k,
        "customers": champion.customers,
        "stability": champion.stability,
        "centers": model.centers.tolist(),
        "weights": model.weights.tolist(),
        "covariances": None if model.covariances is None else model.covariances.tolist(),
        "noise_cluster": model.noise,
        "cell_points": coreset.points.tolist(),
        "cell_customers": coreset.weights.astype(np.int64).tolist(),
        "cell_labels": model.cell_labels.tolist(),
        "transforms": _plain(champion.scorer.transforms),
        "segments": _plain(champion.segments),
        "training": _plain(champion.training),
        "rule_fidelity": champion.rule_fidelity,
    }
    # A frame has no types for records within a record: they come as JSON.
    typed = ", ".join(
        f"CAST(CAST({column.name} AS JSON) AS {column.type}) AS {column.name}"
        for column in CHAMPIONS.columns
        if column.name in ("transforms", "segments", "training")
    )
    with connection.registered(pd.DataFrame([row])) as frame:
        connection.insert(
            CHAMPIONS,
            f"SELECT 1 + (SELECT coalesce(max(number), 0) FROM {CHAMPIONS.name}) AS number, * REPLACE ({typed})"
            f" FROM {frame}",
        )


def pin(warehouse: Warehouse, name: str, start: datetime.date) -> None:
    """Puts a champion in force by hand, from the night `start` on, until it is unpinned.

    Raises
    ------
    UsageError
        There is no such champion.
    """
    known = champions_overview(warehouse)["model_id"].to_list()
    champion = find_champion(warehouse, name)
    if champion is None:
        raise UsageError(f"no champion {name!r}{did_you_mean(name, known)}; see seg-pipeline champions")
    _put(warehouse, replace(champion, pinned=True, why="Pinned by hand."), start)


def unpin(warehouse: Warehouse, start: datetime.date) -> None:
    """Lets challengers replace the champion again from the night `start` on; it stays in force until one does.

    Raises
    ------
    UsageError
        There is no champion, or it is not pinned.
    """
    champion = newest_champion(warehouse)
    if champion is None or not champion.pinned:
        raise UsageError("the champion is not pinned")
    _put(warehouse, replace(champion, pinned=False, why="Unpinned by hand."), start)


def _put(warehouse: Warehouse, champion: Champion, start: datetime.date) -> None:
    newest = newest_champion(warehouse)
    assert newest is not None  # there is one at least: the caller found it
    if start < newest.in_force_from:
        raise UsageError(f"{newest.model_id} is in force from {newest.in_force_from}: not before that")
    with warehouse.get_connection() as connection:
        append_champion(connection, replace(champion, in_force_from=start))


def largest_segment_id(warehouse: Warehouse) -> int:
    """The largest segment id that any champion ever gave; 0 before the first."""
    largest = warehouse.value(
        "SELECT max(segment.segment_id) FROM (SELECT unnest(segments) AS segment FROM {champions})",
        {"champions": CHAMPIONS},
    )
    return int(largest or 0)


def champions_overview(warehouse: Warehouse) -> "pd.DataFrame":
    """All champions in the order they were put in force, without their numbers."""
    return warehouse.read(
        "SELECT number, in_force_from, model_id, fitted_as_of, pinned, customers, why FROM {champions} ORDER BY number",
        {"champions": CHAMPIONS},
    )


def _last(warehouse: Warehouse, where: str, parameters: Parameters) -> Champion | None:
    """The last row that fulfils a condition."""
    found = warehouse.read(
        f"SELECT * FROM {{champions}} WHERE {where} ORDER BY number DESC LIMIT 1",
        {**parameters, "champions": CHAMPIONS},
    )
    return None if found.empty else _champion(found.iloc[0])


def _champion(row: "pd.Series") -> Champion:
    import pandas as pd

    covariances = row["covariances"]
    model = ClusterModel(
        algorithm=row["algorithm"],
        k=int(row["k"]),
        centers=numbers(row["centers"]),
        weights=numbers(row["weights"]),
        covariances=numbers(covariances) if isinstance(covariances, np.ndarray | list) else None,
        cell_labels=np.asarray(row["cell_labels"], dtype=np.int64),
        log_likelihood=None,
        bic=None,
        fit_seconds=0.0,
        noise=None if pd.isna(row["noise_cluster"]) else int(row["noise_cluster"]),
    )
    coreset = Coreset(numbers(row["cell_points"]), numbers(row["cell_customers"]), exact=False)
    transforms, segments, training = (pd.DataFrame(list(row[name])) for name in ("transforms", "segments", "training"))
    return Champion(
        model_id=row["model_id"],
        fitted_as_of=row["fitted_as_of"].date(),
        in_force_from=row["in_force_from"].date(),
        pinned=bool(row["pinned"]),
        settings_digest=row["settings_digest"],
        why=row["why"],
        scorer=Scorer(model, transforms.astype({"lambda": float}), coreset),
        segments=segments,
        training=training,
        customers=int(row["customers"]),
        stability=float(row["stability"]),
        rule_fidelity=float(row["rule_fidelity"]),
    )


def _plain(frame: "pd.DataFrame") -> str:
    """Records as JSON; a missing value is null."""
    rows = frame.astype(object).where(frame.notna(), None).to_dict("records")
    return json.dumps(rows, default=lambda value: value.tolist())
