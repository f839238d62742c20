"""The list of all kinds of sources. Other modules work from this list."""

from seg_pipeline.raw.sources.parquet import Parquet
from seg_pipeline.raw.sources.postgresql import PostgreSQL
from seg_pipeline.raw.sources.source import SourceKind
from seg_pipeline.raw.sources.text import Text

KINDS: tuple[SourceKind, ...] = (
    PostgreSQL(),
    Text(),
    Parquet(),
)


def kind_of(name: str) -> SourceKind | None:
    """Returns the kind of a file or table; None if its name matches no kind."""
    return next((kind for kind in KINDS if kind.matches(name)), None)
