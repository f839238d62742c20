-- Segmentations whose segments do not add up to the customers, orders and revenue of the window.
SELECT *
FROM (
    SELECT algorithm, k, sum(customers) AS customers, sum(orders) AS orders, sum(revenue) AS revenue
    FROM {batch}
    GROUP BY algorithm, k
) AS sums
JOIN evaluation.value_window AS whole ON whole.as_of = :as_of
WHERE
    sums.customers != whole.customers
    OR sums.orders != whole.orders
    OR abs(sums.revenue - whole.revenue) > 0.01
