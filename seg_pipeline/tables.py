"""How a table is described: its columns and their meaning, its key, and the rules that its rows keep.

A description is written once. The table in the warehouse, the columns on Dagster's pages, the checks and
docs/reference.md are all made from it. Each room describes its own tables in its `tables.py`.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

Severity = Literal["critical", "warning"]
# How charts and the report format a value.
Unit = Literal["number", "money", "share"]


@dataclass(frozen=True, slots=True)
class Column:
    """A column of a table.

    Attributes:
        name: The name.
        type: The DuckDB type.
        description: The meaning, with the unit.
        nullable: Whether values may be missing.
        min_value: The smallest value allowed; None for no limit.
        max_value: The largest value allowed; None for no limit.
        values: The values allowed; empty for no limit.
        title: What charts and the report call the column. A column of customers with a title is a feature.
        unit: How charts and the report format its values.
    """

    name: str
    type: str
    description: str
    nullable: bool = False
    min_value: float | None = None
    max_value: float | None = None
    values: tuple[str, ...] = ()
    title: str = ""
    unit: Unit = "number"


def text(name: str, description: str, *, nullable: bool = False, values: tuple[str, ...] = ()) -> Column:
    """Returns a column of text."""
    return Column(name, "VARCHAR", description, nullable=nullable, values=values)


def flag(name: str, description: str, *, nullable: bool = False) -> Column:
    """Returns a column that is true or false."""
    return Column(name, "BOOLEAN", description, nullable=nullable)


def day(name: str, description: str, *, nullable: bool = False) -> Column:
    """Returns a column of calendar days."""
    return Column(name, "DATE", description, nullable=nullable)


def days(name: str, description: str, *, nullable: bool = False) -> Column:
    """Returns a column of lengths of time in whole days, from 1."""
    return Column(name, "INTEGER", description, nullable=nullable, min_value=1)


def count(name: str, description: str, *, nullable: bool = False, min_value: int = 0) -> Column:
    """Returns a column of counts, from 0 if `min_value` is not given."""
    return Column(name, "BIGINT", description, nullable=nullable, min_value=min_value)


def share(name: str, description: str, *, nullable: bool = False) -> Column:
    """Returns a column of shares, from 0 to 1."""
    return Column(name, "DOUBLE", description, nullable=nullable, min_value=0, max_value=1)


def money(name: str, description: str, *, nullable: bool = False, min_value: int | None = None) -> Column:
    """Returns a column of amounts in the shop's currency. They are decimals, so that sums are exact."""
    return Column(name, "DECIMAL(18, 4)", description, nullable=nullable, min_value=min_value)


def number(
    name: str,
    description: str,
    *,
    nullable: bool = False,
    min_value: float | None = None,
    max_value: float | None = None,
) -> Column:
    """Returns a column of floating-point numbers."""
    return Column(name, "DOUBLE", description, nullable=nullable, min_value=min_value, max_value=max_value)


# The first column of every nightly table.
AS_OF = day("as_of", "The night: only orders before this day count")
CUSTOMER_ID = text("customer_id", "Customer")


@dataclass(frozen=True, slots=True)
class Rule:
    """A rule about the rows of a table, alone or beside other tables.

    Attributes:
        name: The name of the check.
        description: What holds if the rule is kept.
        broken_by: A query for the rows that break the rule, or the .sql file that holds it. In the query, `{batch}`
            stands for the rows under check (one night of a nightly table), `:as_of` for the night, and
            `:key.of.a.setting` for the value of a setting. These are not `$as_of` as in other queries, because Great
            Expectations cannot bind parameters: the values become part of the text.
        severity: Whether a broken rule stops what is downstream (critical) or is only shown (warning).
    """

    name: str
    description: str
    broken_by: str | Path
    severity: Severity = "critical"

    @property
    def query(self) -> str:
        """The query for the rows that break the rule."""
        return self.broken_by if isinstance(self.broken_by, str) else self.broken_by.read_text(encoding="utf-8")


@dataclass(frozen=True, slots=True)
class Table:
    """A table of the data contract.

    Attributes:
        name: The name, `schema.table`.
        description: What a row is.
        columns: The columns; as_of is the first if the table is nightly.
        key: The columns whose values are unique together, within a night if the table is nightly.
        nightly: Whether the table holds one set of rows per night.
        may_be_empty: Whether the table may have no rows, or none for a night.
        large: Whether the table grows with order lines, or with customers and nights. Spark keeps such tables.
        rules: The rules besides those that follow from the columns and the key.
    """

    name: str
    description: str
    columns: tuple[Column, ...]
    key: tuple[str, ...] = ()
    nightly: bool = False
    may_be_empty: bool = False
    large: bool = False
    rules: tuple[Rule, ...] = ()

    @property
    def schema(self) -> str:
        """The name of the schema."""
        return self.name.split(".")[0]

    @property
    def short_name(self) -> str:
        """The name without the schema."""
        return self.name.split(".")[1]

    @property
    def ddl(self) -> str:
        """The column list of a CREATE TABLE statement."""
        return ", ".join(f'"{column.name}" {column.type}' for column in self.columns)
