"""What only the environment has: secrets, because settings are shown and stored, and the path of Dagster's home."""

import os

from pydantic import SecretStr

from seg_pipeline.errors import UsageError
from seg_pipeline.settings.model import OutputSettings

OUTPUT_HASH_KEY = "SEG_PIPELINE_OUTPUT_HASH_KEY"
SOURCE_DATABASE = "SEG_PIPELINE_SOURCE_DATABASE"
# Shorter keys could be found by trying them on the id of a known customer.
SHORTEST_HASH_KEY = 16


def dagster_home() -> str | None:
    """Returns the folder in which Dagster keeps its history, from Dagster's own variable; None if it is not set."""
    return os.environ.get("DAGSTER_HOME")


def output_hash_key(output: OutputSettings) -> str | None:
    """Returns the key that published customer ids are hashed with; None if they are published as they are.

    Raises:
        UsageError: Ids are to be hashed, and the environment has no key or one that is too short.
    """
    if output.customer_ids == "plain":
        return None
    key = os.environ.get(OUTPUT_HASH_KEY, "")
    if len(key) < SHORTEST_HASH_KEY:
        raise UsageError(
            f"output.customer_ids=hashed needs a key of at least {SHORTEST_HASH_KEY} characters in the environment"
            f" variable {OUTPUT_HASH_KEY}, which {f'has {len(key)}' if key else 'is not set'}"
        )
    return key


def source_database() -> SecretStr:
    """Returns the address of the server of source.table; libpq's own variables complete it."""
    return SecretStr(os.environ.get(SOURCE_DATABASE, "").strip() or "postgresql://")
