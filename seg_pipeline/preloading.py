"""Imports slow libraries in a thread while the database reads the orders.

Two threads that import modules which depend on each other can each see the other's modules half initialised. So between
`start` and `wait` nothing else may import a module that is not loaded yet.
"""

import importlib
import threading

# In the order in which a run needs them.
MODULES = ("seg_pipeline.quality.judging", "sklearn.cluster", "kneed", "matplotlib.figure")
_threads: list[threading.Thread] = []


def start() -> None:
    """Starts to import the modules in a thread.

    The thread is not a daemon, so that the process waits for it at its end: an import cut off there stays locked.
    """
    _threads.append(threading.Thread(target=lambda: [importlib.import_module(module) for module in MODULES]))
    _threads[-1].start()


def wait() -> None:
    """Waits until every import that was started has finished."""
    while _threads:
        _threads.pop().join()
