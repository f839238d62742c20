-- The lines that count.
SELECT * EXCLUDE (line, reason)
FROM {parsed_lines}
WHERE reason IS NULL
