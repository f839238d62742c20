"""All settings, validated. Only this package reads the environment.

Later beats earlier: defaults, the preset's settings, the settings file (TOML), the environment, `KEY=VALUE` overrides.
The environment variable of a setting is `SEG_PIPELINE_` and the key in capitals, with underscores for dots:
`models.k_max` is `SEG_PIPELINE_MODELS_K_MAX`. `SEG_PIPELINE_CONFIG` names the settings file. Secrets are not settings:
environment.py reads them when they are needed.
"""

from seg_pipeline.settings.environment import (
    ERASURE_KEY_VARIABLE,
    OUTPUT_HASH_KEY_VARIABLE,
    SOURCE_DATABASE_VARIABLE,
    dagster_home,
    erasure_key,
    output_hash_key,
    source_database,
)
from seg_pipeline.settings.loading import load_settings, with_overrides
from seg_pipeline.settings.model import (
    AutomationSettings,
    DaySettings,
    FeatureSettings,
    ModelSettings,
    OutputSettings,
    Section,
    SelectionSettings,
    Settings,
    SourceSettings,
    StrategySettings,
    TransformName,
    flattened,
    keys,
)
from seg_pipeline.settings.presets import PRESETS, preset_names, read_preset, read_toml

__all__ = [
    "ERASURE_KEY_VARIABLE",
    "OUTPUT_HASH_KEY_VARIABLE",
    "PRESETS",
    "SOURCE_DATABASE_VARIABLE",
    "AutomationSettings",
    "DaySettings",
    "FeatureSettings",
    "ModelSettings",
    "OutputSettings",
    "Section",
    "SelectionSettings",
    "Settings",
    "SourceSettings",
    "StrategySettings",
    "TransformName",
    "dagster_home",
    "erasure_key",
    "flattened",
    "keys",
    "load_settings",
    "output_hash_key",
    "preset_names",
    "read_preset",
    "read_toml",
    "source_database",
    "with_overrides",
]
