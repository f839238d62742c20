"""A connection to a warehouse with Spark: runs each statement in Spark or in the DuckDB file.

A statement runs in Spark if it reads a large table, or a temporary table that was made of one. All others run in the
DuckDB file. spark_tables.py stores the large tables.

PySpark is imported late, in this package and nowhere else.
"""

import re
import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import duckdb

from seg_pipeline.tables import Table
from seg_pipeline.warehouse.connection import Connection, Parameters, Part, Relation, Result, sql_name
from seg_pipeline.warehouse.spark_errors import translate_spark_errors
from seg_pipeline.warehouse.spark_tables import LargeTables, large_tables, schema_of

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa
    from pyspark.sql import DataFrame, SparkSession

    from seg_pipeline.warehouse.dialect import Cast, Statement

# The number of tasks that read deliveries. A task reads one file after another, so several tasks per core even out
# large and small files.
TASKS_PER_CORE = 4
MAX_TASKS = 256
# The folder of temporary tables.
TEMPORARY = "temporary"
# The columns that identify an order line. DuckDB numbers rows by itself; Spark does not.
LINE_ID = ("source_file", "source_row")
# Statements that Spark can run: queries, and updates of a temporary table.
SPARK_STATEMENT = re.compile(r"(\s|--[^\n]*\n)*(SELECT\b|WITH\b|FROM\b|UPDATE temporary_)", re.IGNORECASE)


class _SparkResult:
    """The rows of a query in Spark, with the methods of a DuckDB result."""

    def __init__(self, connection: duckdb.DuckDBPyConnection, frame: "DataFrame") -> None:
        self._connection = connection
        self._frame = frame

    def fetchall(self) -> list[tuple[Any, ...]]:
        with translate_spark_errors():
            return [tuple(row) for row in self._frame.collect()]

    def fetchone(self) -> tuple[Any, ...] | None:
        rows = self.fetchall()
        return rows[0] if rows else None

    def df(self) -> "pd.DataFrame":
        # By way of DuckDB, so that the columns have the types that DuckDB gives them.
        return self._connection.from_arrow(_collect(self._frame)).df()


