"""The door of the evaluation room: the value test, and the choice among the candidates of a night."""

from collections.abc import Iterator

import dagster as dg

from seg_pipeline.evaluation.night import build_evaluation, build_value_test
from seg_pipeline.evaluation.selection import choice_rule
from seg_pipeline.evaluation.tables import (
    CHOICE_SENSITIVITY,
    CHOICE_TEST,
    CHOICE_WINDOW,
    EVALUATION_REPORT,
    VALUE_BY_SEGMENT,
    VALUE_TEST,
    VALUE_WINDOW,
)
from seg_pipeline.features.tables import RFM_FEATURES
from seg_pipeline.models.registry import BASELINE
from seg_pipeline.models.tables import CANDIDATES, TITLES
from seg_pipeline.prepared.tables import CLEAN_ORDERS
from seg_pipeline.ui import built, table_of
from seg_pipeline.wiring import Room, Shop, night_of

COMPARED_COLUMNS = ["algorithm", "k", "score", "silhouette", "stability", "value_share", "rank", "chosen", "reason"]


def assets_of(shop: Shop) -> Room:
    """Returns the evaluation room."""
    room = shop.room("evaluation", nightly=True)

    @room.tables(
        {
            VALUE_WINDOW: [CLEAN_ORDERS, RFM_FEATURES],
            VALUE_TEST: [VALUE_WINDOW],
            VALUE_BY_SEGMENT: [VALUE_TEST],
            CHOICE_WINDOW: [CLEAN_ORDERS, RFM_FEATURES],
            CHOICE_TEST: [CHOICE_WINDOW],
        },
        kinds={"numpy"},
    )
    def tested_value(context: dg.AssetExecutionContext) -> Iterator[dg.MaterializeResult]:
        warehouse, as_of = shop.warehouse(context), night_of(context)
        rows_of = build_value_test(warehouse, shop.settings_of(context), as_of)
        windows = {VALUE_TEST: VALUE_WINDOW, VALUE_BY_SEGMENT: VALUE_WINDOW, CHOICE_TEST: CHOICE_WINDOW}
        for table, rows in rows_of.items():
            untested_because = rows_of[windows.get(table, table)]["untested_because"].iloc[0]
            reason = {"untested_because": untested_because} if untested_because else {}
            yield built(
                warehouse,
                table,
                as_of,
                {**reason, "figures": table_of(rows)},
                key=shop.key(table),
            )

    @room.tables(
        {EVALUATION_REPORT: [*CANDIDATES.values(), VALUE_TEST, CHOICE_TEST], CHOICE_SENSITIVITY: [EVALUATION_REPORT]},
        kinds={"python"},
    )
    def evaluated_candidates(context: dg.AssetExecutionContext) -> Iterator[dg.MaterializeResult]:
        import pandas as pd

        from seg_pipeline.plotting.candidates import Legend, algorithm_comparison, elbow_curves, silhouette_curves

        warehouse, as_of = shop.warehouse(context), night_of(context)
        settings = shop.settings_of(context)
        report, scenarios = build_evaluation(warehouse, settings, as_of)
        chosen = report[report["chosen"]].iloc[0]
        k_range = (settings.selection.k_min, settings.selection.k_max)
        legend = Legend(TITLES, baseline=BASELINE)
        yield built(
            warehouse,
            EVALUATION_REPORT,
            as_of,
            {
                "chosen": f"{chosen['algorithm']}, k = {chosen['k']}",
                "reason": chosen["reason"],
                "rule": choice_rule(settings.selection),
                "silhouette": round(float(chosen["silhouette"]), 4),
                **({"stability": round(float(chosen["stability"]), 4)} if pd.notna(chosen["stability"]) else {}),
                **({"score": round(float(chosen["score"]), 4)} if pd.notna(chosen["score"]) else {}),
                "comparison": table_of(report[COMPARED_COLUMNS]),
                **shop.picture(lambda: elbow_curves(report, legend, k_range=k_range), "Elbow curves"),
                **shop.picture(lambda: silhouette_curves(report, legend, k_range=k_range), "Silhouette curves"),
                **shop.picture(lambda: algorithm_comparison(report, legend), "Algorithms"),
            },
            key=shop.key(EVALUATION_REPORT),
        )
        yield built(
            warehouse,
            CHOICE_SENSITIVITY,
            as_of,
            {"winners": len(scenarios.drop_duplicates(["algorithm", "k"])), "scenarios": table_of(scenarios)},
            key=shop.key(CHOICE_SENSITIVITY),
        )

    return room
