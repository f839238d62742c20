"""Dagster's records of earlier runs, from which an erased customer must go too.

They hold customer ids where a setting asked for them in the examples of failed checks, or where an older version ran.
"""

import json
from collections.abc import Sequence
from typing import Any

import dagster as dg
import sqlalchemy
from dagster._core.storage.event_log.schema import AssetCheckExecutionsTable, SqlEventLogStorageTable
from dagster._core.storage.event_log.sql_event_log import SqlEventLogStorage

from seg_pipeline.settings import dagster_home
from seg_pipeline.wiring import FINISHED, delete_run


def forget(customers: Sequence[str]) -> list[str]:
    """Deletes the records of the finished runs that name a customer from DAGSTER_HOME, and returns their run ids.

    Returns none if there is no home, or its records are in a store without SQL.
    """
    if dagster_home() is None:
        return []
    with dg.DagsterInstance.get() as instance:
        store = instance.event_log_storage
        if not isinstance(store, SqlEventLogStorage):
            return []
        deleted = []
        events = SqlEventLogStorageTable.c
        # Examples are kept in the results of checks; in other events a number may be anything, such as a process.
        named = _rows_naming(events.event, customers).where(
            events.dagster_event_type == dg.DagsterEventType.ASSET_CHECK_EVALUATION.value
        )
        for run_id in instance.get_run_ids(dg.RunsFilter(statuses=FINISHED)):
            with store.run_connection(run_id) as connection:
                rows = connection.execute(named.where(events.run_id == run_id).limit(1)).fetchall()
            if rows:
                delete_run(instance, run_id)
                deleted.append(run_id)
        with store.index_connection() as connection:
            checks = AssetCheckExecutionsTable
            naming = _rows_naming(checks.c.evaluation_event, customers).with_only_columns(checks.c.id)
            connection.execute(checks.delete().where(checks.c.id.in_(naming)))
        with store.index_connection() as connection:
            _give_back_free_pages(connection)
    return deleted


def _rows_naming(column: "sqlalchemy.Column[str]", customers: Sequence[str]) -> "sqlalchemy.Select[Any]":
    """Returns the query of the rows whose JSON has one of the ids as a whole string or as a cell of a table."""
    # An id within JSON within JSON has its quotes escaped.
    spelled = [f"{quote}{json.dumps(id_)[1:-1]}{quote}" for id_ in customers for quote in ('"', '\\"')]
    return sqlalchemy.select(column).where(
        sqlalchemy.or_(*(column.contains(text, autoescape=True) for text in spelled))
    )


def _give_back_free_pages(connection: sqlalchemy.Connection) -> None:
    """Rewrites an SQLite file, whose free pages still hold deleted rows."""
    if connection.dialect.name == "sqlite":
        connection.exec_driver_sql("VACUUM")
