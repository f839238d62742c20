"""Whether groups are found, and only if there are any: `python -m seg_pipeline_tests.bench.planted --sets 200`.

Sets with planted groups, whose nearest neighbours are 3.5 standard deviations apart, and sets without groups, which are
one broad continuum. Each goes through the candidates, the gates and the rule of a night, without the value test. The
exit status is 1 if k is right in too few of the first, or structure is denied in too few of the second.
"""

import argparse
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from seg_pipeline.evaluation.selection import Candidate, candidates_of, verdicts_of
from seg_pipeline.features.tables import GRID_CELLS
from seg_pipeline.models.candidates import fit_candidates
from seg_pipeline.models.coreset import FloatArray, IntArray, summarise
from seg_pipeline.models.gates import Sizes
from seg_pipeline.models.registry import ALGORITHMS
from seg_pipeline.settings import Settings
from seg_pipeline_tests.bench.evidence import PAGE, write

SEED = 20
NEEDED = 0.55
# Standard deviations between the centre of a group and that of its nearest neighbour.
APART = 3.5
GROUPS = (3, 7)
FEATURES = (2, 4)
ROWS = (600, 2_000)
SMALLEST_SHARE = 0.05
CLIP = 3.0
SETTINGS = Settings.model_validate({"models": {"gap_references": 0}})


@dataclass(frozen=True, slots=True, eq=False)
class Planted:
    """A generated set.

    Attributes:
        kind: "groups", or the name of a continuum.
        rows: (rows, features) The customers.
        group: (rows,) The group of each; all 0 in a continuum.
    """

    kind: str
    rows: FloatArray
    group: IntArray

    @property
    def k(self) -> int:
        """Number of groups; 1 for a continuum."""
        return int(self.group.max()) + 1


def with_groups(number: int) -> Planted:
    """Returns a set of Gaussian groups of unit variance, of random sizes, each APART from its nearest neighbour."""
    random = np.random.default_rng([SEED, 1, number])
    k = int(random.integers(GROUPS[0], GROUPS[1] + 1))
    features = int(random.integers(FEATURES[0], FEATURES[1] + 1))
    count = int(random.integers(ROWS[0], ROWS[1] + 1))
    shares = SMALLEST_SHARE + (1 - k * SMALLEST_SHARE) * random.dirichlet(np.ones(k))
    # Rounded up, so that none falls below the smallest share.
    sizes = np.ceil(shares * count).astype(np.int64)
    group = np.repeat(np.arange(k), sizes)
    rows = centres(random, k, features)[group] + random.normal(size=(len(group), features))
    return Planted("groups", rows, group)


def centres(random: np.random.Generator, k: int, features: int) -> FloatArray:
    """Returns k centres (k, features), each exactly APART from its nearest neighbour."""
    placed = [np.zeros(features)]
    while len(placed) < k:
        direction = random.normal(size=features)
        proposed = placed[random.integers(len(placed))] + APART * direction / np.linalg.norm(direction)
        if min(float(np.linalg.norm(proposed - one)) for one in placed) > APART - 1e-9:
            placed.append(proposed)
    return np.array(placed)


def _normal(random: np.random.Generator, count: int, features: int) -> FloatArray:
    mixing: FloatArray = np.eye(features) + 0.5 * random.normal(size=(features, features))
    return random.normal(size=(count, features)) @ mixing


def _log_normal(random: np.random.Generator, count: int, features: int) -> FloatArray:
    return np.exp(0.5 * _normal(random, count, features))


def _banana(random: np.random.Generator, count: int, features: int) -> FloatArray:
    rows = random.normal(size=(count, features))
    rows[:, 1] = 0.5 * rows[:, 1] + random.uniform(0.3, 0.8) * rows[:, 0] ** 2
    return rows


def _uniform(random: np.random.Generator, count: int, features: int) -> FloatArray:
    return random.uniform(size=(count, features))


