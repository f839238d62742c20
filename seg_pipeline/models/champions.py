"""The champions: the models that customers are scored with, as plain numbers in an append-only table.

Fitting and scoring are different acts. A champion holds everything that scoring needs (transforms, model, ids and names
of its segments) and a summary of the customers it was fitted on, from which drift is measured. Going back to an older
champion appends its row again, so the champion of every night stays on record. This module reads and appends rows; who
becomes champion is decided in the champions room.
"""

import datetime
import hashlib
import json
from collections.abc import Collection
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from seg_pipeline.errors import DataError
from seg_pipeline.models.coreset import Coreset
from seg_pipeline.models.scoring import Scorer
from seg_pipeline.models.store import array_of, model_columns, model_of
from seg_pipeline.models.tables import CHAMPIONS
from seg_pipeline.settings import Settings
from seg_pipeline.warehouse import Connection, Parameters, Warehouse

if TYPE_CHECKING:
    import pandas as pd

# The settings that decide which order lines count.
COUNTING = ("returns", "duplicates", "zero_prices", "excluded_products", "cancellations", "plausible_dates")
# The numbers of a transform that may be NULL; models of older versions do not have all of them.
NULLABLE = frozenset({"lambda", "low", "high"})
# The settings that shape a model: if one of them changes, the champion no longer fits the settings.
SHAPING = (*COUNTING, "features", "models", "selection")


@dataclass(frozen=True, slots=True)
class Champion:
    """A model that customers are scored with.

    Attributes:
        model_id: Algorithm, k, night and a digest of its numbers.
        fitted_as_of: Night whose customers it was fitted on.
        in_force_from: First night that it scores.
        pinned: Whether it was put in force by hand, so that no challenger replaces it.
        settings_digest: Digest of the settings that shaped it.
        why: Why it became the champion.
        scorer: The model, ready to label customers.
        segments: A row per cluster: cluster, segment_id, segment_name, grid_name, name_reason, stability, share (of the
            buyers of reference_as_of), and the segment's rule in words with its figures. Clusters may share a segment.
        training: A row per modelling feature: feature, cuts (the deciles on reference_as_of) and shares (of the buyers
            in the bins between them).
        reference_as_of: Night that drift is measured from: that of the fit, or of the last challenge it survived.
        customers: Buyers it was fitted on.
        stability: Stability when it was fitted; NaN if it was not measured.
        rule_fidelity: Share of those buyers whose rule names their segment; NaN if there are no rules.
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
    reference_as_of: datetime.date
    customers: int
    stability: float
    rule_fidelity: float = float("nan")


def model_id(scorer: Scorer, as_of: datetime.date) -> str:
    """Returns the id of a model: algorithm, k, night, and a digest of its numbers and transforms."""
    digest = hashlib.sha256()
    model = scorer.model
    for part in (model.centers, model.weights, model.covariances, model.cell_labels):
        if part is not None:
            digest.update(np.ascontiguousarray(part).tobytes())
    digest.update(_json(scorer.transforms).encode())
    return f"{model.algorithm}-{model.k}-{as_of}-{digest.hexdigest()[:8]}"


def settings_digest(settings: Settings, keys: Collection[str] = SHAPING) -> str:
    """Returns a digest of the settings that shape a model, or of those with the given keys."""
    values = settings.model_dump(mode="json", include=set(keys))
    return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()[:12]


def find_champion_of(warehouse: Warehouse, as_of: datetime.date) -> Champion | None:
    """Returns the champion that scores a night: the last one put in force on or before it.

    If there is none, the first one put in force later scores the night (its `fitted_as_of` shows that); None if there
    is no champion at all.
    """
    return _last(warehouse, "in_force_from <= $as_of", {"as_of": as_of}) or _first_after(warehouse, as_of)


def comparable_champion(warehouse: Warehouse, settings: Settings, as_of: datetime.date) -> Champion | None:
    """Returns the champion before a night's own challenge if it was fitted with the same settings; else None.

    With other settings, customers look different although nothing has happened to them. A champion that the night
    itself put in force is left out, so that running the night again gives the same figures.
    """
    champion = _last(warehouse, "in_force_from < $as_of", {"as_of": as_of}) or _first_after(warehouse, as_of)
    return champion if champion and champion.settings_digest == settings_digest(settings) else None


def champion_of(warehouse: Warehouse, as_of: datetime.date) -> Champion:
    """Returns the champion that scores a night, as `find_champion_of` does.

    Raises:
        DataError: There is no champion at all.
    """
    champion = find_champion_of(warehouse, as_of)
    if champion is None:
        raise DataError(
            "no model has been fitted yet: run job refit on a night, or materialize the models with the segments"
        )
    return champion


def incumbent_of(warehouse: Warehouse, as_of: datetime.date, challenger: str) -> Champion | None:
    """Returns the champion that a night's challenger has to beat; None if there is none.

    It is the last one put in force on or before the night, the challenger itself left out.
    """
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
    """Returns the champion of today, which is the last row; None before the first fit."""
    return _last(warehouse, "true", {})


def find_champion(warehouse: Warehouse, model_id: str) -> Champion | None:
    """Returns the champion with a model id; None if there is none."""
    return _last(warehouse, "model_id = $model_id", {"model_id": model_id})


def has_reference_of(champion: Champion, other: Champion) -> bool:
    """Returns whether drift is measured in the same way from one champion's reference as from the other's."""
    return (
        champion.reference_as_of == other.reference_as_of
        and _json(champion.training) == _json(other.training)
        and _json(champion.segments) == _json(other.segments)
    )


def append_champion(connection: Connection, champion: Champion) -> None:
    """Puts a champion in force, within the caller's transaction."""
    import pandas as pd

    connection.create(CHAMPIONS, or_replace=False)
    coreset = champion.scorer.coreset
    row: dict[str, Any] = {
        "model_id": champion.model_id,
        "in_force_from": champion.in_force_from,
        "fitted_as_of": champion.fitted_as_of,
        "pinned": champion.pinned,
        "why": champion.why,
        "settings_digest": champion.settings_digest,
        "customers": champion.customers,
        "stability": champion.stability,
        **model_columns(champion.scorer.model),
        "cell_points": coreset.points.tolist(),
        "cell_customers": coreset.weights.astype(np.int64).tolist(),
        "transforms": _json(champion.scorer.transforms),
        "segments": _json(champion.segments),
        "training": _json(champion.training),
        "rule_fidelity": champion.rule_fidelity,
        "reference_as_of": champion.reference_as_of,
    }
    # A frame has no type for a list of records, so the lists are passed as JSON.
    from_json = ", ".join(
        f"CAST(CAST({column.name} AS JSON) AS {column.type}) AS {column.name}"
        for column in CHAMPIONS.columns
        if column.name in ("transforms", "segments", "training")
    )
    with connection.registered(pd.DataFrame([row])) as frame:
        connection.insert(
            CHAMPIONS,
            f"SELECT 1 + (SELECT coalesce(max(number), 0) FROM {CHAMPIONS.name}) AS number, * REPLACE ({from_json})"
            f" FROM {frame}",
        )


