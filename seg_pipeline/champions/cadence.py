"""Decides when a fit is due. Fitting and scoring are separate, and most nights are only scored."""

import datetime

from seg_pipeline.champions.tables import CHAMPION_DECISIONS
from seg_pipeline.models.champions import Champion, newest_champion, settings_digest
from seg_pipeline.models.tables import FEATURE_DRIFT
from seg_pipeline.nights import ASSIGNMENTS
from seg_pipeline.settings import Settings
from seg_pipeline.warehouse import Warehouse

# A champion that was just fitted, or has just beaten a challenger, is not challenged because of drift.
DAYS_BETWEEN_CHALLENGES = 7


def last_scored(warehouse: Warehouse) -> datetime.date | None:
    """Returns the latest night with segments; None if there is none yet."""
    return warehouse.newest_night(ASSIGNMENTS)


def is_past(warehouse: Warehouse, as_of: datetime.date) -> bool:
    """Returns whether a later night is already scored or has a champion, so that this night must change nothing."""
    latest, champion = last_scored(warehouse), newest_champion(warehouse)
    return bool((latest and latest > as_of) or (champion and champion.in_force_from > as_of))


def refit_due(warehouse: Warehouse, settings: Settings, as_of: datetime.date) -> str | None:
    """Returns why a fit is due on a night, in words; None if scoring with the champion is enough.

    A fit is due if there is no champion, or if a champion that is not pinned was fitted with other settings, was fitted
    or last challenged champions.refit_every_days ago, or had a feature that drifted beyond drift.psi_warning on the
    last night. Drift does not count in the DAYS_BETWEEN_CHALLENGES days after the fit or the last challenge. A past
    night is only scored.

    In a season of champions.no_refit, neither age nor drift makes a fit due; what is due then is made after it. Changed
    settings do: somebody changed them just now and expects to see what they do, not what they did last month.
    """
    champion = newest_champion(warehouse)
    if champion is None:
        return "no model has been fitted yet"
    if champion.pinned or is_past(warehouse, as_of):
        return None
    if champion.settings_digest != settings_digest(settings):
        return "the settings that shape a model have changed"
    if any(_is_in_season(season, as_of) for season in settings.champions.no_refit):
        return None
    return _outdated(warehouse, settings, champion, as_of)


def _outdated(warehouse: Warehouse, settings: Settings, champion: Champion, as_of: datetime.date) -> str | None:
    """Returns why a champion is due for a challenge by its age or by drift, in words; None if it is not."""
    parameters = {
        "model_id": champion.model_id,
        "as_of": as_of,
        "reference": champion.reference_as_of,
        "decisions": CHAMPION_DECISIONS,
        "drift": FEATURE_DRIFT,
    }
    newest_challenge: datetime.date | None = warehouse.value(
        "SELECT max(as_of) FROM {decisions} WHERE incumbent_id = $model_id AND as_of <= $as_of", parameters
    )
    last_challenged = max(champion.fitted_as_of, newest_challenge or champion.fitted_as_of)
    if (as_of - last_challenged).days >= settings.champions.refit_every_days:
        return f"{champion.model_id} was fitted on {champion.fitted_as_of} and last challenged on {last_challenged}"
    drifted = warehouse.read(
        # The night of a challenge that the champion survived was still compared with the reference before it.
        "SELECT feature, psi FROM {drift} WHERE model_id = $model_id AND psi > $warning"
        " AND coalesce(reference_as_of, fitted_as_of) = $reference AND as_of ="
        " (SELECT max(as_of) FROM {drift} WHERE as_of <= $as_of) ORDER BY psi DESC",
        {**parameters, "warning": settings.drift.psi_warning},
    )
    if len(drifted) and (as_of - last_challenged).days >= DAYS_BETWEEN_CHALLENGES:
        return f"{drifted['feature'].iloc[0]} has drifted (population stability index {drifted['psi'].iloc[0]:.2f})"
    return None


def _is_in_season(season: str, as_of: datetime.date) -> bool:
    """Returns whether a night is in a season, MM-DD..MM-DD with both days in it, which may go over the new year."""
    first, last = season.split("..")
    day = f"{as_of:%m-%d}"
    return first <= day <= last if first <= last else day >= first or day <= last
