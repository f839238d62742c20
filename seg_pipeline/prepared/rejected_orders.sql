-- The lines that do not count, as delivered, each with the first reason that applies.
WITH
-- Few: Spark, which knows how many they are once they are there, leaves all others where they lie.
rejected AS MATERIALIZED (
    SELECT line, reason
    FROM {parsed_lines}
    WHERE reason IS NOT NULL
)
SELECT delivered.*, rejected.reason
FROM raw.raw_orders AS delivered
JOIN rejected ON delivered.rowid = rejected.line
