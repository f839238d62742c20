"""Reads values that come only from environment variables.

These are secrets, which must not be settings because settings are shown and stored, and DAGSTER_HOME.
"""

import os

from pydantic import SecretStr

from seg_pipeline.errors import UsageError
from seg_pipeline.settings.model import OutputSettings

OUTPUT_HASH_KEY_VARIABLE = "SEG_PIPELINE_OUTPUT_HASH_KEY"
ERASURE_KEY_VARIABLE = "SEG_PIPELINE_ERASURE_KEY"
SOURCE_DATABASE_VARIABLE = "SEG_PIPELINE_SOURCE_DATABASE"
# A shorter key could be found by trying keys on one known customer id and its hash.
MIN_HASH_KEY_CHARS = 16


def dagster_home() -> str | None:
    """Returns the folder in which Dagster keeps its history, from DAGSTER_HOME; None if it is not set."""
    return os.environ.get("DAGSTER_HOME")


def output_hash_key(output: OutputSettings) -> SecretStr | None:
    """Returns the key that published customer ids are hashed with.

    Args:
        output: The settings that say whether the ids are hashed.

    Returns:
        The key; None if the ids are published as they are.

    Raises:
        UsageError: Ids are to be hashed, and the environment has no key or one that is too short.
    """
    if output.customer_ids == "plain":
        return None
    key = os.environ.get(OUTPUT_HASH_KEY_VARIABLE, "")
    if len(key) < MIN_HASH_KEY_CHARS:
        reason = f"has {len(key)}" if key else "is not set"
        raise UsageError(
            f"output.customer_ids=hashed needs a key of at least {MIN_HASH_KEY_CHARS} characters in the environment"
            f" variable {OUTPUT_HASH_KEY_VARIABLE}, which {reason}"
        )
    return SecretStr(key)


def erasure_key() -> SecretStr | None:
    """Returns the key that the ids of erased customers are hashed with; None if the environment has none.

    Raises:
        UsageError: The key is too short.
    """
    key = os.environ.get(ERASURE_KEY_VARIABLE, "").strip()
    if key and len(key) < MIN_HASH_KEY_CHARS:
        raise UsageError(f"{ERASURE_KEY_VARIABLE} needs at least {MIN_HASH_KEY_CHARS} characters; it has {len(key)}")
    return SecretStr(key) if key else None


def source_database() -> SecretStr:
    """Returns the address of the server of source.table; libpq's own variables complete it."""
    return SecretStr(os.environ.get(SOURCE_DATABASE_VARIABLE, "").strip() or "postgresql://")
