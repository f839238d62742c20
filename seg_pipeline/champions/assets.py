"""The door of the champions room: decides whether the night's chosen model becomes the champion."""

from collections.abc import Iterator

import dagster as dg

from seg_pipeline.champions.appointment import appoint, takeover_rule
from seg_pipeline.champions.tables import CHAMPION_DECISIONS, SEGMENT_IDENTITY
from seg_pipeline.evaluation.tables import EVALUATION_REPORT
from seg_pipeline.features.tables import FEATURE_TRANSFORMS, RFM_FEATURES
from seg_pipeline.models.champions import champions_overview
from seg_pipeline.models.tables import CHAMPIONS, CORESET
from seg_pipeline.ui import built, table_of
from seg_pipeline.wiring import Room, Shop, night_of

CHANGE_COLUMNS = ["segment_id", "change", "segment_name", "previous_name", "overlap", "customers"]


def assets_of(shop: Shop) -> Room:
    """Returns the champions room."""
    room = shop.room("champions", nightly=True)

    @room.tables(
        {
            CHAMPIONS: [EVALUATION_REPORT, RFM_FEATURES, FEATURE_TRANSFORMS, CORESET],
            CHAMPION_DECISIONS: [CHAMPIONS],
            SEGMENT_IDENTITY: [CHAMPIONS],
        },
        kinds={"python"},
    )
    def appointed_champion(context: dg.AssetExecutionContext) -> Iterator[dg.MaterializeResult]:
        import pandas as pd

        warehouse, as_of = shop.warehouse(context), night_of(context)
        settings = shop.settings_of(context)
        appointment = appoint(warehouse, settings, as_of)
        overview = champions_overview(warehouse)
        outcome = {"decision": appointment.outcome, "reason": appointment.reason}
        figures = pd.DataFrame(appointment.figures.items(), columns=["figure", "value"])
        yield dg.MaterializeResult(
            asset_key=shop.key(CHAMPIONS),
            metadata={"dagster/row_count": len(overview), **outcome, "champions": table_of(overview)},
        )
        yield built(
            warehouse,
            CHAMPION_DECISIONS,
            as_of,
            {**outcome, "rule": takeover_rule(settings), "figures": table_of(figures)},
            key=shop.key(CHAMPION_DECISIONS),
        )
        yield built(
            warehouse,
            SEGMENT_IDENTITY,
            as_of,
            {"changes": table_of(warehouse.night(SEGMENT_IDENTITY, as_of)[CHANGE_COLUMNS])},
            key=shop.key(SEGMENT_IDENTITY),
        )

    return room
