-- Every raw line with its values parsed and, where it cannot be used, the first reason that applies.
WITH
-- A table without a column has no fault in it: only what is delivered can be unparseable.
delivered AS (
    SELECT count(quantity) > 0 AS quantity
    FROM raw.raw_orders
),
trimmed AS (
    SELECT
        *,
        nullif(trim(order_id), '') AS order_text,
        -- Exports write a missing id as one of these words.
        CASE
            WHEN lower(trim(customer_id)) IN ('', 'nan', 'null', 'none', 'n/a', '<na>') THEN NULL
            -- A spreadsheet's 17850.0 is the id 17850; leading zeros stay.
            ELSE regexp_replace(trim(customer_id), '^([0-9]+)\.0+$', '\1')
        END AS customer_text,
        trim(ordered_at) AS date_text,
        trim(quantity) AS quantity_text,
        -- Where a line has no unit price, its amount is the price of all of it.
        nullif(trim(unit_price), '') AS unit_price_text,
        trim(amount) AS amount_text
    FROM raw.raw_orders
),
parsed AS (
    SELECT
        *,
        -- DuckDB form: try_strptime with a list of formats.
        CASE
            WHEN $is_iso THEN try_cast(date_text AS TIMESTAMP)
            ELSE try_strptime(date_text, $date_formats)
        END AS parsed_at,
        CASE WHEN delivered.quantity THEN try_cast(quantity_text AS DECIMAL(18, 4)) ELSE 1 END AS units,
        try_cast(unit_price_text AS DECIMAL(18, 4)) AS price,
        try_cast(amount_text AS DECIMAL(18, 4)) AS delivered_amount,
        regexp_full_match(coalesce(order_text, ''), $cancellations) AS is_cancellation,
        regexp_full_match(coalesce(trim(product_id), ''), $excluded_products) AS is_excluded
    FROM trimmed, (SELECT quantity FROM delivered) AS delivered
),
valued AS (
    SELECT
        *,
        CASE
            WHEN unit_price_text IS NOT NULL THEN try_cast(units * price AS DECIMAL(18, 4))
            ELSE delivered_amount
        END AS line_amount,
        is_cancellation OR units < 0 OR (unit_price_text IS NULL AND delivered_amount < 0) AS is_return
    FROM parsed
),
repeated AS (
    -- A line is a duplicate only where an order id says so; the first delivered one stays.
    SELECT source_file, source_row
    FROM raw.raw_orders
    WHERE $duplicates = 'drop' AND nullif(trim(order_id), '') IS NOT NULL
    QUALIFY row_number() OVER (
        PARTITION BY order_id, customer_id, ordered_at, product_id, quantity, unit_price, amount, country, description
        ORDER BY source_file, source_row
    ) > 1
)
SELECT
    valued.*,
    CASE
        WHEN customer_text IS NULL THEN 'missing_customer_id'
        -- 5.94773E+23: a spreadsheet has eaten the digits.
        WHEN regexp_full_match(customer_text, '[0-9]+([.,][0-9]+)?[eE][+]?[0-9]+') THEN 'mangled_customer_id'
        WHEN parsed_at IS NULL THEN 'unparseable_date'
        WHEN CAST(parsed_at AS DATE) NOT BETWEEN $earliest AND $latest THEN 'implausible_date'
        WHEN units IS NULL THEN 'unparseable_quantity'
        WHEN coalesce(price, delivered_amount) IS NULL OR (unit_price_text IS NOT NULL AND price IS NULL)
            THEN 'unparseable_price'
        WHEN line_amount IS NULL THEN 'amount_out_of_range'
        WHEN repeated.source_row IS NOT NULL THEN 'duplicate_line'
        WHEN is_excluded THEN 'excluded_product'
        WHEN units = 0 THEN 'zero_quantity'
        WHEN is_return AND $returns = 'drop' THEN 'return_dropped'
        WHEN price < 0 THEN 'non_positive_price'
        WHEN line_amount = 0 AND $zero_prices = 'reject' THEN 'non_positive_price'
    END AS reason
FROM valued
LEFT JOIN repeated USING (source_file, source_row)
