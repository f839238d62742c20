-- One row per customer who bought before the cutoff: their features at the cutoff, and their orders and revenue in
-- [cutoff, as_of).
WITH
-- One row per order. As in rfm_features.sql, an order that only returns goods is not a purchase.
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
SELECT
    -- The settings decide which features these are.
    features_at_cutoff.* EXCLUDE (customer_id),
    coalesce(outcomes.orders, 0) AS orders,
    coalesce(outcomes.revenue, 0) AS revenue
FROM {features_at_cutoff} AS features_at_cutoff
LEFT JOIN outcomes USING (customer_id)
-- The order is fixed because the bootstrap draws customers by position.
ORDER BY customer_id
