"""Makes a suite of checks from the description of a table, and runs it inside the database.

Each check has one or more of Great Expectations' expectations. Dagster shows it as an asset check: a failed critical
check stops everything downstream of its table, a failed warning is only shown.
"""

import datetime
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from seg_pipeline.settings import Settings
from seg_pipeline.tables import Column, Rule, Severity, Table
from seg_pipeline.warehouse import Connection, Warehouse

if TYPE_CHECKING:
    from great_expectations.core.expectation_validation_result import ExpectationValidationResult
    from great_expectations.expectations.expectation import Expectation

# How many examples of broken values or rows a check shows, and how many characters of them.
EXAMPLES = 5
EXAMPLES_WIDTH = 500


@dataclass(frozen=True, slots=True)
class Expected:
    """A check of a suite.

    Attributes:
        name: The name of the check.
        description: What holds if the check passes.
        severity: Whether a failure is critical or a warning.
        build: Returns the library's expectations: one, or one per column.
        rule: The rule of the table that the check is made from, if it is made from one.
    """

    name: str
    description: str
    severity: Severity
    build: Callable[[Settings, datetime.date | None], Sequence["Expectation"]]
    rule: Rule | None = None


@dataclass(frozen=True, slots=True)
class Outcome:
    """The outcome of a check.

    Attributes:
        expected: The check.
        passed: Whether it passed.
        rows: How many rows were checked.
        broken: How many rows broke it.
        examples: Some of the values or rows that broke it.
        error: Why the check could not be evaluated; empty if it could.
    """

    expected: Expected
    passed: bool
    rows: int
    broken: int
    examples: str
    error: str


def suite_of(table: Table) -> list[Expected]:
    """Returns the suite of a table: it has rows, a unique key, no missing or forbidden values, and keeps its rules."""
    suite = [] if table.may_be_empty else [_HAS_ROWS]
    if table.key:
        suite.append(_unique(table.key))
    required = [column for column in table.columns if not column.nullable]
    if required:
        suite.append(
            Expected(
                "no_missing_values",
                f"Never missing: {', '.join(column.name for column in required)}.",
                "critical",
                lambda *_: [_gxe().ExpectColumnValuesToNotBeNull(column=column.name) for column in required],
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
    enumerated = [column for column in table.columns if column.values]
    if enumerated:
        suite.append(
            Expected(
                "values_known",
                "Known values: "
                + "; ".join(f"{column.name} is one of {', '.join(column.values)}" for column in enumerated)
                + ".",
                "critical",
                lambda *_: [
                    _gxe().ExpectColumnValuesToBeInSet(column=column.name, value_set=list(column.values))
                    for column in enumerated
                ],
            )
        )
    return [*suite, *(_of_rule(rule) for rule in table.rules)]


def evaluate(warehouse: Warehouse, table: Table, settings: Settings, as_of: datetime.date | None) -> list[Outcome]:
    """Runs the suite of a table and returns the outcome of each check.

    Args:
        warehouse: The warehouse that has the table.
        table: The table.
        settings: The settings whose values the rules name.
        as_of: The night whose rows are checked, if the table is nightly.
    """
    from seg_pipeline.quality.great_expectations_engines import validate

    suite = suite_of(table)
    where = f" WHERE as_of = DATE '{as_of.isoformat()}'" if table.nightly and as_of else ""
    rows = f"SELECT * FROM {table.name}{where}"
    with warehouse.get_connection() as connection:
        checked = connection.execute(f"SELECT count(*) FROM ({rows})").fetchall()[0][0]
        # Checks of single rows hold for an empty table. Only rules and has_rows can fail on one.
        parts = [
            expected.build(settings, as_of) if checked or expected.rule or expected is _HAS_ROWS else []
            for expected in suite
        ]
        expectations = [expectation for part in parts for expectation in part]
        results = iter(validate(connection, rows, expectations, examples=EXAMPLES))
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
    """Returns one line: what was expected and, if it failed, how many rows broke it, with examples."""
    if outcome.passed:
        return outcome.expected.description
    if outcome.error:
        return f"{outcome.expected.description} Could not be evaluated: {outcome.error}"
    if not outcome.rows and not outcome.examples:
        return f"{outcome.expected.description} There are none"
    examples = f", for example {outcome.examples}" if outcome.examples else ""
    return f"{outcome.expected.description} Broken by {outcome.broken:,}{examples}"


def _gxe() -> Any:
    """Returns the library's expectations, imported late because the library takes seconds to load."""
    from great_expectations import expectations

    return expectations


_HAS_ROWS = Expected(
    "has_rows", "The table has rows.", "critical", lambda *_: [_gxe().ExpectTableRowCountToBeBetween(min_value=1)]
)


def _unique(key: tuple[str, ...]) -> Expected:
    """Returns the check that a key is unique."""
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
    """Returns the name and the bounds of a column, for the description of a check."""
    if column.max_value is None:
        return f"{column.name} from {column.min_value:g}"
    if column.min_value is None:
        return f"{column.name} up to {column.max_value:g}"
    return f"{column.name} {column.min_value:g} to {column.max_value:g}"


def _of_rule(rule: Rule) -> Expected:
    """Returns the check of a rule."""

    def build(settings: Settings, as_of: datetime.date | None) -> list["Expectation"]:
        return [_gxe().UnexpectedRowsExpectation(unexpected_rows_query=_with_values(rule.query, settings, as_of))]

    return Expected(rule.name, rule.description, rule.severity, build, rule)


def _rows_that_break(
    connection: Connection, rule: Rule, rows: str, settings: Settings, as_of: datetime.date | None
) -> str:
    """Returns the first rows that break a rule, as text.

    The library returns such rows only in a result format that collects every value of every other expectation as well.
    """
    query = _with_values(rule.query, settings, as_of).replace("{batch}", f"({rows})")
    result = connection.duckdb.execute(f"SELECT * FROM ({query}) LIMIT {EXAMPLES}")
    names = [column[0] for column in result.description or ()]
    return _shown(
        ", ".join(f"{name} {value}" for name, value in zip(names, row, strict=True)) for row in result.fetchall()
    )


def _with_values(query: str, settings: Settings, as_of: datetime.date | None) -> str:
    """Returns a rule's query with literals in place of `:as_of` and of `:key.of.a.setting`.

    Raises:
        TypeError: A value is neither a number nor a date.
    """

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
    """Returns the outcome of a check from the results of its expectations."""
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
    """Returns how many rows broke an expectation."""
    details = result.result or {}
    return int(details.get("unexpected_count", details.get("observed_value")) or 0)


def _examples(result: "ExpectationValidationResult") -> list[str]:
    """Returns values that broke an expectation on a column, or `missing` in their place."""
    column = result.expectation_config.kwargs.get("column") if result.expectation_config else None
    values = (result.result or {}).get("partial_unexpected_list") or ()
    return [f"{column} {'missing' if value is None else value}" for value in values]


def _error(result: "ExpectationValidationResult") -> str:
    """Returns the first line of the error if an expectation could not be evaluated; empty if it could."""
    info = result.exception_info or {}
    if "raised_exception" not in info:
        # One entry per metric that could not be computed.
        info = next(iter(info.values()), {})
    return str(info.get("exception_message") or "").strip().split("\n")[0] if info.get("raised_exception") else ""


def _shown(examples: Iterable[str]) -> str:
    """Returns the distinct examples as one text, cut off if it is long."""
    text = "; ".join(dict.fromkeys(examples))
    return text if len(text) <= EXAMPLES_WIDTH else text[:EXAMPLES_WIDTH] + " ..."
