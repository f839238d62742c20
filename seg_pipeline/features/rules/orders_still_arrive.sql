-- The last order day before the night, if the shop usually has orders on the day before the night (in at least seven of
-- the eight weeks before it) or if there have been none for a week. A shop that is closed is not reported every night.
WITH days AS (
    SELECT
        max(last_order_on) AS last_order_on,
        date_diff('day', max(last_order_on), CAST(:as_of AS DATE)) - 1 AS days_without_orders
    FROM {batch}
),
same_weekday AS (
    SELECT count(*) AS weeks_with_orders
    FROM prepared.day_figures
    WHERE
        source_file IS NULL
        AND lines > 0
        AND order_day < :as_of - 1
        AND order_day >= :as_of - 57
        AND date_diff('day', order_day, CAST(:as_of AS DATE) - 1) % 7 = 0
)
SELECT last_order_on, days_without_orders
FROM days
CROSS JOIN same_weekday
WHERE
    (days_without_orders BETWEEN 1 AND 2 AND weeks_with_orders >= 7)
    OR (days_without_orders > 0 AND days_without_orders % 7 = 0)
