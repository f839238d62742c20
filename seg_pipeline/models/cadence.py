"""When a fit is due: fitting and scoring are different acts, and most nights only score."""

import datetime

from seg_pipeline.models.champions import newest_champion, settings_digest
from seg_pipeline.models.tables import FEATURE_DRIFT
from seg_pipeline.settings import Settings
from seg_pipeline.warehouse import Warehouse, create


def refit_due(warehouse: Warehouse, settings: Settings, as_of: datetime.date) -> str | None:
    """Why a night wants a fit, in words; None where scoring with the champion is enough.

    It does where there is no champion, or a champion that is not pinned has other settings, is
    champions.refit_every_days old, or its features drifted beyond drift.psi_warning on the last night that was scored.
    A night before the newest champion is scored only.
    """
    champion = newest_champion(warehouse)
    if champion is None:
        return "no model has been fitted yet"
    if as_of < champion.in_force_from or champion.pinned:
        return None
    if champion.settings_digest != settings_digest(settings):
        return "the settings that shape a model have changed"
    if (age := (as_of - champion.fitted_as_of).days) >= settings.champions.refit_every_days:
        return f"{champion.model_id} is {age} days old"
    with warehouse.get_connection() as connection:
        create(connection, FEATURE_DRIFT, or_replace=False)
    drifted = warehouse.read(
        f"SELECT feature, psi FROM {FEATURE_DRIFT.name} WHERE model_id = $model_id AND psi > $warning AND as_of ="
        f" (SELECT max(as_of) FROM {FEATURE_DRIFT.name} WHERE as_of <= $as_of) ORDER BY psi DESC",
        {"model_id": champion.model_id, "warning": settings.drift.psi_warning, "as_of": as_of},
    )
    # A fit of this very night has seen its customers.
    if len(drifted) and champion.fitted_as_of < as_of:
        return f"{drifted['feature'].iloc[0]} has drifted (population stability index {drifted['psi'].iloc[0]:.2f})"
    return None
