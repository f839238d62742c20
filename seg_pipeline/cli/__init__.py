"""The seg-pipeline command: a module for each of its commands, beside options.py and screen.py, which they share.

Heavy imports wait until a command is known, so that --help answers at once.
"""

import argparse
import logging
import os
import sys
from collections.abc import Sequence

from seg_pipeline.cli import backfill, champions, completion, erase, explain, init, inspect, run
from seg_pipeline.cli.options import Help
from seg_pipeline.cli.screen import warn
from seg_pipeline.errors import SegPipelineError

# In the order in which a newcomer meets them.
COMMANDS = (init, inspect, run, explain, backfill, champions, erase, completion)

EPILOG = """\
your own orders, from a file to segments:
  seg-pipeline init orders.csv                     guess how it is read, write seg_pipeline.toml, run
  seg-pipeline run --config seg_pipeline.toml      every night after that: only what is new is read

the steps one by one:
  seg-pipeline inspect orders.csv                  the columns found, the dates, the first problems
  seg-pipeline run --source exports/ --as-of 2011-12-10 --set returns=drop --set models.k_max=8
  seg-pipeline explain 17850                       why this customer is in that segment

in scripts:
  seg-pipeline run --config seg_pipeline.toml --json | jq '.segments[].segment_name'

`seg-pipeline COMMAND --help` has more examples. What a command finds goes to stdout, warnings and errors to stderr;
with --json stdout is one JSON document, and all else goes to stderr. Nothing but text is written into a file or pipe.

exit status:
  0    done
  1    the data failed a critical check or could not be read
  2    wrong usage or settings
  3    the machine said no: warehouse busy, disk full, folder read-only
  130  interrupted; running again repairs what was begun
  141  whoever read the output closed it
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command; returns the exit status. Errors are one line on stderr."""
    top = parser()
    options = top.parse_args(arguments, argparse.Namespace(parser=top))
    logging.getLogger("seg_pipeline").handlers = [_Warnings()]
    try:
        status = int(options.command(options))
        sys.stdout.flush()
        return status
    except SegPipelineError as error:
        # A path may hold a line break; the message stays one line.
        print(f"seg-pipeline: {' '.join(str(error).splitlines())}", file=sys.stderr)
        return error.exit_status
    except KeyboardInterrupt:
        print("seg-pipeline: interrupted; running again repairs what was begun", file=sys.stderr)
        return 130
    except BrokenPipeError:
        # Whoever read the output has closed it, as head does; at exit Python would complain of it once more.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 141


def parser() -> argparse.ArgumentParser:
    """All commands with their options."""
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
    """What the package logs, as the line that a failed warning is."""

    def emit(self, record: logging.LogRecord) -> None:
        warn(record.getMessage())
