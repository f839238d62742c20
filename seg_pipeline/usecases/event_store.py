"""Dagster's records of a run whose pages nobody will look at, at next to no cost."""

from collections.abc import Iterable, Mapping, Sequence

import dagster as dg
from dagster._core.execution.stats import (
    STEP_STATS_EVENT_TYPES,
    RunStepKeyStatsSnapshot,
    build_run_step_stats_from_events,
)
from dagster._core.instance import InstanceType
from dagster._core.launcher.sync_in_memory_run_launcher import SyncInMemoryRunLauncher
from dagster._core.run_coordinator import DefaultRunCoordinator
from dagster._core.storage.event_log import InMemoryEventLogStorage
from dagster._core.storage.event_log.base import AssetRecord
from dagster._core.storage.noop_compute_log_manager import NoOpComputeLogManager
from dagster._core.storage.root import TemporaryLocalArtifactStorage
from dagster._core.storage.runs import InMemoryRunStorage

# What a run asks for: when its steps began and ended, and which run loaded the orders.
KEPT = {*STEP_STATS_EVENT_TYPES, dg.DagsterEventType.ASSET_MATERIALIZATION}


class ListedEvents(InMemoryEventLogStorage):
    """Keeps the few events that a run asks for, in a list; Dagster's own store writes each to a database in memory.

    A run tells its progress by a logger, which gets every event all the same.
    """

    def __init__(self) -> None:
        super().__init__()
        self._events: list[dg.EventLogEntry] = []

    def store_event(self, event: dg.EventLogEntry) -> None:
        if event.is_dagster_event and event.get_dagster_event().event_type in KEPT:
            self._events.append(event)

    def store_event_batch(self, events: Sequence[dg.EventLogEntry]) -> None:
        for event in events:
            self.store_event(event)

    def get_step_stats_for_run(
        self, run_id: str, step_keys: Sequence[str] | None = None
    ) -> Sequence[RunStepKeyStatsSnapshot]:
        steps = build_run_step_stats_from_events(run_id, [event for event in self._events if event.run_id == run_id])
        return [step for step in steps if step_keys is None or step.step_key in step_keys]

    def get_latest_materialization_events(
        self, asset_keys: Iterable[dg.AssetKey]
    ) -> Mapping[dg.AssetKey, dg.EventLogEntry | None]:
        made = [event for event in self._events if event.get_dagster_event().is_step_materialization]
        newest = {event.get_dagster_event().asset_key: event for event in made}
        return {key: newest.get(key) for key in asset_keys}

    # Before each step and check, Dagster looks for events of earlier runs. A run of ours needs none of them.

    def fetch_materializations(
        self,
        records_filter: dg.AssetKey | dg.AssetRecordsFilter,
        limit: int,
        cursor: str | None = None,
        ascending: bool = False,
    ) -> dg.EventRecordsResult:
        return dg.EventRecordsResult(records=[], cursor="", has_more=False)

    fetch_observations = fetch_materializations

    def get_asset_records(self, asset_keys: Sequence[dg.AssetKey] | None = None) -> Sequence[AssetRecord]:
        return ()


def instance_in_memory() -> dg.DagsterInstance:
    """Returns what `DagsterInstance.ephemeral()` returns, but for its events, which cost it a tenth of a small run."""
    return dg.DagsterInstance(
        instance_type=InstanceType.EPHEMERAL,
        local_artifact_storage=TemporaryLocalArtifactStorage(),  # type: ignore[no-untyped-call]
        run_storage=InMemoryRunStorage(),
        event_storage=ListedEvents(),
        compute_log_manager=NoOpComputeLogManager(),
        run_coordinator=DefaultRunCoordinator(),
        run_launcher=SyncInMemoryRunLauncher(),
    )
