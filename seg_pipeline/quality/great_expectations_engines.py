"""Great Expectations on the warehouse's own engines. Imported late: the library takes seconds to load.

Tables of the DuckDB file are checked on its own connection. The stock SQL engine closes that before the result is read,
which DuckDB does not allow, and would open the file a second time. Here one engine holds one connection, a cursor of
the one that the process has. Large tables that Spark has are checked by Spark, with the library's own engine for it.
"""

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from functools import cache
from typing import TYPE_CHECKING, Any, Literal

# Read by the library when it is imported: no usage statistics leave the machine.
os.environ.setdefault("GX_ANALYTICS_ENABLED", "false")

import great_expectations as gx
from duckdb_sqlalchemy import ConnectionWrapper
from great_expectations.data_context.data_context.ephemeral_data_context import EphemeralDataContext
from great_expectations.datasource.fluent.interfaces import Batch
from great_expectations.datasource.fluent.sql_datasource import SQLDatasource
from great_expectations.execution_engine.sqlalchemy_execution_engine import SqlAlchemyExecutionEngine
from great_expectations.expectations.core.unexpected_rows_expectation import UnexpectedRowsExpectation
from great_expectations.expectations.expectation import Expectation
from sqlalchemy.pool import NullPool

from seg_pipeline import interrupts
from seg_pipeline.warehouse import Connection
from seg_pipeline.warehouse.connection import EngineRows

if TYPE_CHECKING:
    from great_expectations.core.expectation_validation_result import ExpectationValidationResult
EngineClass = type[SqlAlchemyExecutionEngine]


class OneConnectionEngine(SqlAlchemyExecutionEngine):
    """Keeps the connection open from the statement to the reading of its result."""

    _kept: Any = None

    @contextmanager
    def get_connection(self) -> Iterator[Any]:
        if self._kept is None:
            self._kept = self.engine.connect()
        # The library takes any error for a failed expectation, but no interrupt.
        with interrupts.unwrapped(self._kept.connection.driver_connection):
            yield self._kept

    def release(self) -> None:
        """Gives the connection back, before the database closes under it."""
        if self._kept is not None:
            self._kept.close()
            self._kept = None


class DuckDBDatasource(SQLDatasource):
    """The data source type `duckdb`: registered with the library by being defined."""

    type: Literal["duckdb"] = "duckdb"  # type: ignore[assignment]  # the parent fixes its own literal

    @property
    def execution_engine_type(self) -> EngineClass:
        return OneConnectionEngine


@cache
def _context() -> EphemeralDataContext:
    context = gx.get_context(mode="ephemeral")
    context.variables.progress_bars = {"globally": False}  # type: ignore[assignment]  # the library takes a dict
    return context


@contextmanager
def _configurations_made_once() -> Iterator[None]:
    """While a suite is validated each expectation has one configuration; the library makes it some eighty times."""
    # By the object's place in memory, which stays its own for as long as it is held here.
    made: dict[int, tuple[Expectation, Any]] = {}
    library: Any = Expectation
    original = library.configuration

    def configuration(self: Expectation) -> Any:
        if id(self) not in made:
            made[id(self)] = self, original.fget(self)
        return made[id(self)][1]

    library.configuration = property(configuration)
    try:
        yield
    finally:
        library.configuration = original


@contextmanager
def _duckdb_batch(connection: Connection, query: str) -> Iterator[Batch]:
    source = _context().data_sources.add_or_update_duckdb(
        "warehouse",
        connection_string="duckdb:///:memory:",
        create_temp_table=False,
        kwargs={"creator": lambda: ConnectionWrapper(connection.duckdb.cursor()), "poolclass": NullPool},
    )
    try:
        yield source.add_query_asset("rows", query=query).add_batch_definition_whole_table("all").get_batch()
    finally:
        source.get_execution_engine().release()


def _spark_batch(rows: EngineRows, expectations: Sequence[Expectation]) -> Batch:
    for one in expectations:
        if isinstance(one, UnexpectedRowsExpectation):
            one.unexpected_rows_query = rows.translated(str(one.unexpected_rows_query))
    # It would keep what it has read for the rest of the session.
    source = _context().data_sources.add_or_update_spark("spark", persist=False)
    asset = source.add_dataframe_asset("rows")
    return asset.add_batch_definition_whole_dataframe("all").get_batch({"dataframe": rows.frame})


def validate(
    connection: Connection, query: str, expectations: Sequence[Expectation], *, examples: int
) -> list["ExpectationValidationResult"]:
    """The result of each expectation over the rows of a query, in the order given; evaluated where the rows are.

    A failed expectation on a column brings up to `examples` values.
    """
    elsewhere = connection.engine_rows(query)
    rows = nullcontext(_spark_batch(elsewhere, expectations)) if elsewhere else _duckdb_batch(connection, query)

    def results(wanted: Sequence[int], result_format: dict[str, object]) -> "dict[int, ExpectationValidationResult]":
        """Results come back in the library's own order, so each expectation carries its number."""
        for number in wanted:
            expectations[number].meta = {"number": number}
        suite = gx.ExpectationSuite(name="suite", expectations=[expectations[number] for number in wanted])
        with _configurations_made_once():
            found = batch.validate(suite, result_format=result_format).results
        return {result.expectation_config.meta["number"]: result for result in found if result.expectation_config}

    with rows as batch:
        # Whether it holds costs half of what counts and examples cost, and most do hold.
        found = results(range(len(expectations)), {"result_format": "BOOLEAN_ONLY"})
        failed = [number for number, result in found.items() if not result.success]
        if failed:
            found |= results(failed, {"result_format": "SUMMARY", "partial_unexpected_count": examples})
    return [found[number] for number in range(len(expectations))]
