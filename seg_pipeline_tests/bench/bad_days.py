"""Bad days are noticed, good ones are let pass: `python -m seg_pipeline_tests.bench.bad_days`.

- `--faults`: 19 faults of one day's file, each followed by a clean day, judged by the functions of the pipeline. At
  least 16 must be reported on the first night; those that move the shop's revenue, customers or orders by more than its
  usual day must be impossible, but for LIKE_A_CLEAN_DAY, and what is impossible must stay so after the clean day.
- `--clean`: all clean days of two real shops, and a year of eight kinds of generated ones, some months at once, since
  the verdict of a day uses only the days before it. None may be impossible, at most one night in thirty may be odd.
- `--nights N`: so many whole nights of the generated kinds, one file more each, under the same demands; then three
  faults that stop the night, and the night after it, until the file is corrected, retracted or accepted.

Without one of these options, the first two. `--shops` chooses the shops. The exit status is 1 if a demand is not met.
"""

import argparse
import contextlib
import datetime
import io
import re
import shutil
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from seg_pipeline.cli import main as seg_pipeline
from seg_pipeline.errors import DataError, SegPipelineError
from seg_pipeline.prepared.cleaning import clean
from seg_pipeline.prepared.day_figures import new_findings, update_day_figures
from seg_pipeline.raw.ingestion import ingest
from seg_pipeline.segments.tables import SEGMENT_ASSIGNMENTS
from seg_pipeline.settings import Settings, load_settings
from seg_pipeline.usecases.execution import Progress
from seg_pipeline.usecases.run import run
from seg_pipeline.warehouse import Warehouse
from seg_pipeline_tests.bench.faults import FAULTS, Fault
from seg_pipeline_tests.bench.shops import KINDS, REAL, Shop, shops_named

FEWEST_REPORTED = 16
NIGHTS_PER_WARNING = 30
DAYS_JUDGED = 365
# Of one load, some figures are made for the newest days only.
DAYS_AT_ONCE = 60
# The day with the fault. Others have theirs a while after they are judged.
FAULT_DAYS = {"online_retail": datetime.date(2011, 9, 15), "cdnow": datetime.date(1997, 9, 10)}
FAULT_DAYS_AFTER = 77
SHOPS_WITH_FAULTS = (*REAL, "stationary", "growing")
# The last days before the fault, whose medians are the usual day.
USUAL_DAYS = 28
ODD, IMPOSSIBLE = "odd", "impossible"
LIGHT = ("models.algorithms=kmeans", "models.k_max=4", "models.bootstraps=3", "models.gap_references=0")
# Whole nights start where something happens, such as the night before the season. Days of history a young shop has.
FIRST_NIGHTS = {
    "seasonal": datetime.date(2025, 11, 12),
    "closed": datetime.date(2025, 7, 20),
    "cohort": datetime.date(2024, 9, 1),
    "young": datetime.date(2024, 1, 20),
}
A_CHECK = 70
# Half of a day's lines are as many as an ordinary day may have, so no history can tell the two apart.
LIKE_A_CLEAN_DAY = ("half of the lines missing",)

TOTALS = """
    SELECT
        coalesce(sum(amount), 0)::DOUBLE AS revenue,
        count(DISTINCT customer_id) AS customers,
        count(DISTINCT order_id) AS orders
    FROM prepared.clean_orders
"""
VERDICTS = """
    SELECT CAST(order_day AS VARCHAR) AS order_day, source_file, verdict, reason, name
    FROM prepared.day_figures
    WHERE verdict IN ('odd', 'impossible')
    ORDER BY ALL
"""
PUBLISHED = """
    INSERT INTO segments.segment_assignments BY NAME
    SELECT
        CAST(max(ordered_at) AS DATE) + 1 AS as_of, '1' AS customer_id, 1 AS segment_id, 'all' AS segment_name,
        1 AS confidence, 'none' AS model_id, CAST(max(ordered_at) AS DATE) + 1 AS fitted_as_of
    FROM prepared.clean_orders
"""
MOVED = ("revenue", "customers", "orders")


