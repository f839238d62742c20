"""Nights that are past their keeping: their rows leave the tables, so that the warehouse does not grow without end."""

import datetime

from seg_pipeline.models.champions import Champion
from seg_pipeline.warehouse import Warehouse, execute, quoted, transaction

# The report tells how the champion was chosen, however long ago that was.
OF_THE_FIT = ("models", "evaluation")
NIGHTLY_TABLES = (
    "SELECT schema_name, table_name FROM duckdb_columns() JOIN duckdb_tables() USING (schema_name, table_name)"
    " WHERE column_name = 'as_of' AND NOT duckdb_tables.temporary"
    " AND schema_name IN ('features', 'models', 'evaluation', 'segments') ORDER BY ALL"
)


def forget_nights(warehouse: Warehouse, champion: Champion, as_of: datetime.date, nights: int) -> int:
    """Deletes the rows of nights more than `nights` days before `as_of`; returns how many there were.

    Of the night that the champion was fitted on, what was compared stays.
    """
    oldest, forgotten = as_of - datetime.timedelta(days=nights), 0
    with warehouse.get_connection() as connection, transaction(connection):
        for schema, table in connection.execute(NIGHTLY_TABLES).fetchall():
            of_the_fit = champion.fitted_as_of if schema in OF_THE_FIT else None
            row = execute(
                connection,
                f"DELETE FROM {quoted(schema)}.{quoted(table)} WHERE as_of < $oldest"
                " AND as_of IS DISTINCT FROM $fitted",
                {"oldest": oldest, "fitted": of_the_fit},
            ).fetchone()
            forgotten += int(row[0]) if row else 0
    return forgotten
