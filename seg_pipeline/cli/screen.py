"""What a command shows: progress and results for people, or one JSON document for scripts."""

import argparse
import datetime
import json
import math
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.console import Console

    from seg_pipeline.usecases.execution import Progress

LOG_WIDTH = 140


@dataclass(frozen=True, slots=True)
class Screen:
    """The terminal, a log file or a pipe; in the latter two nothing but text is written.

    Attributes:
        console: Takes what is for people: stdout, with --json stderr, with --quiet nothing.
        as_json: Whether stdout gets one JSON document instead.
        verbose: Whether every step is told as it ends.
        warnings: What was warned of so far.
    """

    console: "Console"
    as_json: bool
    verbose: bool
    warnings: list[str] = field(default_factory=list)

    @classmethod
    def of(cls, options: argparse.Namespace) -> "Screen":
        """As --json, --quiet and --verbose say, as far as the command has them."""
        from rich.console import Console

        as_json = getattr(options, "json", False)
        stream = sys.stderr if as_json else sys.stdout
        # In a pipe or a log file the tables keep their width instead of being cut.
        width = None if stream.isatty() else LOG_WIDTH
        console = Console(highlight=False, stderr=as_json, width=width, quiet=getattr(options, "quiet", False))
        return cls(console, as_json, getattr(options, "verbose", False))

    def say(self, line: str = "") -> None:
        """A line for people, as it is: no markup, no line breaks."""
        self.console.print(line, soft_wrap=True, markup=False)

    def result(self, document: Callable[[], Mapping[str, object]], show: Callable[[], None]) -> None:
        """What the command found: the document on stdout with --json, else as `show` tells it to people."""
        if self.as_json:
            text = json.dumps(_without_nan(document()), indent=2, ensure_ascii=False, default=str, allow_nan=False)
            print(text)
        else:
            show()

    @contextmanager
    def progress(self, doing: str) -> "Iterator[Progress]":
        """The progress of a run: what has ended, with its time, and on a terminal the step that goes on."""
        with self.console.status(doing) as status:
            from seg_pipeline.usecases.execution import Progress

            def stepped(step: str, seconds: float) -> None:
                if self.verbose:
                    self.say(f"{datetime.datetime.now():%H:%M:%S}  {_plain(step):<52} {seconds:6.1f} s")

            def warned(line: str) -> None:
                self.warnings.append(line)
                warn(line)

            yield Progress(
                started=lambda step: status.update(_plain(step)),
                stepped=stepped,
                finished=lambda what, seconds: self.say(timed(what, seconds)),
                warned=warned,
            )

    def rows(self, headings: Sequence[str], rows: Sequence[Sequence[object]], title: str | None = None) -> None:
        """A table without the columns in which nothing stands; numbers to the right."""
        from rich.table import Table
        from rich.text import Text

        table = Table(title=Text(title) if title else None, title_justify="left")
        kept = [place for place in range(len(headings)) if any(row[place] is not None for row in rows)]
        for place in kept:
            numeric = all(isinstance(row[place], int | float | None) for row in rows)
            table.add_column(headings[place], justify="right" if numeric else "left")
        for row in rows:
            table.add_row(*(Text(shown(row[place])) for place in kept))
        if rows:
            self.console.print(table)


def warn(line: str) -> None:
    """A warning, on stderr."""
    print(f"warning: {line}", file=sys.stderr)


def timed(what: str, seconds: float) -> str:
    """What took how long."""
    return f"{what:<10} {seconds:6.1f} s"


def shown(value: object) -> str:
    """A value in a table."""
    if value is None:
        return "-"
    if not isinstance(value, float):
        return str(value)
    return f"{value:,.2f}".removesuffix(".00") if abs(value) >= 100 else f"{value:.4g}"


def _plain(step: str) -> str:
    """The name of a step as its table is named."""
    return step.replace("__", ".")


def _without_nan(value: object) -> object:
    """The same with null for what is no number, which JSON has no word for."""
    if isinstance(value, Mapping):
        return {key: _without_nan(one) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [_without_nan(one) for one in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
