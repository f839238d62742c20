"""What Dagster's pages show of a table: its columns, its rows, its checks, and its pictures."""

import datetime
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import dagster as dg

from seg_pipeline.quality.suites import Outcome, in_words
from seg_pipeline.tables import Column, Severity, Table
from seg_pipeline.warehouse import Warehouse

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

OWNER = "team:data"
PREVIEW_ROWS = 5
# Numbers this large are shown without decimals.
WHOLE_FROM = 1000
WHAT_NEXT: dict[Severity, str] = {
    "critical": "Nothing downstream of this table is built until the check passes. Fix what the examples show in the"
    " source, or the setting that the description names, and run again.",
    "warning": "Nothing is stopped. Fix what the examples show in the source, or the setting that the description"
    " names.",
}


def schema_of(table: Table) -> dg.TableSchema:
    """Returns the columns of a table with their types and meanings."""
    return dg.TableSchema(columns=[_shown_column(column) for column in table.columns])


def _shown_column(column: Column) -> dg.TableColumn:
    constraints = dg.TableColumnConstraints(nullable=column.nullable)
    return dg.TableColumn(column.name, column.type, column.description, constraints=constraints)


def code_references(*places: tuple[Path, int]) -> dg.CodeReferencesMetadataValue:
    """Returns links to the files, each with a line, that an asset is made by."""
    with warnings.catch_warnings():
        # Dagster warns that these links may still change.
        warnings.simplefilter("ignore", dg.BetaWarning)
        return dg.CodeReferencesMetadataValue(
            code_references=[
                dg.LocalFileCodeReference(file_path=str(file), line_number=line, label=file.name)
                for file, line in places
            ]
        )


def rows_built(
    warehouse: Warehouse, table: Table, as_of: datetime.date, *, revenue: str | None = None
) -> dict[str, Any]:
    """Counts a night's rows and compares them with the night before it that the table has.

    Args:
        warehouse: The warehouse that has the table.
        table: A nightly table.
        as_of: The night.
        revenue: The column that adds up to the night's revenue, if the table has one.

    Returns:
        Metadata. Dagster's pages read one of the two row counts, its trends over partitions the other.
    """
    before = warehouse.value(f"SELECT max(as_of) FROM {table.name} WHERE as_of < $as_of", {"as_of": as_of})
    nights = [as_of] if before is None else [as_of, before]
    rows = [warehouse.count(table, night) for night in nights]
    metadata: dict[str, Any] = {
        "as_of": as_of.isoformat(),
        "dagster/row_count": rows[0],
        "dagster/partition_row_count": rows[0],
    }
    if before is not None:
        metadata |= {"night_before": before.isoformat(), "rows_since_night_before": rows[0] - rows[1]}
    if revenue:
        total = f"SELECT coalesce(sum({revenue}), 0) FROM {table.name} WHERE as_of = $as_of"
        # Decimals, so that the difference is exact.
        earned = [warehouse.value(total, {"as_of": night}) for night in nights]
        metadata["revenue"] = float(earned[0])
        if before is not None:
            metadata["revenue_since_night_before"] = float(earned[0] - earned[1])
    return metadata


def built(
    warehouse: Warehouse,
    table: Table,
    as_of: datetime.date,
    metadata: Mapping[str, Any],
    *,
    key: dg.AssetKey | None = None,
    revenue: str | None = None,
) -> dg.MaterializeResult:
    """Returns the result of building a night of a table: its row counts, and what else its page shows.

    Args:
        warehouse: The warehouse that has the table.
        table: A nightly table.
        as_of: The night.
        metadata: Further entries of the page.
        key: The asset; needed only if one step builds several.
        revenue: As in `rows_built`.
    """
    rows = rows_built(warehouse, table, as_of, revenue=revenue)
    return dg.MaterializeResult(asset_key=key, metadata={**rows, **metadata})


def preview(warehouse: Warehouse, table: Table, as_of: datetime.date) -> dg.TableMetadataValue:
    """Returns the first rows of a night without customer ids, since pages outlast the erasure of a customer."""
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
    return dg.MetadataValue.table(records, dg.TableSchema(columns=[_shown_column(column) for column in columns]))


def table_of(frame: "pd.DataFrame") -> dg.MarkdownMetadataValue:
    """Returns a small frame as a table on the page."""
    return dg.MetadataValue.md(markdown(frame))


def markdown(frame: "pd.DataFrame") -> str:
    """Returns a small frame as a Markdown table."""
    names = [str(name) for name in frame.columns]
    lines = ["| " + " | ".join(names) + " |", "|" + "---|" * len(names)]
    for row in _with_none(frame).itertuples(index=False):
        cells = ["" if value is None else _shown(value) for value in row]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def picture(draw: "Callable[[], Figure]", title: str) -> dg.MarkdownMetadataValue:
    """Returns a plot as an image on the page."""
    from seg_pipeline.plotting.images import markdown_image

    return dg.MetadataValue.md(markdown_image(draw(), title))


def check_result(outcome: Outcome, key: dg.AssetKey) -> dg.AssetCheckResult:
    """Returns what became of one check of a table, with counts and examples of what broke it."""
    severity = dg.AssetCheckSeverity.ERROR if outcome.expected.severity == "critical" else dg.AssetCheckSeverity.WARN
    details: dict[str, Any] = {"broken": outcome.broken, "examples": outcome.examples, "error": outcome.error}
    return dg.AssetCheckResult(
        asset_key=key,
        check_name=outcome.expected.name,
        passed=outcome.passed,
        severity=severity,
        description=in_words(outcome),
        # Only what there is to say: Dagster plots every number.
        metadata={
            "rows": outcome.rows,
            **{name: value for name, value in details.items() if value},
            **({} if outcome.passed else {"what_next": WHAT_NEXT[outcome.expected.severity]}),
        },
    )


def _with_none(frame: "pd.DataFrame") -> "pd.DataFrame":
    """Returns the frame with None for missing values of every kind."""
    return frame.astype(object).where(frame.notna(), None)


def _shown(value: object) -> str:
    """Returns a value as it is read in a Markdown cell, without characters that would end the cell."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return f"{value:,}"
    if isinstance(value, float):
        return f"{value:,.0f}" if abs(value) >= WHOLE_FROM else f"{value:.4f}".rstrip("0").rstrip(".")
    if isinstance(value, datetime.datetime) and value.time() == datetime.time():
        # Frames hold a DATE as its midnight.
        return value.date().isoformat()
    return str(value).replace("|", "\\|").replace("\n", " ")
