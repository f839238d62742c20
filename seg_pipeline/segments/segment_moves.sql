-- One row per customer whose segment has changed since the earlier night, who was not a customer then, or who is none any
-- more. `scored` has the segment of the earlier night's customers by tonight's model.
WITH
moved AS (
    SELECT
        customer_id,
        before.segment_id AS from_segment_id,
        before.segment_name AS from_segment_name,
        now.segment_id,
        now.segment_name,
        -- Those who are gone are worth what they were on the earlier night.
        CASE WHEN now.segment_id IS NULL THEN $from_as_of ELSE $as_of END AS as_of
    FROM (SELECT * FROM segments.segment_assignments WHERE as_of = $from_as_of) AS before
    FULL JOIN (SELECT * FROM segments.segment_assignments WHERE as_of = $as_of) AS now USING (customer_id)
    WHERE before.segment_id IS DISTINCT FROM now.segment_id
),
-- Customers who were not there on the earlier night, although they have lines before it: these were delivered late.
late AS (
    SELECT DISTINCT customer_id
    FROM prepared.clean_orders
    WHERE ordered_at < $from_as_of
        AND customer_id IN (SELECT customer_id FROM moved WHERE from_segment_id IS NULL)
)
SELECT
    $as_of AS as_of,
    moved.customer_id,
    $from_as_of AS from_as_of,
    coalesce(moved.from_segment_id, -1) AS from_segment_id,
    coalesce(moved.from_segment_name, 'Not yet a customer') AS from_segment_name,
    coalesce(moved.segment_id, -1) AS segment_id,
    coalesce(moved.segment_name, 'No customer any more') AS segment_name,
    features.monetary,
    CASE
        WHEN moved.segment_id IS NULL THEN 'gone'
        WHEN late.customer_id IS NOT NULL THEN 'late'
        WHEN moved.from_segment_id IS NULL THEN 'new'
        -- Tonight's model puts them in the same segment as they were then, so only the model has changed.
        WHEN scored.segment_id = moved.segment_id THEN 'model'
        ELSE 'customer'
    END AS moved_by,
    $from_model_id AS from_model_id,
    $model_id AS model_id
FROM moved
LEFT JOIN late ON late.customer_id = moved.customer_id
LEFT JOIN {scored} AS scored ON scored.customer_id = moved.customer_id
LEFT JOIN (
    SELECT as_of, customer_id, monetary FROM features.rfm_features WHERE as_of IN ($from_as_of, $as_of)
) AS features ON features.customer_id = moved.customer_id AND features.as_of = moved.as_of
ORDER BY moved.customer_id
