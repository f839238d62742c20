-- Files whose number of lines in the ledger differs from their number of lines in raw_orders.
SELECT source_file, lines, lines_in_raw_orders
FROM (SELECT source_file, lines FROM {batch} WHERE lines > 0) AS ledger
FULL JOIN (SELECT source_file, count(*) AS lines_in_raw_orders FROM raw.raw_orders GROUP BY source_file) AS orders
    USING (source_file)
WHERE lines IS DISTINCT FROM lines_in_raw_orders
