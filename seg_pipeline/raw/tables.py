"""The table of this room."""

from seg_pipeline.tables import Column, Rule, Table

RAW_ORDERS = Table(
    "raw.raw_orders",
    "One row per delivered order line, every value as it was delivered: text stays text, absent ones are NULL.",
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
