-- One row per customer with a clean line before the night: recency, frequency, monetary, and how the customer buys.
WITH
lines AS (
    SELECT *, CAST(ordered_at AS DATE) AS ordered_on
    FROM prepared.clean_orders
    WHERE ordered_at < $as_of
),
-- One row per order, so that counting distinct orders is cheap. An order that only returns goods is not a purchase.
orders AS (
    SELECT
        customer_id,
        order_id,
        min(ordered_on) FILTER (WHERE NOT is_return) AS first_on,
        max(ordered_on) FILTER (WHERE NOT is_return) AS last_on,
        count(*) FILTER (WHERE NOT is_return) AS purchase_lines,
        sum(quantity) FILTER (WHERE NOT is_return) AS units,
        coalesce(sum(amount) FILTER (WHERE NOT is_return), 0) AS purchased,
        coalesce(sum(amount) FILTER (WHERE is_return), 0) AS returned
    FROM lines
    GROUP BY customer_id, order_id
),
customers AS (
    SELECT
        customer_id,
        min(first_on) AS first_order_on,
        max(last_on) AS last_order_on,
        count(*) FILTER (WHERE purchase_lines > 0) AS frequency,
        count(DISTINCT first_on) AS purchase_days,
        count(DISTINCT date_trunc('month', first_on)) AS active_months,
        coalesce(sum(units), 0) AS units,
        sum(purchase_lines) AS purchase_lines,
        sum(purchased) AS purchased,
        sum(returned) AS returned,
        coalesce(sum(purchased) FILTER (WHERE last_on >= $as_of - INTERVAL 90 DAY), 0) AS purchased_lately
    FROM orders
    GROUP BY customer_id
),
-- Materialized because it is expensive and read twice below: for the cuts and for the scores.
measured AS MATERIALIZED (
    SELECT
        customer_id,
        first_order_on,
        last_order_on,
        -- Calendar days: an order at 23:59 yesterday is one day ago.
        date_diff('day', last_order_on, $as_of) AS recency_days,
        frequency,
        CAST(purchased + returned AS DECIMAL(18, 4)) AS monetary,
        (purchased + returned) / nullif(frequency, 0) AS avg_order_value,
        date_diff('day', first_order_on, $as_of) AS tenure_days,
        date_diff('day', first_order_on, last_order_on) / nullif(purchase_days - 1, 0) AS days_between_orders,
        CASE WHEN purchased > 0 THEN -returned / purchased ELSE 0 END AS return_rate,
        units / nullif(frequency, 0) AS units_per_order,
        purchase_lines / nullif(frequency, 0) AS lines_per_order,
        active_months,
        CASE WHEN purchased > 0 THEN purchased_lately / purchased END AS recent_share
    FROM customers
),
-- The values that divide the buyers into fifths. A list of shares is DuckDB's own syntax.
cuts AS (
    SELECT
        quantile_disc(recency_days, [0.2, 0.4, 0.6, 0.8]) AS recency_days,
        quantile_disc(frequency, [0.2, 0.4, 0.6, 0.8]) AS frequency,
        quantile_disc(monetary, [0.2, 0.4, 0.6, 0.8]) AS monetary,
        -- The largest frequency, if most buyers share it and it is more than one purchase.
        CASE WHEN quantile_disc(frequency, 0.5) = max(frequency) THEN nullif(max(frequency), 1) END AS usual_frequency
    FROM measured
    WHERE frequency > 0
),
-- A score depends on the value alone, so equal customers get equal scores. The most recent buyers score 5 however many
-- there are; the least frequent and the least valuable score 1 however many there are. If most share the highest
-- frequency, as subscribers do, that is the best one, and scores 5.
scored AS (
    SELECT
        measured.*,
        CASE WHEN measured.frequency > 0
            THEN 5 - len(list_filter(cuts.recency_days, lambda cut: cut < measured.recency_days)) END AS r_score,
        CASE
            WHEN measured.frequency = cuts.usual_frequency THEN 5
            WHEN measured.frequency > 0
                THEN 1 + len(list_filter(cuts.frequency, lambda cut: cut < measured.frequency))
        END AS f_score,
        CASE WHEN measured.frequency > 0
            THEN 1 + len(list_filter(cuts.monetary, lambda cut: cut < measured.monetary)) END AS m_score
    FROM measured, cuts
)
SELECT
    $as_of AS as_of,
    *,
    -- The public R x F grid: ten names for its 25 cells.
    CASE
        WHEN frequency = 0 THEN 'No purchases'
        WHEN r_score = 5 AND f_score >= 4 THEN 'Champions'
        WHEN r_score IN (3, 4) AND f_score >= 4 THEN 'Loyal Customers'
        WHEN r_score >= 4 AND f_score IN (2, 3) THEN 'Potential Loyalists'
        WHEN r_score = 5 AND f_score = 1 THEN 'New Customers'
        WHEN r_score = 4 AND f_score = 1 THEN 'Promising'
        WHEN r_score = 3 AND f_score = 3 THEN 'Need Attention'
        WHEN r_score = 3 THEN 'About to Sleep'
        WHEN f_score = 5 THEN 'Can''t Lose'
        WHEN f_score >= 3 THEN 'At Risk'
        ELSE 'Hibernating'
    END AS rfm_segment
FROM scored
