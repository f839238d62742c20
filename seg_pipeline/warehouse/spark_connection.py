"""A connection to a warehouse whose large tables are Spark's: Parquet in numbered folders, with a view in the file.

A statement runs in Spark if what it reads is Spark's, a large table or a temporary one made of such; all others run in
the DuckDB file. A change of a large table writes new folders and names them in a new view, within the transaction of
the caller; so a run that is killed leaves the old table or the new one.

PySpark is imported late, in this package and nowhere else.
"""

import json
import re
import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import duckdb

from seg_pipeline.errors import DataError, MachineError
from seg_pipeline.tables import Table
from seg_pipeline.warehouse import delta
from seg_pipeline.warehouse.connection import (
    LARGE_TABLE,
    Connection,
    EngineRows,
    Parameters,
    Part,
    Relation,
    Result,
    bound,
    literal,
    name_of,
    quoted,
)

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa
    from pyspark.sql import DataFrame, SparkSession

    from seg_pipeline.warehouse.dialect import Cast, Statement

# Tasks that read deliveries, each one file after the other: as many even out what is larger and smaller.
TASKS_PER_CORE = 4
MOST_TASKS = 256
TEMPORARY = "temporary"
NUMBER = re.compile("[0-9]{6,}")
# As many folders are one table before a change writes it as one: reading opens every file.
MOST_FOLDERS = 64
# The place of a line, which DuckDB counts by itself.
PLACE = ("source_file", "source_row")
# Statements that Spark can run: queries, and updates of a temporary table.
FOR_SPARK = re.compile(r"(\s|--[^\n]*\n)*(SELECT\b|WITH\b|FROM\b|UPDATE temporary_)", re.IGNORECASE)
# The name of the rows under check while a rule over them is translated.
BATCH = "rows_to_check"


class _Result:
    """The rows of a query, read as those of a DuckDB result are."""

    def __init__(self, connection: duckdb.DuckDBPyConnection, frame: "DataFrame") -> None:
        self._connection = connection
        self._frame = frame

    def fetchall(self) -> list[tuple[Any, ...]]:
        with _translated_errors():
            return [tuple(row) for row in self._frame.collect()]

    def fetchone(self) -> tuple[Any, ...] | None:
        rows = self.fetchall()
        return rows[0] if rows else None

    def df(self) -> "pd.DataFrame":
        # With the types that DuckDB gives.
        return self._connection.from_arrow(_collected(self._frame)).df()


@dataclass(frozen=True, slots=True)
class _SparkRows:
    """Rows of a query as a frame of Spark's."""

    frame: "DataFrame"
    _connection: "SparkConnection"

    def translated(self, query: str) -> str:
        return re.sub(rf"\b{BATCH}\b", "{batch}", self._connection.translated(query.replace("{batch}", BATCH), BATCH))


