"""What is known of a table, said once: its columns and their meaning, its key, the rules its rows keep.

The table in the warehouse, the column schema in the Dagster UI and the expectations of the asset checks all come from
here. Each room lists its own tables in its `tables.py`.
"""

import datetime
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import dagster as dg

if TYPE_CHECKING:
    import pandas as pd

    from seg_pipeline.warehouse import Warehouse

Severity = Literal["critical", "warning"]
# How charts and the report write a value.
Unit = Literal["number", "money", "share"]

OWNER = "team:data"
# Numbers this large are shown without decimals.
WHOLE_FROM = 1000
PREVIEW_ROWS = 5


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

    @property
    def shown(self) -> dg.TableColumn:
        """The column in the UI."""
        constraints = dg.TableColumnConstraints(nullable=self.nullable)
        return dg.TableColumn(self.name, self.type, self.description, constraints=constraints)


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

    def asset(
        self, *, kinds: Iterable[str], metadata: dict[str, Any] | None = None, group: str | None = None
    ) -> dict[str, Any]:
        """What an asset that builds this table tells the UI, as arguments of `dg.asset` or `dg.AssetSpec`.

        `group` is the room that builds it, where that is not the one that its schema is named after.
        """
        schema = dg.TableSchema(columns=[column.shown for column in self.columns])
        return {
            "key": self.asset_key,
            "group_name": group or self.asset_key[0],
            "description": self.description,
            "kinds": {"duckdb", *kinds},
            "owners": [OWNER],
            "metadata": {
                "dagster/column_schema": schema,
                "dagster/table_name": self.name,
                "large": self.large,
                **(metadata or {}),
            },
        }


def rows_built(
    warehouse: "Warehouse", table: Table, as_of: datetime.date, *, revenue: str | None = None
) -> dict[str, Any]:
    """Metadata of a night's rows, and how many more they are than on the night before it that the table has.

    The UI's pages read the one count, its trends over partitions the other. `revenue` is the column that adds up to
    the night's revenue, where there is one: then that, and how much more it is, are told as well.
    """
    before = warehouse.value(f"SELECT max(as_of) FROM {table.name} WHERE as_of < $as_of", {"as_of": as_of})
    nights = [as_of] if before is None else [as_of, before]
    rows = [warehouse.count(table, night) for night in nights]
    found: dict[str, Any] = {
        "as_of": as_of.isoformat(),
        "dagster/row_count": rows[0],
        "dagster/partition_row_count": rows[0],
    }
    if before is not None:
        found |= {"night_before": before.isoformat(), "rows_more": rows[0] - rows[1]}
    if revenue:
        total = f"SELECT coalesce(sum({revenue}), 0) FROM {table.name} WHERE as_of = $as_of"
        # Decimals, so that the difference is exact.
        earned = [warehouse.value(total, {"as_of": night}) for night in nights]
        found["revenue"] = float(earned[0])
        if before is not None:
            found["revenue_more"] = float(earned[0] - earned[1])
    return found


def preview(warehouse: "Warehouse", table: Table, as_of: datetime.date) -> dg.TableMetadataValue:
    """The first rows of a night, for the UI, without who they are: what is shown there outlasts an erased customer."""
    columns = [column for column in table.columns if column.name not in ("as_of", "customer_id")]
    rows = warehouse.read(
        f"SELECT {', '.join(column.name for column in columns)} FROM {table.name} WHERE as_of = $as_of"
        f" ORDER BY {', '.join(table.key)} LIMIT {PREVIEW_ROWS}",
        {"as_of": as_of},
    )
    records = [
        dg.TableRecord({str(name): "" if value is None else _shown(value) for name, value in row.items()})
        for row in _with_none(rows).to_dict("records")
    ]
    return dg.MetadataValue.table(records, dg.TableSchema(columns=[column.shown for column in columns]))


def markdown(frame: "pd.DataFrame") -> str:
    """A small frame as a Markdown table for the UI."""
    names = [str(name) for name in frame.columns]
    lines = ["| " + " | ".join(names) + " |", "|" + "---|" * len(names)]
    for row in _with_none(frame).itertuples(index=False):
        cells = ["" if value is None else _shown(value) for value in row]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def _with_none(frame: "pd.DataFrame") -> "pd.DataFrame":
    """Missing values of every kind as None."""
    return frame.astype(object).where(frame.notna(), None)


def _shown(value: object) -> str:
    """A value in a Markdown cell: numbers and days as one reads them, and nothing that would end the cell."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return f"{value:,}"
    if isinstance(value, float):
        return f"{value:,.0f}" if abs(value) >= WHOLE_FROM else f"{value:.4f}".rstrip("0").rstrip(".")
    if isinstance(value, datetime.datetime) and value.time() == datetime.time():
        # A DATE, which frames hold as the time when it begins.
        return value.date().isoformat()
    return str(value).replace("|", "\\|").replace("\n", " ")
