"""The door of this room: the value test, and evaluation_report, every candidate of a night compared and one chosen."""

from collections.abc import Iterator

import dagster as dg

from seg_pipeline.evaluation.outcomes import read_outcomes
from seg_pipeline.evaluation.selection import candidates_of, evaluate_candidates, rule_in_words, sensitivity
from seg_pipeline.evaluation.tables import (
    CHOICE_SENSITIVITY,
    EVALUATION_REPORT,
    VALUE_BY_SEGMENT,
    VALUE_TEST,
    VALUE_WINDOW,
)
from seg_pipeline.evaluation.value import value_rows, with_value
from seg_pipeline.features.tables import RFM_FEATURES
from seg_pipeline.models.champions import settled_on
from seg_pipeline.models.tables import CANDIDATES, METRICS
from seg_pipeline.nights import NIGHTS, night_of
from seg_pipeline.prepared.tables import CLEAN_ORDERS
from seg_pipeline.quality.suites import checks_of
from seg_pipeline.settings import Settings
from seg_pipeline.tables import markdown, rows_built
from seg_pipeline.warehouse import Warehouse

COLUMNS = ", ".join(["algorithm", "k", *(metric.name for metric in METRICS), "eligible"])


@dg.multi_asset(
    specs=[
        dg.AssetSpec(deps=deps, partitions_def=NIGHTS, **table.asset(kinds={"numpy"}))
        for table, deps in (
            (VALUE_WINDOW, [CLEAN_ORDERS.asset_key, RFM_FEATURES.asset_key]),
            (VALUE_TEST, [VALUE_WINDOW.asset_key]),
            (VALUE_BY_SEGMENT, [VALUE_TEST.asset_key]),
        )
    ]
)
def tested_value(
    context: dg.AssetExecutionContext, warehouse: Warehouse, settings: dg.ResourceParam[Settings]
) -> Iterator[dg.MaterializeResult]:
    as_of = night_of(context)
    outcomes = read_outcomes(warehouse, as_of, settings)
    rows_of = dict(zip((VALUE_WINDOW, VALUE_TEST, VALUE_BY_SEGMENT), value_rows(outcomes, settings), strict=True))
    with warehouse.transaction() as connection:
        for table, rows in rows_of.items():
            connection.replace_night(table, rows, as_of)
    for table, rows in rows_of.items():
        yield dg.MaterializeResult(
            asset_key=table.asset_key,
            metadata={
                **rows_built(warehouse, table, as_of),
                **({"untested_because": outcomes.untested_because} if outcomes.untested_because else {}),
                "figures": dg.MetadataValue.md(markdown(rows)),
            },
        )


@dg.multi_asset(
    specs=[
        dg.AssetSpec(deps=deps, partitions_def=NIGHTS, **table.asset(kinds={"python"}))
        for table, deps in (
            (EVALUATION_REPORT, [table.asset_key for table in (*CANDIDATES.values(), VALUE_TEST)]),
            (CHOICE_SENSITIVITY, [EVALUATION_REPORT.asset_key]),
        )
    ]
)
def evaluated_candidates(
    context: dg.AssetExecutionContext, warehouse: Warehouse, settings: dg.ResourceParam[Settings]
) -> Iterator[dg.MaterializeResult]:
    import pandas as pd

    from seg_pipeline.plotting import plots

    as_of = night_of(context)
    sweeps = " UNION ALL ".join(
        f"SELECT {COLUMNS}, ineligible_because AS reason FROM {table.name} WHERE as_of = $as_of"
        for table in CANDIDATES.values()
    )
    candidates = with_value(warehouse.read(sweeps, {"as_of": as_of}), warehouse.night(VALUE_TEST, as_of))
    settled = settled_on(warehouse, settings, as_of)
    report = evaluate_candidates(candidates, settings.selection, settled)
    scenarios = pd.DataFrame(sensitivity(candidates_of(candidates), settings.selection, settled))
    warehouse.replace_night(EVALUATION_REPORT, report, as_of)
    warehouse.replace_night(CHOICE_SENSITIVITY, scenarios, as_of)
    chosen = report[report["chosen"]].iloc[0]
    k_range = (settings.selection.k_min, settings.selection.k_max)
    yield dg.MaterializeResult(
        asset_key=EVALUATION_REPORT.asset_key,
        metadata={
            **rows_built(warehouse, EVALUATION_REPORT, as_of),
            "chosen": f"{chosen['algorithm']}, k = {chosen['k']}",
            "reason": chosen["reason"],
            "rule": rule_in_words(settings.selection),
            "silhouette": round(float(chosen["silhouette"]), 4),
            # Without bootstraps nothing is known of it.
            **({"stability": round(float(chosen["stability"]), 4)} if pd.notna(chosen["stability"]) else {}),
            "score": round(float(chosen["score"]), 4),
            "comparison": dg.MetadataValue.md(
                markdown(
                    report[["algorithm", "k", "score", "silhouette", "stability", "value", "rank", "chosen", "reason"]]
                )
            ),
            "elbow_curves": dg.MetadataValue.md(
                plots.markdown_image(plots.elbow_curves(report, k_range=k_range), "Elbow curves")
            ),
            "silhouette_curves": dg.MetadataValue.md(
                plots.markdown_image(plots.silhouette_curves(report, k_range=k_range), "Silhouette curves")
            ),
            "algorithms": dg.MetadataValue.md(plots.markdown_image(plots.algorithm_comparison(report), "Algorithms")),
        },
    )
    yield dg.MaterializeResult(
        asset_key=CHOICE_SENSITIVITY.asset_key,
        metadata={
            **rows_built(warehouse, CHOICE_SENSITIVITY, as_of),
            "winners": len(scenarios.drop_duplicates(["algorithm", "k"])),
            "scenarios": dg.MetadataValue.md(markdown(scenarios)),
        },
    )


defs = dg.Definitions(
    assets=[tested_value, evaluated_candidates],
    asset_checks=[
        checks_of(table)
        for table in (VALUE_WINDOW, VALUE_TEST, VALUE_BY_SEGMENT, EVALUATION_REPORT, CHOICE_SENSITIVITY)
    ],
)
