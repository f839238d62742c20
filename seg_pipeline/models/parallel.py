"""Runs independent fits in as many processes as there are cores. The results do not depend on how many there are.

A fit is many small steps, so threads would lose more to Python's lock than they gain. The worker processes start when
`start_workers` is called, or with the first call of `parallel_map`, and end with this process.
"""

import os
import signal
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from functools import cache
from multiprocessing import current_process
from typing import TYPE_CHECKING, TypeVar

from seg_pipeline.preloading import without_collections

if TYPE_CHECKING:
    from concurrent.futures import Executor

Item = TypeVar("Item")
Result = TypeVar("Result")

SECONDS_BETWEEN_LOOKS = 1.0


def parallel_map(function: Callable[[Item], Result], items: Iterable[Item]) -> list[Result]:
    """Returns the result of a function for each item, in order.

    This process takes items from the end while the workers take them from the beginning. If the workers are killed,
    this process does everything itself.

    Args:
        function: Called in any of the processes, so it and its results must be picklable.
        items: Picklable arguments.

    Raises:
        Exception: What the function raised for an item.
    """
    from concurrent.futures.process import BrokenProcessPool

    items = list(items)
    workers = _workers()
    if workers is None or len(items) < 2:
        return [function(item) for item in items]
    try:
        with _interrupts_held():
            futures = [workers.submit(function, item) for item in items]
        here = {place: function(items[place]) for place in reversed(range(len(items))) if futures[place].cancel()}
        return [here[place] if place in here else future.result() for place, future in enumerate(futures)]
    except BrokenProcessPool:
        _workers.cache_clear()
        return [function(item) for item in items]


def start_workers() -> None:
    """Starts the worker processes ahead of need: loading their libraries takes some seconds."""
    from concurrent.futures.process import BrokenProcessPool

    if (workers := _workers()) is not None:
        try:
            with _interrupts_held():
                workers.submit(_load_libraries)
        except BrokenProcessPool:  # they were killed while they waited for work
            _workers.cache_clear()


@cache
def _workers() -> "Executor | None":
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    # A daemonic process, such as a Celery worker, may not start processes.
    if cores < 2 or current_process().daemon:
        return None
    # joblib's own pool neither forks this process, which has the database's threads, nor runs its script again.
    from multiprocessing import resource_tracker
    from multiprocessing.util import Finalize

    from joblib.externals.loky import ProcessPoolExecutor

    # Otherwise it starts together with the first worker, and lets Ctrl-C through again.
    resource_tracker.ensure_running()
    pool: Executor = ProcessPoolExecutor(cores - 1, initializer=_end_with, initargs=(os.getpid(),))
    # A process started by multiprocessing, such as a Dagster run, waits at its end for the processes it started.
    Finalize(None, pool.shutdown, kwargs={"kill_workers": True}, exitpriority=0)
    return pool


@contextmanager
def _interrupts_held() -> Iterator[None]:
    """Holds Ctrl-C back; a process that starts within inherits that, and never sees it.

    A terminal sends Ctrl-C to all processes. One that is still loading its libraries would end with a traceback, and
    the workers end with this process anyway.
    """
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _end_with(parent: int) -> None:
    """Ends this process soon after its parent is gone, even if the parent was killed."""

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(SECONDS_BETWEEN_LOOKS)
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


def _load_libraries() -> None:
    with without_collections():
        import sklearn.cluster  # noqa: F401
