"""Expectation suites, run inside the database and turned into asset checks.

What a suite expects is said with the table (`tables.py`); here it becomes Great Expectations' expectations, one asset
check each. A failed critical check stops everything downstream of its table; a failed warning is shown.
"""

import datetime
import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import dagster as dg

from seg_pipeline.nights import as_of_of
from seg_pipeline.settings import Settings
from seg_pipeline.tables import Column, Rule, Severity, Table
from seg_pipeline.warehouse import Warehouse

if TYPE_CHECKING:
    import duckdb
    from great_expectations.core.expectation_validation_result import ExpectationValidationResult
    from great_expectations.expectations.expectation import Expectation

EXAMPLES = 5
EXAMPLE_WIDTH = 500


@dataclass(frozen=True, slots=True)
class Expected:
    """One expectation of a suite: its name as an asset check, and how the library says it."""

    name: str
    description: str
    severity: Severity
    build: Callable[[Settings, datetime.date | None], "Expectation"]
    rule: Rule | None = None


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of one expectation; `examples` are values or rows that broke it."""

    expected: Expected
    passed: bool
    broken: int
    rows: int | None
    examples: str
    error: str


def suite_of(table: Table) -> list[Expected]:
    """The expectations of a table: rows there, no missing values, keys unique, values in range, and its own rules."""
    suite: list[Expected] = []
    if not table.may_be_empty:
        suite.append(
            Expected(
                "has_rows",
                "The table has rows.",
                "critical",
                lambda *_: _gxe().ExpectTableRowCountToBeBetween(min_value=1),
            )
        )
    if table.key:
        suite.append(_unique(table.key))
    for column in table.columns:
        suite += _of_column(column)
    suite += [_of_rule(rule) for rule in table.rules]
    return suite


def evaluate(warehouse: Warehouse, table: Table, settings: Settings, as_of: datetime.date | None) -> list[Outcome]:
    """Runs a table's suite, over one night's rows where it is nightly."""
    from seg_pipeline.great_expectations_duckdb import validate

    suite = suite_of(table)
    where = f" WHERE as_of = DATE '{as_of.isoformat()}'" if table.nightly and as_of else ""
    rows = f"SELECT * FROM {table.name}{where}"
    expectations = [expected.build(settings, as_of) for expected in suite]
    with warehouse.get_connection() as connection:
        results = validate(connection, rows, expectations, examples=EXAMPLES)
        outcomes = [_outcome(expected, result) for expected, result in zip(suite, results, strict=True)]
        return [
            replace(outcome, examples=_rows_that_break(connection, outcome.expected.rule, rows, settings, as_of))
            if outcome.expected.rule and outcome.broken
            else outcome
            for outcome in outcomes
        ]


def checks_of(table: Table) -> dg.AssetChecksDefinition:
    """The suite of a table as asset checks, one per expectation, the critical ones blocking."""
    suite = suite_of(table)
    specs = [
        dg.AssetCheckSpec(
            expected.name,
            asset=table.asset_key,
            description=f"{expected.description} ({expected.severity})",
            blocking=expected.severity == "critical",
        )
        for expected in suite
    ]

    @dg.multi_asset_check(name="check_" + table.name.replace(".", "_"), specs=specs)
    def run_suite(
        context: dg.AssetCheckExecutionContext, warehouse: Warehouse, settings: dg.ResourceParam[Settings]
    ) -> Iterator[dg.AssetCheckResult]:
        for outcome in evaluate(warehouse, table, settings, _night(context, warehouse, table)):
            yield _check_result(outcome)

    return run_suite


def _night(context: dg.AssetCheckExecutionContext, warehouse: Warehouse, table: Table) -> datetime.date | None:
    """The run's night; the newest one there is when a check is run by itself."""
    if not table.nightly:
        return None
    run = context.op_execution_context
    if run.has_partition_key:
        return as_of_of(run.partition_key)
    newest: datetime.date | None = warehouse.value(f"SELECT max(as_of) FROM {table.name}")
    return newest


def _check_result(outcome: Outcome) -> dg.AssetCheckResult:
    severity = dg.AssetCheckSeverity.ERROR if outcome.expected.severity == "critical" else dg.AssetCheckSeverity.WARN
    metadata: dict[str, Any] = {"broken": outcome.broken}
    if outcome.rows is not None:
        metadata["rows"] = outcome.rows
    if outcome.examples:
        metadata["examples"] = outcome.examples
    if outcome.error:
        metadata["error"] = outcome.error
    return dg.AssetCheckResult(
        check_name=outcome.expected.name,
        passed=outcome.passed,
        severity=severity,
        description=in_words(outcome),
        metadata=metadata,
    )


