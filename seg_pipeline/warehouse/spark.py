"""Spark as the engine of the large tables: Parquet in numbered folders, of which a view in the DuckDB file is a table.

A change of a table writes new folders and names them in a new view, within the transaction of whoever asks for it; so
a run that is killed leaves the old table or the new one. Folders that no view names are deleted by the next run.

PySpark is imported late, here and nowhere else.
"""

import json
import logging
import os
import re
import shutil
import signal
import sys
import threading
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import duckdb

from seg_pipeline.errors import DataError, MachineError, UsageError
from seg_pipeline.tables import Table
from seg_pipeline.warehouse import delta
from seg_pipeline.warehouse.duckdb_file import LOG, Warehouse, Warned
from seg_pipeline.warehouse.statements import LARGE_TABLE, Parameters, Part, literal, named, quoted

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa
    from pyspark.sql import DataFrame, SparkSession

    from seg_pipeline.warehouse.dialect import Cast, Statement

# Laid under the settings' own. What a time reads as must not depend on where a machine stands, and a number that does
# not fit its type ends a query.
CONFIG = {
    "spark.sql.session.timeZone": "UTC",
    "spark.sql.timestampType": "TIMESTAMP_NTZ",
    "spark.sql.ansi.enabled": "true",
    "spark.ui.enabled": "false",
    "spark.ui.showConsoleProgress": "false",
    "spark.app.name": "seg-pipeline",
    "spark.hadoop.mapreduce.fileoutputcommitter.marksuccessfuljobs": "false",
    # Rows that pass to Python at once: ten times Spark's own number costs little memory and saves a tenth of parsing.
    "spark.sql.execution.arrow.maxRecordsPerBatch": "100000",
}
# DuckDB's own, where the settings name none: beside Spark it has the small tables and writes what is published, and the
# memory of the run must not grow with the shop.
MEMORY_BESIDE_SPARK = "1GB"
# A local session needs no name of the machine in the network.
LOCAL_CONFIG = {"spark.driver.host": "127.0.0.1", "spark.driver.bindAddress": "127.0.0.1"}
# Java's heap where it does the workers' part, too: a share of the machine's memory, which Spark's 1 GB leaves unused.
# The rest is for Python and for the system's cache of files.
LOCAL_HEAP_SHARE, LEAST_HEAP, MOST_HEAP = 0.25, 1 << 30, 4 << 30
# Tasks that read deliveries, each one file after the other: as many even out what is larger and smaller.
TASKS_PER_CORE = 4
MOST_TASKS = 256
CATALOG = "catalog"
TEMPORARY = "temporary"
NUMBER = re.compile("[0-9]{6,}")
# As many folders are one table before a change writes it as one: reading opens every file.
MOST_FOLDERS = 64
# The place of a line, which DuckDB counts by itself.
PLACE = ("source_file", "source_row")
# Said when it is imported, be it by Great Expectations, which imports it where it is installed.
warnings.filterwarnings("ignore", "PySpark does not yet fully support pandas", FutureWarning)


