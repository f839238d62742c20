"""Sixteen kinds of shops with a known truth: who their customers are, and what a night must say about them.

Each shop is an ordinary export of order lines, and some sentences that are true of it, each with a predicate on the
tables of the night. `evidence` runs them through the whole pipeline. The names that the predicates mention are those of
the R x F grid, and Lost; a descriptive name contradicts no truth.
"""

import datetime
import re
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pandas as pd

from seg_pipeline.features.tables import GRID_CELLS
from seg_pipeline.models.registry import ALGORITHMS
from seg_pipeline.warehouse import Warehouse

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

SEED = 20
NIGHT = datetime.date(2025, 1, 1)
COLUMNS = ("order_id", "customer_id", "order_date", "sku", "quantity", "price")

BEST = ("Champions", "Loyal Customers")
ACTIVE = (*BEST, "Potential Loyalists", "New Customers", "Promising")
ONE_ORDER = ("New Customers", "Promising")
GONE = ("Hibernating", "Lost")
LEAVING = (*GONE, "About to Sleep", "At Risk", "Can't Lose")
# A group counts as kept out of some segments, or as together in one, if this share of its customers is.
NEARLY_NOBODY = 0.05
NEARLY_ALL = 0.9
# With fewer customers, the grid may be all that is left.
FEW = 300

# Transformed units: log1p of recency in days, of the number of orders, and of the value of all orders.
PROTOTYPES: Mapping[str, tuple[float, float, float]] = {
    "regulars": (8, 40, 1_000),
    "occasional big spenders": (60, 6, 4_000),
    "small and gone": (450, 4, 50),
    "small and recent": (12, 4, 60),
    "good and gone": (300, 14, 900),
    "big and recent": (14, 12, 3_600),
    "frequent and cheap, fading": (75, 25, 140),
}
# Standard deviations between the centre of a group and that of its nearest neighbour.
FAR, NEAR = 7.0, 3.5


@dataclass(frozen=True, slots=True, eq=False)
class Night:
    """The tables of a night, on which truths are checked."""

    evaluation_report: pd.DataFrame
    value_window: pd.DataFrame
    segment_profiles: pd.DataFrame
    segment_assignments: pd.DataFrame
    segment_strategies: pd.DataFrame

    @classmethod
    def of(cls, warehouse: Warehouse) -> "Night":
        """Reads the tables of the warehouse's only night."""

        def rows(table: str) -> pd.DataFrame:
            return warehouse.read(f"SELECT * FROM {table}")

        return cls(
            rows("evaluation.evaluation_report"),
            rows("evaluation.value_window"),
            rows("segments.segment_profiles"),
            rows("segments.segment_assignments"),
            rows("segments.segment_strategies"),
        )

    @property
    def chosen(self) -> Mapping[str, object]:
        """Returns the row of the chosen candidate."""
        return {str(name): value for name, value in self.evaluation_report.set_index("chosen").loc[True].items()}

    @property
    def buyers(self) -> pd.DataFrame:
        """Returns the profiles of the segments that have bought something."""
        return self.segment_profiles[self.segment_profiles["segment_id"] > 0]

    def share_named(self, customers: Collection[str], names: Collection[str]) -> float:
        """Returns the share of some customers who are in a segment with one of these names."""
        theirs = self.segment_assignments[self.segment_assignments["customer_id"].isin(customers)]
        return float(theirs["segment_name"].map(plain).isin(names).mean())

    def fitting_segment(self, customers: Collection[str]) -> tuple[float, float]:
        """Returns how well the segment that fits some customers best does so.

        The first figure is the share of these customers who are in it; the second is their share of its customers.
        """
        is_theirs = self.segment_assignments["customer_id"].isin(customers)
        segments, sizes = np.unique(self.segment_assignments["segment_id"], return_counts=True)
        inside = np.bincount(np.searchsorted(segments, self.segment_assignments["segment_id"]), is_theirs)
        best = int((inside / (len(customers) + sizes - inside)).argmax())
        return float(inside[best] / len(customers)), float(inside[best] / sizes[best])


@dataclass(frozen=True, slots=True)
class Truth:
    """A sentence that is true of a shop, and whether a night agrees."""

    sentence: str
    holds: Callable[[Night], bool]


