-- Every raw line with its values parsed and, if it must be rejected, the first reason that applies.
WITH
-- A missing column is not an error: only a delivered value can be unparseable.
files AS (
    SELECT list(source_file) AS without_quantity
    FROM raw.deliveries
    WHERE NOT contains(columns, '"quantity":')
),
trimmed AS (
    SELECT
        line,
        source_file,
        source_row,
        nullif(trim(order_id), '') AS order_text,
        -- Most ids consist of digits only, and skip the costly checks that other ids need.
        regexp_full_match(customer_id, '[0-9]+') AS has_plain_id,
        -- A trailing tab must not make a different id. Without $blanks, DuckDB's trim keeps tabs.
        CASE WHEN has_plain_id THEN customer_id ELSE trim(customer_id, $blanks) END AS customer_text,
        -- The shop's local time is used as written; a time zone at the end is dropped.
        regexp_replace(trim(ordered_at), $offset, '\1') AS date_text,
        nullif(trim(product_id), '') AS product_text,
        -- With decimal commas a dot must stand before three digits; any other number is not read.
        CASE
            WHEN $comma_number IS NULL OR coalesce(trim(quantity), '') = '' THEN quantity
            WHEN regexp_full_match(trim(quantity), $comma_number) THEN replace(replace(quantity, '.', ''), ',', '.')
            ELSE 'unreadable'
        END AS quantity,
        -- Without a unit price, the delivered amount is the price of the whole line.
        CASE
            WHEN $comma_number IS NULL OR coalesce(trim(unit_price), '') = '' THEN nullif(trim(unit_price), '')
            WHEN regexp_full_match(trim(unit_price), $comma_number) THEN replace(replace(unit_price, '.', ''), ',', '.')
            ELSE 'unreadable'
        END AS unit_price_text,
        CASE
            WHEN $comma_number IS NULL OR coalesce(trim(amount), '') = '' THEN amount
            WHEN regexp_full_match(trim(amount), $comma_number) THEN replace(replace(amount, '.', ''), ',', '.')
            ELSE 'unreadable'
        END AS amount,
        upper(trim(currency)) AS currency_text,
        upper(trim(shop)) AS shop_text
    FROM {lines_to_clean}
),
parsed AS (
    SELECT
        line,
        has_plain_id,
        source_file,
        source_row,
        order_text,
        product_text,
        unit_price_text,
        currency_text,
        shop_text,
        CASE
            WHEN has_plain_id THEN customer_text
            -- Exports write these words for a missing id.
            WHEN lower(customer_text) IN ('', 'nan', 'null', 'none', 'na', 'n/a', '#n/a', '<na>') THEN NULL
            -- A spreadsheet's 17850.0 becomes the id 17850; leading zeros stay.
            WHEN
                contains(customer_text, '.')
                AND (length(customer_text) <= 17 OR coalesce(try_cast(customer_text AS DOUBLE) < 9007199254740992, true))
                THEN regexp_replace(customer_text, $spreadsheet_id, '\1')
            ELSE customer_text
        END AS customer_text,
        -- Only DuckDB's try_strptime takes a list of formats.
        CASE
            -- Most dates have no letter, and that is quicker to find out than whether they match.
            WHEN $is_iso AND lower(date_text) != upper(date_text) AND regexp_matches(date_text, $word_after_time) THEN NULL
            WHEN $is_iso THEN try_cast(date_text AS TIMESTAMP)
            -- 2024111 could be 1 November or 11 January.
            WHEN starts_with($date_formats[1], '%Y%m%d') AND NOT regexp_full_match(date_text, '[0-9]{8}([^0-9].*)?') THEN NULL
            ELSE try_strptime(date_text, $date_formats)
        END AS parsed_at,
        CASE
            WHEN trimmed.quantity IS NULL AND list_contains(files.without_quantity, source_file) THEN 1
            ELSE try_cast(trimmed.quantity AS DECIMAL(18, 4))
        END AS units,
        try_cast(unit_price_text AS DECIMAL(18, 4)) AS price,
        try_cast(amount AS DECIMAL(18, 4)) AS delivered_amount,
        -- The pattern is NULL if the settings have none.
        coalesce(regexp_full_match(order_text, $cancellations), false) AS is_cancellation,
        coalesce(regexp_full_match(product_text, $excluded_products), false) AS is_excluded
    FROM trimmed, files
),
valued AS (
    SELECT
        *,
        CASE
            WHEN unit_price_text IS NULL THEN delivered_amount
            -- A product that overflows 18 digits would end the query, and computing with more takes 60 times as long.
            WHEN abs(CAST(units AS DOUBLE) * CAST(price AS DOUBLE)) < 1e9 THEN CAST(units * price AS DECIMAL(18, 4))
            ELSE try_cast(CAST(units AS DECIMAL(19, 4)) * price AS DECIMAL(18, 4))
        END AS line_amount,
        -- A negative delivered amount is a return, whatever the quantity and the price are.
        is_cancellation OR units < 0 OR coalesce(delivered_amount < 0, false) AS is_return
    FROM parsed
)
SELECT
    -- Without order ids, all lines of a customer on one day are an order.
    coalesce(order_text, customer_text || '@' || strftime(parsed_at, '%Y-%m-%d')) AS order_id,
    customer_text AS customer_id,
    parsed_at AS ordered_at,
    product_text AS product_id,
    -- A return gets a negative quantity and amount, however it was delivered.
    CASE WHEN is_return THEN -abs(units) ELSE units END AS quantity,
    price AS unit_price,
    CASE WHEN is_return THEN -abs(line_amount) ELSE line_amount END AS amount,
    is_return,
    source_file,
    source_row,
    line,
    CASE
        WHEN customer_text IS NULL THEN 'missing_customer_id'
        -- 5.94773E+23: a spreadsheet has dropped digits. 12E4 may be a real id.
        WHEN NOT has_plain_id AND regexp_full_match(customer_text, '-?[0-9]([.,][0-9]+)?[eE]\+[0-9]+|-?[0-9][.,][0-9]+[eE][0-9]+')
            THEN 'mangled_customer_id'
        -- 9007199254740993.0: above 2^53, one floating-point number stands for several ids.
        WHEN NOT has_plain_id AND length(customer_text) > 17 AND regexp_full_match(customer_text, '[0-9]+\.0+')
            THEN 'mangled_customer_id'
        WHEN (contains(order_text, 'E+') OR contains(order_text, 'e+'))
            AND regexp_full_match(order_text, '[0-9]([.,][0-9]+)?[eE]\+[0-9]+')
            THEN 'mangled_order_id'
        WHEN parsed_at IS NULL THEN 'unparseable_date'
        WHEN CAST(parsed_at AS DATE) NOT BETWEEN $earliest AND $latest THEN 'implausible_date'
        WHEN units IS NULL THEN 'unparseable_quantity'
        WHEN coalesce(price, delivered_amount) IS NULL OR (unit_price_text IS NOT NULL AND price IS NULL)
            THEN 'unparseable_price'
        WHEN $currency IS NOT NULL AND currency_text IS DISTINCT FROM upper($currency) THEN 'other_currency'
        WHEN $shop IS NOT NULL AND shop_text IS DISTINCT FROM upper($shop) THEN 'other_shop'
        WHEN line_amount IS NULL THEN 'amount_out_of_range'
        WHEN repeated.line IS NOT NULL THEN 'duplicate_line'
        WHEN is_excluded THEN 'excluded_product'
        WHEN units = 0 THEN 'zero_quantity'
        WHEN is_return AND $returns = 'drop' THEN 'return_dropped'
        WHEN price < 0 THEN 'non_positive_price'
        WHEN line_amount = 0 AND $zero_prices = 'reject' THEN 'non_positive_price'
    END AS reason
FROM valued
LEFT JOIN {repeated} AS repeated USING (line)
