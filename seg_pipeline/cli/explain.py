"""`seg-pipeline explain`: shows why a customer is in a segment."""

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from seg_pipeline.cli.options import (
    Commands,
    add_command,
    load_settings_from,
    output_options,
    settings_options,
    warehouse_option,
)
from seg_pipeline.cli.screen import Screen, format_value

if TYPE_CHECKING:
    from seg_pipeline.usecases.explanation import Advice, Decision, Explanation, GridCell, Rhythm, RunnerUp

EPILOG = """\
examples:
  seg-pipeline explain 17850
  seg-pipeline explain 17850 --as-of 2011-09-01 --lines 50
  seg-pipeline explain 17850 --json
"""
# The words for each models.explanation.Measure. Importing the enum would slow down --help.
MEASURE_IN_WORDS = {
    "centre_distance": "its centre is {:.3f} away",
    "nearest_cell_distance": "its nearest cell is {:.3f} away",
    "probability": "probability {:.3f}",
}


def add(commands: Commands) -> None:
    """Registers `seg-pipeline explain` and its arguments."""
    explain = add_command(
        commands,
        "explain",
        _explain,
        help="show why a customer is in a segment, from the raw lines on, and what would change it",
        epilog=EPILOG,
        parents=[settings_options(), warehouse_option(), output_options()],
    )
    explain.add_argument("customer", metavar="CUSTOMER", help="the customer's id")
    explain.add_argument("--as-of", metavar="DATE", help="the night; default: the newest scored night")
    explain.add_argument(
        "--lines", metavar="N", type=_count, default=10, help="how many raw lines to show; default: 10"
    )


def _explain(options: argparse.Namespace) -> int:
    settings = load_settings_from(options)
    from seg_pipeline.usecases.explain import explain

    explanation = explain(settings, options.customer, options.lines)
    screen = Screen.from_options(options)
    screen.show_or_print_json(lambda: _show(screen, explanation), lambda: _document(explanation))
    return 0


def _document(explanation: "Explanation") -> dict[str, object]:
    """Returns the JSON document of --json, whose keys scripts rely on."""
    from dataclasses import asdict

    decision = explanation.decision
    return {
        "customer_id": explanation.customer_id,
        "as_of": explanation.as_of,
        "lines": explanation.line_count,
        "lines_counting": explanation.counted_line_count,
        "lines_too_late": explanation.late_line_count,
        "first_lines": [asdict(line) for line in explanation.first_lines],
        "rejections": [asdict(rejection) for rejection in explanation.rejections],
        "decision": _decision_document(decision) if decision else None,
        "history": [asdict(stay) for stay in explanation.history],
    }


def _decision_document(decision: "Decision") -> dict[str, object]:
    from dataclasses import asdict

    return {
        "segment_id": decision.segment_id,
        "segment_name": decision.segment_name,
        "confidence": decision.confidence,
        "why": decision.why,
        "model_id": decision.model_id,
        "fitted_as_of": decision.fitted_as_of,
        "features": [asdict(feature) for feature in decision.features],
        "scores": [asdict(score) for score in decision.scores],
        "grid": _grid_cell_in_words(decision.grid_cell) if decision.grid_cell else None,
        "steps": [asdict(transformation) for transformation in decision.transformations],
        "affinities": [
            {
                "cluster": cluster.cluster,
                "segment_id": cluster.segment_id,
                "segment_name": cluster.segment_name,
                "distance": cluster.distance,
                "nearest_cell": cluster.nearest_cell_distance,
                "probability": cluster.probability,
            }
            for cluster in decision.cluster_distances
        ],
        "runner_up": _runner_up_in_words(decision.runner_up) if decision.runner_up else None,
        "changes": [asdict(change) for change in decision.changes],
        "rhythm": asdict(decision.rhythm) if decision.rhythm else None,
        "advice": asdict(decision.advice) if decision.advice else None,
        "rule": decision.rule,
        "rule_precision": decision.rule_precision,
        "rule_recall": decision.rule_recall,
    }


def _grid_cell_in_words(cell: "GridCell") -> str:
    return f"R {cell.r_score} x F {cell.f_score}: {cell.name}"


def _runner_up_in_words(runner_up: "RunnerUp") -> str:
    """Returns a line such as `Champions: its centre is 1.234 away, 0.567 here`."""
    value = MEASURE_IN_WORDS[runner_up.measure].format(runner_up.value)
    return f"{runner_up.segment_name}: {value}, {runner_up.own_value:.3f} here"


