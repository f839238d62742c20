"""The jobs, and what starts by itself: the nightly schedule, the sensor for new files, the alert for failed runs."""

import datetime
import json
import urllib.request
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any
from zoneinfo import ZoneInfo

import dagster as dg

from seg_pipeline.champions.cadence import refit_due
from seg_pipeline.errors import MachineError, SegPipelineError, UsageError
from seg_pipeline.features.tables import FEATURE_TRANSFORMS
from seg_pipeline.models.tables import CANDIDATES, CORESET
from seg_pipeline.nights import as_of_of
from seg_pipeline.raw.sources import digest_of_files
from seg_pipeline.wiring import Room, Shop, warehouse_of

# What dg.define_asset_job returns; its type is not public.
Job = Any

ALERT_TIMEOUT_SECONDS = 10
SENSOR_INTERVAL_SECONDS = 60
# Whatever the instance retries: the same orders and settings would fail in the same way.
NO_RETRY_OF_STEPS = {"dagster/retry_on_asset_or_op_failure": "false"}
# A night without a fit leaves out these rooms, and these tables of other rooms.
FITTING_ROOMS = ("evaluation", "champions")
FITTING_TABLES = (FEATURE_TRANSFORMS, CORESET, *CANDIDATES.values())


@dataclass(frozen=True, slots=True)
class Jobs:
    """The jobs of a shop.

    Attributes:
        nightly: Loads and cleans the orders, and builds one night with a fit.
        ingest: Loads and cleans the orders.
        night: Builds one night without a fit.
        refit: Builds one night with a fit.
        keys_without_fit: The assets of a nightly run without a fit.
    """

    nightly: Job
    ingest: Job
    night: Job
    refit: Job
    keys_without_fit: list[dg.AssetKey]

    @property
    def all(self) -> tuple[Job, ...]:
        return (self.nightly, self.ingest, self.night, self.refit)


def jobs_of(shop: Shop, rooms: Sequence[Room]) -> Jobs:
    """Returns the jobs of a shop. They select its assets by key, so that they never run another project's."""
    fitting_tables = {shop.key(table) for table in FITTING_TABLES}
    ingest: list[dg.AssetKey] = []
    night: list[dg.AssetKey] = []
    fit: list[dg.AssetKey] = []
    for room in rooms:
        for key in (key for asset in room.assets for key in asset.keys):
            (night if room.nightly else ingest).append(key)
            if room.name in FITTING_ROOMS or key in fitting_tables:
                fit.append(key)
    night_without_fit = [key for key in night if key not in fit]

    def job(name: str, keys: Sequence[dg.AssetKey], description: str) -> Job:
        return dg.define_asset_job(
            shop.name(name), dg.AssetSelection.assets(*keys), description=description, tags=NO_RETRY_OF_STEPS
        )

    return Jobs(
        nightly=job(
            "nightly",
            [*ingest, *night],
            "The main job: loads and cleans the orders, and builds one night with a fit, up to the published segments."
            " The schedule leaves out the fit if none is due.",
        ),
        ingest=job("ingest", ingest, "Loads and cleans the delivered orders."),
        night=job(
            "night",
            night_without_fit,
            "Scores one night with its champion, from clean orders to published segments. A backfill runs this job.",
        ),
        refit=job(
            "refit",
            night,
            "Builds one night with a fit: compares all models, and the best one challenges the champion.",
        ),
        keys_without_fit=[*ingest, *night_without_fit],
    )


def nightly_schedule(shop: Shop, jobs: Jobs) -> dg.ScheduleDefinition:
    """Returns the schedule that builds the day just ended in the shop's time zone, with a fit if one is due.

    Raises:
        UsageError: The cron expression is wrong.
    """
    settings = shop.settings
    warehouse = warehouse_of(settings)

    def schedule(context: dg.ScheduleEvaluationContext) -> dg.RunRequest:
        day = day_just_ended(context.scheduled_execution_time, settings.automation.timezone)
        try:
            due = refit_due(warehouse, settings, as_of_of(day))
        except MachineError as error:
            # A busy warehouse must not cost the shop its night.
            due = f"not known: {error}"
        return dg.RunRequest(
            run_key=day,
            partition_key=day,
            tags={"seg_pipeline/fit": due or "not due"},
            asset_selection=None if due else jobs.keys_without_fit,
        )

    try:
        return dg.schedule(
            name=shop.name("nightly_schedule"),
            job=jobs.nightly,
            cron_schedule=settings.automation.cron,
            execution_timezone=settings.automation.timezone,
            description="Builds the day that has just ended, by default every night, with a fit if one is due.",
        )(schedule)
    except dg.DagsterInvalidDefinitionError:
        cron = settings.automation.cron
        raise UsageError(f"automation.cron: {cron!r} is no cron expression, such as 0 3 * * *") from None


