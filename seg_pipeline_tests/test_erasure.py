"""An erased customer is in no table, night or published file, and old files do not bring them back."""

import datetime
import hashlib
import hmac
import os
import shutil
import stat

import dagster as dg
import duckdb
import pytest

from seg_pipeline.cli import main
from seg_pipeline.errors import UsageError
from seg_pipeline.guest import definitions_of
from seg_pipeline.nights import partition_of
from seg_pipeline.publishing.sets import delete_all
from seg_pipeline.raw.erasure import ErasureKey, remember
from seg_pipeline.raw.ingestion import ingest
from seg_pipeline.settings import Settings, SourceSettings, load_settings
from seg_pipeline.usecases.records import forget
from seg_pipeline.usecases.traces import traces
from seg_pipeline.warehouse import Warehouse
from seg_pipeline.wiring import Shop
from seg_pipeline_tests.erase import IMPOSSIBLE_DAY
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
    assert f"published: the night {LAST}, built again without them" in output
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


def erased_hashes(warehouse):
    return [hashed for (hashed,) in warehouse.read("SELECT customer_hash FROM raw.erased_customers").to_numpy()]


def keyed(key, customer):
    sha256 = hashlib.sha256(customer.encode()).hexdigest()
    return hmac.new(key.encode(), sha256.encode(), "sha256").hexdigest()


@pytest.fixture
def source(tmp_path):
    return SourceSettings(
        path=str(orders_file(tmp_path / "orders.csv", "1,17850,2024-01-01,2,1.00", "2,b,2024-01-01,2,1.00"))
    )


@pytest.fixture
def warehouse(tmp_path):
    return Warehouse(database=str(tmp_path / "w.duckdb"))


def orders_file(path, *lines):
    path.write_text("\n".join(["order_id,customer_id,ordered_at,quantity,unit_price", *lines]) + "\n")
    return path


def customers_in(connection):
    return {id_ for (id_,) in connection.execute("SELECT customer_id FROM raw.raw_orders").fetchall()}


def test_an_id_is_kept_as_its_keyed_hash_and_the_key_beside_the_warehouse_for_its_owner_alone(warehouse, tmp_path):
    key = ErasureKey.beside(tmp_path / "w.duckdb")
    with warehouse.get_connection() as connection:
        remember(connection, key, ["17850", "b"])
        remember(connection, key, ["17850"])

    assert erased_hashes(warehouse) == [keyed(key.read(), "17850"), keyed(key.read(), "b")]
    assert stat.S_IMODE((tmp_path / "w.duckdb.erasure-key").stat().st_mode) == 0o600


def test_the_key_may_come_from_the_environment(warehouse, tmp_path, monkeypatch):
    # A mounted secret often ends with a line end.
    monkeypatch.setenv("SEG_PIPELINE_ERASURE_KEY", "a key of the company\n")
    load_settings()
    with warehouse.get_connection() as connection:
        remember(connection, ErasureKey.beside(tmp_path / "w.duckdb"), ["17850"])

    assert erased_hashes(warehouse) == [keyed("a key of the company", "17850")]
    assert not (tmp_path / "w.duckdb.erasure-key").exists()


@pytest.mark.parametrize("key", [None, "another key, as long"])
def test_a_load_without_the_key_is_refused_because_erased_customers_would_come_back(warehouse, source, tmp_path, key):
    beside = ErasureKey.beside(tmp_path / "w.duckdb")
    with warehouse.get_connection() as connection:
        remember(connection, beside, ["17850"])
        ingest(connection, source, key=beside)
        assert customers_in(connection) == {"b"}
        beside.file.unlink()
        if key:
            beside.file.write_text(key)

        with pytest.raises(UsageError, match=r"w\.duckdb\.erasure-key") as refused:
            ingest(connection, source, key=beside)

    assert str(refused.value).startswith(
        f"the key of raw.erased_customers is {'another one' if key else 'missing'}, and erased customers would come"
    )


