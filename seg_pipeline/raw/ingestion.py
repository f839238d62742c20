"""Loads new deliveries: compares the source with raw.deliveries, the ledger of all deliveries.

A file is recognised by its content. A loaded file is not read again, a changed file replaces the lines of its previous
version, and a file that cannot be read is set aside with the reason while the others load. A table that grows continues
where its last load ended. Ledger and lines change in one transaction.

The ledger and the files that are there decide which contents count, each of them once:

- the content of each file, or, if that cannot be read, its last content that could. A copy has no lines of its own: if
  it becomes unreadable in the very load in which the file that it repeats changes, its last content is gone;
- the last content of each file that is gone, unless a file that is there had the same content when it was last seen
  and now has another, which no other file has. That file was a copy of the one that is gone, or is that file renamed,
  so its new content counts.

What was retracted counts under no name, until the retraction is taken back.
"""

import datetime
import json
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from seg_pipeline.errors import DataError, SegPipelineError
from seg_pipeline.raw.erasure import ErasureKey, leave_out, prepare
from seg_pipeline.raw.ledger import Entry, prefix_of_pulls, read_ledger, retraction_of, without_lines, write_ledger
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
    readable_name,
    tables_of,
)
from seg_pipeline.raw.tables import DELIVERIES, RAW_ORDERS
from seg_pipeline.settings import SourceSettings
from seg_pipeline.warehouse import Connection

