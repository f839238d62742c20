"""What runs by itself: the jobs, the nightly schedule, the sensor for new files, the alert when a run fails."""

import datetime
import json
import urllib.request
from zoneinfo import ZoneInfo

import dagster as dg

from seg_pipeline.champions.cadence import refit_due
from seg_pipeline.champions.tables import CHAMPION_DECISIONS, SEGMENT_IDENTITY
from seg_pipeline.errors import MachineError, SegPipelineError
from seg_pipeline.features.tables import FEATURE_TRANSFORMS
from seg_pipeline.models.tables import CANDIDATES, CHAMPIONS, CORESET
from seg_pipeline.nights import as_of_of
from seg_pipeline.raw.sources import digest_of_files
from seg_pipeline.settings import AutomationSettings, Settings
from seg_pipeline.warehouse import Warehouse

INGEST = dg.AssetSelection.groups("raw", "prepared")
NIGHT = dg.AssetSelection.groups("features", "models", "evaluation", "segments")
# What a night that only scores leaves out.
FIT = dg.AssetSelection.groups("evaluation") | dg.AssetSelection.assets(
    *(
        table.asset_key
        for table in (
            FEATURE_TRANSFORMS,
            CORESET,
            *CANDIDATES.values(),
            CHAMPIONS,
            CHAMPION_DECISIONS,
            SEGMENT_IDENTITY,
        )
    )
)

ALERT_TIMEOUT_SECONDS = 10
SENSOR_INTERVAL_SECONDS = 60

ingest = dg.define_asset_job("ingest", INGEST, description="Load the delivered files and clean them.")
night = dg.define_asset_job(
    "night",
    NIGHT - FIT,
    description="One night scored with its champion, from clean orders to published segments: what a backfill runs.",
)
refit = dg.define_asset_job(
    "refit",
    NIGHT,
    description="The same with a fit: all models of the night compared, and the best put to the champion.",
)
nightly = dg.define_asset_job(
    "nightly",
    INGEST | NIGHT,
    description="The main job: load, clean, and one night to published segments. The schedule leaves out the fit where"
    " none is due.",
)
JOBS = (nightly, ingest, night, refit)


def nightly_schedule(settings: Settings, warehouse: Warehouse) -> dg.ScheduleDefinition:
    """Every night the day that has just ended in the shop's time zone, with a fit where one is due."""

    @dg.schedule(
        name="nightly_schedule",
        job=nightly,
        cron_schedule=settings.automation.cron,
        execution_timezone=settings.automation.timezone,
        description="Refreshes the segments every night, for the day just ended, with a fit where one is due.",
    )
    def schedule(context: dg.ScheduleEvaluationContext) -> dg.RunRequest:
        day = day_just_ended(context.scheduled_execution_time, settings.automation.timezone)
        try:
            due = refit_due(warehouse, settings, as_of_of(day))
        except MachineError as error:
            # The night must not be lost because the warehouse is busy just now.
            due = f"not known: {error}"
        return dg.RunRequest(
            run_key=day,
            partition_key=day,
            tags={"seg_pipeline/fit": due or "not due"},
            asset_selection=None if due else list((INGEST | NIGHT - FIT).resolve(context.repository_def.asset_graph)),
        )

    return schedule


def day_just_ended(now: datetime.datetime, timezone: str) -> str:
    """Partition key of the last whole day in the shop's time zone."""
    return (now.astimezone(ZoneInfo(timezone)).date() - datetime.timedelta(days=1)).isoformat()


def new_files_sensor(settings: Settings) -> dg.SensorDefinition:
    """Loads and cleans the orders again when the source's files have changed."""

    @dg.sensor(
        name="new_files",
        job=ingest,
        minimum_interval_seconds=SENSOR_INTERVAL_SECONDS,
        description="Watches source.path; new, changed or removed files start the ingest job.",
    )
    def sensor(context: dg.SensorEvaluationContext) -> dg.SensorResult | dg.SkipReason:
        try:
            seen = digest_of_files(settings.source)
        except SegPipelineError as error:
            return dg.SkipReason(str(error))
        if seen == context.cursor:
            return dg.SkipReason("no file is new, changed or gone")
        return dg.SensorResult(run_requests=[dg.RunRequest(run_key=seen)], cursor=seen)

    return sensor


def failure_alert(settings: AutomationSettings) -> dg.SensorDefinition:
    """Posts a failed run to the webhook of the settings; without one the failure is only logged."""

    @dg.run_failure_sensor(
        name="failure_alert",
        minimum_interval_seconds=SENSOR_INTERVAL_SECONDS,
        description="Posts a failed run as JSON to automation.webhook_url.",
    )
    def alert(context: dg.RunFailureSensorContext) -> None:
        message = alert_message(context)
        if settings.webhook_url is None:
            context.log.warning(f"{message['text']} (no automation.webhook_url is set)")
        else:
            post(settings.webhook_url, message)

    return alert


def alert_message(context: dg.RunFailureSensorContext) -> dict[str, str]:
    """What the webhook gets. `text` is the key that chat services show."""
    run = context.dagster_run
    partition = run.tags.get("dagster/partition", "")
    causes = [
        event.step_failure_data.error.cause or event.step_failure_data.error
        for event in context.get_step_failure_events()
        if event.step_failure_data.error
    ]
    cause = causes[0].message.strip() if causes else context.failure_event.message or ""
    what = f"{run.job_name} {partition}".strip()
    return {
        "text": f"seg_pipeline: {what} failed: {cause}",
        "job": run.job_name,
        "partition": partition,
        "run_id": run.run_id,
        "cause": cause,
    }


def post(url: str, message: dict[str, str]) -> None:
    """Posts JSON; raises OSError where nobody answers, so that the sensor's tick fails and is seen."""
    request = urllib.request.Request(
        url, data=json.dumps(message).encode(), headers={"Content-Type": "application/json"}, method="POST"
    )
    with urllib.request.urlopen(request, timeout=ALERT_TIMEOUT_SECONDS):
        pass
