"""Loading what is new: the files of the source against raw.deliveries, the ledger of what was delivered.

A file is known by its content. What was loaded once is not read again, a changed file replaces what it brought
before, and a file that cannot be read is set aside with the reason while the others load. Ledger and lines change in
one transaction.
"""

import fnmatch
import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import astuple, dataclass, fields, replace
from pathlib import Path

from seg_pipeline.errors import DataError, SegPipelineError
from seg_pipeline.raw.columns import BLANKS, CUSTOMER_TEXT, ORDER_COLUMNS, column_names
from seg_pipeline.raw.object_storage import is_object
from seg_pipeline.raw.sources import Delivery, Found, deliveries, find_files, load, path_of
from seg_pipeline.raw.tables import DELIVERIES, ERASED_CUSTOMERS, RAW_ORDERS
from seg_pipeline.settings import SourceSettings, read_preset, source_database
from seg_pipeline.warehouse import Connection

# What was pulled from a database is named by this, its table and a number.
PULL = "postgresql:"
# Without one of these a line is still read, and means something else: it is one unit, or an order of its day.
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

    @property
    def is_pull(self) -> bool:
        return self.source_file.startswith(PULL)


@dataclass(frozen=True, slots=True)
class Ingested:
    """What a night brought: files whose lines are new in raw_orders, and files whose lines are gone from it."""

    loaded: list[str]
    dropped: list[str]


@dataclass(slots=True)
class _Plan:
    """What becomes of each file: entries that stay as they are, files to load, and files whose lines go."""

    stay: dict[str, Entry]
    load: dict[str, Entry]
    drop: set[str]


def ingest(connection: Connection, source: SourceSettings, deliveries_days: int | None = None) -> Ingested:
    """Brings raw_orders and deliveries up to date with the files and the table of the source.

    Deliveries whose last order is more than `deliveries_days` before the newest expire.

    Raises:
        UsageError: no such path or preset; no file to read; see also `database.pull`.
        DataError: no file at all can be read.
        MachineError: the database cannot be reached.
    """
    for table in (RAW_ORDERS, DELIVERIES, ERASED_CUSTOMERS):
        connection.create(table, or_replace=False)
    ledger = {entry.source_file: entry for entry in read_ledger(connection)}
    plan = _plan(ledger, source)
    for name in _expired(connection, deliveries_days) & plan.stay.keys():
        plan.stay[name] = replace(plan.stay[name], status="expired", lines=0)
        plan.drop.add(name)
    found = deliveries(map(path_of, plan.load), source)
    refused = dict(found.refused)
    wanted = _without_lost_columns(found.deliveries, plan.stay.values(), refused)
    while True:
        loading = [str(file) for delivery in wanted for file in delivery.files]
        rejected = {str(file) for file in refused if not _stays(ledger.get(str(file)), plan.load[str(file)])}
        if rejected == plan.load.keys() and rejected and not any(entry.is_loaded for entry in plan.stay.values()):
            raise refused[min(refused)]
        current: Delivery | None = None
        try:
            with connection.transaction():
                # What is replaced goes; of what cannot be read the version before stays.
                gone = plan.drop | (ledger.keys() & (rejected | set(loading)))
                if any(entry.is_loaded for name, entry in ledger.items() if name not in gone):
                    _forget(connection, gone)
                else:
                    connection.create(RAW_ORDERS)
                for current in wanted:
                    load(connection, current, RAW_ORDERS)
                current = None
                pulled = _pull(connection, plan, source) if source.table else []
                _forget_erased(connection, [*loading, *pulled])
                _write_ledger(connection, _entries(connection, plan, ledger, wanted, refused))
            return Ingested([*loading, *pulled], sorted(gone - set(loading)))
        except DataError:
            if current is None or not (unreadable := _unreadable(connection, current)):
                raise
            refused |= unreadable
            wanted = [rest for delivery in wanted if (rest := _without(delivery, refused)).files]


def sample(connection: Connection, source: SourceSettings, lines: int) -> Found:
    """Loads the first lines of each shape of file only, into tables that are new; gives what there is to load.

    Raises:
        UsageError: no such path or preset; no file to read.
        DataError: no file at all can be read.
    """
    for table in (RAW_ORDERS, DELIVERIES):
        connection.create(table)
    found = deliveries(find_files(source.path), source)
    if not found.deliveries:
        raise found.refused[min(found.refused)]
    for delivery in found.deliveries:
        load(connection, delivery, RAW_ORDERS, limit=lines)
    entries = [_loaded(Entry(str(file), "loaded"), of) for of in found.deliveries for file in of.files]
    _write_ledger(connection, entries)
    return found