def test_hashes_without_a_key_get_one_with_the_next_load(warehouse, source, tmp_path):
    key = ErasureKey.beside(tmp_path / "w.duckdb")
    with warehouse.get_connection() as connection:
        connection.execute("CREATE SCHEMA raw; CREATE TABLE raw.erased_customers (customer_hash VARCHAR)")
        connection.execute("INSERT INTO raw.erased_customers VALUES (sha256('17850'))")

        ingest(connection, source, key=key)

        assert customers_in(connection) == {"b"}
    assert erased_hashes(warehouse) == [keyed(key.read(), "17850")]


def test_a_new_warehouse_and_its_lock_are_for_their_owner_alone_and_an_older_one_keeps_its_permissions(warehouse):
    def modes():
        return [stat.S_IMODE(os.stat(warehouse.database + suffix).st_mode) for suffix in ("", ".lock")]

    with warehouse.held():
        pass
    assert modes() == [0o600, 0o600]
    warehouse.rewrite()
    assert modes() == [0o600, 0o600]
    os.chmod(warehouse.database, 0o640)
    warehouse.rewrite()
    assert modes() == [0o640, 0o600]


def test_rewriting_deletes_what_runs_left_beside_the_warehouse_and_nothing_else(warehouse, tmp_path):
    with warehouse.held():
        pass
    numbered = ["w.duckdb.3", "w.duckdb.3.handover", "w.duckdb.3.wal"]
    left = ["w.duckdb.damaged", "w.duckdb.damaged-2.wal", *numbered, "w.duckdb.copy", "w.duckdb.tmp"]
    for name in left[:-1]:
        (tmp_path / name).write_text("rows")
    (tmp_path / left[-1]).mkdir()
    kept = {"w.duckdb", "w.duckdb.lock", "w.duckdb.mine", "w.duckdb.20261201"}
    for name in kept - {"w.duckdb", "w.duckdb.lock"}:
        (tmp_path / name).write_text("kept")

    assert warehouse.rewrite() == sorted(str(tmp_path / name) for name in left)
    assert {path.name for path in tmp_path.iterdir()} == kept


def test_traces_are_found_in_every_text_column_and_published_file(warehouse, tmp_path):
    settings = Settings(output={"path": tmp_path / "out"})
    published = tmp_path / "out" / "sets" / "2024-01-02-abc"
    published.mkdir(parents=True)
    with warehouse.get_connection() as connection:
        connection.execute(
            "CREATE SCHEMA raw; CREATE TABLE raw.lines AS SELECT ' 17850.0' AS customer, '17850' AS order_id, 17850 AS"
            " quantity, 'for kim@x.de' AS note, 'akim@x.de' AS other, ['kim@x.de'] AS list"
        )
        connection.execute(f"COPY (SELECT '17850' AS id, 17850 AS figure) TO '{published / 't.parquet'}'")
    (published / "t.csv").write_text("id,figure\n17850,17850\n")
    (published / "manifest.json").write_text('{"kim@x.de": 1}')
    (published / "report.html").write_text('<td> 17850 </td><rect x="1785"/>')
    with duckdb.connect(published / "segments.duckdb") as database:
        database.execute("CREATE TABLE assignments AS SELECT 'kim@x.de' AS customer_id")

    found = traces(settings, warehouse, ["17850", "kim@x.de"])

    in_files = ["manifest.json", "report.html", "segments.duckdb: main.assignments.customer_id", "t.csv: id"]
    assert found == [
        *(f"{warehouse.database}: raw.lines.{column}" for column in ("customer", "note", "list")),
        *(f"{published}/{place}" for place in (*in_files, "t.parquet: id")),
    ]
    assert traces(settings, warehouse, ["1785", "im@x.de"]) == []


def test_a_word_or_a_number_that_equals_an_id_by_chance_is_no_trace(warehouse, tmp_path):
    settings = Settings(output={"path": tmp_path / "out"})
    with warehouse.get_connection() as connection:
        connection.execute(
            "CREATE SCHEMA raw; CREATE TABLE raw.lines AS SELECT 'b' AS customer_id, '1' AS shop, '17850' AS quantity,"
            " 'anna mug' AS description, 'anna' AS country"
        )

    assert traces(settings, warehouse, ["1", "17850", "anna"]) == []
    assert traces(settings, warehouse, ["b"]) == [f"{warehouse.database}: raw.lines.customer_id"]


