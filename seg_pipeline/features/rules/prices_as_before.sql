-- The median unit price of the last order day and of the four weeks before it, if they differ too much.
WITH
-- The prices of the last day before the night and of the 28 days before that day.
unit_prices AS (
    SELECT CAST(ordered_at AS DATE) AS day, CAST(amount AS DOUBLE) / quantity AS unit_price
    FROM prepared.clean_orders
    WHERE NOT is_return AND amount > 0 AND ordered_at < :as_of AND ordered_at >= :as_of - 29
),
medians AS (
    SELECT
        max(day) AS last_day,
        median(unit_price) FILTER (is_last) AS price,
        median(unit_price) FILTER (NOT is_last) AS price_before,
        count(*) FILTER (is_last) AS lines
    FROM (SELECT day, unit_price, day = max(day) OVER () AS is_last FROM unit_prices)
)
SELECT last_day, price, price_before
FROM medians
WHERE
    -- The median of a few lines says little about a day.
    lines >= 20
    AND EXISTS (SELECT * FROM {batch})
    AND greatest(price / price_before, price_before / price) > :drift.price_ratio_critical
