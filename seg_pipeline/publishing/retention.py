"""Nights that are past their keeping: their rows leave the tables, so that the warehouse does not grow without end."""

import datetime

from seg_pipeline.models.champions import Champion
from seg_pipeline.warehouse import Warehouse

# The report tells how the champion was chosen, however long ago that was.
OF_THE_FIT = ("models", "evaluation")
NIGHTLY = ("features", "models", "evaluation", "segments")


def forget_nights(warehouse: Warehouse, champion: Champion, as_of: datetime.date, nights: int) -> int:
    """Deletes the rows of nights more than `nights` days before `as_of`; returns how many there were.

    Of the night that the champion was fitted on, what was compared stays.
    """
    oldest, forgotten = as_of - datetime.timedelta(days=nights), 0
    with warehouse.transaction() as connection:
        for table in connection.tables_with("as_of"):
            schema = table.split(".")[0]
            if schema not in NIGHTLY:
                continue
            of_the_fit = champion.fitted_as_of if schema in OF_THE_FIT else None
            forgotten += connection.delete(
                table,
                "as_of < $oldest AND as_of IS DISTINCT FROM $fitted",
                {"oldest": oldest, "fitted": of_the_fit},
            )
    return forgotten
