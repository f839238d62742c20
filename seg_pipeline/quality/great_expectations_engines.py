"""Runs Great Expectations on the warehouse's own engines. Import it late: it takes seconds to load.

Tables in the DuckDB file are checked on the connection that the process already has. Great Expectations' own SQL engine
closes its connection before it reads the result, which DuckDB does not allow, and would open the file a second time.
The engine here keeps one connection, a cursor of the process's own. Large tables that Spark has are checked by Spark,
with Great Expectations' own engine for it.
"""

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from functools import cache
from typing import TYPE_CHECKING, Any, Literal

# Great Expectations reads this when it is imported: no usage statistics leave the machine.
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
    """Keeps the connection open until the result of a statement has been read."""

    _kept: Any = None

    @contextmanager
    def get_connection(self) -> Iterator[Any]:
        if self._kept is None:
            self._kept = self.engine.connect()
        # Great Expectations treats any error as a failed expectation, but lets an interrupt pass.
        with interrupts.reraise_interrupt(self._kept.connection.driver_connection):
            yield self._kept

    def release(self) -> None:
        """Closes the connection, which must happen before the database closes."""
        if self._kept is not None:
            self._kept.close()
            self._kept = None


class DuckDBDatasource(SQLDatasource):
    """The data source type `duckdb`. Defining the class registers it with Great Expectations."""

    type: Literal["duckdb"] = "duckdb"  # type: ignore[assignment]  # the parent fixes its own literal

    @property
    def execution_engine_type(self) -> EngineClass:
        return OneConnectionEngine


@cache
def _context() -> EphemeralDataContext:
    """Returns Great Expectations' context, without progress bars."""
    context = gx.get_context(mode="ephemeral")
    context.variables.progress_bars = {"globally": False}  # type: ignore[assignment]  # takes a dict
    return context


@contextmanager
def _cached_configurations() -> Iterator[None]:
    """Caches each expectation's configuration in the block; Great Expectations would build it again at each use.

    It replaces a property of Great Expectations' class, so it is not thread-safe.
    """
    # The key is the object's id, which stays unique because the dict keeps the object alive.
    configurations: dict[int, tuple[Expectation, Any]] = {}
    expectation_class: Any = Expectation
    original = expectation_class.configuration

    def configuration(self: Expectation) -> Any:
        if id(self) not in configurations:
            configurations[id(self)] = self, original.fget(self)
        return configurations[id(self)][1]

    expectation_class.configuration = property(configuration)
    try:
        yield
    finally:
        expectation_class.configuration = original


@contextmanager
def _duckdb_batch(connection: Connection, query: str) -> Iterator[Batch]:
    """Yields the rows of a query in the DuckDB file, for Great Expectations to check."""
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
    """Returns rows that Spark has, for Great Expectations to check, and translates the rules among the expectations."""
    for expectation in expectations:
        if isinstance(expectation, UnexpectedRowsExpectation):
            expectation.unexpected_rows_query = rows.translated(str(expectation.unexpected_rows_query))
    # With `persist`, the rows would stay cached for the rest of the session.
    source = _context().data_sources.add_or_update_spark("spark", persist=False)
    asset = source.add_dataframe_asset("rows")
    return asset.add_batch_definition_whole_dataframe("all").get_batch({"dataframe": rows.frame})


def validate(
    connection: Connection, query: str, expectations: Sequence[Expectation], *, max_examples: int
) -> list["ExpectationValidationResult"]:
    """Evaluates expectations over the rows of a query, with the engine that has the rows.

    Args:
        connection: The connection to the warehouse.
        query: The query for the rows.
        expectations: The expectations.
        max_examples: How many violating values a failed expectation on a column returns at most.

    Returns:
        The result of each expectation, in the order of the expectations.
    """
    # Numbers and translated queries are set on copies, so that the caller's expectations stay as they are.
    expectations = [expectation.copy() for expectation in expectations]
    spark_rows = connection.engine_rows(query)
    rows = nullcontext(_spark_batch(spark_rows, expectations)) if spark_rows else _duckdb_batch(connection, query)

    def results(numbers: Sequence[int], result_format: dict[str, object]) -> "dict[int, ExpectationValidationResult]":
        # Great Expectations returns results in an order of its own, so each expectation carries its number.
        for number in numbers:
            expectations[number].meta = {"number": number}
        suite = gx.ExpectationSuite(name="suite", expectations=[expectations[number] for number in numbers])
        with _cached_configurations():
            validated = batch.validate(suite, result_format=result_format).results
        return {result.expectation_config.meta["number"]: result for result in validated if result.expectation_config}

    with rows as batch:
        # Most expectations hold, and a yes or no costs half as much as counts and examples.
        by_number = results(range(len(expectations)), {"result_format": "BOOLEAN_ONLY"})
        failed = [number for number, result in by_number.items() if not result.success]
        if failed:
            by_number |= results(failed, {"result_format": "SUMMARY", "partial_unexpected_count": max_examples})
    return [by_number[number] for number in range(len(expectations))]