# Without one of these a line can still be read but means something else: one unit, or one order per customer and day.
REQUIRED_ONCE_SEEN = ("order_id", "quantity")


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
        unchanged: Entries whose files need not be loaded again.
        load: The files to load, as they are now.
        drop: The files whose lines are deleted.
        repeats: File to load -> other files of the same content, which are loaded if that file cannot be, as they are.
        successors: File that is gone -> files that had its content and have another now. If one of these can be read,
            the lines of the file that is gone are deleted.
    """

    unchanged: dict[str, Entry]
    load: dict[str, Entry]
    drop: set[str]
    repeats: dict[str, list[Entry]]
    successors: dict[str, set[str]]

    def load_repeats(self, refused: Iterable[str]) -> list[str]:
        """Plans to load a repeat of each file that cannot be loaded, and returns these repeats."""
        added = []
        for name in refused:
            if not (repeats := self.repeats.pop(name, [])):
                continue
            first, *others = repeats
            first_name = first.source_file
            del self.unchanged[first_name]
            self.load[first_name] = first
            self.drop.discard(first_name)
            self.unchanged |= {other.source_file: _repeated(other, first_name) for other in others}
            self.repeats[first_name] = others
            added.append(first_name)
        return added

    def leave_out_kept(self, kept: Mapping[str, str], refused: Collection[str]) -> set[str]:
        """Plans not to load the files whose content another file keeps from its last version, and returns them.

        Args:
            kept: Content -> the file that keeps it.
            refused: The files that cannot be loaded anyway.
        """
        repeated = {name for name, now in self.load.items() if now.seen_hash in kept and name not in refused}
        for name in repeated:
            now = self.load.pop(name)
            self.unchanged[name] = _repeated(now, kept[now.seen_hash or ""])
        self.drop |= repeated
        return repeated

    def replaced(self, refused: Collection[str]) -> set[str]:
        """Returns the files that are gone whose lines are deleted, since a successor was not refused."""
        return {name for name, successors in self.successors.items() if not successors <= set(refused)}


class _LoadError(DataError):
    """The error of a delivery that could not be loaded."""

    def __init__(self, delivery: Delivery, error: DataError):
        super().__init__(str(error))
        self.delivery = delivery


def ingest(
    connection: Connection,
    source: SourceSettings,
    retention_days: int | None = None,
    key: ErasureKey | None = None,
) -> Ingestion:
    """Brings raw_orders and deliveries up to date with the source.

    Args:
        connection: The connection to the warehouse.
        source: The settings that say where the orders are and how they are read.
        retention_days: A delivery expires when its last order is more than this many days older than the newest order;
            None if none expires.
        key: The key of raw.erased_customers, whose lines are left out; None if no customer was ever erased.

    Returns:
        The deliveries that were loaded, and those whose lines were deleted.

    Raises:
        UsageError: There is no such path, preset or table, or no file to read; or the key is missing.
        DataError: None of the files can be read, or a table cannot.
        MachineError: A source cannot be reached, or a folder may not be read.
    """
    for table in (RAW_ORDERS, DELIVERIES):
        connection.create(table, or_replace=False)
    prepare(connection, key)
    ledger = {entry.source_file: entry for entry in read_ledger(connection)}
    plan, refused = _plan(ledger, source)
    loaded = {name for name, entry in plan.unchanged.items() if entry.is_loaded}
    for name in _expired(connection, retention_days) & loaded:
        plan.unchanged[name] = replace(plan.unchanged[name], status="expired", lines=0)
        plan.drop.add(name)
    candidates: list[Delivery] = []
    new = [name for name in plan.load if name not in refused]
    while True:
        while new:
            discovery = deliveries(new, source)
            candidates += discovery.deliveries
            without_columns = _refuse_lost_columns(candidates, plan.unchanged.values())
            refused |= discovery.refused | without_columns
            candidates = [rest for delivery in candidates if (rest := _without(delivery, refused)).files]
            new = plan.load_repeats(sorted(discovery.refused | without_columns))
        kept = {
            content: name
            for name in refused
            if _keeps_old_lines(ledger.get(name), plan.load[name]) and (content := ledger[name].content_hash)
        }
        repeated = plan.leave_out_kept(kept, refused)
        candidates = [rest for delivery in candidates if (rest := _without(delivery, repeated)).files]
        try:
            return _load_once(connection, source, key, plan, ledger, candidates, refused)
        except _LoadError as error:
            unreadable = _unreadable(connection, error.delivery)
            if not unreadable:
                raise
            refused |= unreadable
            candidates = [rest for delivery in candidates if (rest := _without(delivery, refused)).files]
            new = plan.load_repeats(sorted(unreadable))


def _load_once(
    connection: Connection,
    source: SourceSettings,
    key: ErasureKey | None,
    plan: _Plan,
    ledger: Mapping[str, Entry],
    to_load: Sequence[Delivery],
    refused: Mapping[str, SegPipelineError],
) -> Ingestion:
    """Carries out a plan in one transaction.

    Args:
        connection: The connection to the warehouse.
        source: The settings of the source.
        key: The key of raw.erased_customers.
        plan: The plan, to which the pulls of tables are added.
        ledger: The entries before the load.
        to_load: The deliveries to load.
        refused: The files that are not loaded, with their errors.

    Raises:
        _LoadError: A delivery cannot be loaded; nothing has changed.
        SegPipelineError: None of the files can be read, or a table cannot.
    """
    files = [file for delivery in to_load for file in delivery.files]
    set_aside = {file for file in refused if not _keeps_old_lines(ledger.get(file), plan.load[file])}
    if set_aside == plan.load.keys() and set_aside and not any(entry.is_loaded for entry in plan.unchanged.values()):
        raise refused[min(refused)]
    # A file that is loaded replaces its old lines; if its new version cannot be read, they stay.
    loaded_before = {name for name, entry in ledger.items() if entry.is_loaded}
    dropped = loaded_before & (plan.drop | set_aside | set(files) | plan.replaced(refused))
    with connection.transaction():
        if loaded_before - dropped:
            _delete_lines(connection, dropped)
        else:
            connection.create(RAW_ORDERS)
        for delivery in to_load:
            try:
                delivery.load(connection, RAW_ORDERS)
            except DataError as error:
                raise _LoadError(delivery, error) from error
        pulled = [name for table in tables_of(source) for name in _pull(connection, plan, source, table)]
        leave_out(connection, key, [*files, *pulled])
        write_ledger(connection, _entries(connection, plan, ledger, to_load, refused))
    return Ingestion([*files, *pulled], sorted(dropped - set(files)))


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
    write_ledger(connection, entries)
    return discovery


def _plan(ledger: Mapping[str, Entry], source: SourceSettings) -> tuple[_Plan, dict[str, SegPipelineError]]:
    """Returns the work that brings the ledger up to date with the source, and the errors of files that have no content.

    Raises:
        SegPipelineError: As in `files_of`.
    """
    read_with = digest_of_settings(source)
    # Entries of other settings count for nothing: their files are read again, unless they were retracted.
    same_settings = {
        name: entry for name, entry in ledger.items() if entry.read_with == read_with or entry.status == "retracted"
    }
    present: dict[str, Entry] = {}
    refused: dict[str, SegPipelineError] = {}
    for file in files_of(source, ledger.keys()):
        name = readable_name(file)
        before = same_settings.get(name) or replace(ledger.get(name, Entry(name, "loaded")), content_hash=None)
        try:
            present[name] = _current_entry(file, before, read_with)
        except DataError as error:
            present[name] = replace(before, read_with=read_with, seen_hash=None, seen_bytes=None, seen_modified_ns=None)
            refused[name] = error
    # A file that was renamed takes over the last content of the one that is gone.
    gone: dict[str | None, str | None] = {
        entry.seen_hash: entry.last_content
        for name, entry in same_settings.items()
        if name not in present and entry.seen_hash
    }
    for name in present.keys() - ledger.keys():
        present[name] = replace(present[name], content_hash=gone.get(present[name].seen_hash))
    unchanged = {
        name: kept
        for name, entry in same_settings.items()
        if (kept := _kept_entry(entry, present.get(name), source)) is not None
    }
    by_content = {entry.content_hash: name for name, entry in unchanged.items()}
    retracted = {entry.content_hash for entry in ledger.values() if entry.status == "retracted"}
    load: dict[str, Entry] = {}
    repeats: dict[str, list[Entry]] = {}
    for name, now in present.items():
        if name in unchanged:
            continue
        earlier = same_settings.get(name)
        is_as_before = earlier and now.seen_hash is not None and now.seen_hash == earlier.seen_hash
        first = by_content.get(now.seen_hash or name)
        if now.seen_hash in retracted:
            unchanged[name] = retraction_of(replace(now, content_hash=now.seen_hash))
        elif earlier and earlier.status == "set_aside" and is_as_before:
            unchanged[name] = earlier
        elif first is not None:
            unchanged[name] = _repeated(now, first)
            repeats.setdefault(first, []).append(now)
            if first not in present and first in unchanged:
                unchanged[first] = replace(unchanged[first], reason=f"now {name}", seen_hash=now.seen_hash)
        else:
            load[name] = now
            by_content[now.seen_hash or name] = name
    loaded_before = {name for name, entry in ledger.items() if entry.is_loaded}
    still_loaded = {name for name, entry in unchanged.items() if entry.is_loaded}
    drop = loaded_before - still_loaded - load.keys()
    return _Plan(unchanged, load, drop, repeats, _successors(unchanged, present, same_settings)), refused


def _successors(
    unchanged: Mapping[str, Entry], present: Mapping[str, Entry], earlier: Mapping[str, Entry]
) -> dict[str, set[str]]:
    """Returns, for each file that is gone, the files that had its content when last seen and have another now.

    Args:
        unchanged: The entries of files that need not be loaded again.
        present: The files that are there, as they are now.
        earlier: The entries before the load.
    """
    copies: dict[str | None, set[str]] = {}
    contents = Counter(entry.seen_hash for entry in present.values())
    for name, entry in earlier.items():
        # A file that was set aside and is as it was cannot be read yet. One that equals another file corrects none:
        # it is a copy of whatever is newest.
        if (
            name in present
            and contents[present[name].seen_hash] == 1
            and not (name in unchanged and unchanged[name].status == "set_aside")
        ):
            copies.setdefault(entry.last_content, set()).add(name)
    return {
        name: copies[entry.content_hash]
        for name, entry in unchanged.items()
        if entry.is_loaded
        and name not in present
        and entry.content_hash in copies
        and entry.content_hash not in contents
    }


def _repeated(now: Entry, first: str) -> Entry:
    """Returns the entry of a file that has the same content as another file."""
    return replace(
        without_lines(now), status="repeated", reason=f"the same content as {first}", content_hash=now.seen_hash
    )


def _kept_entry(entry: Entry, now: Entry | None, source: SourceSettings) -> Entry | None:
    """Returns the entry that a delivery keeps; None if its file must be read, or its lines must be deleted.

    Args:
        entry: The entry in the ledger, read with the settings of this load.
        now: The file as it is now; None if it no longer exists.
        source: The settings of the source.
    """
    if any(entry.source_file.startswith(prefix_of_pulls(table)) for table in tables_of(source)):
        return entry
    is_left_out = entry.status in ("expired", "retracted")
    if now is None:
        if entry.is_loaded and source.removed_files == "keep" and is_named(entry.source_file, source.path):
            reason = "no longer there; its lines stay"
            return replace(entry, status="kept", reason=reason, seen_hash=None, seen_bytes=None)
        return entry if is_left_out else None
    if now.seen_hash == entry.content_hash and (entry.is_loaded or is_left_out):
        return replace(now, status="loaded", reason=None) if entry.is_loaded else now
    # The previous load already failed to read this new version.
    has_failed = now.seen_hash is not None and now.seen_hash == entry.seen_hash
    return entry if has_failed and (entry.is_loaded or is_left_out) else None


def _current_entry(name: str, before: Entry, read_with: str) -> Entry:
    """Returns an entry for a file as it is now. Its content is read only if its fingerprint has changed.

    Raises:
        DataError: The file cannot be opened, or its name is no text.
    """
    now = fingerprint(name)
    entry = replace(before, read_with=read_with, content_hash=before.last_content)
    if (entry.seen_bytes, entry.seen_modified_ns) == (now.bytes, now.modified_ns) and entry.seen_hash:
        return entry
    return replace(entry, seen_hash=content_hash(name), seen_bytes=now.bytes, seen_modified_ns=now.modified_ns)


def _refuse_lost_columns(candidates: Sequence[Delivery], earlier: Iterable[Entry]) -> dict[str, SegPipelineError]:
    """Refuses deliveries that lack a column of REQUIRED_ONCE_SEEN which an earlier delivery has.

    In a first load, the shape that most files have takes the place of earlier deliveries.

    Args:
        candidates: The deliveries to load.
        earlier: The entries of earlier deliveries.

    Returns:
        The error of each file that is refused.
    """
    seen = _columns_seen(earlier)
    if not seen and candidates:
        largest = max(candidates, key=lambda delivery: len(delivery.files))
        seen = [(largest.files[0], largest.columns)]
    return {
        file: error
        for delivery in candidates
        for file in delivery.files
        if (error := _lost_column(file, delivery, seen))
    }


def _columns_seen(entries: Iterable[Entry]) -> list[tuple[str, dict[str, str]]]:
    """Returns the names of the loaded deliveries, each with its column for each column of raw_orders."""
    return [(entry.source_file, json.loads(entry.columns)) for entry in entries if entry.is_loaded and entry.columns]


def _lost_column(name: str, delivery: Delivery, seen: Sequence[tuple[str, Mapping[str, str]]]) -> DataError | None:
    """Returns the error of a file or table that lacks a column of REQUIRED_ONCE_SEEN; None if it lacks none.

    Args:
        name: The file or table.
        delivery: The delivery that it belongs to.
        seen: The names and columns of earlier deliveries, as from `_columns_seen`.
    """
    for column in REQUIRED_ONCE_SEEN:
        earlier = next(((other, columns[column]) for other, columns in seen if column in columns), None)
        if earlier and column not in delivery.columns:
            return DataError(
                f"{name}: no column for {column} among {', '.join(delivery.header)}, but {earlier[0]} has"
                f" {earlier[1]!r}; name it with --set source.columns.{column}=COLUMN"
            )
    return None


def _keeps_old_lines(before: Entry | None, now: Entry) -> bool:
    """Returns whether the lines of a file's previous version stay if its new version cannot be read."""
    return before is not None and before.is_loaded and before.read_with == now.read_with


