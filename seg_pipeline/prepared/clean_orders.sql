-- The lines that count. A return is negative in quantity and amount, however it was delivered.
SELECT
    -- Without order ids an order is one customer's day.
    coalesce(order_text, customer_text || '@' || strftime(parsed_at, '%Y-%m-%d')) AS order_id,
    customer_text AS customer_id,
    parsed_at AS ordered_at,
    nullif(trim(product_id), '') AS product_id,
    CASE WHEN is_return THEN -abs(units) ELSE units END AS quantity,
    price AS unit_price,
    CASE WHEN is_return THEN -abs(line_amount) ELSE line_amount END AS amount,
    is_return,
    source_file,
    source_row
FROM parsed_lines
WHERE reason IS NULL
