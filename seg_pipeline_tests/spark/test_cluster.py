"""Spark elsewhere: a cluster on loopback, of whose workers one is killed while a run goes on; a Connect server."""

import os
import signal
import socket
import subprocess
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pyspark
import pytest

from seg_pipeline_tests.spark.conftest import FEW_PARTITIONS, QUICK_JAVA, assert_same_tables, tables
from seg_pipeline_tests.spark.test_runs import started_run, wait_until

SPARK_HOME = Path(pyspark.__file__).parent
DEPLOYED = "org.apache.spark.deploy"


@contextmanager
def started(log, *command):
    """A process of the cluster, in a group of its own with those that it starts."""
    settings = {"SPARK_HOME": str(SPARK_HOME), "SPARK_LOCAL_IP": "127.0.0.1", "SPARK_DAEMON_JAVA_OPTS": QUICK_JAVA}
    with log.open("wb") as said:
        process = subprocess.Popen(
            [SPARK_HOME / "bin" / "spark-class", *map(str, command)],
            stdout=said, stderr=said, env={**os.environ, **settings}, start_new_session=True,
        )  # fmt: skip
    try:
        yield process
    finally:
        kill(process)


def kill(process):
    if process.poll() is None:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


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


def test_a_run_outlives_a_worker_that_is_killed(tmp_path, small_shop, small_shop_tables, cluster):
    address, workers = cluster
    folder = tmp_path / "spark"
    folder.mkdir()
    config = (
        "spark.driver.host=127.0.0.1",
        "spark.executor.memory=512m",
        "spark.sql.shuffle.partitions=4",
        f"spark.driver.extraJavaOptions={QUICK_JAVA}",
        f"spark.executor.extraJavaOptions={QUICK_JAVA}",
    )

    with started_run(
        folder, small_shop, f"spark.master={address}", *(f"spark.config.{setting}" for setting in config)
    ) as run:
        lines = folder / "warehouse.duckdb.spark" / "raw.raw_orders" / "000001"
        # What a task has written goes there when it is done: some are, and some are not.
        wait_until(lambda: any(lines.glob("_temporary/0/task_*")), run)
        assert not list(lines.glob("*.parquet"))
        kill(workers[0])
        said, _ = run.communicate(timeout=300)

    assert run.returncode == 0, said
    assert "Removing worker" in (tmp_path / "master.log").read_text()
    assert_same_tables(tables(folder, "spark"), small_shop_tables)


def test_a_run_works_on_a_spark_connect_server(tmp_path, small_shop, small_shop_tables):
    folder = tmp_path / "spark"
    folder.mkdir()

    # Spark starts a server for it, with Java's and Spark's defaults but for the partitions.
    with started_run(folder, small_shop, "spark.remote=local[2]", FEW_PARTITIONS) as run:
        said, _ = run.communicate(timeout=300)

    assert run.returncode == 0, said
    assert_same_tables(tables(folder, "spark"), small_shop_tables)
