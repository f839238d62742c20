-- The most common reason for rejecting lines, with the first such line. There is no row if nothing is rejected.
-- The values have columns of their own, so that customer ids can be masked.
WITH commonest AS (
    SELECT
        reason,
        count(*) AS lines
    FROM prepared.rejected_orders
    GROUP BY reason
    ORDER BY lines DESC, reason
    LIMIT 1
)

SELECT
    reason,
    lines,
    source_file,
    source_row,
    customer_id,
    ordered_at,
    quantity,
    unit_price,
    amount
FROM commonest
INNER JOIN prepared.rejected_orders USING (reason)
ORDER BY source_file, source_row
LIMIT 1
