-- Files whose count of lines in the ledger differs from their lines in raw_orders.
SELECT source_file, lines, found
FROM (SELECT source_file, lines FROM {batch} WHERE lines > 0) AS ledger
FULL JOIN (SELECT source_file, count(*) AS found FROM raw.raw_orders GROUP BY source_file) AS orders USING (source_file)
WHERE lines IS DISTINCT FROM found
