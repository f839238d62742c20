"""Retracts deliveries: removes their lines, and keeps them out although their files are still there."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from seg_pipeline.errors import SegPipelineError, UsageError
from seg_pipeline.guest import check
from seg_pipeline.prepared.cleaning import clean
from seg_pipeline.prepared.tables import CLEANED_FILES
from seg_pipeline.raw.ledger import Entry, prefix_of_pulls, read_ledger, retraction_of, write_ledger
from seg_pipeline.raw.sources import tables_of
from seg_pipeline.raw.tables import DELIVERIES, RAW_ORDERS
from seg_pipeline.settings import Settings
from seg_pipeline.usecases.existing import delivery_named, existing_warehouse
from seg_pipeline.warehouse import Connection


@dataclass(frozen=True, slots=True)
class Retraction:
    """What was retracted.

    Attributes:
        lines: How many lines of raw_orders were removed, by delivery.
        problem: Why the remaining lines could not be cleaned again yet; None if they were.
    """

    lines: dict[str, int]
    problem: str | None = None


def retract(settings: Settings, names: Sequence[str]) -> Retraction:
    """Removes the lines of deliveries. The same content is not loaded again; a corrected file with that name is.

    Args:
        settings: The settings of the run that loaded them.
        names: The names of deliveries as in raw.deliveries, relative paths, or file names if one delivery has them.

    Raises:
        UsageError: There is no such delivery, or none of its lines are loaded.
        MachineError: The warehouse cannot be written.
    """
    check(settings)
    warehouse = existing_warehouse(settings)
    with warehouse.held(), warehouse.get_connection() as connection:
        ledger = _ledger(connection)
        chosen = _chosen(ledger, names)
        for entry in chosen:
            if not entry.is_loaded and entry.status != "retracted":
                reason = f": {entry.reason}" if entry.reason else ""
                raise UsageError(f"{entry.source_file}: none of its lines are loaded; it is {entry.status}{reason}")
        retracted = {entry.source_file: retraction_of(entry) for entry in chosen}
        with connection.transaction():
            connection.delete(
                RAW_ORDERS, "source_file IN (SELECT unnest($names::VARCHAR[]))", {"names": sorted(retracted)}
            )
            write_ledger(connection, (ledger | retracted).values())
        return Retraction({entry.source_file: entry.lines for entry in chosen}, _clean_rest(connection, settings))


def take_back(settings: Settings, names: Sequence[str]) -> list[str]:
    """Takes retractions back: the next run loads the files again if they are still in the source.

    Args:
        settings: The settings of the warehouse.
        names: As in `retract`.

    Returns:
        The names of the deliveries, as in raw.deliveries.

    Raises:
        UsageError: There is no such delivery, it is not retracted, or it is a pull, whose rows are read only once.
        MachineError: The warehouse cannot be written.
    """
    check(settings)
    warehouse = existing_warehouse(settings)
    with warehouse.held(), warehouse.get_connection() as connection:
        ledger = _ledger(connection)
        chosen = _chosen(ledger, names)
        for entry in chosen:
            if entry.status != "retracted":
                raise UsageError(f"{entry.source_file}: not retracted; it is {entry.status}")
            if any(entry.source_file.startswith(prefix_of_pulls(table)) for table in tables_of(settings.source)):
                raise UsageError(
                    f"{entry.source_file}: the rows of a pull are read only once; only a new warehouse loads them again"
                )
        # The same content may have been retracted under other names too.
        contents = {entry.content_hash for entry in chosen}
        rest = [entry for entry in ledger.values() if entry.status != "retracted" or entry.content_hash not in contents]
        with connection.transaction():
            write_ledger(connection, rest)
        return [entry.source_file for entry in chosen]


def _ledger(connection: Connection) -> dict[str, Entry]:
    for table in (RAW_ORDERS, DELIVERIES):
        connection.create(table, or_replace=False)
    return {entry.source_file: entry for entry in read_ledger(connection)}


def _chosen(ledger: Mapping[str, Entry], names: Sequence[str]) -> list[Entry]:
    """Returns the entries of deliveries, each once.

    Raises:
        UsageError: There is no such delivery, or several have that file name.
    """
    chosen = {known: ledger[known] for name in names for known in [delivery_named(name, ledger.keys())]}
    return list(chosen.values())


def _clean_rest(connection: Connection, settings: Settings) -> str | None:
    """Cleans the remaining lines, so that a backfill no longer counts the removed ones.

    Returns:
        Why they could not be cleaned; the next run cleans them then. None if they were.
    """
    if CLEANED_FILES.name not in connection.tables_with("source_file"):
        return None
    try:
        clean(connection, settings)
    except SegPipelineError as error:
        # The lines are gone already, so that even a full disk does not make the retraction fail.
        return str(error)
    return None
