"""Scoring beside fitting: `python -m seg_pipeline_tests.bench.scoring --customers 5000000`.

One night of so many customers stands in rfm_features; then the assets that fit and compare are materialized, and those
that score, without their checks. Nothing is judged; the figures are for docs/benchmarks.md.
"""

import argparse
import datetime
import logging
import resource
import tempfile
from collections.abc import Sequence
from pathlib import Path

import dagster as dg

from seg_pipeline.champions.tables import CHAMPION_DECISIONS, SEGMENT_IDENTITY
from seg_pipeline.evaluation.tables import (
    CHOICE_SENSITIVITY,
    CHOICE_TEST,
    CHOICE_WINDOW,
    EVALUATION_REPORT,
    VALUE_BY_SEGMENT,
    VALUE_TEST,
    VALUE_WINDOW,
)
from seg_pipeline.features.tables import CUSTOMER_RHYTHM, FEATURE_TRANSFORMS, GRID_CELLS, RFM_FEATURES
from seg_pipeline.guest import definitions_of
from seg_pipeline.models.tables import CANDIDATES, CHAMPIONS, CORESET
from seg_pipeline.nights import partition_of
from seg_pipeline.prepared.tables import CLEAN_ORDERS
from seg_pipeline.segments.tables import SEGMENT_ASSIGNMENTS, SEGMENT_PROFILES
from seg_pipeline.settings import Settings, load_settings
from seg_pipeline.tables import Table
from seg_pipeline.warehouse import Warehouse
from seg_pipeline.wiring import Shop

NIGHT = datetime.date(2026, 11, 1)
FIT = [FEATURE_TRANSFORMS, CORESET, *CANDIDATES.values()]
COMPARE = [
    *(VALUE_WINDOW, VALUE_TEST, VALUE_BY_SEGMENT, CHOICE_WINDOW, CHOICE_TEST, EVALUATION_REPORT, CHOICE_SENSITIVITY),
    *(CHAMPIONS, CHAMPION_DECISIONS, SEGMENT_IDENTITY),
]
SCORE = [SEGMENT_ASSIGNMENTS, SEGMENT_PROFILES]
# A shop of lapsing customers and one-time buyers, the same whenever it is made.
SHOP = """
    INSERT INTO features.rfm_features BY NAME
    SELECT
        $night AS as_of,
        'C' || i AS customer_id,
        CAST(1 + floor(-250 * ln(u) / (1 + activity)) AS INTEGER) AS recency_days,
        CAST(1 + floor(6 * activity * v) AS INTEGER) AS frequency,
        CAST(frequency * exp(3 + 1.2 * (v - u) + 0.4 * activity) AS DECIMAL(18, 4)) AS monetary,
        1 AS r_score, 1 AS f_score, 1 AS m_score, 0.0 AS return_rate,
        list_element($names, 1 + CAST(hash(i + 7) % 10 AS INTEGER)) AS rfm_segment
    FROM (
        SELECT
            i,
            (1 + hash(i) % 1000003) / 1000004 AS u,
            (1 + hash(i + 100000000) % 1000003) / 1000004 AS v,
            -ln((1 + hash(i + 200000000) % 1000003) / 1000004) AS activity
        FROM range($customers) AS numbers(i)
    )
"""


# As if everyone usually bought once in two months.
RHYTHM = """
    INSERT INTO features.customer_rhythm BY NAME
    SELECT
        as_of,
        customer_id,
        60.0 AS usual_gap_days,
        recency_days / 60 AS days_overdue_ratio,
        CASE WHEN recency_days <= 90 THEN 'active' ELSE 'lapsed' END AS lifecycle
    FROM features.rfm_features
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Measures and prints; the exit status."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--customers", type=int, default=5_000_000)
    given = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory() as folder:
        database = str(Path(folder) / "warehouse.duckdb")
        warehouse = Warehouse(database=database)
        with warehouse.get_connection() as connection:
            connection.create(CLEAN_ORDERS)
            # A single order: too short a history for the value test.
            connection.execute(
                "INSERT INTO prepared.clean_orders BY NAME SELECT 'C0' AS customer_id, '0' AS order_id, 1 AS quantity,"
                " $day AS ordered_at, 1 AS amount, false AS is_return, '' AS source_file, 1 AS source_row",
                {"day": NIGHT - datetime.timedelta(days=1)},
            )
            connection.create(RFM_FEATURES, or_replace=False)
            connection.execute(SHOP, {"night": NIGHT, "customers": given.customers, "names": list(GRID_CELLS)})
            connection.create(CUSTOMER_RHYTHM, or_replace=False)
            connection.execute(RHYTHM)

        settings = load_settings([f"warehouse.path={database}"], environment={})

        seconds = {
            what: run(settings, tables)
            for what, tables in (
                ("fitting and comparing", [*FIT, *COMPARE]),
                ("scoring", SCORE),
            )
        }
    for what, took in seconds.items():
        print(
            f"{what:<22} {sum(took.values()):6.1f} s: {', '.join(f'{k} {v:.1f}' for k, v in took.items() if v >= 0.1)}"
        )
    fit, score = (sum(took.values()) for took in seconds.values())
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(f"{given.customers:,} customers: scoring over fitting {score / fit:.2f}; peak memory {peak:,.0f} MiB")
    return 0


def run(settings: Settings, tables: Sequence[Table]) -> dict[str, float]:
    """Builds tables and returns the seconds that each step took, by its name."""
    shop = Shop(settings)
    definitions = definitions_of(shop, loggers={"quiet": quiet})
    done = definitions.resolve_job_def("refit").execute_in_process(
        partition_key=partition_of(NIGHT),
        asset_selection=[shop.key(table) for table in tables],
        run_config={"loggers": {"quiet": {"config": {}}}},
    )
    return {
        event.step_key or "": event.step_success_data.duration_ms / 1000
        for event in done.all_events
        if event.event_type == dg.DagsterEventType.STEP_SUCCESS and not (event.step_key or "").startswith("check_")
    }


@dg.logger(config_schema={})
def quiet(context: dg.InitLoggerContext) -> logging.Logger:
    """Dagster's log goes nowhere."""
    log = logging.Logger("quiet")
    log.addHandler(logging.NullHandler())
    return log


if __name__ == "__main__":
    raise SystemExit(main())
