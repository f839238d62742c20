"""Loads the settings of a run from defaults, preset, settings file, environment and overrides."""

import json
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from seg_pipeline.errors import UsageError, did_you_mean
from seg_pipeline.settings.environment import ERASURE_KEY_VARIABLE, OUTPUT_HASH_KEY_VARIABLE, SOURCE_DATABASE_VARIABLE
from seg_pipeline.settings.model import Settings, SourceSettings, keys, split_words
from seg_pipeline.settings.presets import preset_names, read_preset, read_toml

ENVIRONMENT_PREFIX = "SEG_PIPELINE_"
CONFIG = ENVIRONMENT_PREFIX + "CONFIG"


def load_settings(
    overrides: Iterable[str] = (),
    *,
    config: Path | None = None,
    environment: Mapping[str, str] | None = None,
) -> Settings:
    """Loads the settings of a run: defaults, preset, settings file, environment, overrides; later beats earlier.

    Args:
        overrides: `KEY=VALUE` strings; the last one for a key wins.
        config: The settings file; if None, the file that `SEG_PIPELINE_CONFIG` names in the environment, if it does.
        environment: The environment; if None, that of the process.

    Raises:
        UsageError: A key is unknown (the message names the nearest one), a value is not allowed, or a file cannot be
            read.
    """
    environment = os.environ if environment is None else environment
    if config is None and (path := environment.get(CONFIG)):
        config = Path(path)
    explicit: dict[str, Any] = {}
    if config is not None:
        _merge(explicit, _from_file(config))
    changes = _from_overrides(overrides)
    _refuse_webhook(explicit)
    _refuse_webhook(changes)
    _merge(explicit, _from_environment(environment))
    _merge(explicit, changes)
    return _validated(explicit)


def with_overrides(settings: Settings, overrides: Iterable[str]) -> Settings:
    """Returns the settings with `KEY=VALUE` overrides on top of them.

    No file is read again, except a preset that an override names, and the environment is not read again.

    Args:
        settings: Settings from `load_settings`.
        overrides: As in `load_settings`.

    Raises:
        UsageError: As in `load_settings`.
    """
    changes = _from_overrides(overrides)
    _refuse_webhook(changes)
    if not changes:
        return settings
    explicit: dict[str, Any] = {}
    _merge(explicit, settings._explicit)
    _merge(explicit, changes)
    return _validated(explicit, loaded=settings)


def _validated(explicit: dict[str, Any], loaded: Settings | None = None) -> Settings:
    """Returns the explicit settings on top of those of the preset and the defaults, validated.

    Args:
        explicit: The settings that were set explicitly.
        loaded: Settings that were loaded before, whose preset is not read again if it is the same.
    """
    name = str(_group(explicit, "source").get("preset", SourceSettings.model_fields["preset"].default))
    preset = loaded.source.preset_file if loaded and loaded.source.preset == name else read_preset(name)
    _refuse_webhook(_group(preset, "settings"))
    merged: dict[str, Any] = {}
    _merge(merged, _group(preset, "settings"))
    _merge(merged, explicit)
    try:
        settings = Settings.model_validate(merged)
    except ValidationError as error:
        raise UsageError(_one_line(error)) from None
    except json.JSONDecodeError as error:
        raise UsageError(f"a value starts like JSON but is not valid JSON: {error.doc}") from None
    settings._explicit = explicit
    settings.source._preset_file = preset
    return settings


def _from_file(path: Path) -> dict[str, Any]:
    """Returns the content of a settings file. Paths in it are relative to its own folder."""
    content = read_toml(path)
    base = path.resolve().parent
    for section, key in (("warehouse", "path"), ("output", "path"), ("spark", "warehouse"), ("strategies", "actions")):
        if isinstance(value := _group(content, section).get(key), str):
            content[section][key] = str(base / value)
    source = _group(content, "source")
    if "path" in source:
        entries = split_words(source["path"])
        if isinstance(entries, list):
            # An address, such as s3://bucket, is not relative to any folder.
            entries = [str(entry) if "://" in str(entry) else str(base / str(entry)) for entry in entries]
        source["path"] = entries
    if isinstance(preset := source.get("preset"), str) and preset not in preset_names():
        source["preset"] = str(base / preset)
    return content


