-- The lines of new files, and those whose key occurs in a new, changed or dropped file. Lines affect each other only if
-- they have the same key.
WITH
touched_keys AS (
    SELECT key
    FROM {raw_lines}
    WHERE source_file IN (SELECT unnest($added_files))
    UNION
    SELECT key
    FROM {clean_lines}
    WHERE source_file IN (SELECT unnest($removed_files))
    UNION
    SELECT key
    FROM {rejected_lines}
    WHERE source_file IN (SELECT unnest($removed_files))
)
SELECT line, source_file, source_row
FROM {raw_lines}
WHERE
    source_file IN (SELECT unnest($added_files))
    OR key IN (SELECT key FROM touched_keys)
