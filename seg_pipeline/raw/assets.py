"""The door of this room: deliveries and raw_orders, kept together, and their checks."""

import json
from collections import Counter
from collections.abc import Iterator
from typing import Any

import dagster as dg

from seg_pipeline import loading
from seg_pipeline.quality.suites import checks_of
from seg_pipeline.raw.ingestion import Entry, ingest, read_ledger
from seg_pipeline.raw.profile import profile_query
from seg_pipeline.raw.tables import DELIVERIES, ERASED_CUSTOMERS, RAW_ORDERS
from seg_pipeline.settings import Settings
from seg_pipeline.tables import markdown
from seg_pipeline.warehouse import Warehouse

FILES_SHOWN = 20


@dg.multi_asset(
    specs=[
        dg.AssetSpec(**RAW_ORDERS.asset(kinds={"csv", "parquet"})),
        dg.AssetSpec(deps=[RAW_ORDERS.asset_key], **DELIVERIES.asset(kinds={"python"})),
        dg.AssetSpec(**ERASED_CUSTOMERS.asset(kinds={"sql"})),
    ]
)
def delivered_orders(
    context: dg.AssetExecutionContext, warehouse: Warehouse, settings: dg.ResourceParam[Settings]
) -> Iterator[dg.MaterializeResult]:
    try:
        with warehouse.get_connection() as connection:
            brought = ingest(connection, settings.source, settings.retention.deliveries_days)
            ledger = read_ledger(connection)
    finally:
        loading.wait()
    loaded = [entry for entry in ledger if entry.is_loaded]
    new_lines = sum(entry.lines for entry in ledger if entry.source_file in set(brought.loaded))
    metadata: dict[str, Any] = {
        "dagster/row_count": sum(entry.lines for entry in loaded),
        "files": len(loaded),
        "new_files": len(brought.loaded),
        "new_lines": new_lines,
        "dropped_files": len(brought.dropped),
    }
    if new_lines:
        # Of what is new: a night does not read again what it knows.
        profile = warehouse.read(profile_query(), {"files": brought.loaded})
        metadata["profile_of_new_lines"] = dg.MetadataValue.md(markdown(profile))
    yield dg.MaterializeResult(
        asset_key=RAW_ORDERS.asset_key,
        metadata={**metadata, "columns_found": dg.MetadataValue.md(_mapping(loaded))},
    )
    files = warehouse.read(
        f"SELECT source_file, status, lines, reason FROM {DELIVERIES.name}"
        f" ORDER BY reason IS NULL, source_file DESC LIMIT {FILES_SHOWN}"
    )
    yield dg.MaterializeResult(
        asset_key=DELIVERIES.asset_key,
        metadata={
            "dagster/row_count": len(ledger),
            **Counter(entry.status for entry in ledger),
            "files": dg.MetadataValue.md(markdown(files)),
        },
    )
    yield dg.MaterializeResult(
        asset_key=ERASED_CUSTOMERS.asset_key, metadata={"dagster/row_count": warehouse.count(ERASED_CUSTOMERS)}
    )


def _mapping(loaded: list[Entry]) -> str:
    """How often each column of raw_orders was read from which column of the files."""
    pairs = Counter(pair for entry in loaded for pair in json.loads(entry.columns or "{}").items())
    lines = [f"| {column} | {name} | {files} |" for (column, name), files in pairs.items()]
    return "\n".join(["| raw_orders | file's column | files |", "|---|---|---|", *lines])


defs = dg.Definitions(
    assets=[delivered_orders], asset_checks=[checks_of(table) for table in (RAW_ORDERS, DELIVERIES, ERASED_CUSTOMERS)]
)