class SparkConnection(Connection):
    """A connection whose large tables, and the temporary ones made of them, are Spark's.

    Attributes:
        switched: The large tables that became other files.
    """

    engine = "spark"

    def __init__(self, duckdb: duckdb.DuckDBPyConnection, folder: Path, session: "Callable[[], SparkSession]") -> None:
        super().__init__(duckdb)
        self._folder = folder
        self._start = session
        self._temporary: dict[str, Path] = {}
        # Temporary tables of the DuckDB file that Spark knows, too.
        self._offered: set[str] = set()
        self.switched: set[str] = set()

    @property
    def _session(self) -> "SparkSession":
        return self._start()

    def execute(self, statement: str | Path, parameters: Parameters | None = None) -> Result:
        text, values = bound(statement, parameters)
        if not FOR_SPARK.match(text) or not self._is_ours(text):
            return super().execute(text, values)
        translated = _translated(text, values)
        frame = self._frame(translated, values)
        if translated.kind == "table":
            self._keep(translated.made, frame)
        return _Result(self.duckdb, frame)

    def insert(self, table: Table | Relation, query: str | Path, parameters: Parameters | None = None) -> int:
        text, values = bound(query, parameters)
        name, ours = name_of(table), self._is_ours(text)
        if self._folders(name) is not None:
            rows = f"SELECT * FROM ({text})"
            folders = self._written(name, self._query(rows, values)) if ours else self._copied(name, text, values)
            return self._append(name, folders)
        if not ours:
            return super().insert(table, text, values)
        with self.registered(_collected(self._query(text, values))) as found:
            return super().insert(table, f"SELECT * FROM {found}")

    def delete(self, table: Table | str, where: str, parameters: Parameters | None = None) -> int:
        name = name_of(table)
        folders = self._folders(name)
        if folders is None:
            return super().delete(table, where, parameters)
        if not folders:
            return 0
        where, values = bound(where, parameters)
        self._offer(name, folders, file="_metadata.file_path")
        condition = _translated(f"SELECT DISTINCT file_path FROM {name} WHERE {where}", values)
        # Rows have a place among the files; only the folders where some go are written again.
        found = self._frame(condition, values, offered=[name]).collect()
        touched = [
            one for one in folders if any(f"/{Path(one).relative_to(self._folder)}/" in path for (path,) in found)
        ]
        if not touched:
            return 0
        self._offer(name, touched)
        left = _translated(f"SELECT * FROM {name} WHERE NOT coalesce({where}, false)", values)
        before, kept = self._rows(touched), [one for one in folders if one not in touched]
        rest = self._written(name, self._frame(left, values, offered=[name]))
        self._switch(name, self._columns(name), [*kept, *rest])
        return before - self._rows(rest)

    def append_in_workers(
        self,
        table: Table | Relation,
        parts: Callable[[], Sequence[Part]],
        read: "Callable[[Part], Iterable[pa.RecordBatch]]",
    ) -> bool:
        name = name_of(table)
        if self._folders(name) is None:
            return False
        if listed := parts():

            def work(batches: "Iterable[pa.RecordBatch]") -> "Iterator[pa.RecordBatch]":
                for batch in batches:
                    for number in batch.column(0).to_pylist():
                        yield from read(listed[number])

            numbers = self._session.range(0, len(listed), 1, min(len(listed), self._tasks()))
            lines = numbers.mapInArrow(work, _schema(self._columns(name)))
            self._append(name, self._written(name, lines))
        return True

    def rows_elsewhere(self, query: str) -> EngineRows | None:
        return _SparkRows(self._query(query, None), self) if self._is_ours(query) else None

    def translated(self, query: str, *offered: str) -> str:
        """Returns a query as Spark says it; what it reads is known to Spark, or offered by the caller."""
        statement = _translated(query, None)
        self._make_known(statement, None, offered)
        return statement.query

    def close(self) -> None:
        """Drops what is temporary."""
        for name in [*self._temporary, *self._offered]:
            self._drop_view(name)

    def tell_delta(self, tables: Iterable[str]) -> None:
        """Brings the Delta logs of some large tables to the files that they are."""
        for table in sorted(tables):
            columns = self.duckdb.execute(f"FROM {table} LIMIT 0").to_arrow_table().schema
            place = self._folder / table
            rows = {
                str(Path(file).relative_to(place)): count for file, count in self._files(self._folders(table) or [])
            }
            delta.follow(place, columns, rows)

    def _create(self, table: Table, *, or_replace: bool) -> None:
        if not table.large:
            super()._create(table, or_replace=or_replace)
            return
        folders = self._folders(table.name)
        columns = [(column.name, column.type) for column in table.columns]
        if folders is None or or_replace:
            self._switch(table.name, columns, [])
        elif _schema(columns) != _schema(self._columns(table.name)):
            # An older version made it: what it wrote is written again, so that every file has every column.
            again = self._written(table.name, self._read(table.name, folders), columns) if folders else []
            self._switch(table.name, columns, again)

    def _make(self, relation: Relation, query: str, values: Parameters | None) -> None:
        if self._is_ours(query):
            self._keep(relation.sql, self._query(query, values))
        else:
            super()._make(relation, query, values)

    def _drop(self, relation: Relation) -> None:
        if relation.sql not in self._temporary:
            super()._drop(relation)
        if relation.sql in {*self._temporary, *self._offered}:
            self._drop_view(relation.sql)

    def _map(
        self,
        relation: Relation,
        query: str,
        values: Parameters | None,
        function: "Callable[[pd.DataFrame], pd.DataFrame]",
        columns: Mapping[str, str],
    ) -> None:
        if not self._is_ours(query):
            super()._map(relation, query, values, function, columns)
            return

        def work(batches: "Iterable[pd.DataFrame]") -> "Iterator[pd.DataFrame]":
            for batch in batches:
                yield function(batch)

        self._keep(relation.sql, self._query(query, values).mapInPandas(work, _schema(columns.items())))

    def _place_of(self, table: Table) -> tuple[str, str]:
        # Spark does not number rows.
        [key] = table.key
        return key, next(column.type for column in table.columns if column.name == key)

    def _is_ours(self, statement: str) -> bool:
        """Whether a statement names a large table, or a temporary one of Spark's."""
        ours = [*self._temporary, *named_folders(self.duckdb)]
        return any(re.search(rf"\b{re.escape(name)}\b", statement) for name in ours)

    def _query(self, query: str, values: Parameters | None) -> "DataFrame":
        return self._frame(_translated(query, values), values)

    def _frame(self, statement: "Statement", values: Parameters | None, offered: Sequence[str] = ()) -> "DataFrame":
        """Returns the rows of a query; the tables that it reads are offered to Spark first, but for those that are."""
        self._make_known(statement, values, offered)
        return self._session.sql(statement.query, args=_bound(values))

    def _make_known(self, statement: "Statement", values: Parameters | None, offered: Sequence[str] = ()) -> None:
        for table in statement.tables:
            if table not in self._temporary and table not in offered:
                self._offer(table, self._folders(table))
        for cast in statement.casts:
            if not self._session.catalog.functionExists(cast.name):
                self._session.udf.register(cast.name, _cast_function(cast))
        for name, query in statement.kept:
            self._keep(name, self._session.sql(query, args=_bound(values)))

    def _offer(self, table: str, folders: Sequence[str] | None, file: str | None = None) -> None:
        """Makes a table of the warehouse known to Spark by its name without the schema.

        One of the DuckDB file is small, and is handed over whole. Lines of a large one have their place as `rowid`.
        """
        from pyspark.sql import functions

        if folders is None:
            frame = self._session.createDataFrame(self.duckdb.execute(f"FROM {table}").to_arrow_table())
            if "." not in table:
                self._offered.add(table)
        else:
            columns = self._columns(table)
            frame = self._read(table, folders) if folders else self._session.createDataFrame([], _schema(columns))
            names = [name for name, _ in columns]
            shown = [functions.col(name) for name in names]
            if file:
                shown.append(functions.col(file).alias("file_path"))
            if set(PLACE) <= set(names):
                shown.append(functions.struct(*PLACE).alias("rowid"))
            frame = frame.select(*shown)
        frame.createOrReplaceTempView(table.rsplit(".", maxsplit=1)[-1])

    def _read(self, table: str, folders: Sequence[str]) -> "DataFrame":
        """Returns what some folders of a large table have."""
        return self._session.read.schema(_schema(self._columns(table))).parquet(*folders)

    def _append(self, table: str, folders: Sequence[str]) -> int:
        """Adds folders to a large table, and returns how many rows they have."""
        columns, before, rows = self._columns(table), self._folders(table) or [], self._rows(folders)
        together = [*before, *folders]
        if len(together) > MOST_FOLDERS:
            together = self._written(table, self._read(table, together), columns)
        self._switch(table, columns, together)
        return rows

    def _written(self, table: str, frame: "DataFrame", columns: Sequence[tuple[str, str]] | None = None) -> list[str]:
        """Writes the rows of a frame as a folder of the table, columns by name; no folder if there is no row."""
        from pyspark.sql import functions

        there = set(frame.columns)
        values = [
            (functions.col(name) if name in there else functions.lit(None)).cast(_type(type_)).alias(name)
            for name, type_ in columns or self._columns(table)
        ]
        folder = self._new_folder(table)
        with _translated_errors():
            frame.select(*values).write.parquet(folder)
        return [folder] if self._rows([folder]) else []

    def _copied(self, table: str, query: str, values: Parameters | None) -> list[str]:
        """Writes the rows of a query over the DuckDB file as a folder of the table, columns by name."""
        columns, folder = self._columns(table), self._new_folder(table)
        Path(folder).mkdir()
        rows = f"(FROM {table} LIMIT 0) UNION ALL BY NAME ({query})"
        self.duckdb.execute(
            f"COPY (SELECT {_cast(columns)} FROM ({rows})) TO {literal(f'{folder}/part-0.parquet')}", values
        )
        return [folder]

    def _new_folder(self, table: str) -> str:
        """Returns where the next folder of a table goes: it is not there yet."""
        place = self._folder / table
        place.mkdir(parents=True, exist_ok=True)
        return str(place / f"{max((int(one.name) for one in numbered(place)), default=0) + 1:06}")

    def _rows(self, folders: Sequence[str]) -> int:
        return sum(rows for _, rows in self._files(folders))

    def _files(self, folders: Sequence[str]) -> list[tuple[str, int]]:
        """Returns the files of some folders, each with its number of rows."""
        files = [f"{folder}/*.parquet" for folder in folders if any(Path(folder).glob("*.parquet"))]
        if not files:
            return []
        return self.duckdb.execute(
            "SELECT file_name, num_rows FROM parquet_file_metadata($files)", {"files": files}
        ).fetchall()

    def _switch(self, table: str, columns: Sequence[tuple[str, str]], folders: Sequence[str]) -> None:
        """Makes some folders the table."""
        self.switched.add(table)
        if folders:
            files = ", ".join(literal(f"{folder}/*.parquet") for folder in folders)
            rows = f"SELECT {_cast(columns)} FROM read_parquet([{files}], hive_partitioning = false)"
        else:
            names = ", ".join(f"CAST(NULL AS {type_}) AS {quoted(name)}" for name, type_ in columns)
            rows = f"SELECT {names} WHERE false"
        self.duckdb.execute(f"CREATE OR REPLACE VIEW {table} AS {rows}")
        comment = LARGE_TABLE + json.dumps([str(Path(folder).relative_to(self._folder)) for folder in folders])
        self.duckdb.execute(f"COMMENT ON VIEW {table} IS {literal(comment)}")

    def _folders(self, table: str) -> list[str] | None:
        """Returns the folders of a large table; None if it is none."""
        found = named_folders(self.duckdb).get(table)
        return None if found is None else [str(self._folder / folder) for folder in found]

    def _columns(self, table: str) -> list[tuple[str, str]]:
        return self.duckdb.execute(
            "SELECT column_name, data_type FROM duckdb_columns() WHERE schema_name || '.' || table_name = $table"
            " ORDER BY column_index",
            {"table": table},
        ).fetchall()

    def _tasks(self) -> int:
        """Returns into how many tasks work is cut that Spark cannot cut itself; Connect does not say its cores."""
        try:
            return TASKS_PER_CORE * self._session.sparkContext.defaultParallelism
        except (AttributeError, NotImplementedError):
            return MOST_TASKS

    def _keep(self, name: str, frame: "DataFrame") -> None:
        """Makes a temporary table: as files, so that what is lost with a worker is not computed again."""
        folder = Path(self._new_folder(TEMPORARY))
        with _translated_errors():
            frame.write.parquet(str(folder))
        before = self._temporary.get(name)
        self._session.read.schema(frame.schema).parquet(str(folder)).createOrReplaceTempView(name)
        self._temporary[name] = folder
        if before is not None:
            shutil.rmtree(before)

    def _drop_view(self, name: str) -> None:
        self._session.catalog.dropTempView(name)
        self._offered.discard(name)
        if folder := self._temporary.pop(name, None):
            shutil.rmtree(folder)


