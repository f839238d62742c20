-- The revenue of the window and that of its clean lines of earlier buyers, if they differ. A sample is not judged.
WITH cutoff AS (SELECT min(cutoff) AS day FROM {batch}),
window_lines AS (
    SELECT sum(amount) AS of_lines
    FROM prepared.clean_orders
    WHERE
        ordered_at < :as_of
        AND ordered_at >= (SELECT day FROM cutoff)
        AND customer_id IN (
            SELECT customer_id
            FROM prepared.clean_orders
            WHERE NOT is_return AND ordered_at < (SELECT day FROM cutoff)
        )
)
SELECT revenue, of_lines
FROM {batch}
CROSS JOIN window_lines
WHERE NOT sampled AND abs(revenue - of_lines) > 0.01
