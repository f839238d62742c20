-- The most common reason for rejecting lines, with the first such line but for its customer. There is no row if nothing is rejected.
SELECT
    reason,
    count(*) AS lines,
    arg_min(
        source_file || ' row ' || source_row || ': '
        || concat_ws(', ', ordered_at, quantity, unit_price, amount),
        (source_file, source_row)
    ) AS first_line
FROM prepared.rejected_orders
GROUP BY reason
ORDER BY lines DESC, reason
LIMIT 1
