-- What was delivered, column by column: how much is missing, how many values, the span as text.
SELECT
    name AS "column",
    count(value) AS filled,
    count(*) - count(value) AS missing,
    approx_count_distinct(value) AS about_distinct,
    min(value) AS smallest_text,
    max(value) AS largest_text
FROM raw.raw_orders UNPIVOT INCLUDE NULLS (
    value FOR name IN (order_id, customer_id, ordered_at, product_id, quantity, unit_price, amount, country, description)
)
GROUP BY name
ORDER BY list_position(
    ['order_id', 'customer_id', 'ordered_at', 'product_id', 'quantity', 'unit_price', 'amount', 'country', 'description'],
    name
)
