-- One row per customer with a purchase before the night: how often the customer usually buys, how long they have been
-- silent by that measure, and what that makes of them.
WITH
order_days AS (
    SELECT DISTINCT customer_id, CAST(ordered_at AS DATE) AS ordered_on
    FROM prepared.clean_orders
    WHERE NOT is_return AND ordered_at < $as_of
),
-- NULL for the first order day of each customer. Distinct days are at least one day apart.
gaps AS (
    SELECT
        customer_id,
        date_diff('day', lag(ordered_on) OVER (PARTITION BY customer_id ORDER BY ordered_on), ordered_on) AS gap_days
    FROM order_days
),
customers AS (
    SELECT customer_id, median(gap_days) AS usual_gap_days
    FROM gaps
    GROUP BY customer_id
),
shop AS (
    SELECT median(gap_days) AS usual_gap_days, quantile_disc(gap_days, $lost_share) AS longest_gap_days
    FROM gaps
    WHERE gap_days IS NOT NULL
),
measured AS (
    SELECT
        customers.customer_id,
        -- As long as there is one order day, the shop's gaps stand for the customer's own.
        coalesce(customers.usual_gap_days, shop.usual_gap_days) AS usual_gap_days,
        features.recency_days / coalesce(customers.usual_gap_days, shop.usual_gap_days) AS days_overdue_ratio,
        -- Where no customer has two order days, all who bought lately are new, however often on their day.
        (features.frequency = 1 OR shop.usual_gap_days IS NULL) AND features.tenure_days <= $new_days AS is_new,
        features.recency_days > shop.longest_gap_days AS is_silent_for_too_long
    FROM customers
    JOIN features.rfm_features AS features USING (customer_id)
    CROSS JOIN shop
    WHERE features.as_of = $as_of
)
SELECT
    $as_of AS as_of,
    customer_id,
    usual_gap_days,
    days_overdue_ratio,
    CASE
        WHEN is_new THEN 'new'
        WHEN days_overdue_ratio <= $active_ratio THEN 'active'
        WHEN days_overdue_ratio <= $overdue_ratio THEN 'overdue'
        WHEN is_silent_for_too_long THEN 'lost'
        ELSE 'lapsed'
    END AS lifecycle
FROM measured
