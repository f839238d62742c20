"""Nights are daily partitions: the partition of a day sees the orders before the next day, which is its as_of."""

import datetime

FIRST_DAY = datetime.date(1990, 1, 1)
# A night has segments if it has rows in this table, which rooms before it know by its name only.
ASSIGNMENTS = "segments.segment_assignments"


def as_of_of(partition_key: str) -> datetime.date:
    """Returns the as_of of a partition: the day after it. Only orders before as_of count."""
    return datetime.date.fromisoformat(partition_key) + datetime.timedelta(days=1)


def partition_of(as_of: datetime.date) -> str:
    """Returns the partition key of a night: the day before its as_of."""
    return (as_of - datetime.timedelta(days=1)).isoformat()


def has_night(as_of: datetime.date) -> bool:
    """Returns whether a night has a partition: every day from FIRST_DAY to today (UTC) has one."""
    return FIRST_DAY < as_of <= today() + datetime.timedelta(days=1)


def today() -> datetime.date:
    """Returns today's date by the machine's clock, in UTC."""
    return datetime.datetime.now(datetime.UTC).date()
