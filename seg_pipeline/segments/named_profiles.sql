-- One row per segment of the night: its profile, from `profiled`, its name and rule, from the champion's segments
-- (`numbered`), and where its customers are in their own rhythm.
SELECT
    $as_of AS as_of,
    profiled.*,
    named.* EXCLUDE (segment_id),
    rhythms.* EXCLUDE (segment_id),
    $fitted_as_of AS fitted_as_of,
    $reference_as_of AS reference_as_of
FROM {profiled} AS profiled
JOIN (
    -- The clusters of a segment have the same name and rule, so any one of them will do.
    SELECT DISTINCT ON (segment_id)
        segment_id,
        segment_name,
        grid_name,
        name_reason,
        stability,
        share AS fitted_share,
        rule,
        rule_precision,
        rule_recall
    FROM {numbered}
    ORDER BY segment_id, cluster
) AS named USING (segment_id)
-- Customers without a purchase have no rhythm.
LEFT JOIN (
    SELECT
        segment_id,
        count(*) FILTER (lifecycle = 'new') / count(*) AS lifecycle_new,
        count(*) FILTER (lifecycle = 'active') / count(*) AS lifecycle_active,
        count(*) FILTER (lifecycle = 'overdue') / count(*) AS lifecycle_overdue,
        count(*) FILTER (lifecycle = 'lapsed') / count(*) AS lifecycle_lapsed,
        count(*) FILTER (lifecycle = 'lost') / count(*) AS lifecycle_lost
    FROM {labelled} AS labelled
    JOIN {numbered} AS numbered USING (cluster)
    JOIN features.customer_rhythm AS rhythm USING (customer_id)
    WHERE rhythm.as_of = $as_of
    GROUP BY segment_id
) AS rhythms USING (segment_id)
ORDER BY segment_id