@dataclass(frozen=True, slots=True)
class Finding:
    """A verdict on an order day or a delivery that is not as usual.

    Attributes:
        order_day: The day; of a delivery, the last one of its orders.
        file: The delivery; None if it is the day that is judged.
        verdict: ODD or IMPOSSIBLE.
        reason: The figures that differ, in words.
        name: Its name in day_figures.
    """

    order_day: str | None
    file: str | None
    verdict: str
    reason: str
    name: str

    @property
    def figures(self) -> list[str]:
        """The figures that the reason names, and the beginnings of what else it says."""
        return [re.split(" is |, although", part)[0].removeprefix("the ") for part in self.reason.split("; ")]

    @property
    def is_stop(self) -> bool:
        return self.verdict == IMPOSSIBLE

    @property
    def what(self) -> tuple[str | None, str | None]:
        """What the verdict is on: a day, or a file."""
        return (None, self.file) if self.file else (self.order_day, None)


@dataclass(frozen=True, slots=True)
class Book:
    """A warehouse into which a shop's files are loaded.

    Attributes:
        settings: The settings that read the shop and name the warehouse.
    """

    settings: Settings

    @property
    def warehouse(self) -> Warehouse:
        return Warehouse(database=str(self.settings.warehouse.path))

    def load(self) -> list[Finding]:
        """Loads, cleans and judges what is new in the source, and returns what is not as usual."""
        warehouse = self.warehouse
        with warehouse.held(), warehouse.get_connection() as connection:
            ingest(connection, self.settings.source)
            clean(connection, self.settings)
            update_day_figures(connection, self.settings.days)
            rows = connection.execute(VERDICTS).fetchall()
        return [Finding(day, Path(file).name if file else None, *rest) for day, file, *rest in rows]

    def publish(self) -> None:
        """Pretends that the night after the last order is published, so that what comes later is new."""
        warehouse = self.warehouse
        with warehouse.held(), warehouse.get_connection() as connection:
            connection.create(SEGMENT_ASSIGNMENTS, or_replace=False)
            connection.execute(PUBLISHED)

    def night(self) -> datetime.date:
        """The night that a run would build: the day after the last order."""
        night: datetime.date = self.warehouse.value(
            "SELECT CAST(max(ordered_at) AS DATE) + 1 FROM prepared.clean_orders"
        )
        return night

    def totals(self) -> "pd.Series":
        """Revenue, customers and orders of all clean lines."""
        return self.warehouse.read(TOTALS).iloc[0]

    def usual_day(self, day: datetime.date) -> "pd.Series":
        """Medians of revenue, customers and orders on the last order days before a day."""
        days = self.warehouse.read(
            "SELECT CAST(ordered_at AS DATE) AS order_day, sum(amount)::DOUBLE AS revenue,"
            " count(DISTINCT customer_id) AS customers, count(DISTINCT order_id) AS orders FROM prepared.clean_orders"
            f" WHERE ordered_at < DATE '{day}' GROUP BY order_day ORDER BY order_day DESC LIMIT {USUAL_DAYS}"
        )
        return days[list(MOVED)].median()


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of a fault.

    Attributes:
        fault: Its name.
        first: What is new on its night and not as usual.
        second: The same a clean day later.
        moved: By how many usual days it moved each of MOVED.
        error: The error that ended the first night; None if there was none.
    """

    fault: str
    first: list[Finding]
    second: list[Finding]
    moved: Mapping[str, float]
    error: str | None = None

    @property
    def is_reported(self) -> bool:
        return bool(self.first) or self.error is not None

    @property
    def is_stopped(self) -> bool:
        return any(finding.is_stop for finding in self.first) or self.error is not None

    @property
    def stays_stopped(self) -> bool:
        """Whether all that was impossible on the first night is so on the second."""
        later = {finding.what for finding in self.second if finding.is_stop}
        return all(finding.what in later for finding in self.first if finding.is_stop)

    @property
    def must_stop(self) -> bool:
        return self.fault not in LIKE_A_CLEAN_DAY and max(abs(days) for days in self.moved.values()) > 1

    @property
    def row(self) -> str:
        verdict = "stopped" if self.is_stopped else "odd" if self.is_reported else "-"
        later = "stopped" if any(finding.is_stop for finding in self.second) else "odd" if self.second else "-"
        moved = " ".join(f"{days:+8.2f}" for days in self.moved.values())
        by_weight = sorted(self.first, key=lambda finding: not finding.is_stop)
        figures = dict.fromkeys(figure for finding in by_weight for figure in finding.figures)
        missed = " MISSED" if self.must_stop and not self.is_stopped else ""
        gone = " GONE" if not self.stays_stopped else ""
        return f"{self.fault:<28}{verdict:<9}{later:<9}{moved}  {self.error or '; '.join(figures)}{missed}{gone}"


def settings_of(shop: Shop, folder: Path, database: Path, options: Sequence[str] = ()) -> Settings:
    """The settings that load a shop's files from a folder into a warehouse."""
    places = (f"source.path={folder}", f"warehouse.path={database}", f"output.path={database.parent / 'published'}")
    return load_settings([*places, *shop.options, *options], environment={})


