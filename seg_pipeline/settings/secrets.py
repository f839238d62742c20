"""What only the environment holds: secrets, since settings are shown and stored, and where Dagster's home is."""

import os

from pydantic import SecretStr

from seg_pipeline.errors import UsageError
from seg_pipeline.settings.model import OutputSettings

OUTPUT_HASH_KEY = "SEG_PIPELINE_OUTPUT_HASH_KEY"
SOURCE_DATABASE = "SEG_PIPELINE_SOURCE_DATABASE"
# Shorter keys can be found by trying them on a customer id that is known.
SHORTEST_HASH_KEY = 16


def dagster_home() -> str | None:
    """Where Dagster keeps its history, as its own variable says."""
    return os.environ.get("DAGSTER_HOME")


def output_hash_key(output: OutputSettings) -> str | None:
    """The key that published customer ids are hashed with; None where they stay plain.

    Raises:
        UsageError: they are to be hashed, and the environment has no key or one that is too short.
    """
    if output.customer_ids == "plain":
        return None
    key = os.environ.get(OUTPUT_HASH_KEY, "")
    if len(key) < SHORTEST_HASH_KEY:
        raise UsageError(
            f"output.customer_ids=hashed needs a key of {SHORTEST_HASH_KEY} characters or more in the environment"
            f" variable {OUTPUT_HASH_KEY}, which {f'has {len(key)}' if key else 'is not set'}"
        )
    return key


def source_database() -> SecretStr:
    """The address of the server of source.table; what it leaves out, libpq takes from its own variables."""
    return SecretStr(os.environ.get(SOURCE_DATABASE, "").strip() or "postgresql://")
