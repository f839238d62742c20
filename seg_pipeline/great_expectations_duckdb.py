"""Great Expectations on the warehouse's own DuckDB connection. Imported late: the library takes seconds to load.

The stock SQL engine closes its connection before the result is read, which DuckDB does not allow, and would open the
file a second time. Here one engine holds one connection, a cursor of the one that the process has.
"""

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Literal

# Read by the library when it is imported: no usage statistics leave the machine.
os.environ.setdefault("GX_ANALYTICS_ENABLED", "false")

import duckdb
import great_expectations as gx
from duckdb_sqlalchemy import ConnectionWrapper
from great_expectations.datasource.fluent.sql_datasource import SQLDatasource
from great_expectations.execution_engine.sqlalchemy_execution_engine import SqlAlchemyExecutionEngine
from sqlalchemy.pool import NullPool

if TYPE_CHECKING:
    from great_expectations.core.expectation_validation_result import ExpectationValidationResult
    from great_expectations.expectations.expectation import Expectation

EngineClass = type[SqlAlchemyExecutionEngine]


class OneConnectionEngine(SqlAlchemyExecutionEngine):
    """Keeps the connection open from the statement to the reading of its result."""

    _kept: Any = None

    @contextmanager
    def get_connection(self) -> Iterator[Any]:
        if self._kept is None:
            self._kept = self.engine.connect()
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


def validate(
    connection: duckdb.DuckDBPyConnection, query: str, expectations: Sequence["Expectation"], *, examples: int
) -> list["ExpectationValidationResult"]:
    """The result of each expectation over the rows of a query, in the order given; evaluated inside the database.

    A failed expectation on a column brings up to `examples` values.
    """
    context = gx.get_context(mode="ephemeral")
    context.variables.progress_bars = {"globally": False}  # type: ignore[assignment]  # the library takes a dict
    source = context.data_sources.add_duckdb(
        "warehouse",
        connection_string="duckdb:///:memory:",
        create_temp_table=False,
        kwargs={"creator": lambda: ConnectionWrapper(connection.cursor()), "poolclass": NullPool},
    )
    batch = source.add_query_asset("rows", query=query).add_batch_definition_whole_table("all").get_batch()
    for number, expectation in enumerate(expectations):
        # Results come back in the library's own order.
        expectation.meta = {"number": number}
    suite = gx.ExpectationSuite(name="suite", expectations=list(expectations))
    try:
        found = batch.validate(suite, result_format={"result_format": "SUMMARY", "partial_unexpected_count": examples})
    finally:
        source.get_execution_engine().release()
    return sorted(found.results, key=lambda result: result.expectation_config.meta["number"])
