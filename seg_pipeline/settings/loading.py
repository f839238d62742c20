"""From defaults, preset, settings file, environment and overrides to the settings of a run."""

import json
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from seg_pipeline.errors import UsageError, did_you_mean
from seg_pipeline.settings.model import Settings, SourceSettings, keys, split_words
from seg_pipeline.settings.presets import preset_names, read_preset, read_toml
from seg_pipeline.settings.secrets import OUTPUT_HASH_KEY, SOURCE_DATABASE

ENVIRONMENT_PREFIX = "SEG_PIPELINE_"
CONFIG = ENVIRONMENT_PREFIX + "CONFIG"


def load_settings(
    overrides: Iterable[str] = (),
    *,
    config: Path | None = None,
    environment: Mapping[str, str] | None = None,
) -> Settings:
    """The settings of a run: defaults, preset, settings file, environment, overrides.

    Args:
        overrides: `KEY=VALUE` strings, the last one wins.
        config: The settings file; `SEG_PIPELINE_CONFIG` of the environment where None.
        environment: Defaults to the process's own.

    Raises:
        UsageError: an unknown key (the nearest one is named), a value that does not fit, a file that cannot be read.
    """
    environment = os.environ if environment is None else environment
    if config is None and (named := environment.get(CONFIG)):
        config = Path(named)
    given: dict[str, Any] = {}
    if config is not None:
        _merge(given, _from_file(config))
    _merge(given, _from_environment(environment))
    _merge(given, _from_overrides(overrides))
    return _validated(given)


def with_overrides(settings: Settings, overrides: Iterable[str]) -> Settings:
    """Returns the settings with `KEY=VALUE` overrides laid on top.

    Args:
        settings: What `load_settings` returned; no file and no environment is read again, but a preset that an override
            names.
        overrides: As in `load_settings`.

    Raises:
        UsageError: As in `load_settings`.
    """
    more = _from_overrides(overrides)
    if not more:
        return settings
    explicit: dict[str, Any] = {}
    _merge(explicit, settings._explicit)
    _merge(explicit, more)
    return _validated(explicit, known=settings)


def _validated(explicit: dict[str, Any], known: Settings | None = None) -> Settings:
    """The settings that were set explicitly, over those of the preset and the defaults.

    Args:
        explicit: What was set explicitly.
        known: Settings whose preset need not be read again if it is the same.
    """
    name = str(_group(explicit, "source").get("preset", SourceSettings.model_fields["preset"].default))
    preset = known.source.preset_file if known and known.source.preset == name else read_preset(name)
    merged: dict[str, Any] = {}
    _merge(merged, _group(preset, "settings"))
    _merge(merged, explicit)
    try:
        settings = Settings.model_validate(merged)
    except ValidationError as error:
        raise UsageError(_one_line(error)) from None
    except json.JSONDecodeError as error:
        raise UsageError(f"a value that starts like JSON is not JSON: {error.doc}") from None
    settings._explicit = explicit
    settings.source._preset_file = preset
    return settings


def _from_file(path: Path) -> dict[str, Any]:
    """The settings file; the paths in it are relative to its own folder."""
    found = read_toml(path)
    base = path.resolve().parent
    for section in ("warehouse", "output"):
        if isinstance(value := _group(found, section).get("path"), str):
            found[section]["path"] = str(base / value)
    if isinstance(tables := _group(found, "spark").get("warehouse"), str):
        found["spark"]["warehouse"] = str(base / tables)
    if isinstance(actions := _group(found, "strategies").get("actions"), str):
        found["strategies"]["actions"] = str(base / actions)
    source = _group(found, "source")
    if "path" in source:
        entries = split_words(source["path"])
        if isinstance(entries, list):
            # An address, such as s3://bucket, lies nowhere near.
            entries = [str(entry) if "://" in str(entry) else str(base / str(entry)) for entry in entries]
        source["path"] = entries
    if isinstance(preset := source.get("preset"), str) and preset not in preset_names():
        source["preset"] = str(base / preset)
    return found


def _group(given: Mapping[str, Any], name: str) -> dict[str, Any]:
    """A group of settings; empty where it is none, which the validation then says."""
    value = given.get(name)
    return value if isinstance(value, dict) else {}


def _from_environment(environment: Mapping[str, str]) -> dict[str, Any]:
    names = {ENVIRONMENT_PREFIX + key.replace(".", "_").upper(): key for key in keys()}
    found: dict[str, Any] = {}
    for name, value in sorted(environment.items()):
        if not name.startswith(ENVIRONMENT_PREFIX) or name in (CONFIG, OUTPUT_HASH_KEY, SOURCE_DATABASE):
            continue
        if name not in names:
            raise UsageError(f"environment variable {name}: no such setting{did_you_mean(name, names)}")
        _merge(found, _nested(names[name], value))
    return found


def _from_overrides(overrides: Iterable[str]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for override in overrides:
        key, equals, value = override.partition("=")
        if not equals or not key.strip():
            raise UsageError(f"--set {override}: expected KEY=VALUE")
        _merge(found, _nested(key.strip(), value.strip()))
    return found


def _nested(key: str, value: object) -> dict[str, Any]:
    """`a.b`, 1 -> {"a": {"b": 1}}."""
    for part in reversed(key.split(".")):
        value = {part: value}
    return value  # type: ignore[return-value]  # a key has at least one part, so this is a dict


def _merge(base: dict[str, Any], over: Mapping[str, Any]) -> None:
    """Lays `over` on `base` in place. One word for all entries stays the default of entries given one by one."""
    for key, value in over.items():
        if isinstance(value, Mapping):
            below = base.get(key)
            base[key] = dict(below) if isinstance(below, Mapping) else {} if below is None else {"default": below}
            _merge(base[key], value)
        else:
            base[key] = value


def _one_line(error: ValidationError) -> str:
    """The first fault, by the key as a person writes it, the nearest key where it is unknown."""
    first = error.errors()[0]
    key = ".".join(str(part) for part in first["loc"])
    if first["type"] == "extra_forbidden":
        given = first["input"]
        while isinstance(given, Mapping) and given:
            inner = next(iter(given))
            key, given = f"{key}.{inner}", given[inner]
        return f"{key}: no such setting{did_you_mean(key, keys())}"
    if first["type"] == "model_type":
        return f"{key}: is a group of settings, such as {next(name for name in keys() if name.startswith(f'{key}.'))}"
    message = first["msg"].removeprefix("Value error, ")
    got = "" if first["type"] == "value_error" else f" (got {first['input']!r})"
    return f"{key}: {message}{got}" if key else message
