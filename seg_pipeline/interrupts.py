"""Ctrl-C, wherever Python and its libraries would lose it. No Dagster here: who knows its exceptions names them."""

import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any, Protocol


class Interruptible(Protocol):
    """A database connection whose running query can be ended."""

    def interrupt(self) -> None:
        """Ends the running query."""


@contextmanager
def unwrapped(connection: Interruptible) -> Iterator[None]:
    """Raises what the signal's handler raised if Ctrl-C ends a query; DuckDB turns it into a RuntimeError."""
    try:
        yield
    except RuntimeError as error:
        if error.__cause__ is None or isinstance(error.__cause__, Exception):
            raise
        # Other threads may still be at the query, and closing the connection would wait for them.
        connection.interrupt()
        raise error.__cause__ from None


@contextmanager
def deferred() -> Iterator[None]:
    """Delays Ctrl-C to the end of the block, for work that must not be cut off halfway."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    signals: list[tuple[Any, ...]] = []
    before = signal.signal(signal.SIGINT, lambda *arguments: signals.append(arguments))
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
    if signals and callable(before):
        before(*signals[0])


@contextmanager
def watched(*also: type[BaseException]) -> Iterator[Callable[[], bool]]:
    """Yields a function that tells whether Ctrl-C was pressed, even if the exception was swallowed.

    A signal's handler raises wherever Python happens to be: in a clean-up, which drops the exception, or in a library
    that takes it for an error of its own. But each signal leaves its number in a pipe before its handler is called.

    Args:
        also: Exceptions besides KeyboardInterrupt that a handler may raise; a clean-up that drops one reports nothing.
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

    def drop(dropped: "sys.UnraisableHookArgs") -> None:
        if not isinstance(dropped.exc_value, (KeyboardInterrupt, *also)):
            report(dropped)

    sys.unraisablehook = drop
    try:
        yield interrupted
    finally:
        sys.unraisablehook = report
        signal.set_wakeup_fd(wakeup)
        os.close(reading)
        os.close(writing)
