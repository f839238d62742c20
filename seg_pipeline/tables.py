"""What is known of a table, said once: its columns and their meaning, its key, the rules its rows keep.

The table in the warehouse, the columns that Dagster's pages show and the expectations of the checks all come from here.
Each room lists its own tables in its `tables.py`.
"""

from dataclasses import dataclass
from typing import Literal

Severity = Literal["critical", "warning"]
# How charts and the report write a value.
Unit = Literal["number", "money", "share"]


@dataclass(frozen=True, slots=True)
class Column:
    """A column: DuckDB type, meaning with its unit, and what its values may be (bounds inclusive).

    A column of customers that has a title is a feature; charts and the report show it by that title, in its unit.
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


@dataclass(frozen=True, slots=True)
class Rule:
    """A rule over whole rows or tables: `broken_by` is a query of the rows that break it.

    In the query `{batch}` stands for the rows under check (one night of a nightly table), `:as_of` for the night, and
    `:key.of.a.setting` for the value of a setting.
    """

    name: str
    description: str
    broken_by: str
    severity: Severity = "critical"


@dataclass(frozen=True, slots=True)
class Table:
    """A table `schema.table` of the data contract. A large one grows with order lines, or with customers and nights."""

    name: str
    description: str
    columns: tuple[Column, ...]
    key: tuple[str, ...] = ()
    nightly: bool = False
    may_be_empty: bool = False
    large: bool = False
    rules: tuple[Rule, ...] = ()

    @property
    def asset_key(self) -> list[str]:
        return self.name.split(".")

    @property
    def ddl(self) -> str:
        """The column list of CREATE TABLE."""
        return ", ".join(f'"{column.name}" {column.type}' for column in self.columns)
