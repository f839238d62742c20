"""Spark elsewhere: a cluster on loopback, of whose workers some are killed while a run goes on; a Connect server."""

import os
import signal
import socket
import subprocess
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import pyspark
import pytest

from seg_pipeline_tests.spark.conftest import FEW_PARTITIONS, QUICK_JAVA, assert_same_tables, tables
from seg_pipeline_tests.spark.test_runs import started_run, wait_until

SPARK_HOME = Path(pyspark.__file__).parent
DEPLOYED = "org.apache.spark.deploy"
ON_LOOPBACK = ("--host", "127.0.0.1", "--webui-port", "0")


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


@dataclass
class Cluster:
    """A standalone cluster on loopback: a master, and workers of one core each as they are added."""

    folder: Path
    address: str
    stack: ExitStack
    workers: int = 0

    @property
    def said(self):
        return (self.folder / "master.log").read_text()

    def add_worker(self):
        """The process of a worker that the master knows of."""
        self.workers += 1
        resources = ("--cores", 1, "--memory", "1g", "--work-dir", self.folder / "work")
        log = self.folder / f"worker{self.workers}.log"
        worker = started(log, f"{DEPLOYED}.worker.Worker", *ON_LOOPBACK, *resources, self.address)
        process = self.stack.enter_context(worker)
        wait_until(lambda: self.said.count("Registering worker") == self.workers)
        return process


@pytest.fixture
def cluster(tmp_path):
    port = free_port()
    with ExitStack() as stack:
        made = Cluster(tmp_path, f"spark://127.0.0.1:{port}", stack)
        master = started(tmp_path / "master.log", f"{DEPLOYED}.master.Master", *ON_LOOPBACK, "--port", port)
        stack.enter_context(master)
        wait_until(lambda: "New state: ALIVE" in made.said)
        yield made


def test_a_run_outlives_workers_that_are_killed(tmp_path, small_shop, small_shop_tables, cluster):
    first, second = cluster.add_worker(), cluster.add_worker()
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
        folder, small_shop, f"spark.master={cluster.address}", *(f"spark.config.{setting}" for setting in config)
    ) as run:
        large = folder / "warehouse.duckdb.spark"
        # What a task has written goes there when it is done: some are, and some are not.
        wait_until(lambda: any((large / "raw.raw_orders").glob("000001/_temporary/0/task_*")), run)
        assert not list((large / "raw.raw_orders").glob("000001/*.parquet"))
        kill(first)
        cluster.add_worker()
        # Customers are labelled, and their segments are being written.
        wait_until(lambda: any((large / "segments.segment_assignments").glob("000001/_temporary")), run)
        kill(second)
        said, _ = run.communicate(timeout=300)

    assert run.returncode == 0, said
    assert cluster.said.count("Removing worker") == 2
    assert_same_tables(tables(folder, "spark"), small_shop_tables)


def test_a_run_works_on_a_spark_connect_server(tmp_path, small_shop, small_shop_tables):
    folder = tmp_path / "spark"
    folder.mkdir()

    # Spark starts a server for it, with Java's and Spark's defaults but for the partitions.
    with started_run(folder, small_shop, "spark.remote=local[2]", FEW_PARTITIONS) as run:
        said, _ = run.communicate(timeout=300)

    assert run.returncode == 0, said
    assert_same_tables(tables(folder, "spark"), small_shop_tables)
