"""What Spark's event log says of a run, and what more cores would change about it. Reads files; needs no Spark."""

import json
from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

MIB = 2**20
# Uncompressed, and one file: what reads it is json.
WRITTEN = {
    "spark.eventLog.enabled": "true",
    "spark.eventLog.rolling.enabled": "false",
    "spark.eventLog.compress": "false",
    "spark.eventLog.logStageExecutorMetrics": "true",
}


@dataclass(frozen=True, slots=True)
class Work:
    """One run's work: of its jobs, the stages that ran, and their tasks."""

    jobs: int
    tasks: int
    # In which at least one job was running.
    job_seconds: float
    # Summed over tasks. CPU and garbage collection are Java's: Python beside it is not in the log.
    run_seconds: float
    cpu_seconds: float
    gc_seconds: float
    shuffled_mib: float
    spilled_mib: float
    # The largest heap of the driver's Java and of an executor's (on `local` there is the driver alone), with what is
    # garbage in it, as Spark sees it every ten seconds; and the most memory that one task worked in.
    driver_heap_mib: float
    executor_heap_mib: float
    execution_mib: float
    # Of each stage: what its tasks ran together, and the longest of them.
    stages: tuple[tuple[float, float], ...]

    @property
    def longest_seconds(self) -> float:
        return max((longest for _, longest in self.stages), default=0.0)

    @property
    def floor_seconds(self) -> float:
        """The longest task of every stage, one after the other: what no number of cores goes below."""
        return sum(longest for _, longest in self.stages)

    def driver_seconds(self, wall: float) -> float:
        """What is left of a wall time while no job is running: the driver alone."""
        return wall - self.job_seconds

    def seconds_on(self, cores: int, wall: float) -> float:
        """A wall time worked out for other cores: the driver alone, then one stage after the other, each divided by the
        cores as far as its longest task lets it.
        """
        return self.driver_seconds(wall) + sum(max(longest, run / cores) for run, longest in self.stages)


def work_of(events: Iterable[dict[str, Any]]) -> Work:
    """Adds up the events of a run. Tasks that failed or ran twice are in it: they took their time."""
    begun: dict[int, int] = {}
    jobs: list[tuple[int, int]] = []
    tasks: dict[tuple[int, int], list[dict[str, Any]]] = defaultdict(list)
    heaps = {"driver": 0, "executor": 0}
    for event in events:
        match event["Event"]:
            case "SparkListenerJobStart":
                begun[event["Job ID"]] = event["Submission Time"]
            case "SparkListenerJobEnd":
                jobs.append((begun[event["Job ID"]], event["Completion Time"]))
            case "SparkListenerTaskEnd" if metrics := event.get("Task Metrics"):
                tasks[event["Stage ID"], event["Stage Attempt ID"]].append(metrics)
            case "SparkListenerStageExecutorMetrics":
                process = "driver" if event["Executor ID"] == "driver" else "executor"
                heaps[process] = max(heaps[process], event["Executor Metrics"]["JVMHeapMemory"])
    every = [task for stage in tasks.values() for task in stage]
    return Work(
        jobs=len(jobs),
        tasks=len(every),
        job_seconds=covered(jobs) / 1e3,
        run_seconds=sum(task["Executor Run Time"] for task in every) / 1e3,
        cpu_seconds=sum(task["Executor CPU Time"] for task in every) / 1e9,
        gc_seconds=sum(task["JVM GC Time"] for task in every) / 1e3,
        shuffled_mib=sum(task["Shuffle Write Metrics"]["Shuffle Bytes Written"] for task in every) / MIB,
        spilled_mib=sum(task["Disk Bytes Spilled"] for task in every) / MIB,
        driver_heap_mib=heaps["driver"] / MIB,
        executor_heap_mib=heaps["executor"] / MIB,
        execution_mib=max((task["Peak Execution Memory"] for task in every), default=0) / MIB,
        stages=tuple((sum(ran) / 1e3, max(ran) / 1e3) for ran in map(_ran, tasks.values())),
    )


def _ran(stage: Iterable[dict[str, Any]]) -> list[int]:
    return [task["Executor Run Time"] for task in stage]


def covered(intervals: Iterable[tuple[int, int]]) -> int:
    """The length of what intervals cover together."""
    length, until = 0, 0
    for begin, end in sorted(intervals):
        length += max(0, end - max(begin, until))
        until = max(until, end)
    return length


def events_of(folder: Path) -> Iterator[dict[str, Any]]:
    """The events of every log of a folder."""
    for file in sorted(folder.iterdir()):
        with file.open(encoding="utf-8") as lines:
            yield from map(json.loads, lines)