def named_folders(connection: duckdb.DuckDBPyConnection) -> dict[str, list[str]]:
    """Returns the large tables of a DuckDB file, each with its folders."""
    rows = connection.execute(
        "SELECT schema_name || '.' || view_name, comment FROM duckdb_views() WHERE comment LIKE $mark",
        {"mark": f"{LARGE_TABLE}%"},
    ).fetchall()
    return {name: json.loads(comment.removeprefix(LARGE_TABLE)) for name, comment in rows}


def numbered(place: Path) -> list[Path]:
    """Returns the folders of a table; what else may lie beside them is not the warehouse's."""
    return [one for one in place.iterdir() if NUMBER.fullmatch(one.name)] if place.is_dir() else []


def first_line(error: BaseException) -> str:
    """Returns the first line of an error's text."""
    return str(error).strip().splitlines()[0]


def _collected(frame: "DataFrame") -> "pa.Table":
    with _translated_errors():
        return frame.toArrow()


def _translated(query: str, values: Parameters | None) -> "Statement":
    from seg_pipeline.warehouse.dialect import translated

    return translated(query, values or {})


def _type(duckdb_type: str) -> str:
    from seg_pipeline.warehouse.dialect import type_of

    return type_of(duckdb_type)


def _schema(columns: Iterable[tuple[str, str]]) -> str:
    return ", ".join(f"`{name}` {_type(type_)}" for name, type_ in columns)


