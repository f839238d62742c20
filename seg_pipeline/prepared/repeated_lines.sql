-- The lines that equal an earlier line of the same order.
-- Only lines with an order id can be duplicates. There are few, so only lines whose hash occurs twice are compared
-- exactly.
WITH
suspects AS (
    SELECT
        hash(
            order_id, customer_id, ordered_at, product_id, quantity, unit_price, amount, country, description, currency,
            shop
        )
            AS fingerprint
    FROM {lines_to_clean}
    WHERE $duplicates = 'drop' AND trim(order_id) != ''
    GROUP BY fingerprint
    HAVING count(*) > 1
)
-- The first delivered line stays.
SELECT line
FROM {lines_to_clean}
WHERE
    hash(
        order_id, customer_id, ordered_at, product_id, quantity, unit_price, amount, country, description, currency,
        shop
    )
    IN (SELECT fingerprint FROM suspects)
QUALIFY row_number() OVER (
    PARTITION BY
        order_id, customer_id, ordered_at, product_id, quantity, unit_price, amount, country, description, currency,
        shop
    ORDER BY source_file, source_row
) > 1 AND trim(order_id) != ''
