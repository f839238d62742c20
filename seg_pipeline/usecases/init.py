"""The first settings of a shop: how its orders are read, found out with the code that a run uses, and written down.

What the presets, the dates and the cleaning tell by themselves is taken; what they cannot tell is asked.
"""

import json
import textwrap
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

from pydantic import BaseModel

from seg_pipeline.errors import DataError, SegPipelineError, UsageError
from seg_pipeline.raw.columns import REQUIRED_COLUMNS, ColumnNames, plain
from seg_pipeline.raw.sources import columns_of, find_files, header_of, relative_to, tables_of
from seg_pipeline.settings import Settings, flattened, load_settings, preset_names
from seg_pipeline.usecases.inspect import NEVER_MIXED, Inspection, inspect, mixture

NO_COLUMN = "-"
# What each column holds, as it is asked for.
MEANINGS = {
    "customer_id": "the customer",
    "ordered_at": "the date of the order",
    "unit_price": "the price of one unit",
    "amount": "the amount of the line",
    "order_id": "the number of the order",
    "quantity": "the number of units",
    "product_id": "the product",
}
# Written always, since they say how this shop is read and where its results go; of others, those that were chosen.
WRITTEN = (
    "returns",
    "source.path",
    "source.preset",
    "source.columns",
    "source.delimiter",
    "source.encoding",
    "source.decimal",
    "source.date_format",
    "warehouse.path",
    "output.path",
    "strategies.currency",
)
WIDTH = 100


@dataclass(frozen=True, slots=True)
class Question:
    """What the data does not tell.

    Attributes:
        key: The setting that the answer is for.
        text: The question.
        answers: Each possible answer with what it means; none: any word.
        suggested: The answer that is taken where nobody is asked; None where there is none that is safe.
    """

    key: str
    text: str
    answers: dict[str, str] = field(default_factory=dict)
    suggested: str | None = None


Ask = Callable[[Question], str]


@dataclass(frozen=True, slots=True)
class Decision:
    """A setting that was found out or asked, and why it is as it is."""

    key: str
    value: str
    why: str


@dataclass(frozen=True, slots=True)
class Proposal:
    """The settings of a shop, what was decided on the way, and what would come of them (None for a database table)."""

    settings: Settings
    decisions: list[Decision]
    given: list[str]
    inspection: Inspection | None


class NotAskedError(UsageError):
    """Something must be decided, and there is nobody to ask."""


def propose(given: Sequence[str], ask: Ask) -> Proposal:
    """Finds out how a source is read.

    Args:
        given: `KEY=VALUE` of what is decided already, source.path or source.table among them.
        ask: Gives the answer to a question; raises NotAskedError where it cannot.

    Raises:
        SegPipelineError: with the one line that says how to go on.
    """
    choices = _Choices(list(given), ask)
    source = choices.settings().source
    if tables := tables_of(source):
        _choose_columns(choices, header_of(tables[0], source), tables[0])
        return Proposal(choices.settings(), choices.decisions, choices.given, None)
    file = find_files(source.path)[0]
    _choose_preset(choices, file)
    header = _choose_text(choices, file)
    _choose_columns(choices, header, file)
    _choose_values(choices)
    found = _choose_decimal(choices)
    if not found.clean:
        reason, meaning, _, example = (
            found.problems[0] if found.problems else ("no_lines", "the source is empty", 0, "")
        )
        raise DataError(
            f"none of the first {found.lines:,} lines would count: {reason}: {meaning}; first: {example}; if another"
            " column is meant, name it with --column"
        )
    return Proposal(choices.settings(), choices.decisions, choices.given, found)


@dataclass(slots=True)
class _Choices:
    """What is decided so far."""

    given: list[str]
    ask: Ask
    decisions: list[Decision] = field(default_factory=list)

    def settings(self, *trial: str) -> Settings:
        """The settings as decided, with a trial on top. The environment is not in them: the file is to stand alone."""
        decided = [f"{one.key}={one.value}" for one in self.decisions]
        return load_settings([*decided, *self.given, *trial], environment={})

    def is_open(self, key: str) -> bool:
        return not any(one.partition("=")[0].strip() == key for one in self.given)

    def decide(self, key: str, value: str, why: str) -> None:
        self.decisions.append(Decision(key, value, why))

    def asked(self, question: Question) -> str:
        answer = self.ask(question)
        if answer != NO_COLUMN:
            self.decide(question.key, answer, "as answered" if answer != question.suggested else "the likely answer")
        return answer