@dataclass(frozen=True)
class SparkWarehouse(Warehouse):
    """The DuckDB file with the large tables beside it, as Parquet that Spark writes.

    Attributes:
        folder: Where the large tables are.
        master: Where Spark runs.
        remote: Address of a Spark Connect server, in place of a master.
        format: What the large tables are to other readers.
        config: Further settings of Spark.
    """

    folder: str = ""
    master: str = "local[*]"
    remote: str | None = None
    format: Literal["parquet", "delta"] = "parquet"
    config: Mapping[str, Any] = field(default_factory=dict)

    @contextmanager
    def get_connection(self) -> Iterator[duckdb.DuckDBPyConnection]:
        """As the parent's, with the engine of the large tables beside it."""
        with super().get_connection() as connection:
            engine = SparkEngine(connection, Path(self.folder), self.session)
            try:
                yield _Connection(connection, engine)  # type: ignore[misc]  # it has what a connection has
            finally:
                engine.close()
            if self.format == "delta":
                engine.tell_delta(engine.switched)

    @contextmanager
    def held(self, warned: Warned = LOG.warning, *, read_only: bool = False) -> Iterator[None]:
        """As the parent's; a run deletes what a run that was killed has left."""
        with super().held(warned, read_only=read_only):
            if not read_only:
                self._tidy()
            yield

    def write_anew(self) -> None:
        """As the parent's; files that rows were deleted from go, too."""
        super().write_anew()
        self._tidy()

    def _tidy(self) -> None:
        """Deletes the folders of tables that no view names; logs of Delta go with the views, or with the setting."""
        folder = Path(self.folder)
        with super().get_connection() as connection:
            tables = _named_folders(connection)
            if self.format == "delta":
                delta.check_installed()
                SparkEngine(connection, folder, self.session).tell_delta(tables)
            else:
                for table in tables:
                    delta.forget(folder / table)
        for table, used in (*tables.items(), (TEMPORARY, [])):
            for found in _numbered(folder / table):
                if str(found.relative_to(folder)) not in used:
                    shutil.rmtree(found)

    def session(self) -> "SparkSession":
        """The process's Spark session, started where there is none.

        Raises:
            UsageError: PySpark is not installed, or Spark does not start as the settings say.
        """
        try:
            from pyspark.sql import SparkSession
        except ImportError:
            raise UsageError(
                "warehouse.engine=spark needs PySpark: install seg-pipeline with its extra spark, and Java 17 or later"
            ) from None
        if running := SparkSession.getActiveSession():
            return running
        # Spark says on the console, as JSON, what it raises as well.
        logging.getLogger("SQLQueryContextLogger").setLevel(logging.CRITICAL + 1)
        os.environ.setdefault("PYSPARK_PYTHON", sys.executable)
        # Nothing is in the catalog; without a place of its own it would make a folder wherever the run was started.
        catalog = {"spark.sql.warehouse.dir": str(Path(self.folder) / CATALOG)}
        builder = SparkSession.builder.config(map=CONFIG | catalog | self._local_config() | dict(self.config))
        builder = builder.remote(self.remote) if self.remote else builder.master(self.master)
        try:
            with _uninterrupted(), _said_to(Path(self.folder) / "spark.log"):
                return builder.getOrCreate()
        except Exception as error:
            raise UsageError(
                f"spark: does not start ({_first_line(error)}); {Path(self.folder) / 'spark.log'} says more"
            ) from error

    def _local_config(self) -> dict[str, str]:
        """What a session on this machine needs; with local-cluster, executors have memory of their own."""
        if self.remote or not self.master.startswith("local"):
            return {}
        return LOCAL_CONFIG if self.master.startswith("local-cluster") else LOCAL_CONFIG | _heap()


def _heap() -> dict[str, str]:
    """The setting of Java's heap on this machine."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    heap = min(max(int(memory * LOCAL_HEAP_SHARE), LEAST_HEAP), MOST_HEAP)
    return {"spark.driver.memory": f"{heap >> 20}m"}


@contextmanager
def _said_to(file: Path) -> Iterator[None]:
    """What processes started within say on their standard error goes to a file: Spark's are chatty."""
    file.parent.mkdir(parents=True, exist_ok=True)
    sys.stderr.flush()
    kept = os.dup(2)
    with file.open("wb") as log:
        os.dup2(log.fileno(), 2)
    try:
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)


