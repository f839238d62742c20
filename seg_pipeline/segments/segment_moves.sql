-- One row per customer whose segment has changed since the earlier night, or who was not a customer then (segment -1).
SELECT
    $as_of AS as_of,
    customer_id,
    $from_as_of AS from_as_of,
    coalesce(before.segment_id, -1) AS from_segment_id,
    coalesce(before.segment_name, 'Not yet a customer') AS from_segment_name,
    now.segment_id,
    now.segment_name,
    features.monetary
FROM (SELECT * FROM segments.segment_assignments WHERE as_of = $as_of) AS now
LEFT JOIN (SELECT * FROM segments.segment_assignments WHERE as_of = $from_as_of) AS before USING (customer_id)
JOIN (SELECT * FROM features.rfm_features WHERE as_of = $as_of) AS features USING (customer_id)
WHERE before.segment_id IS DISTINCT FROM now.segment_id
ORDER BY customer_id
