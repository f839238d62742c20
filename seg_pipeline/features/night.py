"""Builds one night of rfm_features."""

import datetime
from pathlib import Path
from typing import TYPE_CHECKING

import duckdb

from seg_pipeline.errors import DataError
from seg_pipeline.features.tables import CUSTOMER_RHYTHM, LIFECYCLES, RFM_FEATURES
from seg_pipeline.settings import Settings
from seg_pipeline.warehouse import Warehouse

if TYPE_CHECKING:
    import pandas as pd

FEATURES_QUERY = Path(__file__).with_name("rfm_features.sql")
RHYTHM_QUERY = Path(__file__).with_name("customer_rhythm.sql")


def build_features(warehouse: Warehouse, as_of: datetime.date) -> None:
    """Replaces the night's rows of rfm_features.

    Raises:
        DataError: There are no orders before the night, or a customer's lines add up to more than 14 digits.
    """
    first = warehouse.value("SELECT CAST(min(ordered_at) AS DATE) FROM prepared.clean_orders")
    if as_of <= first:
        raise DataError(f"no orders before {as_of}: the first clean one is on {first}")
    try:
        warehouse.replace_night(RFM_FEATURES, FEATURES_QUERY, as_of)
    except duckdb.ConversionException:
        raise DataError(
            "some customer's lines add up to more than 14 digits: fix unit_price, quantity or amount"
        ) from None


def build_rhythm(warehouse: Warehouse, settings: Settings, as_of: datetime.date) -> "pd.DataFrame":
    """Replaces the night's rows of customer_rhythm, and returns the customers of each lifecycle, in its order."""
    rhythm = settings.rhythm.model_dump()
    warehouse.replace_night(CUSTOMER_RHYTHM, RHYTHM_QUERY, as_of, rhythm)
    found = warehouse.read(
        f"SELECT lifecycle, count(*) AS customers FROM {CUSTOMER_RHYTHM.name} WHERE as_of = $as_of GROUP BY lifecycle",
        {"as_of": as_of},
    )
    return found.set_index("lifecycle").reindex(LIFECYCLES, fill_value=0).reset_index()


def grid_overview(warehouse: Warehouse, as_of: datetime.date) -> "pd.DataFrame":
    """Returns customers and monetary by R x F grid segment (rfm_segment), the largest first."""
    return warehouse.read(
        "SELECT rfm_segment, count(*) AS customers, CAST(sum(monetary) AS DOUBLE) AS monetary"
        f" FROM {RFM_FEATURES.name} WHERE as_of = $as_of GROUP BY ALL ORDER BY customers DESC, rfm_segment",
        {"as_of": as_of},
    )