def read_ledger(connection: Connection) -> list[Entry]:
    """The rows of raw.deliveries."""
    names = ", ".join(f'"{field.name}"' for field in fields(Entry))
    return [
        Entry(*row)
        for row in connection.execute(f"SELECT {names} FROM {DELIVERIES.name} ORDER BY source_file").fetchall()
    ]


def _plan(ledger: Mapping[str, Entry], source: SourceSettings) -> _Plan:
    read_with = _reading(source)
    present = {str(file): _seen(file, ledger.get(str(file)), read_with) for file in _files_there(source, ledger)}
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
    """What is loaded as it is in the ledger after this night; None where its file must be read, or its lines go.

    `now` is the file as it is now, None where it is gone.
    """
    if entry.is_pull:
        return entry
    if now is None:
        if entry.is_loaded and source.removed_files == "keep" and _within(source.path, entry.source_file):
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
    """The same file without what belongs to loaded lines."""
    return replace(entry, lines=0, columns=None, unused=None, content_hash=None)


def _reading(source: SourceSettings) -> str:
    """A digest of the settings that say how a file becomes lines."""
    says = [read_preset(source.preset).get("columns"), source.columns, source.delimiter, source.encoding, ORDER_COLUMNS]
    says += [source.table, source.cursor] if source.table else []
    return hashlib.sha256(json.dumps(says, sort_keys=True).encode()).hexdigest()


def _files_there(source: SourceSettings, ledger: Mapping[str, Entry]) -> list[Path]:
    """The files of the source. A folder that somebody has emptied is none of them, and no error."""
    emptied = {
        word
        for word in source.path
        if path_of(word).is_dir() and any(_is_below(name, word) for name in ledger) and not _has_files(word)
    }
    words = [word for word in source.path if word not in emptied]
    return find_files(words) if words or not (emptied or source.table) else []


def _has_files(folder: str) -> bool:
    try:
        return bool(find_files([folder]))
    except SegPipelineError:
        return False


def _within(words: Iterable[str], name: str) -> bool:
    """Whether one of the source's paths stands for the file, were it there."""
    return any(_is_below(name, word) if path_of(word).is_dir() else fnmatch.fnmatchcase(name, word) for word in words)


def _is_below(name: str, folder: str) -> bool:
    return name.startswith(folder.rstrip("/") + "/") if is_object(folder) else Path(name).is_relative_to(folder)


def _seen(file: Path, known: Entry | None, read_with: str) -> Entry:
    """The file as it is now. It is read only where its size or its time of change is not what it was."""
    status = file.stat()
    entry = replace(known or Entry(str(file), "loaded"), read_with=read_with)
    if (entry.seen_bytes, entry.seen_modified_ns) == (status.st_size, status.st_mtime_ns) and entry.seen_hash:
        return entry
    try:
        with file.open("rb") as content:
            digest = hashlib.file_digest(content, "sha256").hexdigest()
    except OSError:
        digest = None  # reading it says why
    return replace(entry, seen_hash=digest, seen_bytes=status.st_size, seen_modified_ns=status.st_mtime_ns)


def _without_lost_columns(
    wanted: Iterable[Delivery], staying: Iterable[Entry], refused: dict[Path, SegPipelineError]
) -> list[Delivery]:
    """The deliveries that have the columns that the others have, as far as numbers depend on them; the rest is refused.

    The others are those that are loaded; on a first night, the shape that most files have.
    """
    wanted = list(wanted)
    others = [(entry.source_file, json.loads(entry.columns)) for entry in staying if entry.is_loaded and entry.columns]
    if not others and wanted:
        most = max(wanted, key=lambda delivery: len(delivery.files))
        others = [(str(most.files[0]), most.columns)]
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
    """Whether the lines that a file brought before stay, now that it cannot be read."""
    return before is not None and before.is_loaded and before.read_with == now.read_with


def _without(delivery: Delivery, refused: Mapping[Path, SegPipelineError]) -> Delivery:
    return replace(delivery, files=tuple(file for file in delivery.files if file not in refused))


def _unreadable(connection: Connection, delivery: Delivery) -> dict[Path, SegPipelineError]:
    """Those files of a delivery that cannot be read, each with its error: read one by one, into nothing."""
    failed: dict[Path, SegPipelineError] = {}
    for file in delivery.files:
        with connection.empty_copy(RAW_ORDERS) as nothing:
            try:
                load(connection, replace(delivery, files=(file,)), nothing)
            except DataError as error:
                failed[file] = error
    return failed


