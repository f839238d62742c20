"""Handles Ctrl-C and SIGTERM where Python or a library would swallow them.

Both are called interrupts here. Does not import Dagster; callers pass Dagster's exception types.
"""

import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from types import FrameType
from typing import Protocol

# Ctrl-C, and what systemd, containers and schedulers send to stop a process.
SIGNALS = (signal.SIGINT, signal.SIGTERM)
# How many bytes are read at once; each signal is one byte.
PIPE_BYTES = 4096
# How long a signal may take from its arrival until it has been passed on.
SIGNAL_SECONDS = 1.0
# The numbers of the signals that have raised Interrupted in this process.
_arrived: list[int] = []


class Interrupted(KeyboardInterrupt):
    """One of SIGNALS arrived.

    Attributes:
        number: The number of the signal.
    """

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.number = number


def raise_interrupts() -> None:
    """Makes SIGNALS raise Interrupted in this process, except for Ctrl-C if the process was started with it ignored."""
    _arrived.clear()
    for number in SIGNALS:
        if signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, _raise_interrupted)


def ignore_interrupts() -> None:
    """Ignores SIGNALS from here on if they raise Interrupted, since the work that they could stop is done."""
    for number in SIGNALS:
        if signal.getsignal(number) is _raise_interrupted:
            signal.signal(number, signal.SIG_IGN)


def arrived_interrupt() -> int | None:
    """Returns the number of the first signal that has raised Interrupted, even if a library swallowed the exception.

    None if there was none, or if the signals no longer raise it.
    """
    is_raised = any(signal.getsignal(number) is _raise_interrupted for number in SIGNALS)
    return _arrived[0] if _arrived and is_raised else None


def _raise_interrupted(number: int, frame: FrameType | None) -> None:
    _arrived.append(number)
    raise Interrupted(number)


class Interruptible(Protocol):
    """A database connection whose running query can be stopped."""

    def interrupt(self) -> None:
        """Stops the running query."""


@contextmanager
def reraise_interrupt(connection: Interruptible) -> Iterator[None]:
    """Ends the running query at an interrupt, and raises the signal handler's own exception.

    DuckDB 1.5 raises a RuntimeError that the handler's exception has caused. DuckDB 2.0 raises a RuntimeError alone,
    and does not see every signal while a query runs.
    """
    with _interrupted_by_signal(connection) as arrived_signal:
        try:
            yield
        except RuntimeError as error:
            if error.__cause__ is not None and not isinstance(error.__cause__, Exception):
                # Other threads may still be running the query, and closing the connection would wait for them.
                connection.interrupt()
                raise error.__cause__ from None
            # DuckDB may end the query by itself before the signal has been passed on.
            if "interrupted" in str(error) and (number := arrived_signal()):
                signal.raise_signal(number)
            raise


@contextmanager
def _interrupted_by_signal(connection: Interruptible) -> Iterator[Callable[[], int | None]]:
    """Stops the connection's query at an interrupt in the block.

    Python runs no handler while it waits for a query, but each signal writes its number to a pipe at once. Outside the
    main thread, which receives all signals, it does nothing.

    Yields:
        A function that waits up to SIGNAL_SECONDS for an interrupt, and returns its number; None if there was none.
    """
    if not _is_main_thread():
        yield lambda: None
        return
    # The connection has loaded it; a command that needs none does without.
    import duckdb

    read_descriptor, write_descriptor = os.pipe()
    os.set_blocking(write_descriptor, False)
    previous_descriptor = signal.set_wakeup_fd(write_descriptor, warn_on_full_buffer=False)
    is_interrupted = threading.Event()
    arrived: int | None = None

    def pass_on() -> None:
        nonlocal arrived
        while numbers := os.read(read_descriptor, PIPE_BYTES):
            if previous_descriptor >= 0:
                with suppress(OSError):  # the block around this one was left first, and its pipe is closed
                    os.write(previous_descriptor, numbers)
            if number := _first_interrupt(numbers):
                arrived = arrived or number
                is_interrupted.set()
                # The handler's exception may have ended the block and closed the connection already.
                with suppress(duckdb.ConnectionException):
                    connection.interrupt()

    def arrived_signal() -> int | None:
        is_interrupted.wait(SIGNAL_SECONDS)
        return arrived

    thread = threading.Thread(target=pass_on, name="interrupts", daemon=True)
    thread.start()
    try:
        yield arrived_signal
    finally:
        try:
            signal.set_wakeup_fd(previous_descriptor, warn_on_full_buffer=False)
        except OSError:  # a signal ended the block around this one first, and its pipe is closed
            signal.set_wakeup_fd(-1)
        os.close(write_descriptor)
        thread.join()
        os.close(read_descriptor)


