-- One row per customer of the night. `labelled` has the cluster of each customer, `numbered` the segment of each cluster,
-- and `advised` the name whose actions apply, by the segment's name, the lifecycle, and whether there was a second order.
SELECT
    $as_of AS as_of,
    labelled.customer_id,
    numbered.segment_id,
    numbered.segment_name,
    labelled.confidence,
    rhythm.lifecycle,
    coalesce(advised.advice, numbered.grid_name) AS advice,
    $model_id AS model_id,
    $fitted_as_of AS fitted_as_of
FROM {labelled} AS labelled
JOIN {numbered} AS numbered ON numbered.cluster = labelled.cluster
JOIN (SELECT customer_id, frequency FROM features.rfm_features WHERE as_of = $as_of) AS features
    ON features.customer_id = labelled.customer_id
-- Customers without a purchase have no rhythm.
LEFT JOIN (SELECT customer_id, lifecycle FROM features.customer_rhythm WHERE as_of = $as_of) AS rhythm
    ON rhythm.customer_id = labelled.customer_id
LEFT JOIN {advised} AS advised
    ON advised.grid_name = numbered.grid_name AND advised.lifecycle = rhythm.lifecycle
    AND advised.bought_again = (features.frequency > 1)
