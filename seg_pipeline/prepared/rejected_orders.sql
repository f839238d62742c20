-- The lines that do not count, as delivered, each with the first reason that applies.
SELECT
    order_id, customer_id, ordered_at, product_id, quantity, unit_price, amount, country, description,
    source_file, source_row, reason
FROM parsed_lines
WHERE reason IS NOT NULL