def _choose_preset(choices: _Choices, file: str) -> None:
    """A preset other than the general one whose names are just those of the file."""
    if not choices.is_open("source.preset"):
        return
    for preset in preset_names():
        if preset == Settings().source.preset:
            continue
        source = choices.settings(f"source.preset={preset}").source
        names = columns_of(source)
        try:
            header = header_of(file, source)
            names.find_in(header, file)
        except SegPipelineError:
            continue
        if set(header) <= {name for known in names.names.values() for name in known}:
            choices.decide("source.preset", preset, "the columns have the names of this preset")
            return


def _choose_text(choices: _Choices, file: str) -> tuple[str, ...]:
    """Encoding and delimiter of a text file; returns its header."""
    try:
        header = header_of(file, choices.settings().source)
    except DataError:
        encoding = _readable_encoding(choices, file)
        if encoding is None:
            raise
        choices.decide("source.encoding", encoding, "the file is no UTF-8; look whether ä, é and £ are right below")
        header = header_of(file, choices.settings().source)
    if len(header) == 1 and choices.is_open("source.delimiter"):
        split = header_of(file, choices.settings("source.delimiter=whitespace").source)
        if len(split) > 2:
            choices.decide("source.delimiter", "whitespace", "no comma, semicolon, tab or bar is in the first line")
            return split
    return header


def _readable_encoding(choices: _Choices, file: str) -> str | None:
    if choices.is_open("source.encoding"):
        for encoding in ("latin-1", "utf-16"):
            try:
                header_of(file, choices.settings(f"source.encoding={encoding}").source)
            except DataError:
                continue
            return encoding
    return None


def _choose_columns(choices: _Choices, header: Sequence[str], where: str) -> None:
    """The columns that the preset's names do not find, or find twice."""
    names = columns_of(choices.settings().source)
    try:
        found = names.find_in(header, where)
    except DataError as error:
        try:
            for needed in REQUIRED_COLUMNS:
                _choose_one_of(choices, needed, names, header)
        except NotAskedError:
            # It names the columns that are there, and the option that tells.
            raise error from None
        found = columns_of(choices.settings().source).find_in(header, where)
    for column in ("order_id", "quantity", "product_id"):
        # Without one of these the lines still count: so they are asked for, and nothing is taken without an answer.
        if column not in found:
            free = [name for name in header if name not in found.values()]
            answer = choices.asked(_column_question(column, free, NO_COLUMN, optional=True)) if free else NO_COLUMN
            if answer != NO_COLUMN:
                found[column] = answer


def _choose_one_of(choices: _Choices, columns: Sequence[str], names: ColumnNames, header: Sequence[str]) -> None:
    """Asks for the first of some columns, then for the next one where there is none; not where a name tells."""
    likely = {
        column: [name for name in header if plain(name) in map(plain, names.names.get(column, ()))]
        for column in columns
    }
    if any(column in names.overrides or len(likely[column]) == 1 for column in columns):
        return
    for column in columns:
        answers = likely[column] or header
        if choices.asked(_column_question(column, answers, None, optional=column != columns[-1])) != NO_COLUMN:
            return


def _column_question(column: str, header: Sequence[str], suggested: str | None, *, optional: bool) -> Question:
    answers = dict.fromkeys(header, "")
    if optional:
        answers[NO_COLUMN] = "none of them"
    return Question(f"source.columns.{column}", f"Which column holds {MEANINGS[column]}?", answers, suggested)


def _choose_values(choices: _Choices) -> None:
    """The currency and the shop that count, and the way in which dates are read."""
    mixed = mixture(choices.settings())
    for column in NEVER_MIXED:
        values = mixed.values[column]
        if len(values) > 1 and choices.is_open(f"source.{column}"):
            answers = {value: f"{lines:,} lines" for value, lines in values}
            text = f"Which {column} counts? Several are never added up."
            choices.asked(Question(f"source.{column}", text, answers, values[0][0]))
    if mixed.readings and choices.is_open("source.date_format"):
        choices.asked(Question("source.date_format", f"How are dates such as {mixed.first_date} read?", mixed.readings))
    if choices.is_open("strategies.currency"):
        counted = choices.settings().source.currency or (mixed.values["currency"] or [("", 0)])[0][0]
        if counted and len(counted) <= 3:
            choices.decide("strategies.currency", counted, "the currency of the lines that count")
        else:
            choices.asked(
                Question("strategies.currency", "Which currency is it, e.g. EUR or £? (- for none)", {}, NO_COLUMN)
            )


