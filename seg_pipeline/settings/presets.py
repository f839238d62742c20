"""Reads preset files: the column names of an export and the settings that suit it."""

import tomllib
from pathlib import Path
from typing import Any

from seg_pipeline.errors import UsageError, did_you_mean

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
    """
    path = PRESETS / f"{name}.toml" if name in preset_names() else Path(name)
    if not path.is_file():
        raise UsageError(
            f"source.preset: no preset {name!r}: neither a file nor one of {', '.join(preset_names())}"
            + did_you_mean(Path(name).name, preset_names())
        )
    return read_toml(path)


def read_toml(path: Path) -> dict[str, Any]:
    """Returns the content of a TOML file.

    Raises:
        UsageError: The file cannot be read; the message has its path.
    """
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise UsageError(f"{path}: {error.strerror}") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise UsageError(f"{path}: not a TOML file: {error}") from None
