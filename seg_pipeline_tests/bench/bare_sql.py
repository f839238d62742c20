"""What DuckDB alone takes to load, clean and aggregate order lines: the other side of `bench.large`.

It writes three tables like the pipeline's: the lines as text, the accepted lines with typed values, and a row per
customer, with fewer features. It looks for no duplicates, keeps no reasons, and believes the file. It imports nothing
of the pipeline.

    python bare_sql.py orders.parquet warehouse.duckdb 2026-11-01 [MEMORY_LIMIT]
"""

import sys
import time

import duckdb

STATEMENTS = {
    "raw": """
        CREATE TABLE raw_orders AS
        SELECT
            order_id, customer_id, order_date::VARCHAR AS ordered_at, product_id, quantity::VARCHAR AS quantity,
            unit_price::VARCHAR AS unit_price, NULL::VARCHAR AS amount, country, description, NULL::VARCHAR AS currency,
            NULL::VARCHAR AS shop, filename AS source_file, file_row_number + 1 AS source_row
        FROM read_parquet($file, filename = true, file_row_number = true)
    """,
    "prepared": """
        CREATE TABLE clean_orders AS
        SELECT
            order_id, customer_id, ordered_at::TIMESTAMP AS ordered_at, product_id,
            quantity::DECIMAL(18, 4) AS quantity, unit_price::DECIMAL(18, 4) AS unit_price,
            (quantity::DECIMAL(10, 2) * unit_price::DECIMAL(8, 2))::DECIMAL(18, 4) AS amount,
            quantity::DECIMAL(18, 4) < 0 AS is_return, source_file, source_row
        FROM raw_orders
        WHERE customer_id IS NOT NULL AND quantity::DECIMAL(18, 4) != 0 AND unit_price::DECIMAL(18, 4) > 0
    """,
    "features": """
        CREATE TABLE rfm_features AS
        SELECT
            customer_id,
            date_diff('day', max(ordered_at) FILTER (WHERE NOT is_return), $as_of::TIMESTAMP) AS recency_days,
            count(DISTINCT order_id) FILTER (WHERE NOT is_return) AS frequency,
            sum(amount) AS monetary,
            sum(quantity) FILTER (WHERE NOT is_return) AS units,
            sum(amount) FILTER (WHERE is_return) AS returned,
            min(ordered_at) AS first_order_at
        FROM clean_orders
        WHERE ordered_at < $as_of::TIMESTAMP
        GROUP BY customer_id
    """,
}


def main() -> None:
    file, database, as_of, *limit = sys.argv[1:]
    given = {"file": file, "as_of": as_of}
    with duckdb.connect(database, config={"memory_limit": limit[0]} if limit else {}) as connection:
        for table, statement in STATEMENTS.items():
            began = time.perf_counter()
            connection.execute(statement, {name: value for name, value in given.items() if f"${name}" in statement})
            connection.execute("CHECKPOINT")
            print(f"{table}  {time.perf_counter() - began:.1f} s")


if __name__ == "__main__":
    main()
