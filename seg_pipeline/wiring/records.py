"""Deletes what Dagster keeps of old runs, so that its home does not grow without end."""

from collections.abc import Mapping
from pathlib import Path

import dagster as dg
from dagster._core.storage.event_log.schema import AssetCheckExecutionsTable
from dagster._core.storage.event_log.sql_event_log import SqlEventLogStorage
from dagster._core.storage.event_log.sqlite.sqlite_event_log import SqliteEventLogStorage

FINISHED = [dg.DagsterRunStatus.SUCCESS, dg.DagsterRunStatus.FAILURE, dg.DagsterRunStatus.CANCELED]
# So that the first night after an upgrade does not wait until years of records are deleted.
MOST_AT_ONCE = 20


def delete_old_runs(instance: dg.DagsterInstance, job: str, keep: int, tags: Mapping[str, str]) -> None:
    """Deletes the records of a job's finished runs, except the newest. Of many, it deletes the MOST_AT_ONCE oldest.

    Args:
        instance: The Dagster instance.
        job: The job.
        tags: The tags by which the shop's runs differ from those of other projects with a job of that name.
        keep: How many finished runs to keep.
    """
    finished = instance.get_run_ids(dg.RunsFilter(job_name=job, statuses=FINISHED, tags=tags))
    for run_id in finished[keep:][-MOST_AT_ONCE:]:
        delete_run(instance, run_id)


def delete_run(instance: dg.DagsterInstance, run_id: str) -> None:
    """Deletes a run with its events, results of checks and logs, of which Dagster itself would leave some."""
    instance.compute_log_manager.delete_logs(prefix=[run_id])
    store = instance.event_log_storage
    if isinstance(store, SqlEventLogStorage):
        checks = AssetCheckExecutionsTable
        with store.index_connection() as connection:
            connection.execute(checks.delete().where(checks.c.run_id == run_id))
    instance.delete_run(run_id)
    if isinstance(store, SqliteEventLogStorage):
        # The run's own file, which is empty now.
        Path(store.path_for_shard(run_id)).unlink(missing_ok=True)
