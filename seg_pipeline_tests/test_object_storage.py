"""s3:// paths on a server with the S3 protocol: they behave as files do, and no credential is shown."""

import glob
import gzip
import os
import socket
import subprocess
import sys
import time
import traceback
import urllib.request
from pathlib import Path

import duckdb
import pytest

from seg_pipeline.errors import DataError, MachineError, UsageError
from seg_pipeline.raw.ingestion import ingest
from seg_pipeline.raw.sources import find_files, object_storage
from seg_pipeline.settings import SourceSettings
from seg_pipeline.warehouse import Warehouse

STORAGE = object_storage.ObjectStorage()
SECRET, KEY_ID = "sk5d0c0d1c7a", "AK5d0c0d1c7a"
START_SECONDS = 60


@pytest.fixture(scope="session")
def storage():
    """The address of moto's server with an empty bucket `shop`; the environment of this process points to it."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    address = f"http://127.0.0.1:{port}"
    command = [Path(sys.executable).with_name("moto_server"), "-H", "127.0.0.1", "-p", str(port)]
    with (
        pytest.MonkeyPatch.context() as environment,
        subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as server,
    ):
        for name, value in {
            "AWS_ACCESS_KEY_ID": KEY_ID,
            "AWS_SECRET_ACCESS_KEY": SECRET,
            "AWS_REGION": "us-east-1",
            "AWS_ENDPOINT_URL": address,
        }.items():
            environment.setenv(name, value)
        try:
            deadline = time.monotonic() + START_SECONDS
            while True:
                try:
                    ask(f"{address}/shop", "PUT")
                    break
                except OSError:
                    if server.poll() is not None or time.monotonic() > deadline:
                        raise
                    time.sleep(0.2)
            yield address
        finally:
            server.terminate()


def ask(address, method, data=None):
    request = urllib.request.Request(address, data, {"Content-Type": "text/plain"}, method=method)
    with urllib.request.urlopen(request) as answer:
        return answer.read()


@pytest.fixture
def connection():
    with duckdb.connect() as connection:
        STORAGE.register_with(connection)
        STORAGE.register_with(connection)
        yield connection


def put(name, content):
    path = STORAGE.path(name)
    path.write_bytes(content)
    return path


LINES = b"order_id,customer_id\n1,00123\n2,\n"
READ = "SELECT * FROM read_csv($files, header = true, all_varchar = true, filename = true, compression = $how)"


def test_paths_of_objects_find_stat_and_read_as_paths_of_files_do(storage):
    put("s3://shop/found/2024/a.csv", LINES)
    put("s3://shop/found/b.csv.gz", gzip.compress(LINES))
    prefix = STORAGE.path("s3://shop/found")

    files = sorted(file for file in prefix.rglob("*") if file.is_file())

    assert STORAGE.matches(str(prefix)) and prefix.is_dir() and not prefix.is_file()
    assert [str(file) for file in files] == ["s3://shop/found/2024/a.csv", "s3://shop/found/b.csv.gz"]
    assert [str(file) for file in prefix.glob("*/*.csv")] == ["s3://shop/found/2024/a.csv"]
    assert [file.suffix for file in files] == [".csv", ".gz"]
    assert files[0].stat().st_size == len(LINES) and abs(files[0].stat().st_mtime_ns / 1e9 - time.time()) < 60
    with gzip.open(files[1].open("rb")) as content:
        assert content.read() == LINES
    assert not STORAGE.path("s3://shop/found/c.csv").exists()


@pytest.mark.parametrize("name", ["plain.csv", "odd [1] *.csv", "café #1?.csv", "a%20b+c.csv"])
def test_duckdb_reads_an_object_by_its_name_whatever_the_name(storage, connection, name):
    path = put(f"s3://shop/named/{name}", LINES)

    rows = connection.execute(READ, {"files": [glob.escape(str(path))], "how": "none"}).fetchall()

    assert rows == [("1", "00123", str(path)), ("2", None, str(path))]


def test_duckdb_reads_parquet_and_gzip(storage, connection, tmp_path):
    file = tmp_path / "orders.parquet"
    connection.execute("COPY (SELECT i, 'c' || i AS c FROM range(300000) AS t(i)) TO $file", {"file": str(file)})
    parquet = put("s3://shop/kinds/orders.parquet", file.read_bytes())
    zipped = put("s3://shop/kinds/orders.csv.gz", gzip.compress(LINES * 100_000))

    counted = connection.execute("SELECT count(*), sum(i) FROM read_parquet($file)", {"file": str(parquet)}).fetchone()
    rows = connection.execute(f"SELECT count(*) FROM ({READ})", {"files": [str(zipped)], "how": "gzip"}).fetchone()

    assert counted == (300_000, 44999850000)
    assert rows == (299_999,)


def without_secrets(error):
    text = "\n".join([repr(error), *traceback.format_exception(error)])
    return error.__context__ is None and not any(secret in text for secret in (SECRET, KEY_ID, "127.0.0.1", "<Error>"))


def read_all(connection, name):
    """The ways in which an object is reached."""
    return [
        lambda: STORAGE.path(name).open("rb").read(),
        lambda: connection.execute(READ, {"files": [name], "how": "none"}).fetchall(),
    ]


@pytest.mark.parametrize("name", ["s3://shop/nothing/there.csv", "s3://no-such-bucket/there.csv"])
def test_an_object_that_is_not_there_is_one_line(storage, connection, name):
    for work in read_all(connection, name):
        with pytest.raises(DataError, match=f"^{name}: no such object in this object storage$") as caught:
            STORAGE.translate_errors_of(name, work)
        assert without_secrets(caught.value)


def test_refused_credentials_are_one_line_without_them(storage, connection):
    path = put("s3://shop/refused/a.csv", LINES)
    ask(f"{storage}/moto-api/reset-auth", "POST", b"0")
    try:
        for work in [*read_all(connection, str(path)), lambda: list(STORAGE.path("s3://shop/refused").rglob("*"))]:
            with pytest.raises(UsageError, match="does not accept the credentials of the environment") as caught:
                STORAGE.translate_errors_of(str(path), work)
            assert without_secrets(caught.value)
    finally:
        ask(f"{storage}/moto-api/reset-auth", "POST", b"inf")


def test_a_storage_that_does_not_answer_is_one_line(storage):
    code = """if True:
        from s3fs import S3FileSystem
        from seg_pipeline.raw.sources.object_storage import ObjectStorage
        storage, S3FileSystem.retries = ObjectStorage(), 1
        try:
            storage.translate_errors_of("s3://shop/a.csv", lambda: storage.path("s3://shop/a.csv").open("rb").read())
        except Exception as error:
            print(type(error).__name__, error)"""
    environment = {**os.environ, "AWS_ENDPOINT_URL": "http://127.0.0.1:1", "AWS_MAX_ATTEMPTS": "1"}

    ran = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)

    assert ran.stdout == f"{MachineError.__name__} s3://shop/a.csv: the object storage cannot be reached, or fails\n"
    assert ran.stderr == ""


def test_what_a_file_holds_is_told_by_duckdb_as_for_files(storage, connection):
    path = put("s3://shop/broken/a.csv", b"a,b\n1,2\n\xff\xfe,2\n")

    with pytest.raises(duckdb.InvalidInputException, match=r"s3://shop/broken/a\.csv"):
        STORAGE.translate_errors_of(
            str(path), lambda: connection.execute(READ, {"files": [str(path)], "how": "none"}).fetchall()
        )


def test_without_the_extra_the_error_says_how_to_install_it(monkeypatch):
    monkeypatch.setattr(object_storage, "find_spec", lambda name: None)

    with pytest.raises(UsageError, match=r"pip install 'seg-pipeline\[s3\]'"):
        STORAGE.path("s3://shop/a.csv")


def test_objects_are_ingested_as_files_are(storage, tmp_path):
    header = b"order_id,customer_id,date,price\n"
    for name, content in {
        "in/a.csv": header + b"1,A,2024-01-01,1\n",
        "in/b.csv.gz": gzip.compress(header + b"2,B,2024-01-02,1\n"),
        "in/.hidden/c.csv": header,
    }.items():
        ask(f"{storage}/shop/{name}", "PUT", content)
    source = SourceSettings(path=("s3://shop/in",))
    with Warehouse(database=str(tmp_path / "w.duckdb")).get_connection() as connection:
        brought = [ingest(connection, source).loaded]
        brought.append(ingest(connection, source).loaded)
        ask(f"{storage}/shop/in/d.csv", "PUT", header + b"3,C,2024-01-03,1\n")
        brought.append(ingest(connection, SourceSettings(path=("s3://shop/in", "s3://shop/in/*.csv"))).loaded)
        STORAGE.path("s3://shop/in/a.csv").unlink()
        brought.append(ingest(connection, source).loaded)
        lines = connection.execute("SELECT order_id, source_file FROM raw.raw_orders ORDER BY ALL").fetchall()
    assert brought == [["s3://shop/in/a.csv", "s3://shop/in/b.csv.gz"], [], ["s3://shop/in/d.csv"], []]
    assert lines == [("1", "s3://shop/in/a.csv"), ("2", "s3://shop/in/b.csv.gz"), ("3", "s3://shop/in/d.csv")]


def test_a_prefix_without_objects_is_one_line(storage):
    with pytest.raises(UsageError, match="s3://shop/none: no such file or folder, and no file matches it"):
        find_files(["s3://shop/none"])
