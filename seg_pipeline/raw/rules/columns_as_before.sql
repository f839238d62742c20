-- The sets of columns of the files whose lines are in raw_orders, if there is more than one set. `columns` and `unused` are JSON.
SELECT columns, unused, count(*) AS files, min(source_file) AS example_file
FROM {batch}
WHERE status IN ('loaded', 'kept')
GROUP BY columns, unused
QUALIFY count(*) OVER () > 1
ORDER BY files DESC, example_file
