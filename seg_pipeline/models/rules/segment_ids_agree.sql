-- Returns the newest champion if a segment id has two names or a name has two ids.
WITH newest_segments AS (
    SELECT number, unnest(segments) AS segment
    FROM (SELECT * FROM {batch} ORDER BY number DESC LIMIT 1)
),
pairs AS (
    SELECT DISTINCT number, segment.segment_id, segment.segment_name
    FROM newest_segments
)
SELECT number
FROM pairs
GROUP BY number
HAVING count(*) != count(DISTINCT segment_id) OR count(*) != count(DISTINCT segment_name)
