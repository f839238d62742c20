"""The door of this room: evaluation_report, every candidate of a night compared and one chosen."""

import dagster as dg

from seg_pipeline.evaluation.selection import evaluate_candidates, rule_in_words
from seg_pipeline.evaluation.tables import EVALUATION_REPORT
from seg_pipeline.models.assets import candidate_assets
from seg_pipeline.models.tables import CANDIDATES, METRICS
from seg_pipeline.nights import NIGHTS, night_of
from seg_pipeline.quality import checks_of
from seg_pipeline.settings import Settings
from seg_pipeline.tables import markdown, rows_built
from seg_pipeline.warehouse import Warehouse

COLUMNS = ", ".join(["algorithm", "k", *(metric.name for metric in METRICS), "eligible", "ineligible_because"])


@dg.asset(**EVALUATION_REPORT.asset(kinds={"python"}), partitions_def=NIGHTS, deps=[*candidate_assets.values()])
def evaluation_report(
    context: dg.AssetExecutionContext, warehouse: Warehouse, settings: dg.ResourceParam[Settings]
) -> dg.MaterializeResult:
    from seg_pipeline.evaluation import plots

    as_of = night_of(context)
    sweeps = " UNION ALL ".join(f"SELECT as_of, {COLUMNS} FROM {table.name}" for table in CANDIDATES.values())
    candidates = warehouse.read(f"SELECT {COLUMNS} FROM ({sweeps}) WHERE as_of = $as_of", {"as_of": as_of})
    report = evaluate_candidates(candidates, settings.selection)
    warehouse.replace_night(EVALUATION_REPORT, report, as_of)
    chosen = report[report["chosen"]].iloc[0]
    k_range = (settings.selection.k_min, settings.selection.k_max)
    return dg.MaterializeResult(
        metadata={
            **rows_built(len(report), as_of),
            "chosen": f"{chosen['algorithm']}, k = {chosen['k']}",
            "reason": chosen["reason"],
            "rule": rule_in_words(settings.selection),
            "silhouette": round(float(chosen["silhouette"]), 4),
            "comparison": dg.MetadataValue.md(
                markdown(report[["algorithm", "k", "silhouette", "inertia", "rank", "chosen", "reason"]])
            ),
            "elbow_curves": dg.MetadataValue.md(
                plots.markdown_image(plots.elbow_curves(report, k_range=k_range), "Elbow curves")
            ),
            "silhouette_curves": dg.MetadataValue.md(
                plots.markdown_image(plots.silhouette_curves(report, k_range=k_range), "Silhouette curves")
            ),
            "algorithms": dg.MetadataValue.md(plots.markdown_image(plots.algorithm_comparison(report), "Algorithms")),
        }
    )


defs = dg.Definitions(assets=[evaluation_report], asset_checks=[checks_of(EVALUATION_REPORT)])
