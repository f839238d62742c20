"""Takeovers on real orders, week after week: `python -m seg_pipeline_tests.bench.takeovers`.

Online Retail is loaded once. Then each week fits a model with another number of segments, which takes over by force. It
shows what becomes of the segments and their customers. The exit status is 1 if a word of level stands without its
counterparts or contradicts the scores, if a segment loses an id that the threshold allows or other pairs would keep
more customers, or if moved_by is wrong for a customer without a new line, who can only be moved by time or the model.
"""

import argparse
import datetime
import re
import tempfile
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

from seg_pipeline.champions.names import DISTINGUISHING_SCORES, LEVELS
from seg_pipeline.champions.tables import SEGMENT_IDENTITY
from seg_pipeline.features.tables import RFM_FEATURES
from seg_pipeline.models.champions import Champion, champion_of
from seg_pipeline.models.scoring import label_customers
from seg_pipeline.segments.tables import MOVED_BY, SEGMENT_PROFILES
from seg_pipeline.settings import Settings, load_settings
from seg_pipeline.usecases.backfill import backfill
from seg_pipeline.usecases.execution import Progress
from seg_pipeline.usecases.run import run
from seg_pipeline.warehouse import Warehouse
from seg_pipeline_tests.bench.compare import DATA

FIRST_NIGHT = datetime.date(2011, 7, 22)
WEEK = datetime.timedelta(days=7)
# How many segments the models have, week after week: more, fewer, and the same.
NUMBERS = (4, 6, 3, 8, 5, 5, 7, 4, 8, 6, 3, 5, 8, 8, 4, 7, 6, 5, 3, 7)
LIGHT = (
    "source.preset=online_retail",
    "models.algorithms=kmeans",
    "models.k_min=3",
    "models.k_max=8",
    "models.bootstraps=0",
    "models.gap_references=0",
    "value.bootstraps=0",
    "champions.margin=-1",
)
WORD = re.compile(rf", (\w+|level \d+ of \d+) ({'|'.join(DISTINGUISHING_SCORES.values())})$")

# Customers by their segment before and now.
Shared = Mapping[tuple[int, int], int]


@dataclass
class Takeover:
    """A night on which another model took over.

    Attributes:
        night: The night.
        model_id: The new model.
        kept: How many segments kept their id, and how many pairs of segments overlap enough.
        kept_share: Share of the customers who keep their segment id.
        words: How many segments have a word of level.
        moves: How many customers moved, by what moved them.
        aged: How many customers without a new line moved by themselves, because time has passed.
        violations: What must not be, each in a line.
    """

    night: datetime.date
    model_id: str
    kept: tuple[int, int] = (0, 0)
    kept_share: float = 0.0
    words: int = 0
    moves: Counter[str] = field(default_factory=Counter)
    aged: int = 0
    violations: list[str] = field(default_factory=list)


def wrong_words(names: Mapping[int, str], scores: Mapping[str, Mapping[int, float]]) -> list[str]:
    """Returns a line for each name whose words of level stand without their counterparts or contradict the scores.

    Args:
        names: The name of each segment, by its id.
        scores: The mean scores of each segment by its id, by their columns.
    """
    by_name: dict[str, list[int]] = {}
    for segment_id, name in names.items():
        by_name.setdefault(WORD.sub("", name), []).append(segment_id)
    lines = []
    for name, ids in by_name.items():
        words = {found[1]: segment_id for segment_id in ids if (found := WORD.search(names[segment_id]))}
        measures = {found[2] for segment_id in ids if (found := WORD.search(names[segment_id]))}
        if len(ids) == 1:
            if words:
                lines.append(f"{names[ids[0]]}: stands alone")
            continue
        order = LEVELS.get(len(ids), tuple(f"level {place} of {len(ids)}" for place in range(1, len(ids) + 1)))
        if set(words) != set(order) or len(measures) != 1:
            lines.append(f"{name}: {len(ids)} segments have {', '.join(sorted(names[one] for one in ids))}")
            continue
        [score] = (column for column, measure in DISTINGUISHING_SCORES.items() if measure in measures)
        values = [scores[score][words[word]] for word in order]
        if values != sorted(values):
            lines.append(f"{name}: {score} of {', '.join(order)} is {', '.join(f'{value:.2f}' for value in values)}")
    return lines


