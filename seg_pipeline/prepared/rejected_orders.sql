-- The rejected lines as delivered, each with the first reason that applies.
WITH
-- There are few, and materialized Spark knows their number, so its join does not have to move all other lines.
rejected AS MATERIALIZED (
    SELECT line, reason
    FROM {parsed_lines}
    WHERE reason IS NOT NULL
)
SELECT delivered.* EXCLUDE (line), rejected.reason
FROM {lines_to_clean} AS delivered
JOIN rejected USING (line)
-- A join keeps no order.
ORDER BY line
