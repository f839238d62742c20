-- The raw lines of one customer, each with whether it counts and, if it was rejected, the reason.
WITH
lines AS (
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
        NULL AS parsed_at,
        reason,
        false AS counts
    FROM {customer_rejections}
)
SELECT raw_orders.*, lines.* EXCLUDE (source_file, source_row)
FROM raw.raw_orders
JOIN lines USING (source_file, source_row)
