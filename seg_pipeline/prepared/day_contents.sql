-- One row per order day and delivery: what shows cheaply whether a day has changed, and how much of a delivery counts.
SELECT
    CAST(ordered_at AS DATE) AS order_day,
    source_file,
    count(*) AS lines,
    sum(amount) AS revenue,
    CAST(sum(CAST(hash(customer_id, order_id, product_id, quantity, amount) AS HUGEINT)) AS VARCHAR) AS digest
FROM prepared.clean_orders
GROUP BY CAST(ordered_at AS DATE), source_file