def fault_day(shop: Shop) -> datetime.date:
    """The day whose file gets the faults."""
    since = FAULT_DAYS.get(shop.name, shop.judged_from + datetime.timedelta(days=FAULT_DAYS_AFTER))
    return next(day for day in shop.days if day >= since)


def outcomes(shop: Shop, folder: Path, show: Callable[[Outcome], None]) -> list[Outcome]:
    """Injects each fault into one day's file of a shop whose history is loaded once.

    Args:
        shop: The shop.
        folder: An empty folder.
        show: Is given each outcome.
    """
    source, history, copy = folder / "source", folder / "history.duckdb", folder / "copy.duckdb"
    source.mkdir()
    day = fault_day(shop)
    for before in shop.days:
        if before < day:
            shop.write(source, before)
    book = Book(settings_of(shop, source, history))
    book.load()
    book.publish()
    usual = book.usual_day(day)
    on_copy = Book(settings_of(shop, source, copy))

    def night(lines: "pd.DataFrame | None", on: datetime.date) -> list[Finding]:
        shop.write(source, on, lines)
        found = on_copy.load()
        new = set(new_findings(on_copy.warehouse, on_copy.night())["name"])
        return [finding for finding in found if finding.name in new]

    def judged(fault: Fault) -> Outcome:
        shutil.copyfile(history, copy)
        (of_day, faulty), (next_day, following) = fault.files(shop, day).items()
        try:
            first = night(faulty, of_day)
            moved = (on_copy.totals() - right) / usual
            if not any(finding.is_stop for finding in first):
                on_copy.publish()
            return Outcome(fault.name, first, night(following, next_day), dict(moved))
        except SegPipelineError as error:
            return Outcome(fault.name, [], [], dict.fromkeys(MOVED, 0.0), f"error: {error}"[:200])
        finally:
            for written in (of_day, next_day):
                (source / f"{written}.csv").unlink(missing_ok=True)

    shutil.copyfile(history, copy)
    clean_day = night(None, day)
    right = on_copy.totals()
    (source / f"{day}.csv").unlink()
    print(f"the clean {day}: {'; '.join(finding.reason for finding in clean_day) or 'as usual'}", flush=True)
    found = []
    for fault in FAULTS:
        found.append(judged(fault))
        show(found[-1])
    return found


def show_faults(shop: Shop) -> list[str]:
    """Prints what became of each fault in a shop; the demands that are not met."""
    began = time.perf_counter()
    print(f"\n{shop.name}, faults in the file of {fault_day(shop)}")
    with tempfile.TemporaryDirectory() as folder:
        heading = " ".join(f"{name:>8}" for name in MOVED)
        print(f"{'fault':<28}{'night':<9}{'next':<9}{heading}  figures")
        found = outcomes(shop, Path(folder), lambda outcome: print(outcome.row, flush=True))
    reported, stopped = (sum(part) for part in zip(*((one.is_reported, one.is_stopped) for one in found), strict=True))
    missed = [one.fault for one in found if one.must_stop and not one.is_stopped]
    gone = [one.fault for one in found if not one.stays_stopped]
    print(
        f"{shop.name}: of {len(found)} faults {reported} reported, {stopped} stopped; {len(missed)} that move more than"
        f" a usual day not stopped; {len(gone)} stopped once only; {time.perf_counter() - began:.0f} s",
        flush=True,
    )
    demands = [f"{shop.name}: {reported} faults reported, at least {FEWEST_REPORTED}"] * (reported < FEWEST_REPORTED)
    demands += [f"{shop.name}: not stopped: {', '.join(missed)}"] * bool(missed)
    return demands + [f"{shop.name}: no longer stopped: {', '.join(gone)}"] * bool(gone)