def lost_ids(shared: Shared, smallest_overlap: float) -> list[str]:
    """Returns a line for each id that was lost although the threshold allows to keep it, or kept although it does not.

    Args:
        shared: Customers by their segment before and now.
        smallest_overlap: The smallest overlap with which a segment keeps its id.
    """
    allowed = allowed_pairs(shared, smallest_overlap)
    old, new = ({pair[side] for pair in shared} for side in (0, 1))
    lines = [f"{one}: kept with too small an overlap" for one in sorted(old & new) if (one, one) not in allowed]
    lines += [
        f"{before}: lost, although {now} has {customers} of its customers"
        for (before, now), customers in sorted(allowed.items())
        if before not in new and now not in old
    ]
    places = sorted(old)

    @cache
    def best(place: int, taken: frozenset[int]) -> int:
        """The most customers whom the segments from a place on can keep."""
        if place == len(places):
            return 0
        keeps = [
            customers + best(place + 1, taken | {now})
            for (before, now), customers in allowed.items()
            if before == places[place] and now not in taken
        ]
        return max([best(place + 1, taken), *keeps])

    kept, most = sum(allowed.get((one, one), 0) for one in old & new), best(0, frozenset())
    return [*lines, f"{kept} customers keep their segment, and {most} could"] if kept < most else lines


def allowed_pairs(shared: Shared, smallest_overlap: float) -> dict[tuple[int, int], int]:
    """Returns the pairs of segments whose overlap is large enough, with the customers in both."""
    before, now = Counter[int](), Counter[int]()
    for (old, new), customers in shared.items():
        before[old] += customers
        now[new] += customers
    return {
        (old, new): customers
        for (old, new), customers in shared.items()
        if customers and customers / (before[old] + now[new] - customers) >= smallest_overlap
    }


def wrong_movers(moves: Sequence[tuple[str, str, bool]]) -> list[str]:
    """Returns a line for each way in which moves of unchanged customers have the wrong cause.

    Args:
        moves: For each move of a customer without a new line between the nights: the customer, moved_by, and whether
            the new model puts the customer in another segment only because time has passed.
    """
    wrong = Counter((moved_by, aged) for _, moved_by, aged in moves if moved_by != ("customer" if aged else "model"))
    return [
        f"{count} customers without a new line, moved by {'time' if aged else 'the model'}: moved_by is {moved_by}"
        for (moved_by, aged), count in sorted(wrong.items())
    ]


def looked_at(warehouse: Warehouse, settings: Settings, night: datetime.date, before: Champion) -> Takeover:
    """Returns what a takeover did, and what it must not have done.

    Args:
        warehouse: The warehouse.
        settings: The settings of the night.
        night: The night of the takeover; the week before was scored too.
        before: The champion of the week before.
    """
    champion = champion_of(warehouse, night)
    takeover = Takeover(night, champion.model_id)
    profiles = warehouse.night(SEGMENT_PROFILES, night).set_index("segment_id")
    buyers = profiles[profiles.index > 0]
    names = dict(zip(map(int, buyers.index), map(str, buyers["segment_name"]), strict=True))
    values = {score: dict(zip(names, map(float, buyers[score]), strict=True)) for score in DISTINGUISHING_SCORES}
    takeover.words = sum(bool(WORD.search(name)) for name in names.values())
    takeover.violations += wrong_words(names, values)

    shared = _shared(warehouse, before, night)
    smallest = settings.champions.smallest_overlap
    takeover.violations += lost_ids(shared, smallest)
    kept = {old for old, new in shared if old == new}
    takeover.kept = len(kept), len(allowed_pairs(shared, smallest))
    takeover.kept_share = sum(shared[one, one] for one in kept) / sum(shared.values())

    moves = warehouse.read(
        "SELECT moved_by, count(*) AS customers FROM segments.segment_moves WHERE as_of = $night GROUP BY moved_by",
        {"night": night},
    )
    takeover.moves = Counter(dict(zip(moves["moved_by"], map(int, moves["customers"]), strict=True)))
    unchanged = _unchanged_moves(warehouse, champion, night)
    takeover.aged = sum(aged for _, _, aged in unchanged)
    takeover.violations += wrong_movers(unchanged)
    if warehouse.night(SEGMENT_IDENTITY, night).empty:
        takeover.violations.append("no model has taken over")
    return takeover


def _shared(warehouse: Warehouse, before: Champion, night: datetime.date) -> dict[tuple[int, int], int]:
    """Counts the night's buyers by their segment by the champion before, and by that of the night."""
    with (
        warehouse.held(read_only=True),
        warehouse.get_connection() as connection,
        label_customers(connection, before.scorer, night) as labelled,
        connection.temporary(before.segments[["cluster", "segment_id"]]) as numbered,
    ):
        rows = connection.execute(
            f"SELECT numbered.segment_id, now.segment_id, count(*) FROM {labelled} AS labelled"
            f" JOIN {numbered} AS numbered USING (cluster) JOIN segments.segment_assignments AS now USING (customer_id)"
            " WHERE now.as_of = $night AND now.segment_id > 0 GROUP BY ALL",
            {"night": night},
        ).fetchall()
    return {(int(old), int(new)): int(customers) for old, new, customers in rows}


