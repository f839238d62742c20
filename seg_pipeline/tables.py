"""What is known of a table, said once: its columns and their meaning, its key, the rules its rows keep.

The table in the warehouse, the column schema in the Dagster UI and the expectations of the asset checks all come from
here. Each room lists its own tables in its `tables.py`.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import dagster as dg

if TYPE_CHECKING:
    import pandas as pd

Severity = Literal["critical", "warning"]

OWNER = "team:data"


@dataclass(frozen=True, slots=True)
class Column:
    """A column: DuckDB type, meaning with its unit, and what its values may be (bounds inclusive)."""

    name: str
    type: str
    description: str
    nullable: bool = False
    min_value: float | None = None
    max_value: float | None = None
    values: tuple[str, ...] = ()


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
    """A table `schema.table` of the data contract."""

    name: str
    description: str
    columns: tuple[Column, ...]
    key: tuple[str, ...] = ()
    nightly: bool = False
    may_be_empty: bool = False
    rules: tuple[Rule, ...] = ()

    @property
    def asset_key(self) -> list[str]:
        return self.name.split(".")

    @property
    def ddl(self) -> str:
        """The column list of CREATE TABLE."""
        return ", ".join(f'"{column.name}" {column.type}' for column in self.columns)

    def asset(self, *, kinds: Iterable[str], metadata: dict[str, Any] | None = None) -> dict[str, Any]:
        """What an asset that builds this table tells the UI, as arguments of `dg.asset` or `dg.AssetSpec`."""
        schema = dg.TableSchema(
            columns=[
                dg.TableColumn(
                    column.name,
                    column.type,
                    column.description,
                    constraints=dg.TableColumnConstraints(nullable=column.nullable),
                )
                for column in self.columns
            ]
        )
        return {
            "key": self.asset_key,
            "group_name": self.asset_key[0],
            "description": self.description,
            "kinds": {"duckdb", *kinds},
            "owners": [OWNER],
            "metadata": {"dagster/column_schema": schema, "dagster/table_name": self.name, **(metadata or {})},
        }


def markdown(frame: "pd.DataFrame") -> str:
    """A small frame as a Markdown table for the UI."""
    names = [str(name) for name in frame.columns]
    lines = ["| " + " | ".join(names) + " |", "|" + "---|" * len(names)]
    # Missing values of every kind as None.
    for row in frame.astype(object).where(frame.notna(), None).itertuples(index=False):
        cells = ["" if value is None else _shown(value) for value in row]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def _shown(value: object) -> str:
    """A value in a Markdown cell: numbers short, and nothing that would end the cell."""
    text = f"{value:,.4g}" if isinstance(value, float) else f"{value:,}" if isinstance(value, int) else str(value)
    return text.replace("|", "\\|").replace("\n", " ")
