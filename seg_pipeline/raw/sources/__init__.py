"""Sources of order lines of any kind: which files and tables there are, their columns, what is new, and their lines.

source.py has the protocol that each kind of source follows, and registry.py the list of kinds. text.py, parquet.py and
postgresql.py are one kind each; places.py and object_storage.py are the stores of files. Other modules import
only from here.
"""

import hashlib
import json
from collections.abc import Collection, Iterable
from contextlib import suppress
from pathlib import Path

from seg_pipeline.errors import DataError, SegPipelineError, UsageError
from seg_pipeline.raw.columns import ORDER_COLUMNS, ColumnNames, column_names, refuse_types
from seg_pipeline.raw.sources import registry
from seg_pipeline.raw.sources.finding import files_there, find_files, is_named
from seg_pipeline.raw.sources.places import place_of, readable_name, refuse_name
from seg_pipeline.raw.sources.source import Delivery, Discovery, Fingerprint, Pull, Shape, SourceKind
from seg_pipeline.settings import SourceSettings

__all__ = [
    "Delivery",
    "Discovery",
    "Fingerprint",
    "Pull",
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
    "name_in_settings",
    "needs_extra",
    "readable_name",
    "tables_of",
]


def columns_of(source: SourceSettings) -> ColumnNames:
    """Returns the names that columns may have in the source, from its preset and from the settings.

    Raises:
        UsageError: There is no such preset, or it or the settings name a column that raw_orders does not have.
    """
    return column_names(source.preset, source.preset_file, source.columns)


def digest_of_settings(source: SourceSettings) -> str:
    """Returns a digest of the settings that determine how a source is read."""
    values: list[object] = [columns_of(source).names, source.columns, source.delimiter, source.encoding, ORDER_COLUMNS]
    values += [source.table, source.cursor] if source.table else []
    return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()


def tables_of(source: SourceSettings) -> list[str]:
    """Returns the names of the tables in the settings; a table grows, and each load continues where the last ended."""
    # A table belongs to the first kind that recognises it.
    return next((tables for kind in registry.KINDS if (tables := kind.tables(source))), [])


def files_of(source: SourceSettings, known: Collection[str]) -> list[str]:
    """Returns the names of a source's files: none if it only has a table, or if its folder was emptied.

    Args:
        source: The settings of the source.
        known: The names of files that existed before.

    Raises:
        UsageError: No path is given, nothing exists there, or no file is of a kind that can be read.
        MachineError: The place of the files cannot be reached.
    """
    return [] if not source.path and tables_of(source) else files_there(source.path, known)


def fingerprint(name: str) -> Fingerprint:
    """Returns the fingerprint of a file; if it is the same as before, the file has not changed.

    Raises:
        DataError: The file cannot be opened, or its name is no text.
    """
    refuse_name(name)
    try:
        file_fingerprint = _kind_of(name).fingerprint(name)
    except OSError as error:
        raise DataError(f"{name}: cannot be read: {error.strerror}") from None
    assert file_fingerprint is not None  # only a table has none
    return file_fingerprint


def content_hash(name: str) -> str | None:
    """Returns a digest of the content of a file; None if it cannot be read."""
    return _kind_of(name).content_hash(name)


def digest_of_files(source: SourceSettings) -> str:
    """Returns a digest of the names and fingerprints of the source's files.

    Raises:
        UsageError: There are none.
        MachineError: A folder may not be read.
    """
    digest = hashlib.sha256()
    for name in find_files(source.path):
        digest.update(f"{readable_name(name)}\0".encode())
        # A file that cannot be opened does not keep the others from being loaded.
        with suppress(DataError):
            file = fingerprint(name)
            digest.update(f"{file.bytes}\0{file.modified_ns}\0".encode())
    return digest.hexdigest()


def header_of(name: str, source: SourceSettings) -> tuple[str, ...]:
    """Returns the columns of a file or table, in their order.

    Raises:
        SegPipelineError: It cannot be read with these settings.
    """
    return _kind_of(name).shape(name, source).header


def deliveries(names: Iterable[str], source: SourceSettings) -> Discovery:
    """Groups files into deliveries, one per shape. Errors are by the readable names of the files.

    Raises:
        UsageError: There is no such preset.
    """
    names_of_columns = columns_of(source)
    shapes: dict[tuple[SourceKind, Shape], list[str]] = {}
    refused: dict[str, SegPipelineError] = {}
    for name in names:
        try:
            refuse_name(name)
            kind = _kind_of(name)
            shapes.setdefault((kind, kind.shape(name, source)), []).append(name)
        except SegPipelineError as error:
            refused[readable_name(name)] = error
    grouped = []
    for (kind, shape), files in shapes.items():
        try:
            columns = names_of_columns.find_in(shape.header, files[0])
            refuse_types(shape.header, shape.types, columns, files[0])
        except SegPipelineError as error:
            refused |= {file: type(error)(str(error).replace(files[0], file)) for file in files}
        else:
            grouped.append(Delivery(kind, tuple(files), shape, columns))
    return Discovery(grouped, refused)


def continuation(table: str, name: str, after: str | None, source: SourceSettings) -> Delivery:
    """Returns the rows that a table received since the last load, as a delivery.

    Args:
        table: One of `tables_of`.
        name: The name of the delivery, which becomes its source_file.
        after: The `last_cursor` of the last load; None if there was none.
        source: The settings of the source.

    Raises:
        SegPipelineError: The table cannot be read with these settings.
    """
    kind = _kind_of(table)
    shape = kind.shape(table, source)
    return Delivery(kind, (name,), shape, columns_of(source).find_in(shape.header, table), after)


def needs_extra(source: SourceSettings) -> bool:
    """Returns whether reading the source needs an extra of this package."""
    kinds = [registry.kind_of(name) for name in (*tables_of(source), *source.path)]
    return any(kind.extra for kind in kinds if kind) or any(place_of(path).extra for path in source.path)


def name_in_settings(path: str, folder: Path) -> str:
    """Returns a path, folder or glob of source.path as a settings file in a folder should write it."""
    return place_of(path).name_in_settings(path, folder)


def _kind_of(name: str) -> SourceKind:
    kind = registry.kind_of(name)
    if kind is None:
        raise UsageError(f"{name}: not a kind of source that can be read")
    return kind
