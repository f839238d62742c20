-- The rejected lines as delivered, each with the first reason that applies.
WITH
-- There are few, and materialized Spark knows their number, so its join does not have to move all other lines.
rejected AS MATERIALIZED (
    SELECT line, reason
    FROM {parsed_lines}
    WHERE reason IS NOT NULL
)
SELECT delivered.*, rejected.reason
FROM raw.raw_orders AS delivered
JOIN rejected ON delivered.rowid = rejected.line
