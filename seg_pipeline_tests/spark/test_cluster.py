"""A cluster on this machine: a master and two workers, one of which is killed while the run goes on."""

import os
import signal
import socket
import subprocess
import sys
import time
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pyspark
import pytest

from seg_pipeline_tests.spark.conftest import assert_same_tables
from seg_pipeline_tests.spark.test_runs import QUICK, run_with, tables

SPARK_HOME = Path(pyspark.__file__).parent
DEPLOYED = "org.apache.spark.deploy"


@contextmanager
def started(log, *command):
    """A process of the cluster, in a group of its own with those that it starts."""
    environment = {**os.environ, "SPARK_HOME": str(SPARK_HOME), "SPARK_LOCAL_IP": "127.0.0.1"}
    with log.open("wb") as said:
        process = subprocess.Popen(
            [SPARK_HOME / "bin" / "spark-class", *map(str, command)],
            stdout=said, stderr=said, env=environment, start_new_session=True,
        )  # fmt: skip
    try:
        yield process
    finally:
        kill(process)


def kill(process):
    if process.poll() is None:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def wait_until(said, seconds=60):
    deadline = time.monotonic() + seconds
    while not said():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@pytest.fixture
def cluster(tmp_path):
    """The master's address and the processes of two workers, each with a core."""
    port = free_port()
    address = f"spark://127.0.0.1:{port}"
    of_all = ("--host", "127.0.0.1", "--webui-port", "0")
    with ExitStack() as stack:
        master = tmp_path / "master.log"
        stack.enter_context(started(master, f"{DEPLOYED}.master.Master", *of_all, "--port", port))
        wait_until(lambda: "New state: ALIVE" in master.read_text())
        workers = [
            stack.enter_context(
                started(
                    tmp_path / f"worker{n}.log",
                    f"{DEPLOYED}.worker.Worker",
                    *of_all,
                    "--cores",
                    1,
                    "--memory",
                    "1g",
                    "--work-dir",
                    tmp_path / "work",
                    address,
                )
            )
            for n in (1, 2)
        ]
        wait_until(lambda: master.read_text().count("Registering worker") == 2)
        yield address, workers


def test_a_run_outlives_a_worker_that_is_killed(tmp_path, shop, cluster):
    address, workers = cluster
    folder = tmp_path / "spark"
    folder.mkdir()
    config = {"spark.driver.host": "127.0.0.1", "spark.executor.memory": "512m"}
    command = [
        sys.executable, "-m", "seg_pipeline.cli", "run", "--source", shop, "--warehouse", folder / "warehouse.duckdb",
        "--output", folder / "published", *QUICK, "--set", "models.bootstraps=2", "--set", "warehouse.engine=spark",
        "--set", f"spark.master={address}",
        *(word for name, value in config.items() for word in ("--set", f"spark.config.{name}={value}")),
    ]  # fmt: skip

    with subprocess.Popen([*map(str, command)], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as run:
        lines = folder / "warehouse.duckdb.spark" / "raw.raw_orders" / "000001"
        # What a task has written goes there when it is done: some are, and some are not.
        wait_until(lambda: run.poll() is not None or any(lines.glob("_temporary/0/task_*")), 120)
        assert not list(lines.glob("*.parquet"))
        kill(workers[0])
        said, _ = run.communicate(timeout=300)

    assert run.returncode == 0, said
    assert (
        "lost" in (tmp_path / "master.log").read_text().lower()
        or "Removing worker" in (tmp_path / "master.log").read_text()
    )
    assert run_with("duckdb", tmp_path / "duckdb", shop).status == 0
    assert_same_tables(tables(folder, "spark"), tables(tmp_path / "duckdb", "duckdb"))
