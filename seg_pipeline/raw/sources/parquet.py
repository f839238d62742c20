"""Parquet files. Values of any type become text."""

import glob

import duckdb

from seg_pipeline.errors import DataError
from seg_pipeline.raw.sources.files import FileKind, Part, files_parameter, message_of, values_of
from seg_pipeline.raw.sources.places import place_of
from seg_pipeline.raw.sources.source import Delivery, Shape
from seg_pipeline.settings import SourceSettings
from seg_pipeline.warehouse import Connection, quoted, scratch

# Bytes are read as text even if the file does not declare them as text.
OPTIONS = "binary_as_string = true"
ROW_NUMBER = "file_row_number"
# How many rows of a file one Spark worker reads.
LINES_IN_A_PART = 1_000_000


class Parquet(FileKind):
    """Parquet files. Files with different types are read separately, or all would be cast to the types of the first."""

    endings = (".parquet", ".pq")

    def shape(self, name: str, source: SourceSettings) -> Shape:
        try:
            with scratch() as connection:
                place_of(name).register_with(connection)
                columns = connection.execute(
                    f"DESCRIBE SELECT * FROM read_parquet($file, {OPTIONS})", {"file": glob.escape(name)}
                ).fetchall()
        except duckdb.Error as error:
            raise DataError(f"{name}: not a Parquet file, or a damaged one: {message_of(error)}") from None
        if ROW_NUMBER in (column[0] for column in columns):
            raise DataError(f"{name}: column {ROW_NUMBER!r} has the name under which DuckDB numbers rows; rename it")
        return Shape(tuple(column[0] for column in columns), tuple(column[1] for column in columns))

    def query(self, delivery: Delivery) -> str:
        values = values_of(delivery, lambda name: f"nullif(CAST({quoted(name)} AS VARCHAR), '')")
        return (
            f"SELECT {values}, source_file, {ROW_NUMBER} + 1 AS source_row"
            f" FROM read_parquet($files, filename = 'source_file', {ROW_NUMBER} = true, {OPTIONS})"
        )

    def parts(self, connection: Connection, delivery: Delivery) -> list[Part]:
        with self.translate_errors({file: file for file in delivery.files}):
            query = "SELECT file_name, num_rows FROM parquet_file_metadata($files)"
            rows = dict(connection.execute(query, files_parameter(delivery.files)).fetchall())
        return [
            self.part(delivery, file, f"{ROW_NUMBER} >= {first} AND {ROW_NUMBER} < {first + LINES_IN_A_PART}")
            for file in delivery.files
            for first in range(0, rows[file], LINES_IN_A_PART)
        ]

    def message(self, file: str, error: duckdb.Error) -> str:
        return super().message(f"{file}: damaged", error)
