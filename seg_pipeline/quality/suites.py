"""What is checked: the suite of checks that follows from the description of a table.

Each check has one or more expectations of Great Expectations; evaluation.py runs them inside the database. Dagster
shows a check as an asset check: a failed critical check stops everything downstream of its table, a failed warning is
only shown.
"""

import datetime
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from seg_pipeline.settings import Settings, flattened
from seg_pipeline.tables import Column, Rule, Severity, Table

if TYPE_CHECKING:
    from great_expectations.expectations.expectation import Expectation

# `:as_of` or `:key.of.a.setting` in the query of a rule, but not the cast `::DATE`.
PLACEHOLDER = re.compile(r"(?<!:):([a-z_][a-z0-9_]*(?:\.[a-z_][a-z0-9_]*)*)")


@dataclass(frozen=True, slots=True)
class Check:
    """A check of a suite.

    Attributes:
        name: The name of the check.
        description: What holds if the check passes.
        severity: Whether a failure is critical or a warning.
        build: Returns the expectations for the settings and the night: one, or one per column.
    """

    name: str
    description: str
    severity: Severity
    build: Callable[[Settings, datetime.date | None], Sequence["Expectation"]]


def suite_of(table: Table) -> list[Check]:
    """Returns the suite of a table: it has rows, a unique key, no missing or forbidden values, and keeps its rules."""
    suite = [] if table.may_be_empty else [_has_rows()]
    if table.key:
        suite.append(_key_unique(table.key))
    if required := [column.name for column in table.columns if not column.nullable]:
        suite.append(_no_missing_values(required))
    if bounded := [column for column in table.columns if column.min_value is not None or column.max_value is not None]:
        suite.append(_values_in_range(bounded))
    if enumerated := [column for column in table.columns if column.values]:
        suite.append(_values_known(enumerated))
    return [*suite, *(_keeps_rule(rule) for rule in table.rules)]


def query_of(rule: Rule, settings: Settings, as_of: datetime.date | None) -> str:
    """Returns the query of a rule with literals in place of `:as_of` and of `:key.of.a.setting`.

    Raises:
        ValueError: The query names a setting that does not exist.
        TypeError: A value is neither a number nor a date.
    """
    values: dict[str, Any] = {**flattened(settings), "as_of": as_of}

    def literal(placeholder: re.Match[str]) -> str:
        name = placeholder[1]
        if name not in values:
            raise ValueError(f"rule {rule.name}: there is no setting {name}")
        value = values[name]
        if isinstance(value, datetime.date):
            return f"DATE '{value.isoformat()}'"
        if isinstance(value, int | float):
            return repr(value)
        raise TypeError(f"rule {rule.name}: {name} is {value!r}, which is neither a number nor a date")

    return PLACEHOLDER.sub(literal, rule.query)


def _gxe() -> Any:
    """Returns the module of expectations, imported late because Great Expectations takes seconds to load."""
    from great_expectations import expectations

    return expectations


def _has_rows() -> Check:
    return Check(
        name="has_rows",
        description="The table has rows.",
        severity="critical",
        build=lambda *_: [_gxe().ExpectTableRowCountToBeBetween(min_value=1)],
    )


def _key_unique(key: tuple[str, ...]) -> Check:
    if len(key) == 1:
        [column] = key
        return Check(
            name="key_unique",
            description=f"{column} is unique.",
            severity="critical",
            build=lambda *_: [_gxe().ExpectColumnValuesToBeUnique(column=column)],
        )
    return Check(
        name="key_unique",
        description=f"The combination of {', '.join(key[:-1])} and {key[-1]} is unique.",
        severity="critical",
        build=lambda *_: [_gxe().ExpectCompoundColumnsToBeUnique(column_list=list(key))],
    )


def _no_missing_values(columns: Sequence[str]) -> Check:
    return Check(
        name="no_missing_values",
        description=f"No values are missing in {', '.join(columns)}.",
        severity="critical",
        build=lambda *_: [_gxe().ExpectColumnValuesToNotBeNull(column=column) for column in columns],
    )


def _values_in_range(columns: Sequence[Column]) -> Check:
    return Check(
        name="values_in_range",
        description=f"In range: {', '.join(map(_range_of, columns))}.",
        severity="critical",
        build=lambda *_: [
            _gxe().ExpectColumnValuesToBeBetween(
                column=column.name, min_value=column.min_value, max_value=column.max_value
            )
            for column in columns
        ],
    )


def _values_known(columns: Sequence[Column]) -> Check:
    allowed = "; ".join(f"{column.name} is one of {', '.join(column.values)}" for column in columns)
    return Check(
        name="values_known",
        description=f"Known values: {allowed}.",
        severity="critical",
        build=lambda *_: [
            _gxe().ExpectColumnValuesToBeInSet(column=column.name, value_set=list(column.values)) for column in columns
        ],
    )


def _keeps_rule(rule: Rule) -> Check:
    return Check(
        name=rule.name,
        description=rule.description,
        severity=rule.severity,
        build=lambda settings, as_of: [
            _gxe().UnexpectedRowsExpectation(unexpected_rows_query=query_of(rule, settings, as_of))
        ],
    )


def _range_of(column: Column) -> str:
    """Returns the name and the bounds of a column, for the description of a check."""
    if column.max_value is None:
        return f"{column.name} from {column.min_value:g}"
    if column.min_value is None:
        return f"{column.name} up to {column.max_value:g}"
    return f"{column.name} {column.min_value:g} to {column.max_value:g}"
