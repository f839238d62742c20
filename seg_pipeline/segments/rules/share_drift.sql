-- The population stability index of the segments' shares of the buyers, now against the night of the fit
-- (models/drift.py). Segments that have lost all their customers have no row, so together they are one more bin.
SELECT
    sum((now - fitted) * ln(now / fitted)) + (max(gone) - 0.0001) * ln(max(gone) / 0.0001) AS psi,
    max(fitted_as_of) AS fitted_as_of
FROM (
    SELECT
        fitted_as_of,
        greatest(customers / sum(customers) OVER (), 0.0001) AS now,
        greatest(fitted_share, 0.0001) AS fitted,
        greatest(1 - sum(fitted_share) OVER (), 0.0001) AS gone
    FROM {batch}
    WHERE segment_id > 0
)
