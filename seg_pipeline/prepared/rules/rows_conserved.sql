-- Counts, and sums of hashed line places, of the raw lines and of the clean and rejected lines together.
SELECT *
FROM (
    SELECT count(*) AS raw, sum(CAST(hash(source_file, source_row) AS HUGEINT)) AS raw_places
    FROM raw.raw_orders
) AS delivered
CROSS JOIN (
    SELECT count(*) AS prepared, sum(CAST(hash(source_file, source_row) AS HUGEINT)) AS prepared_places
    FROM (
        SELECT source_file, source_row FROM {batch}
        UNION ALL
        SELECT source_file, source_row FROM prepared.rejected_orders
    )
) AS cleaned
WHERE raw != prepared OR raw_places != prepared_places
