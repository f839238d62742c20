"""The command line: parses arguments, calls a use case, and prints its result.

Each command is a module; options.py and screen.py hold what they share. Heavy imports wait until a command is known, so
that --help answers at once.
"""

import argparse
import logging
import os
import signal
import sys
from collections.abc import Sequence

from seg_pipeline import interrupts
from seg_pipeline.cli import accept, backfill, champions, completion, erase, explain, init, inspect, retract, run
from seg_pipeline.cli.options import Help
from seg_pipeline.cli.screen import warn
from seg_pipeline.errors import SegPipelineError

# In the order in which a new user needs them.
COMMANDS = (init, inspect, run, explain, backfill, champions, accept, retract, erase, completion)

# Added to a signal's number, as shells do.
SIGNALLED = 128
REPAIRED = "the next run repairs what was unfinished"

EPILOG = """\
your own orders, from a file to segments:
  seg-pipeline init orders.csv                     find out how to read it, write seg_pipeline.toml, run
  seg-pipeline run --config seg_pipeline.toml      every night after that: reads only what is new

the steps one by one:
  seg-pipeline inspect orders.csv                  show its columns, its dates and the first problems
  seg-pipeline run --source exports/ --as-of 2011-12-10 --set returns=drop --set models.k_max=8
  seg-pipeline explain 17850                       show why this customer is in a segment

in scripts:
  seg-pipeline run --config seg_pipeline.toml --json | jq '.segments[].segment_name'

`seg-pipeline COMMAND --help` has more examples. Results go to stdout, warnings and errors to stderr. With --json,
stdout is one JSON document and everything else goes to stderr. A file or a pipe gets plain text without colours.

exit status:
  0    done
  1    the data failed a critical check or could not be read
  2    wrong usage or settings
  3    the machine said no: warehouse busy, disk full, folder read-only
  130  interrupted (Ctrl-C); the next run repairs what was unfinished
  141  the reader of the output closed it
  143  the same as 130, for SIGTERM
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs a command and returns its exit status; an error is one line on stderr.

    Args:
        arguments: The words of the command line; those of the process if None.

    Raises:
        SystemExit: The command line asks for help or is wrong.
    """
    options = argparse.Namespace()
    try:
        if arguments is None:
            interrupts.raise_interrupts()
        top = parser()
        options, unknown = top.parse_known_args(arguments, argparse.Namespace(top=top))
        if unknown:
            # parse_args would show the usage of seg-pipeline instead of the command's.
            options.parser.error(f"unrecognized arguments: {' '.join(unknown)}")
        logging.getLogger("seg_pipeline").handlers = [_Warnings()]
        status = int(options.command(options))
        sys.stdout.flush()
        return status
    except SegPipelineError as error:
        print(f"seg-pipeline: {error}", file=sys.stderr)
        return error.exit_status
    except KeyboardInterrupt as interrupt:
        return _interrupted(
            options, interrupt.number if isinstance(interrupt, interrupts.Interrupted) else signal.SIGINT
        )
    except BrokenPipeError:
        # The reader of the output has closed it, as head does. At exit, Python would report the closed pipe again.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 141
    except Exception as error:
        # A library that is interrupted while it is imported may raise an error of its own instead. If it was another
        # error that came at the same moment, the line shows it.
        if number := interrupts.arrived_interrupt():
            return _interrupted(options, number, error)
        raise
    finally:
        # The process ends with this status, whatever arrives while Python cleans up.
        interrupts.ignore_interrupts()


def _interrupted(options: argparse.Namespace, number: int, error: Exception | None = None) -> int:
    """Prints that a signal ended the command, and any error that came with it, and returns its exit status."""
    # A group of processes is often sent a signal twice.
    interrupts.ignore_interrupts()
    came_with = f" ({type(error).__name__}: {' '.join(str(error).split())})" if error else ""
    print(f"seg-pipeline: interrupted; {getattr(options, 'if_interrupted', REPAIRED)}{came_with}", file=sys.stderr)
    return SIGNALLED + number


def parser() -> argparse.ArgumentParser:
    """Returns the parser of all commands with their options."""
    top = argparse.ArgumentParser(
        prog="seg-pipeline",
        description="Customer segments from raw order lines.",
        epilog=EPILOG,
        formatter_class=Help,
    )
    commands = top.add_subparsers(required=True, metavar="COMMAND", title="commands")
    for command in COMMANDS:
        command.add(commands)
    return top


class _Warnings(logging.Handler):
    """Prints what the package logs as warnings, like checks that failed as warnings."""

    def emit(self, record: logging.LogRecord) -> None:
        warn(record.getMessage())
