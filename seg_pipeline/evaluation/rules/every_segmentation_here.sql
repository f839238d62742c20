-- Segmentations that are in value_by_segment or in value_test, but not in both.
SELECT algorithm, k, in_value_by_segment, in_value_test
FROM (SELECT DISTINCT algorithm, k, true AS in_value_by_segment FROM {batch}) AS by_segment
FULL JOIN (SELECT algorithm, k, true AS in_value_test FROM evaluation.value_test WHERE as_of = :as_of) AS tested
    USING (algorithm, k)
WHERE in_value_by_segment IS NULL OR in_value_test IS NULL