CONTINUA: dict[str, Callable[[np.random.Generator, int, int], FloatArray]] = {
    "normal": _normal,
    "log-normal": _log_normal,
    "banana": _banana,
    "uniform": _uniform,
}


def without_groups(number: int) -> Planted:
    """Returns a set that is one broad continuum; the kinds take turns."""
    random = np.random.default_rng([SEED, 0, number])
    kind = list(CONTINUA)[number % len(CONTINUA)]
    features = int(random.integers(FEATURES[0], FEATURES[1] + 1))
    count = int(random.integers(ROWS[0], ROWS[1] + 1))
    return Planted(kind, CONTINUA[kind](random, count, features), np.zeros(count, dtype=np.int64))


def candidates(planted: Planted) -> list[Candidate]:
    """Returns the candidates of a night on which these are the customers' features, the baseline among them."""
    spread = planted.rows - planted.rows.mean(axis=0)
    coreset, _ = summarise(np.clip(spread / spread.std(axis=0), -CLIP, CLIP))
    fitted: list[Candidate] = []
    for name in SETTINGS.models.algorithms:
        table = fit_candidates(ALGORITHMS[name], coreset, SETTINGS)
        fitted += candidates_of(table.assign(value_share=None, value_error=None, above_grid=False))
    even = Sizes(np.full(len(GRID_CELLS), len(planted.rows) / len(GRID_CELLS)), None)
    return [*fitted, Candidate("rfm_grid", len(GRID_CELLS), even)]


def choice_among(compared: Sequence[Candidate]) -> Candidate:
    """Returns the candidate that the rule chooses."""
    verdicts = verdicts_of(compared, SETTINGS.selection)
    return next(one for one, verdict in zip(compared, verdicts, strict=True) if verdict.chosen)


def chosen_of(sets: Iterator[Planted]) -> Iterator[tuple[Planted, Candidate]]:
    """Yields each set and the candidate that the rule chooses."""
    for planted in sets:
        yield planted, choice_among(candidates(planted))


def main(arguments: Sequence[str] | None = None) -> int:
    """Measures and prints; the exit status."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sets", type=int, default=200, help="number of sets with groups, and of sets without")
    parser.add_argument("--write", action="store_true", help=f"put the table into docs/{PAGE.name}")
    given = parser.parse_args(arguments)
    sets = range(given.sets)

    right: Counter[str] = Counter()
    of_kind: Counter[str] = Counter()
    differences: Counter[int] = Counter()
    found = 0
    for planted, chosen in chosen_of(map(with_groups, sets)):
        kind = f"{planted.k} groups: k is right"
        of_kind[kind] += 1
        right[kind] += chosen.k == planted.k
        differences[chosen.k - planted.k] += 1
        found += chosen.shows_groups
    right_k = right.total() / given.sets
    for planted, chosen in chosen_of(map(without_groups, sets)):
        kind = f"no groups, {planted.kind}: structure is denied"
        of_kind[kind] += 1
        right[kind] += not chosen.shows_groups
    denied = right.total() / given.sets - right_k
    rows = [("sets", "number", "right"), ("---",) * 3]
    rows += [
        (kind, f"{of_kind[kind]}", f"{right[kind]} ({right[kind] / of_kind[kind]:.0%})") for kind in sorted(of_kind)
    ]
    by = ", ".join(f"{difference:+d} in {differences[difference]}" for difference in sorted(differences))
    text = "\n".join(f"| {' | '.join(row)} |" for row in rows)
    text += (
        f"\n\nOf {given.sets} sets with groups, k is right in {right_k:.0%} (chosen less true k: {by}), and they are"
        f" said to be groups in {found / given.sets:.0%}. Of {given.sets} sets without groups, structure is denied in"
        f" {denied:.0%}. Needed: {NEEDED:.0%} each."
    )
    print(text)
    if given.write:
        write(text, "planted")
    return int(min(right_k, denied) < NEEDED)


if __name__ == "__main__":
    raise SystemExit(main())
