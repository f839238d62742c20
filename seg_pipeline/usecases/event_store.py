"""Dagster's records of a run whose pages nobody will look at, at next to no cost."""

from collections.abc import Sequence

import dagster as dg
from dagster._core.instance import InstanceType
from dagster._core.launcher.sync_in_memory_run_launcher import SyncInMemoryRunLauncher
from dagster._core.run_coordinator import DefaultRunCoordinator
from dagster._core.storage.event_log import InMemoryEventLogStorage
from dagster._core.storage.noop_compute_log_manager import NoOpComputeLogManager
from dagster._core.storage.root import TemporaryLocalArtifactStorage
from dagster._core.storage.runs import InMemoryRunStorage


class NoEvents(InMemoryEventLogStorage):
    """Keeps no event. A run tells its progress by a logger, which gets each event all the same."""

    def store_event(self, event: dg.EventLogEntry) -> None:
        pass

    def store_event_batch(self, events: Sequence[dg.EventLogEntry]) -> None:
        pass


def instance_without_events() -> dg.DagsterInstance:
    """Returns what `DagsterInstance.ephemeral()` returns, but for the events, which cost it a tenth of a small run."""
    return dg.DagsterInstance(
        instance_type=InstanceType.EPHEMERAL,
        local_artifact_storage=TemporaryLocalArtifactStorage(),  # type: ignore[no-untyped-call]
        run_storage=InMemoryRunStorage(),
        event_storage=NoEvents(),
        compute_log_manager=NoOpComputeLogManager(),
        run_coordinator=DefaultRunCoordinator(),
        run_launcher=SyncInMemoryRunLauncher(),
    )
