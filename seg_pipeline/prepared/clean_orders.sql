-- One row per line that there is no reason to reject.
SELECT * EXCLUDE (line, reason)
FROM {parsed_lines}
WHERE reason IS NULL
