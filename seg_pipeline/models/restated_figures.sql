-- How many of the customers who were known on an earlier night had a figure restated since, and how much that is: changes
-- that do not come from days that passed, orders that came in, or recent orders that were cancelled or sent back.
WITH
known AS (
    SELECT
        before.recency_days > $settled_days AS is_settled,
        now.frequency - before.frequency AS more_orders,
        before.recency_days + $elapsed_days - now.recency_days AS last_order_later_by,
        before.tenure_days + $elapsed_days - now.tenure_days AS first_order_later_by,
        -- What was bought, without returns. Nothing says how much that was if all of it was returned.
        CASE
            WHEN before.return_rate = 0 THEN greatest(CAST(before.monetary AS DOUBLE), 0)
            WHEN abs(1 - before.return_rate) > 0.000001 THEN CAST(before.monetary AS DOUBLE) / (1 - before.return_rate)
        END AS purchased_before,
        CASE
            WHEN now.return_rate = 0 THEN greatest(CAST(now.monetary AS DOUBLE), 0)
            WHEN abs(1 - now.return_rate) > 0.000001 THEN CAST(now.monetary AS DOUBLE) / (1 - now.return_rate)
        END AS purchased_now
    FROM (SELECT * FROM features.rfm_features WHERE as_of = $since AND frequency > 0) AS before
    JOIN (SELECT * FROM features.rfm_features WHERE as_of = $as_of) AS now USING (customer_id)
),
compared AS (
    SELECT
        *,
        -- One order more, and later than all that were known. A file that comes late has such orders too.
        more_orders > 0 AND last_order_later_by > 0 AS has_bought,
        -- Sums of floating-point numbers may differ in their last digits.
        CASE
            WHEN abs(purchased_now - purchased_before) > 0.005 + 0.000001 * purchased_before
                THEN purchased_now - purchased_before
            ELSE 0
        END AS more_purchased
    FROM known
),
-- Without an order since, no figure can rise. Of customers whose orders are all old, none can fall; those who have no
-- purchase left have no first and no last order.
restated AS (
    SELECT
        purchased_before,
        abs(more_purchased) AS amount,
        (NOT has_bought AND last_order_later_by > 0)
        OR (is_settled AND coalesce(last_order_later_by, -1) < 0) AS recency_days,
        first_order_later_by < 0 OR (is_settled AND coalesce(first_order_later_by, 1) > 0) AS tenure_days,
        (NOT has_bought AND more_orders > 0) OR (is_settled AND more_orders < 0) AS frequency,
        (NOT has_bought AND more_purchased > 0) OR (is_settled AND more_purchased < 0) AS monetary
    FROM compared
)
SELECT
    count(*) AS known_customers,
    count(*) FILTER (WHERE recency_days) AS recency_days,
    count(*) FILTER (WHERE tenure_days) AS tenure_days,
    count(*) FILTER (WHERE frequency) AS frequency,
    count(*) FILTER (WHERE monetary) AS monetary,
    count(*) FILTER (WHERE recency_days) / nullif(count(*), 0) AS recency_days_share,
    count(*) FILTER (WHERE tenure_days) / nullif(count(*), 0) AS tenure_days_share,
    count(*) FILTER (WHERE frequency) / nullif(count(*), 0) AS frequency_share,
    coalesce(sum(amount) FILTER (WHERE monetary), 0) / nullif(sum(purchased_before), 0) AS monetary_share
FROM restated
