"""Ctrl-C and SIGTERM are neither lost nor raised in the middle of work that must be finished."""

import os
import signal
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress

import duckdb
import pytest

from seg_pipeline.cli import main
from seg_pipeline.interrupts import (
    Interrupted,
    arrived_interrupt,
    defer_interrupts,
    ignore_interrupts,
    raise_interrupts,
    reraise_interrupt,
    watch_interrupts,
)


def press_ctrl_c():
    signal.raise_signal(signal.SIGINT)


class Interrupting:
    """An object whose clean-up receives the signal; Python drops exceptions that are raised there."""

    def __del__(self):
        press_ctrl_c()


@pytest.fixture
def raising():
    """Makes both signals raise Interrupted, until the end of the test."""
    handlers = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    raise_interrupts()
    yield
    for number, handler in handlers.items():
        signal.signal(number, handler)


both_signals = pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])


def open_descriptors():
    return set(os.listdir("/proc/self/fd"))


def in_another_thread(function):
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(function).result()


def test_an_interrupt_is_raised_at_the_end_of_the_block():
    steps = []

    def work():
        with defer_interrupts():
            press_ctrl_c()
            steps.append("finished")

    with pytest.raises(KeyboardInterrupt):
        work()
    assert steps == ["finished"]
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_an_interrupt_is_raised_even_if_the_block_raises():
    def work():
        with defer_interrupts():
            press_ctrl_c()
            raise ValueError

    with pytest.raises(KeyboardInterrupt) as interrupt:
        work()
    assert isinstance(interrupt.value.__context__, ValueError)


def test_an_error_of_the_block_passes_without_an_interrupt():
    with pytest.raises(ValueError, match="of the block"), defer_interrupts():
        raise ValueError("of the block")


def test_the_default_action_of_the_system_ends_the_process_after_the_block():
    script = (
        "import signal; from seg_pipeline.interrupts import defer_interrupts\n"
        "signal.signal(signal.SIGINT, signal.SIG_DFL)\n"
        "with defer_interrupts(): signal.raise_signal(signal.SIGINT); print('finished', flush=True)\n"
        "print('not reached')"
    )
    ended = subprocess.run([sys.executable, "-c", script], check=False, stdout=subprocess.PIPE, text=True)
    assert (ended.stdout, ended.returncode) == ("finished\n", -signal.SIGINT)


def test_a_handler_that_was_not_installed_from_python_stays(monkeypatch):
    # Python reports None for such a handler, and cannot install it again.
    monkeypatch.setattr(signal, "getsignal", lambda number: None)

    def work():
        with defer_interrupts():
            press_ctrl_c()
            pytest.fail("the interrupt was deferred")

    with pytest.raises(KeyboardInterrupt):
        work()


def test_deferring_does_nothing_outside_the_main_thread():
    def work():
        with defer_interrupts():
            return signal.getsignal(signal.SIGINT)

    assert in_another_thread(work) is signal.default_int_handler


@both_signals
def test_a_signal_is_raised_at_the_end_of_the_block_with_its_number(raising, number):
    steps = []

    def work():
        with defer_interrupts():
            signal.raise_signal(number)
            steps.append("finished")

    with pytest.raises(Interrupted) as interrupt:
        work()
    assert (steps, interrupt.value.number) == (["finished"], number)


@both_signals
def test_a_signal_is_seen_though_python_drops_the_exception_of_its_handler(raising, number, capsys):
    class Dropping:
        def __del__(self):
            signal.raise_signal(number)

    with watch_interrupts() as arrived_signal:
        assert arrived_signal() is None
        Dropping()
        assert arrived_signal() == number
    assert arrived_signal() == number
    assert capsys.readouterr().err == ""


def test_dagsters_change_of_the_handlers_ends_with_the_block(raising):
    # A shell without job control starts background processes with Ctrl-C ignored.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    before = signal.getsignal(signal.SIGTERM)
    with watch_interrupts():
        signal.signal(signal.SIGTERM, signal.getsignal(signal.SIGINT))
    assert signal.getsignal(signal.SIGTERM) is before


@both_signals
def test_a_signal_is_ignored_after_the_work_is_done(raising, number):
    ignore_interrupts()
    signal.raise_signal(number)


def test_a_process_that_was_started_with_ctrl_c_ignored_goes_on_ignoring_it(raising):
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    raise_interrupts()
    press_ctrl_c()


def test_handlers_that_raise_no_interrupted_stay():
    ignore_interrupts()
    with pytest.raises(KeyboardInterrupt):
        press_ctrl_c()


def test_an_interrupt_is_seen_though_python_drops_the_exception_of_its_handler(capsys):
    with watch_interrupts() as arrived_signal:
        assert not arrived_signal()
        Interrupting()
        assert arrived_signal()
        assert arrived_signal()
    assert capsys.readouterr().err == ""


def test_the_last_value_stays_after_the_block():
    with watch_interrupts() as arrived_signal:
        assert not arrived_signal()
    assert not arrived_signal()
    with watch_interrupts() as arrived_signal:
        Interrupting()
    assert arrived_signal()


def test_watching_leaves_no_descriptor_open():
    before = open_descriptors()
    with watch_interrupts():
        assert len(open_descriptors()) == len(before) + 2
    assert open_descriptors() == before


def test_watching_outside_the_main_thread_never_reports_an_interrupt():
    def work():
        before = open_descriptors()
        with watch_interrupts() as arrived_signal:
            return arrived_signal(), open_descriptors() - before

    assert in_another_thread(work) == (None, set())


def test_an_interrupt_after_the_connection_was_closed_is_raised_and_nothing_else(capsys):
    def work():
        connection = duckdb.connect()
        with reraise_interrupt(connection):
            connection.close()
            press_ctrl_c()

    with pytest.raises(KeyboardInterrupt):
        work()
    assert capsys.readouterr().err == ""


@both_signals
def test_an_interrupt_that_was_swallowed_before_the_run_begins_is_known(raising, number):
    assert arrived_interrupt() is None
    with suppress(KeyboardInterrupt):  # as a library does that is interrupted while it is imported
        signal.raise_signal(number)
    assert arrived_interrupt() == number
    ignore_interrupts()
    assert arrived_interrupt() is None


def test_a_block_that_outlives_the_one_around_it_ends_without_an_error(raising):
    with duckdb.connect() as connection:
        outer, inner = watch_interrupts(), reraise_interrupt(connection)
        outer.__enter__()
        inner.__enter__()
        outer.__exit__(None, None, None)
        inner.__exit__(None, None, None)
    assert signal.set_wakeup_fd(-1) == -1


@both_signals
def test_an_error_that_a_library_makes_of_an_interrupt_ends_a_command_as_interrupted(
    raising, number, monkeypatch, capsys, tmp_path
):
    def swallow(*_):
        with suppress(KeyboardInterrupt):
            signal.raise_signal(number)
        raise duckdb.InvalidInputException("'pandas' is required for this operation but it was not installed")

    monkeypatch.setattr("seg_pipeline.usecases.inspect.inspect", swallow)

    assert main(["inspect", str(tmp_path)]) == 128 + number
    line = capsys.readouterr().err
    assert line.startswith("seg-pipeline: interrupted; ")
    # Should it have been a fault of its own, it is not lost.
    assert line.endswith(" (InvalidInputException: 'pandas' is required for this operation but it was not installed)\n")
