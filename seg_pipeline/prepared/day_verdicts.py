"""Judges order days and deliveries by the shop's own history.

A figure of a day is compared with its median on comparable days before: the last ones of the same weekday, or the last
ones of any weekday while there are too few. How far the shop's own days usually lie from their comparable days, by how
much, and in which direction (its growth), is learned from the residuals of the days before. A day of the same date a
month or a year before, and a day that somebody accepted, may lie as far away without being odd: seasons come again, and
a new price level stays. Days without orders are gaps; they are compared with nothing and count for nothing.

A day that is impossible teaches nothing. So the verdict of a day depends on earlier days only, and stays the same on
all later nights.
"""

import datetime
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from seg_pipeline.settings import DaySettings

if TYPE_CHECKING:
    import pandas as pd

FloatArray = npt.NDArray[np.float64]

OK, ODD, IMPOSSIBLE, ACCEPTED = "ok", "odd", "impossible", "accepted"
# The comparable days: at most so many of the same weekday, or of any weekday if there are fewer than these.
SAME_WEEKDAY, FEWEST_OF_WEEKDAY = 8, 4
ANY_WEEKDAY, FEWEST_DAYS = 14, 7
# Comparable days are not older than this.
COMPARABLE_DAYS = 84
# A day of the week is a usual trading day if all but one of so many such days before it had orders.
TRADING_WEEKS = 8
# A delivery is compared with so many deliveries before it, if there are at least the fewest.
COMPARABLE_DELIVERIES, FEWEST_DELIVERIES = 20, 3
# Limits are learned from the residuals of so many earlier days or deliveries. With n residuals they are wider by the
# factor 1 + WIDER_BY / n.
LEARNED, WIDER_BY = 180, 8
# The distance of the ninth decile of a normal distribution from its median, in standard deviations.
PER_DEVIATION = 1.2816
# A price or a number of units at which a ratio still has a logarithm.
SMALLEST = 1e-6
# The days of a year before that a day may resemble: same weekday, and feasts that move by a week.
YEAR_BEFORE_DAYS = (364, 357, 371)


@dataclass(frozen=True, slots=True)
class Figure:
    """A figure that is judged.

    Attributes:
        name: The column of day_figures.
        words: What a reason calls it.
        is_share: Whether it is a share; if not, it is compared by ratio.
        odd: How far a value must be from the usual one to be odd: a factor, or a difference of shares.
        impossible: How far to be impossible; None if it can only be odd.
        only_up: Whether only values above the usual one are judged.
        smallest_deviation: The smallest standard deviation, in logarithms or in arcsines of the root of a share.
        is_volume: Whether it grows with the number of lines. If not, it is less certain if a day has few lines.
    """

    name: str
    words: str
    is_share: bool = False
    odd: float = 3.0
    impossible: float | None = None
    only_up: bool = False
    smallest_deviation: float = 0.05
    is_volume: bool = False

    def scaled(self, values: FloatArray) -> FloatArray:
        """Returns values on the scale on which their spread is about the same everywhere; NaN for no volume.

        Ratios become logarithms. Shares become arcsin(sqrt(share)), which stabilises their variance (Anscombe 1948).
        """
        with np.errstate(divide="ignore", invalid="ignore"):
            if self.is_share:
                return np.arcsin(np.sqrt(np.clip(values, 0.0, 1.0)))
            smallest = 0.0 if self.is_volume else SMALLEST
            return np.where(values > smallest, np.log(values), np.nan if self.is_volume else np.log(SMALLEST))

    def unscaled(self, value: float) -> float:
        """Returns the value that `scaled` turns into this one."""
        return float(np.sin(value) ** 2 if self.is_share else np.exp(value))

    def distance(self, value: float, usual: float) -> float:
        """Returns how far a value is from the usual one: a factor of at least 1, or a difference of shares."""
        if self.is_share:
            return value - usual if self.only_up else abs(value - usual)
        if usual <= 0 or (value <= 0 and self.is_volume):
            return float("nan")
        return value / usual if self.only_up else max(value / usual, usual / max(value, SMALLEST))

    def said(self, value: float, usual: float) -> str:
        """Returns the finding in words."""
        if self.is_share:
            return f"{self.words} is {value:.0%}, usually {usual:.0%}"
        return f"{self.words} is {value:,.4g}, usually {usual:,.4g}"


