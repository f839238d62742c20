"""Shops whose days can be judged: the two real ones, and eight kinds of generated ones, with a file per trading day.

What belongs here: how a shop's order lines come about, and how they are written to files. Faults are in faults.py, and
nothing here knows the pipeline, apart from the settings with which it reads a shop.

A generated shop depends on its kind and the seed alone. Its orders come by weekday, with good and bad weeks; customers
are drawn partly from the newest and partly from the oldest; quantities and prices are skewed; some goods come back
within weeks; some orders have no customer id, some lines no price, and some lines stand in the file twice.
"""

import datetime
import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd

Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]

REAL_DATA = Path(__file__).parents[3] / "shared" / "data"
SEED = 19
FIRST_DAY = datetime.date(2024, 1, 1)
# A year before the judged days, the judged year, and some days for nights after it.
SPAN_DAYS = 366 + 365 + 31
JUDGED_FROM = datetime.date(2025, 1, 1)
COHORT_JUDGED_FROM = datetime.date(2024, 7, 1)
JOINING_DAYS = 90

MONDAY_TO_SUNDAY = np.array([1.1, 1.05, 1.0, 1.0, 1.1, 0.95, 0.7])
MONDAY_TO_FRIDAY = np.array([1.1, 1.05, 1.0, 1.0, 0.9, 0.0, 0.0])
HOLIDAYS = ((12, 25), (12, 26), (1, 1))
ORDERS_PER_DAY = 55.0
# Good and bad weeks, and good and bad days, as standard deviations of the logarithm of the expected orders.
WEEKS_SIGMA, WEEKS_MEMORY, DAYS_SIGMA = 0.10, 0.85, 0.10
WEEKLY_GROWTH = 1.02
SEASON_FACTOR, SHOULDER_FACTOR = 12.0, 3.0
CLOSED_MONTH = 8
SUBSCRIBERS_PER_DAY, PAID_ON_THE_FIRST, MONTHLY_LOSS = 3.2, 0.25, 0.03
B2B_ORDERS_PER_DAY = 9.0

NO_CUSTOMER_PER_ORDER, ZERO_PRICE_PER_LINE, TWICE_PER_LINE = 0.02, 0.003, 0.003
RETURNED_LINE_RATE = 0.6
MEAN_DAYS_TO_RETURN = 8
OPENING_MINUTE, CLOSING_MINUTE = 8 * 60, 22 * 60


@dataclass(frozen=True, slots=True)
class Shop:
    """A shop and the files that it delivers.

    Attributes:
        name: The name, as on the command line.
        options: The settings that read its files, as KEY=VALUE.
        columns: Columns of raw_orders that its files have -> their names in the files.
        days: Trading day -> its order lines; columns are named as in raw_orders, ordered_at is a timestamp.
        judged_from: The first day whose verdict counts: from here on, the shop has the history that its kind needs.
        date_format: How the files write ordered_at.
    """

    name: str
    options: tuple[str, ...]
    columns: Mapping[str, str]
    days: Mapping[datetime.date, pd.DataFrame]
    judged_from: datetime.date
    date_format: str = "%Y-%m-%d %H:%M:%S"

    @property
    def money(self) -> str:
        """The column that holds money: the price of a unit, or the amount of a line."""
        return "unit_price" if "unit_price" in self.columns else "amount"

    def days_between(self, since: datetime.date, until: datetime.date) -> list[datetime.date]:
        """The trading days from `since` to `until`, both included."""
        return [day for day in self.days if since <= day <= until]

    def write(self, folder: Path, day: datetime.date, lines: pd.DataFrame | None = None) -> Path:
        """Writes a day's file, with the shop's own lines or with others, and returns its path."""
        file = folder / f"{day}.csv"
        written = (self.days[day] if lines is None else lines).rename(columns=dict(self.columns))
        written.to_csv(file, columns=list(self.columns.values()), index=False, date_format=self.date_format)
        return file


