-- The last order day, if the gap between it and the order day before it is too long.
WITH order_days AS (
    SELECT day, row_number() OVER (ORDER BY day DESC) AS place
    FROM (SELECT DISTINCT CAST(ordered_at AS DATE) AS day FROM {batch})
)
SELECT last_day, day_before
FROM (SELECT max(day) AS last_day, max(day) FILTER (place > 1) AS day_before FROM order_days)
WHERE date_diff('day', day_before, last_day) > :quality.last_day_gap_days
