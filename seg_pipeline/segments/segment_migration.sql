-- Counts customers by their segment on an earlier night and on this one. Those who were not customers on one of the two
-- nights have segment -1 on it.
SELECT
    $as_of AS as_of,
    $from_as_of AS from_as_of,
    $as_of AS to_as_of,
    coalesce(before.segment_id, -1) AS from_segment_id,
    coalesce(min(before.segment_name), 'Not yet a customer') AS from_segment_name,
    coalesce(now.segment_id, -1) AS to_segment_id,
    coalesce(min(now.segment_name), 'No customer any more') AS to_segment_name,
    count(*) AS customers
FROM (SELECT * FROM segments.segment_assignments WHERE as_of = $from_as_of) AS before
FULL JOIN (SELECT * FROM segments.segment_assignments WHERE as_of = $as_of) AS now USING (customer_id)
GROUP BY before.segment_id, now.segment_id
ORDER BY from_segment_id, to_segment_id
