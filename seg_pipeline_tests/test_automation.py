"""The schedule, the sensor for new files, and the alert to a real listener on loopback."""

import datetime
import json
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer
from types import SimpleNamespace

import dagster as dg
import pytest

from seg_pipeline.automation import _safe_message, day_just_ended
from seg_pipeline.errors import MachineError, UsageError
from seg_pipeline.guest import check, definitions_of
from seg_pipeline.settings import load_settings
from seg_pipeline.wiring import Shop, settings_resource
from seg_pipeline.wiring.shop import JOBS
from seg_pipeline_tests.whole_runs import DEMO_UNTIL


@pytest.mark.parametrize(
    ("now", "timezone", "day"),
    [
        ("2024-03-01T03:00:00+00:00", "UTC", "2024-02-29"),
        # In Tokyo the night of 1 March begins while it is still 29 February in Greenwich.
        ("2024-02-29T18:00:00+00:00", "Asia/Tokyo", "2024-02-29"),
        ("2024-03-01T04:59:00+00:00", "America/New_York", "2024-02-28"),
    ],
)
def test_the_schedule_asks_for_the_day_just_ended_in_the_shops_time_zone(now, timezone, day):
    assert day_just_ended(datetime.datetime.fromisoformat(now), timezone) == day


def pipeline(*overrides):
    """The whole pipeline with these settings, as Dagster has it."""
    return definitions_of(Shop(load_settings(overrides, environment={}))).get_repository_def()


@pytest.mark.parametrize(
    "overrides", [(), ("warehouse.engine=spark",), ("warehouse.engine=spark", "spark.remote=sc://localhost:15002")]
)
def test_dagster_accepts_the_resources_of_each_engine_for_every_job(overrides):
    jobs = pipeline(*overrides).get_all_jobs()
    assert {job.name for job in jobs} >= {"night", "nightly", "ingest", "refit"}
    for job in jobs:
        dg.validate_run_config(job)


def test_the_list_of_the_shops_own_jobs_is_complete():
    assert {job.name for job in pipeline().get_all_jobs()} == {*JOBS, "__ASSET_JOB"}


def scheduled(database, at, *overrides):
    """The schedule, and the one run that it asks for at a time."""
    repository = pipeline(f"warehouse.path={database}", *overrides)
    schedule = repository.get_schedule_def("nightly_schedule")
    context = dg.build_schedule_context(scheduled_execution_time=at, repository_def=repository)
    [request] = schedule.evaluate_tick(context).run_requests
    return schedule, request


def test_the_schedule_and_its_time_come_from_the_settings(tmp_path):
    schedule, request = scheduled(
        tmp_path / "warehouse.duckdb",
        datetime.datetime(2024, 3, 1, 3, 30, tzinfo=datetime.UTC),
        "automation.cron=30 4 * * *",
        "automation.timezone=Europe/Berlin",
    )

    assert (schedule.cron_schedule, schedule.execution_timezone) == ("30 4 * * *", "Europe/Berlin")
    assert request.partition_key == "2024-02-29"


def test_the_schedule_asks_for_a_fit_only_where_one_is_due(shop_run):
    quick = ("models.bootstraps=3", "models.gap_references=2")
    fit = dg.AssetKey(["models", "coreset"])
    morning = datetime.datetime.combine(DEMO_UNTIL, datetime.time(3), datetime.UTC) + datetime.timedelta(days=2)

    _, tomorrow = scheduled(shop_run.warehouse.database, morning, *quick)
    _, next_month = scheduled(shop_run.warehouse.database, morning + datetime.timedelta(days=30), *quick)

    assert fit not in tomorrow.asset_selection
    assert dg.AssetKey(["segments", "segment_assignments"]) in tomorrow.asset_selection
    assert next_month.asset_selection is None
    assert "was fitted on" in next_month.tags["seg_pipeline/fit"]


def tick(folder, cursor):
    sensor = pipeline(f"source.path={folder}").get_sensor_def("new_files")
    with dg.DagsterInstance.ephemeral() as instance:
        return sensor.evaluate_tick(dg.build_sensor_context(instance=instance, cursor=cursor))


def test_new_and_changed_files_start_the_ingest_job_once(tmp_path):
    (tmp_path / "a.csv").write_text("x\n")
    first = tick(tmp_path, None)
    same = tick(tmp_path, first.cursor)
    (tmp_path / "b.csv").write_text("x\n")
    more = tick(tmp_path, same.cursor or first.cursor)

    assert [len(one.run_requests) for one in (first, same, more)] == [1, 0, 1]
    assert more.cursor != first.cursor


def test_a_source_that_is_not_there_yet_is_a_reason_to_wait(tmp_path):
    data = tick(tmp_path / "missing", None)

    assert not data.run_requests
    assert "no such file or folder" in data.skip_message


@pytest.fixture
def listener():
    """A web hook on loopback, and the list of what it got."""
    got = []

    class Hook(BaseHTTPRequestHandler):
        def do_POST(self):
            got.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
            self.send_response(204)
            self.end_headers()

        def log_message(self, *_):
            pass

    server = HTTPServer(("127.0.0.1", 0), Hook)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}/", got
    server.shutdown()
    thread.join()
    server.server_close()


