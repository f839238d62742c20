-- The lines that new, changed and dropped files can change: the lines of new files, and all lines of the orders and
-- customers that occur in these files. The ids of raw and rejected lines are already written as after cleaning.
WITH
touched_ids AS (
    SELECT order_text, customer_text
    FROM {raw_lines}
    WHERE source_file IN (SELECT unnest($added_files))
    UNION
    SELECT order_id, customer_id
    FROM prepared.clean_orders
    WHERE source_file IN (SELECT unnest($removed_files))
    UNION
    SELECT order_text, customer_text
    FROM {rejected_lines}
    WHERE source_file IN (SELECT unnest($removed_files))
)
SELECT line, source_file, source_row
FROM {raw_lines}
WHERE
    source_file IN (SELECT unnest($added_files))
    OR order_text IN (SELECT order_text FROM touched_ids)
    OR customer_text IN (SELECT customer_text FROM touched_ids)
