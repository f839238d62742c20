"""Loading what is new: compares the source with raw.deliveries, the ledger of what was delivered.

A file is known by its content. A file that was loaded once is not read again, a changed file replaces the lines of its
version before, and a file that cannot be read is set aside with the reason while the others load. A table that grows
continues where its last load ended. Ledger and lines change in one transaction.
"""

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import astuple, dataclass, fields, replace

import duckdb

from seg_pipeline.errors import DataError, SegPipelineError
from seg_pipeline.raw.columns import CUSTOMER_ID, CUSTOMER_TEXT
from seg_pipeline.raw.sources import (
    Delivery,
    Found,
    content_hash,
    continuation,
    deliveries,
    digest_of_settings,
    files_of,
    find_files,
    fingerprint,
    is_named,
    tables_of,
)
from seg_pipeline.raw.tables import DELIVERIES, ERASED_CUSTOMERS, RAW_ORDERS
from seg_pipeline.settings import SourceSettings
from seg_pipeline.warehouse import create, delete, execute, tables_with, transaction

# A line without one of these is still read, but means something else: it is one unit, or an order of its day.
NEVER_DROPPED = ("order_id", "quantity")


@dataclass(frozen=True, slots=True)
class Entry:
    """A row of raw.deliveries; see there."""

    source_file: str
    status: str
    reason: str | None = None
    lines: int = 0
    columns: str | None = None
    unused: str | None = None
    content_hash: str | None = None
    read_with: str | None = None
    seen_hash: str | None = None
    seen_bytes: int | None = None
    seen_modified_ns: int | None = None

    @property
    def is_loaded(self) -> bool:
        return self.status in ("loaded", "kept")


@dataclass(frozen=True, slots=True)
class Ingested:
    """What a load changed: deliveries whose lines are new in raw_orders, and files whose lines are gone from it."""

    loaded: list[str]
    dropped: list[str]


@dataclass(slots=True)
class _Plan:
    """What a load does: entries that stay as they are, files to load, and files whose lines are deleted."""

    stay: dict[str, Entry]
    load: dict[str, Entry]
    drop: set[str]


def ingest(
    connection: duckdb.DuckDBPyConnection, source: SourceSettings, deliveries_days: int | None = None
) -> Ingested:
    """Brings raw_orders and deliveries up to date with the source.

    Args:
        connection: Of the warehouse.
        source: Says where the orders are and how they are read.
        deliveries_days: A delivery expires when its last order is more than so many days older than the newest of all;
            None for never.

    Raises:
        UsageError: There is no such path, preset or table, or no file to read.
        DataError: No file at all can be read, or a table cannot.
        MachineError: A source cannot be reached.
    """
    for table in (RAW_ORDERS, DELIVERIES, ERASED_CUSTOMERS):
        create(connection, table, or_replace=False)
    ledger = {entry.source_file: entry for entry in read_ledger(connection)}
    plan = _plan(ledger, source)
    for name in _expired(connection, deliveries_days) & plan.stay.keys():
        plan.stay[name] = replace(plan.stay[name], status="expired", lines=0)
        plan.drop.add(name)
    found = deliveries(plan.load, source)
    refused = dict(found.refused)
    wanted = _without_lost_columns(found.deliveries, plan.stay.values(), refused)
    while True:
        loading = [file for delivery in wanted for file in delivery.files]
        rejected = {file for file in refused if not _stays(ledger.get(file), plan.load[file])}
        if rejected == plan.load.keys() and rejected and not any(entry.is_loaded for entry in plan.stay.values()):
            raise refused[min(refused)]
        current: Delivery | None = None
        try:
            with transaction(connection):
                # The lines of a file that is replaced go; if its new version cannot be read, they stay.
                gone = plan.drop | (ledger.keys() & (rejected | set(loading)))
                if any(entry.is_loaded for name, entry in ledger.items() if name not in gone):
                    _forget(connection, gone)
                else:
                    create(connection, RAW_ORDERS)
                for current in wanted:
                    current.load(connection, RAW_ORDERS.name)
                current = None
                pulled = [name for table in tables_of(source) for name in _continue(connection, plan, source, table)]
                _forget_erased(connection, [*loading, *pulled])
                _write_ledger(connection, _entries(connection, plan, ledger, wanted, refused))
            return Ingested([*loading, *pulled], sorted(gone - set(loading)))
        except DataError:
            if current is None or not (unreadable := _unreadable(connection, current)):
                raise
            refused |= unreadable
            wanted = [rest for delivery in wanted if (rest := _without(delivery, refused)).files]


