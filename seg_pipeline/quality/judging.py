"""Lets Great Expectations judge what counting.py counts. Import it late: the library takes seconds to load.

Each expectation gets its figures, judges them and makes the result object, as it would after one of the library's own
engines had counted. Its methods for that are private, so the library is pinned to a range in which they are tested.
"""

import os
from collections.abc import Sequence
from typing import Any

# Great Expectations reads this when it is imported: no usage statistics leave the machine.
os.environ.setdefault("GX_ANALYTICS_ENABLED", "false")

from great_expectations.core.expectation_validation_result import ExpectationValidationResult
from great_expectations.expectations.expectation import Expectation

from seg_pipeline.quality.counting import ROWS, RULE_EXAMPLES, Counts, counts_of, examples, figures
from seg_pipeline.warehouse.connection import Connection
from seg_pipeline.warehouse.duckdb_errors import first_line

YES_OR_NO, EVERYTHING = "BOOLEAN_ONLY", "COMPLETE"


def validate(
    connection: Connection, batch: str, expectations: Sequence[Expectation], *, max_examples: int
) -> tuple[int, list[ExpectationValidationResult]]:
    """Evaluates expectations over the rows of a query.

    Args:
        connection: The connection to the warehouse, outside a transaction: what fails must not end one.
        batch: The query for the rows.
        expectations: The expectations.
        max_examples: How many examples a failed expectation returns at most.

    Returns:
        The number of rows, and the result of each expectation in their order. An expectation that cannot be evaluated
        fails alone, with the error in its result.

    Raises:
        TypeError: An expectation is of a kind of which nothing is counted.
    """
    counts = [Counts({ROWS: "count(*)"}), *map(counts_of, expectations)]
    [rows, *found] = figures(connection, batch, counts)
    if isinstance(row_count := rows[ROWS], Exception):
        raise row_count
    results = []
    for expectation, counted, values in zip(expectations, counts[1:], found, strict=True):
        error = next((value for value in values.values() if isinstance(value, Exception)), None)
        if error is not None:
            results.append(_unevaluated(expectation, error))
            continue
        result = _judged(expectation, values, YES_OR_NO)
        if not result.success:
            try:
                shown = examples(connection, batch, counted, max_examples) if counted.examples else []
                result = _judged(expectation, {**values, counted.examples_name: shown}, EVERYTHING)
            # What is shown may fail where counting did not, such as a cast of a column.
            except connection.query_errors as failure:
                result = _unevaluated(expectation, failure)
        results.append(result)
    return row_count, results


def _judged(expectation: Any, values: dict[str, Any], result_format: str) -> ExpectationValidationResult:
    """Returns the result that an expectation makes of its figures."""
    # Some expectations write into the format that they are given.
    configuration = {"result_format": {"result_format": result_format}}
    response = expectation._validate({RULE_EXAMPLES: None, **values}, configuration, None)
    result: ExpectationValidationResult = expectation._build_evr(response)
    return result


def _unevaluated(expectation: Expectation, error: Exception) -> ExpectationValidationResult:
    """Returns the failed result of an expectation that could not be evaluated."""
    return ExpectationValidationResult(
        success=False,
        expectation_config=expectation.configuration,
        exception_info={
            "raised_exception": True,
            "exception_message": first_line(error),
            "exception_traceback": None,
        },
    )
