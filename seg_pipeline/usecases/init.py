"""Finds out how the orders of a shop are read, with the code that a run uses.

Takes what the presets, the dates and the cleaning show by themselves, and asks what they cannot show.
settings_file.py writes the result.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from seg_pipeline.errors import DataError, SegPipelineError, UsageError
from seg_pipeline.raw.columns import REQUIRED_COLUMNS, ColumnNames, plain
from seg_pipeline.raw.sources import columns_of, find_files, header_of, tables_of
from seg_pipeline.settings import Settings, load_settings, preset_names
from seg_pipeline.usecases.inspect import NEVER_MIXED, Inspection, inspect, mixture

NO_COLUMN = "-"
# What each column holds, in the words of a question.
MEANINGS = {
    "customer_id": "the customer",
    "ordered_at": "the date of the order",
    "unit_price": "the price of one unit",
    "amount": "the amount of the line",
    "order_id": "the number of the order",
    "quantity": "the number of units",
    "product_id": "the product",
}


@dataclass(frozen=True, slots=True)
class Question:
    """A question that the data does not answer.

    Attributes:
        key: The setting that the answer is for.
        text: The question.
        answers: Maps each possible answer to its meaning; any word is an answer if it is empty.
        suggested: The answer to take if nobody can be asked; None if no answer is safe.
    """

    key: str
    text: str
    answers: dict[str, str] = field(default_factory=dict)
    suggested: str | None = None


Ask = Callable[[Question], str]


@dataclass(frozen=True, slots=True)
class Choice:
    """A setting that was found out or asked for, and the reason for its value."""

    key: str
    value: str
    why: str


@dataclass(frozen=True, slots=True)
class Proposal:
    """The first settings of a shop.

    Attributes:
        file: The settings file to write.
        settings: The settings.
        choices: The settings that were found out or asked for.
        overrides: The settings that the user gave, as `KEY=VALUE`.
        inspection: How a run would read the source; None for a database table.
    """

    file: Path
    settings: Settings
    choices: list[Choice]
    overrides: list[str]
    inspection: Inspection | None


class NotAskedError(UsageError):
    """A question has no safe answer, and there is nobody to ask."""


def propose(file: Path, overrides: Sequence[str], ask: Ask, *, overwrite: bool = False) -> Proposal:
    """Finds out how a source is read.

    Args:
        file: The settings file to write later.
        overrides: `KEY=VALUE` of the settings that the user gave, with source.path or source.table among them.
        ask: Returns the answer to a question; raises NotAskedError if it has none.
        overwrite: Whether the settings file may exist already.

    Raises:
        UsageError: The settings file exists already, no source is named, a setting is wrong, or a question has no
            answer.
        DataError: The source cannot be read, or none of its first lines would count.
    """
    if file.exists() and not overwrite:
        raise UsageError(f"{file}: exists already; use it with seg-pipeline run --config {file}, or give --force")
    if not any(override.startswith(("source.path=", "source.table=")) for override in overrides):
        raise UsageError("init: no orders given; name a file, a folder or a glob: seg-pipeline init orders.csv")
    draft = _Draft(list(overrides), ask)
    inspection = None
    if tables_of(draft.settings().source):
        _draft_table(draft)
    else:
        inspection = _draft_files(draft)
    return Proposal(file, draft.settings(), draft.choices, draft.overrides, inspection)


def suggested_answer(question: Question) -> str:
    """Returns the answer that a question suggests, for when nobody can be asked.

    Raises:
        NotAskedError: The question suggests none.
    """
    if question.suggested is None:
        answers = "; ".join(f"{answer}: {meaning}" for answer, meaning in question.answers.items())
        options = " or ".join(f"--set {question.key}={answer}" for answer in question.answers)
        raise NotAskedError(f"{question.text} {answers}; choose with {options}")
    return question.suggested


@dataclass(slots=True)
class _Draft:
    """The settings as far as they are known.

    Attributes:
        overrides: The settings that the user gave.
        ask: Returns the answer to a question.
        choices: The settings chosen so far.
    """

    overrides: list[str]
    ask: Ask
    choices: list[Choice] = field(default_factory=list)

    def settings(self, *trial: str) -> Settings:
        """Returns the settings known so far, with `KEY=VALUE` of a trial on top.

        They leave out the environment, because the settings file has to work without it.
        """
        chosen = [f"{choice.key}={choice.value}" for choice in self.choices]
        return load_settings([*chosen, *self.overrides, *trial], environment={})

    def is_open(self, key: str) -> bool:
        """Returns whether the user has left a setting open."""
        return not any(override.partition("=")[0].strip() == key for override in self.overrides)

    def choose(self, key: str, value: str, why: str) -> None:
        """Records the value of a setting."""
        self.choices.append(Choice(key, value, why))

    def choose_by(self, question: Question) -> str:
        """Asks a question, records the answer and returns it."""
        answer = self.ask(question)
        if answer != NO_COLUMN:
            self.choose(question.key, answer, "as answered" if answer != question.suggested else "the likely answer")
        return answer


def _draft_table(draft: _Draft) -> None:
    """Drafts the settings of a database table."""
    source = draft.settings().source
    table = tables_of(source)[0]
    _choose_columns(draft, header_of(table, source), table)


def _draft_files(draft: _Draft) -> Inspection:
    """Drafts the settings of files, and returns how a run would read them."""
    file = find_files(draft.settings().source.path)[0]
    _choose_preset(draft, file)
    header = _choose_text(draft, file)
    _choose_columns(draft, header, file)
    _choose_values(draft)
    inspection = _choose_decimal(draft)
    if not inspection.clean:
        reason, meaning, _, example = (
            inspection.problems[0] if inspection.problems else ("no_lines", "the source is empty", 0, "")
        )
        raise DataError(
            f"none of the first {inspection.lines:,} lines would count: {reason}: {meaning}; first: {example}; if"
            " another column is meant, name it with --column"
        )
    return inspection


def _choose_preset(draft: _Draft, file: str) -> None:
    """Chooses a preset other than the default one if it knows the name of every column of the file."""
    if not draft.is_open("source.preset"):
        return
    for preset in preset_names():
        if preset == Settings().source.preset:
            continue
        source = draft.settings(f"source.preset={preset}").source
        columns = columns_of(source)
        try:
            header = header_of(file, source)
            columns.find_in(header, file)
        except SegPipelineError:
            continue
        if set(header) <= {name for names in columns.names.values() for name in names}:
            draft.choose("source.preset", preset, "the columns have the names of this preset")
            return


def _choose_text(draft: _Draft, file: str) -> tuple[str, ...]:
    """Chooses the encoding and the delimiter of a text file, and returns its header."""
    try:
        header = header_of(file, draft.settings().source)
    except DataError:
        encoding = _readable_encoding(draft, file)
        if encoding is None:
            raise
        draft.choose("source.encoding", encoding, "the file is not UTF-8; check that ä, é and £ are shown correctly")
        header = header_of(file, draft.settings().source)
    if len(header) == 1 and draft.is_open("source.delimiter"):
        split = header_of(file, draft.settings("source.delimiter=whitespace").source)
        if len(split) > 2:
            draft.choose("source.delimiter", "whitespace", "no comma, semicolon, tab or bar is in the first line")
            return split
    return header


def _readable_encoding(draft: _Draft, file: str) -> str | None:
    """Returns an encoding in which the header of the file can be read; None if there is none."""
    if draft.is_open("source.encoding"):
        for encoding in ("latin-1", "utf-16"):
            try:
                header_of(file, draft.settings(f"source.encoding={encoding}").source)
            except DataError:
                continue
            return encoding
    return None


def _choose_columns(draft: _Draft, header: Sequence[str], where: str) -> None:
    """Asks for the columns that the names of the preset do not find, or find twice."""
    names = columns_of(draft.settings().source)
    try:
        columns = names.find_in(header, where)
    except DataError as error:
        try:
            for required in REQUIRED_COLUMNS:
                _choose_one_of(draft, required, names, header)
        except NotAskedError:
            # The first error names the columns of the file, and the option to name one.
            raise error from None
        columns = columns_of(draft.settings().source).find_in(header, where)
    for column in ("order_id", "quantity", "product_id"):
        # Lines count without these columns too, so a missing answer leaves the column out.
        if column not in columns:
            free = [name for name in header if name not in columns.values()]
            answer = draft.choose_by(_column_question(column, free, NO_COLUMN, optional=True)) if free else NO_COLUMN
            if answer != NO_COLUMN:
                columns[column] = answer


def _choose_one_of(draft: _Draft, columns: Sequence[str], names: ColumnNames, header: Sequence[str]) -> None:
    """Asks for the first of some columns, and for the next one if the file has no such column.

    Asks nothing if the settings name one of them, or exactly one name of the file fits.
    """
    likely = {
        column: [name for name in header if plain(name) in map(plain, names.names.get(column, ()))]
        for column in columns
    }
    if any(column in names.overrides or len(likely[column]) == 1 for column in columns):
        return
    for column in columns:
        answers = likely[column] or header
        if draft.choose_by(_column_question(column, answers, None, optional=column != columns[-1])) != NO_COLUMN:
            return


def _column_question(column: str, header: Sequence[str], suggested: str | None, *, optional: bool) -> Question:
    answers = dict.fromkeys(header, "")
    if optional:
        answers[NO_COLUMN] = "none of them"
    return Question(f"source.columns.{column}", f"Which column holds {MEANINGS[column]}?", answers, suggested)


def _choose_values(draft: _Draft) -> None:
    """Chooses the currency and the shop to keep, and how dates are read."""
    mixed = mixture(draft.settings())
    for column in NEVER_MIXED:
        values = mixed.values[column]
        if len(values) > 1 and draft.is_open(f"source.{column}"):
            answers = {value: f"{lines:,} lines" for value, lines in values}
            text = f"Which {column} should count? Lines of any other are rejected."
            draft.choose_by(Question(f"source.{column}", text, answers, values[0][0]))
    if mixed.readings and draft.is_open("source.date_format"):
        draft.choose_by(
            Question("source.date_format", f"How should dates such as {mixed.first_date} be read?", mixed.readings)
        )
    if draft.is_open("strategies.currency"):
        currency = draft.settings().source.currency or (mixed.values["currency"] or [("", 0)])[0][0]
        if currency and len(currency) <= 3:
            draft.choose("strategies.currency", currency, "the currency of the lines that count")
        else:
            draft.choose_by(
                Question(
                    "strategies.currency",
                    "Which currency are the amounts in, e.g. EUR or £? (- for none)",
                    {},
                    NO_COLUMN,
                )
            )


def _choose_decimal(draft: _Draft) -> Inspection:
    """Chooses the decimal point or comma that more lines fit, and returns how a run would then read the source."""
    if not draft.is_open("source.decimal"):
        return inspect(draft.settings())
    comma = inspect(draft.settings("source.decimal=,"))
    try:
        point = inspect(draft.settings())
    except UsageError:
        # Most lines have decimal commas, so a run refuses to read them with a point.
        point = None
    if point is None or comma.clean > point.clean:
        draft.choose("source.decimal", ",", "numbers are written with a decimal comma")
        return comma
    if comma.clean == point.clean and comma.revenue != point.revenue:
        answers = {
            ".": f"the lines add up to {point.revenue:,.2f}",
            ",": f"the lines add up to {comma.revenue:,.2f}",
        }
        text = "Every number has three digits after its dots. Which character separates the decimals?"
        if draft.choose_by(Question("source.decimal", text, answers)) == ",":
            return comma
    return point
