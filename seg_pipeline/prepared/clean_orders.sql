-- The lines without a reason to reject them.
SELECT * EXCLUDE (line, reason)
FROM {parsed_lines}
WHERE reason IS NULL
