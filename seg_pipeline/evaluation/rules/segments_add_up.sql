-- Segmentations whose segments do not add up to the customers, orders and revenue of the window.
WITH
segment_totals AS (
    SELECT algorithm, k, sum(customers) AS customers, sum(orders) AS orders, sum(revenue) AS revenue
    FROM {batch}
    GROUP BY algorithm, k
),
value_window AS (
    SELECT customers, orders, revenue
    FROM evaluation.value_window
    WHERE as_of = :as_of
)
SELECT
    segment_totals.algorithm,
    segment_totals.k,
    segment_totals.customers,
    value_window.customers AS customers_in_window,
    segment_totals.orders,
    value_window.orders AS orders_in_window,
    segment_totals.revenue,
    value_window.revenue AS revenue_in_window
FROM segment_totals
CROSS JOIN value_window
WHERE
    segment_totals.customers IS DISTINCT FROM value_window.customers
    OR segment_totals.orders IS DISTINCT FROM value_window.orders
    -- A cent, for rounding.
    OR abs(segment_totals.revenue - value_window.revenue) > 0.01
