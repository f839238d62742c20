"""`seg-pipeline explain`: how a customer came to a segment."""

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from seg_pipeline.cli.options import (
    Commands,
    add_command,
    settings_of,
    settings_options,
    shown_options,
    warehouse_option,
)
from seg_pipeline.cli.screen import Screen, shown

if TYPE_CHECKING:
    from seg_pipeline.usecases.explain import Explanation

EPILOG = """\
examples:
  seg-pipeline explain 17850
  seg-pipeline explain 17850 --as-of 2011-09-01 --lines 50
  seg-pipeline explain 17850 --json
"""


def add(commands: Commands) -> None:
    """Adds the command."""
    explain = add_command(
        commands,
        "explain",
        _explain,
        help="show how a customer came to a segment, from the raw lines on, and what would change it",
        epilog=EPILOG,
        parents=[settings_options(), warehouse_option(), shown_options()],
    )
    explain.add_argument("customer", metavar="CUSTOMER", help="customer id")
    explain.add_argument("--as-of", metavar="DATE", help="the night; default: the newest one that is scored")
    explain.add_argument("--lines", metavar="N", type=_count, default=10, help="raw lines to show; default: 10")


def _explain(options: argparse.Namespace) -> int:
    from dataclasses import asdict

    settings = settings_of(options)
    from seg_pipeline.usecases.explain import explain
    from seg_pipeline.wiring import warehouse_of

    found = explain(warehouse_of(settings), options.customer, settings.as_of, options.lines)
    screen = Screen.of(options)
    screen.result(lambda: asdict(found), lambda: _show(screen, found))
    return 0


def _show(screen: Screen, found: "Explanation") -> None:
    """The steps in the order in which they were taken."""
    from dataclasses import astuple

    say = screen.say

    decision = found.decision
    segment = f"{decision.segment_name} (segment {decision.segment_id})" if decision else "no segment"
    say(f"Customer {found.customer_id} as of {found.as_of}: {segment}")
    say(
        f"\n1. {found.lines:,} raw lines: {found.lines_counting:,} count, {found.lines_too_late:,} are on or after the"
        " night"
    )
    lines = [[f"{Path(line.source_file).name} row {line.source_row}", *astuple(line)[2:]] for line in found.first_lines]
    headings = ("line", "order", "date", "product", "quantity", "price", "amount", "")
    screen.rows(headings, lines)
    if len(lines) < found.lines:
        say(f"and {found.lines - len(lines):,} more; --lines shows them")
    say(f"\n2. {sum(one.lines for one in found.rejections):,} lines rejected")
    for one in found.rejections:
        say(f"  {one.lines:,} {one.reason}: {one.meaning}; first: {'; '.join(one.examples)}")
    if decision is None:
        say("\nno clean line before the night, so no segment")
        return
    say("\n3. features")
    told = [*decision.features, *decision.scores]
    screen.rows(("feature", "value", "meaning"), [(one.name, one.value, one.description) for one in told])
    if decision.grid:
        say(f"cell of the R x F grid: {decision.grid}")
    if decision.steps:
        say("\n4. made comparable: (transformed - centre) / scale x weight")
        screen.rows(
            ("feature", "raw", "filled", "transform", "transformed", "centre", "scale", "scaled", "weight", "result"),
            [astuple(step) for step in decision.steps],
        )
    say(f"\n5. decided by {decision.why}" if decision.grid else f"\n5. {decision.why}")
    say(f"{segment}, confidence {decision.confidence:.3f}; {decision.model_id}, fitted on {decision.fitted_as_of}")
    if decision.affinities:
        screen.rows(
            ("id", "segment", "distance to centre", "to its nearest cell", "probability"),
            [
                (one.segment_id, one.segment_name, one.distance, one.nearest_cell, one.probability)
                for one in decision.affinities
            ],
        )
    if decision.runner_up:
        say(f"runner-up: {decision.runner_up}")
    if decision.rule:
        say(
            f"the segment in short: {decision.rule} ({decision.rule_precision:.0%} of those under this rule are in it,"
            f" {decision.rule_recall:.0%} of it are under the rule)"
        )
    if decision.changes:
        say("\n6. what would have to change, each alone")
    for change in decision.changes:
        moved = f"at {change.feature} {shown(change.to)} to {change.segment_name} (segment {change.segment_id})"
        unmoved = f"no value of {change.feature} alone would"
        say(f"  {unmoved if change.to is None else moved} (now {shown(change.now)})")
    say("\n7. nights")
    for stay in found.history:
        nights = f"{stay.first}" if stay.first == stay.last else f"{stay.first} to {stay.last}, {stay.nights} nights"
        say(f"  {nights}: {stay.segment_name} (segment {stay.segment_id})")


def _count(text: str) -> int:
    if not text.isdecimal():
        raise argparse.ArgumentTypeError(f"{text!r} is no number of lines")
    return int(text)
