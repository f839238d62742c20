-- The population stability index of the segments' shares of the buyers, now against the night that drift is measured
-- from. Its terms are those of models/drift.py. Segments that have lost all their customers have no row, so together
-- they are one bin that is empty now.
SELECT
    sum({segment_term}) + {lost_term} AS psi,
    max(reference_as_of) AS reference_as_of
FROM (
    SELECT
        reference_as_of,
        fitted_share,
        customers / sum(customers) OVER () AS now,
        1 - sum(fitted_share) OVER () AS lost
    FROM {batch}
    WHERE segment_id > 0
)
