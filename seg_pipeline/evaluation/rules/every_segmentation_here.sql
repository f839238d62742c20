-- Segmentations that are in this table or in value_test, but not in both.
SELECT algorithm, k
FROM (SELECT DISTINCT algorithm, k, 1 AS here FROM {batch}) AS by_segment
FULL JOIN (SELECT algorithm, k, 1 AS tested FROM evaluation.value_test WHERE as_of = :as_of) AS whole
    USING (algorithm, k)
WHERE here IS NULL OR tested IS NULL
