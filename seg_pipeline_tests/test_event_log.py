"""What the bench works out of Spark's event log."""

import json

import pytest

from seg_pipeline_tests.bench.event_log import covered, events_of, work_of

MIB = 2**20


def task(stage, milliseconds, **metrics):
    nothing = {"JVM GC Time": 0, "Disk Bytes Spilled": 0, "Peak Execution Memory": 0}
    written = {"Shuffle Bytes Written": metrics.pop("written", 0)}
    time = {"Executor Run Time": milliseconds, "Executor CPU Time": milliseconds * 500_000}
    return {
        "Event": "SparkListenerTaskEnd", "Stage ID": stage, "Stage Attempt ID": 0,
        "Task Metrics": {**nothing, **time, **metrics, "Shuffle Write Metrics": written},
    }  # fmt: skip


def heap(process, mib):
    metrics = {"JVMHeapMemory": mib * MIB}
    return {"Event": "SparkListenerStageExecutorMetrics", "Executor ID": process, "Executor Metrics": metrics}


def job(number, begin, end):
    return [
        {"Event": "SparkListenerJobStart", "Job ID": number, "Submission Time": begin},
        {"Event": "SparkListenerJobEnd", "Job ID": number, "Completion Time": end},
    ]


LOG = [
    {"Event": "SparkListenerLogStart", "Spark Version": "4.3.0"},
    *job(0, 1_000, 5_000),
    *job(1, 4_000, 6_000),
    *job(2, 9_000, 10_000),
    task(0, 3_000, written=MIB, **{"JVM GC Time": 100, "Peak Execution Memory": 2 * MIB}),
    task(0, 1_000, written=MIB, **{"Disk Bytes Spilled": 3 * MIB}),
    task(1, 500, **{"Peak Execution Memory": 5 * MIB}),
    task(2, 500),
    task(2, 500),
    # One that was lost with its worker has no figures.
    {"Event": "SparkListenerTaskEnd", "Stage ID": 2, "Stage Attempt ID": 0},
    heap("driver", 7),
    heap("driver", 6),
    heap("0", 8),
    heap("1", 9),
]


@pytest.fixture
def work(tmp_path):
    (tmp_path / "local-1").write_text("".join(json.dumps(event) + "\n" for event in LOG), encoding="utf-8")
    return work_of(events_of(tmp_path))


def test_figures_are_sums_over_tasks_and_the_largest_of_them(work):
    assert (work.jobs, len(work.stages), work.tasks) == (3, 3, 5)
    assert (work.run_seconds, work.cpu_seconds, work.gc_seconds) == (5.5, 2.75, 0.1)
    assert (work.shuffled_mib, work.spilled_mib, work.execution_mib) == (2, 3, 5)
    assert (work.driver_heap_mib, work.executor_heap_mib) == (7, 9)
    assert (work.longest_seconds, work.floor_seconds) == (3, 4)


def test_the_driver_is_alone_while_no_job_runs(work):
    assert work.job_seconds == 6
    assert work.driver_seconds(wall=12) == 6


def test_more_cores_divide_a_stage_down_to_its_longest_task(work):
    assert [work.seconds_on(cores, wall=12) for cores in (1, 2, 128)] == [6 + 4 + 0.5 + 1, 6 + 3 + 0.5 + 0.5, 6 + 4]


def test_a_run_without_a_job_is_the_driver_alone():
    nothing = work_of([{"Event": "SparkListenerLogStart"}])

    assert (nothing.jobs, nothing.longest_seconds, nothing.seconds_on(2, wall=3)) == (0, 0, 3)


def test_intervals_within_others_count_once():
    assert covered([(0, 10), (2, 3), (5, 12), (20, 21)]) == 13