@contextmanager
def defer_interrupts() -> Iterator[None]:
    """Delays interrupts until the end of the block, even if it raises, for work that must not be cut off halfway.

    Does nothing outside the main thread, which receives all signals; nor for a signal whose handler was not installed
    from Python, which could not restore it.
    """
    if not _is_main_thread():
        yield
        return
    pending: list[int] = []

    def remember(number: int, frame: FrameType | None) -> None:
        pending.append(number)

    previous = {number: handler for number in SIGNALS if (handler := signal.getsignal(number)) is not None}
    for number in previous:
        signal.signal(number, remember)
    try:
        yield
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)
        if pending:
            signal.raise_signal(pending[0])


@contextmanager
def watch_interrupts(*exceptions: type[BaseException]) -> Iterator[Callable[[], int | None]]:
    """Yields a function that returns the first interrupt in the block, even if its exception was swallowed, or None.

    A signal handler raises wherever Python happens to be: in a clean-up, which drops the exception, or in a library
    that mistakes it for an error of its own. But each signal writes its number to a pipe before its handler is called.
    After the block the handlers are as before it: Dagster's runs leave SIGTERM with the handler of Ctrl-C.

    The function may be called after the block. Outside the main thread, which receives all signals, it always returns
    None.

    Args:
        exceptions: Exceptions besides KeyboardInterrupt that a handler may raise. Python prints nothing about one that
            a clean-up drops.
    """
    if not _is_main_thread():
        yield lambda: None
        return
    previous_hook = sys.unraisablehook
    previous_handlers = {number: signal.getsignal(number) for number in SIGNALS}
    arrived: int | None = None

    def drop_interrupts(unraisable: "sys.UnraisableHookArgs") -> None:
        if not isinstance(unraisable.exc_value, (KeyboardInterrupt, *exceptions)):
            previous_hook(unraisable)

    def arrived_signal() -> int | None:
        nonlocal arrived
        if arrived is None and not read_end.closed:
            # Without a signal the pipe is empty, and None is read.
            arrived = _first_interrupt(read_end.read(PIPE_BYTES) or b"")
        return arrived

    read_descriptor, write_descriptor = os.pipe()
    with (
        os.fdopen(read_descriptor, "rb", buffering=0) as read_end,
        os.fdopen(write_descriptor, "wb", buffering=0) as write_end,
    ):
        os.set_blocking(read_descriptor, False)
        os.set_blocking(write_descriptor, False)
        previous_descriptor = signal.set_wakeup_fd(write_end.fileno(), warn_on_full_buffer=False)
        sys.unraisablehook = drop_interrupts
        try:
            yield arrived_signal
        finally:
            for number, handler in previous_handlers.items():
                if handler is not None:
                    signal.signal(number, handler)
            sys.unraisablehook = previous_hook
            signal.set_wakeup_fd(previous_descriptor)
            # Reads the pipe before it is closed.
            arrived_signal()


def _first_interrupt(numbers: bytes) -> int | None:
    """Returns the first of SIGNALS among the numbers of signals; None if there is none."""
    return next((number for number in numbers if number in SIGNALS), None)


def _is_main_thread() -> bool:
    return threading.current_thread() is threading.main_thread()
