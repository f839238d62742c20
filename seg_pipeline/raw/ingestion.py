"""Loads new deliveries: compares the source with raw.deliveries, the ledger of all deliveries.

A file is recognised by its content. A loaded file is not read again, a changed file replaces the lines of its previous
version, and a file that cannot be read is set aside with the reason while the others load. A table that grows continues
where its last load ended. Ledger and lines change in one transaction.
"""

import datetime
import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import astuple, dataclass, fields, replace

from seg_pipeline.errors import DataError, SegPipelineError
from seg_pipeline.raw.columns import CUSTOMER_ID, CUSTOMER_TEXT
from seg_pipeline.raw.sources import (
    Delivery,
    Discovery,
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
from seg_pipeline.warehouse import Connection

# Without one of these a line can still be read but means something else: one unit, or one order per customer and day.
NEVER_DROPPED = ("order_id", "quantity")


@dataclass(frozen=True, slots=True)
class Entry:
    """A row of raw.deliveries; tables.py describes the columns."""

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
class Ingestion:
    """The changes of a load.

    Attributes:
        loaded: The deliveries whose lines were added to raw_orders.
        dropped: The files whose lines were deleted from raw_orders.
    """

    loaded: list[str]
    dropped: list[str]


@dataclass(slots=True)
class _Plan:
    """The work of a load, by the names of deliveries.

    Attributes:
        keep: Entries of the ledger for which nothing is loaded.
        load: The files to load, as they are now.
        drop: The files whose lines are deleted.
    """

    keep: dict[str, Entry]
    load: dict[str, Entry]
    drop: set[str]


def ingest(connection: Connection, source: SourceSettings, deliveries_days: int | None = None) -> Ingestion:
    """Brings raw_orders and deliveries up to date with the source.

    Args:
        connection: The connection to the warehouse.
        source: The settings that say where the orders are and how they are read.
        deliveries_days: A delivery expires when its last order is this many days older than the newest order; None if
            none expires.

    Raises:
        UsageError: There is no such path, preset or table, or no file to read.
        DataError: None of the files can be read, or a table cannot.
        MachineError: A source cannot be reached.
    """
    for table in (RAW_ORDERS, DELIVERIES, ERASED_CUSTOMERS):
        connection.create(table, or_replace=False)
    ledger = {entry.source_file: entry for entry in read_ledger(connection)}
    plan = _plan(ledger, source)
    for name in _expired(connection, deliveries_days) & plan.keep.keys():
        plan.keep[name] = replace(plan.keep[name], status="expired", lines=0)
        plan.drop.add(name)
    discovery = deliveries(plan.load, source)
    refused = dict(discovery.refused)
    to_load = _refuse_lost_columns(discovery.deliveries, plan.keep.values(), refused)
    while True:
        files = [file for delivery in to_load for file in delivery.files]
        set_aside = {file for file in refused if not _keeps_old_lines(ledger.get(file), plan.load[file])}
        if set_aside == plan.load.keys() and set_aside and not any(entry.is_loaded for entry in plan.keep.values()):
            raise refused[min(refused)]
        current: Delivery | None = None
        try:
            with connection.transaction():
                # A file that is loaded replaces its old lines; if its new version cannot be read, they stay.
                dropped = plan.drop | (ledger.keys() & (set_aside | set(files)))
                if any(entry.is_loaded for name, entry in ledger.items() if name not in dropped):
                    _delete_lines(connection, dropped)
                else:
                    connection.create(RAW_ORDERS)
                for current in to_load:
                    current.load(connection, RAW_ORDERS)
                current = None
                pulled = [name for table in tables_of(source) for name in _pull(connection, plan, source, table)]
                _delete_erased(connection, [*files, *pulled])
                _write_ledger(connection, _entries(connection, plan, ledger, to_load, refused))
            return Ingestion([*files, *pulled], sorted(dropped - set(files)))
        except DataError:
            if current is None or not (unreadable := _unreadable(connection, current)):
                raise
            refused |= unreadable
            to_load = [rest for delivery in to_load if (rest := _without(delivery, refused)).files]


def sample(connection: Connection, source: SourceSettings, lines: int) -> Discovery:
    """Loads only the first lines of each shape of file, into new tables.

    Returns:
        All deliveries that could be loaded, and the files that cannot be read.

    Raises:
        UsageError: There is no such path or preset, or no file to read.
        DataError: None of the files can be read.
    """
    for table in (RAW_ORDERS, DELIVERIES):
        connection.create(table)
    discovery = deliveries(find_files(source.path), source)
    if not discovery.deliveries:
        raise discovery.refused[min(discovery.refused)]
    for delivery in discovery.deliveries:
        delivery.load(connection, RAW_ORDERS, limit=lines)
    entries = [_loaded(Entry(file, "loaded"), delivery) for delivery in discovery.deliveries for file in delivery.files]
    _write_ledger(connection, entries)
    return discovery


def read_ledger(connection: Connection) -> list[Entry]:
    """Returns the rows of raw.deliveries."""
    names = ", ".join(f'"{field.name}"' for field in fields(Entry))
    return [
        Entry(*row)
        for row in connection.execute(f"SELECT {names} FROM {DELIVERIES.name} ORDER BY source_file").fetchall()
    ]


def _plan(ledger: Mapping[str, Entry], source: SourceSettings) -> _Plan:
    """Returns the work that brings the ledger up to date with the source."""
    read_with = digest_of_settings(source)
    present = {name: _current_entry(name, ledger.get(name), read_with) for name in files_of(source, ledger.keys())}
    # Entries of other settings count for nothing: their files are read again.
    same_settings = {name: entry for name, entry in ledger.items() if entry.read_with == read_with}
    keep = {
        name: kept
        for name, entry in same_settings.items()
        if (kept := _kept_entry(entry, present.get(name), source)) is not None
    }
    by_content = {entry.content_hash: name for name, entry in keep.items()}
    load: dict[str, Entry] = {}
    for name, now in present.items():
        if name in keep:
            continue
        first = by_content.setdefault(now.seen_hash or name, name)
        before = same_settings.get(name)
        if first != name:
            keep[name] = replace(_without_lines(now), status="repeated", reason=f"the same content as {first}")
            if first not in present and first in keep:
                keep[first] = replace(keep[first], reason=f"now {name}", seen_hash=now.seen_hash)
        elif (
            before and before.status == "set_aside" and now.seen_hash is not None and now.seen_hash == before.seen_hash
        ):
            keep[name] = before
        else:
            load[name] = now
    loaded_before = {name for name, entry in ledger.items() if entry.is_loaded}
    still_loaded = {name for name, entry in keep.items() if entry.is_loaded}
    return _Plan(keep, load, loaded_before - still_loaded - load.keys())


def _kept_entry(entry: Entry, now: Entry | None, source: SourceSettings) -> Entry | None:
    """Returns the entry that a delivery keeps; None if its file must be read, or its lines must be deleted.

    Args:
        entry: The entry in the ledger, read with the settings of this load.
        now: The file as it is now; None if it no longer exists.
        source: The settings of the source.
    """
    if any(entry.source_file.startswith(_prefix(table)) for table in tables_of(source)):
        return entry
    if now is None:
        if entry.is_loaded and source.removed_files == "keep" and is_named(entry.source_file, source.path):
            reason = "no longer there; its lines stay"
            return replace(entry, status="kept", reason=reason, seen_hash=None, seen_bytes=None)
        return entry if entry.status == "expired" else None
    if entry.status == "expired":
        return now if now.seen_hash == entry.content_hash else None
    if entry.is_loaded and now.seen_hash == entry.content_hash:
        return replace(now, status="loaded", reason=None)
    # The previous load already failed to read this new version.
    has_failed = now.seen_hash is not None and now.seen_hash == entry.seen_hash
    return entry if entry.is_loaded and has_failed else None


def _without_lines(entry: Entry) -> Entry:
    """Returns an entry without the fields that describe loaded lines."""
    return replace(entry, lines=0, columns=None, unused=None, content_hash=None)


def _current_entry(name: str, before: Entry | None, read_with: str) -> Entry:
    """Returns an entry for a file as it is now. Its content is read only if its fingerprint has changed."""
    now = fingerprint(name)
    entry = replace(before or Entry(name, "loaded"), read_with=read_with)
    if (entry.seen_bytes, entry.seen_modified_ns) == (now.bytes, now.modified_ns) and entry.seen_hash:
        return entry
    return replace(entry, seen_hash=content_hash(name), seen_bytes=now.bytes, seen_modified_ns=now.modified_ns)


def _refuse_lost_columns(
    candidates: list[Delivery], kept: Iterable[Entry], refused: dict[str, SegPipelineError]
) -> list[Delivery]:
    """Refuses deliveries that lack a column of NEVER_DROPPED which earlier deliveries have.

    In a first load, the shape that most files have takes the place of earlier deliveries.

    Args:
        candidates: The deliveries to load.
        kept: The entries of earlier deliveries.
        refused: Is given the error of each file that is refused.

    Returns:
        The other deliveries.
    """
    earlier = [(entry.source_file, json.loads(entry.columns)) for entry in kept if entry.is_loaded and entry.columns]
    if not earlier and candidates:
        largest = max(candidates, key=lambda delivery: len(delivery.files))
        earlier = [(largest.files[0], largest.columns)]
    accepted = []
    for delivery in candidates:
        lost = [
            (column, file, columns[column])
            for column in NEVER_DROPPED
            for file, columns in earlier[:1]
            if column in columns and column not in delivery.columns
        ]
        if not lost:
            accepted.append(delivery)
            continue
        column, earlier_file, name = lost[0]
        for file in delivery.files:
            refused[file] = DataError(
                f"{file}: no column for {column}, which {earlier_file} has as {name!r}; the file has"
                f" {', '.join(delivery.header)}; name it with --set source.columns.{column}=COLUMN"
            )
    return accepted


def _keeps_old_lines(before: Entry | None, now: Entry) -> bool:
    """Returns whether the lines of a file's previous version stay if its new version cannot be read."""
    return before is not None and before.is_loaded and before.read_with == now.read_with


def _without(delivery: Delivery, refused: Mapping[str, SegPipelineError]) -> Delivery:
    return replace(delivery, files=tuple(file for file in delivery.files if file not in refused))


def _unreadable(connection: Connection, delivery: Delivery) -> dict[str, SegPipelineError]:
    """Reads the files of a delivery one by one, and returns those that cannot be read, with their errors."""
    failed: dict[str, SegPipelineError] = {}
    for file in delivery.files:
        with connection.empty_copy(RAW_ORDERS) as table:
            try:
                replace(delivery, files=(file,)).load(connection, table)
            except DataError as error:
                failed[file] = error
    return failed


def _expired(connection: Connection, days: int | None) -> set[str]:
    """Returns the deliveries whose last clean order is more than `days` days older than the newest of all."""
    if days is None or "prepared.clean_orders" not in connection.tables_with("source_file"):
        return set()
    last_orders = connection.execute(
        "SELECT source_file, max(ordered_at) FROM prepared.clean_orders GROUP BY source_file"
    ).fetchall()
    newest = max((last for _, last in last_orders), default=None)
    return {name for name, last in last_orders if newest - last > datetime.timedelta(days=days)}


def _prefix(table: str) -> str:
    """Returns the prefix of the names of a table's deliveries, which a number follows."""
    return f"{table}#"


def _pull(connection: Connection, plan: _Plan, source: SourceSettings, table: str) -> list[str]:
    """Loads the new rows of a table as a delivery, and adds its entry to the plan.

    Returns:
        The name of the delivery; none if there are no new rows.
    """
    earlier = sorted(name for name in plan.keep if name.startswith(_prefix(table)))
    name = f"{_prefix(table)}{len(earlier) + 1:06}"
    delivery = continuation(table, name, plan.keep[earlier[-1]].content_hash if earlier else None, source)
    pull = delivery.load(connection, RAW_ORDERS)
    assert pull is not None  # loading from a table always returns a Pull
    rows_before = sum(plan.keep[one].lines for one in earlier)
    # The ledger does not know the number of rows of an expired delivery.
    if earlier and pull.behind > rows_before and all(plan.keep[one].is_loaded for one in earlier):
        late = pull.behind - rows_before
        reason = f"{late:,} rows of {table} came behind the cursor {source.cursor}, and are not loaded"
        plan.keep[earlier[-1]] = replace(plan.keep[earlier[-1]], reason=reason)
    if not pull.lines:
        return []
    read_with = digest_of_settings(source)
    entry = _loaded(Entry(name, "loaded", seen_hash=pull.last_cursor, read_with=read_with), delivery)
    plan.keep[name] = replace(entry, lines=pull.lines)
    return [name]


def _delete_erased(connection: Connection, names: Iterable[str]) -> None:
    """Deletes the lines of erased customers from deliveries that have just been loaded."""
    if not connection.execute(f"SELECT count(*) FROM {ERASED_CUSTOMERS.name}").fetchall()[0][0]:
        return
    connection.delete(
        RAW_ORDERS,
        "source_file IN (SELECT unnest($names::VARCHAR[]))"
        f" AND sha256({CUSTOMER_TEXT}) IN (SELECT customer_hash FROM {ERASED_CUSTOMERS.name})",
        {"names": list(names), **CUSTOMER_ID},
    )


def _delete_lines(connection: Connection, names: Iterable[str]) -> None:
    """Deletes the lines of files."""
    if names := sorted(names):
        files = "source_file IN (SELECT unnest($names::VARCHAR[]))"
        connection.delete(RAW_ORDERS, files, {"names": names})


def _entries(
    connection: Connection,
    plan: _Plan,
    ledger: Mapping[str, Entry],
    loaded: Iterable[Delivery],
    refused: Mapping[str, SegPipelineError],
) -> Iterator[Entry]:
    """Yields the entries of the ledger after a load.

    Args:
        connection: The connection to the warehouse.
        plan: The plan of the load.
        ledger: The entries before the load.
        loaded: The deliveries that were loaded.
        refused: The files that were not loaded, with their errors.
    """
    lines = dict(
        connection.execute(f"SELECT source_file, count(*) FROM {RAW_ORDERS.name} GROUP BY source_file").fetchall()
    )
    after = dict(plan.keep)
    after |= {file: _loaded(plan.load[file], delivery) for delivery in loaded for file in delivery.files}
    for file, error in refused.items():
        now, before = plan.load[file], ledger.get(file)
        reason = " ".join(str(error).split())
        if _keeps_old_lines(before, now):
            after[file] = replace(now, status="kept", reason=f"its new version cannot be read: {reason}")
        else:
            after[file] = replace(_without_lines(now), status="set_aside", reason=reason)
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


def _write_ledger(connection: Connection, entries: Iterable[Entry]) -> None:
    names = [field.name for field in fields(Entry)]
    types = {column.name: column.type for column in DELIVERIES.columns}
    connection.execute(f"DELETE FROM {DELIVERIES.name}")
    rows = [
        dict(zip(names, astuple(entry), strict=True)) for entry in sorted(entries, key=lambda entry: entry.source_file)
    ]
    if rows:
        connection.execute(
            f"INSERT INTO {DELIVERIES.name} BY NAME SELECT unnest(from_json($rows, '[{json.dumps(types)}]'),"
            " max_depth := 2)",
            {"rows": json.dumps(rows)},
        )