def test_erasing_without_a_warehouse_is_refused_and_makes_none(tmp_path, capsys):
    status = main(["erase", "17850", "--warehouse", str(tmp_path / "w.duckdb"), "--output", str(tmp_path / "out")])

    assert status == 2
    assert "no such file" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def a_customer(run):
    [(customer,)] = run.warehouse.read(
        "SELECT customer_id FROM prepared.clean_orders GROUP BY ALL ORDER BY count(*) DESC, customer_id LIMIT 1"
    ).to_numpy()
    return customer


def test_a_customer_is_erased_whatever_has_become_of_the_published_set(scored_nights, tmp_path, capsys):
    run = scored_nights.copied(tmp_path)
    customer = a_customer(run)
    (run.output / "latest" / "manifest.json").unlink()
    (run.output / "sets" / "a plain file").write_text(customer)
    (run.output / "sets" / ".unfinished-1").mkdir()
    (run.output / "sets" / ".unfinished-1" / "t.csv").write_text(customer)

    assert command(run, "erase", customer, *FEW) == 0

    assert f"published: the night {LAST}, built again without them" in capsys.readouterr().out
    assert tables_with(run, customer) == set()
    assert files_with(run.output, customer) == set()
    assert len(list((run.output / "sets").iterdir())) == 1


def test_without_the_key_nothing_is_erased_and_what_is_published_stays(scored_nights, tmp_path, capsys):
    run = scored_nights.copied(tmp_path)
    with run.warehouse.get_connection() as connection:
        remember(connection, ErasureKey(tmp_path / "lost"), ["somebody else"])

    assert command(run, "erase", a_customer(run), *FEW) == 2

    assert "the key of raw.erased_customers is missing" in capsys.readouterr().err
    assert (run.output / "latest" / "manifest.json").exists()


def test_a_customer_is_erased_even_if_the_night_then_fails_a_critical_check(scored_nights, tmp_path, capsys):
    run = scored_nights.copied(tmp_path)
    customer = a_customer(run)
    with run.warehouse.transaction() as connection:
        connection.duckdb.execute(IMPOSSIBLE_DAY)

    assert command(run, "erase", customer, *FEW) == 1

    [line] = capsys.readouterr().err.splitlines()
    assert "are erased from the tables and from what was published; nothing is published now; erase again" in line
    assert "critical check failed" in line
    assert tables_with(run, customer) == set()
    assert not (run.output / "latest").exists()
    assert list(run.output.rglob("*.csv")) == []


def test_dagsters_records_of_runs_that_name_an_erased_customer_are_deleted(tmp_path, monkeypatch):
    @dg.asset
    def orders():
        return None

    @dg.asset_check(asset=orders)
    def named(context):
        return dg.AssetCheckResult(passed=True, metadata={"examples": [{"customer_id": context.run.tags["id"]}]})

    (tmp_path / "home").mkdir()
    monkeypatch.setenv("DAGSTER_HOME", str(tmp_path / "home"))
    with dg.DagsterInstance.get() as instance:
        runs = [
            dg.materialize([orders, named], instance=instance, tags={"id": id_}).run_id
            for id_ in ("zq9x-17850", "zq9x-17851")
        ]

    assert forget(["zq9x-17850"]) == [runs[0]]

    with dg.DagsterInstance.get() as instance:
        assert list(instance.get_run_ids()) == [runs[1]]
    content = b"".join(file.read_bytes() for file in (tmp_path / "home").rglob("*") if file.is_file())
    assert b"zq9x-17851" in content
    assert b"zq9x-17850" not in content


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


def test_a_backfill_past_retention_is_refused_although_nothing_is_published(scored_nights, tmp_path, capsys):
    run = scored_nights.copied(tmp_path)
    delete_all(run.output)

    assert command(run, "backfill", night(4), "--set", "retention.nights=3") == 2
    assert f"retention.nights=3, counted from {LAST}; begin with {night(3)}" in capsys.readouterr().err
    assert not (run.output / "latest").exists()


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
