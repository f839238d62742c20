"""Work that other processes share: the same results, in order, whatever happens to them."""

import math
import multiprocessing
import os
import signal
import subprocess
import sys
import time

import pytest

from seg_pipeline.models.side_by_side import side_by_side

pytestmark = pytest.mark.skipif(len(os.sched_getaffinity(0)) < 2, reason="one core works alone")

SLEEP_THEN_DIE = """
import os, time
from seg_pipeline.models.side_by_side import side_by_side, start_early
start_early()
time.sleep(1)
print("started", flush=True)
time.sleep(60)
"""


def process_of(seconds):
    time.sleep(seconds)
    return os.getpid()


def end_unless(pid):
    if os.getpid() != pid:
        os.kill(os.getpid(), signal.SIGKILL)
    return pid


def square_root(number):
    return math.sqrt(number)


def test_results_come_in_the_order_of_the_work():
    assert side_by_side(math.factorial, range(30)) == [math.factorial(number) for number in range(30)]


def test_this_process_and_others_share_the_work():
    assert len({*side_by_side(process_of, [0.2] * 40)}) > 1


def test_an_error_of_the_work_is_raised():
    with pytest.raises(ValueError, match="math domain error"):
        side_by_side(square_root, [4.0] * 10 + [-1.0])


def test_where_the_others_are_killed_all_of_the_work_is_done_here():
    assert side_by_side(end_unless, [os.getpid()] * 10) == [os.getpid()] * 10
    assert side_by_side(math.factorial, range(3)) == [1, 1, 2]


@pytest.mark.parametrize("daemon", [False, True])
def test_a_process_of_multiprocessing_works_and_ends(daemon):
    # As a run does that Dagster's daemon or UI starts, or, as a daemon itself, a worker of Celery's.
    run = multiprocessing.get_context("spawn").Process(
        target=side_by_side, args=(math.factorial, range(30)), daemon=daemon
    )
    run.start()
    run.join(60)
    ended = run.exitcode
    run.kill()
    assert ended == 0


def children(pid):
    found = subprocess.run(["pgrep", "-P", str(pid), "-f", "LokyProcess"], capture_output=True, text=True, check=False)
    return [int(line) for line in found.stdout.split()]


def test_no_process_outlives_one_that_was_killed():
    process = subprocess.Popen([sys.executable, "-c", SLEEP_THEN_DIE], stdout=subprocess.PIPE, text=True)
    assert process.stdout.readline() == "started\n"
    workers = children(process.pid)
    assert workers
    process.kill()
    process.wait()
    process.stdout.close()
    deadline = time.monotonic() + 20
    while any(os.path.exists(f"/proc/{worker}") for worker in workers) and time.monotonic() < deadline:
        time.sleep(0.2)
    assert not [worker for worker in workers if os.path.exists(f"/proc/{worker}")]
