-- The sets of columns that loaded files have, if there is more than one set. `columns` and `unused` are JSON.
SELECT columns, unused, count(*) AS files, min(source_file) AS example_file
FROM {batch}
WHERE columns IS NOT NULL
GROUP BY columns, unused
QUALIFY count(*) OVER () > 1
ORDER BY files DESC, example_file
