-- One row per order day of `days`: the share of the bought lines whose unit price differs by more than $factor from the
-- median price of their product in the calendar month before. `near` has the days and those of the months before them.
WITH
purchases AS (
    SELECT
        order_day,
        12 * year(order_day) + month(order_day) AS month_number,
        product_id,
        unit_price
    FROM (
        SELECT
            CAST(ordered_at AS DATE) AS order_day,
            product_id,
            CAST(amount AS DOUBLE) / CAST(quantity AS DOUBLE) AS unit_price
        FROM prepared.clean_orders
        WHERE NOT is_return AND product_id IS NOT NULL
            AND CAST(ordered_at AS DATE) IN (SELECT order_day FROM {near})
    )
),
usual_prices AS (
    SELECT product_id, month_number + 1 AS month_number, median(unit_price) AS usual_price
    FROM purchases
    GROUP BY product_id, month_number
)
SELECT
    order_day,
    count(*) FILTER (WHERE unit_price > $factor * usual_price OR unit_price * $factor < usual_price) / count(*)
        AS share_repriced
FROM purchases
JOIN usual_prices USING (product_id, month_number)
WHERE order_day IN (SELECT order_day FROM {days})
GROUP BY order_day
