"""Libraries are imported without garbage collections, which go on afterwards."""

import gc
import weakref

from seg_pipeline import preloading


def test_garbage_is_collected_again_after_imports_that_fail():
    try:
        with preloading.without_collections():
            assert not gc.isenabled()
            raise ImportError
    except ImportError:
        pass

    assert gc.isenabled()


def test_garbage_is_collected_again_once_the_thread_has_imported_everything():
    preloading.start(fits=True)
    assert not gc.isenabled()

    preloading.wait()

    assert gc.isenabled()
    # Nothing was started that could be waited for, as in a run of Dagster's own.
    preloading.wait()


class Node:
    """An object that refers to itself, so only a garbage collection frees it."""

    def __init__(self):
        self.itself = self


def test_garbage_of_earlier_runs_is_collected_in_a_process_that_runs_many_nights():
    for _ in range(2):
        preloading.start(fits=True)
        garbage = weakref.ref(Node())
        preloading.wait()

    gc.collect()

    assert garbage() is None