@dataclass(frozen=True, slots=True, eq=False)
class TrueShop:
    """A generated shop.

    Attributes:
        name: Its name.
        lines: The lines of its export, with COLUMNS.
        groups: The customers of each kind that its truths speak of.
        truths: What is true of it, beside EVERYWHERE.
    """

    name: str
    lines: pd.DataFrame
    groups: Mapping[str, list[str]]
    truths: Sequence[Truth]

    @property
    def all_truths(self) -> list[Truth]:
        """Returns all that a night must agree with."""
        return [*self.truths, *EVERYWHERE]


def plain(name: str) -> str:
    """Returns the name of a segment without what tells it from others of the same name."""
    return re.split(r",| \(", name, maxsplit=1)[0]


def k_is(k: int) -> Truth:
    """The night has k segments."""
    return Truth(f"k is {k}", lambda night: night.chosen["k"] == k)


def never_named(
    who: str, customers: Collection[str], names: Collection[str], what: str, few: float = NEARLY_NOBODY
) -> Truth:
    """(Nearly) none of some customers are in a segment with one of these names."""
    return Truth(
        f"{who} are in no segment with a name for {what}",
        lambda night: night.share_named(customers, names) <= few,
    )


def not_left_out(who: str, customers: Collection[str]) -> Truth:
    """(Nearly) none of some customers are in a segment whose advice is to spend nothing on them."""

    def holds(night: Night) -> bool:
        advice = night.segment_strategies
        words = (advice["objective"] + " " + advice["marketing"]).str.lower()
        left_out = advice.loc[words.str.contains("leave them out|no more than the cheapest contact"), "segment_id"]
        theirs = night.segment_assignments[night.segment_assignments["customer_id"].isin(customers)]
        return float(theirs["segment_id"].isin(left_out).mean()) <= NEARLY_NOBODY

    return Truth(f"no advice leaves out {who}", holds)


def of_their_own(who: str, customers: Collection[str]) -> Truth:
    """Some customers are nearly all in one segment, which nearly nobody else is in."""
    return Truth(
        f"{who} are a segment of their own",
        lambda night: min(night.fitting_segment(customers)) >= NEARLY_ALL,
    )


def kept_together(groups: Mapping[str, Collection[str]], share: float) -> Truth:
    """Most customers of each group are in a segment of which most are of this group."""
    return Truth(
        f"each group has a segment that holds {share:.0%} of it, and of which it is {share:.0%}",
        lambda night: all(min(night.fitting_segment(customers)) >= share for customers in groups.values()),
    )


def nearly_all_bought_once(night: Night) -> bool:
    return bool(night.value_window["few_repeat"].fillna(False).all())


def no_worth_claimed(night: Night) -> bool:
    return bool(night.evaluation_report["value"].isna().all() and night.value_window["revenue"].isna().all())


def value_untested(night: Night) -> bool:
    return bool(night.value_window["untested_because"].notna().all())


def one_segment(night: Night) -> bool:
    return len(night.buyers) == 1


def is_fitted(night: Night) -> bool:
    return not ALGORITHMS[str(night.chosen["algorithm"])].is_baseline


def fitted_if_many(night: Night) -> bool:
    return is_fitted(night) or len(night.segment_assignments) < FEW


def large_enough(night: Night) -> bool:
    buyers = night.buyers
    revenue = buyers["revenue"].astype(float)
    are_large = (buyers["customers"] >= 30) | (revenue >= 0.1 * revenue.sum())
    return bool(are_large.all()) or one_segment(night) or not is_fitted(night)


def best_are_active(night: Night) -> bool:
    named = night.buyers[night.buyers["segment_name"].map(plain).isin(BEST)]
    return bool(((named["active_share"] >= 0.2) & (named["median_recency_days"] < 365)).all())


def best_are_named_so(night: Night) -> bool:
    best = max(night.buyers.to_dict("records"), key=lambda row: row["mean_f_score"] + row["mean_m_score"])
    return min(best["mean_r_score"], best["mean_f_score"]) < 4.5 or plain(best["segment_name"]) in BEST


def sleepy_are_late(night: Night) -> bool:
    named = night.buyers[night.buyers["segment_name"].map(plain).eq("About to Sleep")]
    is_late = named["median_recency_days"] > 1.5 * named["median_days_between_orders"]
    return bool(((named["active_share"] <= 0.5) | is_late).all())


def gone_are_silent(night: Night) -> bool:
    named = night.buyers[night.buyers["segment_name"].map(plain).isin(GONE)]
    return bool((named["active_share"] <= 0.5).all())


