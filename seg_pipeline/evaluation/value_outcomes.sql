-- One row per customer with a purchase before the cutoff: what was `known` then, and what came of it before the night.
WITH
-- As in rfm_features.sql: one row per order, and an order that only returns goods is no purchase.
orders AS (
    SELECT
        customer_id,
        order_id,
        count(*) FILTER (WHERE NOT is_return) AS purchase_lines,
        sum(amount) AS amount
    FROM prepared.clean_orders
    WHERE ordered_at >= $cutoff AND ordered_at < $as_of
    GROUP BY customer_id, order_id
),
outcomes AS (
    SELECT
        customer_id,
        count(*) FILTER (WHERE purchase_lines > 0) AS orders,
        -- Of 18 digits: the sum has 38, which take long to become floating point.
        CAST(sum(amount) AS DECIMAL(18, 4)) AS revenue
    FROM orders
    GROUP BY customer_id
)
SELECT known.* EXCLUDE (customer_id), coalesce(outcomes.orders, 0) AS orders, coalesce(outcomes.revenue, 0) AS revenue
FROM {known} AS known
LEFT JOIN outcomes USING (customer_id)
-- The order that random draws go by.
ORDER BY customer_id