@dataclass(frozen=True, slots=True)
class Goods:
    """What the orders of a shop consist of.

    Attributes:
        products: How many products there are.
        price: The median price of a unit.
        price_sigma: The standard deviation of the logarithm of a product's price.
        lines_per_order: The mean.
        quantity: The median quantity of a line, at least 1.
        quantity_sigma: The standard deviation of the logarithm of the quantity.
        return_rate: The share of orders of which something comes back.
    """

    products: int = 400
    price: float = 9.0
    price_sigma: float = 0.7
    lines_per_order: float = 2.7
    quantity: float = 1.3
    quantity_sigma: float = 0.7
    return_rate: float = 0.05


RETAIL = Goods()
PARCELS = Goods(products=30, price=18.0, price_sigma=0.4, lines_per_order=1.6, quantity=1.0, quantity_sigma=0.3)
WHOLESALE = Goods(
    products=900,
    price=30.0,
    price_sigma=1.3,
    lines_per_order=5.0,
    quantity=20.0,
    quantity_sigma=1.2,
    return_rate=0.04,
)


def online_retail() -> Shop:
    """Online Retail: 305 trading days with some 1,800 lines each.

    Raises:
        FileNotFoundError: The data are not there.
    """
    columns = {
        "order_id": "InvoiceNo",
        "product_id": "StockCode",
        "description": "Description",
        "quantity": "Quantity",
        "ordered_at": "InvoiceDate",
        "unit_price": "UnitPrice",
        "customer_id": "CustomerID",
        "country": "Country",
    }
    types = dict.fromkeys(columns.values(), "str") | {"Quantity": "int64", "UnitPrice": "float64"}
    names = {name: column for column, name in columns.items()}
    days = {}
    for file in _real_files("online_retail/*.csv"):
        lines = pd.read_csv(file, dtype=types, keep_default_na=False, parse_dates=["InvoiceDate"]).rename(columns=names)
        lines["customer_id"] = lines["customer_id"].str.removesuffix(".0")
        days[datetime.date.fromisoformat(file.stem)] = lines
    return Shop("online_retail", ("source.preset=online_retail",), columns, days, min(days))


def cdnow() -> Shop:
    """CDNOW: all purchases of the 23,570 customers who joined in the first quarter of 1997, over 18 months.

    Raises:
        FileNotFoundError: The data are not there.
    """
    columns = {
        "customer_id": "customer_id",
        "ordered_at": "date",
        "quantity": "number_of_cds",
        "amount": "dollar_value",
    }
    [file] = _real_files("cdnow/CDNOW_master.txt")
    lines = pd.read_csv(file, sep=r"\s+", header=0, names=list(columns), dtype={"customer_id": "str"})
    lines["ordered_at"] = pd.to_datetime(lines["ordered_at"], format="%Y%m%d")
    days = _by_day(lines)
    return Shop("cdnow", ("source.preset=cdnow", "source.delimiter=,"), columns, days, min(days), "%Y%m%d")


def _real_files(pattern: str) -> list[Path]:
    files = sorted(REAL_DATA.glob(pattern))
    if not files:
        raise FileNotFoundError(f"no {REAL_DATA / pattern}")
    return files


def _by_day(lines: pd.DataFrame) -> dict[datetime.date, pd.DataFrame]:
    """Splits order lines by day, in the order of the days and, within them, of the lines."""
    dates = lines["ordered_at"].dt.date
    return {day: part.reset_index(drop=True) for day, part in lines.groupby(dates, sort=True)}


def _random(name: str) -> np.random.Generator:
    return np.random.default_rng([SEED, zlib.crc32(name.encode())])


def _calendar() -> pd.DatetimeIndex:
    return pd.date_range(FIRST_DAY, periods=SPAN_DAYS, freq="D")


def _expected(random: np.random.Generator, weekdays: Floats = MONDAY_TO_SUNDAY) -> Floats:
    """Orders of a shop per day, around 1: by weekday, with good and bad weeks, and none on holidays."""
    calendar = _calendar()
    good = np.zeros(SPAN_DAYS)
    shocks = random.normal(0, WEEKS_SIGMA * np.sqrt(1 - WEEKS_MEMORY**2), SPAN_DAYS)
    for day in range(1, SPAN_DAYS):
        good[day] = WEEKS_MEMORY * good[day - 1] + shocks[day]
    expected = weekdays[calendar.day_of_week] * np.exp(good + random.normal(0, DAYS_SIGMA, SPAN_DAYS))
    closed = [(date.month, date.day) in HOLIDAYS for date in calendar]
    return np.where(closed, 0.0, expected)


