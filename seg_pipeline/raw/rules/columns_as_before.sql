-- The sets of columns that loaded files have, if there is more than one set.
SELECT columns, unused, files, first_file
FROM (
    SELECT columns, unused, count(*) AS files, min(source_file) AS first_file, count(*) OVER () AS column_sets
    FROM {batch}
    WHERE columns IS NOT NULL
    GROUP BY columns, unused
)
WHERE column_sets > 1
ORDER BY files DESC, first_file
