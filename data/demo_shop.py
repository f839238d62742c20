"""The demo shop: order lines of an invented web shop, with the dirt of real exports, made from a seed.

What belongs here: everything that makes orders, and nothing that reads them. There are two ways of making:

- `write_days` writes one CSV per day. The file of a day depends on the seed and the day alone: no random state walks
  from day to day, every draw is a hash of (seed, what the draw is for, customer, day, line). So nights can be added to
  a shop that exists, and any two years look alike: customers have been joining and lapsing all along.
- `write_bulk` writes one file of 1 to 100 million lines for benchmarks, in DuckDB, with simpler habits and less dirt.

    python data/demo_shop.py                        # two years up to yesterday, in data/demo_shop
    python data/demo_shop.py --until 2026-03-01     # the same shop, with nights added up to that day
    python data/demo_shop.py --lines 1000000 --customers 50000 --out orders.parquet
"""

import argparse
import csv
import datetime as dt
import io
import os
import sys
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, fields, replace
from pathlib import Path

import duckdb
import numpy as np
import numpy.typing as npt

Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]
Hashes = npt.NDArray[np.uint64]

COLUMNS = (
    "order_id",
    "customer_id",
    "order_date",
    "product_id",
    "description",
    "quantity",
    "unit_price",
    "country",
)
CUSTOMER_ID, ORDER_DATE, DESCRIPTION, QUANTITY, UNIT_PRICE = (
    COLUMNS.index(name) for name in ("customer_id", "order_date", "description", "quantity", "unit_price")
)
DEFAULT_OUT = Path(__file__).resolve().parent / "demo_shop"
DEFAULT_SEED = 1
DEFAULT_SPAN_DAYS = 730

# The first customers join long before the first day that can be asked for, so no shop is seen in its opening years.
FIRST_JOIN = dt.date(1990, 1, 1)
FIRST_DAY = dt.date(2000, 1, 1)
LONGEST_LIFETIME_DAYS = 4 * 365
JOIN_SLOTS_PER_DAY = 16
JOIN_CHANCE_PER_SLOT = 0.26
FIRST_CUSTOMER_NUMBER = 100_000
ORDER_NUMBERS_PER_DAY = 1_000

RATE_GAMMA_SHAPE = 2
BASKET_SIGMA_BETWEEN_CUSTOMERS = 0.45
BASKET_SIGMA_BETWEEN_ORDERS = 0.5
MOST_LINES_PER_ORDER = 60
PRICE_MEDIAN_CENTS = 420
PRICE_SIGMA = 0.75
TRADE_DISCOUNT = 0.85
POPULARITY_SKEW = 1.8
PIECES_SCALE = 1.3
TRADE_PACK = 6  # pieces
MOST_PACKS = 4
HOME_COUNTRY_SHARE = 0.72

MONDAY_TO_SUNDAY = np.array([1.05, 1.05, 1.05, 1.1, 1.0, 0.95, 0.8])
MONDAY_TO_SUNDAY_TRADE = np.array([1.4, 1.4, 1.4, 1.4, 1.4, 0.0, 0.0])
CHRISTMAS_PEAK_DAY_OF_YEAR = 337
CHRISTMAS_WIDTH_DAYS = 20
CHRISTMAS_EXTRA = 0.7
# What a Christmas buyer's rate is multiplied by at the peak, and far from it.
CHRISTMAS_BUYER_PEAK = 9.0
CHRISTMAS_BUYER_REST = 0.1

RETURN_WINDOW_DAYS = 30
CANCELLED_ORDER_RATE = 0.005
ORDER_WITH_RETURN_RATE = 0.04
RETURNED_LINE_RATE = 0.3

# Dirt. Rates are per order where a mistake happens at the till, per line where it happens in the export.
MISSING_ID_PER_ORDER = 0.037
SPREADSHEET_ID_PER_ORDER = 0.008
DUPLICATE_PER_LINE = 0.005
ZERO_PRICE_PER_LINE = 0.002
LINE_DIRT = {
    "zero price": ZERO_PRICE_PER_LINE,
    "negative price": 0.0002,
    "bad date": 0.0004,
    "bad quantity": 0.0002,
    "bad price": 0.0001,
    "mangled id": 0.0001,
}
VARIANTS = 6  # a multiple of what each kind of dirt has to choose from

MANGLED_ID = "1.23457E+16"
BAD_QUANTITIES = ("abc", "1O", "1,5 kg")
BAD_PRICES = ("abc", "#REF!", "3.O5")


@dataclass(frozen=True, slots=True)
class Kind:
    """A kind of customer: its share of joiners, and the means of what its customers differ in."""

    name: str
    share: float
    orders_per_year: float
    lifetime_days: float
    lines_per_order: float