def _show(screen: Screen, explanation: "Explanation") -> None:
    """Shows the steps from the raw lines to the segment, in their order."""
    from dataclasses import astuple

    say = screen.say

    decision = explanation.decision
    segment = f"{decision.segment_name} (segment {decision.segment_id})" if decision else "no segment"
    say(f"Customer {explanation.customer_id} as of {explanation.as_of}: {segment}")
    say(
        f"\n1. {explanation.line_count:,} raw lines: {explanation.counted_line_count:,} count,"
        f" {explanation.late_line_count:,} are on or after the night"
    )
    lines = [
        [f"{Path(line.source_file).name} row {line.source_row}", *astuple(line)[2:]] for line in explanation.first_lines
    ]
    headings = ("line", "order", "date", "product", "quantity", "price", "amount", "")
    screen.rows(headings, lines)
    if len(lines) < explanation.line_count:
        say(f"and {explanation.line_count - len(lines):,} more; --lines shows them")
    say(f"\n2. {sum(rejection.lines for rejection in explanation.rejections):,} lines rejected")
    for rejection in explanation.rejections:
        examples = "; ".join(rejection.examples)
        say(f"  {rejection.lines:,} {rejection.reason}: {rejection.meaning}; first: {examples}")
    if decision is None:
        say("\nno clean line before the night, so no segment")
        return
    say("\n3. features")
    features = [*decision.features, *decision.scores]
    screen.rows(
        ("feature", "value", "meaning"), [(feature.name, feature.value, feature.description) for feature in features]
    )
    if decision.grid_cell:
        say(f"cell of the R x F grid: {_grid_cell_in_words(decision.grid_cell)}")
    if decision.transformations:
        say("\n4. features as the model sees them: (transformed - centre) / scale x weight")
        screen.rows(
            ("feature", "raw", "filled", "transform", "transformed", "centre", "scale", "scaled", "weight", "result"),
            [astuple(transformation) for transformation in decision.transformations],
        )
    say(f"\n5. decided by {decision.why}" if decision.grid_cell else f"\n5. {decision.why}")
    say(f"{segment}, confidence {decision.confidence:.3f}; {decision.model_id}, fitted on {decision.fitted_as_of}")
    if decision.cluster_distances:
        screen.rows(
            ("id", "segment", "distance to centre", "to its nearest cell", "probability"),
            [
                (
                    cluster.segment_id,
                    cluster.segment_name,
                    cluster.distance,
                    cluster.nearest_cell_distance,
                    cluster.probability,
                )
                for cluster in decision.cluster_distances
            ],
        )
    if decision.runner_up:
        say(f"runner-up: {_runner_up_in_words(decision.runner_up)}")
    if decision.rule:
        say(
            f"the segment in short: {decision.rule} ({decision.rule_precision:.0%} of the customers matching this rule"
            f" are in it, {decision.rule_recall:.0%} of the segment match the rule)"
        )
    if decision.changes:
        say("\n6. what would move the customer, one feature at a time")
    for change in decision.changes:
        now = f"(now {format_value(change.now)})"
        moves = (
            f"{change.feature} {format_value(change.to)} {now}: to {change.segment_name} (segment {change.segment_id})"
        )
        stays = f"no value of {change.feature} alone would {now}"
        say(f"  {stays if change.to is None else moves}")
    if decision.advice:
        say("\n7. the customer's own rhythm, and what to do")
        _show_advice(screen, decision.rhythm, decision.advice)
    say("\n8. nights")
    for stay in explanation.history:
        nights = f"{stay.first}" if stay.first == stay.last else f"{stay.first} to {stay.last}, {stay.nights} nights"
        say(f"  {nights}: {stay.segment_name} (segment {stay.segment_id})")


def _show_advice(screen: Screen, rhythm: "Rhythm | None", advice: "Advice") -> None:
    """Shows where the customer is in their own rhythm (None without a purchase), and the actions that apply."""
    if rhythm:
        usual = (
            ""
            if rhythm.usual_gap_days is None
            else f", {rhythm.days_overdue_ratio:.1f} times the usual gap of {rhythm.usual_gap_days:.0f} days"
        )
        screen.say(f"  {rhythm.lifecycle}: silent for {rhythm.silent_days:,} days{usual}")
    screen.say(f"  advice: that of {advice.name}: {advice.objective}")
    for team, action in (("marketing", advice.marketing), ("sales", advice.sales), ("service", advice.service)):
        screen.say(f"    {team}: {action}")


def _count(text: str) -> int:
    """Returns the number of lines that an argument names."""
    if not text.isdecimal():
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of lines")
    return int(text)