# In the order in which reasons name them. The factors and differences are what no clean day of the shops in
# docs/operations.md reached.
JUDGED = (
    Figure("median_unit_price", "the median unit price", odd=1.4, impossible=1.8),
    Figure(
        "share_repriced",
        "the share of lines with another price than their product usually has",
        is_share=True,
        odd=0.2,
        impossible=0.5,
        only_up=True,
    ),
    Figure("median_quantity", "the median of units", odd=3.0, impossible=5.0, smallest_deviation=0.1),
    Figure("lines_per_customer", "the number of lines per customer", odd=2.5, impossible=6.0),
    Figure("share_returned", "the share of returned lines", is_share=True, odd=0.2, impossible=0.5, only_up=True),
    Figure("share_new_customers", "the share of new customers", is_share=True, odd=0.25, impossible=0.6, only_up=True),
    Figure(
        "share_known_orders",
        "the share of orders with lines on an earlier day",
        is_share=True,
        odd=0.2,
        impossible=0.5,
        only_up=True,
    ),
    Figure(
        "share_repeated",
        "the share of lines that repeat another order's",
        is_share=True,
        odd=0.15,
        impossible=0.3,
        only_up=True,
    ),
    Figure("lines", "the number of lines", is_volume=True),
    Figure("orders", "the number of orders", is_volume=True),
    Figure("customers", "the number of customers", is_volume=True),
    Figure("revenue", "the revenue", is_volume=True),
)
REJECTED = Figure("share_rejected", "the share of rejected lines", is_share=True, odd=0.2, impossible=0.5, only_up=True)


@dataclass(frozen=True, slots=True)
class Verdict:
    """What is thought of a day or a delivery.

    Attributes:
        verdict: OK, ODD, IMPOSSIBLE or ACCEPTED.
        reason: Which figures differ from the usual ones, in words; None if none does.
        usual: The usual value of each figure, by its name; a figure without one is left out.
    """

    verdict: str = OK
    reason: str | None = None
    usual: Mapping[str, float] = field(default_factory=dict)


def judge_days(days: "pd.DataFrame", accepted: Collection[datetime.date], settings: DaySettings) -> list[Verdict]:
    """Judges order days.

    Args:
        days: order_day, lines and the figures of JUDGED, a row per order day in order.
        accepted: The days that somebody has accepted as they are.
        settings: The limits.
    """
    dates = list(days["order_day"])
    place_of = {date: place for place, date in enumerate(dates)}
    history = _History(JUDGED, days, days["lines"], settings)
    for place, date in enumerate(dates):
        comparable = list(_comparable(dates, history.teaches, place))
        alike = [place_of[day] for day in _recurring(date) if day in place_of and history.teaches[place_of[day]]]
        alike += [place_of[day] for day in accepted if day in place_of and 0 < (date - day).days <= COMPARABLE_DAYS]
        history.judge(place, comparable, alike, is_accepted=date in accepted)
    return history.verdicts


def judge_deliveries(deliveries: "pd.DataFrame", accepted: Collection[str], settings: DaySettings) -> list[Verdict]:
    """Judges the share of rejected lines of deliveries.

    Args:
        deliveries: source_file, delivered_lines and share_rejected, a row per delivery in the order of arrival.
        accepted: The deliveries that somebody has accepted as they are.
        settings: The limits.
    """
    history = _History((REJECTED,), deliveries, deliveries["delivered_lines"], settings)
    before: list[int] = []
    for place, name in enumerate(deliveries["source_file"]):
        comparable = before[-COMPARABLE_DELIVERIES:] if len(before) >= FEWEST_DELIVERIES else []
        history.judge(place, comparable, [], is_accepted=name in accepted)
        if history.teaches[place]:
            before.append(place)
    return history.verdicts


def usually_trades(date: datetime.date, dates: Collection[datetime.date]) -> bool:
    """Returns whether the shop usually has orders on the weekday of a date, given its order days."""
    weeks = [date - datetime.timedelta(weeks=back) for back in range(1, TRADING_WEEKS + 1)]
    return sum(day in dates for day in weeks) >= TRADING_WEEKS - 1