def in_words(outcome: Outcome) -> str:
    """One line: what was expected and, where it failed, how often and for example where."""
    if outcome.passed:
        return outcome.expected.description
    if outcome.error:
        return f"{outcome.expected.description} Could not be evaluated: {outcome.error}"
    examples = f", for example {outcome.examples}" if outcome.examples else ""
    return f"{outcome.expected.description} Broken by {outcome.broken:,}{examples}"


def _gxe() -> Any:
    from great_expectations import expectations

    return expectations


def _unique(key: tuple[str, ...]) -> Expected:
    name = "unique_" + "_".join(key)
    description = f"{', '.join(key)} {'is' if len(key) == 1 else 'are together'} unique."
    if len(key) == 1:
        return Expected(name, description, "critical", lambda *_: _gxe().ExpectColumnValuesToBeUnique(column=key[0]))
    return Expected(
        name, description, "critical", lambda *_: _gxe().ExpectCompoundColumnsToBeUnique(column_list=list(key))
    )


def _of_column(column: Column) -> Iterator[Expected]:
    name = column.name
    if not column.nullable:
        yield Expected(
            f"{name}_not_null",
            f"{name} is never missing.",
            "critical",
            lambda *_: _gxe().ExpectColumnValuesToNotBeNull(column=name),
        )
    low, high = column.min_value, column.max_value
    if low is not None or high is not None:
        bounds = " and ".join(
            part
            for part in (
                f"at least {low:g}" if low is not None else "",
                f"at most {high:g}" if high is not None else "",
            )
            if part
        )
        yield Expected(
            f"{name}_in_range",
            f"{name} is {bounds}.",
            "critical",
            lambda *_: _gxe().ExpectColumnValuesToBeBetween(column=name, min_value=low, max_value=high),
        )
    if column.values:
        yield Expected(
            f"{name}_in_set",
            f"{name} is one of {', '.join(column.values)}.",
            "critical",
            lambda *_: _gxe().ExpectColumnValuesToBeInSet(column=name, value_set=list(column.values)),
        )


def _of_rule(rule: Rule) -> Expected:
    def build(settings: Settings, as_of: datetime.date | None) -> "Expectation":
        query = _filled(rule.broken_by, settings, as_of)
        expectation: Expectation = _gxe().UnexpectedRowsExpectation(unexpected_rows_query=query)
        return expectation

    return Expected(rule.name, rule.description, rule.severity, build, rule)


def _rows_that_break(
    connection: "duckdb.DuckDBPyConnection", rule: Rule, rows: str, settings: Settings, as_of: datetime.date | None
) -> str:
    """The first rows that break a rule. The library gives them only with all values of every other expectation."""
    query = _filled(rule.broken_by, settings, as_of).replace("{batch}", f"({rows})")
    found = connection.execute(f"SELECT * FROM ({query}) LIMIT {EXAMPLES}")
    names = [column[0] for column in found.description or ()]
    return _shown(
        ", ".join(f"{name} {value}" for name, value in zip(names, row, strict=True)) for row in found.fetchall()
    )


def _filled(query: str, settings: Settings, as_of: datetime.date | None) -> str:
    """The query with `:as_of` and `:settings.keys` as literals; only numbers and dates may stand there."""

    def literal(match: re.Match[str]) -> str:
        value: Any = as_of
        if match[1] != "as_of":
            value = settings
            for part in match[1].split("."):
                value = getattr(value, part)
        if isinstance(value, datetime.date):
            return f"DATE '{value.isoformat()}'"
        if isinstance(value, int | float):
            return repr(value)
        raise TypeError(f"{match[0]}: {value!r} is neither a number nor a date")

    return re.sub(r":([a-z_]+(?:\.[a-z_]+)*)", literal, query)


def _outcome(expected: Expected, result: "ExpectationValidationResult") -> Outcome:
    details = result.result or {}
    raised = result.exception_info or {}
    if "raised_exception" not in raised:
        # One entry per metric that could not be computed.
        raised = next(iter(raised.values()), {})
    error = (
        str(raised.get("exception_message") or "").strip().splitlines()[:1] if raised.get("raised_exception") else []
    )
    counted = details.get("unexpected_count", details.get("observed_value", 0))
    return Outcome(
        expected=expected,
        passed=bool(result.success),
        broken=0 if result.success else int(counted or 0),
        rows=details.get("element_count"),
        examples="" if result.success else _examples(details),
        error=error[0] if error else "",
    )


def _examples(details: dict[str, Any]) -> str:
    """Values that broke an expectation on a column; that one is missing needs no example."""
    return _shown(str(value) for value in details.get("partial_unexpected_list", ()) if value is not None)


def _shown(examples: Iterable[str]) -> str:
    text = "; ".join(dict.fromkeys(examples))
    return text if len(text) <= EXAMPLE_WIDTH else text[:EXAMPLE_WIDTH] + " ..."