def _without(delivery: Delivery, refused: Collection[str]) -> Delivery:
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
    """Returns the deliveries whose last clean order is too old.

    Args:
        connection: The connection to the warehouse.
        days: How many days it may be older than the newest order that a night has counted; None if no delivery expires.
    """
    if (
        days is None
        or "prepared.clean_orders" not in connection.tables_with("source_file")
        or "features.rfm_features" not in connection.tables_with("as_of")
    ):
        return set()
    # Orders that are later than every night have not passed the checks: a mistyped year must not make the rest expire.
    [(newest_night,)] = connection.execute("SELECT max(as_of) FROM features.rfm_features").fetchall()
    last_orders = connection.execute(
        "SELECT source_file, max(ordered_at), max(ordered_at) FILTER (WHERE ordered_at < $night)"
        " FROM prepared.clean_orders GROUP BY source_file",
        {"night": newest_night},
    ).fetchall()
    newest = max((counted for _, _, counted in last_orders if counted), default=None)
    if newest is None:
        return set()
    return {name for name, last, _ in last_orders if newest - last > datetime.timedelta(days=days)}


def _pull(connection: Connection, plan: _Plan, source: SourceSettings, table: str) -> list[str]:
    """Loads the new rows of a table as a delivery, and adds its entry to the plan.

    Returns:
        The name of the delivery; none if there are no new rows.

    Raises:
        DataError: The table lacks a column of REQUIRED_ONCE_SEEN that it had before, or a row cannot be read.
    """
    # The reason is found again in each load, and older versions did not record how many rows they pulled.
    earlier = {
        name: replace(entry, reason=None, pulled_rows=_pulled_rows(entry))
        for name, entry in sorted(plan.unchanged.items())
        if name.startswith(prefix_of_pulls(table))
    }
    last = max(earlier, default=None)
    name = f"{prefix_of_pulls(table)}{len(earlier) + 1:06}"
    delivery = continuation(table, name, earlier[last].content_hash if last else None, source)
    if error := _lost_column(table, delivery, _columns_seen(earlier.values())):
        raise error
    pull = delivery.load(connection, RAW_ORDERS)
    assert pull is not None  # loading from a table always returns a Pull
    rows = [entry.pulled_rows for entry in earlier.values() if entry.pulled_rows is not None]
    late = pull.behind - sum(rows)
    if last and late > 0 and len(rows) == len(earlier):
        reason = f"{late:,} rows of {table} came behind the cursor {source.cursor}, and are not loaded"
        earlier[last] = replace(earlier[last], reason=reason)
    plan.unchanged |= earlier
    if not pull.lines:
        return []
    read_with = digest_of_settings(source)
    entry = _loaded(Entry(name, "loaded", seen_hash=pull.last_cursor, read_with=read_with), delivery)
    plan.unchanged[name] = replace(entry, pulled_rows=pull.lines)
    return [name]


