"""Spark's errors become those of this package or of DuckDB."""

import duckdb
import pytest

from seg_pipeline.errors import DataError, MachineError
from seg_pipeline.warehouse.spark_errors import translate_spark_errors


@pytest.fixture
def session(both):
    return both.warehouse("spark").session()


def test_a_full_disk_is_one_clear_line(session):
    # The system refuses every byte that is written to this file, because the disk is full.
    full_disk = session.sparkContext._jvm.java.io.FileOutputStream("/dev/full")

    with pytest.raises(MachineError, match=r"^spark: [^\n]*No space left on device$"), translate_spark_errors():
        full_disk.write(1)


@pytest.mark.parametrize(
    "query",
    [
        "SELECT CAST(id + 9223372036854775807 AS BIGINT) FROM range(1, 3)",
        "SELECT CAST(id + 3000000000 AS INT) FROM range(3)",
        "SELECT CAST(id * 1000 AS DECIMAL(3, 2)) FROM range(1, 3)",
    ],
)
@pytest.mark.parametrize("how", ["read", "written"])
def test_a_value_that_does_not_fit_is_a_conversion_error(session, tmp_path, query, how):
    frame = session.sql(query)

    with pytest.raises(duckdb.ConversionException), translate_spark_errors():
        frame.collect() if how == "read" else frame.write.parquet(str(tmp_path / "written"))


def test_an_error_of_a_worker_is_raised_again_and_any_other_propagates(session):
    def fail(rows):
        raise DataError("line 1: no date")

    with pytest.raises(DataError, match=r"^line 1: no date"), translate_spark_errors():
        session.range(1).mapInArrow(fail, "id BIGINT").collect()
    with pytest.raises(Exception, match="OVERFLOW_IS_NO_COLUMN") as error, translate_spark_errors():
        session.sql("SELECT OVERFLOW_IS_NO_COLUMN").collect()
    assert not isinstance(error.value, duckdb.Error)
