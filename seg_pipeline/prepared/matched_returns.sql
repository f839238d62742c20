-- Sets the reason for rejecting purchases and the returns that cancel them. Both have the same customer, product, price
-- and number of units, and the return is later. A return cancels the newest purchase that is still open, as a closing
-- bracket closes the last open one.
UPDATE {parsed_lines}
SET reason = matched.reason
FROM (
    WITH
    steps AS (
        SELECT
            line,
            is_return,
            customer_id,
            product_id,
            unit_price,
            abs(quantity) AS units,
            abs(amount) AS value,
            ordered_at,
            source_file,
            source_row,
            -- The number of purchases minus the number of returns so far.
            sum(CASE WHEN is_return THEN -1 ELSE 1 END) OVER lines_in_time AS open
        FROM {parsed_lines}
        WHERE reason IS NULL
        WINDOW lines_in_time AS (
            PARTITION BY customer_id, product_id, unit_price, abs(quantity), abs(amount)
            ORDER BY ordered_at, is_return, source_file, source_row
            ROWS UNBOUNDED PRECEDING
        )
    ),
    levels AS (
        -- A return that finds no open purchase takes `open` to a new minimum, from which later purchases count.
        SELECT
            *,
            least(0, min(open) OVER lines_in_time) AS floor,
            coalesce(least(0, min(open) OVER lines_before), 0) AS floor_before
        FROM steps
        WINDOW
            lines_in_time AS (
                PARTITION BY customer_id, product_id, unit_price, units, value
                ORDER BY ordered_at, is_return, source_file, source_row
                ROWS UNBOUNDED PRECEDING
            ),
            lines_before AS (
                PARTITION BY customer_id, product_id, unit_price, units, value
                ORDER BY ordered_at, is_return, source_file, source_row
                ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING
            )
    ),
    pairs AS (
        -- At each level, purchases and returns alternate.
        SELECT
            line,
            is_return,
            lead(is_return, 1, false) OVER (
                PARTITION BY customer_id, product_id, unit_price, units, value, open - floor + CAST(is_return AS INTEGER)
                ORDER BY ordered_at, is_return, source_file, source_row
            ) AS is_cancelled
        FROM levels
        WHERE NOT is_return OR floor = floor_before
    )
    SELECT line, CASE WHEN is_return THEN 'matched_return' ELSE 'cancelled_purchase' END AS reason
    FROM pairs
    WHERE is_return OR is_cancelled
) AS matched
WHERE {parsed_lines}.line = matched.line