def few_described(night: Night) -> bool:
    grid = {*GRID_CELLS, "Lost"}
    described = (~night.buyers["segment_name"].map(plain).isin(grid)).sum()
    return bool(described <= max(1, len(night.buyers) // 3))


def advice_fits_activity(night: Night) -> bool:
    objectives = night.segment_strategies.set_index("segment_id")["objective"]
    objective = night.buyers["segment_id"].map(objectives).str.lower()
    active = night.buyers["active_share"]
    is_late = night.buyers["median_recency_days"] > 1.5 * night.buyers["median_days_between_orders"]
    gives_up = objective.str.contains("win them back|let them go|no more than the cheapest contact")
    takes_as_active = objective.str.contains("keep them|raise the value|make ordering a habit")
    return not bool((gives_up & (active > 0.5) & ~is_late | takes_as_active & (active < 0.2)).any())


EVERYWHERE = (
    Truth("the model is a fitted one, unless there are fewer than 300 customers", fitted_if_many),
    Truth("segments of a fitted model have 30 customers or a tenth of the revenue, or all are one", large_enough),
    Truth("who is called the best is active", best_are_active),
    Truth("who is called gone is silent", gone_are_silent),
    Truth("who is called about to sleep is silent, or late for the own rhythm", sleepy_are_late),
    Truth("the best by orders and spend are called so, if they are recent", best_are_named_so),
    Truth("at most a third of the names are descriptions", few_described),
    Truth("advice treats no active customers as gone, and none who are gone as active", advice_fits_activity),
)


def _random(name: str) -> np.random.Generator:
    return np.random.default_rng([SEED, *name.encode()])


def _ids(prefix: str, count: int) -> list[str]:
    return [f"{prefix}{number:04}" for number in range(1, count + 1)]


def _lines(customer_id: Sequence[str] | npt.NDArray[np.str_], days_ago: Ints, price: Floats) -> pd.DataFrame:
    """Returns the lines of orders with one line each: who ordered, how many days before the night, at what price."""
    ordered = pd.Timestamp(NIGHT) - pd.to_timedelta(days_ago, unit="D")
    lines = pd.DataFrame({"customer_id": customer_id, "order_date": ordered, "price": np.round(price, 2)})
    lines = lines.sort_values(["order_date", "customer_id"], kind="stable", ignore_index=True)
    lines["order_id"] = [f"{number}" for number in range(10_001, 10_001 + len(lines))]
    lines["order_date"] = lines["order_date"].dt.strftime("%Y-%m-%d")
    lines["sku"] = "P" + (lines.index % 40 + 1).astype(str)
    lines["quantity"] = 1
    return lines[list(COLUMNS)]


def _prices(random: np.random.Generator, count: int, median: float, sigma: float = 0.4) -> Floats:
    return median * np.exp(random.normal(0, sigma, count))


def _once(random: np.random.Generator, customers: Sequence[str], low: int, high: int, median: float) -> pd.DataFrame:
    """Returns the lines of customers who ordered once, `low` to `high` days ago."""
    return _lines(customers, random.integers(low, high + 1, len(customers)), _prices(random, len(customers), median))


def _rhythm(
    random: np.random.Generator, customers: Sequence[str], gap: int, since: tuple[int, int], until: int, median: float
) -> pd.DataFrame:
    """Returns the lines of customers who order every `gap` days, give or take a fifth of that.

    Args:
        random: The shop's random numbers.
        customers: The customers.
        gap: Days between their orders.
        since: Fewest and most days since a customer's first order.
        until: Days since their last order, at least; at most a gap more.
        median: Median price.
    """
    who, days = [], []
    for customer in customers:
        first = int(random.integers(since[0], since[1] + 1))
        regular = np.arange(first, until, -gap)
        moved = regular + random.integers(-(gap // 5), gap // 5 + 1, len(regular))
        moved = np.unique(np.maximum(moved, until + 1))
        who += [customer] * len(moved)
        days += moved.tolist()
    return _lines(who, np.array(days), _prices(random, len(days), median))


def _together(*parts: pd.DataFrame) -> pd.DataFrame:
    """Joins the lines of parts of a shop; each order keeps a number of its own."""
    lines = pd.concat(parts).sort_values(["order_date", "customer_id", "price"], kind="stable", ignore_index=True)
    lines["order_id"] = [f"{number}" for number in range(10_001, 10_001 + len(lines))]
    return lines


def subscription() -> TrueShop:
    """150 subscribers pay the same each month of a year; 20 of them stopped after June."""
    paying, stopped = _ids("P", 130), _ids("S", 20)
    months = [datetime.date(2024, month, 5) for month in range(1, 13)]
    ago = np.array([(NIGHT - month).days for month in months])
    of_paying = _lines(np.repeat(paying, 12), np.tile(ago, 130), np.full(130 * 12, 9.99))
    of_stopped = _lines(np.repeat(stopped, 6), np.tile(ago[:6], 20), np.full(20 * 6, 9.99))
    return TrueShop(
        "subscription",
        _together(of_paying, of_stopped),
        {"paying": paying, "stopped": stopped},
        (
            never_named("the 20 who stopped", stopped, ACTIVE, "active ones"),
            never_named("the 130 who pay", paying, ONE_ORDER, "those who bought once"),
            never_named("the 130 who pay", paying, LEAVING, "those who leave"),
            Truth(
                "the 130 who pay are Champions or Loyal Customers",
                lambda night: night.share_named(paying, BEST) >= NEARLY_ALL,
            ),
        ),
    )


def grocery() -> TrueShop:
    """540 customers come each week, 80 more did until four months ago, and 60 are new this month."""
    random = _random("grocery")
    weekly, stopped, new = _ids("W", 540), _ids("S", 80), _ids("N", 60)
    return TrueShop(
        "grocery",
        _together(
            _rhythm(random, weekly, 7, (120, 500), 0, 45),
            _rhythm(random, stopped, 7, (300, 500), 120, 45),
            _once(random, new, 1, 20, 40),
        ),
        {"weekly": weekly, "stopped": stopped, "new": new},
        (
            never_named("who come each week", weekly, LEAVING, "those who leave"),
            never_named("who come each week", weekly, ONE_ORDER, "those who bought once"),
            never_named("who stopped four months ago", stopped, ACTIVE, "active ones"),
            never_named("who came for the first time this month", new, LEAVING, "those who leave"),
            not_left_out("who came for the first time this month", new),
        ),
    )


def marketplace() -> TrueShop:
    """3,000 customers in two years, of whom 97 % bought once."""
    random = _random("marketplace")
    once, again = _ids("O", 2_910), _ids("A", 90)
    recent = once[:300]
    return TrueShop(
        "marketplace",
        _together(
            _once(random, recent, 1, 30, 60),
            _once(random, once[300:], 31, 730, 60),
            _rhythm(random, again, 60, (150, 400), 10, 60),
        ),
        {"once": once, "again": again, "recent": recent},
        (
            Truth("the report says that nearly all bought once", nearly_all_bought_once),
            Truth("no worth is claimed", no_worth_claimed),
            never_named("who bought once", once, BEST, "the best"),
            never_named("who bought once this month", recent, GONE, "those who are gone"),
            not_left_out("who bought once this month", recent),
        ),
    )


def seasonal_fashion() -> TrueShop:
    """Customers buy when the collections come, in March and in September; the night lies half-way, on 1 January."""
    random = _random("seasonal fashion")
    each, skipped, new = _ids("E", 400), _ids("S", 300), _ids("N", 200)
    seasons = [(NIGHT - datetime.date(year, month, 1)).days for year in (2022, 2023, 2024) for month in (3, 9)]

    def bought(customers: Sequence[str], days: Sequence[int], median: float) -> pd.DataFrame:
        ago = np.concatenate([day - random.integers(0, 30, len(customers)) for day in days])
        return _lines(np.tile(customers, len(days)), ago, _prices(random, len(ago), median))

    return TrueShop(
        "seasonal fashion",
        _together(bought(each, seasons, 120), bought(skipped, seasons[:3], 110), bought(new, seasons[-1:], 90)),
        {"each": each, "skipped": skipped, "new": new},
        (
            never_named("who bought in each season", each, GONE, "those who are gone"),
            never_named("who skipped three seasons", skipped, ACTIVE, "active ones"),
            never_named("who bought once, last season", new, BEST, "the best"),
            of_their_own("who skipped three seasons", skipped),
        ),
    )


def resellers() -> TrueShop:
    """A wholesaler: 15 of 400 customers resell, and have most of the revenue."""
    random = _random("resellers")
    reselling, regular, lapsed = _ids("R", 15), _ids("C", 250), _ids("L", 135)
    return TrueShop(
        "B2B with resellers",
        _together(
            _rhythm(random, reselling, 7, (400, 700), 0, 2_500),
            _rhythm(random, regular, 60, (200, 700), 5, 300),
            _rhythm(random, lapsed, 60, (450, 700), 300, 300),
        ),
        {"resellers": reselling, "regular": regular, "lapsed": lapsed},
        (
            of_their_own("the 15 resellers", reselling),
            Truth(
                "the resellers are Champions or Loyal Customers",
                lambda night: night.share_named(reselling, BEST) >= NEARLY_ALL,
            ),
            never_named("who have been silent for ten months", lapsed, ACTIVE, "active ones"),
            never_named("who order every other month", regular, GONE, "those who are gone"),
        ),
    )


def one_time_buyers() -> TrueShop:
    """1,200 customers in a year, each with one order."""
    random = _random("one-time buyers")
    recent, old = _ids("R", 150), _ids("O", 1_050)
    return TrueShop(
        "one-time buyers",
        _together(_once(random, recent, 1, 30, 70), _once(random, old, 31, 365, 70)),
        {"recent": recent, "old": old},
        (
            Truth("the report says that nearly all bought once", nearly_all_bought_once),
            Truth("no worth is claimed", no_worth_claimed),
            never_named("who bought once", [*recent, *old], (*BEST, "Can't Lose"), "the best"),
            never_named("who bought this month", recent, GONE, "those who are gone"),
            not_left_out("who bought this month", recent),
        ),
    )


def cohort() -> TrueShop:
    """1,500 customers came in one quarter, 15 to 18 months ago; most never again, 300 of them still buy."""
    random = _random("cohort")
    once, faded, still = _ids("O", 900), _ids("F", 300), _ids("S", 300)
    return TrueShop(
        "cohort",
        _together(
            _once(random, once, 450, 540, 35),
            _rhythm(random, faded, 45, (450, 540), 300, 40),
            _rhythm(random, still, 40, (450, 540), 5, 45),
        ),
        {"once": once, "faded": faded, "still": still},
        (
            never_named("who bought once, over a year ago", once, ACTIVE, "active ones"),
            never_named("who faded ten months ago", faded, ACTIVE, "active ones"),
            never_named("who still buy", still, LEAVING, "those who leave"),
            of_their_own("who still buy", still),
        ),
    )


def three_weeks_old() -> TrueShop:
    """A shop that opened three weeks ago, with 80 customers."""
    random = _random("three weeks old")
    customers = _ids("C", 80)
    orders = 1 + random.poisson(1.1, len(customers))
    who = np.repeat(customers, orders)
    days = np.concatenate([random.choice(np.arange(1, 22), count, replace=False) for count in orders])
    return TrueShop(
        "three weeks old",
        _lines(who, days, _prices(random, len(who), 90)),
        {"all": customers},
        (
            Truth("the report says that there is no value test", value_untested),
            never_named("customers of the last three weeks", customers, LEAVING, "those who leave"),
            not_left_out("customers of the last three weeks", customers),
            Truth("there are at most 2 segments", lambda night: len(night.buyers) <= 2),
        ),
    )


def thirty_customers() -> TrueShop:
    """A shop with 30 customers."""
    random = _random("30 customers")
    customers = _ids("C", 30)
    return TrueShop(
        "30 customers",
        _together(
            _rhythm(random, customers[:12], 30, (200, 400), 5, 50),
            _rhythm(random, customers[12:20], 60, (300, 400), 200, 50),
            _once(random, customers[20:], 1, 400, 50),
        ),
        {"all": customers},
        (
            Truth("all 30 are one segment", one_segment),
            Truth("the report says that there is no value test", value_untested),
        ),
    )


def tied_counts() -> TrueShop:
    """A box each quarter at one price: 500 have had all four, 200 stopped after the first two."""
    complete, stopped = _ids("C", 500), _ids("S", 200)
    random = _random("tied counts")
    boxes = np.array([(NIGHT - datetime.date(2024, month, 1)).days for month in (2, 5, 8, 11)])

    def delivered(customers: Sequence[str], days: Ints) -> pd.DataFrame:
        # Each customer has a day of the month.
        day = random.integers(0, 28, len(customers))
        ago = (days[None, :] - day[:, None]).ravel()
        return _lines(np.repeat(customers, len(days)), ago, np.full(len(ago), 49.0))

    return TrueShop(
        "tied counts",
        _together(delivered(complete, boxes), delivered(stopped, boxes[:2])),
        {"complete": complete, "stopped": stopped},
        (
            never_named("who had every box", complete, (*LEAVING, *ONE_ORDER), "those who leave or bought once"),
            never_named("who stopped half a year ago", stopped, ACTIVE, "active ones"),
            Truth(
                "no segment mixes those who stopped with the others",
                lambda night: min(night.fitting_segment(complete)[1], night.fitting_segment(stopped)[1]) >= 0.95,
            ),
        ),
    )


def planted_customers(k: int, apart: float) -> pd.DataFrame:
    """Returns customers of k groups around the first PROTOTYPES: group, recency_days, frequency, monetary.

    Groups are Gaussian in transformed units; the nearest two are `apart` standard deviations from each other.
    """
    random = _random(f"{k} groups {apart}")
    centres = np.log1p(np.array(list(PROTOTYPES.values())[:k]))
    distances = np.linalg.norm(centres[:, None] - centres[None], axis=2)
    spread = distances[np.triu_indices(k, 1)].min() / apart
    sizes = random.integers(120, 400, k)
    group = np.repeat(np.arange(k), sizes)
    values = np.expm1(centres[group] + spread * random.normal(size=(len(group), 3)))
    return pd.DataFrame(
        {
            "customer_id": [f"G{of + 1}-{number:04}" for number, of in enumerate(group)],
            "group": np.array(list(PROTOTYPES))[group],
            "recency_days": np.clip(np.rint(values[:, 0]), 1, 900).astype(np.int64),
            "frequency": np.clip(np.rint(values[:, 1]), 1, 300).astype(np.int64),
            "monetary": np.maximum(values[:, 2], 1.0),
        }
    )


def planted(k: int, apart: float) -> TrueShop:
    """A shop whose customers are of k groups with distinct recency, number of orders and spend."""
    customers = planted_customers(k, apart)
    random = _random(f"orders of {k} groups {apart}")
    frequency, recency = customers["frequency"].to_numpy(), customers["recency_days"].to_numpy()
    who = np.repeat(np.arange(len(customers)), frequency)
    # The last order is as long ago as planted; the others lie in the two years before it, on days of their own.
    before = [np.sort(random.choice(np.arange(1, 731), count - 1, replace=False)) for count in frequency]
    ago = np.concatenate([days + np.append(0, earlier) for days, earlier in zip(recency, before, strict=True)])
    price = (customers["monetary"] / customers["frequency"]).to_numpy()[who]
    groups = {str(name): part["customer_id"].tolist() for name, part in customers.groupby("group", sort=False)}
    is_far = apart >= FAR
    share = NEARLY_ALL if is_far else 0.7
    # Groups overlap if they are near, so some of each are in another segment.
    few = 1 - share
    wrong_names = {
        "regulars": (LEAVING, "those who leave"),
        "small and recent": (LEAVING, "those who leave"),
        "big and recent": (LEAVING, "those who leave"),
        "small and gone": (ACTIVE, "active ones"),
        "good and gone": (ACTIVE, "active ones"),
    }
    named = [
        never_named(f"the {group}", groups[group], *wrong, few)
        for group, wrong in wrong_names.items()
        if group in groups
    ]
    return TrueShop(
        f"{k} groups, {'far' if is_far else 'near'}",
        _lines(customers["customer_id"].to_numpy()[who], ago, price),
        groups,
        (k_is(k), kept_together(groups, share), *named),
    )


SHOPS: Mapping[str, Callable[[], TrueShop]] = {
    "subscription": subscription,
    "grocery": grocery,
    "marketplace": marketplace,
    "seasonal_fashion": seasonal_fashion,
    "resellers": resellers,
    "one_time_buyers": one_time_buyers,
    "cohort": cohort,
    "three_weeks_old": three_weeks_old,
    "thirty_customers": thirty_customers,
    "tied_counts": tied_counts,
    **{
        f"{k}_groups_{'far' if apart >= FAR else 'near'}": lambda k=k, apart=apart: planted(k, apart)  # type: ignore[misc]
        for k in (3, 5, 7)
        for apart in (FAR, NEAR)
    },
}
