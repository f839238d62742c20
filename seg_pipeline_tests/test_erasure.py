"""An erased customer is in no table, night or published file, and old files do not bring them back."""

import datetime
import shutil

import dagster as dg
import pytest

from seg_pipeline.errors import UsageError
from seg_pipeline.guest import definitions_of
from seg_pipeline.nights import partition_of
from seg_pipeline.settings import load_settings
from seg_pipeline.wiring import Shop
from seg_pipeline_tests.whole_runs import DEMO_UNTIL, LAST, SCORED, command, night

FEW = ("--set", "models.algorithms=kmeans", "--set", "models.k_max=4")


def tables_with(run, customer):
    """Every table of the warehouse in which the id stands in some column."""
    with run.warehouse.get_connection() as connection:
        found = connection.execute(
            "SELECT schema_name, table_name, list(column_name) FROM duckdb_columns() WHERE data_type = 'VARCHAR'"
            " AND schema_name IN ('raw', 'prepared', 'features', 'models', 'evaluation', 'segments') GROUP BY ALL"
        ).fetchall()
        return {
            f"{schema}.{table}"
            for schema, table, columns in found
            for column in columns
            if connection.execute(
                f'SELECT count(*) FROM "{schema}"."{table}" WHERE trim("{column}") IN ($id, $id || \'.0\')',
                {"id": customer},
            ).fetchall()[0][0]
        }


def files_with(folder, customer):
    return {str(path.relative_to(folder)) for path in folder.rglob("*.csv") if f"{customer}," in path.read_text()}


def test_an_erased_customer_is_nowhere_and_does_not_come_back(run_pipeline, shop, tmp_path, capsys):
    source = tmp_path / "source"
    shutil.copytree(shop, source)
    for as_of in (DEMO_UNTIL, LAST):
        run = run_pipeline(tmp_path, source, "--as-of", as_of, *FEW)
        assert run.status == 0
    [(customer,)] = run.warehouse.read(
        "SELECT customer_id FROM prepared.clean_orders GROUP BY ALL ORDER BY count(*) DESC, customer_id LIMIT 1"
    ).to_numpy()
    assert tables_with(run, customer) >= {"raw.raw_orders", "prepared.clean_orders", "segments.segment_assignments"}
    others = run.warehouse.value("SELECT count(DISTINCT customer_id) FROM prepared.clean_orders") - 1

    assert command(run, "erase", customer, *FEW) == 0

    output = capsys.readouterr().out
    assert "rows of raw.raw_orders" in output
    assert "published: the night was rebuilt without them" in output
    assert tables_with(run, customer) == set()
    assert files_with(run.output, customer) == set()
    assert customer.encode() not in (run.output / "latest" / "segments.duckdb").read_bytes()
    # Not in free pages either.
    with open(run.warehouse.database, "rb") as file:
        assert customer.encode() not in file.read()
    assert len(list((run.output / "sets").iterdir())) == 1

    # A file of theirs is delivered again, changed, and a new one comes.
    first = sorted(source.glob("*.csv"))[0]
    first.write_text(first.read_text() + f"999999999,{customer},2026-02-01 10:00,1,x,1,1.00,UK\n")
    assert run_pipeline(tmp_path, source, *FEW).status == 0
    assert tables_with(run, customer) == set()
    assert run.warehouse.value("SELECT count(DISTINCT customer_id) FROM prepared.clean_orders") == others


def test_nights_past_the_retention_leave_every_table(shop, scored_nights, tmp_path):
    run = scored_nights.copied(tmp_path)

    assert command(run, "run", "--source", shop, "--set", "retention.nights=3") == 0

    nights = run.warehouse.read(
        "SELECT DISTINCT as_of FROM features.rfm_features"
        " UNION SELECT DISTINCT as_of FROM segments.segment_profiles ORDER BY ALL"
    )
    assert nights["as_of"].dt.date.to_list() == [SCORED[2], LAST]


def test_a_backfill_of_nights_that_the_next_run_deletes_is_refused_before_anything_is_built(
    scored_nights, tmp_path, capsys
):
    run = scored_nights.copied(tmp_path)
    nights = "SELECT DISTINCT as_of FROM features.rfm_features ORDER BY ALL"
    before = run.warehouse.read(nights)

    assert command(run, "backfill", night(4), LAST, "--set", "retention.nights=3") == 2

    assert capsys.readouterr().err == (
        f"seg-pipeline: the next run would delete the nights before {night(3)}: retention.nights=3, counted from"
        f" {LAST}; begin with {night(3)}, or raise retention.nights\n"
    )
    assert run.warehouse.read(nights).equals(before)
    assert command(run, "backfill", night(3), "--set", "retention.nights=3") == 0


def test_dagster_backfills_of_such_nights_are_refused_too(scored_nights):
    settings = load_settings(
        (f"warehouse.path={scored_nights.warehouse.database}", f"output.path={scored_nights.output}"), environment={}
    )
    job = definitions_of(Shop(settings)).resolve_job_def("night")
    old = partition_of(LAST - datetime.timedelta(days=401))

    with pytest.raises(dg.DagsterError) as failure:
        job.execute_in_process(partition_key=old, tags={"dagster/backfill": "old nights"})

    assert isinstance(failure.value.__cause__, UsageError)
    assert "retention.nights=400" in str(failure.value.__cause__)
