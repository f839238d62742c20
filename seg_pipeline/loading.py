"""Libraries that take seconds to load, loaded while the database reads the orders.

Two threads that import what hangs together can each see the other's modules half made. So nobody imports anything
between `start` and `wait` but what the start-up has loaded already.
"""

import importlib
import threading

# In the order in which they are needed.
MODULES = ("seg_pipeline.quality.great_expectations_engines", "sklearn.cluster", "kneed", "matplotlib.figure")
_threads: list[threading.Thread] = []


def start() -> None:
    """Begins to load, in a thread that the process waits for at its end: an import cut off there stays locked."""
    _threads.append(threading.Thread(target=lambda: [importlib.import_module(module) for module in MODULES]))
    _threads[-1].start()


def wait() -> None:
    """Returns when all is loaded that was begun."""
    while _threads:
        _threads.pop().join()
