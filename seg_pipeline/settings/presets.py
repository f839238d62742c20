"""Preset files: the names that an export gives its columns, and the settings that go with them."""

import tomllib
from pathlib import Path
from typing import Any

from seg_pipeline.errors import UsageError, did_you_mean

PRESETS = Path(__file__).parents[1] / "raw" / "presets"


def preset_names() -> list[str]:
    """The presets that come with the package."""
    return sorted(path.stem for path in PRESETS.glob("*.toml"))


def read_preset(name: str) -> dict[str, Any]:
    """The preset of that name, or at that path, as its file says it.

    Raises:
        UsageError: no such preset, or its file is not TOML.
    """
    path = PRESETS / f"{name}.toml" if name in preset_names() else Path(name)
    if not path.is_file():
        raise UsageError(
            f"source.preset: no preset {name!r}: neither a file nor one of {', '.join(preset_names())}"
            + did_you_mean(Path(name).name, preset_names())
        )
    return read_toml(path)


def read_toml(path: Path) -> dict[str, Any]:
    """What a TOML file says; raises UsageError, with its path, where it cannot be read."""
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise UsageError(f"{path}: {error.strerror}") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise UsageError(f"{path}: not a TOML file: {error}") from None
