-- One row per segment of the night, without names. `labelled` has the cluster of each customer, `numbered` the segment
-- of each cluster, and `rhythm` is customer_rhythm.
WITH
members AS (
    SELECT
        features.*,
        numbered.segment_id,
        labelled.cluster,
        labelled.confidence,
        rhythm.lifecycle
    FROM features.rfm_features AS features
    JOIN {labelled} AS labelled USING (customer_id)
    JOIN {numbered} AS numbered USING (cluster)
    -- Nights of older versions have no rhythm.
    LEFT JOIN {rhythm} AS rhythm ON rhythm.as_of = features.as_of AND rhythm.customer_id = features.customer_id
    WHERE features.as_of = $as_of
),
-- The upper quartile of spend among the segment's own customers.
reachable AS (
    SELECT segment_id, quantile_disc(monetary, 0.75) AS monetary
    FROM members
    GROUP BY segment_id
)
SELECT
    members.segment_id,
    min(cluster) AS cluster,
    count(*) AS customers,
    count(*) / sum(count(*)) OVER () AS share,
    sum(members.monetary) AS revenue,
    sum(members.monetary) / nullif(sum(sum(members.monetary)) OVER (), 0) AS revenue_share,
    CASE WHEN members.segment_id = 0 THEN 0
        ELSE sum(greatest(reachable.monetary - members.monetary, 0)) END AS headroom,
    count(*) FILTER (recency_days <= 90) / count(*) AS active_share,
    count(*) FILTER (frequency = 1) / count(*) AS once_share,
    -- Customers without a purchase have no rhythm.
    count(*) FILTER (lifecycle = 'new') / nullif(count(lifecycle), 0) AS lifecycle_new,
    count(*) FILTER (lifecycle = 'active') / nullif(count(lifecycle), 0) AS lifecycle_active,
    count(*) FILTER (lifecycle = 'overdue') / nullif(count(lifecycle), 0) AS lifecycle_overdue,
    count(*) FILTER (lifecycle = 'lapsed') / nullif(count(lifecycle), 0) AS lifecycle_lapsed,
    count(*) FILTER (lifecycle = 'lost') / nullif(count(lifecycle), 0) AS lifecycle_lost,
    -- Scores are whole numbers, so their sums are exact in any order of the rows, unlike avg().
    sum(r_score) / count(r_score) AS mean_r_score,
    sum(f_score) / count(f_score) AS mean_f_score,
    sum(m_score) / count(m_score) AS mean_m_score,
    median(recency_days) AS median_recency_days,
    median(frequency) AS median_frequency,
    median(CAST(members.monetary AS DOUBLE)) AS median_monetary,
    median(avg_order_value) AS median_avg_order_value,
    median(tenure_days) AS median_tenure_days,
    median(days_between_orders) AS median_days_between_orders,
    median(return_rate) AS median_return_rate,
    median(units_per_order) AS median_units_per_order,
    sum(CAST(confidence AS DECIMAL(18, 12))) / count(*) AS mean_confidence
FROM members
JOIN reachable USING (segment_id)
GROUP BY members.segment_id
ORDER BY members.segment_id