class SparkConnection(Connection):
    """A connection whose large tables, and the temporary tables made of them, are in Spark.

    Attributes:
        large: The large tables.
    """

    engine = "spark"

    def __init__(self, duckdb: duckdb.DuckDBPyConnection, folder: Path, session: "Callable[[], SparkSession]") -> None:
        """Takes a connection to the DuckDB file, the folder of the large tables, and a function giving the session."""
        super().__init__(duckdb)
        self.large = LargeTables(duckdb, folder, session)
        self._folder = folder
        self._get_session = session
        # Temporary tables in Spark, each with its folder.
        self._temporary: dict[str, Path] = {}
        # Temporary tables in the DuckDB file of which Spark has a view.
        self._views: set[str] = set()

    @property
    def query_errors(self) -> tuple[type[Exception], ...]:  # type: ignore[override]  # PySpark is imported late
        from pyspark.errors import PySparkException

        return (*super().query_errors, PySparkException)

    @property
    def _session(self) -> "SparkSession":
        return self._get_session()

    def execute(self, statement: str | Path, parameters: Parameters | None = None) -> Result:
        text, values = self._resolve(statement, parameters)
        if not SPARK_STATEMENT.match(text) or not self._reads_spark(text):
            return super().execute(text, values)
        translated = _translate(text, values)
        frame = self._frame(translated, values)
        if translated.kind == "table":
            self._store_temporary(translated.target, frame)
        return _SparkResult(self.duckdb, frame)

    def insert(self, table: Table | Relation, query: str | Path, parameters: Parameters | None = None) -> int:
        text, values = self._resolve(query, parameters)
        name, reads_spark = sql_name(table), self._reads_spark(text)
        if self.large.folders(name) is not None:
            folders = (
                self.large.write(name, self._query(f"SELECT * FROM ({text})", values))
                if reads_spark
                else self.large.copy(name, text, values)
            )
            return self.large.append(name, folders)
        if not reads_spark:
            return super().insert(table, text, values)
        with self.registered(_collect(self._query(text, values))) as rows:
            return super().insert(table, f"SELECT * FROM {rows}")

    def delete(self, table: Table | str, where: str, parameters: Parameters | None = None) -> int:
        name = sql_name(table)
        folders = self.large.folders(name)
        if folders is None:
            return super().delete(table, where, parameters)
        if not folders:
            return 0
        where, values = self._resolve(where, parameters)
        # Only the folders that lose rows are written again.
        self._register_view(name, folders, file="_metadata.file_path")
        query = _translate(f"SELECT DISTINCT file_path FROM {name} WHERE {where}", values)
        files = [file for (file,) in self._frame(query, values, registered=[name]).collect()]
        touched = [
            folder for folder in folders if any(f"/{Path(folder).relative_to(self._folder)}/" in file for file in files)
        ]
        if not touched:
            return 0
        self._register_view(name, touched)
        remaining = _translate(f"SELECT * FROM {name} WHERE NOT coalesce({where}, false)", values)
        return self.large.replace(name, touched, self._frame(remaining, values, registered=[name]))

    def try_parallel_append(
        self,
        table: Table | Relation,
        list_parts: Callable[[], Sequence[Part]],
        read: "Callable[[Part], Iterable[pa.RecordBatch]]",
    ) -> bool:
        name = sql_name(table)
        if self.large.folders(name) is None:
            return False
        if parts := list_parts():

            def read_parts(batches: "Iterable[pa.RecordBatch]") -> "Iterator[pa.RecordBatch]":
                for batch in batches:
                    for number in batch.column(0).to_pylist():
                        yield from read(parts[number])

            numbers = self._session.range(0, len(parts), 1, min(len(parts), self._tasks()))
            lines = numbers.mapInArrow(read_parts, schema_of(self.large.columns(name)))
            self.large.append(name, self.large.write(name, lines))
        return True

    def close(self) -> None:
        """Drops the temporary tables."""
        for name in [*self._temporary, *self._views]:
            self._drop_view(name)

    def _create(self, table: Table, *, or_replace: bool) -> None:
        if table.large:
            self.large.create(table, or_replace=or_replace)
        else:
            super()._create(table, or_replace=or_replace)

    def _create_temporary(self, relation: Relation, query: str, values: Parameters | None) -> None:
        if self._reads_spark(query):
            self._store_temporary(relation.sql, self._query(query, values))
        else:
            super()._create_temporary(relation, query, values)

    def _drop_temporary(self, relation: Relation) -> None:
        if relation.sql not in self._temporary:
            super()._drop_temporary(relation)
        if relation.sql in {*self._temporary, *self._views}:
            self._drop_view(relation.sql)

    def _apply_in_batches(
        self,
        relation: Relation,
        function: "Callable[[pd.DataFrame], pd.DataFrame]",
        query: str,
        values: Parameters | None,
        columns: Mapping[str, str],
    ) -> None:
        if not self._reads_spark(query):
            super()._apply_in_batches(relation, function, query, values, columns)
            return

        def apply(batches: "Iterable[pd.DataFrame]") -> "Iterator[pd.DataFrame]":
            for batch in batches:
                yield function(batch)

        self._store_temporary(relation.sql, self._query(query, values).mapInPandas(apply, schema_of(columns.items())))

    def _row_id(self, table: Table) -> tuple[str, str]:
        # Spark does not number rows.
        [key] = table.key
        return key, next(column.type for column in table.columns if column.name == key)

    def _reads_spark(self, statement: str) -> bool:
        """Returns whether a statement names a large table, or a temporary table in Spark."""
        names = [*self._temporary, *large_tables(self.duckdb)]
        return any(re.search(rf"\b{re.escape(name)}\b", statement) for name in names)

    def _query(self, query: str, values: Parameters | None) -> "DataFrame":
        return self._frame(_translate(query, values), values)

    def _frame(self, statement: "Statement", values: Parameters | None, registered: Sequence[str] = ()) -> "DataFrame":
        """Returns the rows of a query, after registering the tables that it reads; `registered` ones are left alone."""
        self._register(statement, values, registered)
        return self._session.sql(statement.query, args=_spark_values(values))

    def _register(self, statement: "Statement", values: Parameters | None, registered: Sequence[str] = ()) -> None:
        """Registers with Spark the tables, functions and materialized queries that a statement needs."""
        for table in statement.tables:
            if table not in self._temporary and table not in registered:
                self._register_view(table, self.large.folders(table))
        for cast in statement.casts:
            if not self._session.catalog.functionExists(cast.name):
                self._session.udf.register(cast.name, _cast_function(cast))
        for name, query in statement.materialized:
            self._store_temporary(name, self._session.sql(query, args=_spark_values(values)))

    def _register_view(self, table: str, folders: Sequence[str] | None, file: str | None = None) -> None:
        """Registers a table with Spark, under its name without the schema.

        A table of the DuckDB file is small, and is copied to Spark as a whole. Order lines get the column `rowid`.

        Args:
            table: The name of the table.
            folders: The folders of a large table to read; None for a table of the DuckDB file.
            file: The expression for a further column, file_path.
        """
        from pyspark.sql import functions
        from pyspark.sql.pandas.types import from_arrow_schema

        if folders is None:
            rows = self.duckdb.sql(f"FROM {table}").to_arrow_table()
            # Spark Connect refuses an empty table of Arrow's without a schema of its own.
            types = None if rows.num_rows else from_arrow_schema(rows.schema, prefer_timestamp_ntz=True)
            frame = self._session.createDataFrame(rows if rows.num_rows else [], types)
            if "." not in table:
                self._views.add(table)
        else:
            frame = self.large.read(table, folders)
            names = frame.columns
            values = [functions.col(name) for name in names]
            if file:
                values.append(functions.col(file).alias("file_path"))
            if set(LINE_ID) <= set(names):
                values.append(functions.struct(*LINE_ID).alias("rowid"))
            frame = frame.select(*values)
        frame.createOrReplaceTempView(table.rsplit(".", maxsplit=1)[-1])

    def _tasks(self) -> int:
        """Returns the number of tasks for work that Spark cannot split; Spark Connect does not report the cores."""
        try:
            return TASKS_PER_CORE * self._session.sparkContext.defaultParallelism
        except (AttributeError, NotImplementedError):
            return MAX_TASKS

    def _store_temporary(self, name: str, frame: "DataFrame") -> None:
        """Creates a temporary table as files, so that Spark need not compute it again if a worker is lost."""
        folder = Path(self.large.new_folder(TEMPORARY))
        with translate_spark_errors():
            frame.write.parquet(str(folder))
        old_folder = self._temporary.get(name)
        self._session.read.schema(frame.schema).parquet(str(folder)).createOrReplaceTempView(name)
        self._temporary[name] = folder
        if old_folder is not None:
            shutil.rmtree(old_folder)

    def _drop_view(self, name: str) -> None:
        self._session.catalog.dropTempView(name)
        self._views.discard(name)
        if folder := self._temporary.pop(name, None):
            shutil.rmtree(folder)