def show_clean_days(shop: Shop) -> list[str]:
    """Judges all clean days of a shop, some months at once, and prints the verdicts; the demands that are not met."""
    began = time.perf_counter()
    judged = shop.days_between(shop.judged_from, shop.judged_from + datetime.timedelta(days=DAYS_JUDGED - 1))
    if shop.name in REAL:
        judged = list(shop.days)
    with tempfile.TemporaryDirectory() as name:
        source = Path(name) / "source"
        source.mkdir()
        book = Book(settings_of(shop, source, Path(name) / "w.duckdb"))
        delivered = shop.days_between(min(shop.days), judged[-1])
        for place, day in enumerate(delivered, 1):
            shop.write(source, day)
            if place % DAYS_AT_ONCE == 0 or day == judged[-1]:
                found = book.load()
    # Every file has the lines of its own day, so a delivery is new in the night of that day. A day without orders is
    # noticed on the night of the next day with orders.
    by_night: dict[str, list[Finding]] = {str(day): [] for day in judged}
    for finding in found:
        about = Path(finding.file).stem if finding.file else str(finding.order_day)
        night = min((night for night in by_night if night >= about), default=None)
        if about >= str(judged[0]) and night:
            by_night[night].append(finding)
    stops = [night for night, findings in by_night.items() if any(one.is_stop for one in findings)]
    warned = [night for night, findings in by_night.items() if findings]
    figures = Counter(
        f"{one.verdict}: {figure}" for ones in by_night.values() for one in ones for figure in one.figures
    )
    limit = len(judged) // NIGHTS_PER_WARNING
    print(
        f"{shop.name}: {len(judged)} clean nights, {len(stops)} stopped, {len(warned)} with a warning"
        f" (at most {limit}); {time.perf_counter() - began:.0f} s"
    )
    for figure, count in figures.most_common():
        print(f"    {count:3} {figure}")
    for night in warned:
        print(f"        {night} {'; '.join(f'{one.verdict}: {one.reason}' for one in by_night[night])}")
    demands = [f"{shop.name}: clean days stopped: {', '.join(stops)}"] * bool(stops)
    return demands + [f"{shop.name}: {len(warned)} nights with a warning, at most {limit}"] * (len(warned) > limit)


@dataclass(slots=True)
class Nights:
    """Whole nights of one shop, in one warehouse.

    Attributes:
        shop: The shop.
        folder: The folder of everything.
    """

    shop: Shop
    folder: Path

    @property
    def source(self) -> Path:
        return self.folder / "source"

    @property
    def settings(self) -> Settings:
        return settings_of(self.shop, self.source, self.folder / "w.duckdb", LIGHT)

    def night(self, day: datetime.date, lines: "pd.DataFrame | None" = None) -> tuple[str | None, list[str]]:
        """Delivers a day and runs its night; the error that stopped it, if one did, and its warnings."""
        self.shop.write(self.source, day, lines)
        warnings: list[str] = []
        progress = Progress(lambda step: None, lambda step, _: None, lambda stage, _: None, warnings.append)
        try:
            run(self.settings, progress)
        except DataError as error:
            return str(error), warnings
        return None, warnings

    def command(self, *words: object) -> int:
        """Runs the command line on the same files and warehouse, quietly; its exit status."""
        places = (f"source.path={self.source}", f"output.path={self.folder / 'published'}")
        options = [word for option in (*places, *self.shop.options, *LIGHT) for word in ("--set", option)]
        options += ["--warehouse", str(self.settings.warehouse.path)]
        with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()) as said:
            status = seg_pipeline([str(word) for word in (*words, *options)])
        if status:
            print(f"    {' '.join(map(str, words))}: ended with {status}: {said.getvalue().strip()}")
        return status


