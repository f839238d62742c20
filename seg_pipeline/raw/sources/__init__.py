"""Where order lines come from, whatever kind of source it is: what there is, its header, what is new, and its lines.

source.py has the protocol that every kind keeps, registry.py the list of kinds; text.py, parquet.py and postgresql.py
are one kind each, and places.py and object_storage.py say where files lie. Other modules import from here alone.
"""

import hashlib
import json
from collections.abc import Collection, Iterable
from pathlib import Path

from seg_pipeline.errors import SegPipelineError, UsageError
from seg_pipeline.raw.columns import ORDER_COLUMNS, ColumnNames, column_names, refuse_types
from seg_pipeline.raw.sources import registry
from seg_pipeline.raw.sources.finding import files_there, find_files, is_named
from seg_pipeline.raw.sources.places import place_of
from seg_pipeline.raw.sources.source import Delivery, Fingerprint, Found, Pulled, Shape, SourceKind
from seg_pipeline.settings import SourceSettings

__all__ = [
    "Delivery",
    "Fingerprint",
    "Found",
    "Pulled",
    "columns_of",
    "content_hash",
    "continuation",
    "deliveries",
    "digest_of_files",
    "digest_of_settings",
    "files_of",
    "find_files",
    "fingerprint",
    "header_of",
    "is_named",
    "needs_library",
    "relative_to",
    "tables_of",
]


def columns_of(source: SourceSettings) -> ColumnNames:
    """Returns the names that columns may have in the source: those of its preset, and those that the settings give.

    Raises:
        UsageError: There is no such preset, or it or the settings name a column that raw_orders does not have.
    """
    return column_names(source.preset, source.preset_file, source.columns)


def digest_of_settings(source: SourceSettings) -> str:
    """Returns a digest of the settings that say how a source becomes lines."""
    says: list[object] = [columns_of(source).names, source.columns, source.delimiter, source.encoding, ORDER_COLUMNS]
    says += [source.table, source.cursor] if source.table else []
    return hashlib.sha256(json.dumps(says, sort_keys=True).encode()).hexdigest()


def tables_of(source: SourceSettings) -> list[str]:
    """Returns the names of the tables that the settings name: sources that grow, and continue where a load ended."""
    # A table belongs to the first kind that knows it.
    return next((tables for kind in registry.KINDS if (tables := kind.tables(source))), [])


def files_of(source: SourceSettings, known: Collection[str]) -> list[str]:
    """Returns the names of the files of a source; there may be none beside a table, or in a folder that was emptied.

    Args:
        source: Its paths.
        known: Names of files that were there once.

    Raises:
        UsageError: Nothing is given or there, or nothing of a kind that can be read.
        MachineError: A place of files cannot be reached.
    """
    return [] if not source.path and tables_of(source) else files_there(source.path, known)


def fingerprint(name: str) -> Fingerprint:
    """Returns what tells cheaply whether a file may have changed."""
    found = _kind_of(name).fingerprint(name)
    assert found is not None  # only a table has none
    return found


def content_hash(name: str) -> str | None:
    """Returns a digest by which the content of a file is recognised; None if it cannot be read."""
    return _kind_of(name).content_hash(name)


def digest_of_files(source: SourceSettings) -> str:
    """Returns a digest of the names and fingerprints of the source's files.

    Raises:
        UsageError: There are none.
    """
    digest = hashlib.sha256()
    for name in find_files(source.path):
        file = fingerprint(name)
        digest.update(f"{name}\0{file.bytes}\0{file.modified_ns}\0".encode())
    return digest.hexdigest()


def header_of(name: str, source: SourceSettings) -> tuple[str, ...]:
    """Returns the columns of a file or table, in their order.

    Raises:
        SegPipelineError: It cannot be read as the settings say.
    """
    return _kind_of(name).shape(name, source).header


def deliveries(names: Iterable[str], source: SourceSettings) -> Found:
    """Returns files as deliveries, those of one shape together.

    Raises:
        UsageError: There is no such preset.
    """
    columns_named = columns_of(source)
    shapes: dict[tuple[SourceKind, Shape], list[str]] = {}
    refused: dict[str, SegPipelineError] = {}
    for name in names:
        kind = _kind_of(name)
        try:
            shapes.setdefault((kind, kind.shape(name, source)), []).append(name)
        except SegPipelineError as error:
            refused[name] = error
    found = []
    for (kind, shape), alike in shapes.items():
        try:
            columns = columns_named.find_in(shape.header, alike[0])
            refuse_types(shape.header, shape.types, columns, alike[0])
        except SegPipelineError as error:
            refused |= {name: type(error)(str(error).replace(alike[0], name)) for name in alike}
        else:
            found.append(Delivery(kind, tuple(alike), shape, columns))
    return Found(found, refused)


def continuation(table: str, name: str, after: str | None, source: SourceSettings) -> Delivery:
    """Returns what a table got since the load before as a delivery.

    Args:
        table: One of `tables_of`.
        name: Of the delivery, as source_file is to have it.
        after: The `last_cursor` of the load before; None if there was none.
        source: Says how the table is read.

    Raises:
        SegPipelineError: The table cannot be read as the settings say.
    """
    kind = _kind_of(table)
    shape = kind.shape(table, source)
    return Delivery(kind, (name,), shape, columns_of(source).find_in(shape.header, table), after)


def needs_library(source: SourceSettings) -> bool:
    """Returns whether a library must be imported to read the source, beside DuckDB."""
    kinds = [registry.kind_of(name) for name in (*tables_of(source), *source.path)]
    return any(kind.library for kind in kinds if kind) or any(place_of(path).library for path in source.path)


def relative_to(path: str, folder: Path) -> str:
    """Returns a word of source.path as a settings file in a folder should have it."""
    return place_of(path).relative_to(path, folder)


def _kind_of(name: str) -> SourceKind:
    kind = registry.kind_of(name)
    if kind is None:
        raise UsageError(f"{name}: no kind of source that can be read")
    return kind
