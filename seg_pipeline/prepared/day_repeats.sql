-- One row per order day of `days`: the share of the bought lines that repeat another one. A line repeats another if the
-- customer bought as many units of the same product for the same amount on the same day or in the $repeat_days before.
-- `near` has the days and those before them.
WITH
purchases AS (
    SELECT
        CAST(ordered_at AS DATE) AS order_day,
        customer_id,
        product_id,
        quantity,
        amount,
        count(*) AS lines
    FROM prepared.clean_orders
    WHERE NOT is_return AND CAST(ordered_at AS DATE) IN (SELECT order_day FROM {near})
    GROUP BY CAST(ordered_at AS DATE), customer_id, product_id, quantity, amount
),
in_order AS (
    SELECT
        order_day,
        lines,
        lag(order_day) OVER (
            PARTITION BY customer_id, product_id, quantity, amount
            ORDER BY order_day
        ) AS day_before
    FROM purchases
)
SELECT
    order_day,
    sum(CASE WHEN date_diff('day', day_before, order_day) <= $repeat_days THEN lines ELSE lines - 1 END) / sum(lines)
        AS share_repeated
FROM in_order
WHERE order_day IN (SELECT order_day FROM {days})
GROUP BY order_day