def _expired(connection: Connection, days: int | None) -> set[str]:
    """Deliveries whose last clean order is more than so many days before the newest of all."""
    if days is None or "prepared.clean_orders" not in connection.tables_with("source_file"):
        return set()
    rows = connection.execute(
        "SELECT source_file FROM prepared.clean_orders GROUP BY source_file HAVING max(ordered_at) <"
        " (SELECT max(ordered_at) FROM prepared.clean_orders) - to_days($days)",
        {"days": days},
    ).fetchall()
    return {name for (name,) in rows}


def _pull(connection: Connection, plan: _Plan, source: SourceSettings) -> list[str]:
    """Appends what is new in source.table, and its entry to those that stay; the name of the pull if it has lines."""
    from seg_pipeline.raw import database

    table, cursor, address = source.table or "", source.cursor or "", source_database()
    before = sorted(name for name, entry in plan.stay.items() if entry.is_pull)
    names = column_names(source.preset, read_preset(source.preset), source.columns)
    header = database.header(address, table)
    columns = names.find_in(header, table)
    name = f"{PULL}{table}#{len(before) + 1:06}"
    after = plan.stay[before[-1]].content_hash if before else None
    pulled = database.pull(connection, address, table, columns, cursor, after, RAW_ORDERS, name)
    known = sum(plan.stay[one].lines for one in before)
    # Of what has expired it is no longer known how many rows it was.
    if before and pulled.behind > known and all(plan.stay[one].is_loaded for one in before):
        reason = f"{pulled.behind - known:,} rows of {table} came behind the cursor {cursor}, and are not loaded"
        plan.stay[before[-1]] = replace(plan.stay[before[-1]], reason=reason)
    if not pulled.lines:
        return []
    entry = _loaded(
        Entry(name, "loaded", seen_hash=pulled.last_cursor, read_with=_reading(source)),
        Delivery((), header, None, columns),
    )
    plan.stay[name] = replace(entry, lines=pulled.lines)
    return [name]


def _forget_erased(connection: Connection, names: Iterable[str]) -> None:
    """Deletes the lines of customers who were erased from deliveries that were just loaded."""
    if not connection.execute(f"SELECT count(*) FROM {ERASED_CUSTOMERS.name}").fetchall()[0][0]:
        return
    connection.delete(
        RAW_ORDERS,
        "source_file IN (SELECT unnest($names::VARCHAR[]))"
        f" AND sha256({CUSTOMER_TEXT}) IN (SELECT customer_hash FROM {ERASED_CUSTOMERS.name})",
        {"names": list(names), "blanks": BLANKS},
    )


def _forget(connection: Connection, names: Iterable[str]) -> None:
    """Deletes the lines of files."""
    if names := sorted(names):
        files = "source_file IN (SELECT unnest($names::VARCHAR[]))"
        connection.delete(RAW_ORDERS, files, {"names": names})


def _entries(
    connection: Connection,
    plan: _Plan,
    ledger: Mapping[str, Entry],
    loaded: Iterable[Delivery],
    refused: Mapping[Path, SegPipelineError],
) -> Iterator[Entry]:
    """The ledger as it is after a load."""
    lines = dict(
        connection.execute(f"SELECT source_file, count(*) FROM {RAW_ORDERS.name} GROUP BY source_file").fetchall()
    )
    after = dict(plan.stay)
    after |= {str(file): _loaded(plan.load[str(file)], of) for of in loaded for file in of.files}
    for file, error in refused.items():
        now, before = plan.load[str(file)], ledger.get(str(file))
        reason = " ".join(str(error).split())
        if _stays(before, now):
            after[str(file)] = replace(now, status="kept", reason=f"its new version cannot be read: {reason}")
        else:
            after[str(file)] = replace(_bare(now), status="set_aside", reason=reason)
    for name, entry in after.items():
        yield replace(entry, lines=lines.get(name, 0) if entry.is_loaded else 0)


def _loaded(entry: Entry, delivery: Delivery) -> Entry:
    """A file whose lines are loaded as one of a delivery."""
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
    rows = [dict(zip(names, astuple(entry), strict=True)) for entry in sorted(entries, key=lambda one: one.source_file)]
    if rows:
        connection.execute(
            f"INSERT INTO {DELIVERIES.name} BY NAME SELECT unnest(from_json($rows, '[{json.dumps(types)}]'),"
            " max_depth := 2)",
            {"rows": json.dumps(rows)},
        )
