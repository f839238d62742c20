"""A profile of the delivered lines, column by column, for the page of raw_orders."""

from seg_pipeline.raw.columns import ORDER_COLUMNS

# A profile stays in Dagster's history, so an id in it would outlast the erasure of the customer.
NEVER_SHOWN = ("customer_id",)


def profile_query() -> str:
    """Returns a query that profiles the lines of `$files`: missing values, distinct values and range of each column.

    Values are text, and are ordered as text. It reads the lines once; an UNPIVOT would take more than twice as long.
    """
    columns = ", ".join(map(_profile_of, ORDER_COLUMNS))
    return f"""
        SELECT
            profile.name AS "column",
            profile.filled,
            lines - profile.filled AS missing,
            profile.distinct_values AS about_distinct,
            profile.smallest AS smallest_text,
            profile.largest AS largest_text
        FROM (
            SELECT lines, unnest(columns) AS profile
            FROM (
                SELECT count(*) AS lines, [{columns}] AS columns
                FROM raw.raw_orders
                WHERE source_file IN (SELECT unnest($files))
            )
        )"""


def _profile_of(column: str) -> str:
    """Returns the figures of one column as an SQL struct."""
    smallest, largest = ("NULL", "NULL") if column in NEVER_SHOWN else (f"min({column})", f"max({column})")
    return (
        f"{{'name': '{column}', 'filled': count({column}), 'distinct_values': approx_count_distinct({column}),"
        f" 'smallest': {smallest}, 'largest': {largest}}}"
    )
