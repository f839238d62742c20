"""`seg-pipeline init`: finds out how orders are read, writes the settings file and makes the first run."""

import argparse
import sys
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from seg_pipeline.cli.options import Commands, add_command, overrides, places_options, settings_options, shown_options
from seg_pipeline.cli.screen import Screen
from seg_pipeline.errors import UsageError

if TYPE_CHECKING:
    from seg_pipeline.usecases.init import Proposal, Question

EPILOG = """\
examples:
  seg-pipeline init orders.csv
  seg-pipeline init bestellungen.csv --column customer_id=Kunde --column ordered_at=Datum --column unit_price=Preis
  seg-pipeline init exports/ --set source.date_format=day-first --set strategies.currency=EUR --yes
  seg-pipeline init orders.csv --no-run --config shop/seg_pipeline.toml
  seg-pipeline init --set source.table=shop.order_lines --set source.cursor=line_id     (PostgreSQL)

Reads the first lines, shows what it chose and why, and asks what the data does not show. If nobody can be asked, it
takes the likely answers, and stops with one line if no answer is safe. Then it writes the settings file, with a
comment on each key, and runs.

Columns: order_id, customer_id, ordered_at, product_id, quantity, unit_price, amount, country, description, currency,
shop. The file must have customer_id, ordered_at, and unit_price or amount.
"""


def add(commands: Commands) -> None:
    """Adds the `init` command."""
    init = add_command(
        commands,
        "init",
        _init,
        help="start with your own orders: find out how to read them, write the settings file, run",
        epilog=EPILOG,
        parents=[settings_options(config=False), places_options(), shown_options(loudness=True, as_json=False)],
    )
    init.add_argument("source", metavar="SOURCE", nargs="*", help="files, folders or globs of order lines")
    init.add_argument(
        "--column", metavar="COLUMN=NAME", action="append", default=[],
        help="the file's name for a column, e.g. customer_id=Kunde; can be repeated",
    )  # fmt: skip
    init.add_argument(
        "--config", metavar="FILE", type=Path, default=Path("seg_pipeline.toml"),
        help="the settings file to write; default: seg_pipeline.toml",
    )  # fmt: skip
    init.add_argument(
        "--yes",
        action="store_true",
        help="ask nothing and take the likely answers; implied by --quiet and by output to a file or a pipe",
    )
    init.add_argument("--no-run", action="store_true", help="only write the settings file")
    init.add_argument("--force", action="store_true", help="overwrite an existing settings file")


def _init(options: argparse.Namespace) -> int:
    overridden = [*overrides(options), *(f"source.columns.{column}" for column in options.column)]
    screen = Screen.of(options)
    from seg_pipeline.usecases.init import propose, suggested_answer
    from seg_pipeline.usecases.settings_file import write_settings

    can_ask = not (options.yes or options.quiet) and sys.stdin.isatty() and sys.stdout.isatty()
    ask = partial(_ask, screen) if can_ask else suggested_answer
    proposal = propose(options.config, overridden, ask, overwrite=options.force)
    _show(screen, proposal)
    settings = write_settings(proposal)
    screen.say(f"\nwritten: {proposal.file}")
    command = f"seg-pipeline run --config {proposal.file}"
    if options.no_run:
        screen.say(f"next: {command}")
        return 0
    screen.say(f"running: {command}\n")
    from seg_pipeline.cli.run import run_and_show

    return run_and_show(settings, screen)


def _ask(screen: Screen, question: "Question") -> str:
    """Asks on the terminal until the answer is valid: its number, its name, or nothing for the suggested one.

    Raises:
        UsageError: The input ends before there is an answer.
    """
    screen.say(f"\n{question.text}")
    answers = list(question.answers)
    for number, answer in enumerate(answers, 1):
        screen.say(f"  {number}  {answer}  {question.answers[answer]}".rstrip())
    default = f" [{question.suggested}]" if question.suggested is not None else ""
    while True:
        try:
            word = input(f"answer{default}: ").strip()
        except EOFError:
            raise UsageError(f"{question.key}: no answer; give it with --set {question.key}=...") from None
        if not word and question.suggested is not None:
            return question.suggested
        if word in question.answers or (word and not question.answers):
            return word
        if word.isdecimal() and 0 < int(word) <= len(answers):
            return answers[int(word) - 1]
        screen.say(f"answer 1 to {len(answers)}, or with a name" if answers else "answer with a word, or - for none")


def _show(screen: Screen, proposal: "Proposal") -> None:
    """Shows how a run would read the source, the choices and their reasons, and what follows from them."""
    from seg_pipeline.cli.inspect import show

    inspection = proposal.inspection
    if inspection:
        show(screen, inspection)
    screen.say("\nchosen:")
    for choice in proposal.choices:
        screen.say(f"  {choice.key} = {choice.value}: {choice.why}")
    if inspection is None:
        return
    delivery = inspection.deliveries[0]
    if delivery.shape.detected:
        detected = ", ".join(f"{name} {value!r}" for name, value in delivery.shape.detected.items())
        screen.say(f"  {detected}, decimal {proposal.settings.source.decimal!r}, dates {inspection.dates}")
    if inspection.returns:
        screen.say(
            f"  returns = {proposal.settings.returns}: {inspection.returns:,} lines take money back; they reduce what a"
            " customer spent and are no orders (for drop and match see the settings file)"
        )
    if "order_id" not in delivery.columns:
        screen.say("  no order numbers: a customer's lines of one day are one order (else --column order_id=NAME)")
    if "quantity" not in delivery.columns:
        screen.say("  no quantities: each line is one unit")
    if {"unit_price", "amount"} <= delivery.columns.keys():
        price, amount = delivery.columns["unit_price"], delivery.columns["amount"]
        screen.say(f"  a line is worth quantity x {price}; {amount} counts only if that is empty")