def _customers(random: np.random.Generator, day: Ints, is_new: Bools) -> Ints:
    """The customer of each order, numbered by joining; orders come by day.

    A customer who is not new is drawn from those who joined on the days before: half from the newest, half from the
    oldest, who are the loyal ones. On the first day with an order, everyone is new.
    """
    is_new = is_new | (day == day[0])
    joined = np.bincount(day[is_new], minlength=day[-1] + 1)
    known = np.cumsum(joined) - joined
    pool, chance = known[day], random.random(len(day))
    newest = pool - 1 - np.floor(pool * chance**2).astype(np.int64)
    oldest = np.floor(pool * chance**3).astype(np.int64)
    customer = np.where(random.random(len(day)) < 0.5, newest, oldest)
    customer[is_new] = np.arange(is_new.sum())
    return customer


def _lines(
    random: np.random.Generator, name: str, day: Ints, customer: Ints, trades: Bools, goods: Goods
) -> dict[datetime.date, pd.DataFrame]:
    """The order lines of orders, with their returns and their dirt, by day.

    Args:
        random: The shop's random numbers.
        name: The shop's name, which decides where its numbers begin.
        day: The day of each order, counted from FIRST_DAY.
        customer: The customer of each order.
        trades: Whether the shop is open, by day.
        goods: What the orders consist of.
    """
    first_number = 10_000 * (10 + zlib.crc32(name.encode()) % 89)
    minute = random.integers(OPENING_MINUTE, CLOSING_MINUTE, len(day))
    by_time = np.lexsort((minute, day))
    day, minute, customer = day[by_time], minute[by_time], customer[by_time]
    sizes = 1 + random.poisson(goods.lines_per_order - 1, len(day))
    order = np.repeat(np.arange(len(day)), sizes)
    count = len(order)
    prices = np.round(np.exp(random.normal(np.log(goods.price), goods.price_sigma, goods.products)), 2)
    product = np.floor(random.random(count) ** 1.8 * goods.products).astype(np.int64)
    quantities = np.exp(random.normal(np.log(goods.quantity), goods.quantity_sigma, count))
    has_customer = random.random(len(day)) >= NO_CUSTOMER_PER_ORDER
    has_price = random.random(count) >= ZERO_PRICE_PER_LINE
    customer_id = pd.Series(np.where(has_customer, (first_number + customer).astype(str), ""), dtype="str")
    lines = pd.DataFrame(
        {
            "order": order,
            "day": day[order],
            "minute": minute[order],
            "order_id": (first_number * 10 + order).astype(str),
            "customer_id": customer_id.to_numpy()[order],
            "product_id": pd.Series([f"P{number:04}" for number in range(goods.products)], dtype="str").to_numpy()[
                product
            ],
            "quantity": np.maximum(1, np.rint(quantities)).astype(np.int64),
            "unit_price": np.where(has_price, np.maximum(prices, 0.1)[product], 0.0),
        }
    )
    lines = lines.drop_duplicates(["order", "product_id"])
    returned = lines[
        (random.random(len(day)) < goods.return_rate)[lines["order"]]
        & (random.random(len(lines)) < RETURNED_LINE_RATE)
        & (lines["unit_price"] > 0)
    ]
    after = random.geometric(1 / MEAN_DAYS_TO_RETURN, len(day))[returned["order"]]
    returned = returned.assign(
        day=returned["day"] + after, quantity=-returned["quantity"], order_id="R" + returned["order_id"]
    )
    is_open = np.append(trades, np.zeros(int(after.max(initial=0)) + 1, dtype=bool))
    returned = returned[is_open[returned["day"]]]
    twice = lines[random.random(len(lines)) < TWICE_PER_LINE]
    lines = pd.concat([lines, twice, returned]).sort_values(["day", "minute", "order_id"], kind="stable")
    lines["ordered_at"] = pd.Timestamp(FIRST_DAY) + pd.to_timedelta(lines["day"] * 1440 + lines["minute"], unit="min")
    return _by_day(lines[["order_id", "customer_id", "ordered_at", "product_id", "quantity", "unit_price"]])


