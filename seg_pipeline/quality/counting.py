"""What is counted in the database so that Great Expectations can judge it.

Great Expectations' own engines would ask for some thirty figures of each expectation, one configuration object apiece.
Its expectations need three at most, and those of a whole suite come from two queries: one pass over the rows for all
columns, and one for the rules and keys, which read the rows in ways of their own.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from seg_pipeline.warehouse.connection import Connection, literal, quoted

if TYPE_CHECKING:
    from great_expectations.expectations.expectation import Expectation

# The names that Great Expectations' expectations know these figures by.
ROWS = "table.row_count"
MISSING = "column_values.nonnull.unexpected_count"
RULE_ROWS = "unexpected_rows_query.row_count"
RULE_EXAMPLES = "unexpected_rows_query.table"


@dataclass(frozen=True, slots=True)
class Counts:
    """What is counted for an expectation. In each query `{batch}` stands for the rows under check.

    Attributes:
        aggregates: Aggregates over the rows, by the name of the figure.
        queries: Queries for one number, by the name of the figure.
        examples: A query for what breaks the expectation; empty if there is nothing to show.
        examples_name: The name of the examples.
        one_column: Whether the examples are values of one column; otherwise they are rows.
    """

    aggregates: Mapping[str, str] = field(default_factory=dict)
    queries: Mapping[str, str] = field(default_factory=dict)
    examples: str = ""
    examples_name: str = ""
    one_column: bool = False


def counts_of(expectation: "Expectation") -> Counts:
    """Returns what is counted for an expectation.

    Raises:
        TypeError: Nobody has said what is counted for this kind. Great Expectations would take a figure that is not
            there for a check that passed.
    """
    count = KINDS.get(type(expectation).__name__)
    if count is None:
        raise TypeError(f"{type(expectation).__name__}: nothing says what is counted for it; see quality/counting.py")
    return count(expectation)


def figures(connection: Connection, batch: str, counts: Sequence[Counts]) -> list[dict[str, int | Exception]]:
    """Counts for several expectations at once.

    Args:
        connection: The connection to the warehouse, outside a transaction.
        batch: The query for the rows under check.
        counts: What is counted for each expectation.

    Returns:
        For each expectation its figures by name. If the one query fails, each expectation's are counted alone, and a
        figure that cannot be counted is the error.
    """
    found: list[dict[str, int | Exception]] = [{} for _ in counts]
    aggregates = [
        (number, name, expression) for number, one in enumerate(counts) for name, expression in one.aggregates.items()
    ]
    # An expression that several expectations need is computed once.
    distinct = list(dict.fromkeys(expression for *_, expression in aggregates))
    by_expression = dict(zip(distinct, _aggregated(connection, batch, distinct), strict=True))
    for number, name, expression in aggregates:
        found[number][name] = by_expression[expression]
    queries = [(number, name, query) for number, one in enumerate(counts) for name, query in one.queries.items()]
    values = _counted(connection, [query.replace("{batch}", f"({batch})") for *_, query in queries])
    for (number, name, _), value in zip(queries, values, strict=True):
        found[number][name] = value
    return found


def examples(connection: Connection, batch: str, counts: Counts, most: int) -> list[Any]:
    """Returns some values or rows that break an expectation; rows are dicts by column."""
    query = counts.examples.replace("{batch}", f"({batch})")
    result = connection.duckdb.execute(f"SELECT * FROM (\n{query}\n) LIMIT {most}")
    names = [column[0] for column in result.description or ()]
    return [row[0] if counts.one_column else dict(zip(names, row, strict=True)) for row in result.fetchall()]


def _aggregated(connection: Connection, batch: str, expressions: Sequence[str]) -> list[int | Exception]:
    """Returns the value of each aggregate, in one pass over the rows if none fails."""
    if not expressions:
        return []
    try:
        [row] = connection.execute(f"SELECT {', '.join(expressions)} FROM ({batch})").fetchall()
    except connection.query_errors as error:
        if len(expressions) == 1:
            return [error]
        return [value for one in expressions for value in _aggregated(connection, batch, [one])]
    return list(row)


def _counted(connection: Connection, queries: Sequence[str]) -> list[int | Exception]:
    """Returns the number that each query gives, all in one statement if none fails."""
    if not queries:
        return []
    # As scalar subqueries of one SELECT they could take each other's names for columns.
    numbered = (f"SELECT {number} AS number, * FROM ({query})" for number, query in enumerate(queries))
    try:
        rows = connection.execute(" UNION ALL ".join(numbered)).fetchall()
    except connection.query_errors as error:
        return [error] if len(queries) == 1 else [value for one in queries for value in _counted(connection, [one])]
    return [value for _, value in sorted(rows)]


def _table_rows(expectation: Any) -> Counts:
    return Counts({ROWS: "count(*)"})


def _column(column: str, kind: str, broken: str) -> Counts:
    """Returns what is counted for a column: how many values fulfil the condition that breaks the expectation."""
    return Counts(
        {
            ROWS: "count(*)",
            MISSING: f"count(*) - count({quoted(column)})",
            f"column_values.{kind}.unexpected_count": f"count(*) FILTER (WHERE {broken})",
        },
        examples=f"SELECT {quoted(column)} FROM {{batch}} WHERE {broken}",
        examples_name=f"column_values.{kind}.unexpected_values",
        one_column=True,
    )


def _not_missing(expectation: Any) -> Counts:
    return _column(expectation.column, "nonnull", f"{quoted(expectation.column)} IS NULL")


def _between(expectation: Any) -> Counts:
    column = quoted(expectation.column)
    bounds = [(">=", expectation.min_value), ("<=", expectation.max_value)]
    within = " AND ".join(f"{column} {sign} {bound!r}" for sign, bound in bounds if bound is not None)
    return _column(expectation.column, "between", f"NOT ({within})")


def _in_set(expectation: Any) -> Counts:
    values = ", ".join(literal(value) for value in expectation.value_set)
    return _column(expectation.column, "in_set", f"{quoted(expectation.column)} NOT IN ({values})")


def _unique(columns: Sequence[str], kind: str) -> Counts:
    """Returns what is counted for a key: rows that share it with another row. Rows with a missing part do not count."""
    names = ", ".join(map(quoted, columns))
    complete = " AND ".join(f"{quoted(column)} IS NOT NULL" for column in columns)
    shared = f"FROM {{batch}} WHERE {complete} GROUP BY {names} HAVING count(*) > 1"
    return Counts(
        {ROWS: "count(*)"},
        {f"{kind}.unexpected_count": f"SELECT coalesce(sum(n), 0) FROM (SELECT count(*) AS n {shared})"},
        examples=f"SELECT {names} {shared} ORDER BY {names}",
        examples_name=f"{kind}.unexpected_values",
    )


def _unique_column(expectation: Any) -> Counts:
    counts = _unique([expectation.column], "column_values.unique")
    missing = {MISSING: f"count(*) - count({quoted(expectation.column)})"}
    return Counts(
        {**counts.aggregates, **missing}, counts.queries, counts.examples, counts.examples_name, one_column=True
    )


def _unique_columns(expectation: Any) -> Counts:
    counts = _unique(expectation.column_list, "compound_columns.unique")
    complete = " AND ".join(f"{quoted(column)} IS NOT NULL" for column in expectation.column_list)
    rows = {"compound_columns.unique.filtered_row_count": f"count(*) FILTER (WHERE {complete})"}
    return Counts({**counts.aggregates, **rows}, counts.queries, counts.examples, counts.examples_name)


def _rule(expectation: Any) -> Counts:
    query = expectation.unexpected_rows_query
    return Counts(
        queries={RULE_ROWS: f"SELECT count(*) FROM (\n{query}\n)"}, examples=query, examples_name=RULE_EXAMPLES
    )


# What is counted for each kind of expectation.
KINDS: dict[str, Callable[[Any], Counts]] = {
    "ExpectTableRowCountToBeBetween": _table_rows,
    "ExpectColumnValuesToNotBeNull": _not_missing,
    "ExpectColumnValuesToBeBetween": _between,
    "ExpectColumnValuesToBeInSet": _in_set,
    "ExpectColumnValuesToBeUnique": _unique_column,
    "ExpectCompoundColumnsToBeUnique": _unique_columns,
    "UnexpectedRowsExpectation": _rule,
}
