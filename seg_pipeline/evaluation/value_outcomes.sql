-- One row per customer with a purchase before the cutoff: what was `known` then, and their orders and revenue in the
-- window from the cutoff to the night.
WITH
-- One row per order. As in rfm_features.sql, an order that only returns goods is no purchase.
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
        -- The sum has 38 digits, which are slow to convert to floating point; 18 are enough.
        CAST(sum(amount) AS DECIMAL(18, 4)) AS revenue
    FROM orders
    GROUP BY customer_id
)
SELECT known.* EXCLUDE (customer_id), coalesce(outcomes.orders, 0) AS orders, coalesce(outcomes.revenue, 0) AS revenue
FROM {known} AS known
LEFT JOIN outcomes USING (customer_id)
-- A fixed order, since the bootstrap draws customers by position.
ORDER BY customer_id
