-- Compares segment_migration with segment_history cell by cell. Rows that compare with a night that was deleted since are
-- left out.
WITH
earlier AS (
    SELECT max(as_of) AS from_as_of FROM segments.segment_history WHERE as_of < :as_of
    UNION
    SELECT max(as_of) AS from_as_of FROM segments.segment_history WHERE as_of <= :as_of - 7
),
before AS (
    SELECT earlier.from_as_of, history.customer_id, history.segment_id
    FROM segments.segment_history AS history
    JOIN earlier ON earlier.from_as_of = history.as_of
),
now AS (
    SELECT earlier.from_as_of, history.customer_id, history.segment_id
    FROM segments.segment_history AS history
    JOIN earlier ON earlier.from_as_of < history.as_of
    WHERE history.as_of = :as_of
),
counted AS (
    SELECT
        from_as_of,
        coalesce(before.segment_id, -1) AS from_segment_id,
        coalesce(now.segment_id, -1) AS to_segment_id,
        count(*) AS by_history
    FROM before
    FULL JOIN now USING (from_as_of, customer_id)
    GROUP BY from_as_of, before.segment_id, now.segment_id
),
written AS (
    SELECT from_as_of, from_segment_id, to_segment_id, customers
    FROM {batch}
    WHERE from_as_of IN (SELECT as_of FROM segments.segment_history)
)
SELECT from_as_of, from_segment_id, to_segment_id, customers, by_history
FROM written
FULL JOIN counted USING (from_as_of, from_segment_id, to_segment_id)
WHERE customers IS DISTINCT FROM by_history
