-- The raw lines of one customer, each with what became of it.
WITH
found AS (
    SELECT
        source_file,
        source_row,
        ordered_at AS parsed_at,
        NULL AS reason,
        ordered_at < $as_of AS counts
    FROM prepared.clean_orders
    WHERE customer_id = $customer_id
    UNION ALL
    SELECT
        source_file,
        source_row,
        NULL,
        reason,
        false
    FROM customer_rejections
)
SELECT raw_orders.*, found.* EXCLUDE (source_file, source_row)
FROM raw.raw_orders
JOIN found USING (source_file, source_row)
