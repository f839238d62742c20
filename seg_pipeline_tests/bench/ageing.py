"""A shop that grows older: `python -m seg_pipeline_tests.bench.ageing`, by default CDNOW's sample for fifteen months.

Runs the pipeline on one night after another, every seven days unless `--every` says otherwise. Prints each night's fit,
its warnings, and the largest figures of feature_drift; the exit status is 1 if a night was stopped. The customers of
CDNOW's sample (CDNOW_sample.txt) all came in one quarter, so that those who buy no more only grow older.
"""

import argparse
import collections
import datetime
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from seg_pipeline.errors import SegPipelineError
from seg_pipeline.settings import load_settings
from seg_pipeline.usecases.execution import Progress
from seg_pipeline.usecases.run import run
from seg_pipeline.warehouse import Warehouse
from seg_pipeline_tests.bench.compare import DATA

SAMPLE = "CDNOW_sample.txt"
LARGEST = (
    "SELECT feature, max(psi) AS psi, max(restated_share) AS restated_share FROM models.feature_drift"
    " GROUP BY feature ORDER BY feature"
)


def cdnow_sample(sample: Path, folder: Path) -> Path:
    """Writes CDNOW's sample as the preset reads it: with a header, and one customer id a line. Returns the file."""
    lines = ["customer_id date number_of_cds dollar_value"]
    lines += [" ".join(line.split()[1:]) for line in sample.read_text().splitlines()]
    file = folder / "cdnow_sample.txt"
    file.write_text("\n".join(lines) + "\n")
    return file


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the nights and prints what happened; returns the exit status."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--source", type=Path, default=DATA / "cdnow" / SAMPLE)
    parser.add_argument("--preset", default="cdnow")
    parser.add_argument("--first", type=datetime.date.fromisoformat, default="1997-04-01")
    parser.add_argument("--last", type=datetime.date.fromisoformat, default="1998-06-30")
    parser.add_argument("--every", type=int, default=7)
    parser.add_argument("--set", action="append", default=[], dest="overrides")
    given = parser.parse_args(arguments)
    warnings: collections.Counter[str] = collections.Counter()
    stopped = nights = fits = 0
    with tempfile.TemporaryDirectory() as folder:
        source = cdnow_sample(given.source, Path(folder)) if given.source.name == SAMPLE else given.source
        place = (f"warehouse.path={folder}/w.duckdb", f"output.path={folder}/published", f"source.path={source}")
        quick = ("models.bootstraps=3", "models.gap_references=0", "value.bootstraps=0")
        as_of = given.first
        while as_of <= given.last:
            said: list[str] = []
            progress = Progress(lambda _: None, lambda *_: None, lambda *_: None, said.append)
            overrides = [f"source.preset={given.preset}", *place, *quick, *given.overrides, f"as_of={as_of}"]
            nights += 1
            try:
                result = run(load_settings(overrides, environment={}), progress)
            except SegPipelineError as error:
                stopped += 1
                print(f"{as_of}: stopped: {error}", flush=True)
            else:
                fits += bool(result.fit)
                decision = result.decision["decision"] if result.decision else "scored"
                print(f"{as_of}: {decision}{f' ({result.fit})' if result.fit else ''}", *said, sep="\n  ", flush=True)
            warnings.update(":".join(line.split(":")[:2]) for line in said)
            as_of += datetime.timedelta(days=given.every)
        print(Warehouse(database=f"{folder}/w.duckdb").read(LARGEST).to_string(index=False))
    print(f"{nights} nights, {fits} with a fit, {stopped} stopped; warnings: {dict(warnings) or 'none'}")
    return int(stopped > 0)


if __name__ == "__main__":
    sys.exit(main())