def sample(connection: duckdb.DuckDBPyConnection, source: SourceSettings, lines: int) -> Found:
    """Loads only the first lines of each shape of file, into new tables, and returns what there is to load.

    Raises:
        UsageError: There is no such path or preset, or no file to read.
        DataError: No file at all can be read.
    """
    for table in (RAW_ORDERS, DELIVERIES):
        create(connection, table)
    found = deliveries(find_files(source.path), source)
    if not found.deliveries:
        raise found.refused[min(found.refused)]
    for delivery in found.deliveries:
        delivery.load(connection, RAW_ORDERS.name, limit=lines)
    entries = [_loaded(Entry(file, "loaded"), of) for of in found.deliveries for file in of.files]
    _write_ledger(connection, entries)
    return found


def read_ledger(connection: duckdb.DuckDBPyConnection) -> list[Entry]:
    """Returns the rows of raw.deliveries."""
    names = ", ".join(f'"{field.name}"' for field in fields(Entry))
    return [
        Entry(*row)
        for row in connection.execute(f"SELECT {names} FROM {DELIVERIES.name} ORDER BY source_file").fetchall()
    ]


def _plan(ledger: Mapping[str, Entry], source: SourceSettings) -> _Plan:
    read_with = digest_of_settings(source)
    present = {name: _seen(name, ledger.get(name), read_with) for name in files_of(source, ledger.keys())}
    known_well = {name: entry for name, entry in ledger.items() if entry.read_with == read_with}
    found = {name: _staying(entry, present.get(name), source) for name, entry in known_well.items()}
    stay = {name: entry for name, entry in found.items() if entry is not None}
    by_content = {entry.content_hash: name for name, entry in stay.items()}
    to_load: dict[str, Entry] = {}
    for name, now in present.items():
        if name in stay:
            continue
        first = by_content.setdefault(now.seen_hash or name, name)
        known = known_well.get(name)
        if first != name:
            stay[name] = replace(_bare(now), status="repeated", reason=f"the same content as {first}")
            if first not in present and first in stay:
                stay[first] = replace(stay[first], reason=f"now {name}", seen_hash=now.seen_hash)
        elif known and known.status == "set_aside" and now.seen_hash is not None and now.seen_hash == known.seen_hash:
            stay[name] = known
        else:
            to_load[name] = now
    staying = {name for name, entry in stay.items() if entry.is_loaded}
    loaded_before = {name for name, entry in ledger.items() if entry.is_loaded}
    return _Plan(stay, to_load, loaded_before - staying - to_load.keys())


def _staying(entry: Entry, now: Entry | None, source: SourceSettings) -> Entry | None:
    """Returns the entry that the ledger keeps for a delivery; None if its file must be read, or its lines go.

    Args:
        entry: Of the ledger, read with the settings of this load.
        now: The file as it is now; None if it is gone.
        source: Says what there is.
    """
    if any(entry.source_file.startswith(_prefix(table)) for table in tables_of(source)):
        return entry
    if now is None:
        if entry.is_loaded and source.removed_files == "keep" and is_named(entry.source_file, source.path):
            gone = "no longer there; its lines stay"
            return replace(entry, status="kept", reason=gone, seen_hash=None, seen_bytes=None)
        return entry if entry.status == "expired" else None
    if entry.status == "expired":
        return now if now.seen_hash == entry.content_hash else None
    if entry.is_loaded and now.seen_hash == entry.content_hash:
        return replace(now, status="loaded", reason=None)
    # A new version that was tried already could not be read.
    tried = now.seen_hash is not None and now.seen_hash == entry.seen_hash
    return entry if entry.is_loaded and tried else None


