"""What Dagster's pages show about a table: columns, rows, checks and pictures."""

import datetime
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import dagster as dg

from seg_pipeline.quality.evaluation import Outcome
from seg_pipeline.tables import Column, Severity, Table
from seg_pipeline.warehouse import Warehouse

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

OWNER = "team:data"
PREVIEW_ROWS = 5
# Numbers from this size on are shown without decimals.
WHOLE_FROM = 1000
WHAT_NEXT: dict[Severity, str] = {
    "critical": "Nothing downstream of this table is built until the check passes. Correct the file that the examples"
    " come from, take its lines out with `seg-pipeline retract FILE` (deleting the file is not enough), or change the"
    " setting that the description names; then run again. quality.show_customer_ids=true shows the customers.",
    "warning": "Nothing is stopped. Correct the file that the examples come from, take its lines out with"
    " `seg-pipeline retract FILE`, or change the setting that the description names."
    " quality.show_customer_ids=true shows the customers.",
}


def schema_of(table: Table) -> dg.TableSchema:
    """Returns a table's columns with their types and descriptions."""
    return dg.TableSchema(columns=[_shown_column(column) for column in table.columns])


def _shown_column(column: Column) -> dg.TableColumn:
    constraints = dg.TableColumnConstraints(nullable=column.nullable)
    return dg.TableColumn(column.name, column.type, column.description, constraints=constraints)


def code_references(*places: tuple[Path, int]) -> dg.CodeReferencesMetadataValue:
    """Returns links to the code of an asset, each a file and a line."""
    with warnings.catch_warnings():
        # Dagster warns that these links are a beta feature.
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
    """Counts a night's rows and compares them with the table's previous night.

    Args:
        warehouse: The warehouse that has the table.
        table: A nightly table.
        as_of: The night.
        revenue: The column whose sum is the night's revenue, if the table has one.

    Returns:
        Metadata. It has the row count twice: Dagster's asset page reads one key, its charts over partitions another.
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
        # The sums are decimals, so their difference is exact.
        revenues = [warehouse.value(total, {"as_of": night}) for night in nights]
        metadata["revenue"] = float(revenues[0])
        if before is not None:
            metadata["revenue_since_night_before"] = float(revenues[0] - revenues[1])
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
    """Returns the result of building a night of a table: its row counts and further metadata.

    Args:
        warehouse: The warehouse that has the table.
        table: A nightly table.
        as_of: The night.
        metadata: Further entries of the asset's page.
        key: The key of the asset; needed only if a step builds several.
        revenue: As in `rows_built`.
    """
    rows = rows_built(warehouse, table, as_of, revenue=revenue)
    return dg.MaterializeResult(asset_key=key, metadata={**rows, **metadata})


def preview(warehouse: Warehouse, table: Table, as_of: datetime.date) -> dg.TableMetadataValue:
    """Returns the first rows of a night without customer ids, because pages are kept after a customer is erased."""
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
    """Returns a small frame as a table for the asset's page."""
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
    """Returns a plot as an image for the asset's page."""
    from seg_pipeline.plotting.images import markdown_image

    return dg.MetadataValue.md(markdown_image(draw(), title))


def check_result(outcome: Outcome, key: dg.AssetKey) -> dg.AssetCheckResult:
    """Returns the result of a check, with the number of violations and examples of them."""
    severity = dg.AssetCheckSeverity.ERROR if outcome.check.severity == "critical" else dg.AssetCheckSeverity.WARN
    details: dict[str, Any] = {"violations": outcome.violations, "examples": outcome.examples, "error": outcome.error}
    return dg.AssetCheckResult(
        asset_key=key,
        check_name=outcome.check.name,
        passed=outcome.passed,
        severity=severity,
        description=outcome.message,
        # Empty details are left out, because Dagster plots every number.
        metadata={
            "rows": outcome.rows_checked,
            **{name: value for name, value in details.items() if value},
            **({} if outcome.passed else {"what_next": WHAT_NEXT[outcome.check.severity]}),
        },
    )


def _with_none(frame: "pd.DataFrame") -> "pd.DataFrame":
    """Returns the frame with None for missing values of every kind."""
    return frame.astype(object).where(frame.notna(), None)


def _shown(value: object) -> str:
    """Returns a value as text for a Markdown cell, with characters escaped that would end the cell."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return f"{value:,}"
    if isinstance(value, float):
        return f"{value:,.0f}" if abs(value) >= WHOLE_FROM else f"{value:.4f}".rstrip("0").rstrip(".")
    if isinstance(value, datetime.datetime) and value.time() == datetime.time():
        # A frame holds a DATE as midnight of that day.
        return value.date().isoformat()
    return str(value).replace("|", "\\|").replace("\n", " ")