def largest_segment_id(warehouse: Warehouse) -> int:
    """Returns the largest segment id that any champion has ever had; 0 before the first."""
    largest = warehouse.value(
        "SELECT max(segment.segment_id) FROM (SELECT unnest(segments) AS segment FROM {champions})",
        {"champions": CHAMPIONS},
    )
    return int(largest or 0)


def champions_overview(warehouse: Warehouse) -> "pd.DataFrame":
    """Returns all champions in the order in which they were put in force, without their numbers."""
    return warehouse.read(
        "SELECT number, in_force_from, model_id, fitted_as_of, pinned, customers, why FROM {champions} ORDER BY number",
        {"champions": CHAMPIONS},
    )


def _first_after(warehouse: Warehouse, as_of: datetime.date) -> Champion | None:
    """Returns the first champion put in force after a night; None if there is none."""
    return _last(
        warehouse, "number = (SELECT min(number) FROM {champions} WHERE in_force_from > $as_of)", {"as_of": as_of}
    )


def _last(warehouse: Warehouse, where: str, parameters: Parameters) -> Champion | None:
    """Returns the last champion for which a condition holds; None if there is none."""
    rows = warehouse.read(
        f"SELECT * FROM {{champions}} WHERE {where} ORDER BY number DESC LIMIT 1",
        {**parameters, "champions": CHAMPIONS},
    )
    return None if rows.empty else _champion_of(rows.iloc[0])


def _champion_of(row: "pd.Series") -> Champion:
    """Returns the champion in a row of the table."""
    import pandas as pd

    coreset = Coreset.without_spread(array_of(row["cell_points"]), array_of(row["cell_customers"]), exact=False)
    transforms, segments, training = (pd.DataFrame(list(row[name])) for name in ("transforms", "segments", "training"))
    return Champion(
        model_id=row["model_id"],
        fitted_as_of=row["fitted_as_of"].date(),
        in_force_from=row["in_force_from"].date(),
        pinned=bool(row["pinned"]),
        settings_digest=row["settings_digest"],
        why=row["why"],
        scorer=Scorer(model_of(row), transforms.astype(dict.fromkeys(NULLABLE & set(transforms), float)), coreset),
        segments=segments,
        training=training,
        # Rows of older versions have none.
        reference_as_of=(row["fitted_as_of"] if pd.isna(row["reference_as_of"]) else row["reference_as_of"]).date(),
        customers=int(row["customers"]),
        stability=float(row["stability"]),
        rule_fidelity=float(row["rule_fidelity"]),
    )


def _json(frame: "pd.DataFrame") -> str:
    """Returns the rows as a JSON list of records, missing values as null."""
    rows = frame.astype(object).where(frame.notna(), None).to_dict("records")
    return json.dumps(rows, default=lambda value: value.tolist())
