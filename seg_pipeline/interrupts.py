"""Handles Ctrl-C where Python or a library would swallow it.

Does not import Dagster; callers pass Dagster's exception types.
"""

import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from types import FrameType
from typing import Protocol

import duckdb

# How many bytes are read at once; each signal is one byte.
PIPE_BYTES = 4096
# How long a signal may take from its arrival until it has been passed on.
SIGNAL_SECONDS = 1.0


class Interruptible(Protocol):
    """A database connection whose running query can be stopped."""

    def interrupt(self) -> None:
        """Stops the running query."""


@contextmanager
def reraise_interrupt(connection: Interruptible) -> Iterator[None]:
    """Ends the running query at Ctrl-C, and raises the signal handler's own exception.

    DuckDB 1.5 raises a RuntimeError that the handler's exception has caused. DuckDB 2.0 raises a RuntimeError alone,
    and does not see every signal while a query runs.
    """
    with _interrupted_by_signal(connection) as was_interrupted:
        try:
            yield
        except RuntimeError as error:
            if error.__cause__ is not None and not isinstance(error.__cause__, Exception):
                # Other threads may still be running the query, and closing the connection would wait for them.
                connection.interrupt()
                raise error.__cause__ from None
            # DuckDB may end the query by itself before the signal has been passed on.
            if "interrupted" in str(error) and was_interrupted(timeout=SIGNAL_SECONDS):
                signal.raise_signal(signal.SIGINT)
            raise


@contextmanager
def _interrupted_by_signal(connection: Interruptible) -> Iterator[Callable[..., bool]]:
    """Stops the connection's query at Ctrl-C in the block, and yields a function that waits for it and says if it came.

    Python runs no handler while it waits for a query, but each signal writes its number to a pipe at once. Outside the
    main thread, which receives all signals, it does nothing.
    """
    if not _is_main_thread():
        yield lambda timeout: False
        return
    read_descriptor, write_descriptor = os.pipe()
    os.set_blocking(write_descriptor, False)
    previous_descriptor = signal.set_wakeup_fd(write_descriptor, warn_on_full_buffer=False)
    is_interrupted = threading.Event()

    def pass_on() -> None:
        while numbers := os.read(read_descriptor, PIPE_BYTES):
            if previous_descriptor >= 0:
                os.write(previous_descriptor, numbers)
            if signal.SIGINT in numbers:
                is_interrupted.set()
                # The handler's exception may have ended the block and closed the connection already.
                with suppress(duckdb.ConnectionException):
                    connection.interrupt()

    thread = threading.Thread(target=pass_on, name="interrupts", daemon=True)
    thread.start()
    try:
        yield is_interrupted.wait
    finally:
        signal.set_wakeup_fd(previous_descriptor, warn_on_full_buffer=False)
        os.close(write_descriptor)
        thread.join()
        os.close(read_descriptor)


@contextmanager
def defer_interrupts() -> Iterator[None]:
    """Delays Ctrl-C until the end of the block, even if the block raises, for work that must not be cut off halfway.

    Does nothing outside the main thread, which receives all signals; nor if the signal handler was not installed from
    Python, which could not restore it.
    """
    if not _is_main_thread() or signal.getsignal(signal.SIGINT) is None:
        yield
        return
    is_pending = False

    def remember(number: int, frame: FrameType | None) -> None:
        nonlocal is_pending
        is_pending = True

    previous_handler = signal.signal(signal.SIGINT, remember)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, previous_handler)
        if is_pending:
            signal.raise_signal(signal.SIGINT)


@contextmanager
def watch_interrupts(*exceptions: type[BaseException]) -> Iterator[Callable[[], bool]]:
    """Yields a function that returns whether Ctrl-C was pressed in the block, even if the exception was swallowed.

    A signal handler raises wherever Python happens to be: in a clean-up, which drops the exception, or in a library
    that mistakes it for an error of its own. But each signal writes its number to a pipe before its handler is called.

    The function may be called after the block. Outside the main thread, which receives all signals, it always returns
    False.

    Args:
        exceptions: Exceptions besides KeyboardInterrupt that a handler may raise. Python prints nothing about one that
            a clean-up drops.
    """
    if not _is_main_thread():
        yield lambda: False
        return
    previous_hook = sys.unraisablehook
    is_interrupted = False

    def ignore_interrupts(unraisable: "sys.UnraisableHookArgs") -> None:
        if not isinstance(unraisable.exc_value, (KeyboardInterrupt, *exceptions)):
            previous_hook(unraisable)

    def was_interrupted() -> bool:
        nonlocal is_interrupted
        if not is_interrupted and not read_end.closed:
            # Without a signal the pipe is empty, and None is read.
            is_interrupted = signal.SIGINT in (read_end.read(PIPE_BYTES) or b"")
        return is_interrupted

    read_descriptor, write_descriptor = os.pipe()
    with (
        os.fdopen(read_descriptor, "rb", buffering=0) as read_end,
        os.fdopen(write_descriptor, "wb", buffering=0) as write_end,
    ):
        os.set_blocking(read_descriptor, False)
        os.set_blocking(write_descriptor, False)
        previous_descriptor = signal.set_wakeup_fd(write_end.fileno(), warn_on_full_buffer=False)
        sys.unraisablehook = ignore_interrupts
        try:
            yield was_interrupted
        finally:
            sys.unraisablehook = previous_hook
            signal.set_wakeup_fd(previous_descriptor)
            # Reads the pipe before it is closed.
            was_interrupted()


def _is_main_thread() -> bool:
    return threading.current_thread() is threading.main_thread()