class _History:
    """The figures of days or deliveries in order, and the verdicts so far.

    Attributes:
        teaches: For each of them, whether later ones are compared with it.
        verdicts: The verdicts so far.
    """

    def __init__(
        self, figures: Sequence[Figure], rows: "pd.DataFrame", lines: "pd.Series", settings: DaySettings
    ) -> None:
        self.figures, self.settings = figures, settings
        columns = [rows[figure.name].to_numpy(dtype=np.float64) for figure in figures]
        self.values = np.stack(columns, axis=1)
        self.scaled = np.stack([figure.scaled(column) for figure, column in zip(figures, columns, strict=True)], axis=1)
        self.lines = lines.to_numpy(dtype=np.float64)
        # How far each value is from the usual one, on the scale of its figure.
        self.residuals = np.full(self.values.shape, np.nan)
        self.teaches = np.ones(len(rows), dtype=bool)
        self.verdicts: list[Verdict] = []

    def judge(self, place: int, comparable: Sequence[int], alike: Sequence[int], *, is_accepted: bool) -> None:
        """Adds the verdict of the row at a place; all rows before it are judged.

        Args:
            place: The place of the row.
            comparable: The places of the rows that give the usual values; none if there are too few.
            alike: The places of rows from whose residuals it may differ as little as from 0.
            is_accepted: Whether somebody has accepted the row as it is.
        """
        findings: list[tuple[str, str]] = []
        usual: dict[str, float] = {}
        if comparable:
            medians = _median(self.scaled[comparable])
            self.residuals[place] = self.scaled[place] - medians
            start = max(0, place - LEARNED)
            learned = self.residuals[start:place][self.teaches[start:place]]
            usual_lines = float(np.median(self.lines[comparable]))
            for column, figure in enumerate(self.figures):
                if np.isnan(medians[column]):
                    continue
                usual[figure.name] = figure.unscaled(medians[column])
                distance = figure.distance(self.values[place, column], usual[figure.name])
                # Most values are near the usual one, which is quicker to find out than how much values vary.
                if not distance >= figure.odd:
                    continue
                deviations = self._deviations(place, column, learned[:, column], usual_lines, alike)
                if verdict := self._verdict(figure, distance, deviations):
                    findings.append((verdict, figure.said(self.values[place, column], usual[figure.name])))
        verdict = ACCEPTED if is_accepted else worst(kind for kind, _ in findings)
        self.teaches[place] = verdict != IMPOSSIBLE
        self.verdicts.append(Verdict(verdict, "; ".join(words for _, words in findings) or None, usual))

    def _deviations(
        self, place: int, column: int, learned: FloatArray, usual_lines: float, alike: Sequence[int]
    ) -> float:
        """Returns how many standard deviations a value is from what may be expected; 0 if that is not known."""
        residual, figure = self.residuals[place, column], self.figures[column]
        learned = learned[~np.isnan(learned)]
        if np.isnan(residual) or len(learned) < (FEWEST_DELIVERIES if figure is REJECTED else FEWEST_DAYS):
            return 0.0
        low, center, high = np.quantile(learned, (0.1, 0.5, 0.9))
        # Days that lie below their usual value say little of how far others may lie above it: a shop that wins no more
        # customers has a low share of new ones for weeks, and then none.
        spread = min(high - center if residual > center else center - low, (high - low) / 2)
        deviation = max(float(spread) / PER_DEVIATION, figure.smallest_deviation) * (1 + WIDER_BY / len(learned))
        lines = max(self.lines[place], 1.0)
        # The figures of fewer lines than usual vary more. Of n lines, the arcsine of a share's root has a variance of
        # 1 / 4n; the deviation of a logarithm grows as the root of n falls.
        if figure.is_share:
            deviation = (deviation**2 + max(0.0, 0.25 / lines - 0.25 / max(usual_lines, 1.0))) ** 0.5
        elif not figure.is_volume:
            deviation *= max(1.0, usual_lines / lines) ** 0.5
        expected = [center, *(other for other in self.residuals[alike, column] if not np.isnan(other))]
        if figure.only_up:
            return max(0.0, float(min(residual - other for other in expected)) / deviation)
        return float(min(abs(residual - other) for other in expected)) / deviation

    def _verdict(self, figure: Figure, distance: float, deviations: float) -> str | None:
        """Returns the verdict on one value; None if it is as usual."""
        if figure.impossible and distance >= figure.impossible and deviations > self.settings.impossible_beyond:
            return IMPOSSIBLE
        return ODD if deviations > self.settings.odd_beyond else None


def worst(verdicts: Iterable[str]) -> str:
    """Returns the worst of the verdicts; OK if there are none."""
    found = set(verdicts)
    return next((verdict for verdict in (IMPOSSIBLE, ODD) if verdict in found), OK)


def _comparable(dates: Sequence[datetime.date], teaches: npt.NDArray[np.bool_], place: int) -> Iterator[int]:
    """Yields the places of the days that a day is compared with, the last ones first."""
    date = dates[place]
    before = []
    for other in range(place - 1, -1, -1):
        if (date - dates[other]).days > COMPARABLE_DAYS:
            break
        if teaches[other]:
            before.append(other)
    of_weekday = [other for other in before if dates[other].weekday() == date.weekday()]
    if len(of_weekday) >= FEWEST_OF_WEEKDAY:
        yield from of_weekday[:SAME_WEEKDAY]
    elif len(before) >= FEWEST_DAYS:
        yield from before[:ANY_WEEKDAY]


def _recurring(date: datetime.date) -> Iterator[datetime.date]:
    """Yields the days that a day may resemble: the same date a month before, and the same weekday a year before."""
    last_of_month_before = date.replace(day=1) - datetime.timedelta(days=1)
    if date.day <= last_of_month_before.day:
        yield last_of_month_before.replace(day=date.day)
    yield from (date - datetime.timedelta(days=days) for days in YEAR_BEFORE_DAYS)


def _median(rows: FloatArray) -> FloatArray:
    """Returns the median of each column without its missing values; NaN if all are missing."""
    medians = np.median(rows, axis=0)
    for column in np.flatnonzero(np.isnan(medians)):
        known = rows[:, column][~np.isnan(rows[:, column])]
        medians[column] = np.median(known) if len(known) else np.nan
    return np.asarray(medians)