def _unchanged_moves(warehouse: Warehouse, champion: Champion, night: datetime.date) -> list[tuple[str, str, bool]]:
    """Returns the moves of buyers without a line since the week before, as `wrong_movers` takes them."""
    rows = warehouse.read(
        "SELECT moves.moved_by, moves.segment_id, features.*, earlier.recency_days AS earlier_recency_days,"
        " earlier.tenure_days AS earlier_tenure_days FROM segments.segment_moves AS moves"
        f" JOIN {RFM_FEATURES.name} AS features USING (as_of, customer_id) LEFT JOIN {RFM_FEATURES.name} AS earlier"
        " ON earlier.customer_id = moves.customer_id AND earlier.as_of = moves.from_as_of"
        " WHERE moves.as_of = $night AND features.frequency > 0 AND moves.customer_id NOT IN (SELECT customer_id"
        " FROM prepared.clean_orders WHERE ordered_at >= moves.from_as_of AND ordered_at < $night)"
        " ORDER BY customer_id",
        {"night": night},
    )
    if rows.empty:
        return []
    # As they would be if no day had passed.
    still = rows.assign(recency_days=rows["earlier_recency_days"], tenure_days=rows["earlier_tenure_days"])
    segment_of = dict(zip(champion.segments["cluster"], champion.segments["segment_id"], strict=True))
    segments = [segment_of[cluster] for cluster in champion.scorer.label(still)[0]]
    return [
        (str(customer), str(moved_by), bool(segment != now))
        for customer, moved_by, segment, now in zip(
            rows["customer_id"], rows["moved_by"], segments, rows["segment_id"], strict=True
        )
    ]


def takeovers(folder: Path, source: Path, numbers: Sequence[int]) -> list[Takeover]:
    """Runs a first night and a takeover a week later for each number of segments; prints a line for each.

    Args:
        folder: The folder of the warehouse and of what is published.
        source: The orders of Online Retail.
        numbers: The numbers of segments.
    """
    places = (f"source.path={source}", f"warehouse.path={folder / 'w.duckdb'}", f"output.path={folder / 'published'}")
    warehouse = Warehouse(database=str(folder / "w.duckdb"))
    progress = Progress(lambda step: None, lambda step, seconds: None, lambda stage, seconds: None, print)
    run(load_settings([*places, *LIGHT, f"as_of={FIRST_NIGHT}", "selection.k=5"], environment={}), progress)
    print("night       model    kept  pairs  share  words  " + "  ".join(MOVED_BY) + "  (by time)  seconds", flush=True)
    found = []
    for number, k in enumerate(numbers, 1):
        night, began = FIRST_NIGHT + number * WEEK, time.perf_counter()
        settings = load_settings([*places, *LIGHT, f"selection.k={k}"], environment={})
        before = champion_of(warehouse, night)
        backfill(settings, progress, night, night, refit=True)
        takeover = looked_at(warehouse, settings, night, before)
        found.append(takeover)
        moves = "  ".join(f"{takeover.moves[name]:>{len(name)}}" for name in MOVED_BY)
        model = "-".join(takeover.model_id.split("-")[:2])
        print(
            f"{night}  {model:<8} {takeover.kept[0]:>4}  {takeover.kept[1]:>5}  {takeover.kept_share:>5.0%}"
            f"  {takeover.words:>5}  {moves}  {takeover.aged:>9}  {time.perf_counter() - began:>7.1f}",
            *(f"\n  {line}" for line in takeover.violations),
            flush=True,
        )
    return found


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the takeovers and prints what they did; the exit status."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--source", type=Path, default=DATA / "online_retail", help="the orders of Online Retail")
    parser.add_argument("--takeovers", type=int, default=len(NUMBERS), help="how many, at most the default")
    given = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory() as name:
        found = takeovers(Path(name), given.source, NUMBERS[: given.takeovers])
    violations = sum(len(takeover.violations) for takeover in found)
    moves = sum((takeover.moves for takeover in found), Counter[str]())
    print(
        f"{len(found)} takeovers, {sum(takeover.words for takeover in found)} words of level,"
        f" {sum(takeover.kept[0] for takeover in found)} ids kept; moves: "
        + ", ".join(f"{name} {moves[name]:,}" for name in MOVED_BY)
        + f", of the customers' own {sum(takeover.aged for takeover in found):,} by time alone; {violations} violations"
    )
    return 1 if violations else 0


if __name__ == "__main__":
    raise SystemExit(main())