def _bare(entry: Entry) -> Entry:
    """Returns the entry without what belongs to loaded lines."""
    return replace(entry, lines=0, columns=None, unused=None, content_hash=None)


def _seen(name: str, known: Entry | None, read_with: str) -> Entry:
    """Returns the file as it is now. Its content is read only if its fingerprint is not what it was."""
    now = fingerprint(name)
    entry = replace(known or Entry(name, "loaded"), read_with=read_with)
    if (entry.seen_bytes, entry.seen_modified_ns) == (now.bytes, now.modified_ns) and entry.seen_hash:
        return entry
    return replace(entry, seen_hash=content_hash(name), seen_bytes=now.bytes, seen_modified_ns=now.modified_ns)


def _without_lost_columns(
    wanted: Iterable[Delivery], staying: Iterable[Entry], refused: dict[str, SegPipelineError]
) -> list[Delivery]:
    """Returns the deliveries that have the NEVER_DROPPED columns that the others have; adds the rest to `refused`.

    The others are the deliveries that are loaded; in a first load, the shape that most files have.
    """
    wanted = list(wanted)
    others = [(entry.source_file, json.loads(entry.columns)) for entry in staying if entry.is_loaded and entry.columns]
    if not others and wanted:
        most = max(wanted, key=lambda delivery: len(delivery.files))
        others = [(most.files[0], most.columns)]
    fine = []
    for delivery in wanted:
        lost = [
            (column, name, columns[column])
            for column in NEVER_DROPPED
            for name, columns in others[:1]
            if column in columns and column not in delivery.columns
        ]
        if not lost:
            fine.append(delivery)
            continue
        column, other, name = lost[0]
        for file in delivery.files:
            refused[file] = DataError(
                f"{file}: no column for {column}, which {other} has as {name!r}; the file has"
                f" {', '.join(delivery.header)}; name it with --set source.columns.{column}=COLUMN"
            )
    return fine


def _stays(before: Entry | None, now: Entry) -> bool:
    """Returns whether the lines of a file's version before stay, now that the file cannot be read."""
    return before is not None and before.is_loaded and before.read_with == now.read_with


def _without(delivery: Delivery, refused: Mapping[str, SegPipelineError]) -> Delivery:
    return replace(delivery, files=tuple(file for file in delivery.files if file not in refused))


def _unreadable(connection: duckdb.DuckDBPyConnection, delivery: Delivery) -> dict[str, SegPipelineError]:
    """Returns the files of a delivery that cannot be read, each with its error, by reading them one by one."""
    failed: dict[str, SegPipelineError] = {}
    for file in delivery.files:
        connection.execute(f"CREATE OR REPLACE TEMP TABLE tried_lines ({RAW_ORDERS.ddl})")
        try:
            replace(delivery, files=(file,)).load(connection, "tried_lines")
        except DataError as error:
            failed[file] = error
    connection.execute("DROP TABLE IF EXISTS tried_lines")
    return failed


def _expired(connection: duckdb.DuckDBPyConnection, days: int | None) -> set[str]:
    """Returns the deliveries whose last clean order is more than so many days older than the newest of all."""
    if days is None or "prepared.clean_orders" not in tables_with(connection, "source_file"):
        return set()
    rows = connection.execute(
        "SELECT source_file FROM prepared.clean_orders GROUP BY source_file HAVING max(ordered_at) <"
        " (SELECT max(ordered_at) FROM prepared.clean_orders) - to_days($days)",
        {"days": days},
    ).fetchall()
    return {name for (name,) in rows}


def _prefix(table: str) -> str:
    """Returns how the names of a table's deliveries begin; a number follows."""
    return f"{table}#"


