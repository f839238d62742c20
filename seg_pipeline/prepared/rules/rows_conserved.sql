-- The number of raw lines, and that of clean and rejected lines together, each with the sum of the hashed places of its
-- lines, if the two differ.
WITH
raw_lines AS (
    SELECT count(*) AS lines, sum(CAST(hash(source_file, source_row) AS HUGEINT)) AS places
    FROM raw.raw_orders
),
prepared_lines AS (
    SELECT count(*) AS lines, sum(CAST(hash(source_file, source_row) AS HUGEINT)) AS places
    FROM (
        SELECT source_file, source_row FROM {batch}
        UNION ALL
        SELECT source_file, source_row FROM prepared.rejected_orders
    )
)
SELECT
    raw_lines.lines AS raw,
    raw_lines.places AS raw_places,
    prepared_lines.lines AS prepared,
    prepared_lines.places AS prepared_places
FROM raw_lines
CROSS JOIN prepared_lines
WHERE
    raw_lines.lines IS DISTINCT FROM prepared_lines.lines
    OR raw_lines.places IS DISTINCT FROM prepared_lines.places
