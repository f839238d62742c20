"""The door of the raw room: raw orders, the ledger of deliveries, and the customers who were erased."""

import json
from collections import Counter
from collections.abc import Iterator, Sequence

import dagster as dg

from seg_pipeline import preloading
from seg_pipeline.raw.erasure import ErasureKey
from seg_pipeline.raw.ingestion import ingest
from seg_pipeline.raw.ledger import Entry, read_ledger
from seg_pipeline.raw.profile import profile_query
from seg_pipeline.raw.tables import DELIVERIES, ERASED_CUSTOMERS, RAW_ORDERS
from seg_pipeline.ui import table_of
from seg_pipeline.wiring import Room, Shop

FILES_SHOWN = 20


def assets_of(shop: Shop) -> Room:
    """Returns the raw room: orders as delivered, and the ledger of deliveries, which are loaded together."""
    room = shop.room("raw", nightly=False)

    @room.tables(
        {RAW_ORDERS: shop.upstream, DELIVERIES: [RAW_ORDERS], ERASED_CUSTOMERS: []},
        kinds={RAW_ORDERS: {"csv", "parquet"}, DELIVERIES: {"python"}, ERASED_CUSTOMERS: {"sql"}},
    )
    def delivered_orders(context: dg.AssetExecutionContext) -> Iterator[dg.MaterializeResult]:
        warehouse, settings = shop.warehouse(context), shop.settings_of(context)
        key = ErasureKey.beside(settings.warehouse.path)
        try:
            with warehouse.get_connection() as connection:
                ingested = ingest(connection, settings.source, settings.retention.deliveries_days, key)
                ledger = read_ledger(connection)
        finally:
            preloading.wait()
        loaded = [entry for entry in ledger if entry.is_loaded]
        new_lines = sum(entry.lines for entry in ledger if entry.source_file in set(ingested.loaded))
        # Only new lines are profiled; the others were profiled when they were loaded.
        profile = warehouse.read(profile_query(), {"files": ingested.loaded}) if new_lines else None
        yield dg.MaterializeResult(
            asset_key=shop.key(RAW_ORDERS),
            metadata={
                "dagster/row_count": sum(entry.lines for entry in loaded),
                "files": len(loaded),
                "new_files": len(ingested.loaded),
                "new_lines": new_lines,
                "dropped_files": len(ingested.dropped),
                **({} if profile is None else {"profile_of_new_lines": table_of(profile)}),
                "columns_found": dg.MetadataValue.md(_columns_found(loaded)),
            },
        )
        files = warehouse.read(
            f"SELECT source_file, status, lines, reason FROM {DELIVERIES.name}"
            f" ORDER BY reason IS NULL, source_file DESC LIMIT {FILES_SHOWN}"
        )
        yield dg.MaterializeResult(
            asset_key=shop.key(DELIVERIES),
            metadata={
                "dagster/row_count": len(ledger),
                **Counter(entry.status for entry in ledger),
                "files": table_of(files),
            },
        )
        yield dg.MaterializeResult(
            asset_key=shop.key(ERASED_CUSTOMERS), metadata={"dagster/row_count": warehouse.count(ERASED_CUSTOMERS)}
        )

    return room


def _columns_found(loaded: Sequence[Entry]) -> str:
    """Returns a Markdown table that counts, for each column of raw_orders, the files that have it under each name."""
    pairs = Counter(pair for entry in loaded for pair in json.loads(entry.columns or "{}").items())
    lines = [f"| {column} | {name} | {files} |" for (column, name), files in pairs.items()]
    return "\n".join(["| raw_orders | file's column | files |", "|---|---|---|", *lines])
