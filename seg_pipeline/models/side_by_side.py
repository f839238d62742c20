"""Fits that know nothing of each other, in as many processes as there are cores. Each result is what it would be alone.

Fits are many small steps, so threads would wait for Python's lock longer than they win. The other processes start when
`start_early` says so, or with the first work, and end with this one.
"""

import os
import threading
import time
from collections.abc import Callable, Iterable
from functools import cache
from multiprocessing import current_process
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from concurrent.futures import Executor

Work = TypeVar("Work")
Result = TypeVar("Result")

SECONDS_BETWEEN_LOOKS = 1.0


def side_by_side(do: Callable[[Work], Result], works: Iterable[Work]) -> list[Result]:
    """The result of each piece of work, in their order; `do` and the work are handed to other processes.

    This process does its part, from the end. Where the others are killed it does all that is left.
    """
    from concurrent.futures.process import BrokenProcessPool

    works = list(works)
    others = _others()
    if others is None or len(works) < 2:
        return [do(work) for work in works]
    try:
        futures = [others.submit(do, work) for work in works]
        here = {place: do(works[place]) for place in reversed(range(len(works))) if futures[place].cancel()}
        return [here[place] if place in here else future.result() for place, future in enumerate(futures)]
    except BrokenProcessPool:
        _others.cache_clear()
        return [do(work) for work in works]


def start_early() -> None:
    """Starts the other processes, which take some seconds to load their libraries."""
    if (others := _others()) is not None:
        others.submit(_load)


@cache
def _others() -> "Executor | None":
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    # A daemon, as a worker of Celery's is, may start no process.
    if cores < 2 or current_process().daemon:
        return None
    # joblib's own pool: it neither forks this process, which has the database's threads, nor runs its script again.
    from multiprocessing.util import Finalize

    from joblib.externals.loky import ProcessPoolExecutor

    pool: Executor = ProcessPoolExecutor(cores - 1, initializer=_end_with, initargs=(os.getpid(),))
    # A process that multiprocessing started, as Dagster's runs are, waits at its end for those that it started itself.
    Finalize(None, pool.shutdown, kwargs={"kill_workers": True}, exitpriority=0)
    return pool


def _end_with(parent: int) -> None:
    """Ends this process soon after the one that started it is gone, however that was killed."""

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(SECONDS_BETWEEN_LOOKS)
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


def _load() -> None:
    import sklearn.cluster  # noqa: F401
