-- The lines that new, changed and dropped files can change: lines of new files, and of the orders and customers that
-- lines of any of them belong to. Raw and rejected lines have their ids as they are after cleaning.
WITH
touched_ids AS (
    SELECT order_text, customer_text
    FROM {raw_lines}
    WHERE source_file IN (SELECT unnest($new))
    UNION
    SELECT order_id, customer_id
    FROM prepared.clean_orders
    WHERE source_file IN (SELECT unnest($old))
    UNION
    SELECT order_text, customer_text
    FROM {rejected_lines}
    WHERE source_file IN (SELECT unnest($old))
)
SELECT line, source_file, source_row
FROM {raw_lines}
WHERE
    source_file IN (SELECT unnest($new))
    OR order_text IN (SELECT order_text FROM touched_ids)
    OR customer_text IN (SELECT customer_text FROM touched_ids)