def _pulled_rows(entry: Entry) -> int | None:
    """Returns how many rows an earlier pull loaded; None if an older version loaded them and they have expired."""
    return entry.lines if entry.pulled_rows is None and entry.is_loaded else entry.pulled_rows


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
    replaced = plan.replaced(refused)
    after = {name: entry for name, entry in plan.unchanged.items() if name not in replaced}
    after |= {file: _loaded(plan.load[file], delivery) for delivery in loaded for file in delivery.files}
    for file, error in refused.items():
        now, before = plan.load[file], ledger.get(file)
        reason = " ".join(str(error).split())
        if before and before.status == "retracted":
            after[file] = retraction_of(replace(now, content_hash=before.content_hash))
        elif _keeps_old_lines(before, now):
            after[file] = replace(now, status="kept", reason=f"its new version cannot be read: {reason}")
        else:
            after[file] = replace(without_lines(now), status="set_aside", reason=reason)
    after |= {file: _unless_changed(after[file]) for file in plan.load}
    for name, entry in after.items():
        yield replace(entry, lines=lines.get(name, 0) if entry.is_loaded else 0)


def _unless_changed(entry: Entry) -> Entry:
    """Returns the entry of a file that has just been read; if it has changed meanwhile, the next load reads it again.

    Its hash is then not that of the lines that were read, and the file may have that content again by the next load.
    """
    seen = (entry.seen_bytes, entry.seen_modified_ns)
    if seen == (None, None):
        return entry
    try:
        now = fingerprint(entry.source_file)
    except (OSError, DataError):  # it is gone, which leaves an open file as it was
        return entry
    if seen == (now.bytes, now.modified_ns):
        return entry
    unknown = f"changed while it was read: {now.bytes} bytes, {now.modified_ns}"
    return replace(
        entry,
        content_hash=unknown if entry.status == "loaded" else entry.content_hash,
        seen_hash=unknown,
        seen_bytes=None,
        seen_modified_ns=None,
    )


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
