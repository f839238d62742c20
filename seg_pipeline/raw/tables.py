"""The tables of this room."""

from seg_pipeline.tables import Column, Rule, Table

RAW_ORDERS = Table(
    "raw.raw_orders",
    "One row per delivered order line, every value as it was delivered: text stays text, absent ones are NULL.",
    large=True,
    columns=(
        Column("order_id", "VARCHAR", "Order, invoice or transaction", nullable=True),
        Column("customer_id", "VARCHAR", "Customer", nullable=True),
        Column("ordered_at", "VARCHAR", "Date or time of the order", nullable=True),
        Column("product_id", "VARCHAR", "Product or service code", nullable=True),
        Column("quantity", "VARCHAR", "Units", nullable=True),
        Column("unit_price", "VARCHAR", "Price of one unit, in the shop's currency", nullable=True),
        Column("amount", "VARCHAR", "Value of the line, in the shop's currency", nullable=True),
        Column("country", "VARCHAR", "Country", nullable=True),
        Column("description", "VARCHAR", "What was bought, in words", nullable=True),
        Column("currency", "VARCHAR", "Currency of price and amount", nullable=True),
        Column("shop", "VARCHAR", "Shop, store or site that took the order", nullable=True),
        Column("source_file", "VARCHAR", "File that brought the line"),
        Column("source_row", "BIGINT", "Data row in that file, from 1", min_value=1),
    ),
    rules=(
        Rule(
            "customers_named",
            "Some line names its customer.",
            "SELECT 'no line has a customer_id' AS problem FROM {batch} HAVING count(customer_id) = 0",
        ),
        Rule(
            "most_customers_named",
            "At most half of the lines lack a customer id.",
            "SELECT count(*) - count(customer_id) AS lines_without, count(*) AS lines FROM {batch}"
            " HAVING count(customer_id) < 0.5 * count(*)",
            "warning",
        ),
    ),
)

STATUSES = {
    "loaded": "its lines are in raw_orders",
    "kept": "its lines are in raw_orders, though the file is gone or its new version cannot be read",
    "expired": "its lines are older than retention.deliveries_days, and are no longer in raw_orders",
    "repeated": "the content of another file that is loaded",
    "set_aside": "it cannot be read; none of its lines are in raw_orders",
}

DELIVERIES = Table(
    "raw.deliveries",
    "One row per delivery, a file or what was pulled from a database at once: whether its lines are loaded, from which"
    " columns, and why not where they are not. A file is known by its content: what was loaded once is not read again.",
    key=("source_file",),
    may_be_empty=True,
    columns=(
        Column("source_file", "VARCHAR", "File or pull, as the lines of raw_orders name it"),
        Column(
            "status",
            "VARCHAR",
            "; ".join(f"{name}: {meaning}" for name, meaning in STATUSES.items()),
            values=tuple(STATUSES),
        ),
        Column("reason", "VARCHAR", "Why it is not simply loaded", nullable=True),
        Column("lines", "BIGINT", "Lines of it in raw_orders", min_value=0),
        Column("columns", "VARCHAR", "Which of its columns is which column of raw_orders", nullable=True),
        Column("unused", "VARCHAR", "Its other columns", nullable=True),
        Column(
            "content_hash",
            "VARCHAR",
            "SHA-256 of the bytes that were loaded; of a pull, the cursor that it ended at",
            nullable=True,
        ),
        Column("read_with", "VARCHAR", "Digest of the settings that say how files are read", nullable=True),
        Column("seen_hash", "VARCHAR", "SHA-256 of the bytes that were last seen", nullable=True),
        Column("seen_bytes", "BIGINT", "Size when last seen, in bytes", nullable=True),
        Column("seen_modified_ns", "BIGINT", "Time of change when last seen, in ns since 1970", nullable=True),
    ),
    rules=(
        Rule(
            "lines_conserved",
            "Every line of a loaded file is in raw_orders, and no line of another.",
            "SELECT source_file, lines, found FROM (SELECT source_file, lines FROM {batch} WHERE lines > 0)"
            " FULL JOIN (SELECT source_file, count(*) AS found FROM raw.raw_orders GROUP BY ALL) USING (source_file)"
            " WHERE lines IS DISTINCT FROM found",
        ),
        Rule(
            "every_file_read",
            "No file had to be set aside.",
            "SELECT source_file, reason FROM {batch} WHERE status = 'set_aside' OR (status = 'kept' AND seen_hash IS"
            " DISTINCT FROM content_hash) ORDER BY source_file",
            "warning",
        ),
        Rule(
            "no_file_gone",
            "No loaded file is gone from the source.",
            "SELECT source_file, lines FROM {batch} WHERE status = 'kept' AND seen_hash IS NULL ORDER BY source_file",
            "warning",
        ),
        Rule(
            "no_row_behind_the_cursor",
            "No row of source.table came behind the cursor, where no pull sees it.",
            "SELECT source_file, reason FROM {batch} WHERE status = 'loaded'"
            " AND reason IS NOT NULL ORDER BY source_file",
            "warning",
        ),
        Rule(
            "columns_as_before",
            "All loaded files have the same columns, in whatever order.",
            "SELECT columns, unused, files, first_file FROM (SELECT *, count(*) OVER () AS shapes FROM (SELECT columns,"
            " unused, count(*) AS files, min(source_file) AS first_file FROM {batch} WHERE columns IS NOT NULL"
            " GROUP BY columns, unused)) WHERE shapes > 1 ORDER BY files DESC, first_file",
            "warning",
        ),
    ),
)

ERASED_CUSTOMERS = Table(
    "raw.erased_customers",
    "Customers who were erased: their lines are not loaded again. One row each, without their id.",
    key=("customer_hash",),
    may_be_empty=True,
    columns=(Column("customer_hash", "VARCHAR", "SHA-256 of the customer id"),),
)
