"""Ctrl-C in places where Python or its libraries would lose it.

This module does not know Dagster: a caller names the exceptions of Dagster itself.
"""

import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any, Protocol


class Interruptible(Protocol):
    """A database connection whose running query can be stopped."""

    def interrupt(self) -> None:
        """Stops the running query."""


@contextmanager
def unwrapped(connection: Interruptible) -> Iterator[None]:
    """Raises the signal handler's own exception if Ctrl-C ends a query; DuckDB wraps it in a RuntimeError."""
    try:
        yield
    except RuntimeError as error:
        if error.__cause__ is None or isinstance(error.__cause__, Exception):
            raise
        # Other threads may still be running the query, and closing the connection would wait for them.
        connection.interrupt()
        raise error.__cause__ from None


@contextmanager
def deferred() -> Iterator[None]:
    """Delays Ctrl-C until the end of the block, for work that must not be cut off halfway."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    signals: list[tuple[Any, ...]] = []
    handler = signal.signal(signal.SIGINT, lambda *arguments: signals.append(arguments))
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, handler)
    if signals and callable(handler):
        handler(*signals[0])


@contextmanager
def watched(*exceptions: type[BaseException]) -> Iterator[Callable[[], bool]]:
    """Yields a function that tells whether Ctrl-C was pressed, even if the exception was swallowed.

    A signal handler raises wherever Python happens to be: in a clean-up, which drops the exception, or in a library
    that mistakes it for an error of its own. But each signal writes its number to a pipe before its handler is called.

    Args:
        exceptions: Exceptions besides KeyboardInterrupt that a handler may raise. Python prints nothing about one that
            a clean-up drops.
    """
    reading, writing = os.pipe()
    for end in (reading, writing):
        os.set_blocking(end, False)
    wakeup = signal.set_wakeup_fd(writing, warn_on_full_buffer=False)
    report = sys.unraisablehook
    pressed = False

    def interrupted() -> bool:
        nonlocal pressed
        with suppress(BlockingIOError):
            pressed = pressed or signal.SIGINT in os.read(reading, 4096)
        return pressed

    def drop(unraisable: "sys.UnraisableHookArgs") -> None:
        if not isinstance(unraisable.exc_value, (KeyboardInterrupt, *exceptions)):
            report(unraisable)

    sys.unraisablehook = drop
    try:
        yield interrupted
    finally:
        sys.unraisablehook = report
        signal.set_wakeup_fd(wakeup)
        os.close(reading)
        os.close(writing)
