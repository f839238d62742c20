"""Imports slow libraries: without garbage collections, and in a thread while the database reads the orders.

Two threads that import modules which depend on each other can each see the other's modules half initialised. So between
`start` and `wait` nothing else may import a module that is not loaded yet.
"""

import gc
import importlib
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager

# In the order in which a run needs them.
MODULES = ("seg_pipeline.quality.judging", "sklearn.cluster", "matplotlib.figure")
MODULES_OF_FITS = ("kneed",)
_threads: list[threading.Thread] = []
_frozen_modules: set[str] = set()


def start(*, fits: bool) -> None:
    """Starts to import the modules in a thread. No garbage is collected until `wait` has seen its end.

    The thread is not a daemon, so that the process waits for it at its end: an import cut off there stays locked.

    Args:
        fits: Whether models will be fitted, which needs some more modules.
    """
    gc.disable()
    modules = (*MODULES, *(MODULES_OF_FITS if fits else ()))
    _threads.append(threading.Thread(target=lambda: [importlib.import_module(module) for module in modules]))
    _threads[-1].start()


def wait() -> None:
    """Waits until every import that was started has finished."""
    while _threads:
        _threads.pop().join()
        _collect_again()


@contextmanager
def without_collections() -> Iterator[None]:
    """Collects no garbage while the block imports modules.

    What modules define lives to the end. Looking through it again and again takes a quarter of the time of the imports.
    """
    gc.disable()
    try:
        yield
    finally:
        _collect_again()


def _collect_again() -> None:
    """Turns garbage collections on again. If modules were imported, they leave out all objects that exist by now.

    Otherwise, a process that runs many nights would keep the garbage of each.
    """
    if not _frozen_modules.issuperset(sys.modules):
        gc.freeze()
        _frozen_modules.update(sys.modules)
    gc.enable()
