"""A night: the partition of a day sees every order before the next day, which is its as_of."""

import datetime

FIRST_DAY = datetime.date(1990, 1, 1)


def as_of_of(partition_key: str) -> datetime.date:
    """Returns the day after the partition's: orders before it count."""
    return datetime.date.fromisoformat(partition_key) + datetime.timedelta(days=1)


def partition_of(as_of: datetime.date) -> str:
    """Returns the key of the night whose orders all lie before `as_of`."""
    return (as_of - datetime.timedelta(days=1)).isoformat()


def has_night(as_of: datetime.date) -> bool:
    """Tells whether there is a partition for the night: days from the first one to today (UTC) have one."""
    return FIRST_DAY < as_of <= today() + datetime.timedelta(days=1)


def today() -> datetime.date:
    """Returns the day by the machine's clock, in UTC."""
    return datetime.datetime.now(datetime.UTC).date()
