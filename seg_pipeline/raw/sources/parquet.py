"""Parquet files. Values of any type become text.

A column that a file has is never overridden by folders named COLUMN=VALUE. A column that only the folders have is read
from them, as text.
"""

import glob
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import cast

import duckdb

from seg_pipeline.errors import DataError
from seg_pipeline.raw.sources.files import FileKind, Part, files_parameter, message_of, values_of
from seg_pipeline.raw.sources.places import place_of
from seg_pipeline.raw.sources.source import Delivery, Shape
from seg_pipeline.settings import SourceSettings
from seg_pipeline.warehouse import Connection, literal, quoted, scratch

# Bytes are read as text even if the file does not declare them as text. DuckDB would let folders override columns.
OPTIONS = "binary_as_string = true, hive_partitioning = false"
ROW_NUMBER = "file_row_number"
FILE_NAME = "source_file"
FOLDER_COLUMN = re.compile(r"([^=]+)=(.*)")
# The value of a folder that Hive and Spark write for NULL.
NO_VALUE = "__HIVE_DEFAULT_PARTITION__"
# How many rows of a file one Spark worker reads.
LINES_IN_A_PART = 1_000_000


@dataclass(frozen=True, slots=True)
class ParquetShape(Shape):
    """How a Parquet file is read.

    Attributes:
        width: How many columns of the header are in the file; the others are in the names of its folders.
    """

    width: int = 0


class Parquet(FileKind):
    """Parquet files. Files with different types are read separately, or all would be cast to the types of the first."""

    endings = (".parquet", ".pq")

    def shape(self, name: str, source: SourceSettings) -> ParquetShape:
        file = {"file": glob.escape(name)}
        try:
            with scratch() as connection:
                place_of(name).register_with(connection)
                described = connection.execute(f"DESCRIBE SELECT * FROM read_parquet($file, {OPTIONS})", file)
                types = [column[1] for column in described.fetchall()]
                schema = connection.execute("SELECT name, num_children FROM parquet_schema($file)", file).fetchall()
        except duckdb.Error as error:
            raise DataError(f"{name}: not a Parquet file, or a damaged one: {message_of(error)}") from None
        # DuckDB gives the second of two columns of one name another name, under which nobody delivered it.
        header = _top_names(schema)
        if ROW_NUMBER in map(str.lower, header):
            raise DataError(f"{name}: column {ROW_NUMBER!r} has the name under which DuckDB numbers rows; rename it")
        folders = _folder_columns(name, header)
        return ParquetShape((*header, *folders), (*types, *["VARCHAR"] * len(folders)), len(header))

    def query(self, delivery: Delivery) -> str:
        shape = cast(ParquetShape, delivery.shape)
        in_file = shape.header[: shape.width]
        # The name that DuckDB is given for the file's name must not be that of a column.
        file_name = FILE_NAME
        while file_name in map(str.lower, in_file):
            file_name += "_"

        def value(name: str) -> str:
            if name in in_file:
                return f"nullif(CAST(c{in_file.index(name)} AS VARCHAR), '')"
            folder = literal(f"(?s)^(?:.*/)?{re.escape(name)}=([^/]*)/")
            text = f"url_decode(regexp_extract({FILE_NAME}, {folder}, 1))"
            return f"nullif(nullif({text}, {literal(NO_VALUE)}), '')"

        # Columns are read by position, so names may be repeated.
        columns = ", ".join([*(f"c{place}" for place in range(shape.width)), ROW_NUMBER, quoted(FILE_NAME)])
        return (
            f"SELECT {values_of(delivery, value)}, {FILE_NAME}, {ROW_NUMBER} + 1 AS source_row"
            f" FROM read_parquet($files, filename = {literal(file_name)}, {ROW_NUMBER} = true, {OPTIONS})"
            f" AS lines({columns})"
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


def _top_names(schema: Iterable[tuple[str, int | None]]) -> tuple[str, ...]:
    """Returns the columns of a file; the schema lists each element before its children, beginning with the root."""
    elements = iter(schema)

    def skip_children(count: int | None) -> None:
        for _ in range(count or 0):
            skip_children(next(elements)[1])

    def columns(count: int | None) -> Iterator[str]:
        for _ in range(count or 0):
            name, children = next(elements)
            skip_children(children)
            yield name

    return tuple(columns(next(elements)[1]))


def _folder_columns(name: str, header: Sequence[str]) -> list[str]:
    """Returns the columns that only the folders of a file have, from the first folder to the last."""
    taken = {column.lower() for column in header}
    columns = [match[1] for folder in name.split("/")[:-1] if (match := FOLDER_COLUMN.fullmatch(folder))]
    return [column for column in dict.fromkeys(columns) if column.lower() not in taken]
