-- The revenue of the window and the sum of the clean lines that it is made of, if they differ. Nothing if the window
-- holds a sample of the customers, or was not tested (its revenue is NULL).
WITH
bounds AS (
    SELECT min(cutoff) AS cutoff, min(cutoff + window_days) AS night
    FROM {batch}
),
earlier_buyers AS (
    SELECT customer_id
    FROM prepared.clean_orders
    WHERE NOT is_return AND ordered_at < (SELECT cutoff FROM bounds)
),
clean_lines AS (
    SELECT coalesce(sum(amount), 0) AS amount
    FROM prepared.clean_orders
    WHERE
        ordered_at >= (SELECT cutoff FROM bounds)
        AND ordered_at < (SELECT night FROM bounds)
        AND customer_id IN (SELECT customer_id FROM earlier_buyers)
)
SELECT value_window.revenue, clean_lines.amount AS amount_of_clean_lines
FROM {batch} AS value_window
CROSS JOIN clean_lines
WHERE
    NOT value_window.sampled
    -- A cent, for rounding.
    AND abs(value_window.revenue - clean_lines.amount) > 0.01
