"""Turns Spark's errors into those that DuckDB would have raised, or that a worker raised."""

import re
from collections.abc import Iterator
from contextlib import contextmanager

import duckdb

from seg_pipeline.errors import DataError, MachineError
from seg_pipeline.warehouse.duckdb_errors import first_line

# Spark's conditions for a value that does not fit its type. They are read from the text, because the condition of the
# exception itself may be that of a write that failed for this reason.
DOES_NOT_FIT = re.compile(r"\[\w*(OVERFLOW|OUT_OF_(SUPPORTED_)?RANGE)\b[\w.]*\]")


@contextmanager
def translate_spark_errors() -> Iterator[None]:
    """Turns a DataError of a worker, an overflow or a full disk into the error of this package or of DuckDB.

    Any other error propagates.

    Raises:
        DataError: A worker raised it.
        MachineError: The disk is full.
        duckdb.ConversionException: A value does not fit its type.
    """
    from py4j.protocol import Py4JJavaError
    from pyspark.errors import PySparkException

    try:
        yield
    # Without Spark Connect, PySpark does not convert every exception of Java.
    except (PySparkException, Py4JJavaError) as error:
        text = str(error)
        if worker_error := re.search(r"seg_pipeline\.errors\.DataError: ([^\n]*)", text):
            raise DataError(worker_error[1]) from None
        if DOES_NOT_FIT.search(text):
            raise duckdb.ConversionException(first_line(error)) from error
        if full_disk := re.search(r"[^\n]*No space left[^\n]*", text):
            raise MachineError(f"spark: {full_disk[0].strip(': ')}") from error
        raise
