"""The door of this room: raw_orders and its checks."""

from collections import Counter
from pathlib import Path

import dagster as dg

from seg_pipeline.quality import checks_of
from seg_pipeline.raw.sources import Delivery, deliveries, load
from seg_pipeline.raw.tables import RAW_ORDERS
from seg_pipeline.settings import Settings
from seg_pipeline.tables import markdown
from seg_pipeline.warehouse import Warehouse, create, transaction

SQL = Path(__file__).parent
FILES_SHOWN = 20


@dg.asset(**RAW_ORDERS.asset(kinds={"csv", "parquet"}))
def raw_orders(
    context: dg.AssetExecutionContext, warehouse: Warehouse, settings: dg.ResourceParam[Settings]
) -> dg.MaterializeResult:
    found = deliveries(settings.source)
    with warehouse.get_connection() as connection, transaction(connection):
        create(connection, RAW_ORDERS)
        for delivery in found:
            load(connection, delivery, settings.source.encoding, RAW_ORDERS.name)
    profile = warehouse.read(SQL / "profile.sql")
    files = warehouse.read(
        "SELECT source_file AS file, count(*) AS lines FROM raw.raw_orders GROUP BY ALL ORDER BY file DESC"
    )
    return dg.MaterializeResult(
        metadata={
            "dagster/row_count": int(files["lines"].sum()),
            "files": len(files),
            "columns_found": dg.MetadataValue.md(_mapping(found)),
            "profile": dg.MetadataValue.md(markdown(profile)),
            "last_files": dg.MetadataValue.md(markdown(files.head(FILES_SHOWN))),
        }
    )


def _mapping(found: list[Delivery]) -> str:
    """How often each column of raw_orders was read from which column of the files."""
    pairs = Counter(
        (column, name) for delivery in found for column, name in delivery.columns.items() for _ in delivery.files
    )
    lines = [f"| {column} | {name} | {files} |" for (column, name), files in pairs.items()]
    return "\n".join(["| raw_orders | file's column | files |", "|---|---|---|", *lines])


defs = dg.Definitions(assets=[raw_orders], asset_checks=[checks_of(RAW_ORDERS)])