def _refuse_webhook(settings: Mapping[str, Any]) -> None:
    """Refuses the webhook's address outside the environment, since files and command lines are shown and stored.

    Raises:
        UsageError: The settings hold it; the message does not.
    """
    if "webhook_url" in _group(settings, "automation"):
        raise UsageError(
            "automation.webhook_url: the address is a secret, which is read only from the environment variable"
            f" {ENVIRONMENT_PREFIX}AUTOMATION_WEBHOOK_URL"
        )


def _group(content: Mapping[str, Any], name: str) -> dict[str, Any]:
    """Returns a group of settings; empty if it is missing or not a group, which the validation reports."""
    value = content.get(name)
    return value if isinstance(value, dict) else {}


def _from_environment(environment: Mapping[str, str]) -> dict[str, Any]:
    """Returns the settings in the environment, nested by section.

    Raises:
        UsageError: A variable has the prefix of settings and names none.
    """
    names = {ENVIRONMENT_PREFIX + key.replace(".", "_").upper(): key for key in keys()}
    nested: dict[str, Any] = {}
    for name, value in sorted(environment.items()):
        if not name.startswith(ENVIRONMENT_PREFIX) or name in (
            CONFIG,
            ERASURE_KEY_VARIABLE,
            OUTPUT_HASH_KEY_VARIABLE,
            SOURCE_DATABASE_VARIABLE,
        ):
            continue
        if name not in names:
            raise UsageError(f"environment variable {name}: no such setting{did_you_mean(name, names)}")
        _merge(nested, _nested(names[name], value))
    return nested


def _from_overrides(overrides: Iterable[str]) -> dict[str, Any]:
    """Returns the settings in `KEY=VALUE` strings, nested by section.

    Raises:
        UsageError: A string is not of this form.
    """
    nested: dict[str, Any] = {}
    for override in overrides:
        key, equals, value = override.partition("=")
        if not equals or not key.strip():
            raise UsageError(f"--set {override}: expected KEY=VALUE")
        _merge(nested, _nested(key.strip(), value.strip()))
    return nested


def _nested(key: str, value: object) -> dict[str, Any]:
    """Returns a value nested by the parts of its key: {"a": {"b": 1}} for `a.b` and 1."""
    for part in reversed(key.split(".")):
        value = {part: value}
    return value  # type: ignore[return-value]  # a key has at least one part, so this is a dict


def _merge(base: dict[str, Any], changes: Mapping[str, Any]) -> None:
    """Merges changes into `base`, in place.

    If `base` has one word for all entries of a mapping, and the changes have single entries, the word is their default.
    """
    for key, value in changes.items():
        if isinstance(value, Mapping):
            entry = base.get(key)
            base[key] = dict(entry) if isinstance(entry, Mapping) else {} if entry is None else {"default": entry}
            _merge(base[key], value)
        else:
            base[key] = value


def _one_line(error: ValidationError) -> str:
    """Returns the first error of a validation, with the key as a person writes it."""
    first = error.errors()[0]
    key = ".".join(str(part) for part in first["loc"])
    if first["type"] == "extra_forbidden":
        value = first["input"]
        while isinstance(value, Mapping) and value:
            inner = next(iter(value))
            key, value = f"{key}.{inner}", value[inner]
        return f"{key}: no such setting{did_you_mean(key, keys())}"
    if first["type"] == "model_type":
        return f"{key}: is a group of settings, such as {next(name for name in keys() if name.startswith(f'{key}.'))}"
    message = first["msg"].removeprefix("Value error, ")
    got = "" if first["type"] == "value_error" or key == "automation.webhook_url" else f" (got {first['input']!r})"
    return f"{key}: {message}{got}" if key else message
