"""Descriptions of the raw tables: order lines as delivered, the ledger of deliveries, and erased customers."""

from pathlib import Path

from seg_pipeline.tables import Column, Rule, Table, count, text

RULES = Path(__file__).parent / "rules"

RAW_ORDERS = Table(
    "raw.raw_orders",
    "One row per delivered order line. Every value is kept as delivered: text stays text, and absent values are NULL.",
    large=True,
    columns=(
        text("order_id", "Order, invoice or transaction", nullable=True),
        text("customer_id", "Customer", nullable=True),
        text("ordered_at", "Date or time of the order", nullable=True),
        text("product_id", "Product or service code", nullable=True),
        text("quantity", "Units", nullable=True),
        text("unit_price", "Price of one unit, in the shop's currency", nullable=True),
        text("amount", "Value of the line, in the shop's currency", nullable=True),
        text("country", "Country", nullable=True),
        text("description", "Name or description of the product", nullable=True),
        text("currency", "Currency of price and amount", nullable=True),
        text("shop", "Shop, store or site that took the order", nullable=True),
        text("source_file", "File or pull that the line came from"),
        count("source_row", "Data row in that file, from 1", min_value=1),
    ),
    rules=(
        Rule(
            "customers_named",
            "At least one line has a customer id.",
            "SELECT 'no line has a customer_id' AS problem FROM {batch} HAVING count(customer_id) = 0",
        ),
        Rule(
            "most_customers_named",
            "At most half of the lines have no customer id.",
            "SELECT count(*) - count(customer_id) AS lines_without, count(*) AS lines FROM {batch}"
            " HAVING count(customer_id) < 0.5 * count(*)",
            "warning",
        ),
    ),
)

STATUSES = {
    "loaded": "its lines are in raw_orders",
    "kept": "its lines are in raw_orders, although the file is gone or its new version cannot be read",
    "expired": "its lines are older than retention.deliveries_days and were removed from raw_orders",
    "retracted": "seg-pipeline retract removed its lines from raw_orders",
    "repeated": "it has the same content as another file, which is loaded",
    "set_aside": "it cannot be read; none of its lines are in raw_orders",
}

DELIVERIES = Table(
    "raw.deliveries",
    "One row per delivery, which is a file or one pull from a database: whether its lines are loaded, from which"
    " columns, and if not, why not. A file is recognised by its content, so no content is loaded twice.",
    key=("source_file",),
    may_be_empty=True,
    columns=(
        text("source_file", "File or pull, as in raw_orders"),
        text("status", "; ".join(f"{name}: {meaning}" for name, meaning in STATUSES.items()), values=tuple(STATUSES)),
        text("reason", "Why the delivery is not simply loaded", nullable=True),
        count("lines", "Its lines in raw_orders"),
        count("pulled_rows", "Rows that the pull took from its table, also of customers erased since", nullable=True),
        text("columns", "The delivery's column for each column of raw_orders, as JSON", nullable=True),
        text("unused", "Its other columns", nullable=True),
        text(
            "content_hash",
            "SHA-256 of the bytes that were loaded, under this name or another, or a note that they changed meanwhile;"
            " of a pull, the cursor that it ended at",
            nullable=True,
        ),
        text("read_with", "Digest of the settings that decide how files are read", nullable=True),
        text(
            "seen_hash",
            "SHA-256 of the bytes that were last seen, or a note that they changed meanwhile",
            nullable=True,
        ),
        Column("seen_bytes", "BIGINT", "Size when last seen, in bytes", nullable=True),
        Column(
            "seen_modified_ns", "BIGINT", "Modification time when last seen, in nanoseconds since 1970", nullable=True
        ),
    ),
    rules=(
        Rule(
            "lines_conserved",
            "Every line of a loaded file is in raw_orders, and no line of any other file.",
            RULES / "lines_conserved.sql",
        ),
        Rule(
            "every_file_read",
            "Every file could be read.",
            "SELECT source_file, reason FROM {batch} WHERE status = 'set_aside' OR (status = 'kept' AND seen_hash IS"
            " DISTINCT FROM content_hash) ORDER BY source_file",
            "warning",
        ),
        Rule(
            "no_file_gone",
            "Every loaded file is still in the source.",
            "SELECT source_file, lines FROM {batch} WHERE status = 'kept' AND seen_hash IS NULL ORDER BY source_file",
            "warning",
        ),
        Rule(
            "no_row_behind_the_cursor",
            "No row was added to source.table behind the cursor, where pulls do not find it.",
            "SELECT source_file, reason FROM {batch} WHERE status = 'loaded'"
            " AND reason IS NOT NULL ORDER BY source_file",
            "warning",
        ),
        Rule(
            "columns_as_before",
            "All loaded files have the same columns, in any order.",
            RULES / "columns_as_before.sql",
            "warning",
        ),
    ),
)

ERASED_CUSTOMERS = Table(
    "raw.erased_customers",
    "One row per erased customer, whose lines are never loaded again; it has no customer id.",
    key=("customer_hash",),
    may_be_empty=True,
    columns=(
        text("customer_hash", "HMAC-SHA256 of the SHA-256 of the customer id"),
        text("key_id", "Digits by which the key of the hash is recognised", nullable=True),
    ),
)
