"""`seg-pipeline init`: from a file of orders to a settings file and a first run."""

import argparse
import os
import sys
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from seg_pipeline.cli.options import Commands, add_command, overrides, places_options, settings_options, shown_options
from seg_pipeline.cli.screen import Screen
from seg_pipeline.errors import MachineError, UsageError

if TYPE_CHECKING:
    from seg_pipeline.usecases.init import Proposal, Question

EPILOG = """\
examples:
  seg-pipeline init orders.csv
  seg-pipeline init bestellungen.csv --column customer_id=Kunde --column ordered_at=Datum --column unit_price=Preis
  seg-pipeline init exports/ --set source.date_format=day-first --set strategies.currency=EUR --yes
  seg-pipeline init orders.csv --no-run --config shop/seg_pipeline.toml
  seg-pipeline init --set source.table=shop.order_lines --set source.cursor=line_id     (PostgreSQL)

Looks at the first lines, says what it decided and why, and asks what it cannot tell; where nobody can be asked, it
takes the likely answers, and stops in one line where none is safe. Then it writes the settings file, with a comment on
each key, and runs. Columns: order_id, customer_id, ordered_at, product_id, quantity, unit_price, amount, country,
description, currency, shop. Of these customer_id, ordered_at, and unit_price or amount must be there.
"""


def add(commands: Commands) -> None:
    """Adds the command."""
    init = add_command(
        commands,
        "init",
        _init,
        help="bring your own orders: guess how they are read, write the settings file, run",
        epilog=EPILOG,
        parents=[settings_options(config=False), places_options(), shown_options(loudness=True, as_json=False)],
    )
    init.add_argument("source", metavar="SOURCE", nargs="*", help="files, folders or globs of order lines")
    init.add_argument(
        "--column", metavar="COLUMN=NAME", action="append", default=[],
        help="the file's name for a column, e.g. customer_id=Kunde; may be given again",
    )  # fmt: skip
    init.add_argument(
        "--config", metavar="FILE", type=Path, default=Path("seg_pipeline.toml"),
        help="the settings file to write; default: seg_pipeline.toml",
    )  # fmt: skip
    init.add_argument(
        "--yes", action="store_true", help="ask nothing: take the likely answers (so do --quiet and a log file)"
    )
    init.add_argument("--no-run", action="store_true", help="only write the settings file")
    init.add_argument("--force", action="store_true", help="write over a settings file that is there")


def _init(options: argparse.Namespace) -> int:
    file: Path = options.config
    if file.exists() and not options.force:
        raise UsageError(f"{file}: is there already; use it with seg-pipeline run --config {file}, or give --force")
    given = [*overrides(options), *(f"source.columns.{column}" for column in options.column)]
    if not any(word.startswith(("source.path=", "source.table=")) for word in given):
        raise UsageError("init: no orders given; name a file, a folder or a glob: seg-pipeline init orders.csv")
    screen = Screen.of(options)
    from seg_pipeline.settings import load_settings
    from seg_pipeline.usecases.init import propose, settings_text

    asking = not (options.yes or options.quiet) and sys.stdin.isatty() and sys.stdout.isatty()
    proposal = propose(given, partial(_answer, screen, asking))
    _show(screen, proposal)
    _write(file, settings_text(proposal, file))
    screen.say(f"\nwritten: {file}")
    settings = load_settings(config=file)
    command = f"seg-pipeline run --config {file}"
    if options.no_run:
        screen.say(f"next: {command}")
        return 0
    screen.say(f"running: {command}\n")
    from seg_pipeline.cli.run import run_and_show

    return run_and_show(settings, screen)


def _answer(screen: Screen, asking: bool, question: "Question") -> str:
    """Asks on the terminal; elsewhere takes the answer that is suggested.

    Raises:
        NotAskedError: there is nobody to ask, and no answer is safe.
    """
    from seg_pipeline.usecases.init import NotAskedError

    either = " or ".join(f"--set {question.key}={answer}" for answer in question.answers)
    if not asking:
        if question.suggested is None:
            told = "; ".join(f"{answer}: {meaning}" for answer, meaning in question.answers.items())
            raise NotAskedError(f"{question.text} {told}; say it with {either}")
        return question.suggested
    screen.say(f"\n{question.text}")
    answers = list(question.answers)
    for number, answer in enumerate(answers, 1):
        screen.say(f"  {number}  {answer}  {question.answers[answer]}".rstrip())
    default = f" [{question.suggested}]" if question.suggested is not None else ""
    while True:
        try:
            word = input(f"answer{default}: ").strip()
        except EOFError:
            raise UsageError(f"{question.key}: no answer; say it with --set {question.key}=...") from None
        if not word and question.suggested is not None:
            return question.suggested
        if word in question.answers or (word and not question.answers):
            return word
        if word.isdecimal() and 0 < int(word) <= len(answers):
            return answers[int(word) - 1]
        screen.say(f"one of 1 to {len(answers)}, or its name" if answers else "a word, or - for none")


def _show(screen: Screen, proposal: "Proposal") -> None:
    from seg_pipeline.cli.inspect import show

    if proposal.inspection:
        show(screen, proposal.inspection)
    screen.say("\ndecided:")
    for one in proposal.decisions:
        screen.say(f"  {one.key} = {one.value}: {one.why}")
    source = proposal.settings.source
    columns = proposal.inspection.deliveries[0].columns if proposal.inspection else source.columns
    if proposal.inspection:
        detected = proposal.inspection.deliveries[0].shape.detected
        if detected:
            shown = ", ".join(f"{name} {value!r}" for name, value in detected.items())
            screen.say(f"  {shown}, decimal {source.decimal!r}, dates {proposal.inspection.dates}")
        if proposal.inspection.returns:
            screen.say(
                f"  returns = {proposal.settings.returns}: {proposal.inspection.returns:,} lines take money back; they"
                " reduce what a customer spent, and are no orders (drop and match: see the settings file)"
            )
        if "order_id" not in columns:
            screen.say("  no order numbers: a customer's lines of one day are one order (else --column order_id=NAME)")
        if "quantity" not in columns:
            screen.say("  no quantities: each line is one unit")
        if {"unit_price", "amount"} <= columns.keys():
            screen.say(
                f"  a line is worth quantity x {columns['unit_price']}; {columns['amount']} only where that is empty"
            )


def _write(file: Path, text: str) -> None:
    """Writes the settings file as a whole or not at all."""
    part = file.with_name(f".{file.name}.part")
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        part.write_text(text, encoding="utf-8")
        os.replace(part, file)
    except OSError as error:
        raise MachineError(f"{file}: {error.strerror}; name another with --config") from None
