-- One row per order day of `days`: the figures that follow from the day's own lines.
WITH
lines AS (
    SELECT *, CAST(ordered_at AS DATE) AS order_day
    FROM prepared.clean_orders
    WHERE CAST(ordered_at AS DATE) IN (SELECT order_day FROM {days})
),
-- One row per order and day, so that counting distinct orders is cheap.
orders AS (
    SELECT DISTINCT order_day, order_id
    FROM lines
),
order_starts AS (
    SELECT order_id, min(CAST(ordered_at AS DATE)) AS first_day
    FROM prepared.clean_orders
    WHERE order_id IN (SELECT order_id FROM orders)
    GROUP BY order_id
),
order_counts AS (
    SELECT order_day, count(*) AS orders, count(*) FILTER (WHERE first_day < order_day) AS known_orders
    FROM orders
    JOIN order_starts USING (order_id)
    GROUP BY order_day
),
line_figures AS (
    SELECT
        order_day,
        count(*) AS lines,
        count(DISTINCT customer_id) AS customers,
        sum(amount) AS revenue,
        median(CAST(quantity AS DOUBLE)) FILTER (WHERE NOT is_return) AS median_quantity,
        median(CAST(amount AS DOUBLE) / CAST(quantity AS DOUBLE)) FILTER (WHERE NOT is_return) AS median_unit_price,
        count(*) FILTER (WHERE is_return) / count(*) AS share_returned
    FROM lines
    GROUP BY order_day
)
SELECT
    order_day,
    lines,
    orders,
    customers,
    revenue,
    median_quantity,
    median_unit_price,
    share_returned,
    known_orders / orders AS share_known_orders
FROM line_figures
JOIN order_counts USING (order_day)
