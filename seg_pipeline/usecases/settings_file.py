"""Writes the settings file of a shop, with a comment on each key."""

import os
import textwrap
from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

import tomlkit
from pydantic import BaseModel

from seg_pipeline.errors import MachineError
from seg_pipeline.raw.sources import name_in_settings
from seg_pipeline.settings import Settings, flattened, load_settings
from seg_pipeline.usecases.init import Proposal

# Always in the file, since they say how this shop is read and where its results go. Any other setting is in the file
# only if it was chosen.
ALWAYS_WRITTEN = (
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
COMMENT_WIDTH = 100


def write_settings(proposal: Proposal) -> Settings:
    """Writes the settings file of a proposal, as a whole or not at all.

    Returns:
        The settings as a later run will load them from the file.

    Raises:
        MachineError: The file cannot be written.
    """
    file = proposal.file
    unfinished = file.with_name(f".{file.name}.part")
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        unfinished.write_text(settings_text(proposal), encoding="utf-8")
        os.replace(unfinished, file)
    except OSError as error:
        raise MachineError(f"{file}: {error.strerror}; name another with --config") from None
    return load_settings(config=file)


def settings_text(proposal: Proposal) -> str:
    """Returns the text of the settings file: each key with its meaning and the reason for its value.

    Paths below the folder of the file are relative to it.
    """
    values = flattened(proposal.settings)
    reasons = {choice.key: choice.why for choice in proposal.choices}
    if proposal.inspection and len(proposal.inspection.deliveries) == 1:
        # All files have one shape. With all of its columns named, a later file is read the same way or set aside.
        [delivery] = proposal.inspection.deliveries
        values["source.columns"] = delivery.columns
        for name, value in delivery.shape.detected.items():
            if values[f"source.{name}"] == "auto":
                reasons[f"source.{name}"] = f"found {value!r}"
    if proposal.inspection and values["source.date_format"] == "auto":
        reasons["source.date_format"] = f"found {proposal.inspection.dates}"
    overridden = [override.partition("=")[0].strip() for override in proposal.overrides]
    chosen = {*ALWAYS_WRITTEN, *(_setting_of(key, values) for key in [*reasons, *overridden])}
    written = [key for key, value in values.items() if key in chosen and value not in (None, {}, ())]
    sections = list(dict.fromkeys(_section(key, values) for key in values))
    folder = proposal.file.resolve().parent

    document = tomlkit.document()
    for line in (
        "How seg-pipeline reads this shop and where the results go, written by `seg-pipeline init`; yours to edit.",
        f"Every night: seg-pipeline run --config {proposal.file.name}",
        "Paths are relative to the folder of this file. A setting that is not here has its default.",
    ):
        document.add(tomlkit.comment(line))
    document.add(tomlkit.nl())
    table: Any = document
    section = ""
    # A mapping follows the other keys of its section, or they would be read as keys of the mapping.
    for key in sorted(written, key=lambda key: sections.index(_section(key, values))):
        if _section(key, values) != section:
            section = _section(key, values)
            table.add(tomlkit.nl())
            table = _table_of(document, section)
        for line in textwrap.wrap(f"{_description(key)}.", COMMENT_WIDTH):
            table.add(tomlkit.comment(line))
        if key in reasons:
            table.add(tomlkit.comment(f"Here: {reasons[key]}."))
        value = _placed(key, values[key], folder)
        for name, entry in value.items() if isinstance(value, dict) else [(key.rpartition(".")[2], value)]:
            table.add(name, _toml(entry))
    return tomlkit.dumps(document)


def _table_of(document: tomlkit.TOMLDocument, section: str) -> Any:
    """Returns the table of a section, and adds it to the document if it is new."""
    table: Any = document
    for name in section.split("."):
        if name not in table:
            table.add(name, tomlkit.table())
        table = table[name]
    return table


def _section(key: str, values: Mapping[str, Any]) -> str:
    """Returns the section of the file that a key is in. A mapping is a section of its own."""
    return key if isinstance(values[key], dict) else key.rpartition(".")[0]


def _setting_of(key: str, values: Mapping[str, Any]) -> str:
    """Returns the setting that a key belongs to: all keys of a mapping are one setting."""
    return next(setting for setting in values if key == setting or key.startswith(f"{setting}."))


def _description(key: str) -> str:
    """Returns the description of a setting."""
    model: type[BaseModel] = Settings
    *groups, name = key.split(".")
    for group in groups:
        model = cast(type[BaseModel], model.model_fields[group].annotation)
    return model.model_fields[name].description or ""


def _placed(key: str, value: Any, folder: Path) -> Any:
    """Returns the value of a setting, with a path below the folder of the file relative to that folder."""
    if key == "source.path":
        return [name_in_settings(word, folder) for word in value]
    return name_in_settings(str(value), folder) if isinstance(value, Path) else value


def _toml(value: Any) -> Any:
    """Converts a value to one that TOML can hold; anything but a list, a number or a boolean becomes text."""
    if isinstance(value, list | tuple):
        return [_toml(entry) for entry in value]
    return value if isinstance(value, bool | int | float) else str(value)
