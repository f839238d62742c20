"""When a fit is due: fitting and scoring are different acts, and most nights only score."""

import datetime

from seg_pipeline.champions.tables import CHAMPION_DECISIONS
from seg_pipeline.models.champions import newest_champion, settings_digest
from seg_pipeline.models.tables import FEATURE_DRIFT
from seg_pipeline.settings import Settings
from seg_pipeline.warehouse import Warehouse

# A champion that has just beaten a challenger is not challenged again because of the same drift.
DAYS_BETWEEN_TRIALS = 7
# What a later room writes, by its name: a night that is there is scored.
SCORED = "segments.segment_assignments"


def last_scored(warehouse: Warehouse) -> datetime.date | None:
    """The latest night with segments; None before the first."""
    return warehouse.newest_night(SCORED)


def is_past(warehouse: Warehouse, as_of: datetime.date) -> bool:
    """Whether a later night is scored already, or a champion in force from a later night: then nothing may move."""
    latest, champion = last_scored(warehouse), newest_champion(warehouse)
    return bool((latest and latest > as_of) or (champion and champion.in_force_from > as_of))


def refit_due(warehouse: Warehouse, settings: Settings, as_of: datetime.date) -> str | None:
    """Why a night wants a fit, in words; None where scoring with the champion is enough.

    It does where there is no champion, or where a champion that is not pinned has other settings, was fitted or last
    challenged champions.refit_every_days ago, or had features that drifted beyond drift.psi_warning on the last night.
    A past night is scored only.
    """
    champion = newest_champion(warehouse)
    if champion is None:
        return "no model has been fitted yet"
    if champion.pinned or is_past(warehouse, as_of):
        return None
    if champion.settings_digest != settings_digest(settings):
        return "the settings that shape a model have changed"
    parameters = {"name": champion.model_id, "as_of": as_of, "decisions": CHAMPION_DECISIONS, "drift": FEATURE_DRIFT}
    challenged: datetime.date | None = warehouse.value(
        "SELECT max(as_of) FROM {decisions} WHERE incumbent_id = $name AND as_of <= $as_of", parameters
    )
    tried = max(champion.fitted_as_of, challenged or champion.fitted_as_of)
    if (as_of - tried).days >= settings.champions.refit_every_days:
        return f"{champion.model_id} was fitted on {champion.fitted_as_of} and last challenged on {tried}"
    drifted = warehouse.read(
        "SELECT feature, psi FROM {drift} WHERE model_id = $name AND psi > $warning AND as_of ="
        " (SELECT max(as_of) FROM {drift} WHERE as_of <= $as_of) ORDER BY psi DESC",
        {**parameters, "warning": settings.drift.psi_warning},
    )
    if len(drifted) and (as_of - tried).days >= DAYS_BETWEEN_TRIALS:
        return f"{drifted['feature'].iloc[0]} has drifted (population stability index {drifted['psi'].iloc[0]:.2f})"
    return None
