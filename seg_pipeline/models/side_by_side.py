"""Fits that know nothing of each other, in as many processes as there are cores. Each result is what it would be alone.

Fits are many small steps, so threads would wait for Python's lock longer than they win. The other processes start when
`start_early` says so, or with the first work, and end with this one.
"""

import atexit
import multiprocessing
import os
import threading
from collections.abc import Callable, Iterable
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from functools import cache
from typing import TypeVar

Work = TypeVar("Work")
Result = TypeVar("Result")


def side_by_side(do: Callable[[Work], Result], works: Iterable[Work]) -> list[Result]:
    """The result of each piece of work, in their order; `do` and the work are handed to other processes.

    This process does its part, from the end. Where the others are killed it does all that is left.
    """
    works = list(works)
    others = _others()
    if others is None or len(works) < 2:
        return [do(work) for work in works]
    try:
        futures = [others.submit(do, work) for work in works]
    except BrokenProcessPool:
        return [do(work) for work in works]
    here = {place: do(works[place]) for place in reversed(range(len(works))) if futures[place].cancel()}
    for place, future in enumerate(futures):
        if place not in here:
            try:
                here[place] = future.result()
            except BrokenProcessPool:
                here[place] = do(works[place])
    return [here[place] for place in range(len(works))]


def start_early() -> None:
    """Starts the other processes, which take some seconds to load their libraries."""
    if (others := _others()) is not None:
        others.submit(_load)


@cache
def _others() -> ProcessPoolExecutor | None:
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    if cores < 2 or multiprocessing.parent_process() is not None:
        return None
    # Not forked: this process has the database's threads.
    pool = ProcessPoolExecutor(cores - 1, multiprocessing.get_context("spawn"), initializer=_end_with_parent)
    atexit.register(pool.shutdown, cancel_futures=True)
    return pool


def _end_with_parent() -> None:
    """Ends this process when the one that started it is gone, however that was killed."""
    parent = multiprocessing.parent_process()

    def wait() -> None:
        if parent is not None:
            parent.join()
        os._exit(1)

    threading.Thread(target=wait, daemon=True).start()


def _load() -> None:
    import sklearn.cluster  # noqa: F401