@contextmanager
def _uninterrupted() -> Iterator[None]:
    """Puts Ctrl-C off to the end: a Java process that is cut off from this one while it starts would stay for ever."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    came: list[tuple[Any, ...]] = []
    before = signal.signal(signal.SIGINT, lambda *given: came.append(given))
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
    if came and callable(before):
        before(*came[0])


class _Connection:
    """A DuckDB connection, with the engine of the large tables."""

    def __init__(self, connection: duckdb.DuckDBPyConnection, engine: "SparkEngine") -> None:
        self._connection = connection
        self.engine = engine

    def __getattr__(self, name: str) -> Any:
        return getattr(self._connection, name)


class _Result:
    """What a query gives, as a DuckDB result is asked for it."""

    def __init__(self, connection: duckdb.DuckDBPyConnection, frame: "DataFrame") -> None:
        self._connection = connection
        self._frame = frame

    def fetchall(self) -> list[tuple[Any, ...]]:
        with _told():
            return [tuple(row) for row in self._frame.collect()]

    def fetchone(self) -> tuple[Any, ...] | None:
        rows = self.fetchall()
        return rows[0] if rows else None

    def df(self) -> "pd.DataFrame":
        with _told():
            rows = self._frame.toArrow()
        # With the types that DuckDB gives.
        return self._connection.from_arrow(rows).df()


class SparkEngine:
    """The large tables of one connection, and the temporary ones that are made of them."""

    def __init__(
        self, connection: duckdb.DuckDBPyConnection, folder: Path, session: "Callable[[], SparkSession]"
    ) -> None:
        self._connection = connection
        self._folder = folder
        self._start = session
        self._temporary: dict[str, Path | None] = {}
        # Large tables that became other files.
        self.switched: set[str] = set()

    @property
    def _session(self) -> "SparkSession":
        return self._start()

    def execute(self, query: str, parameters: Parameters | None = None) -> _Result | None:
        """Runs a statement of DuckDB's dialect over the large tables, or over what other such statements made."""
        statement = _translated(query, parameters)
        if statement.kind == "drop":
            self._drop(statement.made)
            return None
        frame = self._frame(statement, parameters)
        if statement.kind == "query":
            return _Result(self._connection, frame)
        if statement.kind == "table":
            self._keep(statement.made, frame)
        else:
            frame.createOrReplaceTempView(statement.made)
            self._temporary[statement.made] = None
        return None

    def has(self, table: str) -> bool:
        """Whether a table is one of the large ones."""
        return self._folders(table) is not None

    def frame(self, query: str, parameters: Parameters | None = None) -> "DataFrame":
        """What a query of DuckDB's dialect gives, as a frame of Spark's."""
        return self._frame(_translated(query, parameters), parameters)

    def translated(self, query: str) -> str:
        """A query of DuckDB's dialect as Spark says it; what it reads is known to Spark afterwards."""
        statement = _translated(query, None)
        self._make_known(statement)
        return statement.query

    def create(self, table: Table, *, or_replace: bool) -> None:
        """A large table with its columns: empty and new, or as it is where it exists and `or_replace` is off."""
        folders = self._folders(table.name)
        columns = [(column.name, column.type) for column in table.columns]
        if folders is None or or_replace:
            self._switch(table.name, columns, [])
        elif _schema(columns) != _schema(self._columns(table.name)):
            # An older version made it: what it wrote is written anew, so that every file has every column.
            anew = self._write(table.name, self._read(table.name, folders), columns) if folders else []
            self._switch(table.name, columns, anew)

    def insert(self, table: Table, query: str, parameters: Parameters | None) -> bool:
        """Appends what a query gives, columns matched by name; False where nothing of it is the engine's."""
        ours = [*self._temporary, *_named_folders(self._connection)]
        if not table.large and not any(re.search(rf"\b{re.escape(name)}\b", query) for name in ours):
            return False
        frame = self._frame(_translated(f"SELECT * FROM ({query})", parameters), parameters)
        if table.large:
            self._append(table.name, frame)
            return True
        with _told():
            rows = frame.toArrow()
        self._connection.register("given_rows", rows)
        self._connection.execute(f"INSERT INTO {table.name} BY NAME SELECT * FROM given_rows")
        self._connection.unregister("given_rows")
        return True

    def delete(self, table: str, where: str, parameters: Parameters | None) -> int | None:
        """Deletes the rows that a condition holds for; how many they were, None where the table is not large."""
        folders = self._folders(table)
        if not folders:
            return None if folders is None else 0
        self._offer(table, folders, file="_metadata.file_path")
        condition = _translated(f"SELECT DISTINCT file_path FROM {table} WHERE {where}", parameters)
        # Rows have a place among the files; only the folders where some go are written anew.
        found = self._frame(condition, parameters, offered=[table]).collect()
        touched = [
            one for one in folders if any(f"/{Path(one).relative_to(self._folder)}/" in path for (path,) in found)
        ]
        if not touched:
            return 0
        self._offer(table, touched)
        left = _translated(f"SELECT * FROM {table} WHERE NOT coalesce({where}, false)", parameters)
        before = self._rows(touched)
        columns, kept = self._columns(table), [one for one in folders if one not in touched]
        anew = self._write(table, self._frame(left, parameters, offered=[table]), columns)
        self._switch(table, columns, [*kept, *anew])
        return before - self._rows(anew)

    def append(self, table: str, parts: Sequence[Part], read: "Callable[[Part], Iterable[pa.RecordBatch]]") -> None:
        """Appends to a large table what `read` gives for each part; it is called in the workers."""
        if not parts:
            return

        def work(batches: "Iterable[pa.RecordBatch]") -> "Iterator[pa.RecordBatch]":
            for batch in batches:
                for number in batch.column(0).to_pylist():
                    yield from read(parts[number])

        numbers = self._session.range(0, len(parts), 1, min(len(parts), self._tasks()))
        self._append(table, numbers.mapInArrow(work, _schema(self._columns(table))))

    def append_rows(self, table: str, query: str, parameters: Parameters) -> int | None:
        """Appends what a query of the connection gives: DuckDB writes the file. None where the table is not large."""
        folders = self._folders(table)
        if folders is None:
            return None
        columns, folder = self._columns(table), self._new_folder(table)
        Path(folder).mkdir()
        rows = f"(FROM {table} LIMIT 0) UNION ALL BY NAME ({query})"
        self._connection.execute(
            f"COPY (SELECT {_cast(columns)} FROM ({rows})) TO {literal(f'{folder}/part-0.parquet')}", dict(parameters)
        )
        self._switch(table, columns, [*folders, folder])
        return self._rows([folder])

    def map(
        self,
        query: str,
        parameters: Parameters | None,
        function: "Callable[[pd.DataFrame], pd.DataFrame]",
        into: str,
        columns: str,
    ) -> None:
        """Makes a temporary table of what a function gives for the rows of a query; it is called in the workers."""
        frame = self._frame(_translated(query, parameters), parameters)

        def work(batches: "Iterable[pd.DataFrame]") -> "Iterator[pd.DataFrame]":
            for batch in batches:
                yield function(batch)

        schema = ", ".join(
            f"{name} {_type(type_)}" for name, type_ in (one.split(" ", 1) for one in columns.split(", "))
        )
        self._keep(into, frame.mapInPandas(work, schema))

    def temporary(self, name: str, rows: "pd.DataFrame") -> None:
        """A temporary table of a frame's rows."""
        # As DuckDB reads it, whose types a frame's missing values do not change.
        self._session.createDataFrame(self._connection.from_df(rows).to_arrow_table()).createOrReplaceTempView(name)
        self._temporary[name] = None

    def close(self) -> None:
        """Drops what is temporary."""
        for name in list(self._temporary):
            self._drop(name)

    def tell_delta(self, tables: Iterable[str]) -> None:
        """Brings the Delta logs of some large tables to the files that they are."""
        for table in sorted(tables):
            columns = self._connection.execute(f"FROM {table} LIMIT 0").to_arrow_table().schema
            place = self._folder / table
            rows = {
                str(Path(file).relative_to(place)): count for file, count in self._files(self._folders(table) or [])
            }
            delta.follow(place, columns, rows)

    def _frame(self, statement: "Statement", parameters: Parameters | None, offered: Sequence[str] = ()) -> "DataFrame":
        """What a query gives; the tables that it reads are offered to Spark first, but for those that are."""
        self._make_known(statement, parameters, offered)
        return self._session.sql(statement.query, args=_bound(parameters))

    def _make_known(
        self, statement: "Statement", parameters: Parameters | None = None, offered: Sequence[str] = ()
    ) -> None:
        for table in statement.tables:
            if table not in self._temporary and table not in offered:
                self._offer(table, self._folders(table))
        for cast in statement.casts:
            if not self._session.catalog.functionExists(cast.name):
                self._session.udf.register(cast.name, _cast_function(cast))
        for name, query in statement.kept:
            self._keep(name, self._session.sql(query, args=_bound(parameters)))

    def _offer(self, table: str, folders: Sequence[str] | None, file: str | None = None) -> None:
        """Makes a table of the warehouse known to Spark by its name without the schema.

        One of the DuckDB file is small, and is handed over whole. Lines of a large one have their place as `rowid`.
        """
        from pyspark.sql import functions

        if folders is None:
            frame = self._session.createDataFrame(self._connection.execute(f"FROM {table}").to_arrow_table())
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
        """What some folders of a large table have."""
        return self._session.read.schema(_schema(self._columns(table))).parquet(*folders)

    def _append(self, table: str, frame: "DataFrame") -> None:
        columns, folders = self._columns(table), self._folders(table) or []
        anew = self._write(table, frame, columns)
        if len(folders) + len(anew) > MOST_FOLDERS:
            folders, anew = [], self._write(table, self._read(table, [*folders, *anew]), columns)
        self._switch(table, columns, [*folders, *anew])

    def _write(self, table: str, frame: "DataFrame", columns: Sequence[tuple[str, str]]) -> list[str]:
        """Writes the rows of a frame as a folder of the table, columns by name; no folder where there is no row."""
        from pyspark.sql import functions

        there = set(frame.columns)
        values = [
            (functions.col(name) if name in there else functions.lit(None)).cast(_type(type_)).alias(name)
            for name, type_ in columns
        ]
        folder = self._new_folder(table)
        with _told():
            frame.select(*values).write.parquet(folder)
        return [folder] if self._rows([folder]) else []

    def _new_folder(self, table: str) -> str:
        """Where the next folder of a table goes: it is not there yet."""
        place = self._folder / table
        place.mkdir(parents=True, exist_ok=True)
        return str(place / f"{max((int(one.name) for one in _numbered(place)), default=0) + 1:06}")

    def _rows(self, folders: Sequence[str]) -> int:
        return sum(rows for _, rows in self._files(folders))

    def _files(self, folders: Sequence[str]) -> list[tuple[str, int]]:
        """The files of some folders, each with its rows."""
        files = [f"{folder}/*.parquet" for folder in folders if any(Path(folder).glob("*.parquet"))]
        if not files:
            return []
        return self._connection.execute(
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
        self._connection.execute(f"CREATE OR REPLACE VIEW {table} AS {rows}")
        comment = LARGE_TABLE + json.dumps([str(Path(folder).relative_to(self._folder)) for folder in folders])
        self._connection.execute(f"COMMENT ON VIEW {table} IS {literal(comment)}")

    def _folders(self, table: str) -> list[str] | None:
        """The folders of a large table; None where it is none."""
        found = _named_folders(self._connection).get(table)
        return None if found is None else [str(self._folder / folder) for folder in found]

    def _columns(self, table: str) -> list[tuple[str, str]]:
        return self._connection.execute(
            "SELECT column_name, data_type FROM duckdb_columns() WHERE schema_name || '.' || table_name = $table"
            " ORDER BY column_index",
            {"table": table},
        ).fetchall()

    def _tasks(self) -> int:
        """Into how many tasks work is cut that Spark cannot cut itself; a Connect server does not say its cores."""
        try:
            return TASKS_PER_CORE * self._session.sparkContext.defaultParallelism
        except (AttributeError, NotImplementedError):
            return MOST_TASKS

    def _keep(self, name: str, frame: "DataFrame") -> None:
        """Makes a temporary table: as files, so that what is lost with a worker is not made anew."""
        folder = Path(self._new_folder(TEMPORARY))
        with _told():
            frame.write.parquet(str(folder))
        before = self._temporary.get(name)
        self._session.read.schema(frame.schema).parquet(str(folder)).createOrReplaceTempView(name)
        self._temporary[name] = folder
        if before is not None:
            shutil.rmtree(before)

    def _drop(self, name: str) -> None:
        self._session.catalog.dropTempView(name)
        folder = self._temporary.pop(name, None)
        if folder is not None:
            shutil.rmtree(folder)


def _numbered(place: Path) -> list[Path]:
    """The folders of a table; what else may lie beside them is nobody's here."""
    return [one for one in place.iterdir() if NUMBER.fullmatch(one.name)] if place.is_dir() else []


def _translated(query: str, parameters: Parameters | None) -> "Statement":
    from seg_pipeline.warehouse.dialect import translated

    return translated(query, named(query, parameters))


def _type(duckdb_type: str) -> str:
    from seg_pipeline.warehouse.dialect import type_of

    return type_of(duckdb_type)


def _schema(columns: Sequence[tuple[str, str]]) -> str:
    return ", ".join(f"`{name}` {_type(type_)}" for name, type_ in columns)


def _cast(columns: Sequence[tuple[str, str]]) -> str:
    """A list of columns for SELECT, each as its type, which files that others wrote need not have."""
    return ", ".join(f"CAST({quoted(name)} AS {type_}) AS {quoted(name)}" for name, type_ in columns)


def _bound(parameters: Parameters | None) -> dict[str, Any]:
    """Parameters as Spark takes them."""
    from pyspark.sql import functions

    def value(given: Any) -> Any:
        if not isinstance(given, list | tuple):
            return given
        return functions.array(*map(functions.lit, given))

    return {name: value(given) for name, given in (parameters or {}).items()}


def _cast_function(cast: "Cast") -> Any:
    """A function that workers call on a column of text: DuckDB's own reading of it."""
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
def _told() -> Iterator[None]:
    """What Spark raises of the data or the machine becomes what DuckDB would have raised, or what a worker did."""
    from pyspark.errors import PySparkException

    try:
        yield
    except PySparkException as error:
        said = str(error)
        if told := re.search(r"seg_pipeline\.errors\.DataError: ([^\n]*)", said):
            raise DataError(told[1]) from None
        if "OVERFLOW" in said or "OUT_OF_RANGE" in said:
            raise duckdb.ConversionException(_first_line(error)) from error
        if "No space left" in said:
            raise MachineError(f"spark: {_first_line(error)}") from error
        raise


def _named_folders(connection: duckdb.DuckDBPyConnection) -> dict[str, list[str]]:
    """The large tables, each with its folders."""
    rows = connection.execute(
        "SELECT schema_name || '.' || view_name, comment FROM duckdb_views() WHERE comment LIKE $mark",
        {"mark": f"{LARGE_TABLE}%"},
    ).fetchall()
    return {name: json.loads(comment.removeprefix(LARGE_TABLE)) for name, comment in rows}


def _first_line(error: BaseException) -> str:
    return str(error).strip().splitlines()[0]