ONE_TIME = Kind("one-time", 0.425, 0, 0, 2.4)
OCCASIONAL = Kind("occasional", 0.24, 4, 420, 2.8)
REGULAR = Kind("regular", 0.13, 13, 600, 3.2)
LAPSING = Kind("lapsing", 0.133, 24, 80, 2.8)
CHRISTMAS = Kind("christmas", 0.06, 5, 900, 4.5)
TRADE = Kind("trade", 0.012, 30, 900, 8.0)
KINDS = (ONE_TIME, OCCASIONAL, REGULAR, LAPSING, CHRISTMAS, TRADE)

HOME_COUNTRY = "United Kingdom"
COUNTRIES = (
    "Germany",
    "France",
    "Ireland",
    "Netherlands",
    "España",
    "Österreich",
    "Belgique / België",
    "Türkiye",
    "日本",
    "Côte d'Ivoire",
    "São Tomé and Príncipe",
)

STYLES = (
    *("RED", "BLUE", "IVORY", "GREEN STRIPED", "POLKA DOT", "ENAMEL", "BAMBOO", "WOODEN", "VINTAGE", "GLASS", "COPPER"),
    *("LINEN", "RUSTIC", "FLORAL", "SMALL", "LARGE", "SET OF 2", "SET OF 6", "PAPER", "FELT", "CERAMIC", "SILVER"),
    *("RETRO", "MINI"),
)
THINGS = (
    *("MUG", "TEAPOT", "CAKE STAND", "LUNCH BOX", "LANTERN", "CANDLE HOLDER", "CUSHION COVER", "PICTURE FRAME"),
    *("WALL CLOCK", "JAM JAR", "NOTEBOOK", "GIFT BAG", "STORAGE TIN", "TEA TOWEL", "BUNTING", "DOOR MAT", "APRON"),
    *("HOOK", "TRAY", "VASE"),
)
ODD_DESCRIPTIONS = (
    "CAFÉ CRÈME CUP & SAUCER",
    "TEA BOWL 茶碗",
    "GIFT WRAP 🎁 BIRTHDAY",
    "CANDLE, VANILLA, 3 WICKS",
    'RULER 12" "SCHOOL DAYS"',
    'MESSAGE BOARD\n"KITCHEN"',
    "SMÖRGÅSBORD PLATTER",
    "PIÑATA, ŁÓDŹ STYLE",
    "'SEMI; COLON' MAGNET",
    "НОВЫЙ ГОД BAUBLE",
)
PRODUCTS = len(STYLES) * len(THINGS)
ODD_PRODUCT_EVERY = PRODUCTS // len(ODD_DESCRIPTIONS)
ODD_PRODUCT_AT = ODD_PRODUCT_EVERY // 2  # not 0, the best seller of all
# Coprime to the number of products: walks from the rank of popularity to the catalogue number.
RANK_STRIDE = 173

# Lines that are no goods: code, description, and the range of their price in cents. Their numbers follow the goods'.
SERVICES = (
    ("POST", "POSTAGE", 295, 1895),
    ("M", "Manual", 100, 9000),
    ("BANK CHARGES", "Bank Charges", 1500, 2500),
    ("D", "Discount", 200, 4000),
)
SERVICE_RATES = (0.03, 0.002, 0.001, 0.002)  # per order
SERVICE_PRODUCTS = range(PRODUCTS, PRODUCTS + len(SERVICES))
DISCOUNT = SERVICE_PRODUCTS[-1]

# The documents that a customer can have on one day. A return and a discount are cancellations like the rest: C numbers.
PURCHASE, CANCELLATION, RETURN, CREDIT = range(4)
OPENING_MINUTE, CLOSING_MINUTE = 7 * 60, 21 * 60


@dataclass(frozen=True, slots=True)
class Dice:
    """Random numbers without a state: a draw is a function of the seed, its purpose and its keys."""

    seed: int

    def uniform(self, purpose: str, *keys: Ints) -> Floats:
        """Numbers above 0 and below 1, of the shape that the keys broadcast to."""
        state = np.array([(self.seed * 2**32 + zlib.crc32(purpose.encode())) % 2**64], dtype=np.uint64)
        for key in keys:
            state = _mixed(state + key.astype(np.uint64) * np.uint64(0x9E3779B97F4A7C15))
        return ((state >> np.uint64(11)).astype(np.float64) + 0.5) * 2.0**-53

    def normal(self, purpose: str, *keys: Ints) -> Floats:
        """Standard normal numbers, by Box and Muller."""
        radius: Floats = np.sqrt(-2 * np.log(self.uniform(f"{purpose} (radius)", *keys)))
        return radius * np.cos(2 * np.pi * self.uniform(f"{purpose} (angle)", *keys))

    def below(self, limit: int | Ints, purpose: str, *keys: Ints) -> Ints:
        """Whole numbers from 0 to limit - 1."""
        return (self.uniform(purpose, *keys) * limit).astype(np.int64)

    def choice(self, shares: Sequence[float], purpose: str, *keys: Ints) -> Ints:
        """Positions in `shares`, each as often as its share of 1."""
        return np.minimum(np.searchsorted(np.cumsum(shares), self.uniform(purpose, *keys)), len(shares) - 1)