def _continue(connection: duckdb.DuckDBPyConnection, plan: _Plan, source: SourceSettings, table: str) -> list[str]:
    """Appends what is new in a table, and its entry to those that stay; returns its name, if there are lines."""
    before = sorted(name for name in plan.stay if name.startswith(_prefix(table)))
    name = f"{_prefix(table)}{len(before) + 1:06}"
    delivery = continuation(table, name, plan.stay[before[-1]].content_hash if before else None, source)
    pulled = delivery.load(connection, RAW_ORDERS.name)
    assert pulled is not None  # a table always says what it brought
    known = sum(plan.stay[one].lines for one in before)
    # For a delivery that has expired, the ledger no longer knows how many rows it was.
    if before and pulled.behind > known and all(plan.stay[one].is_loaded for one in before):
        reason = f"{pulled.behind - known:,} rows of {table} came behind the cursor {source.cursor}, and are not loaded"
        plan.stay[before[-1]] = replace(plan.stay[before[-1]], reason=reason)
    if not pulled.lines:
        return []
    read_with = digest_of_settings(source)
    entry = _loaded(Entry(name, "loaded", seen_hash=pulled.last_cursor, read_with=read_with), delivery)
    plan.stay[name] = replace(entry, lines=pulled.lines)
    return [name]


def _forget_erased(connection: duckdb.DuckDBPyConnection, names: Iterable[str]) -> None:
    """Deletes the lines of erased customers from deliveries that were just loaded."""
    if not connection.execute(f"SELECT count(*) FROM {ERASED_CUSTOMERS.name}").fetchall()[0][0]:
        return
    delete(
        connection,
        RAW_ORDERS.name,
        "source_file IN (SELECT unnest($names::VARCHAR[]))"
        f" AND sha256({CUSTOMER_TEXT}) IN (SELECT customer_hash FROM {ERASED_CUSTOMERS.name})",
        {"names": list(names), **CUSTOMER_ID},
    )


def _forget(connection: duckdb.DuckDBPyConnection, names: Iterable[str]) -> None:
    """Deletes the lines of files."""
    if names := sorted(names):
        files = "source_file IN (SELECT unnest($names::VARCHAR[]))"
        delete(connection, RAW_ORDERS.name, files, {"names": names})


def _entries(
    connection: duckdb.DuckDBPyConnection,
    plan: _Plan,
    ledger: Mapping[str, Entry],
    loaded: Iterable[Delivery],
    refused: Mapping[str, SegPipelineError],
) -> Iterator[Entry]:
    """Yields the entries of the ledger after a load."""
    lines = dict(
        connection.execute(f"SELECT source_file, count(*) FROM {RAW_ORDERS.name} GROUP BY source_file").fetchall()
    )
    after = dict(plan.stay)
    after |= {file: _loaded(plan.load[file], of) for of in loaded for file in of.files}
    for file, error in refused.items():
        now, before = plan.load[file], ledger.get(file)
        reason = " ".join(str(error).split())
        if _stays(before, now):
            after[file] = replace(now, status="kept", reason=f"its new version cannot be read: {reason}")
        else:
            after[file] = replace(_bare(now), status="set_aside", reason=reason)
    for name, entry in after.items():
        yield replace(entry, lines=lines.get(name, 0) if entry.is_loaded else 0)


def _loaded(entry: Entry, delivery: Delivery) -> Entry:
    """Returns the entry of a file that was loaded as part of a delivery."""
    return replace(
        entry,
        status="loaded",
        reason=None,
        columns=json.dumps(delivery.columns),
        unused=json.dumps(sorted(set(delivery.header) - set(delivery.columns.values()))),
        content_hash=entry.seen_hash,
    )


def _write_ledger(connection: duckdb.DuckDBPyConnection, entries: Iterable[Entry]) -> None:
    names = [field.name for field in fields(Entry)]
    types = {column.name: column.type for column in DELIVERIES.columns}
    connection.execute(f"DELETE FROM {DELIVERIES.name}")
    rows = [dict(zip(names, astuple(entry), strict=True)) for entry in sorted(entries, key=lambda one: one.source_file)]
    if rows:
        execute(
            connection,
            f"INSERT INTO {DELIVERIES.name} BY NAME SELECT unnest(from_json($rows, '[{json.dumps(types)}]'),"
            " max_depth := 2)",
            {"rows": json.dumps(rows)},
        )
