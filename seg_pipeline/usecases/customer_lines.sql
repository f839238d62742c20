-- The raw lines of one customer, each with what became of it. Ids compare as parsed_lines.sql reads them: blanks around
-- them and a spreadsheet's .0 are no part of them.
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
    FROM prepared.rejected_orders
    WHERE regexp_replace(trim(customer_id, $blanks), '^([0-9]+)\.0+$', '\1') = $customer_id
)
SELECT raw_orders.*, found.* EXCLUDE (source_file, source_row)
FROM raw.raw_orders
JOIN found USING (source_file, source_row)