def _shop(name: str, days: Mapping[datetime.date, pd.DataFrame], judged_from: datetime.date = JUDGED_FROM) -> Shop:
    columns = {
        "order_id": "order_id",
        "customer_id": "customer_id",
        "ordered_at": "order_date",
        "product_id": "sku",
        "quantity": "quantity",
        "unit_price": "unit_price",
    }
    return Shop(name, (), columns, days, judged_from)


def _generated(
    name: str,
    per_day: Callable[[np.random.Generator], Floats],
    new_share: Callable[[Ints], Floats],
    goods: Goods = RETAIL,
    judged_from: datetime.date = JUDGED_FROM,
) -> Shop:
    """A shop whose orders come independently of each other.

    Args:
        name: The name.
        per_day: The expected orders of each day, from the shop's random numbers.
        new_share: The share of orders of new customers, from the days since FIRST_DAY.
        goods: What the orders consist of.
        judged_from: The first day whose verdict counts.
    """
    random = _random(name)
    expected = per_day(random)
    day = np.repeat(np.arange(SPAN_DAYS), random.poisson(expected))
    customer = _customers(random, day, random.random(len(day)) < new_share(day))
    return _shop(name, _lines(random, name, day, customer, expected > 0, goods), judged_from)


def _constant(share: float) -> Callable[[Ints], Floats]:
    return lambda day: np.full(len(day), share)


def stationary(name: str = "stationary") -> Shop:
    """A shop that has been open for years and stays as it is."""
    return _generated(name, lambda random: ORDERS_PER_DAY * _expected(random), _constant(0.2))


def growing() -> Shop:
    """A shop that grows by 2 % a week, nearly eightfold in two years."""
    weeks = np.arange(SPAN_DAYS) / 7
    return _generated("growing", lambda random: 20 * WEEKLY_GROWTH**weeks * _expected(random), _constant(0.25))


def cohort() -> Shop:
    """A cohort without new customers, like CDNOW: all join in the first three months, and buy less and less often."""
    days = np.arange(SPAN_DAYS)
    joiners = np.where(days < JOINING_DAYS, 60.0, 0.0)
    repeats = np.cumsum(joiners) / joiners.sum() * (30 + 60 * np.exp(-days / 150))

    def new_share(day: Ints) -> Floats:
        share: Floats = (joiners / (joiners + repeats))[day]
        return share

    return _generated(
        "cohort", lambda random: (joiners + repeats) * _expected(random), new_share, judged_from=COHORT_JUDGED_FROM
    )


def seasonal() -> Shop:
    """A shop that takes twelve times as many orders in the week of Black Friday, each year."""

    def per_day(random: np.random.Generator) -> Floats:
        expected = 40 * _expected(random)
        calendar = _calendar()
        for year in sorted({date.year for date in calendar}):
            november = pd.date_range(f"{year}-11-01", f"{year}-11-30")
            fridays = november[november.day_of_week == 4]
            monday = fridays[3] - pd.Timedelta(days=4)
            since_monday = (calendar - monday).days.to_numpy()
            expected = np.where((since_monday >= 0) & (since_monday < 7), SEASON_FACTOR, 1.0) * expected
            expected = np.where((since_monday == -1) | (since_monday == 7), SHOULDER_FACTOR, 1.0) * expected
        return expected

    return _generated("seasonal", per_day, _constant(0.25))


def closed() -> Shop:
    """A shop that is closed throughout August of the judged year, for the first time."""

    def per_day(random: np.random.Generator) -> Floats:
        calendar = _calendar()
        is_closed = (calendar.month == CLOSED_MONTH) & (calendar.year == JUDGED_FROM.year)
        return np.where(is_closed, 0.0, ORDERS_PER_DAY * _expected(random))

    return _generated("closed", per_day, _constant(0.2))


