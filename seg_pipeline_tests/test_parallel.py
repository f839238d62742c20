"""Work shared with other processes: the results are the same and in order, even if those processes are killed."""

import math
import multiprocessing
import os
import signal
import subprocess
import sys
import time

import pytest

from seg_pipeline.models.parallel import parallel_map, start_workers

pytestmark = pytest.mark.skipif(len(os.sched_getaffinity(0)) < 2, reason="with one core there are no workers")

SLEEP_THEN_DIE = """
import os, time
from seg_pipeline.models.parallel import parallel_map, start_workers
start_workers()
time.sleep(0.5)
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


def test_results_come_in_the_order_of_the_items():
    assert parallel_map(math.factorial, range(30)) == [math.factorial(number) for number in range(30)]


def test_this_process_and_the_workers_share_the_work():
    assert len({*parallel_map(process_of, [0.1] * 30)}) > 1


def test_an_error_in_a_worker_is_raised():
    with pytest.raises(ValueError, match="math domain error"):
        parallel_map(square_root, [4.0] * 10 + [-1.0])


def test_if_the_workers_are_killed_this_process_does_all_the_work():
    assert parallel_map(end_unless, [os.getpid()] * 10) == [os.getpid()] * 10
    assert parallel_map(math.factorial, range(3)) == [1, 1, 2]


def test_workers_that_were_killed_while_they_waited_do_not_end_the_run():
    worker, *_ = {*parallel_map(process_of, [0.2] * 10)} - {os.getpid()}
    os.kill(worker, signal.SIGKILL)
    for _ in range(20):
        start_workers()
        time.sleep(0.05)
    assert parallel_map(math.factorial, range(3)) == [1, 1, 2]


@pytest.mark.parametrize("daemon", [False, True])
def test_a_process_that_multiprocessing_started_works_and_ends(daemon):
    # Dagster's daemon and UI start runs like this; a Celery worker is a daemonic process.
    run = multiprocessing.get_context("spawn").Process(
        target=parallel_map, args=(math.factorial, range(30)), daemon=daemon
    )
    run.start()
    run.join(60)
    ended = run.exitcode
    run.kill()
    assert ended == 0


def children(pid):
    found = subprocess.run(["pgrep", "-P", str(pid), "-f", "LokyProcess"], capture_output=True, text=True, check=False)
    return [int(line) for line in found.stdout.split()]


def test_the_workers_end_when_their_parent_is_killed():
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


CHILDREN_THAT_SEE_CTRL_C = """
import os, signal, time
from pathlib import Path
from seg_pipeline.models.parallel import parallel_map, start_workers


def sees_ctrl_c(child):
    try:
        status = dict(line.split(":\\t", 1) for line in Path(f"/proc/{child}/status").read_text().splitlines())
    except FileNotFoundError:
        return False
    return not (int(status["SigBlk"], 16) | int(status["SigIgn"], 16)) >> (signal.SIGINT - 1) & 1


start_workers()
children, seeing, looks = Path(f"/proc/self/task/{os.getpid()}/children"), set(), 0
stop = time.monotonic() + 2
while time.monotonic() < stop:
    started = children.read_text().split()
    looks += len(started)
    seeing |= {child for child in started if sees_ctrl_c(child)}
print(looks > 100, len(seeing), parallel_map(abs, [-1, -2]))
"""


def test_no_worker_sees_ctrl_c_not_even_while_it_loads_its_libraries():
    found = subprocess.run([sys.executable, "-c", CHILDREN_THAT_SEE_CTRL_C], capture_output=True, text=True, timeout=60)

    assert (found.stdout, found.stderr, found.returncode) == ("True 0 [1, 2]\n", "", 0)
