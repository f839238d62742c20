-- The newest champion, if its segment ids and segment names are not paired one to one.
WITH segments AS (
    SELECT number, unnest(segments) AS segment
    FROM (SELECT number, segments FROM {batch} ORDER BY number DESC LIMIT 1)
)
SELECT number
FROM segments
GROUP BY number
HAVING
    count(DISTINCT segment.segment_id) != count(DISTINCT segment.segment_name)
    OR count(DISTINCT segment.segment_id) != count(DISTINCT segment.segment_id || segment.segment_name)
