"""What can go wrong in a way that a person can mend: one clear line and an exit status each.

Anything else that is raised is a fault of ours and keeps its traceback.
"""

import difflib
from collections.abc import Iterable


class SegPipelineError(Exception):
    """An error whose message is one line for the person who runs the pipeline."""

    exit_status = 1


class DataError(SegPipelineError):
    """The orders could not be read, or failed a critical check."""


class UsageError(SegPipelineError):
    """Wrong usage or settings: a missing path, an unknown key, an ambiguous date format."""

    exit_status = 2


class MachineError(SegPipelineError):
    """The machine said no: the warehouse is busy, the disk full, the folder read-only."""

    exit_status = 3


def nearest(word: str, known: Iterable[str], *, limit: int = 3, likeness: float = 0.6) -> list[str]:
    """The known words at least that alike (0 to 1) to `word`, the best first, case ignored."""
    by_folded = {name.casefold(): name for name in known}
    matches = difflib.get_close_matches(word.casefold(), by_folded, n=limit, cutoff=likeness)
    return [by_folded[match] for match in matches]


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """`; did you mean X?` for an error line, or nothing where no known word is close."""
    matches = nearest(word, known, limit=1, likeness=0.5)
    return f"; did you mean {matches[0]}?" if matches else ""
