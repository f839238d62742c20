"""Turns Spark's errors into those that DuckDB would have raised, or that a worker raised."""

import re
from collections.abc import Iterator
from contextlib import contextmanager

import duckdb

from seg_pipeline.errors import DataError, MachineError
from seg_pipeline.warehouse.duckdb_errors import first_line


@contextmanager
def translate_spark_errors() -> Iterator[None]:
    """Turns a DataError of a worker, an overflow or a full disk into the error of this package or of DuckDB.

    Any other error propagates.
    """
    from pyspark.errors import PySparkException

    try:
        yield
    except PySparkException as error:
        text = str(error)
        if worker_error := re.search(r"seg_pipeline\.errors\.DataError: ([^\n]*)", text):
            raise DataError(worker_error[1]) from None
        if "OVERFLOW" in text or "OUT_OF_RANGE" in text:
            raise duckdb.ConversionException(first_line(error)) from error
        if "No space left" in text:
            raise MachineError(f"spark: {first_line(error)}") from error
        raise
