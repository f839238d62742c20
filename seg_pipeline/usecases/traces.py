"""Searches the warehouse and the published files for customer ids that should be nowhere.

A value counts if it is an id, but for blanks around it. In longer texts, and in columns of order lines that hold
something else, a plain number or a word may equal an id by chance; there only ids count that are neither, such as
addresses, and that stand as a word.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import duckdb

from seg_pipeline.errors import MachineError
from seg_pipeline.publishing.exports import DATABASE, opened
from seg_pipeline.publishing.sets import SETS
from seg_pipeline.raw.columns import CUSTOMER_ID
from seg_pipeline.settings import Settings, output_hash_key
from seg_pipeline.warehouse import Warehouse, hmac_blocks, hmac_sha256, literal, quoted, scratch

# Columns of order lines that hold something else. Only an id that no word or number equals by chance counts there.
OTHER_VALUES = {
    *("order_id", "product_id", "ordered_at", "quantity", "unit_price", "amount"),
    *("country", "description", "currency", "shop"),
}
FEWEST_CHARACTERS = 6
# A shorter one that stands alone on a page may be a figure; longer figures have separators.
FEWEST_DIGITS = 4


def traces(settings: Settings, warehouse: Warehouse, customers: Sequence[str]) -> list[str]:
    """Returns where an id stands: columns of the warehouse, and published files with their columns.

    Args:
        settings: The settings, which say what is published where.
        warehouse: The warehouse.
        customers: The customer ids, as in clean_orders.

    Raises:
        MachineError: The warehouse or a file cannot be read.
    """
    with warehouse.get_connection() as connection:
        found = [f"{warehouse.database}: {place}" for place in _in_tables(connection.duckdb, customers)]
    published = [*customers, *_published_ids(settings, customers)]
    try:
        files = sorted(file for file in (settings.output.path / SETS).rglob("*") if file.is_file())
        return found + [place for file in files for place in _in_file(file, published)]
    except (OSError, duckdb.Error) as error:
        reason = str(error).splitlines()[0]
        raise MachineError(f"{settings.output.path}: cannot be searched for erased customers: {reason}") from error


def _published_ids(settings: Settings, customers: Sequence[str]) -> list[str]:
    """Returns the hashes that stand for the ids in published files; none if the ids are published as they are."""
    key = output_hash_key(settings.output)
    if key is None:
        return []
    with scratch() as connection:
        hashes = connection.execute(
            f"SELECT {hmac_sha256('id')} FROM (SELECT unnest($ids::VARCHAR[]) AS id)",
            {"ids": list(customers), **hmac_blocks(key.get_secret_value())},
        ).fetchall()
    return [hashed for (hashed,) in hashes]


def _in_file(file: Path, ids: Sequence[str]) -> Iterator[str]:
    """Yields the places of a published file where an id stands."""
    path = literal(str(file))
    if file.name == DATABASE:
        with opened(file) as (connection, database):
            yield from [f"{file}: {place}" for place in _in_tables(connection, ids, database)]
    elif file.suffix == ".parquet":
        with scratch() as connection:
            yield from (f"{file}: {column}" for column in _in_relation(connection, f"read_parquet({path})", ids))
    elif file.suffix == ".csv" and (twin := file.with_suffix(".parquet")).exists():
        # In CSV a figure looks like an id; the Parquet file of the same table knows which columns are text.
        with scratch() as connection:
            text = _text_columns(connection, f"read_parquet({literal(str(twin))})")
            cells = f"read_csv({path}, all_varchar = true, header = true)"
            yield from (f"{file}: {column}" for column in _in_relation(connection, cells, ids, text))
    elif _stands_in(file, ids):
        yield str(file)


def _in_tables(connection: duckdb.DuckDBPyConnection, ids: Sequence[str], database: str | None = None) -> Iterator[str]:
    """Yields the columns of all tables of a database where an id stands, each as schema.table.column."""
    tables = connection.execute(
        "SELECT DISTINCT database_name, schema_name, table_name FROM duckdb_columns() WHERE NOT internal"
        " AND database_name = coalesce($database, current_database()) ORDER BY ALL",
        {"database": database},
    ).fetchall()
    for names in tables:
        relation = ".".join(map(quoted, names))
        yield from (f"{names[1]}.{names[2]}.{column}" for column in _in_relation(connection, relation, ids))


def _in_relation(
    connection: duckdb.DuckDBPyConnection, relation: str, ids: Sequence[str], columns: Sequence[str] | None = None
) -> list[str]:
    """Returns the columns of a relation where an id stands.

    Args:
        connection: The connection.
        relation: The relation in SQL.
        ids: The ids.
        columns: The columns to search; all that hold text if None.
    """
    named = [id_ for id_ in ids if _is_distinct(id_)]
    parameters: Mapping[str, object] = {
        # A spreadsheet writes 17850 as 17850.0.
        "ids": [spelling for id_ in ids for spelling in (id_, f"{id_}.0")],
        "words": _word(named) if named else None,
        "named": named,
        "blanks": CUSTOMER_ID["blanks"],
    }
    searched = {
        column: f"trim(CAST({quoted(column)} AS VARCHAR), $blanks) IN (SELECT unnest($"
        f"{'named' if column in OTHER_VALUES else 'ids'}::VARCHAR[]))"
        f" OR coalesce(regexp_matches(CAST({quoted(column)} AS VARCHAR), $words), false)"
        for column in (_text_columns(connection, relation) if columns is None else columns)
    }
    if not searched:
        return []
    counts = ", ".join(f"count(*) FILTER (WHERE {condition})" for condition in searched.values())
    query = f"SELECT {counts} FROM {relation}"
    used = {name: value for name, value in parameters.items() if f"${name}" in query}
    [row] = connection.execute(query, used).fetchall()
    return [column for column, count in zip(searched, row, strict=True) if count]


def _text_columns(connection: duckdb.DuckDBPyConnection, relation: str) -> list[str]:
    described = connection.execute(f"DESCRIBE FROM {relation}").fetchall()
    return [name for name, type_, *_ in described if "VARCHAR" in type_ or "JSON" in type_]


def _stands_in(file: Path, ids: Sequence[str]) -> bool:
    """Returns whether an id stands in a page or a manifest: as a word, or if a number, as a whole text or string."""
    text = file.read_text(encoding="utf-8", errors="replace")
    begin, end = ('"', '"') if file.suffix == ".json" else (r">\s*", r"\s*<")
    words = [id_ for id_ in ids if _is_distinct(id_)]
    others = [re.escape(id_) for id_ in ids if not _is_distinct(id_) and len(id_) >= FEWEST_DIGITS]
    return bool(
        (words and re.search(_word(words), text)) or (others and re.search(f"{begin}({'|'.join(others)}){end}", text))
    )


def _is_distinct(id_: str) -> bool:
    """Returns whether an id is unlikely to be a word or a number of something else."""
    return len(id_) >= FEWEST_CHARACTERS and not id_.isdecimal() and not id_.isalpha()


def _word(texts: Sequence[str]) -> str:
    """Returns the regular expression of texts that stand as words."""
    return rf"(^|[^0-9A-Za-z_])({'|'.join(map(re.escape, texts))})($|[^0-9A-Za-z_])"