def show_nights(shop: Shop, count: int) -> list[str]:
    """Runs whole nights of a shop, then three faults and their ends; the demands that are not met."""
    began = time.perf_counter()
    since = FIRST_NIGHTS.get(shop.name, shop.judged_from)
    days = list(shop.days)
    start = next(place for place, day in enumerate(days) if day >= since)
    with tempfile.TemporaryDirectory() as name:
        nights = Nights(shop, Path(name))
        nights.source.mkdir()
        for day in days[:start]:
            shop.write(nights.source, day)
        stops: list[str] = []
        warned: list[str] = []
        kinds: Counter[str] = Counter()
        for day in days[start : start + count]:
            error, warnings = nights.night(day)
            stops += [f"{day}: {error}"] * (error is not None)
            warned += [f"{day}: {' | '.join(warnings)}"] * bool(warnings)
            kinds.update(warning.split(": ")[0][:A_CHECK] for warning in warnings)
        limit = max(1, count // NIGHTS_PER_WARNING)
        print(
            f"{shop.name}: {count} whole nights from {days[start]}, {len(stops)} stopped, {len(warned)} with a warning"
            f" (at most {limit}); {time.perf_counter() - began:.0f} s",
            flush=True,
        )
        for line in (*stops, *warned):
            print(f"        {line}")
        demands = [f"{shop.name}: {len(stops)} clean nights stopped"] * bool(stops)
        demands += [f"{shop.name}: {len(warned)} whole nights with a warning"] * (len(warned) > limit)
        return demands + _ends_of_stops(nights, days[start + count :])


def _ends_of_stops(nights: Nights, days: Sequence[datetime.date]) -> list[str]:
    """Stops three nights by prices times 100, and ends each stop in its own way; the demands that are not met."""
    [fault] = [fault for fault in FAULTS if fault.name == "prices times 100"]
    shop = nights.shop
    demands = []

    def correct(day: datetime.date) -> None:
        shop.write(nights.source, day)

    def retract(day: datetime.date) -> None:
        nights.command("retract", nights.source / f"{day}.csv")

    def accept(day: datetime.date) -> None:
        nights.command("accept", day, "--reason", "prices are right")

    for number, (end, way) in enumerate((("corrected", correct), ("retracted", retract), ("accepted", accept))):
        day, next_day, last = days[3 * number : 3 * number + 3]
        first, _ = nights.night(day, fault.files(shop, day)[day])
        second, _ = nights.night(next_day)
        way(day)
        third, _ = nights.night(last)
        said = [f"{'stopped' if error else 'not stopped'}" for error in (first, second, third)]
        print(f"    {day}, prices times 100: {said[0]}; a clean day later {said[1]}; {end}, {said[2]}", flush=True)
        print(f"        {first}")
        if third:
            print(f"        {third}")
        if said != ["stopped", "stopped", "not stopped"]:
            demands.append(f"{shop.name}: a stop that is {end}: {', '.join(said)}")
    return demands


def main(arguments: Sequence[str] | None = None) -> int:
    """Judges and prints; the exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--faults", action="store_true", help="faults of one day's file")
    parser.add_argument("--clean", action="store_true", help="clean days, some months at once")
    parser.add_argument("--nights", type=int, metavar="N", default=0, help="whole nights of generated shops")
    parser.add_argument("--shops", nargs="+", choices=(*REAL, *KINDS), help="only these shops")
    given = parser.parse_args(arguments)
    if not (given.faults or given.clean or given.nights):
        given.faults = given.clean = True
    demands: list[str] = []
    if given.clean:
        for shop in shops_named(given.shops or [*REAL, *KINDS]):
            demands += show_clean_days(shop)
    if given.faults:
        for shop in shops_named(given.shops or SHOPS_WITH_FAULTS):
            demands += show_faults(shop)
    if given.nights:
        for shop in shops_named([name for name in given.shops or KINDS if name in KINDS]):
            demands += show_nights(shop, given.nights)
    print("", *demands or ["all demands are met"], sep="\n")
    return 1 if demands else 0


if __name__ == "__main__":
    raise SystemExit(main())