def test_a_failed_run_is_posted_with_its_cause(listener, tmp_path):
    url, got = listener
    overrides = [
        f"source.path={tmp_path / 'missing.csv'}",
        f"warehouse.path={tmp_path / 'w.duckdb'}",
    ]
    run_and_alert("ingest", overrides, environment={"SEG_PIPELINE_AUTOMATION_WEBHOOK_URL": url})

    assert len(got) == 1
    assert got[0]["job"] == "ingest"
    assert "missing.csv: no such file or folder" in got[0]["text"]


HOLDER = """
import sys
from seg_pipeline.warehouse import Warehouse
with Warehouse(database=sys.argv[1]).held():
    print("held", flush=True)
    sys.stdin.read()
"""


@pytest.mark.parametrize(("wait_seconds", "ends"), [(0, "busy"), (30, "loaded")])
def test_a_run_of_the_daemon_waits_for_a_run_of_the_command_line_and_names_it(tmp_path, wait_seconds, ends):
    (tmp_path / "orders.csv").write_text("order_id,customer_id,date,quantity,price\n1,a,2024-01-01,2,3\n")
    warehouse = tmp_path / "w.duckdb"
    places = [f"source.path={tmp_path / 'orders.csv'}", f"warehouse.path={warehouse}"]
    settings = load_settings([*places, f"warehouse.wait_seconds={wait_seconds}"], environment={})
    ingest = definitions_of(Shop(settings)).resolve_job_def("ingest")
    command = [sys.executable, "-c", HOLDER, str(warehouse)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as other:
        other.stdout.readline()
        if ends == "busy":
            with pytest.raises(dg.DagsterError) as failure:
                ingest.execute_in_process()
            assert isinstance(failure.value.__cause__, MachineError)
            assert str(failure.value.__cause__) == f"warehouse {warehouse} is busy: process {other.pid} runs on it"
        else:
            threading.Timer(1, other.stdin.close).start()
            assert ingest.execute_in_process().success


def run_and_alert(job, overrides, partition=None, environment=None):
    """Runs a job, and the alert if it fails. Returns whether it succeeded, and the text of the event log."""
    definitions = definitions_of(Shop(load_settings(overrides, environment=environment or {})))
    with dg.DagsterInstance.ephemeral() as instance:
        result = definitions.resolve_job_def(job).execute_in_process(
            instance=instance, raise_on_error=False, partition_key=partition
        )
        if not result.success:
            context = dg.build_run_status_sensor_context(
                sensor_name="failure_alert",
                dagster_instance=instance,
                dagster_run=result.dagster_run,
                dagster_event=result.get_run_failure_event(),
            ).for_run_failure()
            definitions.get_repository_def().get_sensor_def("failure_alert")(context)
        return result.success, "\n".join(entry.to_json() for entry in instance.all_logs(result.run_id))


@pytest.fixture
def orders_of(tmp_path):
    """A function: writes orders of customers whose ids occur nowhere by chance, and returns settings to run them."""

    def write(price):
        lines = [
            f"o{n},kd-93f1-{n % 60:02},2024-0{n % 4 + 1}-{n % 28 + 1:02},{n % 5 + 1},{price(n)}" for n in range(600)
        ]
        (tmp_path / "orders.csv").write_text("\n".join(["order_id,customer_id,date,quantity,price", *lines]) + "\n")
        return [
            f"source.path={tmp_path / 'orders.csv'}",
            f"warehouse.path={tmp_path / 'w.duckdb'}",
            f"output.path={tmp_path / 'published'}",
            "models.algorithms=kmeans",
            "models.k_max=4",
            "models.bootstraps=3",
            "models.gap_references=2",
        ]

    return write


def test_no_customer_id_is_posted_or_kept_in_the_event_log_when_a_check_fails(listener, orders_of):
    url, got = listener

    environment = {"SEG_PIPELINE_AUTOMATION_WEBHOOK_URL": url}
    succeeded, log = run_and_alert("ingest", orders_of(lambda n: "$1"), environment=environment)

    assert not succeeded
    assert "rejected_share_bearable" in log
    assert "kd-93f1" not in log
    assert "rejected_share_bearable" in got[0]["text"]
    assert "kd-93f1" not in str(got)


def test_no_customer_id_of_a_whole_run_is_kept_in_the_event_log(run_pipeline, orders_of):
    succeeded, log = run_and_alert("nightly", orders_of(lambda n: n % 7 + 1), "2024-04-30")

    assert succeeded
    assert "segment_assignments" in log
    assert "kd-93f1" not in log


@pytest.mark.parametrize("cron", ["every night", "61 3 * * *", "0 3 * *", ""])
def test_a_cron_expression_that_dagster_refuses_is_one_line_that_names_the_setting(cron):
    with pytest.raises(UsageError) as refused:
        definitions_of(Shop(load_settings([f"automation.cron={cron}"], environment={})))
    assert str(refused.value) == f"automation.cron: {cron!r} is no cron expression, such as 0 3 * * *"


def test_a_run_that_fails_on_its_settings_or_in_a_step_is_not_retried(tmp_path):
    definitions = definitions_of(Shop(load_settings([f"warehouse.path={tmp_path / 'w.duckdb'}"], environment={})))
    wrong = {"resources": {"settings": {"config": {"set": ["models.k_max=1"]}}}}
    with dg.DagsterInstance.ephemeral() as instance:
        result = definitions.resolve_job_def("ingest").execute_in_process(
            instance=instance, run_config=wrong, raise_on_error=False
        )
        tags = instance.get_run_by_id(result.run_id).tags

    assert not result.success
    assert tags["dagster/max_retries"] == "0"
    assert tags["dagster/retry_on_asset_or_op_failure"] == "false"


@pytest.mark.parametrize("module", ["duckdb.", "psycopg.errors.", ""])
def test_only_the_kind_of_another_librarys_error_is_posted(module):
    error = SimpleNamespace(cls_name="DataError", message=f"{module}DataError: could not convert 'kd-93f1'")

    assert _safe_message(error) == "DataError; the page of the run shows its message"


def test_an_error_written_here_is_posted_with_its_message():
    error = SimpleNamespace(cls_name="DataError", message="seg_pipeline.errors.DataError: a.csv: no line: none\n")

    assert _safe_message(error) == "seg_pipeline.errors.DataError: a.csv: no line: none"


def test_the_launchpad_can_override_settings_for_one_run(tmp_path):
    (tmp_path / "orders.csv").write_text(
        "order_id,customer_id,date,quantity,price\n1,a,2024-01-01,2,3\n2,a,2024-01-02,-1,3\n"
    )
    base = [f"source.path={tmp_path / 'orders.csv'}", f"warehouse.path={tmp_path / 'w.duckdb'}"]
    definitions = definitions_of(Shop(load_settings(base, environment={})))

    def clean_lines(*overrides):
        config = {"resources": {"settings": {"config": {"set": list(overrides)}}}}
        result = definitions.resolve_job_def("ingest").execute_in_process(run_config=config)
        [clean] = result.asset_materializations_for_node("prepared_orders")[:1]
        return clean.metadata["dagster/row_count"].value

    assert (clean_lines(), clean_lines("returns=drop")) == (2, 1)


def test_only_the_newest_runs_of_a_job_leave_something_in_dagsters_home(tmp_path, monkeypatch):
    home = tmp_path / "home"
    home.mkdir()
    (home / "dagster.yaml").write_text("telemetry: {enabled: false}")
    monkeypatch.setenv("DAGSTER_HOME", str(home))
    (tmp_path / "orders.csv").write_text("order_id,customer_id,date,quantity,price\n1,a,2024-01-01,2,3\n")
    overrides = [f"source.path={tmp_path / 'orders.csv'}", f"warehouse.path={tmp_path / 'w.duckdb'}"]
    definitions = definitions_of(Shop(load_settings([*overrides, "retention.runs=1"], environment={})))

    with dg.DagsterInstance.get() as instance:
        # Another project may have a job of that name in the same home.
        other = dg.job(name="ingest")(lambda: None).execute_in_process(instance=instance).run_id
        results = [
            definitions.resolve_job_def("ingest").execute_in_process(instance=instance, raise_on_error=False)
            for _ in range(4)
        ]
        # The run that deletes is not finished yet, and stays besides the newest one.
        kept = [result.run_id for result in results[-2:]]
        assert instance.get_run_ids() == [*kept[::-1], other]
        with instance.event_log_storage.index_connection() as connection:
            checked = connection.exec_driver_sql("SELECT DISTINCT run_id FROM asset_check_executions").fetchall()
        assert {run_id for (run_id,) in checked} == set(kept)
    assert {file.stem for file in (home / "history" / "runs").glob("*.db")} == {*kept, other, "index"}
    assert {folder.name for folder in (home / "storage").iterdir()} - {other} == set(kept)


def test_the_launchpad_shows_the_settings_in_force_and_none_of_the_machine():
    settings = load_settings(
        ("returns=drop",), environment={"SEG_PIPELINE_AUTOMATION_WEBHOOK_URL": "https://hooks.example/secret"}
    )
    description = settings_resource(settings, check).config_schema.as_field().config_type.fields["set"].description

    for shown in ("returns=drop; ", "models.k_max=10; ", "features.columns=recency_days,frequency,monetary; "):
        assert shown in description
    assert "secret" not in description


def test_a_wrong_setting_in_the_launchpad_fails_before_anything_is_built(tmp_path):
    definitions = definitions_of(Shop(load_settings(environment={})))
    config = {"resources": {"settings": {"config": {"set": ["features.columns=recencydays"]}}}}

    with pytest.raises(dg.DagsterError) as failure:
        definitions.resolve_job_def("ingest").execute_in_process(run_config=config)

    assert isinstance(failure.value.__cause__, UsageError)
    assert "did you mean recency_days" in str(failure.value.__cause__)