def _choose_decimal(choices: _Choices) -> Inspection:
    """Point or comma: whichever makes numbers of more lines. Returns the source as it is then read."""
    if not choices.is_open("source.decimal"):
        return inspect(choices.settings())
    comma = inspect(choices.settings("source.decimal=,"))
    try:
        point = inspect(choices.settings())
    except UsageError:
        # Most lines have decimal commas, which a run refuses to read otherwise.
        point = None
    if point is None or comma.clean > point.clean:
        choices.decide("source.decimal", ",", "numbers are written with a decimal comma")
        return comma
    if comma.clean == point.clean and comma.revenue != point.revenue:
        answers = {
            ".": f"the lines add up to {point.revenue:,.2f}",
            ",": f"the lines add up to {comma.revenue:,.2f}",
        }
        text = "Every number has three digits behind its dots. What stands before the cents?"
        if choices.asked(Question("source.decimal", text, answers)) == ",":
            return comma
    return point


def settings_text(proposal: Proposal, path: Path) -> str:
    """The settings file of a proposal, each key with what it means and why it is as it is.

    Args:
        proposal: What was found out.
        path: Where the file is to be; paths in it are relative to its folder as far as they lie below it.
    """
    values = flattened(proposal.settings)
    why = {one.key: one.why for one in proposal.decisions}
    if proposal.inspection and len(proposal.inspection.deliveries) == 1:
        # Every column of the one shape that there is, so that the next file is read alike or set aside.
        (delivery,) = proposal.inspection.deliveries
        values["source.columns"] = delivery.columns
        for name, value in delivery.shape.detected.items():
            if values[f"source.{name}"] == "auto":
                why[f"source.{name}"] = f"found {value!r}"
    if proposal.inspection and values["source.date_format"] == "auto":
        why["source.date_format"] = f"found {proposal.inspection.dates}"
    given = [one.partition("=")[0].strip() for one in proposal.given]
    chosen = {*WRITTEN, *map(_setting_of, [*why, *given])}
    told = [key for key, value in values.items() if key in chosen and value not in (None, {}, ())]
    folder = path.resolve().parent
    lines = [
        "# How seg-pipeline reads this shop and where the results go, written by `seg-pipeline init`; yours to edit.",
        f"# Every night: seg-pipeline run --config {path.name}",
        "# Paths are relative to the folder of this file. What is not here has its default.",
    ]
    sections = list(dict.fromkeys(_section(key, values) for key in values))
    section = None
    # A mapping comes behind the other keys of its section, or they would be read as its own.
    for key in sorted(told, key=lambda key: sections.index(_section(key, values))):
        value = _placed(key, values[key], folder)
        if _section(key, values) != section:
            section = _section(key, values)
            lines += ["", f"[{section}]"] if section else [""]
        lines += [f"# {line}" for line in textwrap.wrap(f"{_description(key)}.", WIDTH)]
        lines += [f"# Here: {why[key]}."] if key in why else []
        entries = value if isinstance(value, dict) else {key.rpartition(".")[2]: value}
        lines += [f"{name} = {_toml(one)}" for name, one in entries.items()]
    return "\n".join(lines) + "\n"


def _section(key: str, values: Mapping[str, Any]) -> str:
    """The section of the file that a key stands in: a mapping is one of its own."""
    return key if isinstance(values[key], dict) else key.rpartition(".")[0]


def _setting_of(key: str) -> str:
    """The setting that a key belongs to: those of columns are one."""
    return "source.columns" if key.startswith("source.columns.") else key


def _description(key: str) -> str:
    model: type[BaseModel] = Settings
    *groups, name = key.split(".")
    for group in groups:
        model = cast(type[BaseModel], model.model_fields[group].annotation)
    return model.model_fields[name].description or ""


def _placed(key: str, value: Any, folder: Path) -> Any:
    """Returns a value as the settings file has it: a path below the file's folder is relative to it."""
    if key == "source.path":
        return [relative_to(word, folder) for word in value]
    return relative_to(str(value), folder) if isinstance(value, Path) else value


def _toml(value: Any) -> str:
    if isinstance(value, list | tuple):
        return "[" + ", ".join(map(_toml, value)) + "]"
    if isinstance(value, bool | int | float):
        return json.dumps(value)
    return json.dumps(str(value), ensure_ascii=False).replace("\x7f", "\\u007f")
