-- One row per order day of `days`: the figures that follow from the day's own lines. `order_days` has the days of each
-- order, those of other days included.
WITH
lines AS (
    SELECT *, CAST(ordered_at AS DATE) AS order_day
    FROM prepared.clean_orders
    WHERE CAST(ordered_at AS DATE) IN (SELECT order_day FROM {days})
),
-- One row per day, order and customer, so that counting distinct ones is cheap.
orders AS (
    SELECT order_day, order_id, customer_id
    FROM lines
    GROUP BY order_day, order_id, customer_id
),
-- The orders whose lines are of several days.
order_starts AS (
    SELECT order_id, min(order_day) AS first_day
    FROM {order_days}
    GROUP BY order_id
    HAVING min(order_day) < max(order_day)
),
customer_counts AS (
    SELECT order_day, count(DISTINCT customer_id) AS customers
    FROM orders
    GROUP BY order_day
),
order_counts AS (
    SELECT order_day, count(*) AS orders, count(first_day) AS known_orders
    FROM (SELECT DISTINCT order_day, order_id FROM orders) AS orders_of_day
    LEFT JOIN order_starts
        ON order_starts.order_id = orders_of_day.order_id AND first_day < order_day
    GROUP BY order_day
),
line_figures AS (
    SELECT
        order_day,
        count(*) AS lines,
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
JOIN customer_counts USING (order_day)