def _mixed(state: Hashes) -> Hashes:
    # The finalizer of splitmix64, which is meant to overflow.
    state = (state ^ (state >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    state = (state ^ (state >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return state ^ (state >> np.uint64(31))


@dataclass(frozen=True, slots=True)
class Customers:
    """Everyone who joined in a span of days, in the order of joining. All arrays have shape (customers,)."""

    number: Ints
    joined: Ints
    last_day: Ints
    kind: Ints
    orders_per_day: Floats
    lines_per_order: Floats
    country: Ints

    def at(self, rows: Ints | Bools | slice) -> "Customers":
        """The customers at an index or a mask."""
        return Customers(*(getattr(self, field.name)[rows] for field in fields(self)))


@dataclass(frozen=True, slots=True)
class Lines:
    """Order lines as numbers, before they become text. All arrays have shape (lines,); days count from 1970-01-01."""

    day: Ints
    minute: Ints
    customer: Ints
    document: Ints
    # The day of the purchase, which for a return is an earlier one.
    bought_on: Ints
    position: Ints
    product: Ints
    quantity: Ints
    cents: Ints
    country: Ints

    def at(self, rows: Ints | Bools) -> "Lines":
        """The lines at an index or a mask."""
        return Lines(*(getattr(self, field.name)[rows] for field in fields(self)))

    @property
    def key(self) -> tuple[Ints, Ints, Ints, Ints]:
        """What no two lines share."""
        return self.customer, self.bought_on, self.document, self.position


def _day_number(day: dt.date) -> int:
    return (day - dt.date(1970, 1, 1)).days


def _peak(days: Ints) -> Floats:
    """How near to Christmas each day is, from 0 to 1."""
    dates = days.astype("datetime64[D]")
    day_of_year = (dates - dates.astype("datetime64[Y]")).astype(np.int64)
    nearness: Floats = np.exp(-(((day_of_year - CHRISTMAS_PEAK_DAY_OF_YEAR) / CHRISTMAS_WIDTH_DAYS) ** 2))
    return nearness


def _weekday(days: Ints) -> Ints:
    return (days + 3) % 7  # 1970-01-01 was a Thursday


def customers_joining(dice: Dice, since: dt.date, until: dt.date) -> Customers:
    """The customers who join from `since` to `until`, both included, each with habits for life."""
    days = np.arange(_day_number(since), _day_number(until) + 1)
    day, slot = (grid.ravel() for grid in np.meshgrid(days, np.arange(JOIN_SLOTS_PER_DAY), indexing="ij"))
    chance = JOIN_CHANCE_PER_SLOT * (1 + CHRISTMAS_EXTRA * _peak(day))
    joins = dice.uniform("joins", day, slot) < chance
    joined = day[joins]
    number = FIRST_CUSTOMER_NUMBER + (joined - _day_number(FIRST_JOIN)) * JOIN_SLOTS_PER_DAY + slot[joins]

    kind = dice.choice([kind.share for kind in KINDS], "kind", number)
    mean_rate = np.array([kind.orders_per_year / 365 for kind in KINDS])[kind]
    # A sum of exponentials is a gamma variable of whole shape.
    waits = [-np.log(dice.uniform(f"rate {part}", number)) for part in range(RATE_GAMMA_SHAPE)]
    mean_lifetime = np.array([kind.lifetime_days for kind in KINDS])[kind]
    lifetime = np.minimum(-np.log(dice.uniform("lifetime", number)) * mean_lifetime, LONGEST_LIFETIME_DAYS)
    mean_lines = np.array([kind.lines_per_order for kind in KINDS])[kind]
    taste = np.exp(BASKET_SIGMA_BETWEEN_CUSTOMERS * dice.normal("basket", number))
    abroad = dice.uniform("abroad", number) > HOME_COUNTRY_SHARE
    # Squared, so that the first countries of the list have the most customers.
    foreign = (dice.uniform("country", number) ** 2 * len(COUNTRIES)).astype(np.int64)
    return Customers(
        number=number,
        joined=joined,
        last_day=joined + lifetime.astype(np.int64),
        kind=kind,
        orders_per_day=mean_rate * np.sum(waits, axis=0) / RATE_GAMMA_SHAPE,
        lines_per_order=mean_lines * taste,
        country=np.where(abroad, 1 + foreign, 0),
    )


def purchases(dice: Dice, since: dt.date, until: dt.date) -> tuple[Customers, Ints]:
    """Who buys on which day, at most once a day: the customers, repeated for each purchase, and the days."""
    joiners = customers_joining(dice, since - dt.timedelta(days=LONGEST_LIFETIME_DAYS), until)
    trade, christmas = KINDS.index(TRADE), KINDS.index(CHRISTMAS)
    buyers, days = [], []
    for day in np.arange(_day_number(since), _day_number(until) + 1):
        today = np.array([day])
        first, end = np.searchsorted(joiners.joined, [day - LONGEST_LIFETIME_DAYS, day + 1])
        alive = first + np.flatnonzero(joiners.last_day[first:end] >= day)
        kind = joiners.kind[alive]
        peak = _peak(today)
        season = np.full(len(KINDS), 1 + CHRISTMAS_EXTRA * peak)
        season[christmas] = CHRISTMAS_BUYER_REST + (CHRISTMAS_BUYER_PEAK - CHRISTMAS_BUYER_REST) * peak[0]
        weekday = np.full(len(KINDS), MONDAY_TO_SUNDAY[_weekday(today)])
        weekday[trade] = MONDAY_TO_SUNDAY_TRADE[_weekday(today)][0]
        chance = joiners.orders_per_day[alive] * (season * weekday)[kind]
        buys = dice.uniform("buys", joiners.number[alive], today) < chance
        buying = alive[buys | (joiners.joined[alive] == day)]
        buyers.append(buying)
        days.append(np.full(len(buying), day))
    return joiners.at(np.concatenate(buyers)), np.concatenate(days)


def _goods(dice: Dice, buyers: Customers, day: Ints) -> Lines:
    """The goods in every purchase: a few different products each."""
    spread = BASKET_SIGMA_BETWEEN_ORDERS * dice.normal("lines", buyers.number, day)
    sizes = np.clip(np.rint(buyers.lines_per_order * np.exp(spread)), 1, MOST_LINES_PER_ORDER).astype(np.int64)
    order = np.repeat(np.arange(len(sizes)), sizes)
    position = np.arange(len(order)) - np.repeat(np.cumsum(sizes) - sizes, sizes)
    buyer, bought_on = buyers.at(order), day[order]
    line = (buyer.number, bought_on, position)
    trade = buyer.kind == KINDS.index(TRADE)

    rank = (dice.uniform("product", *line) ** POPULARITY_SKEW * PRODUCTS).astype(np.int64)
    product = rank * RANK_STRIDE % PRODUCTS
    price = (
        PRICE_MEDIAN_CENTS * np.exp(PRICE_SIGMA * dice.normal("price", product)) * np.where(trade, TRADE_DISCOUNT, 1)
    )
    pieces = 1 + (-PIECES_SCALE * np.log(dice.uniform("pieces", *line))).astype(np.int64)
    packs = TRADE_PACK * (1 + dice.below(MOST_PACKS, "packs", *line) * dice.below(2, "more packs", *line))
    lines = Lines(
        day=bought_on,
        minute=_minute(dice, PURCHASE, buyer.number, bought_on),
        customer=buyer.number,
        document=np.full(len(order), PURCHASE),
        bought_on=bought_on,
        position=position,
        product=product,
        quantity=np.where(trade, packs, pieces),
        cents=price.astype(np.int64) // 10 * 10 + 5,
        country=buyer.country,
    )
    # A product stands in an order once: equal lines are dirt, and the dirt is counted.
    _, kept = np.unique(order * PRODUCTS + product, return_index=True)
    return lines.at(np.sort(kept))


def _minute(dice: Dice, document: int, customer: Ints, day: Ints) -> Ints:
    minutes = dice.below(CLOSING_MINUTE - OPENING_MINUTE, "minute", customer, day)
    if document == CANCELLATION:
        return OPENING_MINUTE + minutes + 1 + dice.below(120, "second thoughts", customer, day)
    if document == PURCHASE:
        return OPENING_MINUTE + minutes
    return OPENING_MINUTE + dice.below(CLOSING_MINUTE - OPENING_MINUTE, f"minute {document}", customer, day)


def _taken_back(dice: Dice, goods: Lines) -> Iterator[Lines]:
    """Orders cancelled on the same day as a whole, and goods returned within `RETURN_WINDOW_DAYS`."""
    order = (goods.customer, goods.bought_on)
    fate = dice.uniform("fate", *order)
    cancelled = goods.at(fate < CANCELLED_ORDER_RATE)
    yield replace(
        cancelled,
        minute=_minute(dice, CANCELLATION, cancelled.customer, cancelled.day),
        document=np.full_like(cancelled.document, CANCELLATION),
        quantity=-cancelled.quantity,
    )
    with_return = (fate >= CANCELLED_ORDER_RATE) & (fate < CANCELLED_ORDER_RATE + ORDER_WITH_RETURN_RATE)
    sent_back = with_return & (dice.uniform("returned", *order, goods.position) < RETURNED_LINE_RATE)
    returned = goods.at(sent_back)
    day = returned.bought_on + 1 + dice.below(RETURN_WINDOW_DAYS, "return after", returned.customer, returned.bought_on)
    yield replace(
        returned,
        day=day,
        minute=_minute(dice, RETURN, returned.customer, day),
        document=np.full_like(returned.document, RETURN),
        quantity=-1 - dice.below(returned.quantity, "returned pieces", *returned.key),
    )


def _service_lines(dice: Dice, goods: Lines) -> Iterator[Lines]:
    """Postage, manual corrections, bank charges and discounts: at most one of them per order."""
    orders = goods.at(goods.position == 0)
    draw = dice.uniform("service", orders.customer, orders.day)
    above = 0.0
    for service, (_, _, lowest, highest), rate in zip(SERVICE_PRODUCTS, SERVICES, SERVICE_RATES, strict=True):
        chosen = orders.at((draw >= above) & (draw < above + rate))
        above += rate
        document = CREDIT if service == DISCOUNT else PURCHASE
        yield replace(
            chosen,
            minute=_minute(dice, document, chosen.customer, chosen.day),
            document=np.full_like(chosen.document, document),
            position=np.full_like(chosen.position, MOST_LINES_PER_ORDER),
            product=np.full_like(chosen.product, service),
            quantity=np.full_like(chosen.quantity, -1 if document == CREDIT else 1),
            cents=lowest + dice.below(highest - lowest, "service price", chosen.customer, chosen.day),
        )


def order_lines(dice: Dice, since: dt.date, until: dt.date) -> Lines:
    """All lines from `since` to `until`, both included, in the order of their files; clean, but for service lines."""
    goods = _goods(dice, *purchases(dice, since - dt.timedelta(days=RETURN_WINDOW_DAYS), until))
    parts = [goods, *_taken_back(dice, goods), *_service_lines(dice, goods)]
    lines = Lines(*(np.concatenate([getattr(part, field.name) for part in parts]) for field in fields(Lines)))
    lines = lines.at((lines.day >= _day_number(since)) & (lines.day <= _day_number(until)))
    # np.lexsort sorts by its last key first.
    return lines.at(
        np.lexsort((lines.position, lines.bought_on, lines.document, lines.customer, lines.minute, lines.day))
    )


def _order_ids(lines: Lines) -> list[str]:
    """Numbers that begin anew every day, so that they depend on nothing but the day; cancellations begin with C."""
    document = np.stack((lines.day, lines.minute, lines.customer, lines.document))
    begins = np.any(np.diff(document, axis=1, prepend=-1) != 0, axis=0)
    running = np.cumsum(begins)
    first_of_day = running[np.searchsorted(lines.day, lines.day)]
    number = (lines.day - _day_number(FIRST_JOIN)) * ORDER_NUMBERS_PER_DAY + running - first_of_day + 1
    cancels = lines.document != PURCHASE
    return [f"C{id_}" if cancel else str(id_) for id_, cancel in zip(number.tolist(), cancels.tolist(), strict=True)]


def _price(cents: int) -> str:
    return f"{cents // 100}.{cents % 100:02d}"


def _product_texts() -> list[tuple[str, str]]:
    """Code and description of every product number, goods first, then services."""
    goods = []
    for product in range(PRODUCTS):
        odd, rest = divmod(product, ODD_PRODUCT_EVERY)
        plain = f"{STYLES[product // len(THINGS)]} {THINGS[product % len(THINGS)]}"
        suffix = "AB"[product % 2] if product % 5 == 0 else ""
        goods.append((f"{20_000 + 7 * product}{suffix}", ODD_DESCRIPTIONS[odd] if rest == ODD_PRODUCT_AT else plain))
    return goods + [(code, description) for code, description, _, _ in SERVICES]


def _exported(dice: Dice, lines: Lines) -> tuple[list[list[str]], Bools]:
    """The lines as text with the dirt of an export, and which of them carry a usable customer id."""
    order = (lines.customer, lines.bought_on)
    id_draw = dice.uniform("id", *order)
    missing = id_draw < MISSING_ID_PER_ORDER
    spreadsheet = ~missing & (id_draw < MISSING_ID_PER_ORDER + SPREADSHEET_ID_PER_ORDER)
    ids = ["" if gone else str(number) for number, gone in zip(lines.customer.tolist(), missing.tolist(), strict=True)]
    products = _product_texts()
    countries = (HOME_COUNTRY, *COUNTRIES)
    dates = lines.day.astype("datetime64[D]").astype(str).tolist()
    rows = [
        [
            order_id,
            customer_id,
            f"{date} {minute // 60:02d}:{minute % 60:02d}:00",
            *products[product],
            str(quantity),
            _price(cents),
            countries[country],
        ]
        for order_id, customer_id, date, minute, product, quantity, cents, country in zip(
            _order_ids(lines),
            ids,
            dates,
            lines.minute.tolist(),
            lines.product.tolist(),
            lines.quantity.tolist(),
            lines.cents.tolist(),
            lines.country.tolist(),
            strict=True,
        )
    ]
    for row in np.flatnonzero(spreadsheet):
        rows[row][CUSTOMER_ID] += ".0"

    dirt = dice.choice([*LINE_DIRT.values(), 1 - sum(LINE_DIRT.values())], "dirt", *lines.key)
    variant = dice.below(VARIANTS, "variant of dirt", *lines.key)
    for row in np.flatnonzero(dirt < len(LINE_DIRT)):
        _spoil(rows[row], list(LINE_DIRT)[dirt[row]], int(variant[row]))
    mangled = dirt == list(LINE_DIRT).index("mangled id")
    return rows, ~missing & ~mangled


def _spoil(row: list[str], dirt: str, variant: int) -> None:
    match dirt:
        case "zero price":
            row[UNIT_PRICE] = "0.00"
            if variant % 2:
                row[DESCRIPTION] = ""
        case "negative price":
            row[UNIT_PRICE] = f"-{row[UNIT_PRICE]}"
        case "bad date":
            # Never a plausible but wrong day, such as 2099: the pipeline stops at those, as it should.
            year = row[ORDER_DATE][:4]
            row[ORDER_DATE] = ("0000-00-00", f"{year}-13-45", "1899-12-30 00:00:00")[variant % 3]
        case "bad quantity":
            row[QUANTITY] = BAD_QUANTITIES[variant % len(BAD_QUANTITIES)]
        case "bad price":
            row[UNIT_PRICE] = BAD_PRICES[variant % len(BAD_PRICES)]
        case "mangled id":
            row[CUSTOMER_ID] = MANGLED_ID
        case _:
            raise ValueError(f"unknown dirt: {dirt}")


@dataclass(frozen=True, slots=True)
class Written:
    """What a call wrote: the files asked for, those new or changed, and the lines and customers in all of them."""

    files: int
    changed: int
    lines: int
    customers: int


def day_files(since: dt.date, until: dt.date, seed: int = DEFAULT_SEED) -> tuple[dict[str, bytes], Written]:
    """The files of the days from `since` to `until`, both included: bytes by file name, and what they hold.

    Raises:
        ValueError: `since` is after `until` or before `FIRST_DAY`.
    """
    if since > until:
        raise ValueError(f"since {since} is after until {until}")
    if since < FIRST_DAY:
        raise ValueError(f"since {since} is before {FIRST_DAY}, the first day of the demo shop")
    dice = Dice(seed)
    lines = order_lines(dice, since, until)
    rows, identified = _exported(dice, lines)
    copies = 1 + (dice.uniform("duplicate", *lines.key) < DUPLICATE_PER_LINE)
    days = np.arange(_day_number(since), _day_number(until) + 1)
    starts = np.searchsorted(lines.day, [*days, days[-1] + 1]).tolist()
    files = {}
    for day, start, end in zip(days.astype("datetime64[D]").astype(str).tolist(), starts, starts[1:], strict=False):
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow(COLUMNS)
        for row, times in zip(rows[start:end], copies[start:end].tolist(), strict=True):
            writer.writerows([row] * times)
        files[f"{day}.csv"] = text.getvalue().encode()
    customers = len(np.unique(lines.customer[identified]))
    return files, Written(files=len(files), changed=0, lines=int(copies.sum()), customers=customers)


def write_days(out: Path, since: dt.date, until: dt.date, seed: int = DEFAULT_SEED) -> Written:
    """Write one CSV per day into the folder `out`; a file that holds these bytes already is left alone.

    Raises:
        ValueError: as `day_files`.
    """
    files, written = day_files(since, until, seed)
    out.mkdir(parents=True, exist_ok=True)
    changed = 0
    for name, content in files.items():
        path = out / name
        if path.exists() and path.read_bytes() == content:
            continue
        with _replacing(path) as temporary:
            temporary.write_bytes(content)
        changed += 1
    return replace(written, changed=changed)


@contextmanager
def _replacing(path: Path) -> Iterator[Path]:
    """A hidden path beside `path` to write to, which takes its place when the block ends well."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        yield temporary
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


# One row per line i. Twenty lines make five orders, of 1, 2, 3, 5 and 9 lines, so that order and line are arithmetic
# and nothing has to be joined, sorted or remembered. draw(key, n) is the n-th random number of a key, from 0 to 1.
# Every `orders_per_customer`-th order is a new customer's first; the others choose among those who have joined: half of
# them are loyal customers, spread over all who ever joined, half are triers, of whom only the newest still buy. Within
# a block of 64 customers some buy much more than others. A return repeats customer and goods of an order just before.
BULK_SQL = """
WITH numbered AS (
    SELECT i, i // 20 * 5 + CASE WHEN i % 20 < 1 THEN 0 WHEN i % 20 < 3 THEN 1 WHEN i % 20 < 6 THEN 2
                                 WHEN i % 20 < 11 THEN 3 ELSE 4 END AS o
    FROM range({lines}) AS lines(i)
), fates AS (
    SELECT i, o,
        o % {orders_per_customer} = 0 AND o // {orders_per_customer} < {customers} AS is_first,
        NOT is_first AND o >= {return_after} AND draw(o, 1) < {returns} AS is_return,
        -- Only odd lines that do not begin an order are copies, so the line before is none.
        i % 20 IN (5, 7, 9, 13, 15, 17, 19) AND draw(i, 2) < {duplicates} * 20 / 7 AS is_copy,
        i - is_copy::BIGINT AS line
    FROM numbered
), sources AS (
    SELECT *,
        CASE WHEN is_return THEN o - {return_after} ELSE o END AS source_o,
        CASE WHEN is_return THEN line - {return_after} * 4 ELSE line END AS source_line
    FROM fates
), buyers AS (
    SELECT *,
        least(greatest(source_o // {orders_per_customer}, {customers} // 5, 1), {customers}) AS joined,
        draw(source_o, 3) < 0.5 AS is_loyal,
        CASE WHEN source_o % {orders_per_customer} = 0 AND source_o // {orders_per_customer} < {customers}
            THEN source_o // {orders_per_customer}
            ELSE (floor(joined * (1 - pow(draw(source_o, 4), CASE WHEN is_loyal THEN 1 ELSE 4 END)) / 64) * 64
                + CASE WHEN is_loyal THEN floor(32 * pow(draw(source_o, 5), 2))
                       ELSE 32 + floor(32 * pow(draw(source_o, 5), 1.5)) END)::BIGINT % {customers}
        END AS customer
    FROM sources
), goods AS (
    SELECT *,
        floor(pow(draw(source_line, 6), {popularity_skew}) * {products})::BIGINT AS product,
        (1 + floor(-{pieces_scale} * ln(1 - draw(source_line, 7))))::INTEGER
            * CASE WHEN customer % 64 = 0 THEN 12 ELSE 1 END AS pieces,
        draw(product, 8) AS price_draw
    FROM buyers
)
SELECT
    CASE WHEN is_return THEN 'C' ELSE '' END || (500000 + o) AS order_id,
    CASE WHEN is_first OR draw(source_o, 9) >= {missing_ids} THEN (10000 + customer)::VARCHAR END AS customer_id,
    TIMESTAMP '{since}' + to_minutes(o * {minutes} // {orders}) AS order_date,
    (20000 + product)::VARCHAR AS product_id,
    {styles}[1 + product % {style_count}] || ' ' || {things}[1 + product // {style_count} % {thing_count}]
        AS description,
    CASE WHEN is_return THEN -pieces ELSE pieces END AS quantity,
    CASE WHEN draw(line, 10) < {zero_prices} THEN 0
         ELSE least(4.25 * sqrt(price_draw / (1 - price_draw)), 500) + 0.05 END::DECIMAL(10, 2) AS unit_price,
    CASE WHEN draw(customer, 11) < {home_share} THEN '{home_country}'
         ELSE {countries}[1 + floor(pow(draw(customer, 12), 2) * {country_count})::BIGINT] END AS country
FROM goods
"""
BULK_PRODUCTS = 2_000
BULK_RETURN_PER_ORDER = 0.02
# Returned goods were bought this share of the whole span before.
BULK_RETURN_AFTER = 1 / 100


def write_bulk(
    path: Path,
    lines: int,
    customers: int,
    since: dt.date,
    until: dt.date,
    seed: int = DEFAULT_SEED,
    threads: int | None = None,
) -> Written:
    """Write one Parquet or CSV file of exactly `lines` order lines, sorted by time, from `since` to `until`.

    Every customer has an order with an id, so a reader finds exactly `customers` of them. The content depends on
    the arguments alone (and the release of DuckDB, whose hash it uses), not on `threads`, None for DuckDB's choice.

    Raises:
        ValueError: the suffix is neither .parquet nor .csv, or there are fewer than 5 lines per customer.
    """
    options = {".parquet": "FORMAT parquet", ".csv": "FORMAT csv, HEADER"}.get(path.suffix)
    if options is None:
        raise ValueError(f"{path} ends neither with .parquet nor with .csv")
    if customers < 1 or lines < 5 * customers:
        raise ValueError(
            f"{lines} lines are too few for {customers} customers: at least 1 customer and 5 lines for each"
        )
    if since > until:
        raise ValueError(f"since {since} is after until {until}")
    # Of the last twenty lines, some may be cut off: only whole twenties count, so that every customer's order is there.
    orders = lines // 20 * 5
    query = BULK_SQL.format(
        lines=lines,
        customers=customers,
        orders_per_customer=max(orders // customers, 1),
        # In whole twenties of lines, that source and return have the same number of lines.
        return_after=max(int(orders * BULK_RETURN_AFTER) // 5, 1) * 5,
        returns=BULK_RETURN_PER_ORDER,
        duplicates=DUPLICATE_PER_LINE,
        missing_ids=MISSING_ID_PER_ORDER,
        zero_prices=ZERO_PRICE_PER_LINE,
        products=BULK_PRODUCTS,
        popularity_skew=POPULARITY_SKEW,
        pieces_scale=PIECES_SCALE,
        since=since.isoformat(),
        minutes=((until - since).days + 1) * 24 * 60,
        orders=orders + 5,
        styles=_sql_list(STYLES),
        style_count=len(STYLES),
        things=_sql_list(THINGS),
        thing_count=len(THINGS),
        home_share=HOME_COUNTRY_SHARE,
        home_country=HOME_COUNTRY,
        countries=_sql_list(COUNTRIES),
        country_count=len(COUNTRIES),
    )
    salt = zlib.crc32(f"bulk {seed}".encode()) << 31
    path.parent.mkdir(parents=True, exist_ok=True)
    with duckdb.connect() as connection, _replacing(path) as temporary:
        if threads is not None:
            connection.execute(f"SET threads = {threads}")
        connection.execute(
            "CREATE TEMP MACRO draw(key, n) AS "
            f"(hash(xor((key * 16 + n)::UBIGINT, {salt}::UBIGINT)) >> 11)::DOUBLE / 9007199254740992e0"
        )
        target = str(temporary).replace("'", "''")
        connection.execute(f"COPY ({query}) TO '{target}' ({options})")
    return Written(files=1, changed=1, lines=lines, customers=customers)


def _sql_list(texts: Sequence[str]) -> str:
    return "[" + ", ".join("'" + text.replace("'", "''") + "'" for text in texts) + "]"


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit status."""
    parser = argparse.ArgumentParser(description="Make the demo shop: order lines with the dirt of real exports.")
    parser.add_argument("--out", type=Path, help="folder of the daily files; with --lines, a .parquet or .csv file")
    parser.add_argument("--until", type=dt.date.fromisoformat, help="last day, included; yesterday unless set")
    parser.add_argument(
        "--since", type=dt.date.fromisoformat, help=f"first day; {DEFAULT_SPAN_DAYS} days before --until"
    )
    parser.add_argument("--seed", type=int, default=DEFAULT_SEED, help="another seed is another shop (%(default)s)")
    parser.add_argument("--lines", type=int, help="for benchmarks: one file of this many lines")
    parser.add_argument("--customers", type=int, help="with --lines: how many customers (one per 20 lines)")
    given = parser.parse_args(arguments)
    if given.lines is None and given.customers is not None:
        parser.error("--customers needs --lines")
    if given.lines is not None and given.out is None:
        parser.error("--lines needs --out FILE.parquet or FILE.csv")
    until = given.until or dt.date.today() - dt.timedelta(days=1)
    since = given.since or until - dt.timedelta(days=DEFAULT_SPAN_DAYS)
    out = given.out or DEFAULT_OUT
    try:
        if given.lines is None:
            written = write_days(out, since, until, given.seed)
        else:
            customers = given.lines // 20 if given.customers is None else given.customers
            written = write_bulk(out, given.lines, customers, since, until, given.seed)
    except (OSError, ValueError) as error:
        parser.error(str(error))
    print(
        f"{out}: {written.files:,} file(s), {written.changed:,} new or changed, {since} to {until}, "
        f"{written.lines:,} lines, {written.customers:,} customers"
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
