-- The lines that do not count, as delivered, each with the first reason that applies.
SELECT delivered.*, rejected.reason
FROM raw.raw_orders AS delivered
JOIN (SELECT line, reason FROM parsed_lines WHERE reason IS NOT NULL) AS rejected ON delivered.rowid = rejected.line
