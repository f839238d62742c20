"""A PostgreSQL server of Debian's packages, on a free port of the loopback, for as long as the tests run."""

import os
import secrets
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from adbc_driver_postgresql import dbapi
from pydantic import SecretStr

OWNER = "owner_of_the_shop"
START_SECONDS = 60


@dataclass(frozen=True)
class Postgres:
    """A server that runs. The password stands in no other text, so that finding it anywhere is finding a leak."""

    port: int
    password: str
    # To run statements, by database: connecting takes 45 ms.
    connections: dict[str, dbapi.Connection] = field(default_factory=dict, repr=False)

    def uri(self, database="postgres", **changes):
        """Its address, with a user, a password or a port other than the right one where told."""
        given = {"user": OWNER, "password": self.password, "port": self.port, **changes}
        return SecretStr(f"postgresql://{given['user']}:{given['password']}@127.0.0.1:{given['port']}/{database}")

    def connect(self, database="postgres", *, autocommit=True):
        return closing(dbapi.connect(self.uri(database).get_secret_value(), autocommit=autocommit))

    def run(self, *statements, database="postgres"):
        if database not in self.connections:
            self.connections[database] = dbapi.connect(self.uri(database).get_secret_value(), autocommit=True)
        execute(self.connections[database], *statements)


def execute(connection, *statements):
    for statement in statements:
        with connection.cursor() as cursor:
            cursor.execute(statement)


@contextmanager
def postgres_server() -> Iterator[Postgres]:
    """A new server with an empty database `postgres`; skips where none is installed, which in CI is a failure."""
    binaries = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))
    if not binaries:
        reason = "no PostgreSQL server here: apt-get install postgresql"
        pytest.fail(reason) if os.environ.get("CI") else pytest.skip(reason)
    folder = Path(tempfile.mkdtemp(prefix="postgres_"))
    # The server refuses to be root; its package has made a user for it.
    as_owner = [] if os.getuid() else ["setpriv", "--reuid=postgres", "--regid=postgres", "--clear-groups"]
    password, port = f"pw{secrets.token_hex(8)}", _free_port()
    (folder / "password").write_text(password, encoding="utf-8")
    if as_owner:
        shutil.chown(folder, "postgres", "postgres")
        shutil.chown(folder / "password", "postgres", "postgres")

    def run(program, *arguments):
        command = [*as_owner, str(binaries[-1].with_name(program)), f"--pgdata={folder / 'data'}", *arguments]
        return subprocess.run(command, check=True, cwd=folder, stdout=subprocess.DEVNULL)

    try:
        run("initdb", "--no-sync", "--auth=scram-sha-256", f"--username={OWNER}", f"--pwfile={folder / 'password'}",
            "--encoding=UTF8", "--locale=C.UTF-8")  # fmt: skip
        options = f"-p {port} -h 127.0.0.1 -k '' -F -c max_prepared_transactions=2"
        run(
            "pg_ctl", "start", "--wait", f"--timeout={START_SECONDS}", f"--log={folder / 'log'}", f"--options={options}"
        )
        try:
            server = Postgres(port, password)
            yield server
            for connection in server.connections.values():
                connection.close()
        finally:
            run("pg_ctl", "stop", "--wait", "--mode=immediate")
    finally:
        shutil.rmtree(folder)


def _free_port():
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return free.getsockname()[1]
