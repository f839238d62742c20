"""Shows the progress and the result of a command to people, or prints one JSON document for scripts."""

import argparse
import datetime
import json
import math
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from seg_pipeline.preloading import without_collections

if TYPE_CHECKING:
    from rich.console import Console

    from seg_pipeline.usecases.execution import Progress

LOG_WIDTH = 140


@dataclass(frozen=True, slots=True)
class Screen:
    """Where a command shows its output: a terminal, or a file or pipe, which get plain text without colours.

    Attributes:
        console: Prints what is for people: on stdout, on stderr with --json, and nowhere with --quiet.
        as_json: Whether to print the result as one JSON document on stdout.
        verbose: Whether to show every step as it ends.
        warnings: The warnings so far.
    """

    console: "Console"
    as_json: bool
    verbose: bool
    warnings: list[str] = field(default_factory=list)

    @classmethod
    def from_options(cls, options: argparse.Namespace) -> "Screen":
        """Returns the screen that --json, --quiet and --verbose ask for; a command need not have all of them."""
        from rich.console import Console

        as_json = getattr(options, "json", False)
        stream = sys.stderr if as_json else sys.stdout
        # In a pipe or a log file there is no width that tables would have to fit into.
        width = None if stream.isatty() else LOG_WIDTH
        console = Console(highlight=False, stderr=as_json, width=width, quiet=getattr(options, "quiet", False))
        return cls(console, as_json, getattr(options, "verbose", False))

    def say(self, line: str = "") -> None:
        """Prints a line for people, without interpreting markup or breaking the line."""
        self.console.print(line, soft_wrap=True, markup=False)

    def show_or_print_json(self, show: Callable[[], None], document: Callable[[], Mapping[str, object]]) -> None:
        """Shows the result of the command to people, or prints it as one JSON document with --json.

        Args:
            show: Shows the result; called without --json.
            document: Returns the JSON document; called with --json.
        """
        if self.as_json:
            text = json.dumps(_without_nan(document()), indent=2, ensure_ascii=False, default=str, allow_nan=False)
            print(text)
        else:
            show()

    @contextmanager
    def progress(self, status_line: str) -> "Iterator[Progress]":
        """Yields a progress that prints what has ended with its time, and on a terminal the current step.

        Args:
            status_line: Shown until the first step begins.
        """
        with self.console.status(status_line) as status:
            with without_collections():
                from seg_pipeline.usecases.execution import Progress

            def show_step(step: str, seconds: float) -> None:
                if self.verbose:
                    self.say(f"{datetime.datetime.now():%H:%M:%S}  {_table_name(step):<52} {seconds:6.1f} s")

            def show_warning(line: str) -> None:
                self.warnings.append(line)
                warn(line)

            yield Progress(
                on_step_start=lambda step: status.update(_table_name(step)),
                on_step_end=show_step,
                on_part_end=lambda part, seconds: self.say(timed(part, seconds)),
                on_warning=show_warning,
            )

    def rows(self, headings: Sequence[str], rows: Sequence[Sequence[object]], title: str | None = None) -> None:
        """Prints a table without its empty columns; numbers are aligned to the right.

        Args:
            headings: The headings of the columns.
            rows: The rows; nothing is printed if there are none.
            title: The title of the table.
        """
        from rich.table import Table
        from rich.text import Text

        table = Table(title=Text(title) if title else None, title_justify="left")
        filled = [column for column in range(len(headings)) if any(row[column] is not None for row in rows)]
        for column in filled:
            numeric = all(isinstance(row[column], int | float | None) for row in rows)
            table.add_column(headings[column], justify="right" if numeric else "left")
        for row in rows:
            table.add_row(*(Text(format_value(row[column])) for column in filled))
        if rows:
            self.console.print(table)


def warn(line: str) -> None:
    """Prints a warning on stderr."""
    print(f"warning: {line}", file=sys.stderr)


def timed(part: str, seconds: float) -> str:
    """Returns a line that says how long a part of a run took."""
    return f"{part:<10} {seconds:6.1f} s"


def counted(count: int, noun: str) -> str:
    """Returns a count with its noun, such as `1 row` and `1,200 rows`."""
    return f"{count:,} {noun}" if count == 1 else f"{count:,} {noun}s"


def format_value(value: object) -> str:
    """Returns the text of a value in a table."""
    if value is None:
        return "-"
    if not isinstance(value, float):
        return str(value)
    return f"{value:,.2f}".removesuffix(".00") if abs(value) >= 100 else f"{value:.4g}"


def _table_name(step: str) -> str:
    """Returns the name of the table that a step builds."""
    return step.replace("__", ".")


def _without_nan(value: object) -> object:
    """Returns the value with None for NaN and infinity, which JSON does not have."""
    if isinstance(value, Mapping):
        return {key: _without_nan(entry) for key, entry in value.items()}
    if isinstance(value, list | tuple):
        return [_without_nan(entry) for entry in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
