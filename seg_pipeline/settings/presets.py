"""Reads preset files: the column names of an export and the settings that suit it."""

import tomllib
from pathlib import Path
from typing import Any

from seg_pipeline.errors import MachineError, UsageError, did_you_mean

PRESETS = Path(__file__).parents[1] / "raw" / "presets"


def preset_names() -> list[str]:
    """Returns the names of the presets that come with the package."""
    return sorted(path.stem for path in PRESETS.glob("*.toml"))


def read_preset(name: str) -> dict[str, Any]:
    """Returns the content of a preset's file.

    Args:
        name: The name of a preset of the package, or the path of a preset file.

    Raises:
        UsageError: There is no such preset, or its file is not TOML.
        MachineError: The file may not be read.
    """
    path = PRESETS / f"{name}.toml" if name in preset_names() else Path(name)
    try:
        exists = path.is_file()
    except OSError as error:
        raise MachineError(f"{path}: {error.strerror}") from None
    if not exists:
        raise UsageError(
            f"source.preset: no preset {name!r}: neither a file nor one of {', '.join(preset_names())}"
            + did_you_mean(Path(name).name, preset_names())
        )
    return read_toml(path)


def read_toml(path: Path) -> dict[str, Any]:
    """Returns the content of a TOML file.

    Raises:
        UsageError: There is no such file, or it is not TOML; the message has its path.
        MachineError: The file may not be read.
    """
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except PermissionError as error:
        raise MachineError(f"{path}: {error.strerror}") from None
    except OSError as error:
        raise UsageError(f"{path}: {error.strerror}") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise UsageError(f"{path}: not a TOML file: {error}") from None
