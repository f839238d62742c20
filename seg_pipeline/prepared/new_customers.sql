-- One row per day on which a customer had their first line: the number of such customers.
SELECT order_day, count(*) AS new_customers
FROM (
    SELECT customer_id, min(CAST(ordered_at AS DATE)) AS order_day
    FROM prepared.clean_orders
    GROUP BY customer_id
)
GROUP BY order_day