def day_just_ended(now: datetime.datetime, timezone: str) -> str:
    """Returns the partition key of the last full day in the shop's time zone."""
    return (now.astimezone(ZoneInfo(timezone)).date() - datetime.timedelta(days=1)).isoformat()


def new_files_sensor(shop: Shop, jobs: Jobs) -> dg.SensorDefinition:
    """Returns the sensor that runs the ingest job when the source's files have changed."""

    @dg.sensor(
        name=shop.name("new_files"),
        job=jobs.ingest,
        minimum_interval_seconds=SENSOR_INTERVAL_SECONDS,
        description="Watches source.path and runs the ingest job when a file is new, changed or removed.",
    )
    def sensor(context: dg.SensorEvaluationContext) -> dg.SensorResult | dg.SkipReason:
        try:
            digest = digest_of_files(shop.settings.source)
        except SegPipelineError as error:
            return dg.SkipReason(str(error))
        if digest == context.cursor:
            return dg.SkipReason("no file is new, changed or removed")
        return dg.SensorResult(run_requests=[dg.RunRequest(run_key=digest)], cursor=digest)

    return sensor


def failure_alert(shop: Shop) -> dg.SensorDefinition:
    """Returns the sensor that posts failed runs to automation.webhook_url, or only logs them if there is none."""
    webhook_url = shop.settings.automation.webhook_url

    @dg.run_failure_sensor(
        name=shop.name("failure_alert"),
        minimum_interval_seconds=SENSOR_INTERVAL_SECONDS,
        description="Posts each failed run as JSON to automation.webhook_url.",
    )
    def alert(context: dg.RunFailureSensorContext) -> None:
        message = alert_message(context)
        if webhook_url is None:
            context.log.warning(f"{message['text']} (no automation.webhook_url is set)")
        else:
            post(webhook_url.get_secret_value(), message)

    return alert


def alert_message(context: dg.RunFailureSensorContext) -> dict[str, str]:
    """Returns the JSON that the webhook receives; chat services show its `text`."""
    run = context.dagster_run
    partition = run.tags.get("dagster/partition", "")
    causes = [
        event.step_failure_data.error.cause or event.step_failure_data.error
        for event in context.get_step_failure_events()
        if event.step_failure_data.error
    ]
    cause = _safe_message(causes[0]) if causes else context.failure_event.message or ""
    what = f"{run.job_name} {partition}".strip()
    return {
        "text": f"seg_pipeline: {what} failed: {cause}",
        "job": run.job_name,
        "partition": partition,
        "run_id": run.run_id,
        "cause": cause,
    }


def _safe_message(error: Any) -> str:
    """Returns the message of an error that this package or Dagster wrote, and only the kind of any other.

    Other libraries quote values in their messages, which may be customer ids.

    Args:
        error: The error as Dagster recorded it.
    """
    kinds, written_here = [SegPipelineError, dg.DagsterError], set()
    while kinds:
        kind = kinds.pop()
        written_here.add(f"{kind.__module__}.{kind.__qualname__}")
        kinds += kind.__subclasses__()
    # Several drivers of databases have an error of the same name, such as DataError; the module tells them apart.
    message = str(error.message).strip()
    if message.partition(":")[0] in written_here:
        return message
    return f"{error.cls_name}; the page of the run shows its message"


def post(url: str, message: dict[str, str]) -> None:
    """Posts a message as JSON.

    Raises:
        OSError: The server cannot be reached or reports an error. The sensor's tick then fails, and Dagster shows it.
    """
    request = urllib.request.Request(
        url, data=json.dumps(message).encode(), headers={"Content-Type": "application/json"}, method="POST"
    )
    with urllib.request.urlopen(request, timeout=ALERT_TIMEOUT_SECONDS):
        pass
