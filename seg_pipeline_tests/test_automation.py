"""The schedule, the sensor for new files, and the alert to a real listener on loopback."""

import datetime
import json
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer

import dagster as dg
import pytest

from seg_pipeline.automation import day_just_ended
from seg_pipeline.errors import UsageError
from seg_pipeline.guest import check, definitions_of
from seg_pipeline.settings import load_settings
from seg_pipeline.wiring import Shop, settings_resource
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
    environment = {"SEG_PIPELINE_AUTOMATION_WEBHOOK_URL": url}
    definitions = definitions_of(Shop(load_settings(overrides, environment=environment)))
    with dg.DagsterInstance.ephemeral() as instance:
        result = definitions.resolve_job_def("ingest").execute_in_process(instance=instance, raise_on_error=False)
        context = dg.build_run_status_sensor_context(
            sensor_name="failure_alert",
            dagster_instance=instance,
            dagster_run=result.dagster_run,
            dagster_event=result.get_run_failure_event(),
        ).for_run_failure()
        definitions.get_repository_def().get_sensor_def("failure_alert")(context)

    assert len(got) == 1
    assert got[0]["job"] == "ingest"
    assert "missing.csv: no such file or folder" in got[0]["text"]


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
