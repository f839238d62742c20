"""The door of this room: evaluation_report, every candidate of a night compared and one chosen."""

from collections.abc import Iterator

import dagster as dg

from seg_pipeline.evaluation.selection import candidates_of, evaluate_candidates, rule_in_words, sensitivity
from seg_pipeline.evaluation.tables import CHOICE_SENSITIVITY, EVALUATION_REPORT
from seg_pipeline.models.assets import candidate_assets
from seg_pipeline.models.tables import CANDIDATES, METRICS
from seg_pipeline.nights import NIGHTS, night_of
from seg_pipeline.quality import checks_of
from seg_pipeline.settings import Settings
from seg_pipeline.tables import markdown, rows_built
from seg_pipeline.warehouse import Warehouse

COLUMNS = ", ".join(["algorithm", "k", *(metric.name for metric in METRICS), "eligible"])


@dg.multi_asset(
    specs=[
        dg.AssetSpec(deps=deps, partitions_def=NIGHTS, **table.asset(kinds={"python"}))
        for table, deps in (
            (EVALUATION_REPORT, [*candidate_assets.values()]),
            (CHOICE_SENSITIVITY, [EVALUATION_REPORT.asset_key]),
        )
    ]
)
def evaluated_candidates(
    context: dg.AssetExecutionContext, warehouse: Warehouse, settings: dg.ResourceParam[Settings]
) -> Iterator[dg.MaterializeResult]:
    import pandas as pd

    from seg_pipeline.evaluation import plots

    as_of = night_of(context)
    sweeps = " UNION ALL ".join(
        f"SELECT {COLUMNS}, ineligible_because AS reason FROM {table.name} WHERE as_of = $as_of"
        for table in CANDIDATES.values()
    )
    candidates = warehouse.read(sweeps, {"as_of": as_of})
    report = evaluate_candidates(candidates, settings.selection)
    scenarios = pd.DataFrame(sensitivity(candidates_of(candidates), settings.selection))
    warehouse.replace_night(EVALUATION_REPORT, report, as_of)
    warehouse.replace_night(CHOICE_SENSITIVITY, scenarios, as_of)
    chosen = report[report["chosen"]].iloc[0]
    k_range = (settings.selection.k_min, settings.selection.k_max)
    yield dg.MaterializeResult(
        asset_key=EVALUATION_REPORT.asset_key,
        metadata={
            **rows_built(len(report), as_of),
            "chosen": f"{chosen['algorithm']}, k = {chosen['k']}",
            "reason": chosen["reason"],
            "rule": rule_in_words(settings.selection),
            "silhouette": round(float(chosen["silhouette"]), 4),
            "score": round(float(chosen["score"]), 4),
            "comparison": dg.MetadataValue.md(
                markdown(report[["algorithm", "k", "score", "silhouette", "stability", "rank", "chosen", "reason"]])
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
            **rows_built(len(scenarios), as_of),
            "winners": len(scenarios.drop_duplicates(["algorithm", "k"])),
            "scenarios": dg.MetadataValue.md(markdown(scenarios)),
        },
    )


defs = dg.Definitions(
    assets=[evaluated_candidates], asset_checks=[checks_of(EVALUATION_REPORT), checks_of(CHOICE_SENSITIVITY)]
)
