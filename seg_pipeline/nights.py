"""A night: the partition of a day sees every order before the next day, which is its as_of."""

import datetime

import dagster as dg

FIRST_DAY = "1990-01-01"


# One partition a day. Today's exists already (`end_offset`), so that a shop with an order today can be run now.
NIGHTS = dg.DailyPartitionsDefinition(start_date=FIRST_DAY, end_offset=1)


def as_of_of(partition_key: str) -> datetime.date:
    """The day after the partition's: orders before it count."""
    return datetime.date.fromisoformat(partition_key) + datetime.timedelta(days=1)


def partition_of(as_of: datetime.date) -> str:
    """The key of the night whose orders all lie before `as_of`."""
    return (as_of - datetime.timedelta(days=1)).isoformat()


def has_night(as_of: datetime.date) -> bool:
    """Whether there is a partition for it: from the first day to today."""
    return NIGHTS.has_partition_key(partition_of(as_of))


def night_of(context: dg.AssetExecutionContext) -> datetime.date:
    """The as_of of the partition that a run builds."""
    return as_of_of(context.partition_key)
