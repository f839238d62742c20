"""A database in memory, for what is read beside the warehouse.

A new database costs DuckDB some 12 ms, far more than most such reads take, so that each process has one.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache

import duckdb


@contextmanager
def scratch() -> Iterator[duckdb.DuckDBPyConnection]:
    """Yields a connection to the database in memory; what it registers and its temporary tables go with it."""
    with _database().cursor() as connection:
        yield connection


@cache
def half_of_the_memory() -> str:
    """Returns half of the machine's memory, or of what its container may use, as DuckDB writes a memory limit."""
    with scratch() as connection:
        [(limit,)] = connection.execute("SELECT current_setting('memory_limit')").fetchall()
    size, unit = limit.split()
    # DuckDB's own default is four fifths of it.
    return f"{float(size) / 0.8 / 2:.1f} {unit}"


@cache
def _database() -> duckdb.DuckDBPyConnection:
    # What a file held before it was written again must not be remembered.
    return duckdb.connect(config={"enable_external_file_cache": False})
