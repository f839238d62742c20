"""Retracts deliveries: their lines leave the warehouse and stay out while the files do not change."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from pathlib import PurePath

from seg_pipeline.errors import UsageError, nearest
from seg_pipeline.raw.ledger import Entry, read_ledger, write_ledger
from seg_pipeline.raw.tables import DELIVERIES, RAW_ORDERS, STATUSES
from seg_pipeline.settings import Settings
from seg_pipeline.usecases.existing import existing_warehouse


@dataclass(frozen=True, slots=True)
class Retraction:
    """What was retracted, or taken back.

    Attributes:
        lines: The number of lines that left raw_orders, by delivery; 0 if it was retracted before.
        taken_back: The deliveries that the next run loads again.
    """

    lines: dict[str, int]
    taken_back: list[str]


def retract(settings: Settings, names: Sequence[str]) -> Retraction:
    """Retracts deliveries: all of them, or none if there is an error.

    Args:
        settings: The settings that name the warehouse.
        names: The deliveries, as in the column source_file.

    Raises:
        UsageError: There is no warehouse or no such delivery, or none of its lines are in raw_orders.
        MachineError: The warehouse cannot be written to, or stays busy.
    """
    warehouse = existing_warehouse(settings)
    with warehouse.held(), warehouse.transaction() as connection:
        for table in (RAW_ORDERS, DELIVERIES):
            connection.create(table, or_replace=False)
        ledger = {entry.source_file: entry for entry in read_ledger(connection)}
        entries = [_entry_of(name, ledger) for name in dict.fromkeys(names)]
        for entry in entries:
            if not (entry.is_loaded or entry.status == "retracted"):
                reason = entry.reason or STATUSES[entry.status]
                raise UsageError(f"{entry.source_file}: none of its lines are loaded ({entry.status}: {reason})")
        lines = {entry.source_file: entry.lines for entry in entries}
        # The hash of the content stays in the entry, so that a load recognises what was retracted.
        ledger |= {
            entry.source_file: replace(entry, status="retracted", reason=None, lines=0)
            for entry in entries
            if entry.is_loaded
        }
        connection.delete(RAW_ORDERS, "source_file IN (SELECT unnest($names::VARCHAR[]))", {"names": list(lines)})
        write_ledger(connection, ledger.values())
    return Retraction(lines, [])


def take_back(settings: Settings, names: Sequence[str]) -> Retraction:
    """Takes back retractions: all of them, or none if there is an error. The next run loads the files again.

    Args:
        settings: The settings that name the warehouse.
        names: The deliveries, as in the column source_file.

    Raises:
        UsageError: There is no warehouse or no such delivery, it is not retracted, or it is a pull from a table.
        MachineError: The warehouse cannot be written to, or stays busy.
    """
    warehouse = existing_warehouse(settings)
    with warehouse.held(), warehouse.transaction() as connection:
        connection.create(DELIVERIES, or_replace=False)
        ledger = {entry.source_file: entry for entry in read_ledger(connection)}
        entries = [_entry_of(name, ledger) for name in dict.fromkeys(names)]
        for entry in entries:
            if entry.status != "retracted":
                raise UsageError(f"{entry.source_file}: not retracted ({entry.status}: {STATUSES[entry.status]})")
            if entry.pulled_rows is not None:
                raise UsageError(
                    f"{entry.source_file}: a pull cannot be taken back, since its table is read on from where the last"
                    " pull ended; a new warehouse (--warehouse) reads it from the start"
                )
            # A file that has no entry is new.
            del ledger[entry.source_file]
        write_ledger(connection, ledger.values())
    return Retraction({}, [entry.source_file for entry in entries])


def _entry_of(name: str, ledger: dict[str, Entry]) -> Entry:
    """Returns the entry of a delivery.

    Raises:
        UsageError: There is no such delivery.
    """
    if name not in ledger:
        raise UsageError(f"{name}: no such delivery{_suggestion(name, ledger)}")
    return ledger[name]


def _suggestion(name: str, known: Collection[str]) -> str:
    """Returns the end of an error message that names the delivery with the most similar file name and path."""
    file_names = nearest(PurePath(name).name, {PurePath(one).name for one in known}, limit=1, cutoff=0.5)
    similar = nearest(name, [one for one in sorted(known) if PurePath(one).name in file_names], limit=1, cutoff=0)
    return f"; did you mean {similar[0]}?" if similar else "; the table raw.deliveries lists them all"
