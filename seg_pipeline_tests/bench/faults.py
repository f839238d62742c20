"""Faults of one day's file: what a shop delivers by mistake, as functions of the right lines.

What belongs here: faults alone. Each changes what its name says and leaves everything else as it was, and makes of the
shop's columns what the fault means in a shop that has no order ids, products or prices.
"""

import datetime
from collections.abc import Callable
from dataclasses import dataclass

import pandas as pd

from seg_pipeline_tests.bench.shops import Shop, another_shop, as_lines_of

DAY = pd.Timedelta(days=1)
NO_DATE = "unknown"


@dataclass(frozen=True, slots=True)
class Delivery:
    """A day's file, and what a faulty one may hold instead.

    Attributes:
        shop: The shop.
        day: The day of the file.
        lines: Its right lines.
        before: The lines of the trading day before.
        another: Lines of another shop, of a day of its own.
    """

    shop: Shop
    day: datetime.date
    lines: pd.DataFrame
    before: pd.DataFrame
    another: pd.DataFrame


@dataclass(frozen=True, slots=True)
class Fault:
    """A fault.

    Attributes:
        name: What is wrong with the file.
        of: Returns the faulty lines of a delivery.
        lasts: Whether the next day's file has the fault as well.
    """

    name: str
    of: Callable[[Delivery], pd.DataFrame]
    lasts: bool = False

    def files(self, shop: Shop, day: datetime.date) -> dict[datetime.date, pd.DataFrame]:
        """The file with the fault, and that of the next trading day, which is right unless the fault lasts."""
        days = list(shop.days)
        next_day = days[days.index(day) + 1]
        following = self.of(delivery(shop, next_day)) if self.lasts else shop.days[next_day]
        return {day: self.of(delivery(shop, day)), next_day: following}


def delivery(shop: Shop, day: datetime.date) -> Delivery:
    """A day's delivery, which is not the shop's first."""
    days = list(shop.days)
    elsewhere = another_shop().days
    another = as_lines_of(shop, elsewhere[list(elsewhere)[100 + days.index(day) % 365]])
    return Delivery(shop, day, shop.days[day], shop.days[days[days.index(day) - 1]], another)


def _twice(delivery: Delivery) -> pd.DataFrame:
    again = delivery.lines
    if "order_id" in again:
        again = again.assign(order_id=again["order_id"] + "00")
    return pd.concat([delivery.lines, again], ignore_index=True)


def _half(delivery: Delivery) -> pd.DataFrame:
    return delivery.lines.iloc[: len(delivery.lines) // 2]


def _money_times(factor: int) -> Callable[[Delivery], pd.DataFrame]:
    def change(delivery: Delivery) -> pd.DataFrame:
        money = delivery.shop.money
        return delivery.lines.assign(**{money: (delivery.lines[money] * factor).round(4)})

    return change


def _quantities_times(factor: int) -> Callable[[Delivery], pd.DataFrame]:
    """Quantities are wrong; where only amounts of lines are delivered, the shop's system made these of them."""

    def change(delivery: Delivery) -> pd.DataFrame:
        lines = delivery.lines.assign(quantity=delivery.lines["quantity"] * factor)
        if "amount" in lines:
            lines["amount"] = (lines["amount"] * factor).round(4)
        return lines

    return change


def _ids_shifted(delivery: Delivery) -> pd.DataFrame:
    """Every customer's number is higher by the same power of ten, beyond all numbers of the shop."""
    ids = delivery.lines["customer_id"]
    digits = max(day["customer_id"].str.len().max() for day in list(delivery.shop.days.values())[:50])
    has_id = ids != ""
    shifted = ids.copy()
    shifted[has_id] = (ids[has_id].astype("int64") + 10 ** int(digits)).astype("str")
    return delivery.lines.assign(customer_id=shifted)


def _swapped(delivery: Delivery) -> pd.DataFrame:
    money = delivery.shop.money
    return delivery.lines.assign(**{"quantity": delivery.lines[money], money: delivery.lines["quantity"]})


def _on_day_of(lines: pd.DataFrame, day: datetime.date) -> pd.DataFrame:
    time_of_day = lines["ordered_at"] - lines["ordered_at"].dt.normalize()
    return lines.assign(ordered_at=pd.Timestamp(day) + time_of_day)


def _days_later(days: int) -> Callable[[Delivery], pd.DataFrame]:
    return lambda delivery: delivery.lines.assign(ordered_at=delivery.lines["ordered_at"] + days * DAY)


def _one_id(delivery: Delivery) -> pd.DataFrame:
    ids = delivery.lines["customer_id"]
    return delivery.lines.assign(customer_id=ids[ids != ""].iloc[0])


FAULTS = (
    Fault("twice, other order ids", _twice),
    Fault("half of the lines missing", _half),
    Fault("prices times 100", _money_times(100)),
    Fault("prices times 10", _money_times(10)),
    Fault("prices times 2 from now on", _money_times(2), lasts=True),
    Fault("quantities negated", _quantities_times(-1)),
    Fault("quantities times 1000", _quantities_times(1000)),
    Fault("ids shifted", _ids_shifted),
    Fault("ids shifted from now on", _ids_shifted, lasts=True),
    Fault("quantity and price swapped", _swapped),
    Fault("another shop's file", lambda delivery: _on_day_of(delivery.another, delivery.day)),
    Fault("dates a day ahead", _days_later(1)),
    Fault("dates a day back", _days_later(-1)),
    Fault("ids empty", lambda delivery: delivery.lines.assign(customer_id="")),
    Fault("prices zero", lambda delivery: delivery.lines.assign(**{delivery.shop.money: 0.0})),
    Fault("dates unreadable", lambda delivery: delivery.lines.assign(ordered_at=NO_DATE)),
    Fault("header only", lambda delivery: delivery.lines.iloc[:0]),
    Fault("one id for all lines", _one_id),
    Fault("the day before redated", lambda delivery: _on_day_of(delivery.before, delivery.day)),
)
