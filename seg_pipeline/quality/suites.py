"""Expectation suites, run inside the database and turned into asset checks.

What a suite expects is said with the table (`tables.py`); here it becomes Great Expectations' expectations, one asset
check each. A failed critical check stops everything downstream of its table; a failed warning is shown.
"""

import datetime
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

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
    """What a suite expects under one name: an asset check, one expectation of the library or one per column."""

    name: str
    description: str
    severity: Severity
    build: Callable[[Settings, datetime.date | None], Sequence["Expectation"]]
    rule: Rule | None = None


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of it: rows checked, rows that broke it, and some of the values or rows that did."""

    expected: Expected
    passed: bool
    rows: int
    broken: int
    examples: str
    error: str


def suite_of(table: Table) -> list[Expected]:
    """The suite of a table: rows there, keys unique, nothing missing, values in range, and the table's own rules."""
    suite = [] if table.may_be_empty else [_HAS_ROWS]
    if table.key:
        suite.append(_unique(table.key))
    filled = [column for column in table.columns if not column.nullable]
    if filled:
        suite.append(
            Expected(
                "no_missing_values",
                f"Never missing: {', '.join(column.name for column in filled)}.",
                "critical",
                lambda *_: [_gxe().ExpectColumnValuesToNotBeNull(column=column.name) for column in filled],
            )
        )
    bounded = [column for column in table.columns if column.min_value is not None or column.max_value is not None]
    if bounded:
        suite.append(
            Expected(
                "values_in_range",
                f"In range: {', '.join(map(_range_in_words, bounded))}.",
                "critical",
                lambda *_: [
                    _gxe().ExpectColumnValuesToBeBetween(
                        column=column.name, min_value=column.min_value, max_value=column.max_value
                    )
                    for column in bounded
                ],
            )
        )
    listed = [column for column in table.columns if column.values]
    if listed:
        suite.append(
            Expected(
                "values_known",
                "Known values: "
                + "; ".join(f"{column.name} is one of {', '.join(column.values)}" for column in listed)
                + ".",
                "critical",
                lambda *_: [
                    _gxe().ExpectColumnValuesToBeInSet(column=column.name, value_set=list(column.values))
                    for column in listed
                ],
            )
        )
    return [*suite, *(_of_rule(rule) for rule in table.rules)]


def evaluate(warehouse: Warehouse, table: Table, settings: Settings, as_of: datetime.date | None) -> list[Outcome]:
    """Runs a table's suite, over one night's rows where it is nightly."""
    from seg_pipeline.quality.great_expectations_engines import validate

    suite = suite_of(table)
    where = f" WHERE as_of = DATE '{as_of.isoformat()}'" if table.nightly and as_of else ""
    rows = f"SELECT * FROM {table.name}{where}"
    with warehouse.get_connection() as connection:
        checked = connection.execute(f"SELECT count(*) FROM ({rows})").fetchall()[0][0]
        # What is said of each row holds of none: only rules and has_rows say something of an empty table.
        parts = [
            expected.build(settings, as_of) if checked or expected.rule or expected is _HAS_ROWS else []
            for expected in suite
        ]
        results = iter(
            validate(connection, rows, [one for part in parts for one in part], examples=EXAMPLES, large=table.large)
        )
        outcomes = [
            _outcome(expected, [next(results) for _ in part], checked)
            for expected, part in zip(suite, parts, strict=True)
        ]
        return [
            replace(outcome, examples=_rows_that_break(connection, outcome.expected.rule, rows, settings, as_of))
            if outcome.expected.rule and outcome.broken
            else outcome
            for outcome in outcomes
        ]


def in_words(outcome: Outcome) -> str:
    """One line: what was expected and, where it failed, how often and for example where."""
    if outcome.passed:
        return outcome.expected.description
    if outcome.error:
        return f"{outcome.expected.description} Could not be evaluated: {outcome.error}"
    if not outcome.rows and not outcome.examples:
        return f"{outcome.expected.description} There are none"
    examples = f", for example {outcome.examples}" if outcome.examples else ""
    return f"{outcome.expected.description} Broken by {outcome.broken:,}{examples}"


def _gxe() -> Any:
    from great_expectations import expectations

    return expectations


_HAS_ROWS = Expected(
    "has_rows", "The table has rows.", "critical", lambda *_: [_gxe().ExpectTableRowCountToBeBetween(min_value=1)]
)


def _unique(key: tuple[str, ...]) -> Expected:
    if len(key) == 1:
        return Expected(
            "key_unique",
            f"{key[0]} is unique.",
            "critical",
            lambda *_: [_gxe().ExpectColumnValuesToBeUnique(column=key[0])],
        )
    return Expected(
        "key_unique",
        f"{', '.join(key)} together are unique.",
        "critical",
        lambda *_: [_gxe().ExpectCompoundColumnsToBeUnique(column_list=list(key))],
    )


def _range_in_words(column: Column) -> str:
    if column.max_value is None:
        return f"{column.name} from {column.min_value:g}"
    if column.min_value is None:
        return f"{column.name} up to {column.max_value:g}"
    return f"{column.name} {column.min_value:g} to {column.max_value:g}"


def _of_rule(rule: Rule) -> Expected:
    def build(settings: Settings, as_of: datetime.date | None) -> list["Expectation"]:
        return [_gxe().UnexpectedRowsExpectation(unexpected_rows_query=_filled(rule.broken_by, settings, as_of))]

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


def _outcome(expected: Expected, results: Sequence["ExpectationValidationResult"], rows: int) -> Outcome:
    failed = [result for result in results if not result.success]
    return Outcome(
        expected=expected,
        passed=not failed,
        rows=rows,
        broken=sum(_broken(result) for result in failed),
        examples=_shown(example for result in failed for example in _examples(result)),
        error=next((error for result in failed if (error := _error(result))), ""),
    )


def _broken(result: "ExpectationValidationResult") -> int:
    details = result.result or {}
    return int(details.get("unexpected_count", details.get("observed_value")) or 0)


def _examples(result: "ExpectationValidationResult") -> list[str]:
    """Values that broke an expectation on a column, or that it has missing ones."""
    column = result.expectation_config.kwargs.get("column") if result.expectation_config else None
    values = (result.result or {}).get("partial_unexpected_list") or ()
    return [f"{column} {'missing' if value is None else value}" for value in values]


def _error(result: "ExpectationValidationResult") -> str:
    """The first line of why an expectation could not be evaluated; empty where it was."""
    raised = result.exception_info or {}
    if "raised_exception" not in raised:
        # One entry per metric that could not be computed.
        raised = next(iter(raised.values()), {})
    return str(raised.get("exception_message") or "").strip().split("\n")[0] if raised.get("raised_exception") else ""


def _shown(examples: Iterable[str]) -> str:
    text = "; ".join(dict.fromkeys(examples))
    return text if len(text) <= EXAMPLE_WIDTH else text[:EXAMPLE_WIDTH] + " ..."
