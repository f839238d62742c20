"""What is said of shops with a known truth: `python -m seg_pipeline_tests.bench.evidence`.

Runs each shop of `truths` through the whole pipeline with default settings and prints a table: what was chosen, named
and advised, and whether it is right. `--write` puts the table into docs/evidence.md. The exit status is 1 if a shop is
not right.
"""

import argparse
import re
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from seg_pipeline.errors import SegPipelineError
from seg_pipeline.settings import load_settings
from seg_pipeline.usecases.execution import Progress
from seg_pipeline.usecases.run import run
from seg_pipeline.warehouse import Warehouse
from seg_pipeline_tests.bench.truths import NIGHT, SHOPS, Night, TrueShop

PAGE = Path(__file__).parents[2] / "docs" / "evidence.md"
HEADER = ("shop", "customers", "what is true of it", "chosen", "names", "advice", "right")


@dataclass(frozen=True, slots=True, eq=False)
class Verdict:
    """What the pipeline made of a shop.

    Attributes:
        shop: The shop.
        night: The tables of its night.
        wrong: What is true of the shop, but not of the night.
    """

    shop: TrueShop
    night: Night
    wrong: list[str]

    @property
    def row(self) -> tuple[str, ...]:
        """Returns the shop's row of the table."""
        profiles = self.night.segment_profiles.sort_values("revenue", ascending=False)
        largest = self.night.segment_strategies.set_index("segment_id")["objective"]
        advice = [f"{row['segment_name']}: {largest[row['segment_id']]}" for row in profiles.to_dict("records")]
        return (
            self.shop.name,
            f"{self.shop.lines['customer_id'].nunique():,}",
            "; ".join(truth.sentence for truth in self.shop.truths),
            f"{self.night.chosen['algorithm']}, {self.night.chosen['k']}",
            "; ".join(f"{row['segment_name']} ({row['customers']:,})" for row in profiles.to_dict("records")),
            "; ".join(advice[:1]),
            f"no: not true that {'; '.join(self.wrong)}" if self.wrong else "yes",
        )


def judged(shop: TrueShop, folder: Path, overrides: Sequence[str] = ()) -> Verdict:
    """Runs the pipeline on a shop, in an empty folder."""
    source = folder / "orders.csv"
    shop.lines.to_csv(source, index=False)
    warehouse = folder / "warehouse.duckdb"
    place = (f"warehouse.path={warehouse}", f"output.path={folder / 'published'}", f"source.path={source}")
    settings = load_settings([*place, f"as_of={NIGHT}", *overrides], environment={})
    run(settings, Progress(lambda _: None, lambda *_: None, lambda *_: None, lambda _: None))
    night = Night.of(Warehouse(database=str(warehouse)))
    return Verdict(shop, night, [truth.sentence for truth in shop.all_truths if not truth.holds(night)])


def table(verdicts: Sequence[Verdict]) -> str:
    """Returns the table in Markdown."""
    rows = [HEADER, ("---",) * len(HEADER), *(verdict.row for verdict in verdicts)]
    return "\n".join(f"| {' | '.join(cell.replace('|', '/') for cell in row)} |" for row in rows)


def write(text: str, name: str = "shops") -> None:
    """Puts text between the markers of that name in the page."""
    between = re.compile(f"(?<=<!-- begin {name} -->\n).*?(?=<!-- end {name} -->)", re.DOTALL)
    page, places = between.subn(lambda _: f"\n{text}\n\n", PAGE.read_text(encoding="utf-8"))
    if places != 1:
        raise ValueError(f"{PAGE} has {places} places for {name}, not one")
    PAGE.write_text(page, encoding="utf-8")


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the shops and prints the table; the exit status."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--shops", nargs="+", choices=SHOPS, default=list(SHOPS), metavar="SHOP")
    parser.add_argument("--set", action="append", default=[], dest="overrides")
    parser.add_argument("--write", action="store_true", help=f"put the table into docs/{PAGE.name}")
    given = parser.parse_args(arguments)
    verdicts: list[Verdict] = []
    failed = 0
    for name in given.shops:
        with tempfile.TemporaryDirectory() as folder:
            try:
                verdicts.append(judged(SHOPS[name](), Path(folder), given.overrides))
            except SegPipelineError as error:
                failed += 1
                print(f"{name}: stopped: {error}", flush=True)
            else:
                print(f"{name}: {'; '.join(verdicts[-1].wrong) or 'right'}", flush=True)
    right = sum(not verdict.wrong for verdict in verdicts)
    text = f"{table(verdicts)}\n\n{right} of {len(given.shops)} shops are right."
    print(text)
    if given.write and not failed:
        write(text)
    return int(right < len(given.shops))


if __name__ == "__main__":
    raise SystemExit(main())