def young() -> Shop:
    """A shop that is judged from the day it opens, and becomes known within half a year."""
    days = np.arange(SPAN_DAYS)
    return _generated(
        "young",
        lambda random: (3 + 52 * (1 - np.exp(-days / 70))) * _expected(random),
        lambda day: 0.25 + 0.75 * np.exp(-day / 60),
        judged_from=FIRST_DAY,
    )


def subscription() -> Shop:
    """A shop whose customers buy again each month on their own day; a quarter of them on the 1st.

    Half of those who join did so before the shop's first file. Few orders come beside the subscriptions.
    """
    name = "subscription"
    random = _random(name)
    calendar = _calendar()
    expected = _expected(random)
    joined = np.repeat(np.arange(SPAN_DAYS), random.poisson(SUBSCRIBERS_PER_DAY * (expected > 0)))
    at_start = 800
    joined = np.concatenate([np.zeros(at_start, dtype=np.int64), joined])
    months = random.geometric(MONTHLY_LOSS, len(joined))
    own_day = calendar.day.to_numpy()[joined]
    own_day[:at_start] = random.integers(1, 32, at_start)
    pays_on = np.where(random.random(len(joined)) < PAID_ON_THE_FIRST, 1, own_day)
    last_of_month = calendar.days_in_month.to_numpy()
    is_due = calendar.day.to_numpy()[:, None] == np.minimum(pays_on[None, :], last_of_month[:, None])
    days_in = np.arange(SPAN_DAYS)[:, None] - joined[None, :]
    pays = is_due & (days_in > 0) & (days_in < 30 * months[None, :])
    day, customer = np.nonzero(pays & (random.random(pays.shape) < 0.96))
    first_day, first_customer = joined[at_start:], np.arange(at_start, len(joined))
    # Those who subscribed before the first file are new in it when they first pay; some orders come in between.
    extra = np.repeat(np.arange(SPAN_DAYS), random.poisson(15 * expected))
    here = np.searchsorted(joined, extra, side="left")
    others = np.floor(here * random.random(len(extra))).astype(np.int64)
    days = np.concatenate([day, first_day, extra[here > 0]])
    customers = np.concatenate([customer, first_customer, others[here > 0]])
    by_day = np.argsort(days, kind="stable")
    trades = np.ones(SPAN_DAYS, dtype=bool)
    return _shop(name, _lines(random, name, days[by_day], customers[by_day], trades, PARCELS))


def b2b() -> Shop:
    """A wholesaler: few orders on weekdays, large and skewed amounts, now and then a large return."""
    return _generated(
        "b2b",
        lambda random: B2B_ORDERS_PER_DAY * _expected(random, MONDAY_TO_FRIDAY),
        lambda day: 0.04 + 0.5 * np.exp(-day / 40),
        WHOLESALE,
    )


REAL: Mapping[str, Callable[[], Shop]] = {"online_retail": online_retail, "cdnow": cdnow}
KINDS: Mapping[str, Callable[[], Shop]] = {
    "stationary": stationary,
    "growing": growing,
    "cohort": cohort,
    "seasonal": seasonal,
    "closed": closed,
    "young": young,
    "subscription": subscription,
    "b2b": b2b,
}
SHOPS = {**REAL, **KINDS}


@cache
def another_shop() -> Shop:
    """A shop that is none of the others, whose file may be delivered by mistake."""
    return stationary("elsewhere")


def as_lines_of(shop: Shop, lines: pd.DataFrame) -> pd.DataFrame:
    """Turns lines of a generated shop into lines of another shop, with the columns that this one has."""
    if "amount" in shop.columns:
        lines = lines.assign(amount=lines["quantity"] * lines["unit_price"])
        lines["ordered_at"] = lines["ordered_at"].dt.normalize()
        lines = lines.groupby(["customer_id", "ordered_at"], as_index=False)[["quantity", "amount"]].sum()
    return lines.reindex(columns=list(shop.columns), fill_value="").round({shop.money: 2})


def shops_named(names: Sequence[str]) -> list[Shop]:
    """Makes the shops of these names; leaves out real ones whose data are not there, and says so."""
    made = []
    for name in names:
        try:
            made.append(SHOPS[name]())
        except FileNotFoundError as error:
            print(f"{name}: left out, {error}")
    return made
