-- The lines that count.
SELECT * EXCLUDE (reason)
FROM parsed_lines
WHERE reason IS NULL
