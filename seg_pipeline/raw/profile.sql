-- What some files delivered, column by column: how much is missing, how many values, the span as text, but of customers
-- none: it is shown where an erased one is not found again. All in one scan: an UNPIVOT of the lines would take more than
-- twice as long.
WITH
profiled AS (
    SELECT
        count(*) AS lines,
        [
            {
                'name': 'order_id', 'filled': count(order_id), 'values': approx_count_distinct(order_id),
                'smallest': min(order_id), 'largest': max(order_id)
            },
            {
                'name': 'customer_id', 'filled': count(customer_id), 'values': approx_count_distinct(customer_id),
                'smallest': NULL, 'largest': NULL
            },
            {
                'name': 'ordered_at', 'filled': count(ordered_at), 'values': approx_count_distinct(ordered_at),
                'smallest': min(ordered_at), 'largest': max(ordered_at)
            },
            {
                'name': 'product_id', 'filled': count(product_id), 'values': approx_count_distinct(product_id),
                'smallest': min(product_id), 'largest': max(product_id)
            },
            {
                'name': 'quantity', 'filled': count(quantity), 'values': approx_count_distinct(quantity),
                'smallest': min(quantity), 'largest': max(quantity)
            },
            {
                'name': 'unit_price', 'filled': count(unit_price), 'values': approx_count_distinct(unit_price),
                'smallest': min(unit_price), 'largest': max(unit_price)
            },
            {
                'name': 'amount', 'filled': count(amount), 'values': approx_count_distinct(amount),
                'smallest': min(amount), 'largest': max(amount)
            },
            {
                'name': 'country', 'filled': count(country), 'values': approx_count_distinct(country),
                'smallest': min(country), 'largest': max(country)
            },
            {
                'name': 'description', 'filled': count(description), 'values': approx_count_distinct(description),
                'smallest': min(description), 'largest': max(description)
            },
            {
                'name': 'currency', 'filled': count(currency), 'values': approx_count_distinct(currency),
                'smallest': min(currency), 'largest': max(currency)
            },
            {
                'name': 'shop', 'filled': count(shop), 'values': approx_count_distinct(shop),
                'smallest': min(shop), 'largest': max(shop)
            }
        ] AS columns
    FROM raw.raw_orders
    WHERE source_file IN (SELECT unnest($files))
)
SELECT
    profile.name AS "column",
    profile.filled,
    lines - profile.filled AS missing,
    profile.values AS about_distinct,
    profile.smallest AS smallest_text,
    profile.largest AS largest_text
FROM (SELECT lines, unnest(columns) AS profile FROM profiled)