def _cast(columns: Sequence[tuple[str, str]]) -> str:
    """Returns a list of columns for SELECT, each as its type, which files that others wrote need not have."""
    return ", ".join(f"CAST({quoted(name)} AS {type_}) AS {quoted(name)}" for name, type_ in columns)


def _bound(values: Parameters | None) -> dict[str, Any]:
    """Returns values as Spark binds them."""
    from pyspark.sql import functions

    return {
        name: functions.array(*map(functions.lit, value)) if isinstance(value, list | tuple) else value
        for name, value in (values or {}).items()
    }


def _cast_function(cast: "Cast") -> Any:
    """Returns a function that workers call on a column of text: DuckDB's own reading of it."""
    from pyspark.sql.pandas.functions import arrow_udf

    expression, formats = cast.expression, list(cast.formats)

    opened: list[duckdb.DuckDBPyConnection] = []  # by each task, one

    def read(texts: "pa.Array") -> "pa.Array":
        import duckdb
        import pyarrow

        if not opened:
            opened.append(duckdb.connect(config={"threads": 1}))
        opened[0].register("lines", pyarrow.table({"value": texts}))
        query = f"SELECT {expression} AS read FROM lines"
        found = opened[0].execute(query, {"formats": formats} if formats else {}).to_arrow_table()
        return found.column("read").combine_chunks()

    read.__annotations__ = {}
    return arrow_udf(read, cast.type)


@contextmanager
def _translated_errors() -> Iterator[None]:
    """Raises for Spark's errors what DuckDB would have raised, or what a worker did."""
    from pyspark.errors import PySparkException

    try:
        yield
    except PySparkException as error:
        text = str(error)
        if of_worker := re.search(r"seg_pipeline\.errors\.DataError: ([^\n]*)", text):
            raise DataError(of_worker[1]) from None
        if "OVERFLOW" in text or "OUT_OF_RANGE" in text:
            raise duckdb.ConversionException(first_line(error)) from error
        if "No space left" in text:
            raise MachineError(f"spark: {first_line(error)}") from error
        raise
