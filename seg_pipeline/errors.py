"""Errors that a user can fix: each has a one-line message and an exit status.

Any other exception is a bug in this package and keeps its traceback.
"""

import difflib
from collections.abc import Iterable


class SegPipelineError(Exception):
    """An error whose message is one line for the person who runs the pipeline."""

    exit_status = 1

    def __str__(self) -> str:
        # The name of a file may hold line breaks.
        return " ".join(super().__str__().splitlines())


class DataError(SegPipelineError):
    """The orders could not be read, or failed a critical check."""


class UsageError(SegPipelineError):
    """Wrong usage or settings: a missing path, an unknown key, an ambiguous date format."""

    exit_status = 2


class MachineError(SegPipelineError):
    """The machine refused: the warehouse is busy, the disk is full, or the folder is read-only."""

    exit_status = 3


def nearest(word: str, candidates: Iterable[str], *, limit: int = 3, cutoff: float = 0.6) -> list[str]:
    """Returns the candidates most similar to a word, the most similar first, case ignored.

    Args:
        word: The word to compare with.
        candidates: The words to choose from.
        limit: How many to return at most.
        cutoff: The smallest similarity, from 0 to 1 (difflib's ratio).
    """
    by_folded = {name.casefold(): name for name in candidates}
    matches = difflib.get_close_matches(word.casefold(), by_folded, n=limit, cutoff=cutoff)
    return [by_folded[match] for match in matches]


def did_you_mean(word: str, candidates: Iterable[str]) -> str:
    """Returns `; did you mean X?` for the end of an error message; empty if no candidate is similar."""
    matches = nearest(word, candidates, limit=1, cutoff=0.5)
    return f"; did you mean {matches[0]}?" if matches else ""