def _collect(frame: "DataFrame") -> "pa.Table":
    with translate_spark_errors():
        return frame.toArrow()


def _translate(query: str, values: Parameters | None) -> "Statement":
    from seg_pipeline.warehouse.dialect import translate

    return translate(query, values or {})


def _spark_values(values: Parameters | None) -> dict[str, Any]:
    """Returns the values of parameters as Spark binds them."""
    from pyspark.sql import functions

    return {
        name: functions.array(*map(functions.lit, value)) if isinstance(value, list | tuple) else value
        for name, value in (values or {}).items()
    }


def _cast_function(cast: "Cast") -> Any:
    """Returns a function that workers call on a column of text, and that reads the text as DuckDB does."""
    from pyspark.sql.pandas.functions import arrow_udf

    expression, formats = cast.expression, list(cast.formats)

    connections: list[duckdb.DuckDBPyConnection] = []  # one per task

    def read(texts: "pa.Array") -> "pa.Array":
        import duckdb
        import pyarrow

        if not connections:
            connections.append(duckdb.connect(config={"threads": 1}))
        connections[0].register("lines", pyarrow.table({"value": texts}))
        query = f"SELECT {expression} AS read FROM lines"
        values = connections[0].sql(query, params={"formats": formats} if formats else None).to_arrow_table()
        return values.column("read").combine_chunks()

    read.__annotations__ = {}
    return arrow_udf(read, cast.type)
