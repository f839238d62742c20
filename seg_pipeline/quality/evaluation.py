"""Runs the suite of a table inside the database and returns the outcome of each check."""

import datetime
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from seg_pipeline.quality.suites import Check, suite_of
from seg_pipeline.settings import Settings
from seg_pipeline.tables import Table
from seg_pipeline.warehouse import Warehouse

if TYPE_CHECKING:
    from great_expectations.core.expectation_validation_result import ExpectationValidationResult

# How many examples of violations an outcome has at most, and how many characters of them.
MAX_EXAMPLES = 5
MAX_EXAMPLES_CHARS = 500
MASKED = "***"
CUSTOMER = "customer_id"
# What the engine quotes in an error, which may be a customer id.
QUOTED = re.compile(r"(['\"]).*\1", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Outcome:
    """The outcome of a check.

    Attributes:
        check: The check.
        passed: Whether it passed.
        rows_checked: How many rows the table has, on the night if it is nightly.
        violations: How many values broke the check, or how many rows if the check is made from a rule.
        examples: Some of these values or rows, with customer ids masked unless quality.show_customer_ids is set.
        error: Why the check could not be evaluated; empty if it could. Values are masked in the same way.
    """

    check: Check
    passed: bool
    rows_checked: int
    violations: int
    examples: str
    error: str

    @property
    def message(self) -> str:
        """One line: what the check requires and, if it failed, how often it was violated, with examples."""
        if self.passed:
            return self.check.description
        if self.error:
            return f"{self.check.description} Could not be evaluated: {self.error}"
        if not self.rows_checked and not self.examples:
            return f"{self.check.description} It is empty."
        examples = f", for example {self.examples}" if self.examples else ""
        return f"{self.check.description} Violations: {self.violations:,}{examples}"


def evaluate(warehouse: Warehouse, table: Table, settings: Settings, as_of: datetime.date | None) -> list[Outcome]:
    """Runs the suite of a table.

    Args:
        warehouse: The warehouse that has the table.
        table: The table.
        settings: The settings whose values the rules name.
        as_of: The night whose rows are checked; None if the table is not nightly.

    Returns:
        The outcome of each check, in the order of the suite.

    Raises:
        ValueError: The table is nightly and no night is given, or a rule names a setting that does not exist.
        TypeError: A rule names a setting that is neither a number nor a date.
        MachineError: The warehouse cannot be read.
    """
    from seg_pipeline.quality.judging import validate

    if table.nightly and as_of is None:
        raise ValueError(f"{table.name} is nightly, and no night to check is given")
    where = f" WHERE as_of = DATE '{as_of.isoformat()}'" if table.nightly and as_of else ""
    batch = f"SELECT * FROM {table.name}{where}"
    suite = suite_of(table)
    expectations = [(check, expectation) for check in suite for expectation in check.build(settings, as_of)]
    with warehouse.get_connection() as connection:
        row_count, results = validate(
            connection, batch, [expectation for _, expectation in expectations], max_examples=MAX_EXAMPLES
        )
    results_by_check: dict[str, list[ExpectationValidationResult]] = {check.name: [] for check in suite}
    for (check, _), result in zip(expectations, results, strict=True):
        results_by_check[check.name].append(result)
    show_ids = settings.quality.show_customer_ids
    return [_outcome(check, results_by_check[check.name], row_count, show_ids=show_ids) for check in suite]


def _outcome(
    check: Check, results: Sequence["ExpectationValidationResult"], row_count: int, *, show_ids: bool
) -> Outcome:
    """Returns the outcome of a check from the results of its expectations."""
    failed = [result for result in results if not result.success]
    return Outcome(
        check=check,
        passed=not failed,
        rows_checked=row_count,
        violations=sum(_violations(result) for result in failed),
        examples=_joined(example for result in failed for example in _examples(result, show_ids=show_ids)),
        error=next((error for result in failed if (error := _error(result, show_ids=show_ids))), ""),
    )


def _violations(result: "ExpectationValidationResult") -> int:
    """Returns how many values, or rows of a rule's query, violate an expectation."""
    details = result.result or {}
    return int(details.get("unexpected_count", details.get("observed_value")) or 0)


def _examples(result: "ExpectationValidationResult", *, show_ids: bool) -> list[str]:
    """Returns some values or rows that violate an expectation, with the names of their columns."""
    details = result.result or {}
    rows = details["details"]["unexpected_rows"] if "details" in details else details.get("unexpected_list") or ()
    column = result.expectation_config.kwargs.get("column") if result.expectation_config else None
    records = [row if isinstance(row, dict) else {column: "missing" if row is None else row} for row in rows]
    return [
        ", ".join(f"{name} {value if show_ids else _masked(name, value)}" for name, value in record.items())
        for record in records
    ]


def _masked(column: str | None, value: object) -> object:
    """Returns a value of a column as it is shown: a customer id is masked."""
    return MASKED if column == CUSTOMER and value is not None and value != "missing" else value


def _error(result: "ExpectationValidationResult", *, show_ids: bool) -> str:
    """Returns the error if an expectation could not be evaluated; empty if it could."""
    error = str((result.exception_info or {}).get("exception_message") or "")
    return error if show_ids else QUOTED.sub(f"'{MASKED}'", error)


def _joined(examples: Iterable[str]) -> str:
    """Returns the distinct examples as one text, cut off if it is long."""
    text = "; ".join(dict.fromkeys(examples))
    return text if len(text) <= MAX_EXAMPLES_CHARS else text[:MAX_EXAMPLES_CHARS] + " ..."
