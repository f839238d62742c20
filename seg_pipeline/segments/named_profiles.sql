-- One row per segment of the night: its profile, from `profiled`, and its name and rule, from the champion's segments
-- (`numbered`).
SELECT
    $as_of AS as_of,
    profiled.*,
    named.* EXCLUDE (segment_id),
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
        deserved_share,
        stability,
        share AS fitted_share,
        rule,
        rule_precision,
        rule_recall
    FROM {numbered}
    ORDER BY segment_id, cluster
) AS named USING (segment_id)
ORDER BY segment_id
