-- The measured segments of the night, `profiled`, with what `numbered`, the champion's, says of each.
SELECT
    $as_of AS as_of,
    profiled.*,
    named.* EXCLUDE (segment_id),
    $fitted_as_of AS fitted_as_of
FROM {profiled} AS profiled
JOIN (
    -- One of its clusters is enough.
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
ORDER BY segment_id
